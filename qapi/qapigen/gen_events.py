"""Back-end: qapi-events.h, qapi-events.c: one function an event, and their table."""

from .ctext import (FIELD_IS, fields, member_table, parameters, passed_by_pointer, signature,
                    struct_type)
from .names import c_param, c_string
from .output import Text


def prototype(event, end=''):
    return signature('void', f'qapi_event_{event.c_name}',
                     ['const VdsEventSink *sink', *parameters(event.args, event.boxed)], end)


def header(schema):
    out = Text('The events of the QAPI schema.')
    out.add('#pragma once', '', '#include "qapi-types.h"', '', 'enum {')
    out.add(*(f'    {event.c_index},' for event in schema.events))
    out.add('    QAPI_N_EVENTS', '};',
            'extern const VdsQapiEvent qapi_events[QAPI_N_EVENTS];', '')
    out.add(*(prototype(event, ';') for event in schema.events))
    return out.text()


def has_own_data(event):
    return event.args is not None and event.args.what == 'implicit'


def data_c_type(event):
    return f'Data_{event.c_name}' if has_own_data(event) else event.args.c_type()


def data_table(event):
    return f'data_{event.c_name}' if has_own_data(event) else event.args.table()


def data_type(event):
    c_struct, members = data_c_type(event), event.args.members()
    yield 'typedef struct {'
    yield from fields(members)
    yield f'}} {c_struct};'
    if members:
        yield from member_table(f'members_{event.c_name}', c_struct, members)
    yield from struct_type('static ', f'data_{event.c_name}', event.args.name, c_struct,
                           members, f'members_{event.c_name}')
    yield ''


def initialiser(member):
    """How a parameter enters the event's data."""
    name, field = c_param(member.c_name), member.c_name
    if not passed_by_pointer(member):
        if member.presence() == 'HAS_FLAG':
            yield f'        .has_{field} = has_{field},'
        yield f'        .{field} = {name},'
    elif member.presence() == 'POINTER':
        yield f'        .{field} = ({member.type.c_type()} *){name},'
    elif member.presence() == 'HAS_FLAG':
        yield f'        .has_{field} = {name} != NULL,'
        yield f'        .{field} = {name} ? *{name} : ({member.type.c_type()}){{0}},'
    else:
        yield f'        .{field} = *{name},'


def function(event):
    yield prototype(event)
    yield '{'
    argument = 'NULL'
    if event.args is not None and event.boxed:
        argument = 'arg'
    elif event.args is not None:
        yield f'    const {data_c_type(event)} data = {{'
        for member in event.args.members():
            yield from initialiser(member)
        if not event.args.members():
            yield '        0,'
        yield '    };'
        yield ''
        argument = '&data'
    yield f'    sink->emit(sink->user, &qapi_events[{event.c_index}], {argument});'
    yield '}'
    yield ''


def source(schema):
    out = Text('Events: their data as plain structs, handed to a sink.')
    out.add('#include <stddef.h>', '', '#include "qapi-events.h"', '', *FIELD_IS, '')
    for event in schema.events:
        if has_own_data(event):
            out.add(*data_type(event))
    out.add('const VdsQapiEvent qapi_events[QAPI_N_EVENTS] = {')
    for event in schema.events:
        data = f', .data = &{data_table(event)}' if event.args is not None else ''
        out.add(f'    [{event.c_index}] = {{.name = {c_string(event.name)}{data}}},')
    out.add('};', '')
    for event in schema.events:
        out.add(*function(event))
    return out.text()


def generate(schema):
    return {'qapi-events.h': header(schema), 'qapi-events.c': source(schema)}
