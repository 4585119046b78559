/* SPDX-License-Identifier: MIT
 *
 * The life of a tasklet: record and stack, start, end, handle, join.
 *
 * The end of a tasklet with a handle.  `end` goes
 *   HANDLE -> ENDED              the tasklet, its stack left: nobody has come for it yet
 *   HANDLE -> DETACHED           the handle was dropped first: the record is free at the end
 *   HANDLE <-> a joiner's wait   it waits, it gives up
 *   wait   -> JOINED             the tasklet, its stack left: only this joiner touches it now
 *   JOINED -> TOLD               the joiner had given up; it stays until it reads this,
 *                                after which nobody touches its wait
 *   ENDED, JOINED, TOLD -> DROPPED   by who drops the handle: the record is free
 * All by CAS, but for the last two of a joiner, whose own they are.
 */
#include "engine.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* Ended tasklets that a lane keeps, and how many it passes on at a time. */
enum { CACHED = 256, BATCH = 64 };
/* Free records of the pool that keep their stacks for good.  Those above that keep them for a
 * while: to give memory back and fault it in again costs more than all else in the life of
 * a tasklet.  The monitor gives back what has not been needed for half a second. */
enum { KEPT = 4096 };
enum { CHUNK = 64 };

typedef struct sl_chunk {
    struct sl_chunk *next;
    sl_tasklet records[CHUNK];
} sl_chunk;

/* ---- records ---- */

static int add_chunk(sl_pool *pool)
{
    sl_chunk *chunk = calloc(1, sizeof *chunk);
    if (!chunk)
        return SL_ENOMEM;
    chunk->next = pool->chunks;
    pool->chunks = chunk;
    for (int i = 0; i < CHUNK; i++) {
        chunk->records[i].pool = pool;
        chunk->records[i].next = pool->bare;
        pool->bare = &chunk->records[i];
    }
    return 0;
}

unsigned sl_records_give_back(sl_pool *pool, unsigned most)
{
    unsigned given = 0, n = 1;
    for (; n && given < most; given += n) {
        sl_tasklet *batch[BATCH];
        sl_lock_take(&pool->lock);
        for (n = 0; n < BATCH && given + n < most && pool->nrecords > KEPT; n++) {
            batch[n] = pool->records;
            pool->records = batch[n]->next;
            pool->nrecords--;
        }
        if (pool->fewest > pool->nrecords)
            pool->fewest = pool->nrecords;
        sl_lock_drop(&pool->lock);
        for (unsigned i = 0; i < n; i++) {
            sl_stack_put(pool->stacks, batch[i]->stack);
            batch[i]->stack = NULL;
        }
        sl_lock_take(&pool->lock);
        for (unsigned i = 0; i < n; i++) {
            batch[i]->next = pool->bare;
            pool->bare = batch[i];
        }
        sl_lock_drop(&pool->lock);
    }
    return given;
}

unsigned sl_records_unused(sl_pool *pool)
{
    sl_lock_take(&pool->lock);
    unsigned n = pool->fewest > KEPT ? pool->fewest - KEPT : 0;
    pool->fewest = pool->nrecords;
    if (pool->nrecords <= KEPT)
        sl_store_relaxed32(&pool->surplus, 0);
    sl_lock_drop(&pool->lock);
    return n;
}

/* `n` records, strung together from `first` to `last`. */
static void give_to_pool(sl_pool *pool, sl_tasklet *first, sl_tasklet *last, unsigned n)
{
    sl_lock_take(&pool->lock);
    last->next = pool->records;
    pool->records = first;
    pool->nrecords += n;
    bool many = pool->nrecords > KEPT, begins = many && !sl_load_relaxed32(&pool->surplus);
    bool watched = pool->monitor_lives;
    if (begins)
        sl_store_relaxed32(&pool->surplus, 1);
    sl_lock_drop(&pool->lock);
    if (begins) {
        sl_monitor_watch(pool);
        sl_fence(); /* against sleep_while_all_rest() */
        if (sl_load_relaxed32(&pool->monitor_sleeps))
            sl_unpark(&pool->monitor_parker);
    }
    if (many && !watched)
        sl_records_give_back(pool, n);
}

