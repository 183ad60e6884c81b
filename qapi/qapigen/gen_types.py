"""Back-end: qapi-types.h, qapi-types.c: a C type and a constant table for each type."""

from .ctext import FIELD_IS, check, fields, member_table, struct_type
from .names import c_name, c_string, upper
from .output import Text
from .schema import AlternateType

# The lexer's kinds, in the order of VdsJsonKind.
TOKENS = ('OBJECT', 'ARRAY', 'STRING', 'INT', 'UINT', 'NUMBER', 'TRUE', 'FALSE', 'NULL')


# ---- declarations

def enum_decl(enum):
    yield f'typedef enum {enum.c_type()} {{'
    for member in enum.members:
        yield f'    {member.c_name},'
    yield f'}} {enum.c_type()};'
    yield ''


def list_decl(array):
    element = array.element.c_type()
    star = '*' if element.endswith('*') else ' *'
    yield f'typedef struct {array.c_type()} {{'
    yield '    size_t n;'
    yield f'    {element}{star}items;'
    yield f'}} {array.c_type()};'
    yield ''


def struct_decl(struct):
    yield f'struct {struct.c_type()} {{'
    yield from fields(struct.members())
    if struct.variants:
        yield f'    union {{ /* by {struct.variants.tag.c_name} */'
        for member in branch_members(struct):
            yield f'        {member[1].c_type()} {member[0]};'
        if not struct.variants.branches:
            yield '        char q_empty;'
        yield '    } u;'
    yield '};'
    yield ''


def branch_members(struct):
    return [(c_name(case), type_) for case, type_ in struct.variants.branches]


def alternate_decl(alternate):
    yield f'struct {alternate.c_type()} {{'
    yield f'    int kind; /* QAPI_{upper(alternate.name)}_KIND_... */'
    yield '    union {'
    for branch in alternate.branches:
        c_type = branch.type.c_type()
        yield f'        {c_type}{"" if c_type.endswith("*") else " "}{branch.c_name};'
    yield '    } u;'
    yield '};'
    yield ''


def header(schema):
    out = Text('The types of the QAPI schema.')
    out.add('#pragma once', '', '#include "vds/qapi.h"', '')
    for enum in schema.enums():
        out.add(*enum_decl(enum))
    for alternate in schema.alternates():
        out.add('enum {')
        out.add(*(f'    {alternate.tag_name(b)},' for b in alternate.branches))
        out.add('};', '')
    for type_ in schema.in_c_order():
        out.add(f'typedef struct {type_.c_type()} {type_.c_type()};')
    out.add('')
    for array in schema.arrays.values():
        out.add(*list_decl(array))
    for type_ in schema.in_c_order():
        out.add(*(alternate_decl if isinstance(type_, AlternateType) else struct_decl)(type_))
    for type_ in all_types(schema):
        out.add(f'extern const VdsQapiType {type_.table()};')
    return out.text()


def all_types(schema):
    return [*schema.builtins(), *schema.enums(), *schema.in_c_order(), *schema.arrays.values()]


# ---- tables

def builtin_table(builtin):
    yield (f'const VdsQapiType {builtin.table()} = {{.name = {c_string(builtin.name)}, '
           f'.kind = VDS_QAPI_{builtin.kind}, .size = sizeof({builtin.c_type()})}};')


def enum_table(enum):
    yield f'static const char *const values_{enum.name}[] = {{'
    for member in enum.members:
        yield f'    [{member.c_name}] = {c_string(member.name)},'
    yield '};'
    yield f'_Static_assert(sizeof({enum.c_type()}) == sizeof(int), "the runtime\'s enum");'
    yield f'const VdsQapiType {enum.table()} = {{'
    yield f'    .name = {c_string(enum.name)},'
    yield '    .kind = VDS_QAPI_ENUM,'
    yield f'    .size = sizeof({enum.c_type()}),'
    yield f'    .values = values_{enum.name},'
    yield f'    .n_values = {len(enum.members)},'
    yield '};'
    yield ''


