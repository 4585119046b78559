/* SPDX-License-Identifier: MIT
 *
 * Blocking calls: what is blocked is released only by tasklets that would not
 * run without a handoff, so a missing one makes this hang.
 */
#include "../../../sched/ordered/lane.h"
#include "check.h"

static sl_ordered *native;
static sem_t gate;
static sl_atomic inside; /* how many are in their blocking call, or about to be */
static int returned;     /* by tasklets only, like what follows */

static void reset(int threads)
{
    CHECK_EQ(sem_init(&gate, 0, 0), 0);
    sl_store_relaxed(&inside, 0);
    returned = 0;
    native = start(threads);
}

static void blocks(void *unused)
{
    (void)unused;
    sl_add(&inside, 1);
    block_on(&gate);
    returned++;
    sl_ordered_yield();
}

static void opens_gate(void *count)
{
    for (intptr_t i = 0; i < (intptr_t)count; i++) {
        sl_ordered_yield();
        CHECK_EQ(sem_post(&gate), 0);
    }
}

/* `blocked` at once, threads enough for all of them and one more. */
static void others_run_beside(int blocked)
{
    reset(blocked + 1);
    for (int i = 0; i < blocked; i++)
        go(native, blocks, NULL);
    go(native, opens_gate, (void *)(intptr_t)blocked);
    sl_ordered_wait(native);
    CHECK_EQ(returned, blocked);
    CHECK(sl_ordered_handoffs(native) >= 1);
    CHECK(sl_ordered_threads(native) <= blocked + 1);
    finish(native);
    sem_destroy(&gate);
}

static int turns;

static void takes_turns(void *unused)
{
    (void)unused;
    while (sl_load_acquire(&inside))
        sl_ordered_yield();
    turns++;
}

static void blocks_again(void *unused)
{
    (void)unused;
    for (int i = 0; i < 50; i++) {
        sl_add(&inside, 1);
        block_on(&gate);
        returned++;
        sl_add(&inside, (uintptr_t)-1);
    }
}

static void opens_for_whom_it_sees(void *unused)
{
    (void)unused;
    for (int i = 0; i < 150; i++) {
        while (!sl_load_acquire(&inside))
            sl_ordered_yield();
        CHECK_EQ(sem_post(&gate), 0);
        sl_ordered_yield();
    }
}

static void again_and_again(void)
{
    for (int threads = 4; threads <= 8; threads *= 2) {
        turns = 0;
        reset(threads);
        for (int i = 0; i < 3; i++)
            go(native, blocks_again, NULL);
        go(native, opens_for_whom_it_sees, NULL);
        go(native, takes_turns, NULL);
        finish(native);
        CHECK_EQ(returned, 150);
        CHECK_EQ(turns, 1);
        sem_destroy(&gate);
    }
}

/* A tasklet that sleeps or waits is reason enough to hand off. */
static void opens_after_a_sleep(void *unused)
{
    (void)unused;
    while (!sl_load_acquire(&inside))
        sl_ordered_sleep(100 * 1000);
    sl_ordered_sleep(100 * 1000);
    CHECK_EQ(sem_post(&gate), 0);
}

static void beside_a_sleeper(void)
{
    reset(2);
    go(native, opens_after_a_sleep, NULL);
    go(native, blocks, NULL);
    finish(native);
    CHECK_EQ(returned, 1);
    sem_destroy(&gate);
}

/* A wake from outside is too: nothing else is runnable. */
static sl_ordered_tasklet *suspended;

static void suspends_then_opens(void *unused)
{
    (void)unused;
    sl_store_release(&inside, 0);
    suspended = sl_ordered_current();
    go(native, blocks, NULL);
    sl_ordered_suspend();
    CHECK_EQ(sem_post(&gate), 0);
}

static void beside_a_wake_from_outside(void)
{
    for (int i = 0; i < 20; i++) {
        reset(2);
        go(native, suspends_then_opens, NULL);
        while (!sl_load_acquire(&inside))
            sched_yield();
        sl_ordered_wake(suspended);
        finish(native);
        CHECK_EQ(returned, 1);
        sem_destroy(&gate);
    }
}

/* ---- every thread blocked ---- */

static sl_atomic extra_ran;

static void extra(void *blocked)
{
    sl_store_release(&extra_ran, 1);
    for (intptr_t i = 1; i < (intptr_t)blocked; i++)
        CHECK_EQ(sem_post(&gate), 0);
}

static void progress_when_one_returns(int threads)
{
    sl_store_relaxed(&extra_ran, 0);
    reset(threads);
    for (int i = 0; i < threads; i++)
        go(native, blocks, NULL);
    go(native, extra, (void *)(intptr_t)threads);
    while (sl_load_acquire(&inside) < (uintptr_t)threads)
        sched_yield();
    CHECK_EQ(sl_load_acquire(&extra_ran), 0); /* no thread is left for it */
    CHECK_EQ(sl_ordered_threads(native), threads);
    CHECK_EQ(sem_post(&gate), 0);
    sl_ordered_wait(native);
    CHECK_EQ(sl_load_acquire(&extra_ran), 1);
    CHECK_EQ(returned, threads);
    finish(native);
    sem_destroy(&gate);
}

