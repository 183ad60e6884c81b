/*
 * Tables as the generator makes them, written by hand: every kind, every presence, a
 * union, an alternate, and a struct that holds itself.  For the runtime's tests and
 * fuzzer.
 */
#pragma once

#include <stddef.h>

#include "vds/qapi.h"

/* ---- built-in types --------------------------------------------------------------- */

#define SAMPLE_SCALAR(id, wire, k, ctype)                                                \
    static const VdsQapiType sample_##id = {                                             \
        .name = (wire), .kind = VDS_QAPI_##k, .size = sizeof(ctype)}
SAMPLE_SCALAR(str, "str", STR, char *);
SAMPLE_SCALAR(bool, "bool", BOOL, bool);
SAMPLE_SCALAR(int8, "int8", INT, int8_t);
SAMPLE_SCALAR(int16, "int16", INT, int16_t);
SAMPLE_SCALAR(int32, "int32", INT, int32_t);
SAMPLE_SCALAR(int, "int", INT, int64_t);
SAMPLE_SCALAR(uint8, "uint8", UINT, uint8_t);
SAMPLE_SCALAR(uint16, "uint16", UINT, uint16_t);
SAMPLE_SCALAR(uint32, "uint32", UINT, uint32_t);
SAMPLE_SCALAR(uint64, "uint64", UINT, uint64_t);
SAMPLE_SCALAR(number, "number", NUMBER, double);
SAMPLE_SCALAR(null, "null", NULL, VdsQapiNull);
SAMPLE_SCALAR(any, "any", ANY, VdsQapiAny);
#undef SAMPLE_SCALAR

/* ---- enum, lists --------------------------------------------------------------------
 */

enum { SAMPLE_COLOR_RED, SAMPLE_COLOR_GREEN, SAMPLE_COLOR_BLUE };
static const char *const sample_color_values[] = {"red", "green", "blue"};
static const VdsQapiType sample_color = {.name = "Color",
                                         .kind = VDS_QAPI_ENUM,
                                         .size = sizeof(int),
                                         .values = sample_color_values,
                                         .n_values = 3};

#define SAMPLE_LIST(id, of)                                                              \
    static const VdsQapiType sample_##id = {.name = #id,                                 \
                                            .kind = VDS_QAPI_LIST,                       \
                                            .size = sizeof(VdsQapiList),                 \
                                            .element = &sample_##of}
SAMPLE_LIST(str_list, str);
SAMPLE_LIST(uint16_list, uint16);
SAMPLE_LIST(color_list, color);
SAMPLE_LIST(int_list, int);
SAMPLE_LIST(int_list_list, int_list);

/* ---- a struct that holds itself
 * --------------------------------------------------------- */

typedef struct SampleTree {
    char *name;
    struct SampleTree *left;
    VdsQapiList children; /* of SampleTree */
    bool has_children;
} SampleTree;

static const VdsQapiType sample_tree, sample_tree_list;
static const VdsQapiMember sample_tree_members[] = {
    {.name = "name", .type = &sample_str, .offset = offsetof(SampleTree, name)},
    {.name = "left",
     .type = &sample_tree,
     .offset = offsetof(SampleTree, left),
     .presence = VDS_QAPI_POINTER},
    {.name = "children",
     .type = &sample_tree_list,
     .offset = offsetof(SampleTree, children),
     .has_offset = offsetof(SampleTree, has_children),
     .presence = VDS_QAPI_HAS_FLAG},
};
static const VdsQapiType sample_tree = {.name = "Tree",
                                        .kind = VDS_QAPI_STRUCT,
                                        .size = sizeof(SampleTree),
                                        .members = sample_tree_members,
                                        .n_members = 3};
static const VdsQapiType sample_tree_list = {.name = "TreeList",
                                             .kind = VDS_QAPI_LIST,
                                             .size = sizeof(VdsQapiList),
                                             .element = &sample_tree};

/* ---- a union: red has a radius, green is a tree, blue has nothing
 * ------------------------ */

typedef struct {
    uint32_t radius;
} SampleCircle;

static const VdsQapiMember sample_circle_members[] = {
    {.name = "radius", .type = &sample_uint32, .offset = offsetof(SampleCircle, radius)},
};
static const VdsQapiType sample_circle = {.name = "Circle",
                                          .kind = VDS_QAPI_STRUCT,
                                          .size = sizeof(SampleCircle),
                                          .members = sample_circle_members,
                                          .n_members = 1};

typedef struct {
    char *title;
    int color;
    union {
        SampleCircle red;
        SampleTree green;
    } u;
} SampleShape;

