/* SPDX-License-Identifier: MIT
 *
 * Waits with a deadline, sleeping, and how an idle worker sleeps until the next
 * timer or descriptor event.
 *
 * A timer stands in the heap of the lane on which its wait began, under that
 * lane's timer_lock; whoever fires it holds the lock, and the waiter takes it
 * to disarm, so a firing timer's frame cannot go.
 *
 * A new timer that is earlier than what the poller sleeps for must wake it:
 * the waiter publishes the lane's earliest deadline, full barrier, reads
 * poll_until; the poller stores poll_until, full barrier, reads the earliest
 * deadlines once more.  (Or nobody is the poller: who becomes it, after that, reads them
 * too.  That there is one lane does not mean that there is one worker.)
 */
#include "engine.h"

#include <stddef.h>

#define container(type, member, ptr) ((type *)((char *)(ptr) - offsetof(type, member)))

int64_t sl_pool_now(sl_pool *pool)
{
    return pool->config.seed ? pool->now : sl_now();
}

int64_t sl_clock(void)
{
    sl_worker *w = sl_worker_self();
    return w && w->pool->config.seed ? w->pool->now : sl_now();
}

int64_t sl_after_ns(int64_t ns)
{
    return sl_deadline_after(sl_clock(), ns);
}

int64_t sl_earliest(sl_pool *pool)
{
    int64_t earliest = SL_NEVER;
    uintptr_t n = sl_load_acquire(&pool->made);
    for (uintptr_t i = 0; i < n; i++) {
        int64_t at = sl_timers_earliest(&pool->lanes[i]->timers);
        if (at < earliest)
            earliest = at;
    }
    return earliest;
}

static void fire(sl_timer *timer)
{
    sl_wait *w = container(sl_wait, timer, timer);
    if (sl_wait_claim(w, SL_CLAIM_TIMEOUT))
        sl_wait_resume(w);
}

unsigned sl_fire_timers(sl_pool *pool, int64_t now)
{
    unsigned fired = 0;
    uintptr_t n = sl_load_acquire(&pool->made);
    for (uintptr_t i = 0; i < n; i++) {
        sl_lane *lane = pool->lanes[i];
        if (sl_timers_earliest(&lane->timers) > now)
            continue;
        sl_lock_take(&lane->timer_lock);
        unsigned due = sl_timers_run(&lane->timers, now);
        sl_count(&lane->fired, due);
        fired += due;
        sl_lock_drop(&lane->timer_lock);
    }
    return fired;
}

unsigned sl_fire_due(sl_pool *pool)
{
    if (pool->config.seed) {
        int64_t earliest = sl_earliest(pool);
        if (earliest != SL_NEVER && earliest > pool->now)
            pool->now = earliest;
    }
    return sl_fire_timers(pool, sl_pool_now(pool));
}

static void wake_poller(sl_pool *pool)
{
    sl_lock_take(&pool->lock);
    sl_worker *w = sl_load_ptr(&pool->poller);
    bool polls = w && w->polls;
    if (w && !polls)
        sl_unpark(&w->parker);
    sl_lock_drop(&pool->lock);
    if (polls)
        sl_netpoll_wake(pool->netpoll);
}

/* The poller may sleep on its parker: it must go to the kernel's poller.  If
 * nobody polls the next worker without work will. */
void sl_poller_changed(sl_pool *pool)
{
    wake_poller(pool);
}

int sl_wait_arm(sl_wait *w, int64_t deadline)
{
    sl_lane *lane = sl_worker_self()->lane;
    w->timer.fire = fire;
    w->timer.place = 0;
    w->timer_lane = lane;
    sl_lock_take(&lane->timer_lock);
    int rc = sl_timers_add(&lane->timers, &w->timer, deadline);
    sl_lock_drop(&lane->timer_lock);
    if (rc < 0) {
        w->timer_lane = NULL;
        return rc;
    }
    sl_fence();
    if (deadline < (int64_t)sl_load_relaxed(&lane->pool->poll_until) && sl_load_ptr(&lane->pool->poller))
        wake_poller(lane->pool);
    sl_monitor_watch(lane->pool);
    return 0;
}

void sl_wait_disarm(sl_wait *w)
{
    sl_lane *lane = w->timer_lane;
    if (!lane)
        return;
    sl_lock_take(&lane->timer_lock);
    sl_timers_remove(&lane->timers, &w->timer);
    sl_lock_drop(&lane->timer_lock);
}

/* ---- sleeping ---- */

int sl_sleep_until(int64_t deadline)
{
    sl_worker *w = sl_worker_self();
    if (!sl_wait_allowed())
        return SL_ENOTASKLET;
    if (deadline <= sl_pool_now(w->pool)) {
        if (sl_load_relaxed32(&w->current->cancel) || sl_load_relaxed32(&w->pool->closing))
            return sl_wait_error(SL_CLAIM_CANCEL);
        return sl_yield();
    }
    sl_wait wait;
    sl_wait_init(&wait, "sleep", NULL);
    uintptr_t claim = sl_wait_park(&wait, deadline, NULL, NULL);
    return claim == SL_CLAIM_TIMEOUT ? 0 : sl_wait_error(claim);
}

int sl_sleep(int64_t ns)
{
    return sl_sleep_until(sl_after_ns(ns));
}

/* ---- the poller ---- */

unsigned sl_poll_now(sl_pool *pool)
{
    struct epoll_event events[SL_POLL_BATCH];
    int n = sl_netpoll_wait(pool->netpoll, events, 0);
    if (n <= 0)
        return 0;
    sl_lock_take(&pool->net_lock);
    n = sl_netpoll_dispatch(pool->netpoll, events, n);
    sl_lock_drop(&pool->net_lock);
    return (unsigned)n;
}

void sl_sleep_as_poller(sl_worker *w, int64_t earliest, int64_t deadline)
{
    sl_pool *pool = w->pool;
    sl_store_relaxed(&pool->poll_until, (uintptr_t)deadline);
    sl_fence();
    if (sl_earliest(pool) < earliest) /* not `deadline`: what is overdue would keep us from sleeping at all */
        return;
    if (!w->polls) {
        sl_park(&w->parker, deadline);
        return;
    }
    struct epoll_event events[SL_POLL_BATCH];
    int64_t left = deadline == SL_NEVER ? -1 : deadline - sl_now();
    int n = sl_netpoll_wait(pool->netpoll, events, deadline != SL_NEVER && left < 0 ? 0 : left);
    if (n <= 0)
        return;
    sl_get_lane(w); /* so that what becomes runnable does so here */
    sl_lock_take(&pool->net_lock);
    sl_netpoll_dispatch(pool->netpoll, events, n);
    sl_lock_drop(&pool->net_lock);
}
