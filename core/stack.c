/* SPDX-License-Identifier: MIT
 *
 * The stack pool of stack.h.  Slabs are in slab.c, guards in stack_guard.c.
 *
 * The free list, from hot to cold:
 *
 *   head -> resident ... coldest | not resident ... -> tail
 *
 * Residents come first: put() pushes them at the head, get() takes from there,
 * and what is given back moves from the coldest resident to the tail.  So a
 * head that is not resident means that there is no resident at all, and a get
 * then prepares AHEAD of them in one go (guards for new ones, one page at the
 * top), outside the lock.
 *
 * High-water mark: as many free residents are kept as stacks were in use at
 * once lately, but at least KEEP_MIN and at most KEEP_MAX.  "Lately" is counted
 * in puts: the remembered peak sinks by a quarter every PEAK_PUTS, but not below
 * the highest of those.  A load that swings below KEEP_MAX therefore never goes
 * to the kernel, and after a burst at most KEEP_MAX stacks (and a batch) stay
 * resident however large it was.  The numbers are chosen by feel.
 */
#include "stack.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "atomic.h"
#include "lock.h"
#include "slab.h"
#include "stack_guard.h"
#include "stack_notes.h"
#include "stackless/error.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* A frame of up to this size that does not probe
 * its pages still hits the guard and not the neighbour's stack.  A multiple of
 * every page size in use. */
#define GUARD ((size_t)64 << 10)

#define AHEAD 8
#define KEEP_MIN 64
#define KEEP_MAX 1024
#define TRIM_BATCH 64
#define PEAK_PUTS 4096

struct sl_stack_pool {
    size_t size, page; /* constant */
    sl_lock lock;      /* everything below */
    sl_stack *head, *tail, *coldest;
    sl_slab *slabs; /* newest first; only the newest may have uncarved stacks */
    size_t live, free, resident, slab_count, unguarded;
    size_t peak;        /* most in use at once lately */
    size_t window_peak; /* the same, since `puts` last was a multiple of PEAK_PUTS */
    size_t puts;
};

int sl_stack_pool_create(sl_stack_pool **out, size_t size)
{
    *out = NULL;
    if (size < SL_STACK_MIN || size > SL_STACK_MAX)
        return SL_EINVAL;
    sl_stack_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return SL_ENOMEM;
    pool->page = (size_t)sysconf(_SC_PAGESIZE);
    pool->size = (size + pool->page - 1) & ~(pool->page - 1);
    sl_lock_init(&pool->lock);
    *out = pool;
    return 0;
}

static void unmap_slab(sl_slab *slab)
{
    size_t by_mprotect = 0;
    for (unsigned i = 0; i < slab->carved; i++) {
        sl_note_gone(&slab->stacks[i]);
        by_mprotect += slab->stacks[i].guard_kind == SL_GUARD_MPROTECT;
    }
    sl_guard_forget(by_mprotect);
    sl_slab_unmap(slab);
}

void sl_stack_pool_destroy(sl_stack_pool *pool)
{
    if (!pool)
        return;
    for (sl_slab *slab = pool->slabs, *next; slab; slab = next) {
        next = slab->next;
        unmap_slab(slab);
    }
    free(pool);
}

/* ---- the free list; the pool's lock is held ---------------------------- */

static void push_resident(sl_stack_pool *pool, sl_stack *s)
{
    s->resident = true;
    s->prev = NULL;
    s->next = pool->head;
    if (pool->head)
        pool->head->prev = s;
    else
        pool->tail = s;
    pool->head = s;
    if (!pool->coldest)
        pool->coldest = s;
    pool->free++;
    pool->resident++;
}

static void append_given_back(sl_stack_pool *pool, sl_stack *s)
{
    s->resident = false;
    s->next = NULL;
    s->prev = pool->tail;
    if (pool->tail)
        pool->tail->next = s;
    else
        pool->head = s;
    pool->tail = s;
    pool->free++;
}

static void unlink_free(sl_stack_pool *pool, sl_stack *s)
{
    if (pool->coldest == s)
        pool->coldest = s->prev; /* before it there are residents only */
    if (s->prev)
        s->prev->next = s->next;
    else
        pool->head = s->next;
    if (s->next)
        s->next->prev = s->prev;
    else
        pool->tail = s->prev;
    s->next = s->prev = NULL;
    pool->free--;
    if (s->resident)
        pool->resident--;
}

static void count_live(sl_stack_pool *pool)
{
    size_t n = ++pool->live;
    if (n > pool->window_peak)
        pool->window_peak = n;
    if (n > pool->peak)
        pool->peak = n;
}

/* ---- handing out ------------------------------------------------------- */

/* Takes up to AHEAD stacks that need preparing off the list, or cuts them from
 * a slab.  0 when the system gives no more memory.  Lock held. */
