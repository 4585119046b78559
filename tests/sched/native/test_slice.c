/* SPDX-License-Identifier: MIT
 *
 * Time slices on one lane: a tasklet that computes and never comes to a
 * scheduling point holds up nobody, whatever they wait for.  Each computing tasklet here
 * goes on until one of the others has run, so without the slice the test hangs.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../../core/atomic.h"
#include "../../core/check.h"
#include "stackless/channel.h"

static sl_pool *pool;
static sl_atomic32 flags[8];
static sl_channel *channel;
static int ends[2];

static void until(int flag)
{
    while (!sl_load_acquire32(&flags[flag]))
        sl_cpu_pause();
}

static void raise_flag(void *flag)
{
    sl_store_release32(&flags[(intptr_t)flag], 1);
}

static void begin_with(unsigned threads)
{
    sl_pool_config config = {.lanes = 1, .threads = threads, .timeslice_ns = 1000000};
    CHECK_EQ(sl_pool_create(&pool, &config), 0);
    for (int i = 0; i < 8; i++)
        sl_store_release32(&flags[i], 0);
}

/* The lane that stood in goes when it is not needed any more. */
static void finish(void)
{
    sl_pool_stats s;
    CHECK_EQ(sl_pool_wait(pool), 0);
    CHECK_EQ(sl_pool_get_stats(pool, &s), 0);
    CHECK_EQ(s.lanes, 1);
    CHECK_EQ(s.tasklets, 0);
    CHECK_EQ(sl_pool_destroy(pool), 0);
}

static void run(sl_body body)
{
    begin_with(0);
    CHECK_EQ(sl_go(pool, NULL, body, NULL), 0);
    finish();
}

static void starts_one_and_computes(void *unused)
{
    CHECK_EQ(sl_go(NULL, NULL, raise_flag, (void *)0), 0);
    until(0);
}

static void what_it_started_itself(void) { run(starts_one_and_computes); }

static void says_so_and_computes(void *unused)
{
    raise_flag((void *)1);
    until(0);
}

static void what_is_started_elsewhere(void)
{
    begin_with(0);
    CHECK_EQ(sl_go(pool, NULL, says_so_and_computes, NULL), 0);
    until(1);
    CHECK_EQ(sl_go(pool, NULL, raise_flag, (void *)0), 0);
    finish();
}

static void sleeps(void *unused)
{
    CHECK_EQ(sl_sleep(5000000), 0);
    raise_flag((void *)0);
}

static void what_sleeps(void)
{
    begin_with(0);
    CHECK_EQ(sl_go(pool, NULL, sleeps, NULL), 0);
    CHECK_EQ(sl_go(pool, NULL, says_so_and_computes, NULL), 0);
    finish();
}

static void receives(void *unused)
{
    int v;
    CHECK_EQ(sl_receive(channel, &v), 0);
    CHECK_EQ(v, 7);
    raise_flag((void *)0);
}

static void sends_and_computes(void *unused)
{
    int v = 7;
    while (!sl_channel_waiting(channel, false))
        CHECK_EQ(sl_yield(), 0);
    CHECK_EQ(sl_send(channel, &v), 0); /* the receiver is in the slot now */
    until(0);
}

static void what_it_woke(void)
{
    CHECK_EQ(sl_channel_create(&channel, sizeof(int), 0), 0);
    begin_with(0);
    CHECK_EQ(sl_go(pool, NULL, receives, NULL), 0);
    CHECK_EQ(sl_go(pool, NULL, sends_and_computes, NULL), 0);
    finish();
    CHECK_EQ(sl_channel_destroy(channel), 0);
}

static void reads(void *unused)
{
    CHECK_EQ(sl_wait_fd(ends[0], SL_FD_READ, SL_FOREVER), SL_FD_READ);
    raise_flag((void *)0);
}

static void what_waits_for_a_descriptor(void)
{
    CHECK_EQ(pipe(ends), 0);
    begin_with(0);
    CHECK_EQ(sl_go(pool, NULL, reads, NULL), 0);
    CHECK_EQ(sl_go(pool, NULL, says_so_and_computes, NULL), 0);
    until(1);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    finish();
    close(ends[0]);
    close(ends[1]);
}

/* Each computes until all do. */
static void chain(void *at)
{
    intptr_t i = (intptr_t)at;
    raise_flag((void *)i);
    if (i < 5)
        CHECK_EQ(sl_go(NULL, NULL, chain, (void *)(i + 1)), 0);
    until(6);
}

static void several_at_a_time(void)
{
    sl_pool_stats s;
    begin_with(0);
    CHECK_EQ(sl_go(pool, NULL, chain, (void *)0), 0);
    until(5);
    CHECK_EQ(sl_pool_get_stats(pool, &s), 0);
    CHECK_EQ(s.lanes, 1);
    CHECK(s.extra_lanes >= 5); /* one more where a thread was slow to begin */
    CHECK_EQ(sl_pool_resize(pool, 3), 0); /* they are beside what is asked for */
    CHECK_EQ(sl_pool_resize(pool, 1), 0);
    raise_flag((void *)6);
    finish();
}

/* After the slice it makes room at its next scheduling point, and is one lane's tasklet again. */
static void comes_back(void *unused)
{
    sl_pool_stats s;
    starts_one_and_computes(NULL);
    do {
        CHECK_EQ(sl_yield(), 0);
        CHECK_EQ(sl_pool_get_stats(pool, &s), 0);
    } while (s.extra_lanes);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(sl_yield(), 0);
}

static void one_that_yields_again(void) { run(comes_back); }

/* Without a second thread there is nobody to go on: they take turns, as without slices. */
static void computes(void *unused)
{
    int64_t until = sl_after_ns(5000000);
    while (sl_clock() < until)
        sl_cpu_pause();
}

static void one_thread_alone(void)
{
    begin_with(1);
    CHECK_EQ(sl_go(pool, NULL, computes, NULL), 0);
    CHECK_EQ(sl_go(pool, NULL, raise_flag, (void *)0), 0);
    until(0);
    finish();
}

int main(void)
{
    RUN(what_it_started_itself);
    RUN(what_is_started_elsewhere);
    RUN(what_sleeps);
    RUN(what_it_woke);
    RUN(what_waits_for_a_descriptor);
    RUN(several_at_a_time);
    RUN(one_that_yields_again);
    RUN(one_thread_alone);
    return 0;
}
