"""Spelling: which names the language allows, and what they become in C."""

import re

# A type is CamelCase, an event UPPER_CASE, everything else lower-case-with-dashes.
TYPE = re.compile(r'[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*\Z')
EVENT = re.compile(r'[A-Z][A-Z0-9]*(_[A-Z0-9]+)*\Z')
LOWER = re.compile(r'[a-z][a-z0-9]*(-[a-z0-9]+)*\Z')
ENUM_VALUE = re.compile(r'[a-z0-9]+(-[a-z0-9]+)*\Z')
# What a pragma may except from the above.
ANY = re.compile(r'[A-Za-z0-9]+([_-][A-Za-z0-9]+)*\Z')

# C11's keywords, and lower-case macros of the headers that generated code includes.
C_WORDS = frozenset('''
    auto break case char const continue default do double else enum extern float for goto
    if inline int long register restrict return short signed sizeof static struct switch
    typedef union unsigned void volatile while bool true false asm typeof linux unix errno
'''.split())
# What a generated function calls its own parameters.
C_PARAMS = frozenset('ctx arena error sink data'.split())


def c_name(name):
    """A member or command as a C identifier."""
    name = re.sub(r'[^A-Za-z0-9_]', '_', name)
    if name in C_WORDS or name[0].isdigit():
        return 'q_' + name
    return name


def c_param(name):
    """A member as a parameter of a handler or event function."""
    name = c_name(name)
    return 'q_' + name if name in C_PARAMS else name


def upper(name):
    """RunState and run-state are RUN_STATE."""
    name = re.sub(r'([a-z0-9])([A-Z])', r'\1_\2', name)
    name = re.sub(r'([A-Z])([A-Z][a-z])', r'\1_\2', name)
    return re.sub(r'[^A-Za-z0-9]', '_', name).upper()


def c_string(text):
    """A C string literal; the text is UTF-8 once encoded."""
    out = ''
    for byte in text.encode('utf-8'):
        char = chr(byte)
        if char in '"\\':
            out += '\\' + char
        elif 0x20 <= byte < 0x7f:
            out += char
        else:
            out += f'\\{byte:03o}'
    return f'"{out}"'.replace('??', '?\\?')
