"""Back-end: the IR as text, for the golden tests."""

from .docs import Doc
from .schema import AlternateType, Command, EnumType, Event


def flags(entity, *names):
    return ''.join(f' {name}' for name in names if getattr(entity, name, False))


def featured(features):
    return f' [{", ".join(features)}]' if features else ''


def type_name(type_):
    return f'[{type_.element.name}]' if type_.kind == 'LIST' else type_.name


def member(member_):
    star = '*' if member_.optional else ''
    return f'    {star}{member_.name}: {type_name(member_.type)}{featured(member_.features)}'


def enum(entity):
    yield f'enum {entity.name}{featured(entity.features)}'
    for value in entity.members:
        yield f'    {value.name} = {value.c_name}{featured(value.features)}'


def struct(entity):
    base = f' : {entity.base.name}' if entity.base else ''
    yield f'{entity.what} {entity.name}{base}{featured(entity.features)}'
    yield from map(member, entity.members())
    if entity.variants:
        yield f'    by {entity.variants.tag.name}'
        for case, type_ in entity.variants.branches:
            yield f'        {case}: {type_.name}'


def alternate(entity):
    yield f'alternate {entity.name}{featured(entity.features)}'
    for branch in entity.branches:
        yield member(branch)


def arguments(entity):
    if entity.args is None:
        return
    if entity.args.what == 'implicit':
        yield from map(member, entity.args.members())
    else:
        yield f'    {entity.args.name}'


def command(entity):
    ret = f' -> {type_name(entity.ret)}' if entity.ret else ''
    raw = '' if entity.gen else ' raw'
    yield (f'command {entity.name}{ret}{raw}{flags(entity, "boxed", "allow_oob", "session")}'
           f'{featured(entity.features)}')
    yield from arguments(entity)


def event(entity):
    yield f'event {entity.name}{flags(entity, "boxed")}{featured(entity.features)}'
    yield from arguments(entity)


def documentation(doc):
    sections = [('text', doc.body)]
    sections += [(f'@{name}', section) for name, section in doc.members.items()]
    sections += [(f'feature @{name}', section) for name, section in doc.features.items()]
    sections += [(section.name, section) for section in doc.tagged]
    for title, section in sections:
        if section.text:
            yield f'    doc {title}: ' + section.text.replace('\n', '\n        ')


def generate(schema):
    lines = []
    for item in schema.docs:
        if isinstance(item, Doc):
            lines.append('text')
            lines += documentation(item)
            continue
        for kind, dump in ((EnumType, enum), (AlternateType, alternate), (Command, command),
                           (Event, event), (object, struct)):
            if isinstance(item, kind):
                lines += dump(item)
                break
        if item.doc:
            lines += documentation(item.doc)
    return ''.join(line.rstrip() + '\n' for text in lines for line in text.split('\n'))
