/* SPDX-License-Identifier: MIT
 *
 * STACKLESS_AFFINITY: whoever hosts lane i runs at place i, however it came to the lane;
 * the monitor and threads outside run anywhere.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "../../../core/places.h"
#include "../../../sched/native/engine.h"
#include "../../core/check.h"

static sl_pool *pool;
static cpu_set_t all;
static sl_atomic resizes;

static void in_place(void)
{
    cpu_set_t now;
    unsigned id = sl_worker_self()->lane->id;
    CHECK_EQ(sched_getaffinity(0, sizeof now, &now), 0);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
        CHECK_EQ(CPU_ISSET(cpu, &now) != 0, sl_place_has(pool->places, id, cpu));
}

static void moves(void *unused)
{
    for (int i = 0; i < 200; i++) {
        in_place();
        CHECK_EQ(sl_yield(), 0);
        in_place();
        if (i % 10 == 0)
            CHECK_EQ(sl_sleep(10000), 0);
        if (i % 10 == 5) {
            CHECK_EQ(sl_blocking_begin(), 0);
            sched_yield();
            CHECK_EQ(sl_blocking_end(), 0);
        }
        if (i == 100)
            CHECK_EQ(sl_pool_resize(pool, 1 + (unsigned)sl_add(&resizes, 1) % 5), 0);
    }
}

static bool monitor_is_free(void)
{
    cpu_set_t now;
    CHECK_EQ(pthread_getaffinity_np(pool->monitor, sizeof now, &now), 0);
    return CPU_EQUAL(&now, &all);
}

static void with(enum sl_affinity affinity, unsigned lanes)
{
    sl_pool_config config = {.lanes = lanes, .affinity = affinity};
    cpu_set_t now;
    CHECK_EQ(sl_pool_create(&pool, &config), 0);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(sl_go(pool, NULL, moves, NULL), 0);
    CHECK_EQ(sl_pool_wait(pool), 0);
    while (!monitor_is_free()) /* it may have only just begun */
        sched_yield();
    CHECK_EQ(sl_pool_destroy(pool), 0);
    CHECK_EQ(sched_getaffinity(0, sizeof now, &now), 0);
    CHECK(CPU_EQUAL(&now, &all));
}

static void cores(void) { with(SL_AFFINITY_CORE, 1), with(SL_AFFINITY_CORE, 2), with(SL_AFFINITY_CORE, 5); }
static void caches(void) { with(SL_AFFINITY_CACHE, 2); }

static void from_the_environment(void)
{
    const char *const names[] = {"none", "core", "cache"};
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(setenv("STACKLESS_AFFINITY", names[i], 1), 0);
        CHECK_EQ(sl_pool_create(&pool, NULL), 0);
        CHECK_EQ(pool->config.affinity, i);
        CHECK_EQ(pool->places != NULL, i > 0);
        CHECK_EQ(sl_pool_destroy(pool), 0);
    }
    CHECK_EQ(setenv("STACKLESS_AFFINITY", "Core", 1), 0);
    CHECK_EQ(sl_pool_create(&pool, NULL), SL_EINVAL);
    CHECK(strcmp(sl_pool_explain(), "STACKLESS_AFFINITY is Core; allowed: none, core, cache") == 0);
}

int main(void)
{
    CHECK_EQ(sched_getaffinity(0, sizeof all, &all), 0);
    RUN(cores);
    RUN(caches);
    RUN(from_the_environment);
    return 0;
}
