/* SPDX-License-Identifier: MIT
 *
 * Stacks of ended tasklets: kept for the next ones, given back when nobody has needed
 * them for a while.  Not for what happens without memory (test_faults.c).
 */
#include <unistd.h>

#include "../../core/check.h"
#include "stackless/channel.h"

enum { MANY = 10000, STAY = 6000 }; /* so many stacks may stay: records, caches and the pool of stacks */

static sl_pool *pool;
static sl_channel *gate;

static void waits(void *unused)
{
    char byte;
    CHECK_EQ(sl_receive(gate, &byte), SL_ECLOSED);
}

static size_t held(void)
{
    sl_pool_stats stats;
    CHECK_EQ(sl_pool_get_stats(pool, &stats), 0);
    return stats.stack_bytes;
}

static void burst(void)
{
    CHECK_EQ(sl_channel_create(&gate, 1, 0), 0);
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(sl_go(pool, NULL, waits, NULL), 0);
    while (sl_channel_waiting(gate, false) != MANY)
        usleep(1000);
    CHECK(held() >= (size_t)MANY * 4096);
    CHECK_EQ(sl_channel_close(gate), 0);
    CHECK_EQ(sl_pool_wait(pool), 0);
    CHECK_EQ(sl_channel_destroy(gate), 0);
}

static void until_given_back(void)
{
    int64_t end = sl_after_ns((int64_t)60 * 1000000000);
    while (held() > (size_t)STAY * 4096) {
        CHECK(sl_clock() < end);
        usleep(10000);
    }
}

static void with(unsigned lanes, uint64_t seed)
{
    sl_pool_config config = {.lanes = lanes, .seed = seed};
    CHECK_EQ(sl_pool_create(&pool, &config), 0);
    for (int i = 0; i < 2; i++) {
        burst();
        until_given_back();
    }
    burst();
    CHECK_EQ(sl_pool_destroy(pool), 0); /* with all of them */
}

static void one_lane(void) { with(1, 0); }
static void three_lanes(void) { with(3, 0); }

/* Nobody watches: at once. */
static void deterministic(void)
{
    with(1, 5);
}

int main(void)
{
    if (MANY_OR(false, true))
        SKIP("ThreadSanitizer knows 8128 stacks at most");
    RUN(one_lane);
    RUN(three_lanes);
    RUN(deterministic);
    return 0;
}
