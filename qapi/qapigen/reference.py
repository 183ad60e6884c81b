"""The reference as blocks, before any mark-up: what the two documents have in common.

Blocks are tuples: ('section', title), ('entry', name, kind), ('text', paragraph),
('label', word), ('item', term, note, paragraphs), ('example', lines).  In texts, @name
and a type's name refer to something.
"""

from .docs import Doc
from .schema import AlternateType, Command, EnumType, Event, StructType

EXAMPLES = ('Example', 'Examples')


def paragraphs(text):
    """Blank lines separate, and so does the bullet of a list."""
    result = []
    for line in text.split('\n'):
        if not line or not result or line.startswith('- '):
            result.append(line)
        else:
            result[-1] = f'{result[-1]} {line.strip()}'.strip()
    return [paragraph for paragraph in result if paragraph]


def type_words(type_):
    """A type as a reader sees it: any width of integer is one."""
    if type_.kind == 'LIST':
        return f'list of {type_words(type_.element)}'
    return type_.name


def described(name, section, note):
    return ('item', name, note, paragraphs(section.text) if section else [])


class Reference:
    def __init__(self, schema):
        self.schema = schema
        self.blocks = []
        for item in schema.docs:
            if isinstance(item, Doc):
                self._text(item)
            elif item.doc:
                self._entry(item)

    def _add(self, *block):
        self.blocks.append(block)

    def _text(self, doc):
        lines = doc.body.text
        if lines.startswith('= '):
            title, _, lines = lines.partition('\n')
            self._add('section', title[2:])
        self._paragraphs(lines)

    def _paragraphs(self, text):
        for paragraph in paragraphs(text):
            self._add('text', paragraph)

    def _label(self, word, items):
        items = list(items)
        if items:
            self._add('label', word)
            self.blocks += items

    def _entry(self, item):
        kinds = {EnumType: 'enum', AlternateType: 'alternate', Command: 'command',
                 Event: 'event', StructType: 'object'}
        kind = next(name for type_, name in kinds.items() if isinstance(item, type_))
        self._add('entry', item.name, kind)
        self._paragraphs(item.doc.body.text)
        if kind == 'enum':
            self._label('Values', self._values(item))
        elif kind == 'alternate':
            self._label('One of', self._members(item.doc, item.branches))
        elif kind == 'object':
            self._label('Members', self._object(item))
        else:
            self._label('Arguments' if kind == 'command' else 'Data', self._arguments(item))
        self._tags(item)

    def _values(self, enum):
        if enum.doc.members:
            for member in enum.members:
                yield described(member.name, enum.doc.members.get(member.name), '')
        else:
            yield ('item', ', '.join(enum.value_names()), '', [])

    def _members(self, doc, members):
        for member in members:
            note = type_words(member.type) + (', optional' if member.optional else '')
            yield described(member.name, doc.members.get(member.name), note)

    def _object(self, struct):
        if struct.base:
            yield ('item', struct.base.name, 'its members', [])
        yield from self._members(struct.doc, struct.local)
        if struct.variants:
            for case, type_ in struct.variants.branches:
                yield ('item', type_.name, 'its members',
                       [f'when @{struct.variants.tag.name} is {case}'])

    def _arguments(self, item):
        if item.args and item.args.what == 'implicit':
            yield from self._members(item.doc, item.args.local)
        elif item.args:
            yield ('item', item.args.name, 'its members', [])

    def _tags(self, item):
        doc = item.doc
        if getattr(item, 'ret', None):
            section = doc.tag('Returns')
            self._label('Reply', [('item', type_words(item.ret), '',
                                   paragraphs(section.text) if section else [])])
        self._label('Features', (described(name, section, '')
                                 for name, section in doc.features.items()))
        for section in doc.tagged:
            if section.name in EXAMPLES:
                self._add('label', section.name)
                self._add('example', section.text)
            elif section.name == 'Since':
                self._add('text', f'Since {section.text}.')
            elif section.name != 'Returns':
                self._add('label', section.name)
                self._paragraphs(section.text)
