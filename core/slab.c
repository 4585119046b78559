/* SPDX-License-Identifier: MIT
 *
 * Slabs and the list that sl_stack_of_guard() searches.
 *
 * The list is read by a signal handler, so it is never locked: entries are
 * pushed by cas and never removed or freed.  An entry of an unmapped slab is
 * marked by a NULL slab and used again.
 *
 *   slab   NULL: the entry is free.  Claimed by cas NULL -> CLAIMED, which
 *          gives the claimer the other fields; published by a release store
 *          after them.  Cleared by whoever unmaps the slab.
 *
 * A reader that finds the address in [start, end) may use the slab: it can go
 * away meanwhile only if a stack was unmapped while somebody stood on it.
 */
#include "slab.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "atomic.h"

#ifndef MADV_NOHUGEPAGE
#define MADV_NOHUGEPAGE 15
#endif

/* A slab is about this large, but never more stacks than SLAB_STACKS. */
#define SLAB_BYTES ((size_t)16 << 20)
#define SLAB_STACKS 64

typedef struct sl_slab_entry {
    struct sl_slab_entry *next; /* set before the push, constant afterwards */
    sl_atomic slab;
    sl_atomic start, end; /* relaxed; ordered by `slab` */
} entry;

static sl_atomic entries;
static const char claimed_mark;
#define CLAIMED ((const void *)&claimed_mark)

static entry *claim_entry(void)
{
    for (entry *e = sl_load_ptr_acquire(&entries); e; e = e->next)
        if (!sl_load_ptr(&e->slab) && sl_cas_ptr(&e->slab, NULL, CLAIMED))
            return e;
    entry *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    sl_store_ptr(&e->slab, CLAIMED);
    void *head;
    do {
        head = sl_load_ptr(&entries);
        e->next = head;
    } while (!sl_cas_ptr(&entries, head, e));
    return e;
}

static void publish(entry *e, sl_slab *slab)
{
    sl_store_relaxed(&e->start, (uintptr_t)slab->start);
    sl_store_relaxed(&e->end, (uintptr_t)slab->start + slab->length);
    sl_store_ptr_release(&e->slab, slab);
    slab->entry = e;
}

/* An mmap of `count` stacks, or of fewer. */
static char *map_stacks(size_t stride, unsigned *count)
{
    for (unsigned n = *count; n > 0; n /= 2) {
        void *at = mmap(NULL, n * stride, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
        if (at != MAP_FAILED) {
            /* A huge page would cost 2 MiB at the first touch of a stack.
             * Kernels without huge pages refuse, which is as good. */
            madvise(at, n * stride, MADV_NOHUGEPAGE);
            *count = n;
            return at;
        }
    }
    return NULL;
}

static void init_stacks(sl_slab *slab, size_t size)
{
    for (unsigned i = 0; i < slab->count; i++) {
        sl_stack *s = &slab->stacks[i];
        s->base = slab->start + i * slab->stride + slab->guard;
        s->size = size;
        s->slab = slab;
        s->index = i;
    }
}

sl_slab *sl_slab_map(size_t size, size_t guard)
{
    size_t stride = size + guard;
    unsigned count = (unsigned)(SLAB_BYTES / stride);
    if (count > SLAB_STACKS)
        count = SLAB_STACKS;
    if (count == 0)
        count = 1;

    char *start = map_stacks(stride, &count);
    if (!start)
        return NULL;
    sl_slab *slab = calloc(1, sizeof *slab + count * sizeof slab->stacks[0]);
    entry *e = slab ? claim_entry() : NULL;
    if (!e) {
        free(slab);
        munmap(start, count * stride);
        return NULL;
    }
    slab->start = start;
    slab->length = count * stride;
    slab->stride = stride;
    slab->guard = guard;
    slab->count = count;
    init_stacks(slab, size);
    publish(e, slab);
    return slab;
}

void sl_slab_unmap(sl_slab *slab)
{
    sl_store_ptr_release(&slab->entry->slab, NULL);
    munmap(slab->start, slab->length);
    free(slab);
}

const sl_stack *sl_stack_of_guard(const void *addr)
{
    uintptr_t at = (uintptr_t)addr;
    for (entry *e = sl_load_ptr_acquire(&entries); e; e = e->next) {
        const sl_slab *slab = sl_load_ptr_acquire(&e->slab);
        if (!slab || slab == CLAIMED || at < sl_load_relaxed(&e->start) || at >= sl_load_relaxed(&e->end))
            continue;
        size_t offset = at - (uintptr_t)slab->start;
        const sl_stack *s = &slab->stacks[offset / slab->stride];
        return offset % slab->stride < slab->guard && s->guarded ? s : NULL;
    }
    return NULL;
}
