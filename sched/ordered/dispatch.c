/* SPDX-License-Identifier: MIT
 *
 * The switch between tasklets of a lane: who is next, on which carrier, and
 * what is looked after between turns.
 *
 * Tasklets switch to each other directly.  A worker's own stack is entered
 * only to search, wait, or give the lane away, so that no thread ever sleeps
 * on a tasklet's stack.
 */
#include "lane.h"

#include <stddef.h>

/* A switch to this worker's own stack; what has to happen once the tasklet's
 * has been left.  (Only then: entering the home state may drop the guard, and
 * another worker could enter a stack that is still in use.) */
typedef struct departure {
    sl_oworker *w;
    sl_otasklet *rejoins; /* stray to be queued, or NULL */
    sl_carrier *freed;   /* carrier of a stray that ended, or NULL */
} departure;

static _Thread_local sl_oworker *self;

__attribute__((noinline)) sl_oworker *sl_self(void)
{
    __asm__ volatile("" ::: "memory"); /* no caller may keep the address of `self` */
    return self;
}

__attribute__((noinline)) void sl_set_self(sl_oworker *w)
{
    __asm__ volatile("" ::: "memory");
    self = w;
}

/* How often a lane that nobody watches looks around, in turns. */
enum { LOOK_EVERY = 32 };

void sl_olane_fire_timers(sl_olane *lane, int64_t now)
{
    if (sl_timers_earliest(&lane->timers) <= now)
        sl_timers_run(&lane->timers, now);
}

void sl_olane_poll_now(sl_olane *lane)
{
    struct epoll_event events[SL_POLL_BATCH];
    int n = sl_netpoll_wait(lane->netpoll, events, 0);
    if (n > 0)
        sl_netpoll_dispatch(lane->netpoll, events, n);
}

static void look_at_clock(sl_olane *lane)
{
    bool polls = sl_load_relaxed(&lane->waiting) != 0;
    if (!polls && !sl_load_relaxed(&lane->timers.count)) {
        if (!lane->pool)
            sl_store_relaxed(&lane->attention, 0);
        return;
    }
    int64_t now = sl_now_coarse();
    if (now == lane->last_tick)
        return;
    lane->last_tick = now;
    sl_olane_fire_timers(lane, now);
    if (polls)
        sl_olane_poll_now(lane);
}

/* Between turns, now and then. */
static void look_around(sl_oworker *w, sl_olane *lane)
{
    uintptr_t attend = 0;
    if (sl_load_relaxed(&lane->attention))
        attend = lane->pool ? sl_swap(&lane->attention, 0) : SL_ATTEND_CLOCK;
    look_at_clock(lane);
    sl_inbox_take(lane);
    if (lane->pool && !sl_load_relaxed32(&lane->pool->monitor_state) && sl_olane_has_work(lane))
        sl_opool_watch(lane->pool); /* it could not be started: again */
    if ((attend & SL_ATTEND_OFFER) && lane->env->offer)
        lane->env->offer(w);
}

/* A stay of tasklets on the owner's thread lasts from here on, nanoseconds: a
 * move is some 20 us, which is little by then.  The coarse clock ticks every 1
 * to 10 ms. */
static const int64_t LASTS = 1000 * 1000;

bool sl_olane_leaves_owner(sl_olane *lane, sl_oworker *w)
{
    sl_otasklet *t = lane->current, *main = w->native.tasklet;
    if (w != lane->owner || !lane->pool || lane->stays || !main || t->home == w)
        return false;
    if (!lane->owner_waits && !t->carrier)
        return true;
    int64_t now = sl_now_coarse();
    return now < lane->shy_until || (main->place != SL_IN_RING && now - lane->left_at >= LASTS);
}

/* The carrier that `w` enters next: that of the ring's head, or its own. */
static sl_carrier *choose(sl_oworker *w, sl_olane *lane)
{
    for (;;) {
        sl_otasklet *t = lane->current;
        if (w->lane != lane || !t || (t->home && t->home != w) || sl_olane_leaves_owner(lane, w))
            return &w->native;
        if (t->carrier)
            return t->carrier;
        int rc = sl_carrier_take(lane, &t->carrier);
        if (rc == 0) {
            t->carrier->tasklet = t;
            t->carrier->stack->label = t;
            return t->carrier;
        }
        lane->env->no_carrier(lane, t, rc);
    }
}

