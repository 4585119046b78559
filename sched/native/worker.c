/* SPDX-License-Identifier: MIT
 *
 * A worker: what runs next, and the switch to it.
 *
 * Tasklets switch to each other directly.  The worker's own stack is entered
 * only to search, to sleep or to give its lane away (idle.c).
 */
#include "engine.h"

#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "../../core/overflow.h"
#include "../../core/places.h"

/* After so many in a row from the slot or the fresh ones the next turn is the
 * ring's: two that wake each other do not starve the rest. */
enum { WINS = 3 };

/* A busy lane looks at descriptors so often, nanoseconds. */
static const int64_t POLL_EVERY = 10 * 1000 * 1000;

static _Thread_local sl_worker *self;

__attribute__((noinline)) sl_worker *sl_worker_self(void)
{
    __asm__ volatile("" ::: "memory"); /* no caller may keep the address of `self` */
    return self;
}

uint32_t sl_random(void)
{
    static _Thread_local uint64_t outside = 0x9e3779b97f4a7c15u;
    sl_worker *w = sl_worker_self();
    uint64_t *state = !w || !w->lane ? &outside : w->pool->config.seed ? &w->pool->random : &w->lane->random;
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *state = x;
    return (uint32_t)(x >> 32);
}

/* ---- putting ---- */

static void put_slot(sl_lane *lane, sl_tasklet *t)
{
    sl_tasklet *old = sl_load_ptr(&lane->slot);
    if (!sl_load_relaxed32(&lane->shared)) {
        sl_store_ptr(&lane->slot, t);
    } else if (!old) { /* thieves only take */
        sl_store_ptr_release(&lane->slot, t);
        return;
    } else {
        old = sl_swap_ptr(&lane->slot, t);
    }
    if (!old)
        return;
    sl_ring_push(lane, old);
    if (sl_load_relaxed32(&lane->shared)) {
        sl_fence(); /* against sl_go_idle() */
        sl_offer_work(lane->pool);
    }
}

static sl_tasklet *take_slot(sl_lane *lane)
{
    sl_tasklet *t = sl_load_ptr(&lane->slot);
    if (!t)
        return NULL;
    if (!sl_load_relaxed32(&lane->shared)) {
        sl_store_ptr(&lane->slot, NULL);
        return t;
    }
    return sl_cas_ptr(&lane->slot, t, NULL) ? t : NULL;
}

static void push_inbox(sl_worker *w, sl_tasklet *t)
{
    uintptr_t first;
    sl_add(&w->pool->pinned_ready, 1);
    do {
        first = sl_load_relaxed(&w->inbox);
        t->next = (sl_tasklet *)first;
    } while (!sl_cas(&w->inbox, first, (uintptr_t)t));
    if (w != sl_worker_self() || !w->lane) /* the last: from the report of a deadlock */
        sl_call_home(w);
}

static sl_worker *local_worker(sl_tasklet *t)
{
    sl_worker *w = sl_worker_self();
    return w && w->lane && w->pool == t->pool ? w : NULL;
}

static void push_outside(sl_tasklet *t)
{
    t->next = NULL;
    sl_global_push(t->pool, t, t, 1);
    sl_offer_work(t->pool); /* the lock was a full barrier */
}

void sl_ready(sl_tasklet *t)
{
    sl_worker *w = local_worker(t);
    if (t->pinned)
        push_inbox(t->pinned, t);
    else if (!w)
        push_outside(t);
    else if (t->pool->config.seed)
        sl_ring_push(w->lane, t);
    else
        put_slot(w->lane, t);
}

void sl_ready_fresh(sl_tasklet *t)
{
    sl_worker *w = local_worker(t);
    if (!w) {
        push_outside(t);
        return;
    }
    sl_lane *lane = w->lane;
    if (lane->pool->config.seed) {
        sl_ring_push(lane, t);
        return;
    }
    bool others = !sl_fresh_empty(lane); /* one alone the host is about to run */
    sl_fresh_push(lane, t);
    if (sl_load_relaxed32(&lane->shared) && others) {
        sl_fence(); /* against sl_go_idle() */
        sl_offer_work(lane->pool);
    }
}

