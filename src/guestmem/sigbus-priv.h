/*
 * guestmem: a copy out of shared memory that survives SIGBUS.
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

/* Copies `len` bytes with relaxed atomic loads, each byte read once; a 2-, 4- or 8-byte
 * word that is aligned in memory is one load.  For memory that nobody can take away. */
void vds_relaxed_copy(void *to, const void *from, size_t len);

/* The same for memory that its owner may cut short: false when it vanished under the
 * copy, `to` is then undefined.  No lock and no callback is taken inside. */
bool vds_guarded_copy(void *to, const void *from, size_t len);
