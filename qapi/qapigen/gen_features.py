"""Back-end: virtio-features.h, virtio-features.c from features.json.

Input: objects of {"bit", "text"} in the order in which a reply lists them; device ids with
their names and the feature table that each uses.  See qapi/features.json.
"""

import json

from .names import LOWER, c_name, c_string
from .output import Text
from .source import QapiError, Source

TABLES = ('transport', 'status', 'protocol', 'desc-flag')
WIDTHS = {'transport': 64, 'status': 8, 'protocol': 64, 'desc-flag': 16}


class Checker:
    def __init__(self, path):
        self.path = path

    def fail(self, where, message):
        raise QapiError(Source(self.path).within(where), message)

    def read(self):
        try:
            with open(self.path, encoding='utf-8') as file:
                data = json.load(file)
        except (OSError, ValueError, RecursionError) as err:
            raise QapiError(Source(self.path), f'cannot be read: {err}') from None
        if not isinstance(data, dict):
            self.fail('features', 'must be an object')
        for key in (*TABLES, 'devices', 'device-ids'):
            if key not in data:
                self.fail('features', f"lacks '{key}'")
        for key in TABLES:
            self.table(key, data[key], WIDTHS[key])
        if not isinstance(data['devices'], dict):
            self.fail('devices', 'must be an object')
        for key, table in data['devices'].items():
            if not LOWER.match(key):
                self.fail('devices', f"'{key}' must be lower-case-with-dashes")
            self.table(f"device '{key}'", table, 64)
        self.device_ids(data)
        return data

    def table(self, where, table, width):
        if not isinstance(table, list):
            self.fail(where, 'must be a list')
        seen = set()
        for entry in table:
            if not isinstance(entry, dict) or set(entry) != {'bit', 'text'}:
                self.fail(where, "an entry has 'bit' and 'text' and nothing else")
            bit, text = entry['bit'], entry['text']
            if type(bit) is not int or not 0 <= bit < width:
                self.fail(where, f"bit {bit!r} is not in 0..{width - 1}")
            if not isinstance(text, str) or not text:
                self.fail(where, f"bit {bit}: 'text' must be a string")
            if bit in seen:
                self.fail(where, f'bit {bit} appears twice')
            seen.add(bit)

    def device_ids(self, data):
        where, seen = 'device-ids', set()
        if not isinstance(data[where], list) or not data[where]:
            self.fail(where, 'must be a list, and not empty')
        for entry in data[where]:
            if not isinstance(entry, dict) or not {'id', 'name'} <= set(entry) <= {
                    'id', 'name', 'features'}:
                self.fail(where, "an entry has 'id', 'name' and perhaps 'features'")
            number = entry['id']
            if type(number) is not int or not 0 < number < 256:
                self.fail(where, f'id {number!r} is not in 1..255')
            if number in seen:
                self.fail(where, f'id {number} appears twice')
            if not isinstance(entry['name'], str):
                self.fail(where, f"id {number}: 'name' must be a string")
            if entry.get('features') not in (None, *data['devices']):
                self.fail(where, f"id {number}: no device '{entry['features']}'")
            seen.add(number)


def header():
    out = Text('Names of feature, status, protocol and descriptor bits, and of device ids.')
    out.add(
        '#pragma once', '',
        '#include <stdint.h>', '',
        'typedef struct {',
        '    uint8_t bit;',
        '    const char *text;',
        '} VdsNamedBit;', '',
        '/* Bits in the order in which a reply lists them. */',
        'typedef struct {',
        '    uint64_t mask; /* of all of them */',
        '    unsigned n;',
        '    const VdsNamedBit *bits;',
        '} VdsBitTable;', '',
        'extern const VdsBitTable vds_transport_bits;',
        'extern const VdsBitTable vds_status_bits;',
        'extern const VdsBitTable vds_protocol_bits;',
        'extern const VdsBitTable vds_desc_flag_bits;', '',
        'typedef struct {',
        '    const char *name;            /* NULL: an id without a name */',
        '    const VdsBitTable *features; /* NULL: no feature of its own is named */',
        '} VdsDeviceNames;', '')
    return out


def bit_table(c_table, linkage, entries):
    mask = sum(1 << entry['bit'] for entry in entries)
    yield f'{linkage}const VdsBitTable {c_table} = {{'
    yield f'    .mask = UINT64_C(0x{mask:x}),'
    yield f'    .n = {len(entries)},'
    yield f'    .bits = {c_table}_list,' if entries else '    .bits = NULL,'
    yield '};'
    yield ''


def bit_list(c_table, entries):
    yield f'static const VdsNamedBit {c_table}_list[] = {{'
    for entry in entries:
        yield f'    {{{entry["bit"]}, {c_string(entry["text"])}}},'
    yield '};'


def generate(path):
    data = Checker(path).read()
    count = max(entry['id'] for entry in data['device-ids']) + 1
    head = header()
    head.add(f'enum {{ VDS_N_DEVICE_NAMES = {count} }};',
             'extern const VdsDeviceNames vds_device_names[VDS_N_DEVICE_NAMES]; /* by id */')
    out = Text('Names of feature, status, protocol and descriptor bits, and of device ids.')
    out.add('#include <stddef.h>', '', '#include "virtio-features.h"', '')
    for key in TABLES:
        out.add(*bits(f'vds_{c_name(key)}_bits', '', data[key]))
    for key, entries in data['devices'].items():
        out.add(*bits(f'{c_name(key)}_bits', 'static ', entries))
    out.add('const VdsDeviceNames vds_device_names[VDS_N_DEVICE_NAMES] = {')
    for entry in data['device-ids']:
        features = entry.get('features')
        table = f'&{c_name(features)}_bits' if features else 'NULL'
        out.add(f'    [{entry["id"]}] = {{{c_string(entry["name"])}, {table}}},')
    out.add('};')
    return {'virtio-features.h': head.text(), 'virtio-features.c': out.text()}


def bits(c_table, linkage, entries):
    if entries:
        yield from bit_list(c_table, entries)
    yield from bit_table(c_table, linkage, entries)
