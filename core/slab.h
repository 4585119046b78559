/* SPDX-License-Identifier: MIT
 *
 * Slabs: large mappings that stacks are cut from, and the process-wide list of
 * them in which a fault address is looked up.  For stack.c.
 */
#ifndef SL_CORE_SLAB_H
#define SL_CORE_SLAB_H

#include <stddef.h>

#include "stack.h"

typedef struct sl_slab {
    struct sl_slab *next; /* the pool's list */
    char *start;          /* the mapping */
    size_t length;
    size_t stride;   /* guard + stack */
    size_t guard;    /* bytes of each guard */
    unsigned count;  /* stacks that fit */
    unsigned carved; /* stacks handed out at least once; the pool's lock */
    struct sl_slab_entry *entry;
    sl_stack stacks[];
} sl_slab;

/* Maps a slab for stacks of `size` bytes below which `guard` bytes lie, a smaller one if the system refuses
 * the usual size.  NULL when not even one stack can be had. */
sl_slab *sl_slab_map(size_t size, size_t guard);

/* Unmaps it.  No stack of it may be in use. */
void sl_slab_unmap(sl_slab *slab);

#endif
