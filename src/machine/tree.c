/*
 * machine: the tree of named objects.  Two hash tables make look-ups independent of the
 * number of devices: (parent, name) to a child, and name to all nodes of that name, which
 * is where a partial path is tried.  Refuses to know what objects are.
 */
#include <string.h>

#include "tree-priv.h"

struct VdsTree {
    GHashTable *children; /* a set of nodes by (parent, name) */
    GHashTable *names;    /* a set of nodes by name: the first of each */
    VdsNode *root;
};

static guint child_hash(gconstpointer key)
{
    const VdsNode *node = key;

    return g_str_hash(node->name) * 31u ^ g_direct_hash(node->parent);
}

static gboolean child_equal(gconstpointer a, gconstpointer b)
{
    const VdsNode *one = a, *other = b;

    return one->parent == other->parent && strcmp(one->name, other->name) == 0;
}

static guint name_hash(gconstpointer key)
{
    return g_str_hash(((const VdsNode *)key)->name);
}

static gboolean name_equal(gconstpointer a, gconstpointer b)
{
    return strcmp(((const VdsNode *)a)->name, ((const VdsNode *)b)->name) == 0;
}

static VdsNode *node_new(VdsNode *parent, const char *name, const char *type)
{
    size_t len = strlen(name);
    VdsNode *node = g_malloc0(sizeof(VdsNode) + len + 1);

    node->parent = parent;
    node->type = type;
    node->name = memcpy(node + 1, name, len + 1);
    return node;
}

VdsTree *vds_tree_new(void)
{
    VdsTree *tree = g_new0(VdsTree, 1);

    tree->children = g_hash_table_new(child_hash, child_equal);
    tree->names = g_hash_table_new(name_hash, name_equal);
    tree->root = node_new(NULL, "", "container");
    return tree;
}

void vds_tree_free(VdsTree *tree)
{
    if (tree) {
        while (tree->root->first) {
            vds_tree_remove(tree, tree->root->first);
        }
        g_free(tree->root);
        g_hash_table_unref(tree->children);
        g_hash_table_unref(tree->names);
        g_free(tree);
    }
}

VdsNode *vds_tree_root(const VdsTree *tree)
{
    return tree->root;
}

/* ---- names ------------------------------------------------------------------------ */

VdsNode *vds_tree_named(const VdsTree *tree, const char *name)
{
    VdsNode key = {.name = name};

    return g_hash_table_lookup(tree->names, &key);
}

static void names_add(VdsTree *tree, VdsNode *node)
{
    VdsNode *first = vds_tree_named(tree, node->name);

    if (!first) {
        node->same_count = 1;
        g_hash_table_add(tree->names, node);
        return;
    }
    first->same_count++;
    node->same_prev = first;
    node->same_next = first->same_next;
    if (node->same_next) {
        node->same_next->same_prev = node;
    }
    first->same_next = node;
}

static void names_remove(VdsTree *tree, VdsNode *node)
{
    VdsNode *next = node->same_next;

    if (next) {
        next->same_prev = node->same_prev;
    }
    if (node->same_prev) {
        node->same_prev->same_next = next;
        vds_tree_named(tree, node->name)->same_count--;
        return;
    }
    g_hash_table_remove(tree->names, node);
    if (next) {
        next->same_count = node->same_count - 1;
        g_hash_table_add(tree->names, next);
    }
}

/* ---- nodes ------------------------------------------------------------------------ */

VdsNode *vds_tree_add(VdsTree *tree, VdsNode *parent, const char *name, const char *type)
{
    VdsNode *node = node_new(parent, name, type);

    g_assert(!vds_tree_child(tree, parent, name)); /* whoever adds has looked */
    node->prev = parent->last;
    *(node->prev ? &node->prev->next : &parent->first) = node;
    parent->last = node;
    g_hash_table_add(tree->children, node);
    names_add(tree, node);
    return node;
}

void vds_tree_remove(VdsTree *tree, VdsNode *node)
{
    VdsNode *parent = node->parent;

    while (node->first) {
        vds_tree_remove(tree, node->first);
    }
    g_hash_table_remove(tree->children, node);
    names_remove(tree, node);
    *(node->prev ? &node->prev->next : &parent->first) = node->next;
    *(node->next ? &node->next->prev : &parent->last) = node->prev;
    g_free(node);
}

VdsNode *vds_tree_child(const VdsTree *tree, const VdsNode *parent, const char *name)
{
    VdsNode key = {.parent = (VdsNode *)parent, .name = name};

    return g_hash_table_lookup(tree->children, &key);
}

static void path_append(const VdsNode *node, GString *path)
{
    if (node->parent) {
        path_append(node->parent, path);
        g_string_append_c(path, '/');
        g_string_append(path, node->name);
    }
}

char *vds_node_path(const VdsNode *node)
{
    GString *path = g_string_new(NULL);

    path_append(node, path);
    if (path->len == 0) {
        g_string_append_c(path, '/');
    }
    return g_string_free(path, FALSE);
}

/* ---- paths ------------------------------------------------------------------------ */

static VdsNode *walk_down(const VdsTree *tree, VdsNode *node, char **parts)
{
    for (; node && *parts; parts++) {
        if (**parts != '\0') {
            node = vds_tree_child(tree, node, *parts);
        }
    }
    return node;
}

/* Does the path above `node` end in these n parts? */
static bool fits_above(const VdsNode *node, char **parts, size_t n)
{
    while (n > 0) {
        node = node->parent;
        if (!node || strcmp(node->name, parts[--n]) != 0) {
            return false;
        }
    }
    return true;
}

static char **drop_empty(char **parts)
{
    char **to = parts;

    for (char **from = parts; *from; from++) {
        if (**from == '\0') {
            g_free(*from);
        } else {
            *to++ = *from;
        }
    }
    *to = NULL;
    return parts;
}

/* A partial path is tried at the nodes that bear its rarest part, so that
 * "r0/virtio-backend" costs the same among ten devices and ten thousand. */
static VdsNode *resolve_partial(const VdsTree *tree, char **parts, bool *ambiguous)
{
    VdsNode *rarest = NULL, *found = NULL;
    size_t at = 0;

    for (size_t i = 0; parts[i]; i++) {
        VdsNode *first = vds_tree_named(tree, parts[i]);

        if (!first) {
            return NULL;
        }
        if (!rarest || first->same_count < rarest->same_count) {
            rarest = first;
            at = i;
        }
    }
    /* No part at all fits every object. */
    *ambiguous = !rarest;
    for (VdsNode *node = rarest; node; node = node->same_next) {
        VdsNode *end =
            fits_above(node, parts, at) ? walk_down(tree, node, parts + at + 1) : NULL;

        if (end && found) {
            *ambiguous = true;
            return NULL;
        }
        found = end ? end : found;
    }
    return found;
}

VdsNode *vds_tree_resolve(const VdsTree *tree, const char *path, bool *ambiguous)
{
    g_auto(GStrv) parts = drop_empty(g_strsplit(path, "/", 0));

    *ambiguous = false;
    return path[0] == '/' ? walk_down(tree, tree->root, parts)
                          : resolve_partial(tree, parts, ambiguous);
}

VdsNode *vds_tree_resolve_at(const VdsTree *tree, VdsNode *start, const char *path)
{
    g_auto(GStrv) parts = drop_empty(g_strsplit(path, "/", 0));

    return walk_down(tree, path[0] == '/' ? tree->root : start, parts);
}