/* One thread: a blocking call stops all, and its section is harmless. */
static void one_thread(void)
{
    reset(1);
    go(native, blocks, NULL);
    go(native, blocks, NULL);
    CHECK_EQ(sem_post(&gate), 0);
    CHECK_EQ(sem_post(&gate), 0);
    sl_ordered_wait(native);
    CHECK_EQ(returned, 2);
    CHECK_EQ(sl_ordered_threads(native), 1);
    CHECK_EQ(sl_ordered_handoffs(native), 0);
    finish(native);
    sem_destroy(&gate);
}

/* Only one tasklet at a time runs outside blocking sections: plain counters
 * would lose updates otherwise. */
static long counter;
static bool running_now;

static void churn(void *unused)
{
    (void)unused;
    for (int i = 0; i < 2000; i++) {
        CHECK(!running_now);
        running_now = true;
        counter++;
        running_now = false;
        if (i % 3 == 0) {
            sl_ordered_blocking_begin();
            sched_yield();
            sl_ordered_blocking_end();
        } else {
            sl_ordered_yield();
        }
    }
}

static void one_at_a_time(void)
{
    for (int threads = 2; threads <= 8; threads *= 2) {
        counter = 0;
        native = start(threads);
        for (int i = 0; i < 16; i++)
            go(native, churn, NULL);
        finish(native);
        CHECK_EQ(counter, 16 * 2000);
    }
}

/* ---- what the monitor saw is about one tasklet ---- */

static bool is_away(sl_oworker *w, sl_carrier *c)
{
    return w && c;
}

static bool sleeps_in_os;

static bool is_blocked(sl_oworker *w, bool free)
{
    return w && (sleeps_in_os || free);
}

/* Two spares have been asked to take the lane from a tasklet that was found away, and
 * computing.  The next one, which the first of them runs, was not looked at. */
static void not_the_next_one(void)
{
    static const sl_env env = {.away = is_away, .blocked = is_blocked};
    static sl_opool pool;
    static sl_olane lane;
    static sl_oworker workers[3];
    static sl_otasklet tasklets[3];
    for (int i = 0; i < 3; i++) {
        sl_oworker_init(&workers[i], &pool, i);
        workers[i].native.lane = &lane;
    }
    CHECK_EQ(sl_olane_init(&lane, &env, NULL, &workers[0]), 0);
    CHECK_EQ(sl_opool_init(&pool, &lane, &workers[0], 3), 0);
    sl_store_relaxed(&lane.watched, 1); /* no monitor: this is */
    for (int i = 0; i < 3; i++)
        sl_olane_append(&lane, &tasklets[i]);
    workers[0].current = &tasklets[0];
    sl_store_relaxed(&pool.seen_turn, sl_load_relaxed(&lane.turn));
    sl_store_relaxed(&pool.computes, sl_load_relaxed(&lane.turn) + 1);
    sl_store_relaxed32(&workers[1].asked, 1);
    sl_store_relaxed32(&workers[2].asked, 1);

    CHECK(sl_olane_seize(&lane, &workers[1], true));
    CHECK_EQ(tasklets[0].place, SL_STRAY);
    workers[1].current = lane.current;
    sleeps_in_os = true; /* for a moment */
    CHECK(!sl_olane_seize(&lane, &workers[2], true));

    sleeps_in_os = false; /* found away by all looks, it waits for the guard */
    sl_store_relaxed(&pool.seen_turn, sl_load_relaxed(&lane.turn));
    sl_store_relaxed32(&workers[2].asked, 1);
    CHECK(!sl_olane_seize(&lane, &workers[2], true));
    CHECK(sl_olane_host(&lane) == &workers[1]);
    CHECK_EQ(tasklets[1].place, SL_IN_RING);
    CHECK_EQ(pool.handoffs, 1);
    sl_olane_free(&lane);
    free(pool.workers);
}

static void beside_one(void) { others_run_beside(1); }
static void beside_seven(void) { others_run_beside(7); }
static void two_of_two_blocked(void) { progress_when_one_returns(2); }
static void six_of_six_blocked(void) { progress_when_one_returns(6); }

int main(void)
{
    RUN(beside_one);
    RUN(beside_seven);
    RUN(again_and_again);
    RUN(beside_a_sleeper);
    RUN(beside_a_wake_from_outside);
    RUN(two_of_two_blocked);
    RUN(six_of_six_blocked);
    RUN(one_thread);
    RUN(one_at_a_time);
    RUN(not_the_next_one);
    return 0;
}
