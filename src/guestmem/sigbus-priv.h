/*
 * guestmem: copies out of and into shared memory, and two ways to survive SIGBUS: a copy
 * that ends early, and a mapping that goes on with zeroes.
 *
 * Owns the process's SIGBUS action from the first vds_sigbus_install() on.  Knows no
 * region and no guest address.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Installs the handler, once a process; later calls do nothing.  A SIGBUS outside a
 * guarded copy goes to the action that was there before. */
void vds_sigbus_install(void);

/* Copies `len` bytes with relaxed atomic loads of `from`, or stores to `to`, each byte
 * touched once; a 2-, 4- or 8-byte word that is aligned there is one access.  For memory
 * that nobody can take away. */
void vds_relaxed_load(void *to, const void *from, size_t len);
void vds_relaxed_store(void *to, const void *from, size_t len);

/* The same for memory that its owner may cut short: false when it vanished under the
 * copy, the target is then undefined.  No lock and no callback is taken inside. */
bool vds_guarded_load(void *to, const void *from, size_t len);
bool vds_guarded_store(void *to, const void *from, size_t len);

/* A mapping whose words are loaded and stored by plain instructions.  A fault in it, in
 * no guarded copy, puts zeroes there, from its page on to the end (a file that was cut)
 * or for that page alone, and the instruction goes on: who uses the words asks `gone`
 * afterwards. */
typedef struct {
    /* Constant while it is watched. */
    uintptr_t start, end;
    size_t page;     /* bytes */
    bool page_alone; /* pages can be missing one by one */
    /* The lowest address that vanished, else UINTPTR_MAX; atomic. */
    uintptr_t gone;
} VdsSigbusRange;

/* Writable memory; the range stays where it is until it is unwatched.  Any thread. */
void vds_sigbus_watch(VdsSigbusRange *range);
void vds_sigbus_unwatch(VdsSigbusRange *range);