static const VdsQapiMember sample_shape_members[] = {
    {.name = "title",
     .type = &sample_str,
     .offset = offsetof(SampleShape, title),
     .presence = VDS_QAPI_POINTER},
    {.name = "color", .type = &sample_color, .offset = offsetof(SampleShape, color)},
};
static const VdsQapiType *const sample_shape_variants[] = {&sample_circle, &sample_tree,
                                                           NULL};
static const VdsQapiType sample_shape = {.name = "Shape",
                                         .kind = VDS_QAPI_STRUCT,
                                         .size = sizeof(SampleShape),
                                         .members = sample_shape_members,
                                         .n_members = 2,
                                         .tag_member = 2,
                                         .variants = sample_shape_variants,
                                         .union_offset = offsetof(SampleShape, u)};

/* ---- an alternate of str, integer and Circle
 * ------------------------------------------------ */

typedef struct {
    int kind;
    union {
        char *s;
        int64_t i;
        SampleCircle c;
    } u;
} SampleEither;

static const VdsQapiType *const sample_either_branches[VDS_JSON_NULL + 1] = {
    [VDS_JSON_STRING] = &sample_str,
    [VDS_JSON_INT] = &sample_int,
    [VDS_JSON_UINT] = &sample_int,
    [VDS_JSON_OBJECT] = &sample_circle,
};
static const int sample_either_tags[VDS_JSON_NULL + 1] = {
    [VDS_JSON_STRING] = 0,
    [VDS_JSON_INT] = 1,
    [VDS_JSON_UINT] = 1,
    [VDS_JSON_OBJECT] = 2,
};
static const VdsQapiType *const sample_either_types[] = {&sample_str, &sample_int,
                                                         &sample_circle};
static const VdsQapiType sample_either = {.name = "Either",
                                          .kind = VDS_QAPI_ALTERNATE,
                                          .size = sizeof(SampleEither),
                                          .union_offset = offsetof(SampleEither, u),
                                          .branches = sample_either_branches,
                                          .branch_tag = sample_either_tags,
                                          .branch_types = sample_either_types};

/* ---- one of everything, all optional but the first
 * ---------------------------------------- */

typedef struct {
    char *path;
    char *str;
    bool has_b, b;
    bool has_i8, has_i16, has_i32, has_i64;
    int8_t i8;
    int16_t i16;
    int32_t i32;
    int64_t i64;
    bool has_u8, has_u16, has_u32, has_u64;
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    bool has_number;
    double number;
    bool has_null;
    VdsQapiNull null;
    VdsQapiAny *any;
    bool has_color;
    int color;
    bool has_strs, has_u16s, has_colors, has_matrix;
    VdsQapiList strs, u16s, colors, matrix;
    SampleShape *shape;
    SampleEither *either;
    SampleTree *tree;
} Sample;

#define SAMPLE_FLAG(wire, field, t)                                                      \
    {                                                                                    \
        .name = (wire), .type = &sample_##t, .offset = offsetof(Sample, field),          \
        .has_offset = offsetof(Sample, has_##field), .presence = VDS_QAPI_HAS_FLAG       \
    }
#define SAMPLE_POINTER(wire, field, t)                                                   \
    {                                                                                    \
        .name = (wire), .type = &sample_##t, .offset = offsetof(Sample, field),          \
        .presence = VDS_QAPI_POINTER                                                     \
    }
static const VdsQapiMember sample_members[] = {
    {.name = "path", .type = &sample_str, .offset = offsetof(Sample, path)},
    SAMPLE_POINTER("str", str, str),
    SAMPLE_FLAG("b", b, bool),
    SAMPLE_FLAG("i8", i8, int8),
    SAMPLE_FLAG("i16", i16, int16),
    SAMPLE_FLAG("i32", i32, int32),
    SAMPLE_FLAG("i64", i64, int),
    SAMPLE_FLAG("u8", u8, uint8),
    SAMPLE_FLAG("u16", u16, uint16),
    SAMPLE_FLAG("u32", u32, uint32),
    SAMPLE_FLAG("u64", u64, uint64),
    SAMPLE_FLAG("number", number, number),
    SAMPLE_FLAG("null", null, null),
    SAMPLE_POINTER("any", any, any),
    SAMPLE_FLAG("color", color, color),
    SAMPLE_FLAG("strs", strs, str_list),
    SAMPLE_FLAG("u16s", u16s, uint16_list),
    SAMPLE_FLAG("colors", colors, color_list),
    SAMPLE_FLAG("matrix", matrix, int_list_list),
    SAMPLE_POINTER("shape", shape, shape),
    SAMPLE_POINTER("either", either, either),
    SAMPLE_POINTER("tree", tree, tree),
};
static const VdsQapiType sample_type = {.name = "Sample",
                                        .kind = VDS_QAPI_STRUCT,
                                        .size = sizeof(Sample),
                                        .members = sample_members,
                                        .n_members = G_N_ELEMENTS(sample_members)};
