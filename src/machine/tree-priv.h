/*
 * machine: the tree of named objects, QOM's paths.  Knows names and types; what an object
 * is stays behind its ops.
 */
#pragma once

#include "vds/machine.h"

typedef struct VdsNode VdsNode;
typedef struct VdsTree VdsTree;

/* What the object of a node tells of itself; children and "type" are the tree's. */
typedef struct {
    void (*list)(const VdsNode *node, VdsQomListFunc func, void *user);
    /* false: no such property */
    bool (*get)(const VdsNode *node, const char *name, VdsProp *value);
    /* (nullable) nothing can be changed; *known false: not this, and no error is set */
    bool (*set)(const VdsNode *node, const char *name, const VdsProp *value, bool *known,
                GError **error);
} VdsNodeOps;

struct VdsNode {
    VdsNode *parent;
    VdsNode *first, *last; /* children in the order they came */
    VdsNode *next, *prev;
    VdsNode *same_next, *same_prev; /* nodes of this name, anywhere in the tree */
    unsigned same_count;            /* kept in the first of these */
    bool goes_empty;                /* a mere step of a path: goes with its last child */
    const char *type;               /* outlives the node */
    const VdsNodeOps *ops;          /* (nullable) */
    void *object;                   /* for ops; not owned */
    const char *name;               /* the bytes behind the struct */
};

VdsTree *vds_tree_new(void);
void vds_tree_free(VdsTree *tree); /* NULL is fine; objects are not freed */
VdsNode *vds_tree_root(const VdsTree *tree);

/* The name is free under the parent: the caller looked. */
VdsNode *vds_tree_add(VdsTree *tree, VdsNode *parent, const char *name, const char *type);
/* With all that is below it. */
void vds_tree_remove(VdsTree *tree, VdsNode *node);

/* (nullable); neither is linear in the number of nodes. */
VdsNode *vds_tree_child(const VdsTree *tree, const VdsNode *parent, const char *name);
/* (nullable) any node of that name; the others follow by same_next */
VdsNode *vds_tree_named(const VdsTree *tree, const char *name);
/* Absolute, or the one place where a partial path fits (*ambiguous when several do).
 * Empty parts ("//", a trailing "/") are skipped. */
VdsNode *vds_tree_resolve(const VdsTree *tree, const char *path, bool *ambiguous);
/* From `start` downwards, never partial. */
VdsNode *vds_tree_resolve_at(const VdsTree *tree, VdsNode *start, const char *path);

char *vds_node_path(const VdsNode *node); /* canonical; (transfer full) */
