"""Expressions to IR: resolves names and checks what needs more than one definition."""

from . import names
from .expr import check_exprs
from .parser import parse_schema
from .schema import (AlternateType, Command, EnumType, Event, Member, Schema, StructType,
                     Variants, fail)
from .source import QapiError


MAX_BASES = 64   # of one another


class Builder:
    def __init__(self, pragma):
        self.pragma = pragma
        self.schema = Schema()
        self.checked = {}      # entity -> Checked

    # ---- names first, so that order does not matter

    def define(self, checked):
        make = {
            'enum': EnumType, 'alternate': AlternateType,
            'struct': self._struct, 'union': self._struct,
            'command': Command, 'event': Event,
        }
        entity = make[checked.meta](checked)
        self.checked[entity] = checked
        self.schema.entities.append(entity)
        if isinstance(entity, Command):
            self.schema.commands.append(entity)
        elif isinstance(entity, Event):
            self.schema.events.append(entity)
        else:
            if entity.name in self.schema.types:
                fail(entity, f"'{entity.name}' is already defined")
            self.schema.types[entity.name] = entity
        return entity

    @staticmethod
    def _struct(checked):
        return StructType(checked.name, checked.info, checked.doc, checked.features,
                          checked.meta)

    def distinct(self, entities, what):
        """No two entities may become the same C name."""
        seen = {}
        for entity in entities:
            other = seen.setdefault(entity.c_name, entity)
            if other is not entity:
                fail(entity, f"'{entity.name}' is already defined"
                     if other.name == entity.name
                     else f"{what} clashes with '{other.name}'")

    # ---- then what they refer to

    def lookup(self, entity, ref, what):
        if isinstance(ref, list):
            return self.schema.array_of(self.lookup(entity, ref[0], what))
        type_ = self.schema.types.get(ref)
        if type_ is None:
            fail(entity, f"{what} uses unknown type '{ref}'")
        return type_

    def members(self, entity, triples):
        return [Member(name, self.lookup(entity, ref, f"member '{name}'"), optional,
                       features, entity.info)
                for name, optional, ref, features in triples]

    def struct(self, entity):
        value = self.checked[entity].value
        base = value.get('base')
        if isinstance(base, str):
            entity.base = self.lookup(entity, base, "'base'")
            if not isinstance(entity.base, StructType) or entity.base.what != 'struct':
                fail(entity, f"'base' must be a struct, '{base}' is not")
        if entity.what == 'struct':
            entity.local = self.members(entity, value['data'])
        elif isinstance(base, list):
            entity.local = self.members(entity, base)

    def alternate(self, entity):
        for name, ref in self.checked[entity].value['data']:
            type_ = self.lookup(entity, ref, f"branch '{name}'")
            branch = Member(name, type_, False, [], entity.info)
            if type_.json not in entity.TOKENS:
                fail(entity, f"branch '{name}' cannot use type {type_.describe()}")
            for token in entity.TOKENS[type_.json]:
                if token in entity.by_token:
                    other = entity.branches[entity.by_token[token]]
                    fail(entity, f"branch '{name}' cannot be told from '{other.name}'")
                entity.by_token[token] = len(entity.branches)
            entity.branches.append(branch)
        self.no_clash(entity, entity.branches)

    def arguments(self, entity):
        data = self.checked[entity].value.get('data')
        if isinstance(data, list):
            entity.args = StructType(f'{entity.name}-arg', entity.info, what='implicit')
            entity.args.local = self.members(entity, data)
        elif data is not None:
            entity.args = self.lookup(entity, data, "'data'")
            if not isinstance(entity.args, StructType):
                fail(entity, f"'data' must be a struct, '{data}' is not")
            if entity.args.what == 'union' and not entity.boxed:
                fail(entity, f"'data' can be {entity.args.describe()} only with 'boxed'")

    def command(self, entity):
        self.arguments(entity)
        entity.session = self.pragma.has('session-commands', entity.name)
        ref = self.checked[entity].value.get('returns')
        if ref is None:
            return
        entity.ret = self.lookup(entity, ref, "'returns'")
        excepted = self.pragma.has('command-returns-exceptions', entity.name)
        if entity.ret.json in ('object', 'array'):
            return
        if not excepted:
            fail(entity, f"cannot return {entity.ret.describe()}: not an object or list")
        if entity.ret.kind not in ('STR', 'ANY'):
            fail(entity, f"cannot return {entity.ret.describe()}: of scalars only 'str' "
                 "and 'any' are supported")

    def resolve(self, entity):
        if isinstance(entity, StructType):
            self.struct(entity)
        elif isinstance(entity, AlternateType):
            self.alternate(entity)
        elif isinstance(entity, Command):
            self.command(entity)
        elif isinstance(entity, Event):
            self.arguments(entity)

    # ---- then the whole

    def no_clash(self, entity, members):
        seen = {}
        for member in members:
            other = seen.setdefault(member.c_name, member)
            if other is not member:
                fail(entity, f"member '{member.name}' appears twice"
                     if other.name == member.name
                     else f"member '{member.name}' clashes with '{other.name}'")

    def no_base_cycle(self, entity):
        depth, base = 0, entity.base
        while base:
            if base is entity:
                fail(entity, f"'{entity.name}' is its own base")
            depth, base = depth + 1, base.base
            if depth > MAX_BASES:
                fail(entity, 'bases are nested too deeply')

    def no_embedding_cycle(self, entity):
        """A required member is held by value: a type cannot hold itself."""
        todo, seen = list(entity.embedded()), set()
        while todo:
            type_ = todo.pop()
            if type_ is entity:
                fail(entity, f"'{entity.name}' contains itself")
            if type_ not in seen:
                seen.add(type_)
                todo += type_.embedded()

    def variants(self, entity):
        """After the bases are known to end."""
        value = self.checked[entity].value
        name = value['discriminator']
        tag = next((m for m in entity.members() if m.name == name), None)
        if tag is None:
            fail(entity, f"discriminator '{name}' is not a member of 'base'")
        if not isinstance(tag.type, EnumType):
            fail(entity, f"discriminator '{name}' must be an enum")
        if tag.optional:
            fail(entity, f"discriminator '{name}' cannot be optional")
        branches = []
        for case, ref in value['data']:
            if case not in tag.type.value_names():
                fail(entity, f"branch '{case}' is not a value of enum '{tag.type.name}'")
            type_ = self.lookup(entity, ref, f"branch '{case}'")
            if not isinstance(type_, StructType) or type_.what != 'struct':
                fail(entity, f"branch '{case}' must be a struct, '{ref}' is not")
            branches.append((case, type_))
        entity.variants = Variants(tag, branches)

    def whole_struct(self, entity):
        self.no_clash(entity, entity.members())
        if entity.variants:
            for case, type_ in entity.variants.branches:
                own = {member.c_name for member in entity.members()}
                for member in type_.members():
                    if member.c_name in own:
                        fail(entity, f"branch '{case}': member '{member.name}' is "
                             "in 'base' already")

    def enum_constants(self):
        seen = {}
        for entity in self.schema.enums():
            for member in entity.members:
                if member.c_name in seen:
                    fail(entity, f"value '{member.name}' clashes in C with "
                         f"{seen[member.c_name]}")
                seen[member.c_name] = f"'{member.name}' of '{entity.name}'"

    def pragmas_name_something(self):
        """An exception for nothing is a misspelling."""
        commands = {command.name for command in self.schema.commands}
        entities = {entity.name for entity in self.schema.entities}
        for name, entries in self.pragma.lists.items():
            known = commands if 'command' in name else entities
            for entry, info in entries.items():
                if entry not in known:
                    raise QapiError(info, f"pragma '{name}' names unknown '{entry}'")

    def check_whole(self):
        schema = self.schema
        self.distinct(schema.commands, 'command')
        self.distinct(schema.events, 'event')
        for entity in schema.structs():
            self.no_base_cycle(entity)
        for entity in schema.structs():
            if entity.what == 'union':
                self.variants(entity)
        for entity in schema.structs() + schema.alternates():
            self.no_embedding_cycle(entity)
        for entity in schema.structs():
            self.whole_struct(entity)
        for entity in schema.commands + schema.events:
            if entity.args:
                self.no_clash(entity, entity.args.members())
        self.enum_constants()
        self.pragmas_name_something()

    # ---- documentation

    def described(self, entity):
        """What a definition's documentation describes with `@name:`."""
        if isinstance(entity, EnumType):
            return entity.members
        if isinstance(entity, StructType):
            return entity.local
        if isinstance(entity, AlternateType):
            return entity.branches
        if entity.args and entity.args.what == 'implicit':
            return entity.args.local
        return []

    def check_doc(self, entity):
        doc = entity.doc
        if doc is None:
            if self.pragma.doc_required:
                fail(entity, 'is not documented')
            return
        if doc.symbol != entity.name:
            raise QapiError(doc.info, f"documentation for '{doc.symbol}' is followed by "
                            f"'{entity.name}'")
        members = self.described(entity)
        self._names_exist(doc.members, [m.name for m in members], 'member')
        features = list(entity.features)
        for member in members:
            features += getattr(member, 'features', [])
        self._names_exist(doc.features, features, 'feature')
        returns = doc.tag('Returns')
        if returns and not getattr(entity, 'ret', None):
            raise QapiError(returns.info, f"'{entity.name}' returns nothing")
        if self.pragma.has('documentation-exceptions', entity.name):
            return
        self._all_described(entity, doc.members, [m.name for m in members], 'member')
        self._all_described(entity, doc.features, features, 'feature')

    def _names_exist(self, sections, known, what):
        for name, section in sections.items():
            if name not in known:
                raise QapiError(section.info, f"documented {what} '{name}' does not exist")

    def _all_described(self, entity, sections, known, what):
        for name in known:
            if self.pragma.doc_required and name not in sections:
                fail(entity, f"{what} '{name}' is not documented")


def build_schema(path):
    """The IR of the schema at path, or QapiError."""
    exprs, pragma = parse_schema(path)
    builder = Builder(pragma)
    definitions = iter([builder.define(checked) for checked in check_exprs(exprs)])
    for expr in exprs:
        builder.schema.docs.append(expr.doc if expr.value is None else next(definitions))
    for entity in builder.schema.entities:
        builder.resolve(entity)
    builder.check_whole()
    for entity in builder.schema.entities:
        builder.check_doc(entity)
    return builder.schema
