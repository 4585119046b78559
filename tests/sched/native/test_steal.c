/* SPDX-License-Identifier: MIT
 *
 * Whom a thief robs first, on machines that hwloc makes up: lanes that share a cache, then
 * those farther off, in each level all alike; and a pool that runs so.
 */
#include <stdlib.h>

#include "../../../core/places.h"
#include "../../../sched/native/engine.h"
#include "../../core/check.h"

static const char *const machine = "numa:2 l3:2 l2:2 core:2 pu:2"; /* 16 cores */

/* A pool without threads: as many lanes as steal.c looks at, and a worker on one of them. */
static sl_lane *lanes[SL_LANES_MAX];
static sl_pool pool = {.lanes = lanes};
static sl_worker worker = {.pool = &pool, .searching = true};

static void make(unsigned n, const char *synthetic, enum sl_places_kind kind)
{
    for (unsigned i = 0; i < n; i++)
        CHECK((lanes[i] = sl_lane_create(&pool, i)) != NULL);
    sl_store_relaxed(&pool.nlanes, n);
    sl_store_relaxed(&pool.made, n);
    if (!synthetic)
        return;
    CHECK_EQ(setenv("HWLOC_SYNTHETIC", synthetic, 1), 0);
    CHECK_EQ(sl_places_create(&pool.places, kind), 0);
    CHECK_EQ(unsetenv("HWLOC_SYNTHETIC"), 0);
}

static void unmake(void)
{
    for (unsigned i = 0; lanes[i]; i++) {
        free(lanes[i]);
        lanes[i] = NULL;
    }
    sl_places_destroy(pool.places);
    pool.places = NULL;
}

/* The table of lane `id` has these numbers of lanes in its levels, and each level has just
 * those for which `level_of` says so. */
static void ordered(unsigned id, const unsigned *sizes, unsigned levels, unsigned (*level_of)(unsigned id, unsigned other))
{
    const sl_victims *v = &lanes[id]->victims;
    bool seen[SL_LANES_MAX] = {false};
    CHECK_EQ(v->levels, levels);
    for (unsigned level = 0, at = 0; level < levels; level++) {
        CHECK_EQ(v->ends[level] - at, sizes[level]);
        for (; at < v->ends[level]; at++) {
            unsigned other = v->lane[at];
            CHECK(other != id && !seen[other]);
            CHECK_EQ(level_of(id, other), level);
            seen[other] = true;
        }
    }
}

static unsigned highest_bit(unsigned id, unsigned other)
{
    return 31 - (unsigned)__builtin_clz(id ^ other);
}

static void by_cores(void)
{
    make(16, machine, SL_PLACES_CORES);
    for (unsigned i = 0; i < 16; i++) {
        sl_order_victims(lanes[i], 16);
        ordered(i, (unsigned[]){1, 2, 4, 8}, 4, highest_bit);
    }
    sl_order_victims(lanes[0], 3); /* before the others were made */
    ordered(0, (unsigned[]){1, 1}, 2, highest_bit);
    unmake();
}

static unsigned third_level(unsigned id, unsigned other)
{
    unsigned differ = id / 4 ^ other / 4;
    return differ ? highest_bit(differ, 0) + 1 : 0;
}

static void by_caches(void)
{
    make(16, machine, SL_PLACES_CACHES);
    for (unsigned i = 0; i < 16; i++) {
        sl_order_victims(lanes[i], 16);
        ordered(i, (unsigned[]){3, 4, 8}, 3, third_level);
    }
    unmake();
}

static unsigned one_core_first(unsigned id, unsigned other)
{
    return id % 2 != other % 2;
}

static void more_lanes_than_cores(void)
{
    make(5, "core:2 pu:1", SL_PLACES_CORES);
    sl_order_victims(lanes[0], 5);
    ordered(0, (unsigned[]){2, 2}, 2, one_core_first);
    sl_order_victims(lanes[3], 5);
    ordered(3, (unsigned[]){1, 3}, 2, one_core_first);
    unmake();
}

static unsigned nought(unsigned id, unsigned other)
{
    return 0 * id * other;
}

static void nobody_has_a_place(void)
{
    make(7, NULL, SL_PLACES_CORES);
    for (unsigned i = 0; i < 7; i++) {
        sl_order_victims(lanes[i], 7);
        ordered(i, (unsigned[]){6}, 1, nought);
    }
    unmake();
}

/* Steals everything there is, and says from which lanes: who[i] is the i-th. */
static unsigned rob_all(unsigned id, sl_tasklet *tasklets, unsigned *who)
{
    sl_tasklet *t;
    unsigned n = 0;
    worker.lane = lanes[id];
    while ((t = sl_steal(&worker)) != NULL)
        who[n++] = (unsigned)(t - tasklets);
    return n;
}

