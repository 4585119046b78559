/* SPDX-License-Identifier: MIT
 *
 * A pinned tasklet runs on one OS thread, whatever happens around it.
 */
#include "check.h"

static sl_ordered *native;
static sem_t gate;
static bool stop, pinned_ran;
static sl_atomic inside;
static int returned;

static void stays(void *unused)
{
    (void)unused;
    sl_ordered_pin(true);
    long here = thread_id();
    for (int i = 0; i < 300; i++) {
        switch (i % 4) {
        case 0:
            sl_ordered_yield();
            break;
        case 1:
            sl_ordered_blocking_begin();
            sched_yield();
            sl_ordered_blocking_end();
            break;
        case 2:
            sl_ordered_sleep(1000);
            break;
        case 3:
            sl_ordered_wake(sl_ordered_current());
            sl_ordered_suspend();
        }
        CHECK_EQ(thread_id(), here);
    }
    sl_ordered_pin(false);
    returned++;
}

static void moves_about(void *unused)
{
    (void)unused;
    for (int i = 0; i < 300; i++) {
        sl_ordered_blocking_begin();
        sched_yield();
        sl_ordered_blocking_end();
        sl_ordered_yield();
    }
    returned++;
}

static void among_movers(void)
{
    for (int threads = 1; threads <= 8; threads *= 2) {
        returned = 0;
        native = start(threads);
        for (int i = 0; i < 4; i++) {
            go(native, stays, NULL);
            go(native, moves_about, NULL);
        }
        finish(native);
        CHECK_EQ(returned, 8);
    }
}

/* ---- its thread is blocked by another tasklet ---- */

static void pins_and_yields(void *unused)
{
    (void)unused;
    sl_ordered_pin(true);
    long here = thread_id();
    sl_ordered_yield(); /* until the other's call has returned */
    pinned_ran = true;
    CHECK_EQ(thread_id(), here);
    CHECK(sl_load_acquire(&inside) == 2);
    sl_ordered_yield();
    CHECK_EQ(thread_id(), here);
}

static void blocks_that_thread(void *unused)
{
    (void)unused;
    sl_store_release(&inside, 1);
    sl_ordered_blocking_begin();
    while (sem_wait(&gate) < 0)
        ;
    sl_store_release(&inside, 2);
    sl_ordered_blocking_end();
}

static void looks_on(void *unused)
{
    (void)unused;
    for (int i = 0; i < 200; i++) {
        sl_ordered_yield();
        CHECK(!pinned_ran); /* deferred, and in nobody's way */
    }
    CHECK_EQ(sl_load_acquire(&inside), 1);
    CHECK_EQ(sem_post(&gate), 0);
}

static void spawn_them(void *unused)
{
    (void)unused;
    go(native, pins_and_yields, NULL);
    go(native, blocks_that_thread, NULL);
    go(native, looks_on, NULL);
}

static void waits_for_its_thread(void)
{
    for (int i = 0; i < 20; i++) {
        pinned_ran = false;
        sl_store_relaxed(&inside, 0);
        CHECK_EQ(sem_init(&gate, 0, 0), 0);
        native = start(3);
        go(native, spawn_them, NULL);
        finish(native);
        CHECK(pinned_ran);
        sem_destroy(&gate);
    }
}

/* ---- two that are pinned to different threads take turns ---- */

static long threads_of[2];
static int turn;

static void takes_turns(void *arg)
{
    int me = (int)(intptr_t)arg;
    if (me == 1) { /* becomes a stray, comes back on its own thread once pinned */
        sl_ordered_pin(true);
        threads_of[me] = thread_id();
        block_on(&gate);
    } else {
        sl_ordered_yield();
        sl_ordered_pin(true);
        threads_of[me] = thread_id();
        CHECK_EQ(sem_post(&gate), 0);
    }
    for (int i = 0; i < 200; i++) {
        while (turn % 2 != me && !stop)
            sl_ordered_yield();
        CHECK_EQ(thread_id(), threads_of[me]);
        turn++;
        sl_ordered_yield();
    }
    stop = true;
}

static void spawn_both(void *unused)
{
    (void)unused;
    go(native, takes_turns, (void *)1);
    go(native, takes_turns, (void *)0);
}

static void the_lane_goes_to_and_fro(void)
{
    stop = false;
    turn = 0;
    CHECK_EQ(sem_init(&gate, 0, 0), 0);
    native = start(2);
    go(native, spawn_both, NULL);
    finish(native);
    CHECK(threads_of[0] != threads_of[1]); /* the second ran because the first was handed off */
    sem_destroy(&gate);
}

int main(void)
{
    RUN(among_movers);
    RUN(waits_for_its_thread);
    RUN(the_lane_goes_to_and_fro);
    return 0;
}
