/*
 * qapi: the runtime that interprets the tables which qapi/qapigen makes from the schema.
 *
 * One parser and one writer walk constant tables; generated code is data, typed shims
 * and prototypes.  Everything a call allocates lives in the call's arena, so there is no
 * freer and nothing to leak.  Knows no command and no session.
 */
#pragma once

#include "vds/json.h"

#define VDS_QAPI_ERROR (vds_qapi_error_quark())
GQuark vds_qapi_error_quark(void);
typedef enum {
    VDS_QAPI_ERROR_MISSING,    /* Parameter 'path' is missing */
    VDS_QAPI_ERROR_UNEXPECTED, /* Parameter 'x' is unexpected */
    VDS_QAPI_ERROR_TYPE,       /* Invalid parameter type for 'path', expected: string;
                                  Parameter 'queue' expects uint64 */
    VDS_QAPI_ERROR_RANGE,      /* Parameter 'queue' expects uint16_t */
    VDS_QAPI_ERROR_VALUE,      /* Parameter 'null' does not accept value 'nope' */
} VdsQapiError;

/* ---- types ------------------------------------------------------------------------ */

typedef enum {
    VDS_QAPI_STR,    /* const char *: ends at its first NUL; an empty one is not NULL */
    VDS_QAPI_BOOL,   /* bool */
    VDS_QAPI_INT,    /* int8_t .. int64_t by size */
    VDS_QAPI_UINT,   /* uint8_t .. uint64_t by size */
    VDS_QAPI_NUMBER, /* double */
    VDS_QAPI_NULL,   /* VdsQapiNull */
    VDS_QAPI_ANY,    /* VdsQapiAny */
    VDS_QAPI_ENUM,   /* int: the position in values[] */
    VDS_QAPI_STRUCT, /* structs and unions */
    VDS_QAPI_LIST,   /* VdsQapiList */
    VDS_QAPI_ALTERNATE,
} VdsQapiKind;

/* A JSON null has no content. */
typedef struct {
    char unused;
} VdsQapiNull;

/* `any`: at most one of the two.  A handler's result is a JsonNode (borrowed by the
 * struct: give it to the arena), an argument is a place on the request's tape.  With
 * neither it is null, so that constant data can say "default": null. */
typedef struct {
    const void *node; /* const JsonNode * (json-glib), opaque to those who need none */
    VdsJsonValue value;
} VdsQapiAny;

/* Every generated list has this layout, with a typed `items`. */
typedef struct {
    size_t n;
    void *items; /* n elements in one array: structs and scalars by value, str as pointers
                  */
} VdsQapiList;

typedef enum {
    VDS_QAPI_REQUIRED,
    VDS_QAPI_HAS_FLAG, /* optional scalar, enum or list: a bool at has_offset says so */
    VDS_QAPI_POINTER,  /* optional str, struct, alternate, any: NULL when absent */
} VdsQapiPresence;

typedef struct VdsQapiType VdsQapiType;

/* Required structs, lists and scalars are embedded by value; str is a pointer. */
typedef struct {
    const char *name; /* on the wire */
    const VdsQapiType *type;
    uint32_t offset;
    uint32_t has_offset; /* HAS_FLAG only */
    VdsQapiPresence presence;
} VdsQapiMember;

struct VdsQapiType {
    const char *name; /* of the schema, for messages and tests */
    VdsQapiKind kind;
    uint32_t size;                /* of the C object */
    const char *const *values;    /* ENUM */
    uint32_t n_values;            /* ENUM */
    const VdsQapiMember *members; /* STRUCT: the base's first, in schema order */
    uint32_t n_members;           /* STRUCT */
    const VdsQapiType *element;   /* LIST */
    /* A union: members[tag_member - 1] is the enum that selects; 0: not a union.
     * variants[tag value] may be NULL (no members); each is embedded at union_offset. */
    uint32_t tag_member;
    const VdsQapiType *const *variants;
    uint32_t union_offset;
    /* ALTERNATE: the C object is { int kind; union { ... } u } with u at union_offset;
     * branches[JSON kind] for each VdsJsonKind, NULL where that kind is refused; `kind`
     * becomes branch_tag[JSON kind].  (INT, UINT and NUMBER are separate kinds.) */
    const VdsQapiType *const *branches;
    const int *branch_tag;
    const VdsQapiType *const *branch_types; /* by branch tag, for the writer */
};

/* Fills *object (type->size zeroed bytes) from a JSON value.  A VDS_JSON_NONE value for a
 * STRUCT reads as an empty object.  Checks in schema order: missing and wrong members
 * first, then the first unexpected one as sent; texts are QEMU's.  Names in messages are
 * cut to 128 bytes.  Lists live in the arena, strings on the tape: both must outlive the
 * object.  (VDS_QAPI_ERROR_MISSING, _UNEXPECTED, _TYPE, _RANGE, _VALUE) */
bool vds_qapi_parse(const VdsQapiType *type, VdsJsonValue value, VdsArena *arena,
                    void *object, GError **error);

/* Writes the object in schema order. */
void vds_qapi_write(const VdsQapiType *type, const void *object, VdsJsonWriter *writer);

/* ---- commands --------------------------------------------------------------------- */

/* What a shim gets: the handler context that main handed down, the call's arena, where
 * the reply's value goes (already behind the "return" key). */
typedef struct {
    void *ctx; /* VdsCmds *, for generated shims only */
    VdsArena *arena;
    VdsJsonValue arguments; /* VDS_JSON_NONE when the request has none */
} VdsQapiCall;

typedef struct {
    const char *name;
    const VdsQapiType *args; /* a STRUCT; NULL for gen: false */
    const VdsQapiType *ret;  /* NULL: the reply is {} */
    bool allow_oob;
    bool unstable;
    /* Answered by the session itself (pragma session-commands): invoke is NULL. */
    bool session;
    /* Parses the arguments and calls the handler.  *result (in the arena) is to be
     * written with `ret`; untouched where ret is NULL. */
    bool (*invoke)(const VdsQapiCall *call, void **result, GError **error);
} VdsQapiCommand;

/* The generated table, sorted by name (strcmp). */
typedef struct {
    const VdsQapiCommand *commands;
    size_t n_commands;
} VdsQapiDispatch;

const VdsQapiCommand *vds_qapi_dispatch_find(const VdsQapiDispatch *dispatch,
                                             const char *name,
                                             size_t len); /* (nullable) */

/* ---- events ----------------------------------------------------------------------- */

typedef struct {
    const char *name;
    const VdsQapiType *data; /* NULL: the event has none */
} VdsQapiEvent;

/* Where qapi_event_x() sends: main connects it to the sessions. */
typedef struct {
    void (*emit)(void *user, const VdsQapiEvent *event, const void *data);
    void *user;
} VdsEventSink;
