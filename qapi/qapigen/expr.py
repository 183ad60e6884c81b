"""The shape of expressions: keys, names and kinds of values, one expression at a time.

Turns shorthand into the long form, so that the IR is built without looking twice.  What
needs another expression (does this type exist?) is schema.py's.
"""

from . import names
from .source import QapiError


class Meta:
    """One kind of expression: its keys, and the spelling of its name."""

    def __init__(self, required, optional, spelling, what):
        self.required = required
        self.optional = optional
        self.spelling = spelling
        self.what = what


METAS = {
    'enum': Meta(['data'], ['features', 'prefix'], names.TYPE, 'CamelCase'),
    'struct': Meta(['data'], ['base', 'features'], names.TYPE, 'CamelCase'),
    'union': Meta(['base', 'discriminator', 'data'], ['features'], names.TYPE, 'CamelCase'),
    'alternate': Meta(['data'], ['features'], names.TYPE, 'CamelCase'),
    'command': Meta([], ['data', 'returns', 'boxed', 'gen', 'allow-oob', 'features'],
                    names.LOWER, 'lower-case-with-dashes'),
    'event': Meta([], ['data', 'boxed', 'features'], names.EVENT, 'UPPER_CASE'),
}
# Flags that are only ever written to say something unusual.
FLAGS = {'boxed': True, 'allow-oob': True, 'gen': False}
RESERVED_SUFFIXES = ('Kind', 'List')


