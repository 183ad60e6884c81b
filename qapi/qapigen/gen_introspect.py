"""Back-end: qapi-introspect.h, qapi-introspect.c: the reply of query-qmp-schema.

The schema describes itself with types of its own module introspect.json, so the reply is
constant data of the generated type.  As in QEMU's reply: commands and events first, then
types in the order of first use; user types have numbers for names ("0" is the empty
object) and every width of integer is `int`.
"""

from .names import c_string, upper
from .output import Text
from .schema import AlternateType, ArrayType, BuiltinType, EnumType, StructType

EMPTY = StructType('q_empty', None, what='implicit')


class Introspection:
    """The entries, as (meta, name, features, {member: value})."""

    def __init__(self, schema):
        self.schema = schema
        self.used = []        # types, in order of first use
        self.numbers = {}     # name -> number
        self.entries = []
        self._number(EMPTY)
        for entity in schema.entities:
            if entity in schema.commands:
                self._command(entity)
            elif entity in schema.events:
                self._add('event', entity.name, entity.features,
                          arg_type=self._use(entity.args or EMPTY))
        for type_ in self.used:     # grows while it is walked
            self._type(type_)

    def _add(self, meta, name, features, **members):
        self.entries.append((meta, name, features, members))

    def _number(self, type_):
        return str(self.numbers.setdefault(type_.name, len(self.numbers)))

    def _name(self, type_):
        if isinstance(type_, BuiltinType):
            return type_.name
        if isinstance(type_, ArrayType):
            return f'[{self._name(type_.element)}]'
        return self._number(type_)

    def _use(self, type_):
        """The name of a type, which from now on is listed."""
        if type_.json == 'int':
            type_ = self.schema.types['int']
        if isinstance(type_, ArrayType) and type_.element.json == 'int':
            type_ = ArrayType(self.schema.types['int'])
        if type_.name not in (used.name for used in self.used):
            self.used.append(type_)
        if isinstance(type_, ArrayType):
            self._use(type_.element)
        return self._name(type_)

    def _command(self, command):
        members = {'arg_type': self._use(command.args or EMPTY),
                   'ret_type': self._use(command.ret or EMPTY)}
        if command.allow_oob:
            members['allow_oob'] = True
        self._add('command', command.name, command.features, **members)

    def _type(self, type_):
        name = self._name(type_)
        if isinstance(type_, BuiltinType):
            self._add('builtin', name, [], json_type=type_.json)
        elif isinstance(type_, ArrayType):
            self._add('array', name, [], element_type=self._name(type_.element))
        elif isinstance(type_, EnumType):
            self._add('enum', name, type_.features,
                      members=[(m.name, m.features) for m in type_.members],
                      values=type_.value_names())
        elif isinstance(type_, AlternateType):
            self._add('alternate', name, type_.features,
                      members=[self._use(branch.type) for branch in type_.branches])
        else:
            self._object(name, type_)

    def _object(self, name, type_):
        members = {'members': [(m.name, self._use(m.type), m.optional, m.features)
                               for m in type_.members()]}
        if type_.variants:
            members['tag'] = type_.variants.tag.name
            members['variants'] = [
                (value, self._use(type_.variants.branch(value) or EMPTY))
                for value in type_.variants.tag.type.value_names()]
        self._add('object', name, type_.features, **members)


class Writer:
    """Entries as C: inner arrays first, then the one array of entries."""

    def __init__(self):
        self.arrays = []
        self.named = {}   # rows -> array; equal ones are one

    def array(self, c_type, rows, const=''):
        """A named constant array, as the initialiser of a list struct."""
        if not rows:
            return '{0}'
        key = (c_type, *rows)
        if key not in self.named:
            self.named[key] = f'data_{len(self.named)}'
            self.arrays.append(f'static const {c_type}{self.named[key]}[] = {{')
            self.arrays += [f'    {row},' for row in rows]
            self.arrays.append('};')
        name = self.named[key]
        return f'{{{len(rows)}, ({const}{c_type.strip().removesuffix("const")}*){name}}}'

    def strings(self, texts):
        return self.array('char *const ', [c_string(text) for text in texts], 'const ')

    def features(self, names):
        return f', .has_features = true, .features = {self.strings(names)}' if names else ''

    def enum_members(self, members):
        return self.array('QapiSchemaInfoEnumMember ',
                          [f'{{.name = {c_string(name)}{self.features(features)}}}'
                           for name, features in members])

    def object_member(self, member):
        name, type_, optional, features = member
        default = ', .q_default = (VdsQapiAny *)&default_null' if optional else ''
        return (f'{{.name = {c_string(name)}, .type = {c_string(type_)}{default}'
                f'{self.features(features)}}}')

    def field(self, meta, key, value):
        """One member of an entry's branch."""
        if isinstance(value, bool):
            return f'.has_{key} = true, .{key} = true'
        if isinstance(value, str):
            return f'.{key} = {c_string(value)}'
        if key == 'values':
            return f'.values = {self.strings(value)}'
        if key == 'variants':
            rows = [f'{{.q_case = {c_string(case)}, .type = {c_string(type_)}}}'
                    for case, type_ in value]
            return ('.has_variants = true, .variants = '
                    + self.array('QapiSchemaInfoObjectVariant ', rows))
        if meta == 'enum':
            return f'.members = {self.enum_members(value)}'
        if meta == 'alternate':
            rows = [f'{{.type = {c_string(type_)}}}' for type_ in value]
            return '.members = ' + self.array('QapiSchemaInfoAlternateMember ', rows)
        return '.members = ' + self.array('QapiSchemaInfoObjectMember ',
                                          [self.object_member(m) for m in value])

    def entry(self, meta, name, features, members):
        if meta == 'builtin':
            members = {'json_type': f'QAPI_JSON_TYPE_{upper(members["json_type"])}'}
            inner = f'.json_type = {members["json_type"]}'
        else:
            inner = ', '.join(self.field(meta, key, value) for key, value in members.items())
        union = 'q_enum' if meta == 'enum' else meta
        return [f'    {{.name = {c_string(name)},',
                f'     .meta_type = QAPI_SCHEMA_META_TYPE_{upper(meta)}'
                f'{self.features(features)},',
                f'     .u.{union} = {{{inner}}}}},']


def can_introspect(schema):
    return 'SchemaInfo' in schema.types


def source(schema):
    writer = Writer()
    rows = [line for entry in Introspection(schema).entries for line in writer.entry(*entry)]
    out = Text('The reply of query-qmp-schema.')
    out.add('#include "qapi-introspect.h"', '',
            '/* An optional member says "default": null. */',
            'static const VdsQapiAny default_null = {.node = NULL};', '', *writer.arrays, '',
            'static const QapiSchemaInfo entries[] = {', *rows, '};', '',
            'const QapiSchemaInfoList qapi_schema_info = {G_N_ELEMENTS(entries),',
            '                                             (QapiSchemaInfo *)entries};')
    return out.text()


def header(_schema):
    out = Text('The reply of query-qmp-schema.')
    out.add('#pragma once', '', '#include "qapi-types.h"', '',
            'extern const QapiSchemaInfoList qapi_schema_info;')
    return out.text()


def generate(schema):
    if not can_introspect(schema):
        return {}
    return {'qapi-introspect.h': header(schema), 'qapi-introspect.c': source(schema)}
