/* SPDX-License-Identifier: MIT
 *
 * Waiting for descriptors: what sl_wait_fd() promises, alone and under load.
 */
#include <fcntl.h>
#include <unistd.h>

#include "../../../sched/native/engine.h"
#include "../../core/check.h"

static unsigned lanes;
static sl_pool *pool;
static sl_atomic count, running;
static int gate[2];

static void begin(unsigned threads)
{
    sl_pool_config config = {.lanes = lanes, .threads = threads};
    CHECK_EQ(sl_pool_create(&pool, &config), 0);
}

static void end(void)
{
    CHECK_EQ(sl_pool_wait(pool), 0);
    CHECK_EQ(sl_pool_destroy(pool), 0);
}

static void reads(void *unused)
{
    char byte;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(sl_wait_fd(gate[0], SL_FD_READ, SL_FOREVER), SL_FD_READ);
        CHECK_EQ(read(gate[0], &byte, 1), 1);
    }
    CHECK_EQ(sl_wait_fd(gate[0], SL_FD_READ, sl_after_ns(1000000)), SL_ETIMEDOUT);
    CHECK_EQ(sl_wait_fd(gate[1], SL_FD_WRITE, SL_FOREVER), SL_FD_WRITE);
    CHECK_EQ(sl_wait_fd(-1, SL_FD_READ, SL_FOREVER), SL_EINVAL);
    CHECK_EQ(sl_wait_fd(gate[0], 0, SL_FOREVER), SL_EINVAL);
    CHECK_EQ(sl_wait_fd(9999, SL_FD_READ, SL_FOREVER), SL_EPOLL);
    sl_store_relaxed(&running, 1);
    CHECK_EQ(sl_wait_fd(gate[0], SL_FD_READ, SL_FOREVER), SL_ECLOSED);
    sl_add(&count, 1);
}

static void writes(void *unused)
{
    CHECK_EQ(write(gate[1], "ab", 2), 2); /* both at once: the second wait finds it there */
    sl_sleep(3000000);
    CHECK_EQ(write(gate[1], "c", 1), 1);
    for (; !sl_load_relaxed(&count); sl_sleep(100000)) /* nobody knows whether it waits yet */
        if (sl_load_relaxed(&running))
            CHECK_EQ(sl_forget_fd(gate[0]), 0);
}

static void descriptors(void)
{
    begin(0);
    CHECK_EQ(pipe(gate), 0);
    sl_store_relaxed(&count, 0);
    sl_store_relaxed(&running, 0);
    CHECK_EQ(sl_go(pool, NULL, reads, NULL), 0);
    CHECK_EQ(sl_go(pool, NULL, writes, NULL), 0);
    end();
    CHECK_EQ(sl_load_relaxed(&count), 1);
    close(gate[0]);
    close(gate[1]);
}

/* Whoever parks looks at the poller on its way now and then, every 10 ms, and may find
 * something there. */
enum { PAIRS = 20 };
static int pipes[PAIRS][2][2];
static int64_t enough;

static void plays(void *arg)
{
    int pair = (int)(intptr_t)arg / 2, side = (int)(intptr_t)arg % 2;
    char byte = 'x';
    do {
        if (side == 0)
            CHECK_EQ(write(pipes[pair][0][1], &byte, 1), 1);
        CHECK_EQ(sl_wait_fd(pipes[pair][!side][0], SL_FD_READ, SL_FOREVER), SL_FD_READ);
        CHECK_EQ(read(pipes[pair][!side][0], &byte, 1), 1);
        if (side == 0 && sl_clock() > enough)
            byte = 'e';
        if (side == 1 || byte == 'e')
            CHECK_EQ(write(pipes[pair][side][1], &byte, 1), 1);
    } while (byte != 'e');
}

static void descriptors_and_busy_lanes(void)
{
    begin(0);
    enough = sl_after_ns(100000000);
    for (intptr_t i = 0; i < PAIRS; i++) {
        CHECK_EQ(pipe(pipes[i][0]), 0);
        CHECK_EQ(pipe(pipes[i][1]), 0);
        CHECK_EQ(sl_go(pool, NULL, plays, (void *)(2 * i)), 0);
        CHECK_EQ(sl_go(pool, NULL, plays, (void *)(2 * i + 1)), 0);
    }
    end();
    for (int i = 0; i < 4 * PAIRS; i++)
        close(pipes[i / 4][i / 2 % 2][i % 2]);
}

/* ---- an event that is older than the wait ---- */

static void reads_one(void *unused)
{
    char byte;
    CHECK_EQ(sl_wait_fd(gate[0], SL_FD_READ, SL_FOREVER), SL_FD_READ);
    CHECK_EQ(read(gate[0], &byte, 1), 1);
    sl_add(&count, 1);
}

/* A worker has fetched it; the data is read; somebody waits; now it dispatches. */
static void stale(void *unused)
{
    struct epoll_event events[SL_POLL_BATCH];
    char byte;
    CHECK_EQ(sl_wait_fd(gate[0], SL_FD_READ, sl_after_ns(1)), SL_ETIMEDOUT); /* it is registered */
    CHECK_EQ(write(gate[1], "a", 1), 1);
    int n = sl_netpoll_wait(pool->netpoll, events, 0);
    CHECK(n >= 1);
    CHECK_EQ(read(gate[0], &byte, 1), 1);
    sl_tasklet *t;
    CHECK_EQ(sl_go(NULL, &t, reads_one, NULL), 0);
    while (!sl_load_acquire(&pool->net_waits))
        CHECK_EQ(sl_yield(), 0);
    sl_lock_take(&pool->net_lock);
    CHECK(sl_netpoll_dispatch(pool->netpoll, events, n) >= 1);
    sl_lock_drop(&pool->net_lock);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(sl_yield(), 0);
    CHECK_EQ(sl_load_acquire(&count), 0); /* it waits on */
    CHECK_EQ(write(gate[1], "b", 1), 1);
    CHECK_EQ(sl_join(t, SL_FOREVER), 0);
    CHECK_EQ(sl_load_acquire(&count), 1);
}

static void an_event_from_before(void)
{
    lanes = 1;
    begin(1); /* one thread: nobody else fetches */
    CHECK_EQ(pipe2(gate, O_NONBLOCK), 0);
    sl_store_relaxed(&count, 0);
    CHECK_EQ(sl_go(pool, NULL, stale, NULL), 0);
    end();
    close(gate[0]);
    close(gate[1]);
}

int main(void)
{
    RUN(an_event_from_before);
    for (lanes = 1; lanes <= 2; lanes++) {
        RUN(descriptors);
        RUN(descriptors_and_busy_lanes);
    }
    return 0;
}