static void put(sl_pool *pool, sl_lane *lane, sl_tasklet *t)
{
    if (!lane) {
        give_to_pool(pool, t, t, 1);
        return;
    }
    t->next = lane->cache;
    lane->cache = t;
    if (++lane->cached < CACHED)
        return;
    sl_tasklet *first = lane->cache, *last = first; /* the warm ones stay */
    for (int i = 1; i < CACHED - BATCH; i++)
        last = last->next;
    sl_tasklet *cold = last->next, *coldest = cold;
    last->next = NULL;
    while (coldest->next)
        coldest = coldest->next;
    lane->cached -= BATCH;
    give_to_pool(pool, cold, coldest, BATCH);
}

/* Lock held: a record with a stack, or NULL. */
static sl_tasklet *from_pool(sl_pool *pool, int *error)
{
    sl_tasklet *t = pool->records;
    if (t) {
        pool->records = t->next;
        if (--pool->nrecords < pool->fewest)
            pool->fewest = pool->nrecords;
        return t;
    }
    if (!pool->bare && (*error = add_chunk(pool)) < 0)
        return NULL;
    t = pool->bare;
    if ((*error = sl_stack_get(pool->stacks, &t->stack)) < 0)
        return NULL;
    pool->bare = t->next;
    t->stack->label = t;
    return t;
}

static sl_tasklet *take(sl_pool *pool, sl_lane *lane, int *error)
{
    if (lane && lane->cache) {
        sl_tasklet *t = lane->cache;
        lane->cache = t->next;
        lane->cached--;
        return t;
    }
    sl_lock_take(&pool->lock);
    sl_tasklet *t = from_pool(pool, error);
    for (int i = 0; t && lane && i < BATCH && pool->records; i++) {
        sl_tasklet *more = from_pool(pool, error);
        more->next = lane->cache;
        lane->cache = more;
        lane->cached++;
    }
    sl_lock_drop(&pool->lock);
    return t;
}

static sl_lane *own_lane(sl_pool *pool)
{
    sl_worker *w = sl_worker_self();
    return w && w->pool == pool ? w->lane : NULL;
}

/* ---- start and end ---- */

static void entry(void *payload)
{
    sl_tasklet *t = payload;
    t->body(t->arg);
    if (t->locals)
        sl_locals_drop(t);
    sl_worker *w = sl_worker_self();
    if (!w->lane) { /* it forgot sl_blocking_end() */
        sl_blocking_end();
        w = sl_worker_self();
    }
    sl_switch_end(w, t);
}

/* Says so in `end`, unless nobody cares; what was there. */
static uintptr_t say_ended(sl_tasklet *t)
{
    uintptr_t was;
    do {
        was = sl_load_acquire(&t->end);
        if (was == SL_END_DETACHED)
            break;
    } while (!sl_cas(&t->end, was, was == SL_END_HANDLE ? SL_END_ENDED : SL_END_JOINED));
    return was;
}

void sl_tasklet_ended(sl_tasklet *t)
{
    sl_pool *pool = t->pool;
    sl_lane *lane = own_lane(pool);
    sl_count(&lane->finished, 1);
    sl_store_relaxed32(&t->alive, 0);
    uintptr_t told = say_ended(t);
    if (told == SL_END_DETACHED) {
        put(pool, lane, t);
    } else if (told != SL_END_HANDLE) {
        sl_wait *joiner = (sl_wait *)told;
        if (sl_wait_claim(joiner, SL_CLAIM_FIRST))
            sl_wait_resume(joiner);
        else
            sl_store_release(&t->end, SL_END_TOLD);
    }
}

static int go(sl_pool *pool, sl_tasklet **out, sl_body body, void *arg, const char *where, const void *site)
{
    sl_worker *w = sl_worker_self();
    if (out)
        *out = NULL;
    if (!body)
        return SL_EINVAL;
    if (!pool && (!w || !w->current))
        return SL_ENOTASKLET;
    if (!pool)
        pool = w->pool;
    sl_lane *lane = own_lane(pool);
    int error = 0;
    sl_tasklet *t = take(pool, lane, &error);
    if (!t)
        return error;
    t->body = body;
    t->arg = arg;
    t->pinned = NULL;
    t->where = where;
    t->site = site;
    sl_store_relaxed(&t->name[0], 0);
    sl_store_relaxed32(&t->cancel, 0);
    sl_store_relaxed32(&t->alive, 1);
    sl_store_relaxed(&t->end, out ? SL_END_HANDLE : SL_END_DETACHED);
    sl_context_make(&t->context, t->stack, entry, false);
    if (out)
        *out = t;
    if (lane) {
        sl_count(&lane->spawned, 1);
    } else {
        sl_lock_take(&pool->lock);
        pool->spawned++;
        sl_lock_drop(&pool->lock);
    }
    sl_ready_fresh(t);
    return 0;
}

