/*
 * util: VdsArena, memory that lives until the request is answered.
 *
 * A list of blocks, filled from the front one.  A request that fits the first block
 * allocates nothing at all after the first reset.
 */
#include <stdalign.h>
#include <stdarg.h>
#include <string.h>

#include "vds/util.h"

enum { BLOCK_BYTES = 16 * 1024 };

typedef struct Block {
    struct Block *next;
    size_t cap, used;
    alignas(max_align_t) uint8_t bytes[];
} Block;

typedef struct Owned {
    struct Owned *next;
    GDestroyNotify free_func;
    void *object;
} Owned;

struct VdsArena {
    Block *blocks; /* the one being filled first; never NULL */
    Owned *owned;  /* newest first; the nodes live in the arena itself */
};

static Block *block_new(size_t cap, Block *next)
{
    Block *block = g_malloc(sizeof(Block) + cap);

    block->next = next;
    block->cap = cap;
    block->used = 0;
    return block;
}

VdsArena *vds_arena_new(void)
{
    VdsArena *arena = g_new0(VdsArena, 1);

    arena->blocks = block_new(BLOCK_BYTES, NULL);
    return arena;
}

static void arena_drop_owned(VdsArena *arena)
{
    while (arena->owned) {
        Owned *owned = arena->owned;
        arena->owned = owned->next;
        owned->free_func(owned->object);
    }
}

void vds_arena_reset(VdsArena *arena)
{
    arena_drop_owned(arena);
    while (arena->blocks->next) {
        Block *block = arena->blocks;
        arena->blocks = block->next;
        g_free(block);
    }
    arena->blocks->used = 0;
}

void vds_arena_free(VdsArena *arena)
{
    if (arena) {
        vds_arena_reset(arena);
        g_free(arena->blocks);
        g_free(arena);
    }
}

void *vds_arena_alloc(VdsArena *arena, size_t size)
{
    const size_t align = alignof(max_align_t);
    Block *block = arena->blocks;
    void *memory;

    g_assert(size <= SIZE_MAX / 2);
    size = (size + align - 1) & ~(align - 1);
    if (block->cap - block->used < size) {
        block = block_new(MAX(size, BLOCK_BYTES), arena->blocks);
        arena->blocks = block;
    }
    memory = block->bytes + block->used;
    block->used += size;
    return memset(memory, 0, size);
}

void *vds_arena_alloc_n(VdsArena *arena, size_t n, size_t size)
{
    size_t bytes;

    g_assert(!__builtin_mul_overflow(n, size, &bytes));
    return vds_arena_alloc(arena, bytes);
}

char *vds_arena_strndup(VdsArena *arena, const char *text, size_t len)
{
    char *copy = vds_arena_alloc(arena, len + 1);

    memcpy(copy, text, len);
    return copy;
}

char *vds_arena_strdup(VdsArena *arena, const char *text)
{
    return text ? vds_arena_strndup(arena, text, strlen(text)) : NULL;
}

char *vds_arena_printf(VdsArena *arena, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    return vds_arena_strdup(arena, text);
}

void vds_arena_own(VdsArena *arena, GDestroyNotify free_func, void *object)
{
    Owned *owned = vds_arena_alloc(arena, sizeof(Owned));

    *owned = (Owned){arena->owned, free_func, object};
    arena->owned = owned;
}