class Checker:
    """One expression; self.info names it in messages."""

    def __init__(self, expr):
        self.expr = expr
        self.info = expr.info
        self.value = expr.value
        self.pragma = expr.pragma

    def fail(self, message):
        raise QapiError(self.info, message)

    def check(self):
        meta = self._meta()
        rule = METAS[meta]
        name = self.value[meta]
        if not isinstance(name, str) or not name:
            self.fail(f"'{meta}' key must have a string value")
        self.info = self.info.within(f"{meta} '{name}'")
        self._keys(meta, rule)
        self._own_name(meta, name, rule)
        self.flags()
        features = self.features(self.value.get('features'))
        getattr(self, meta)(name)
        return Checked(meta, name, self.info, self.value, features, self.expr)

    def _meta(self):
        found = [key for key in self.value if key in METAS]
        if not found:
            self.fail('expression is none of ' + ', '.join(f"'{m}'" for m in METAS))
        if len(found) > 1:
            self.fail(f"expression has both '{found[0]}' and '{found[1]}'")
        return found[0]

    def _keys(self, meta, rule):
        for key in self.value:
            if key == 'if':
                self.fail("'if' is not supported: one schema serves every build")
            if key not in (meta, *rule.required, *rule.optional):
                self.fail(f"unknown key '{key}'")
        for key in rule.required:
            if key not in self.value:
                self.fail(f"lacks key '{key}'")

    def _own_name(self, meta, name, rule):
        spelling = rule.spelling
        if meta == 'command' and self.pragma.has('command-name-exceptions', name):
            spelling = names.ANY
        if not spelling.match(name):
            self.fail(f"name must be {rule.what}")
        if rule.spelling is names.TYPE and name.endswith(RESERVED_SUFFIXES):
            self.fail(f"name must not end in '{name[-4:]}'")

    def flags(self):
        for key, usual in FLAGS.items():
            if key in self.value and self.value[key] is not usual:
                self.fail(f"'{key}' can only be {str(usual).lower()}")

    # ---- parts

    def features(self, value):
        """A list of names; (nullable)."""
        if value is None:
            return []
        if not isinstance(value, list):
            self.fail("'features' must be a list")
        for feature in value:
            if not isinstance(feature, str):
                self.fail("a feature must be a name")
            if not names.LOWER.match(feature):
                self.fail(f"feature '{feature}' must be lower-case-with-dashes")
        self.distinct(value, 'feature')
        return value

    def distinct(self, values, what):
        seen = set()
        for value in values:
            if value in seen:
                self.fail(f"{what} '{value}' appears twice")
            seen.add(value)

    def type_ref(self, value, what, array=True):
        """A type's name, or a list of exactly one."""
        if isinstance(value, list):
            if not array:
                self.fail(f"{what} cannot be an array")
            if len(value) != 1 or not isinstance(value[0], str):
                self.fail(f"{what}: an array is a list of one type name")
        elif not isinstance(value, str):
            self.fail(f"{what} must be a type name" + (' or an array' if array else ''))

    def members(self, owner, value, what):
        """An object of members, each made (name, optional, type, features)."""
        if not isinstance(value, dict):
            self.fail(f'{what} must be an object')
        return [self.member(owner, key, entry) for key, entry in value.items()]

    def member(self, owner, key, value):
        optional = key.startswith('*')
        name = key[1:] if optional else key
        self.member_name(owner, name)
        features = []
        if isinstance(value, dict):
            for inner in value:
                if inner == 'if':
                    self.fail(f"member '{name}': 'if' is not supported")
                if inner not in ('type', 'features'):
                    self.fail(f"member '{name}' has unknown key '{inner}'")
            if 'type' not in value:
                self.fail(f"member '{name}' lacks key 'type'")
            features = self.features(value.get('features'))
            value = value['type']
        self.type_ref(value, f"type of member '{name}'")
        return name, optional, value, features

    def member_name(self, owner, name):
        excepted = self.pragma.has('member-name-exceptions', owner)
        if not (names.ANY if excepted else names.LOWER).match(name):
            self.fail(f"member name '{name}' must be lower-case-with-dashes")
        if name == 'u' or name.replace('_', '-').startswith(('has-', 'q-')):
            self.fail(f"member name '{name}' is reserved")

    def arguments(self, name):
        """'data' of a command or event: an object, or a type's name when boxed."""
        data = self.value.get('data')
        if self.value.get('boxed') and not isinstance(data, str):
            self.fail("'boxed' needs 'data' to be a type name")
        if data is None:
            return
        if isinstance(data, str):
            return
        self.value['data'] = self.members(name, data, "'data'")

    # ---- the kinds

    def enum(self, name):
        data = self.value['data']
        if not isinstance(data, list):
            self.fail("'data' must be a list")
        if not data:
            self.fail("'data' must not be empty")
        prefix = self.value.get('prefix')
        if prefix is not None and (not isinstance(prefix, str)
                                   or not names.EVENT.match(prefix)):
            self.fail("'prefix' must be UPPER_CASE")
        self.value['data'] = [self.enum_value(name, entry) for entry in data]
        self.distinct([value for value, _ in self.value['data']], 'value')

    def enum_value(self, owner, entry):
        features = []
        if isinstance(entry, dict):
            for key in entry:
                if key == 'if':
                    self.fail("a value: 'if' is not supported")
                if key not in ('name', 'features'):
                    self.fail(f"a value has unknown key '{key}'")
            if 'name' not in entry:
                self.fail("a value lacks key 'name'")
            features = self.features(entry.get('features'))
            entry = entry['name']
        if not isinstance(entry, str):
            self.fail('a value must be a name or an object')
        excepted = self.pragma.has('member-name-exceptions', owner)
        if not (names.ANY if excepted else names.ENUM_VALUE).match(entry):
            self.fail(f"value '{entry}' must be lower-case-with-dashes")
        return entry, features

    def struct(self, name):
        self.value['data'] = self.members(name, self.value['data'], "'data'")
        if 'base' in self.value:
            self.type_ref(self.value['base'], "'base'", array=False)

    def union(self, name):
        base = self.value['base']
        if isinstance(base, dict):
            self.value['base'] = self.members(name, base, "'base'")
        else:
            self.type_ref(base, "'base'", array=False)
        if not isinstance(self.value['discriminator'], str):
            self.fail("'discriminator' must be a member's name")
        self.value['data'] = self.branches(name, "a union's branch must be a struct")

    def alternate(self, name):
        self.value['data'] = self.branches(name)
        if not self.value['data']:
            self.fail("'data' must not be empty")

    def branches(self, owner, no_array=None):
        data = self.value['data']
        if not isinstance(data, dict):
            self.fail("'data' must be an object")
        result = []
        for key, value in data.items():
            if key.startswith('*'):
                self.fail(f"branch '{key[1:]}' cannot be optional")
            name, _, type_ref, features = self.member(owner, key, value)
            if no_array and isinstance(type_ref, list):
                self.fail(f"branch '{name}': {no_array}")
            if features:
                self.fail(f"branch '{name}' cannot have features")
            result.append((name, type_ref))
        return result

    def command(self, name):
        self.arguments(name)
        if 'returns' in self.value:
            self.type_ref(self.value['returns'], "'returns'")
        if self.value.get('gen') is False and self.value.get('boxed'):
            self.fail("'gen' and 'boxed' exclude each other")

    def event(self, name):
        self.arguments(name)


class Checked:
    """An expression of good shape."""

    def __init__(self, meta, name, info, value, features, expr):
        self.meta = meta
        self.name = name
        self.info = info
        self.value = value
        self.features = features
        self.doc = expr.doc


def check_exprs(exprs):
    """Definitions in order; free-form documentation is left out."""
    return [Checker(expr).check() for expr in exprs if expr.value is not None]