int sl_go_at(sl_pool *pool, sl_tasklet **out, sl_body body, void *arg, const char *where)
{
    return go(pool, out, body, arg, where, __builtin_return_address(0));
}

int (sl_go)(sl_pool *pool, sl_tasklet **out, sl_body body, void *arg)
{
    return go(pool, out, body, arg, NULL, __builtin_return_address(0));
}

/* ---- handles ---- */

/* Why the handle cannot be had, from `end`. */
static int not_ours(uintptr_t end)
{
    return end == SL_END_DETACHED || end == SL_END_DROPPED ? SL_EINVAL : SL_EBUSY;
}

/* If it has ended: the handle is dropped. */
static bool drop_ended(sl_tasklet *t)
{
    if (!sl_cas(&t->end, SL_END_ENDED, SL_END_DROPPED))
        return false;
    put(t->pool, own_lane(t->pool), t);
    return true;
}

int sl_detach(sl_tasklet *t)
{
    if (!t)
        return SL_EINVAL;
    for (;;) {
        uintptr_t end = sl_load_acquire(&t->end);
        if (end != SL_END_HANDLE && end != SL_END_ENDED)
            return not_ours(end);
        if (sl_cas(&t->end, SL_END_HANDLE, SL_END_DETACHED) || drop_ended(t))
            return 0;
    }
}

/* A joiner gives up: true, or the tasklet has ended after all. */
static bool withdraw(sl_tasklet *t, sl_wait *w)
{
    if (sl_cas(&t->end, (uintptr_t)w, SL_END_HANDLE))
        return true;
    while (sl_load_acquire(&t->end) != SL_END_TOLD)
        sched_yield();
    return false;
}

static uintptr_t park_thread(sl_pool *pool, sl_wait *w, int64_t deadline)
{
    bool for_ever = deadline == SL_NEVER; /* else it will act again: no deadlock */
    if (for_ever)
        sl_pool_outside(pool, 1);
    int parked = SL_EINTR;
    while (!sl_load_acquire(&w->claim)) {
        parked = sl_park(w->thread, deadline);
        if (parked == SL_ETIMEDOUT && sl_wait_claim(w, SL_CLAIM_TIMEOUT))
            break;
    }
    if (sl_load_relaxed(&w->claim) == SL_CLAIM_FIRST) /* the parker stays until it has been used */
        while (parked != 0)
            parked = sl_park(w->thread, SL_NEVER);
    if (for_ever)
        sl_pool_outside(pool, -1);
    return sl_load_relaxed(&w->claim);
}

/* SL_EAGAIN: `end` is no longer HANDLE. */
static int wait_for_end(sl_tasklet *t, int64_t deadline, bool inside)
{
    sl_wait w;
    sl_parker parker;
    if (inside) {
        sl_wait_init(&w, "join", t);
    } else {
        sl_parker_init(&parker);
        memset(&w, 0, sizeof w);
        w.thread = &parker;
    }
    if (!sl_cas(&t->end, SL_END_HANDLE, (uintptr_t)&w))
        return SL_EAGAIN;
    uintptr_t claim = inside ? sl_wait_park(&w, deadline, NULL, NULL) : park_thread(t->pool, &w, deadline);
    if (claim != SL_CLAIM_FIRST && withdraw(t, &w))
        return inside ? sl_wait_error(claim) : SL_ETIMEDOUT;
    sl_store_release(&t->end, SL_END_DROPPED);
    put(t->pool, own_lane(t->pool), t);
    return 0;
}

/* The pool must not go before the caller has left it; its own tasklets it knows. */
static int wait_as_guest(sl_tasklet *t, int64_t deadline)
{
    sl_worker *w = sl_worker_self();
    sl_pool *pool = t->pool;
    bool inside = sl_wait_allowed(), guest = !w || w->pool != pool;
    if (w && !inside)
        return SL_ENOTASKLET;
    if (guest)
        sl_pool_guest(pool, 1);
    int rc = wait_for_end(t, deadline, inside);
    if (guest)
        sl_pool_guest(pool, -1);
    return rc;
}

