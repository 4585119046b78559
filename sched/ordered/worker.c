/* SPDX-License-Identifier: MIT
 *
 * A worker's own loop: what an OS thread does while it runs no tasklet.
 *
 * The loop runs on the thread's own stack with the guard held and the home
 * state attached; it drops both only to sleep.  A pool worker spends its life
 * in it.  On a thread that has a main tasklet (the pool's owner, or a private
 * scheduler's thread) the loop is entered when that tasklet leaves, stands on
 * its stack, and returns when it is its turn again.
 */
#include "lane.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A main thread may get a signal just before it goes to sleep; nothing can
 * close that gap for a futex, so its sleeps are bounded and it looks again. */
static const int64_t SIGNAL_LOOK = 500 * 1000 * 1000;

void sl_oworker_init(sl_oworker *w, sl_opool *pool, int id)
{
    memset(w, 0, sizeof *w);
    w->pool = pool;
    w->id = id;
    sl_parker_init(&w->parker);
    sl_parker_init(&w->birth);
    sl_store_ptr(&w->on, &w->native);
    sl_oworker_here(w);
    sl_context_native(&w->native.context, true);
}

void sl_oworker_here(sl_oworker *w)
{
    sl_store_relaxed32(&w->tid, (unsigned)syscall(SYS_gettid));
}

static int64_t bounded(sl_oworker *w, const sl_env *env, int64_t deadline)
{
    bool listens = w->native.tasklet && env->signals;
    if (!listens && !(w->lane && w->lane->recheck))
        return deadline;
    int64_t look = sl_now() + SIGNAL_LOOK;
    return look < deadline ? look : deadline;
}

/* Puts what was pinned to this worker, while it was stuck, back in the ring. */
static void undefer(sl_oworker *w, sl_olane *lane)
{
    while (w->deferred) {
        sl_otasklet *t = w->deferred;
        w->deferred = t->next;
        lane->deferred--;
        sl_olane_append(lane, t);
    }
}

void sl_undefer_one(sl_oworker *w, sl_otasklet *t)
{
    sl_otasklet **at = &w->deferred;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    t->lane->deferred--;
}

static void defer(sl_olane *lane, sl_otasklet *t)
{
    sl_otasklet **end = &t->home->deferred;
    sl_olane_unlink(lane, t);
    t->place = SL_DEFERRED;
    while (*end)
        end = &(*end)->next;
    *end = t;
    lane->deferred++;
}

/* Sleeps without a lane until somebody gives one or asks for a handoff. */
static void sleep_without_lane(sl_oworker *w, const sl_env *env)
{
    w->parked = true;
    undefer(w, w->native.lane);
    sl_opool_add_spare(w->pool, w);
    int64_t deadline = bounded(w, env, SL_NEVER);
    env->detach(w);
    sl_park(&w->parker, deadline);
    int64_t before = sl_now();
    env->attach(w);
    w->parked = false;
    int64_t waited = sl_now() - before;
    if (w->spare)
        sl_opool_drop_spare(w->pool, w);
    if (!w->lane && !sl_load_relaxed32(&w->pool->stop))
        sl_olane_seize(w->native.lane, w, waited > SL_GUARD_WAITED);
}

/* Hosts an empty ring: sleeps until something becomes runnable. */
static void sleep_with_lane(sl_oworker *w, sl_olane *lane)
{
    struct epoll_event events[SL_POLL_BATCH];
    int n = 0;
    int64_t deadline = bounded(w, lane->env, sl_timers_earliest(&lane->timers));
    w->in_poll = lane->netpoll && sl_netpoll_waiting(lane->netpoll);
    sl_store_ptr_release(&lane->idle, w); /* with in_poll */
    sl_fence();
    if (sl_load_relaxed(&lane->inbox)) {
        sl_store_ptr(&lane->idle, NULL);
        return;
    }
    lane->env->detach(w);
    if (w->in_poll) {
        int64_t left = deadline == SL_NEVER ? -1 : deadline - sl_now();
        n = sl_netpoll_wait(lane->netpoll, events, left < 0 && deadline != SL_NEVER ? 0 : left);
    } else {
        sl_park(&w->parker, deadline);
    }
    lane->env->attach(w);
    if (w->lane == lane) /* else it has been taken, and another may sleep with it */
        sl_store_ptr(&lane->idle, NULL);
    if (n > 0)
        sl_netpoll_dispatch(lane->netpoll, events, n);
}

/* The ring is empty: true when that has changed. */
static bool find_work(sl_oworker *w, sl_olane *lane)
{
    sl_inbox_take(lane);
    if (sl_load_relaxed(&lane->timers.count))
        sl_olane_fire_timers(lane, sl_now());
    if (!lane->current && lane->netpoll && sl_netpoll_waiting(lane->netpoll))
        sl_olane_poll_now(lane);
    if (!lane->current && lane->env->landed)
        lane->env->landed(lane);
    else if (!lane->current && sl_carrier_due(lane))
        sl_carrier_reap(lane);
    if (lane->current)
        return true;
    return lane->env->idle && lane->env->idle(lane, w);
}

/* The head is pinned elsewhere: its worker gets the lane, or it waits aside. */
static void pass_to_home(sl_oworker *w, sl_olane *lane, sl_otasklet *t)
{
    if (t->home->parked)
        sl_olane_give(lane, w, t->home);
    else
        defer(lane, t);
}

/* The lane goes from the owner's thread to another worker, if there is one. */
static void leave_owner(sl_oworker *w, sl_olane *lane)
{
    sl_oworker *to = sl_opool_find_worker(lane->pool, w);
    if (to) {
        lane->pool->moves++;
        sl_olane_give(lane, w, to);
    } else {
        lane->stays = true;
    }
}

void sl_oworker_loop(sl_oworker *w)
{
    const sl_env *env = w->native.lane->env;
    sl_otasklet *main = w->native.tasklet;
    while (!w->pool || main || !sl_load_relaxed32(&w->pool->stop)) {
        sl_olane *lane = w->lane;
        if (main && env->signals && env->signals(w))
            return;
        if (!lane) {
            sleep_without_lane(w, env);
            continue;
        }
        if (w->deferred)
            undefer(w, lane);
        if (!lane->current && !find_work(w, lane)) {
            sleep_with_lane(w, lane);
            continue;
        }
        sl_otasklet *t = lane->current;
        if (t == main) {
            lane->stays = false;
            return;
        }
        if (sl_olane_leaves_owner(lane, w))
            leave_owner(w, lane);
        else if (t->home && t->home != w)
            pass_to_home(w, lane, t);
        else
            sl_enter_current(w);
    }
}
