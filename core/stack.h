/* SPDX-License-Identifier: MIT
 *
 * Stacks for tasklets, carved from large slabs.
 *
 * What it is for: handing out and taking back stacks without a system call per
 * tasklet, with a guard below each, 100,000 at once under the default
 * vm.max_map_count.  What it is not for: what runs on a stack (context.h).
 *
 *   slab (one mmap, NORESERVE, NOHUGEPAGE)
 *   | guard | stack 0 ......... top | guard | stack 1 ......... top | ...
 *             ^ base                 ^ base + size
 *
 * Reuse is LIFO (the last stack freed is warm).  Memory goes back to the
 * kernel lazily: only from the cold end of the free list, only above a
 * high-water mark, in batches.
 */
#ifndef SL_CORE_STACK_H
#define SL_CORE_STACK_H

#include <stdbool.h>
#include <stddef.h>

typedef struct sl_stack_pool sl_stack_pool;

/* Owned by whoever got it from sl_stack_get(); the record outlives put() and
 * is reused with its memory.  Never freed before the pool. */
typedef struct sl_stack {
    char *base;  /* lowest usable byte; the guard lies below */
    size_t size; /* usable bytes, a multiple of the page size */
    struct sl_stack *next, *prev; /* pool's free list; the owner's while it is out */
    struct sl_slab *slab;
    unsigned index;         /* in the slab */
    bool guarded;           /* a guard is in place below base */
    bool prepared;          /* has been handed to prepare() once; stack.c */
    unsigned char guard_kind; /* enum sl_guard_kind; `guarded` is: not NONE */
    bool resident;          /* has been used since its memory was last given back */
    void *fiber;            /* TSan fiber, created once with the stack */
    unsigned valgrind_id;
    const void *label;      /* owner's mark (a tasklet), shown when the guard is hit */
} sl_stack;

#define SL_STACK_MIN ((size_t)64 << 10)
#define SL_STACK_MAX ((size_t)64 << 20)
#define SL_STACK_DEFAULT ((size_t)256 << 10)

/* `size`: usable bytes of each stack, rounded up to pages, SL_STACK_MIN to
 * SL_STACK_MAX, else SL_EINVAL.  Maps nothing yet. */
int sl_stack_pool_create(sl_stack_pool **out, size_t size);

/* Unmaps everything.  All stacks must have been put back. */
void sl_stack_pool_destroy(sl_stack_pool *pool);

/* A stack, or SL_ENOMEM.  Any thread. */
int sl_stack_get(sl_stack_pool *pool, sl_stack **out);

/* Takes a stack back.  Any thread, never one that stands on the stack. */
void sl_stack_put(sl_stack_pool *pool, sl_stack *stack);

/* Gives the memory of all free stacks back to the kernel now. */
void sl_stack_trim(sl_stack_pool *pool);

/* The pool's locks as after a fork, in the child, single-threaded. */
void sl_stack_pool_after_fork(sl_stack_pool *pool);

typedef struct sl_stack_stats {
    size_t size;      /* bytes of a stack */
    size_t live;      /* stacks handed out */
    size_t free;      /* stacks waiting for reuse */
    size_t resident;  /* free stacks whose memory is still held */
    size_t slabs;
    size_t unguarded; /* stacks without a guard: the kernel's mapping limit was near */
    const char *guard; /* "madvise", "mprotect": how guards are made here */
} sl_stack_stats;

void sl_stack_pool_stats(sl_stack_pool *pool, sl_stack_stats *out);

/* The stack (of any pool) whose guard holds `addr`, or NULL.  Async-signal-safe. */
const sl_stack *sl_stack_of_guard(const void *addr);

#endif