int sl_join(sl_tasklet *t, int64_t deadline)
{
    int rc;
    if (!t)
        return SL_EINVAL;
    if (sl_current() == t)
        return SL_EDEADLK;
    do {
        uintptr_t end = sl_load_acquire(&t->end);
        if (end == SL_END_HANDLE)
            rc = wait_as_guest(t, deadline);
        else if (end == SL_END_ENDED)
            rc = drop_ended(t) ? 0 : SL_EAGAIN;
        else
            rc = not_ours(end);
    } while (rc == SL_EAGAIN);
    return rc;
}

/* ---- the running tasklet ---- */

sl_tasklet *sl_current(void)
{
    sl_worker *w = sl_worker_self();
    return w ? w->current : NULL;
}

int sl_set_name(sl_tasklet *t, const char *name)
{
    if (!t && !(t = sl_current()))
        return SL_ENOTASKLET;
    if (!name || sl_load_acquire(&t->end) == SL_END_DROPPED)
        return SL_EINVAL;
    char text[sizeof t->name] = "";
    uintptr_t words[sizeof t->name / sizeof(uintptr_t)];
    strncpy(text, name, sizeof text - 1);
    memcpy(words, text, sizeof words);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        sl_store_relaxed(&t->name[i], words[i]);
    return 0;
}

int sl_pin(bool pinned)
{
    sl_worker *w = sl_worker_self();
    if (!w || !w->current)
        return SL_ENOTASKLET;
    w->current->pinned = pinned ? w : NULL;
    return 0;
}

void sl_each_tasklet(sl_pool *pool, void (*look)(sl_tasklet *t, void *arg), void *arg)
{
    sl_lock_take(&pool->lock);
    sl_chunk *chunk = pool->chunks; /* newer ones come before it, none goes */
    sl_lock_drop(&pool->lock);
    for (; chunk; chunk = chunk->next)
        for (int i = 0; i < CHUNK; i++)
            if (sl_load_relaxed32(&chunk->records[i].alive))
                look(&chunk->records[i], arg);
}

void sl_records_free(sl_pool *pool)
{
    while (pool->chunks) {
        sl_chunk *next = pool->chunks->next;
        for (int i = 0; i < CHUNK; i++)
            if (pool->chunks->records[i].stack)
                sl_stack_put(pool->stacks, pool->chunks->records[i].stack);
        free(pool->chunks);
        pool->chunks = next;
    }
}

/* ---- tasklet-local storage ---- */

static sl_atomic keys; /* how many have been created */
static void (*destroyers[SL_KEYS])(void *);

int sl_key_create(sl_key *out, void (*destroy)(void *value))
{
    uintptr_t key;
    if (!out)
        return SL_EINVAL;
    do {
        key = sl_load_relaxed(&keys);
        if (key == SL_KEYS)
            return SL_ENOMEM;
    } while (!sl_cas(&keys, key, key + 1));
    destroyers[key] = destroy;
    *out = (sl_key)key;
    return 0;
}

void *sl_get_local(sl_key key)
{
    sl_tasklet *t = sl_current();
    return t && t->locals && key < SL_KEYS ? t->locals[key] : NULL;
}

int sl_set_local(sl_key key, void *value)
{
    sl_tasklet *t = sl_current();
    if (!t)
        return SL_ENOTASKLET;
    if (key >= sl_load_relaxed(&keys))
        return SL_EINVAL;
    if (!t->locals && !(t->locals = calloc(SL_KEYS, sizeof *t->locals)))
        return SL_ENOMEM;
    t->locals[key] = value;
    return 0;
}

void sl_locals_drop(sl_tasklet *t)
{
    for (int round = 0, found = 1; found && round < 4; round++) { /* a destroyer may set others */
        found = 0;
        for (int i = 0; i < SL_KEYS; i++) {
            void *value = t->locals[i];
            if (!value || !destroyers[i])
                continue;
            t->locals[i] = NULL;
            destroyers[i](value);
            found = 1;
        }
    }
    free(t->locals);
    t->locals = NULL;
}