static int take_cold(sl_stack_pool *pool, sl_stack **batch)
{
    int n = 0;
    while (n < AHEAD && pool->head) {
        batch[n++] = pool->head;
        unlink_free(pool, pool->head);
    }
    if (n > 0)
        return n;
    sl_slab *slab = pool->slabs;
    if (!slab || slab->carved == slab->count) {
        slab = sl_slab_map(pool->size, GUARD);
        if (!slab)
            return 0;
        slab->next = pool->slabs;
        pool->slabs = slab;
        pool->slab_count++;
    }
    while (n < AHEAD && slab->carved < slab->count)
        batch[n++] = &slab->stacks[slab->carved++];
    return n;
}

/* Guards (once) and the top page.  Returns how many new ones have no guard.
 * No lock: the batch is the caller's. */
static size_t prepare(sl_stack_pool *pool, sl_stack **batch, int n)
{
    size_t unguarded = 0;
    for (int i = 0; i < n; i++) {
        sl_stack *s = batch[i];
        if (!s->prepared) {
            s->prepared = true;
            s->guard_kind = (unsigned char)sl_guard_install(s->base - GUARD, GUARD);
            s->guarded = s->guard_kind != SL_GUARD_NONE;
            unguarded += !s->guarded;
            sl_note_new(s);
        }
        /* If the kernel cannot, the first touch will do it. */
        madvise(s->base + s->size - pool->page, pool->page, MADV_POPULATE_WRITE);
    }
    return unguarded;
}

static int get_cold(sl_stack_pool *pool, sl_stack **out)
{
    sl_stack *batch[AHEAD];
    int n = take_cold(pool, batch);
    if (n == 0)
        return SL_ENOMEM;
    sl_lock_drop(&pool->lock);
    size_t unguarded = prepare(pool, batch, n);
    sl_lock_take(&pool->lock);
    pool->unguarded += unguarded;
    while (n > 1)
        push_resident(pool, batch[--n]);
    batch[0]->resident = true;
    *out = batch[0];
    return 0;
}

int sl_stack_get(sl_stack_pool *pool, sl_stack **out)
{
    int error = 0;
    sl_lock_take(&pool->lock);
    sl_stack *s = pool->head;
    if (s && s->resident)
        unlink_free(pool, s);
    else
        error = get_cold(pool, &s);
    if (!error)
        count_live(pool);
    sl_lock_drop(&pool->lock);
    if (error) {
        *out = NULL;
        return error;
    }
    sl_note_get(s);
    s->label = NULL;
    *out = s;
    return 0;
}

/* ---- taking back ------------------------------------------------------- */

static size_t keep(const sl_stack_pool *pool)
{
    size_t n = pool->peak;
    return n < KEEP_MIN ? KEEP_MIN : n > KEEP_MAX ? KEEP_MAX : n;
}

/* Gives the coldest residents back, at most one batch, down to `wanted`.  The
 * lock is held at both ends but not during the system calls.  Says whether it
 * did anything. */
static bool trim_batch(sl_stack_pool *pool, size_t wanted)
{
    sl_stack *batch[TRIM_BATCH];
    int n = 0;
    while (n < TRIM_BATCH && pool->resident > wanted) {
        batch[n] = pool->coldest;
        unlink_free(pool, batch[n++]);
    }
    if (n == 0)
        return false;
    sl_lock_drop(&pool->lock);
    for (int i = 0; i < n; i++)
        madvise(batch[i]->base, batch[i]->size, MADV_DONTNEED);
    sl_lock_take(&pool->lock);
    for (int i = 0; i < n; i++)
        append_given_back(pool, batch[i]);
    return true;
}

void sl_stack_put(sl_stack_pool *pool, sl_stack *s)
{
    sl_note_put(s);
    sl_lock_take(&pool->lock);
    pool->live--;
    push_resident(pool, s);
    if (++pool->puts % PEAK_PUTS == 0) {
        pool->peak -= pool->peak / 4;
        if (pool->peak < pool->window_peak)
            pool->peak = pool->window_peak;
        pool->window_peak = pool->live;
    }
    size_t wanted = keep(pool);
    if (pool->resident >= wanted + TRIM_BATCH)
        trim_batch(pool, wanted);
    sl_lock_drop(&pool->lock);
}

void sl_stack_trim(sl_stack_pool *pool)
{
    sl_lock_take(&pool->lock);
    while (trim_batch(pool, 0))
        ;
    pool->peak = pool->window_peak = pool->live;
    sl_lock_drop(&pool->lock);
}

void sl_stack_pool_after_fork(sl_stack_pool *pool)
{
    /* Only the forking thread lives on.  Had it been in here, it could not
     * fork; stacks that another thread held in a batch are lost, no more. */
    sl_lock_init(&pool->lock);
}

void sl_stack_pool_stats(sl_stack_pool *pool, sl_stack_stats *out)
{
    memset(out, 0, sizeof *out);
    sl_lock_take(&pool->lock);
    out->size = pool->size;
    out->live = pool->live;
    out->free = pool->free;
    out->resident = pool->resident;
    out->slabs = pool->slab_count;
    out->unguarded = pool->unguarded;
    sl_lock_drop(&pool->lock);
    out->guard = sl_guard_kind() == SL_GUARD_MPROTECT ? "mprotect" : "madvise";
}
