/* SPDX-License-Identifier: MIT
 *
 * Idle and wake, from inside: states that a rare order of steps leaves behind are made
 * by hand.  The orders themselves are gone through in tests/model/idle.pml.
 */
#include "../../../sched/native/engine.h"
#include <sched.h>

#include "chan_check.h"

static sl_pool *pool;
static sl_channel *to, *from;

static void answers(void *unused)
{
    uint64_t v;
    (void)unused;
    CHECK_EQ(sl_pin(true), 0);
    while (sl_receive(to, &v) == 0)
        CHECK_EQ(sl_try_send(from, &v), 0);
}

/* Until every worker sleeps and every lane rests. */
static void until_quiet(void)
{
    bool quiet;
    do {
        sl_lock_take(&pool->lock);
        quiet = sl_pool_all_quiet(pool);
        for (unsigned i = 0; i < pool->nworkers; i++)
            quiet = quiet && pool->workers[i]->spare;
        sl_lock_drop(&pool->lock);
    } while (!quiet && (sched_yield(), true));
}

static void until_answered(uint64_t wanted)
{
    uint64_t v;
    int64_t end = sl_now() + PATIENCE;
    while (sl_try_receive(from, &v) == SL_EAGAIN) {
        CHECK(sl_now() < end);
        sched_yield();
    }
    CHECK_EQ(v, wanted);
}

/* A late sl_call_home() finds the work done, its worker on the way to sleep and no lane at
 * rest: the worker wants one from then on.  The next call must not take that for "seen to". */
static void wants_from_before(void)
{
    sl_tasklet *t;
    sl_pool_config config = {.lanes = 1, .deadlock = no_report};
    CHECK_EQ(sl_pool_create(&pool, &config), 0);
    CHECK_EQ(sl_channel_create(&to, sizeof(uint64_t), 0), 0);
    CHECK_EQ(sl_channel_create(&from, sizeof(uint64_t), 8), 0);
    CHECK_EQ(sl_go(pool, &t, answers, NULL), 0);
    while (sl_channel_waiting(to, false) != 1)
        sched_yield();
    for (uint64_t i = 0; i < 20; i++) {
        until_quiet();
        sl_lock_take(&pool->lock);
        sl_worker *w = t->pinned;
        w->wants = true;
        sl_store_relaxed(&pool->wanting, 1);
        sl_lock_drop(&pool->lock);
        while (sl_try_send(to, &i) == SL_EAGAIN)
            sched_yield();
        until_answered(i);
    }
    CHECK_EQ(sl_load_relaxed(&pool->wanting), 0);
    CHECK_EQ(sl_channel_close(to), 0);
    CHECK_EQ(sl_join(t, SL_FOREVER), 0);
    CHECK_EQ(sl_pool_destroy(pool), 0);
    CHECK_EQ(sl_channel_destroy(to), 0);
    CHECK_EQ(sl_channel_destroy(from), 0);
}

/* ---- a timer is overdue, and the only lane is busy ---- */

static sl_atomic32 computes, ends;

static void keeps_its_lane(void *unused)
{
    (void)unused;
    sl_store_release32(&computes, 1);
    while (!sl_load_acquire32(&ends))
        sched_yield();
}

static void not_now(sl_timer *timer)
{
    (void)timer;
}

/* Whoever is the poller then has nothing to do, and looks again a millisecond later, not at once. */
static void overdue(void)
{
    static sl_worker idler;
    sl_timer timer = {.fire = not_now};
    sl_pool_config config = {.lanes = 1, .threads = 1};
    enum { SLEEPS = 50 };
    CHECK_EQ(sl_pool_create(&pool, &config), 0);
    CHECK_EQ(sl_go(pool, NULL, keeps_its_lane, NULL), 0);
    while (!sl_load_acquire32(&computes))
        sched_yield();
    sl_lane *lane = pool->lanes[0];
    sl_lock_take(&lane->timer_lock);
    int64_t begun = sl_now();
    CHECK_EQ(sl_timers_add(&lane->timers, &timer, begun), 0);
    sl_lock_drop(&lane->timer_lock);
    idler.pool = pool;
    sl_parker_init(&idler.parker);
    for (int i = 0; i < SLEEPS; i++)
        CHECK(sl_go_idle(&idler));
    CHECK(sl_now() - begun >= SLEEPS * INT64_C(1000000));
    sl_lock_take(&lane->timer_lock);
    sl_timers_remove(&lane->timers, &timer);
    sl_lock_drop(&lane->timer_lock);
    sl_store_release32(&ends, 1);
    CHECK_EQ(sl_pool_wait(pool), 0);
    CHECK_EQ(sl_pool_destroy(pool), 0);
}

int main(void)
{
    RUN(wants_from_before);
    RUN(overdue);
    return 0;
}
