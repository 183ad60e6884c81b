"""Back-end: qapi-commands.h, qapi-commands.c: prototypes, typed shims, dispatch table."""

from . import ctext
from .ctext import (FIELD_IS, declare, fields, member_table, parameters, passed_by_pointer,
                    signature, struct_type)
from .names import c_string
from .output import Text


def handler_result(command):
    """The C type that a handler returns."""
    if command.ret is None:
        return 'bool'
    c_type = command.ret.c_type()
    return c_type if c_type.endswith('*') else c_type + ' *'


def prototype(command, end=''):
    params = ['VdsCmds *ctx', 'VdsArena *arena']
    if command.gen:
        params += parameters(command.args, command.boxed)
    else:
        params.append('VdsJsonValue arguments')
    return signature(handler_result(command), f'qmp_{command.c_name}',
                     [*params, 'GError **error'], end)


def header(schema):
    out = Text('Prototypes of the command handlers, and the table that leads to them.')
    out.add('#pragma once', '', '#include "qapi-types.h"', '',
            'typedef struct VdsCmds VdsCmds;', '')
    for command in by_name(schema):
        if not command.session:
            out.add(prototype(command, ';'))
    out.add('', f'enum {{ QAPI_N_COMMANDS = {len(schema.commands)} }};',
            'extern const VdsQapiCommand qapi_commands[QAPI_N_COMMANDS]; /* sorted by name */',
            'extern const VdsQapiDispatch qapi_dispatch;')
    return out.text()


def by_name(schema):
    return sorted(schema.commands, key=lambda command: command.name)


# ---- arguments

def has_own_args(command):
    """Arguments that no named type describes."""
    return command.gen and (command.args is None or command.args.what == 'implicit')


def args_c_type(command):
    return f'Args_{command.c_name}' if has_own_args(command) else command.args.c_type()


def args_table(command):
    """The name of the VdsQapiType of the arguments; none for gen: false."""
    if not command.gen:
        return None
    if command.args is None:
        return 'args_none'
    return f'args_{command.c_name}' if has_own_args(command) else command.args.table()


def args_type(command):
    c_struct, members = args_c_type(command), command.args.members()
    yield 'typedef struct {'
    yield from fields(members)
    yield f'}} {c_struct};'
    if members:
        yield from member_table(f'members_{command.c_name}', c_struct, members)
    yield from struct_type('static ', f'args_{command.c_name}', command.args.name, c_struct,
                           members, f'members_{command.c_name}')
    yield ''


# ---- shims

def passed(member):
    """How a shim hands a parsed member over."""
    field = f'args.{member.c_name}'
    if not passed_by_pointer(member):
        flag = [f'args.has_{member.c_name}'] if member.presence() == 'HAS_FLAG' else []
        return [*flag, field]
    if member.presence() == 'POINTER':
        return [field]
    if member.presence() == 'HAS_FLAG':
        return [f'args.has_{member.c_name} ? &{field} : NULL']
    return [f'&{field}']


def call(command, head):
    """`head qmp_x(...);`"""
    params = ['call->ctx', 'call->arena']
    if not command.gen:
        params.append('call->arguments')
    elif command.boxed:
        params.append('&args')
    elif command.args:
        for member in command.args.members():
            params += passed(member)
    return ctext.call(f'    {head} qmp_{command.c_name}', [*params, 'error'], ';')


def shim_result(command):
    """Calls the handler and places what it returns."""
    if command.ret is None:
        yield call(command, 'return')
        return
    yield call(command, 'reply =')
    yield '    if (!reply) {'
    yield '        return false;'
    yield '    }'
    if command.ret.kind == 'STR':
        yield '    slot = vds_arena_alloc(call->arena, sizeof(*slot));'
        yield '    *slot = reply;'
        yield '    *result = slot;'
    else:
        yield '    *result = reply;'
    yield '    return true;'


def shim(command):
    yield signature('static bool', f'invoke_{command.c_name}',
                    ['const VdsQapiCall *call', 'void **result', 'GError **error'])
    yield '{'
    if command.gen:
        c_type = 'ArgsNone' if command.args is None else args_c_type(command)
        yield f'    {c_type} args = {{0}};'
    if command.ret:
        yield f'    {declare(handler_result(command), "reply")};'
    if command.ret and command.ret.kind == 'STR':
        yield '    const char **slot;'
    if command.gen or command.ret:
        yield ''
    if command.gen:
        yield ctext.call('    if (!vds_qapi_parse',
                         [f'&{args_table(command)}', 'call->arguments', 'call->arena',
                          '&args', 'error'], ') {')
        yield '        return false;'
        yield '    }'
    yield from shim_result(command)
    yield '}'
    yield ''


NO_ARGS = [
    '/* Commands without arguments refuse those that come nevertheless. */',
    'typedef struct {',
    '    char q_empty;',
    '} ArgsNone;',
    'static const VdsQapiType args_none = {',
    '    .name = "q_empty",',
    '    .kind = VDS_QAPI_STRUCT,',
    '    .size = sizeof(ArgsNone),',
    '};',
    '',
]


def row(command):
    parts = [f'.name = {c_string(command.name)}']
    if args_table(command):
        parts.append(f'.args = &{args_table(command)}')
    if command.ret:
        parts.append(f'.ret = &{command.ret.table()}')
    if command.allow_oob:
        parts.append('.allow_oob = true')
    if 'unstable' in command.features:
        parts.append('.unstable = true')
    parts.append('.session = true' if command.session else f'.invoke = invoke_{command.c_name}')
    return ctext.row(parts)


def source(schema):
    out = Text('Shims: arguments in, handler, result out.  And their table.')
    out.add('#include <stddef.h>', '', '#include "qapi-commands.h"', '', *FIELD_IS, '')
    if any(command.gen and command.args is None for command in schema.commands):
        out.add(*NO_ARGS)
    for command in by_name(schema):
        if command.args and has_own_args(command):
            out.add(*args_type(command))
        if not command.session:
            out.add(*shim(command))
    out.add('const VdsQapiCommand qapi_commands[QAPI_N_COMMANDS] = {')
    out.add(*(row(command) for command in by_name(schema)))
    out.add('};', '', 'const VdsQapiDispatch qapi_dispatch = {qapi_commands, QAPI_N_COMMANDS};')
    return out.text()


def generate(schema):
    return {'qapi-commands.h': header(schema), 'qapi-commands.c': source(schema)}