void sl_ready_last(sl_tasklet *t)
{
    sl_worker *w = local_worker(t);
    if (t->pinned)
        push_inbox(t->pinned, t);
    else if (!w)
        push_outside(t);
    else
        sl_ring_push(w->lane, t);
}

/* ---- choosing ---- */

/* Work that is pinned to this worker, in the order of arrival. */
static sl_tasklet *take_pinned(sl_worker *w)
{
    if (sl_load_relaxed(&w->inbox)) {
        sl_tasklet *newest = sl_swap_ptr(&w->inbox, NULL), *list = NULL;
        while (newest) {
            sl_tasklet *next = newest->next;
            newest->next = list;
            list = newest;
            newest = next;
        }
        sl_tasklet **end = &w->mine;
        while (*end)
            end = &(*end)->next;
        *end = list;
    }
    sl_tasklet *t = w->mine;
    if (t) {
        w->mine = t->next;
        sl_add(&w->pool->pinned_ready, (uintptr_t)-1);
    }
    return t;
}

static void look_at_clock(sl_lane *lane)
{
    sl_pool *pool = lane->pool;
    if (sl_earliest(pool) != SL_NEVER && !pool->config.seed)
        sl_fire_timers(pool, sl_now());
    if (sl_load_acquire(&pool->net_waits)) {
        int64_t now = sl_now_coarse();
        if (now - lane->looked >= POLL_EVERY) {
            lane->looked = now;
            sl_poll_now(pool);
        }
    }
}

/* Between turns, now and then: what the lane itself does not see. */
static sl_tasklet *look_around(sl_worker *w, sl_lane *lane)
{
    sl_store_relaxed32(&lane->attention, 0);
    if (!sl_load_relaxed32(&lane->shared) && sl_load_acquire(&lane->pool->nlanes) > 1) {
        sl_store_release32(&lane->shared, 1);
        sl_fence(); /* against sl_go_idle() */
        sl_offer_work(lane->pool);
    }
    look_at_clock(lane);
    if (sl_load_relaxed(&lane->pool->wanting) || sl_load_relaxed32(&lane->retired)) {
        w->leaves = true;
        return NULL;
    }
    sl_tasklet *t = take_pinned(w);
    return t ? t : sl_global_pop(lane);
}

/* Deterministic mode: any of the ring, by the seed. */
static sl_tasklet *pick_seeded(sl_lane *lane)
{
    unsigned head = sl_load_relaxed32(&lane->head), n = sl_load_relaxed32(&lane->tail) - head;
    if (n > 1) {
        sl_atomic *first = &lane->slots[head % SL_RING], *other = &lane->slots[(head + sl_random() % n) % SL_RING];
        void *t = sl_load_ptr(first);
        sl_store_ptr(first, sl_load_ptr(other));
        sl_store_ptr(other, t);
    }
    return sl_ring_pop(lane);
}

/* Who runs next on this lane, or NULL: nobody, or the worker is to leave it. */
static inline sl_tasklet *pick(sl_worker *w)
{
    sl_lane *lane = w->lane;
    if (!lane)
        return NULL; /* between blocking begin and end */
    uintptr_t turn = sl_load_relaxed(&lane->turn) + 1;
    sl_store_relaxed(&lane->turn, turn);
    lane->budget = SL_BUDGET;
    if (__builtin_expect(turn % SL_GLOBAL_TURNS == 0 || sl_load_relaxed32(&lane->attention), 0)) {
        sl_tasklet *t = look_around(w, lane);
        if (t || w->leaves)
            return t;
    }
    if (lane->pool->config.seed)
        return pick_seeded(lane);
    sl_tasklet *t = NULL;
    if (lane->wins < WINS && ((t = take_slot(lane)) || (t = sl_fresh_pop(lane)))) {
        lane->wins++;
        return t;
    }
    lane->wins = 0;
    if ((t = sl_ring_pop(lane)) || (t = take_slot(lane)))
        return t;
    return sl_fresh_pop(lane);
}

/* ---- switching ---- */