/* One tasklet in each other lane's ring: they come nearest first. */
static void robs_the_nearest(void)
{
    static sl_tasklet tasklets[16];
    unsigned first[16] = {0};
    make(16, machine, SL_PLACES_CORES);
    for (int i = 0; i < 600; i++) {
        unsigned who[16];
        for (unsigned k = 0; k < 16; k++)
            if (k != 5)
                sl_ring_push(lanes[k], &tasklets[k]);
        CHECK_EQ(rob_all(5, tasklets, who), 15);
        for (unsigned k = 0; k < 15; k++)
            CHECK_EQ(highest_bit(5, who[k]), highest_bit(k + 1, 0));
        first[who[0]]++, first[who[1]]++, first[who[3]]++, first[who[7]]++;
    }
    CHECK_EQ(first[4], 600);
    for (unsigned k = 0; k < 16; k++) /* within a level all get to be the first: one in eight at the least */
        CHECK(k == 5 || first[k] > 0);
    /* With more lanes made, the table follows. */
    unsigned who[16];
    for (unsigned n = 2; n <= 16; n = n == 2 ? 6 : n == 6 ? 16 : 17) {
        sl_store_relaxed(&pool.made, n);
        for (unsigned k = 1; k < n; k++)
            sl_ring_push(lanes[k], &tasklets[k]);
        CHECK_EQ(rob_all(0, tasklets, who), n - 1);
        for (unsigned k = 1; k + 1 < n; k++)
            CHECK(highest_bit(0, who[k - 1]) <= highest_bit(0, who[k]));
    }
    unmake();
}

/* ---- a pool that runs ---- */

static sl_atomic runs;

static void spawns(void *depth)
{
    sl_add(&runs, 1);
    if (!depth)
        return;
    for (int i = 0; i < 2; i++)
        CHECK_EQ(sl_go(NULL, NULL, spawns, (char *)depth - 1), 0);
    sl_yield();
}

static void runs_and_is_resized(void)
{
    sl_pool *real;
    sl_pool_config config = {.lanes = 6, .threads = 16, .affinity = SL_AFFINITY_CORE};
    CHECK_EQ(setenv("HWLOC_SYNTHETIC", machine, 1), 0);
    CHECK_EQ(sl_pool_create(&real, &config), 0);
    CHECK_EQ(unsetenv("HWLOC_SYNTHETIC"), 0);
    for (unsigned i = 0; i < 30; i++) {
        sl_store_relaxed(&runs, 0);
        CHECK_EQ(sl_go(real, NULL, spawns, (char *)0 + 9), 0);
        CHECK_EQ(sl_pool_resize(real, 1 + i * 5 % 16), 0);
        CHECK_EQ(sl_pool_wait(real), 0);
        CHECK_EQ(sl_load_relaxed(&runs), 1023);
    }
    CHECK_EQ(sl_pool_destroy(real), 0);
}

/* The pool is made smaller under a tasklet that computes on the second lane, and starts
 * others from there: they are not left to lie until it comes to a scheduling point. */
static sl_atomic begun, smaller, raised;

static void raises(void *unused)
{
    (void)unused;
    sl_add(&raised, 1);
}

static void computes(void *unused)
{
    (void)unused;
    sl_add(&begun, 1);
    while (!sl_load_acquire(&smaller))
        sl_cpu_pause();
    if (sl_worker_self()->lane->id == 0)
        return;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(sl_go(NULL, NULL, raises, NULL), 0);
    while (sl_load_acquire(&raised) < 3)
        sl_cpu_pause();
}

static void from_a_lane_that_is_to_go(void)
{
    sl_pool *real;
    sl_pool_config config = {.lanes = 2};
    CHECK_EQ(sl_pool_create(&real, &config), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(sl_go(real, NULL, computes, NULL), 0);
    while (sl_load_acquire(&begun) < 2)
        sl_cpu_pause();
    CHECK_EQ(sl_pool_resize(real, 1), 0);
    sl_store_release(&smaller, 1);
    CHECK_EQ(sl_pool_wait(real), 0);
    CHECK_EQ(sl_load_relaxed(&raised), 3);
    CHECK_EQ(sl_pool_destroy(real), 0);
}

int main(void)
{
    RUN(by_cores);
    RUN(by_caches);
    RUN(more_lanes_than_cores);
    RUN(nobody_has_a_place);
    RUN(robs_the_nearest);
    RUN(runs_and_is_resized);
    RUN(from_a_lane_that_is_to_go);
    return 0;
}