def list_table(array):
    c_type = array.c_type()
    yield f'_Static_assert(sizeof({c_type}) == sizeof(VdsQapiList)'
    yield f'                   && offsetof({c_type}, n) == offsetof(VdsQapiList, n)'
    yield f'                   && offsetof({c_type}, items) == offsetof(VdsQapiList, items),'
    yield '               "the runtime\'s list");'
    yield f'const VdsQapiType {array.table()} = {{'
    yield f'    .name = {c_string(array.name)},'
    yield '    .kind = VDS_QAPI_LIST,'
    yield f'    .size = sizeof({c_type}),'
    yield f'    .element = &{array.element.table()},'
    yield '};'
    yield ''


def struct_table(struct):
    members = struct.members()
    if members:
        yield from member_table(f'members_{struct.name}', struct.c_type(), members)
    extra = []
    if struct.variants:
        yield from variant_table(struct)
        position = members.index(struct.variants.tag) + 1
        extra = [f'    .tag_member = {position},',
                 f'    .variants = variants_{struct.name},',
                 f'    .union_offset = offsetof({struct.c_type()}, u),']
    yield from struct_type('', struct.table(), struct.name, struct.c_type(), members,
                           f'members_{struct.name}', extra)
    yield ''


def variant_table(struct):
    values = struct.variants.tag.type.members
    yield f'static const VdsQapiType *const variants_{struct.name}[{len(values)}] = {{'
    for value in values:
        branch = struct.variants.branch(value.name)
        if branch:
            yield f'    [{value.c_name}] = &{branch.table()},'
    if not struct.variants.branches:
        yield '    NULL,'
    yield '};'
    for field, type_ in branch_members(struct):
        yield from check(struct.c_type(), f'u.{field}', type_.c_type())


def alternate_table(alternate):
    name = alternate.name
    yield f'static const VdsQapiType *const branch_types_{name}[] = {{'
    for branch in alternate.branches:
        yield f'    [{alternate.tag_name(branch)}] = &{branch.type.table()},'
    yield '};'
    yield f'static const VdsQapiType *const branches_{name}[VDS_JSON_NULL + 1] = {{'
    for token in TOKENS:
        if token in alternate.by_token:
            branch = alternate.branches[alternate.by_token[token]]
            yield f'    [VDS_JSON_{token}] = &{branch.type.table()},'
    yield '};'
    yield f'static const int branch_tags_{name}[VDS_JSON_NULL + 1] = {{'
    for token in TOKENS:
        if token in alternate.by_token:
            branch = alternate.branches[alternate.by_token[token]]
            yield f'    [VDS_JSON_{token}] = {alternate.tag_name(branch)},'
    yield '};'
    for branch in alternate.branches:
        yield from check(alternate.c_type(), f'u.{branch.c_name}', branch.type.c_type())
    yield f'const VdsQapiType {alternate.table()} = {{'
    yield f'    .name = {c_string(name)},'
    yield '    .kind = VDS_QAPI_ALTERNATE,'
    yield f'    .size = sizeof({alternate.c_type()}),'
    yield f'    .union_offset = offsetof({alternate.c_type()}, u),'
    yield f'    .branches = branches_{name},'
    yield f'    .branch_tag = branch_tags_{name},'
    yield f'    .branch_types = branch_types_{name},'
    yield '};'
    yield ''


def source(schema):
    out = Text('The tables of the QAPI schema\'s types.')
    out.add('#include <stddef.h>', '', '#include "qapi-types.h"', '', *FIELD_IS, '')
    for builtin in schema.builtins():
        out.add(*builtin_table(builtin))
    out.add('')
    for enum in schema.enums():
        out.add(*enum_table(enum))
    for array in schema.arrays.values():
        out.add(*list_table(array))
    for type_ in schema.in_c_order():
        out.add(*(alternate_table if isinstance(type_, AlternateType)
                  else struct_table)(type_))
    return out.text()


def generate(schema):
    return {'qapi-types.h': header(schema), 'qapi-types.c': source(schema)}
