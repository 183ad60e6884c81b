"""Pieces of C that more than one back-end writes."""

from .names import c_param, c_string

WIDTH = 90


def declare(c_type, name):
    """`const char *name`, `uint16_t name`."""
    return f'{c_type}{name}' if c_type.endswith('*') else f'{c_type} {name}'


def fields(members):
    """The members of a C struct."""
    lines = []
    for member in members:
        c_type = member.type.c_type()
        presence = member.presence()
        if presence == 'HAS_FLAG':
            lines.append(f'    bool has_{member.c_name};')
        if presence == 'POINTER' and not c_type.endswith('*'):
            c_type += ' *'
        lines.append(f'    {declare(c_type, member.c_name)};')
    return lines or ['    char q_empty;']


def member_table(table, c_struct, members):
    """static const VdsQapiMember table[]; the struct's layout is checked beside it."""
    lines = [f'static const VdsQapiMember {table}[] = {{']
    for member in members:
        parts = [f'.name = {c_string(member.name)}', f'.type = &{member.type.table()}',
                 f'.offset = offsetof({c_struct}, {member.c_name})']
        if member.presence() == 'HAS_FLAG':
            parts.append(f'.has_offset = offsetof({c_struct}, has_{member.c_name})')
        if member.presence() != 'REQUIRED':
            parts.append(f'.presence = VDS_QAPI_{member.presence()}')
        lines.append(row(parts))
    lines.append('};')
    for member in members:
        lines += check(c_struct, member.c_name, pointee(member))
        if member.presence() == 'HAS_FLAG':
            lines += check(c_struct, f'has_{member.c_name}', 'bool')
    return lines


def row(parts):
    """A row of a table: on one line, or a part a line."""
    line = f'    {{{", ".join(parts)}}},'
    return line if len(line) <= WIDTH else '    {' + ',\n     '.join(parts) + '},'


def pointee(member):
    """The C type of the field that holds a member."""
    c_type = member.type.c_type()
    if member.presence() == 'POINTER' and not c_type.endswith('*'):
        return c_type + ' *'
    return c_type


def check(c_struct, field, c_type):
    """The field has exactly the type that the table says."""
    return [f'FIELD_IS({c_struct}, {field}, {c_type});']


FIELD_IS = [
    '/* The runtime reaches a field by offset and size: its type must be the table\'s. */',
    '#define FIELD_IS(Struct, field, Type)                                            \\',
    '    _Static_assert(_Generic(((Struct *)0)->field, Type : 1, default : 0),        \\',
    '                   #Struct "." #field " is no " #Type)',
]


def struct_type(linkage, table, name, c_struct, members, member_table_name, extra=()):
    """A VdsQapiType of kind STRUCT."""
    lines = [f'{linkage}const VdsQapiType {table} = {{',
             f'    .name = {c_string(name)},',
             '    .kind = VDS_QAPI_STRUCT,',
             f'    .size = sizeof({c_struct}),']
    if members:
        lines += [f'    .members = {member_table_name},',
                  f'    .n_members = {len(members)},']
    return lines + list(extra) + ['};']


def parameters(args, boxed):
    """The parameters of a handler or event function that carry `args`."""
    if args is None:
        return []
    if boxed:
        return [f'const {args.c_type()} *arg']
    result = []
    for member in args.members():
        name, c_type = c_param(member.c_name), member.type.c_type()
        if passed_by_pointer(member):
            result.append(f'const {c_type} *{name}')
            continue
        if member.presence() == 'HAS_FLAG':
            result.append(f'bool has_{member.c_name}')
        result.append(declare(c_type, name))
    return result


def passed_by_pointer(member):
    """Aggregates go by pointer, NULL where an optional one is absent."""
    return member.type.kind in ('STRUCT', 'ALTERNATE', 'LIST', 'ANY', 'NULL')


def call(head, args, end):
    """`head(args...)end` in lines of at most WIDTH, broken between arguments."""
    lines, line = [], head + '('
    indent = ' ' * len(line)
    for index, arg in enumerate(args):
        piece = arg + (', ' if index + 1 < len(args) else ')' + end)
        if index and len(line + piece.rstrip()) > WIDTH:
            lines.append(line.rstrip())
            line = indent
        line += piece
    return '\n'.join([*lines, line])


def signature(result, name, params, end=''):
    """A function's head."""
    return call(declare(result, name), params, end)
