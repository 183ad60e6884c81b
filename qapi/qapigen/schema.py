"""The IR: entities that refer to each other, checked as a whole.

Back-ends read it and decide nothing: which presence a member has, which members a struct
has with its base's, in which order C needs the structs, are answered here.
"""

from . import names
from .source import QapiError


class Type:
    """What a member or a result can be.  `json` is the JSON type of introspection."""

    kind = None       # of VdsQapiKind, without its prefix
    json = None
    by_pointer = False   # an optional one is a pointer that may be NULL

    def __init__(self, name, info=None):
        self.name = name
        self.info = info

    def describe(self):
        return f"'{self.name}'"

    def c_type(self):
        return 'Qapi' + self.name

    def table(self):
        return 'qapi_type_' + self.name

    def embedded(self):
        """Types that must be complete before this one is."""
        return []


class BuiltinType(Type):
    def __init__(self, name, kind, json, c_type, by_pointer=False):
        super().__init__(name)
        self.kind = kind
        self.json = json
        self._c_type = c_type
        self.by_pointer = by_pointer

    def c_type(self):
        return self._c_type


def _builtins():
    yield BuiltinType('str', 'STR', 'string', 'const char *', by_pointer=True)
    yield BuiltinType('bool', 'BOOL', 'boolean', 'bool')
    yield BuiltinType('number', 'NUMBER', 'number', 'double')
    yield BuiltinType('null', 'NULL', 'null', 'VdsQapiNull')
    yield BuiltinType('any', 'ANY', 'value', 'VdsQapiAny', by_pointer=True)
    yield BuiltinType('int', 'INT', 'int', 'int64_t')
    yield BuiltinType('size', 'UINT', 'int', 'uint64_t')
    for bits in (8, 16, 32, 64):
        yield BuiltinType(f'int{bits}', 'INT', 'int', f'int{bits}_t')
        yield BuiltinType(f'uint{bits}', 'UINT', 'int', f'uint{bits}_t')


class ArrayType(Type):
    kind = 'LIST'
    json = 'array'

    def __init__(self, element):
        name = element.name
        super().__init__(name[0].upper() + name[1:] + 'List')
        self.element = element

    def describe(self):
        return f"'[{self.element.name}]'"


class EnumMember:
    def __init__(self, name, features, c_name):
        self.name = name
        self.features = features
        self.c_name = c_name   # the C constant


class EnumType(Type):
    kind = 'ENUM'
    json = 'string'

    def __init__(self, checked):
        super().__init__(checked.name, checked.info)
        self.doc = checked.doc
        self.features = checked.features
        prefix = checked.value.get('prefix') or 'QAPI_' + names.upper(self.name)
        self.members = [EnumMember(name, features, f'{prefix}_{names.upper(name)}')
                        for name, features in checked.value['data']]

    def value_names(self):
        return [member.name for member in self.members]


class Member:
    def __init__(self, name, type_, optional, features, info):
        self.name = name
        self.type = type_
        self.optional = optional
        self.features = features
        self.info = info
        self.c_name = names.c_name(name)

    def presence(self):
        if not self.optional:
            return 'REQUIRED'
        return 'POINTER' if self.type.by_pointer else 'HAS_FLAG'


class Variants:
    """The branches of a union: each value of the tag may bring members of its own."""

    def __init__(self, tag, branches):
        self.tag = tag             # Member
        self.branches = branches   # [(value, StructType)], in schema order

    def branch(self, value):
        return next((type_ for case, type_ in self.branches if case == value), None)


class StructType(Type):
    """A struct, a union, or the nameless object of a command's arguments."""

    kind = 'STRUCT'
    json = 'object'
    by_pointer = True

    def __init__(self, name, info, doc=None, features=(), what='struct'):
        super().__init__(name, info)
        self.doc = doc
        self.features = list(features)
        self.what = what       # 'struct', 'union' or 'implicit'
        self.base = None       # StructType; None also where the base has no name
        self.local = []        # its own members (an implicit base's among them)
        self.variants = None

    def describe(self):
        return f"{self.what} '{self.name}'"

    def members(self):
        """All members but the variants', the base's first."""
        return (self.base.members() if self.base else []) + self.local

    def embedded(self):
        types = [m.type for m in self.members() if m.presence() != 'POINTER']
        if self.variants:
            types += [type_ for _, type_ in self.variants.branches]
        return types


class AlternateType(Type):
    kind = 'ALTERNATE'
    json = 'value'
    by_pointer = True

    # Which of the lexer's kinds select a branch of this JSON type.
    TOKENS = {
        'string': ['STRING'], 'boolean': ['TRUE', 'FALSE'], 'null': ['NULL'],
        'int': ['INT', 'UINT'], 'number': ['INT', 'UINT', 'NUMBER'],
        'object': ['OBJECT'], 'array': ['ARRAY'],
    }

    def __init__(self, checked):
        super().__init__(checked.name, checked.info)
        self.doc = checked.doc
        self.features = checked.features
        self.branches = []     # [Member]
        self.by_token = {}     # kind of token -> position in branches

    def tag_name(self, member):
        return f'QAPI_{names.upper(self.name)}_KIND_{names.upper(member.name)}'

    def embedded(self):
        return [branch.type for branch in self.branches]


class Command:
    def __init__(self, checked):
        self.name = checked.name
        self.info = checked.info
        self.doc = checked.doc
        self.features = checked.features
        self.boxed = checked.value.get('boxed', False)
        self.gen = checked.value.get('gen', True)
        self.allow_oob = checked.value.get('allow-oob', False)
        self.session = False
        self.args = None       # StructType, or None
        self.ret = None        # Type, or None
        self.c_name = names.c_name(self.name)


class Event:
    def __init__(self, checked):
        self.name = checked.name
        self.info = checked.info
        self.doc = checked.doc
        self.features = checked.features
        self.boxed = checked.value.get('boxed', False)
        self.args = None
        self.c_name = names.c_name(self.name.lower())
        self.c_index = 'QAPI_EVENT_' + self.name


class Schema:
    """Everything, in schema order.  build.py fills it."""

    def __init__(self):
        self.types = {type_.name: type_ for type_ in _builtins()}
        self.arrays = {}      # element's name -> ArrayType, in order of first use
        self.commands = []
        self.events = []
        self.entities = []    # types, commands, events as they are defined
        self.docs = []        # Doc (free-form) or entity, in order of the text

    def array_of(self, element):
        return self.arrays.setdefault(element.name, ArrayType(element))

    def enums(self):
        return [e for e in self.entities if isinstance(e, EnumType)]

    def structs(self):
        return [e for e in self.entities if isinstance(e, StructType)]

    def alternates(self):
        return [e for e in self.entities if isinstance(e, AlternateType)]

    def builtins(self):
        return [t for t in self.types.values() if isinstance(t, BuiltinType)]

    def in_c_order(self):
        """Structs and alternates so that each follows what it holds by value."""
        done, order = set(), []
        for entity in self.entities:
            todo = [entity]
            while todo:
                type_ = todo[-1]
                if type_ in done or not isinstance(type_, (StructType, AlternateType)):
                    todo.pop()
                    continue
                inner = [t for t in type_.embedded() if t not in done
                         and isinstance(t, (StructType, AlternateType))]
                if inner:
                    todo += reversed(inner)
                else:
                    done.add(type_)
                    order.append(todo.pop())
        return order


def fail(entity, message):
    raise QapiError(entity.info, message)
