/*
 * guestmem: copies out of and into shared memory, and such as survive SIGBUS.
 *
 * Owns the process's SIGBUS action from the first vds_sigbus_install() on.  Knows no
 * region and no guest address.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

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