/* The tasklet counts as running from before the guard may be dropped, so that
 * others neither take it out of the ring nor put something before it. */
static void set_state(sl_oworker *w, const sl_env *env, sl_carrier *to)
{
    sl_store_relaxed32(&w->switching, 1);
    sl_store_ptr_release(&w->on, to); /* the monitor follows it */
    w->current = to->tasklet;
    if (env->swap)
        env->swap(w, to);
    sl_store_release32(&w->switching, 0);
}

/* On a worker's own stack after a switch to it: back to the main tasklet if it
 * is its turn, else the loop. */
static sl_oworker *landed(sl_oworker *w, sl_carrier *on)
{
    if (on == &w->native) {
        w->current = NULL;
        sl_oworker_loop(w);
        w->current = on->tasklet;
    }
    return w;
}

static sl_oworker *enter(sl_oworker *w, sl_carrier *from, sl_carrier *to)
{
    set_state(w, from->lane->env, to);
    return sl_switch_to(&from->context, &to->context, NULL, NULL, w);
}

/* On the worker's own stack, the tasklet's having been left. */
static void departed(void *arg)
{
    departure *d = arg;
    sl_olane *lane = d->w->native.lane;
    sl_store_relaxed(&lane->strays, sl_load_relaxed(&lane->strays) - 1);
    if (d->rejoins)
        sl_olane_append(lane, d->rejoins);
    if (d->freed) {
        sl_carrier_put(d->freed);
        sl_olane_kick(lane); /* the host may have waited for this one alone */
    }
}

/* Leaves the stack of `own` for this worker's; returns where it is entered again. */
static sl_oworker *depart(sl_oworker *w, sl_carrier *own, departure *d)
{
    set_state(w, own->lane->env, &w->native);
    return sl_switch_to(&own->context, &w->native.context, departed, d, w);
}

sl_oworker *sl_dispatch(sl_oworker *w, sl_otasklet *from)
{
    sl_olane *lane = from->lane;
    sl_carrier *own = from->carrier;
    uintptr_t turn = sl_load_relaxed(&lane->turn) + 1;
    sl_store_relaxed(&lane->turn, turn);
    if (__builtin_expect(sl_load_relaxed(&lane->attention) || turn % LOOK_EVERY == 0, 0))
        look_around(w, lane);
    if (own == &w->native && lane->pool)
        lane->left_at = sl_now_coarse();
    if (lane->current == from && w->lane == lane)
        return w;
    sl_carrier *to = choose(w, lane);
    if (to == own)
        return landed(w, own);
    return landed(enter(w, own, to), own);
}

void sl_enter_current(sl_oworker *w)
{
    sl_carrier *to = choose(w, w->lane);
    if (to != &w->native)
        enter(w, &w->native, to);
    w->current = NULL;
}

sl_oworker *sl_rejoin(sl_oworker *w, sl_otasklet *t)
{
    sl_carrier *own = t->carrier;
    departure d = {.w = w, .rejoins = t};
    if (own == &w->native) {
        departed(&d);
        return landed(w, own);
    }
    return depart(w, own, &d);
}

sl_oworker *sl_leave_dead(sl_oworker *w)
{
    sl_carrier *own = sl_load_ptr(&w->on);
    sl_olane *lane = own->lane;
    if (w->lane != lane) { /* ended as a stray */
        departure d = {.w = w, .freed = own};
        return depart(w, own, &d);
    }
    sl_store_relaxed(&lane->turn, sl_load_relaxed(&lane->turn) + 1);
    if (sl_load_relaxed(&lane->attention))
        look_around(w, lane);
    sl_carrier_put(own);
    sl_carrier *to = choose(w, lane);
    if (to == own) { /* the next one is new and takes over where we stand */
        w->current = to->tasklet;
        return w;
    }
    set_state(w, lane->env, to);
    return sl_switch_to(&own->context, &to->context, NULL, NULL, w);
}