void sl_switch_away(sl_worker *w, sl_tasklet *t, sl_after after, void *arg)
{
    sl_tasklet *next = pick(w);
    w->current = next;
    sl_switch_to(&t->context, next ? &next->context : &w->native, after, arg, next);
}

static void after_end(void *arg)
{
    sl_tasklet_ended(arg);
}

void sl_switch_end(sl_worker *w, sl_tasklet *t)
{
    sl_tasklet *next = pick(w);
    w->current = next;
    sl_switch_final(&t->context, next ? &next->context : &w->native, after_end, t, next);
}

static void after_yield(void *arg)
{
    sl_worker *w = arg; /* the thread is the same, its tasklet another */
    sl_tasklet *t = w->left;
    if (t->pinned || !w->lane)
        sl_ready_last(t);
    else
        sl_ring_push(w->lane, t);
}

int sl_yield(void)
{
    sl_worker *w = sl_worker_self();
    if (!w || !w->current)
        return SL_ENOTASKLET;
    if (!w->lane)
        return 0; /* between blocking begin and end there is nothing to give */
    sl_tasklet *t = w->current, *next = pick(w);
    if (!next && !w->leaves)
        return 0;
    w->current = next;
    w->left = t;
    sl_switch_to(&t->context, next ? &next->context : &w->native, after_yield, w, next);
    return 0;
}

bool sl_wait_allowed(void)
{
    sl_worker *w = sl_worker_self();
    return w && w->current && w->lane;
}

static __attribute__((noinline)) void turn_is_over(sl_lane *lane)
{
    sl_store_relaxed32(&lane->hurry, 0);
    lane->budget = SL_BUDGET; /* if nobody else is there */
    sl_yield();
}

bool sl_wait_begin(void)
{
    sl_worker *w = sl_worker_self();
    if (!w || !w->current || !w->lane)
        return false;
    sl_lane *lane = w->lane;
    if (__builtin_expect(--lane->budget == 0 || sl_load_relaxed32(&lane->hurry), 0))
        turn_is_over(lane);
    return true;
}

/* ---- the worker's own stack ---- */

static void stop_searching(sl_worker *w)
{
    w->searching = false;
    /* The last one: what was put while it searched has woken nobody. */
    if (sl_add(&w->pool->searching, (uintptr_t)-1) == 1 && sl_any_work(w->pool))
        sl_offer_work(w->pool);
}

static sl_tasklet *find(sl_worker *w)
{
    sl_lane *lane = w->lane;
    sl_tasklet *t = take_pinned(w);
    if (!t)
        t = pick(w);
    if (!t && !w->leaves)
        t = sl_global_pop(lane);
    if (!t && !w->leaves && sl_load_acquire(&w->pool->net_waits) && sl_poll_now(w->pool))
        t = pick(w);
    if (!t && !w->leaves && sl_earliest(w->pool) != SL_NEVER && sl_fire_due(w->pool))
        t = pick(w);
    if (!t && !w->leaves)
        t = sl_steal(w);
    return t;
}

static void enter(sl_worker *w, sl_tasklet *t)
{
    if (w->searching)
        stop_searching(w);
    w->current = t;
    sl_switch_to(&w->native, &t->context, NULL, NULL, t);
}

void sl_worker_place(sl_worker *w)
{
    if (w->place == w->lane->id)
        return;
    w->place = w->lane->id;
    sl_place_bind(w->pool->places, w->place); /* if the kernel refuses, it is as good as before */
}

void *sl_worker_main(void *arg)
{
    sl_worker *w = arg;
    char name[16];
    snprintf(name, sizeof name, "sl-native-%u", w->id);
    prctl(PR_SET_NAME, name);
    self = w;
    w->place = UINT_MAX;
    sl_context_native(&w->native, false);
    sl_overflow_thread_begin();
    for (;;) {
        if (w->lane && w->pool->places)
            sl_worker_place(w);
        sl_tasklet *t = w->lane ? find(w) : NULL;
        if (t)
            enter(w, t);
        else if (!sl_go_idle(w))
            break;
    }
    sl_overflow_thread_end();
    return NULL;
}
