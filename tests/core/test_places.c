/* SPDX-License-Identifier: MIT
 *
 * Places and how far they are from each other: on machines that hwloc makes up, and for real on this one.
 */
#include <sched.h>
#include <stdlib.h>

#include "check.h"
#include "places.h"
#include "stackless/error.h"

/* Place `i` is processors `first` to `last` of 16. */
static void is(const sl_places *p, unsigned i, unsigned first, unsigned last)
{
    for (unsigned cpu = 0; cpu < 16; cpu++)
        CHECK_EQ(sl_place_has(p, i, cpu), cpu >= first && cpu <= last);
}

static sl_places *on(const char *machine, enum sl_places_kind kind)
{
    sl_places *p;
    CHECK_EQ(setenv("HWLOC_SYNTHETIC", machine, 1), 0);
    CHECK_EQ(sl_places_create(&p, kind), 0);
    CHECK_EQ(unsetenv("HWLOC_SYNTHETIC"), 0);
    return p;
}

static void two_caches_of_two_cores(void)
{
    const char *machine = "pack:2 l3:1 l2:2 core:1 pu:2";
    sl_places *p = on(machine, SL_PLACES_CORES);
    CHECK_EQ(sl_places_count(p), 4);
    for (unsigned i = 0; i < 8; i++) /* round and round */
        is(p, i, 2 * (i % 4), 2 * (i % 4) + 1);
    sl_places_destroy(p);
    p = on(machine, SL_PLACES_CACHES);
    CHECK_EQ(sl_places_count(p), 4);
    for (unsigned i = 0; i < 4; i++) /* the last level, not the first */
        is(p, i, i / 2 * 4, i / 2 * 4 + 3);
    sl_places_destroy(p);
}

static void no_cache_known(void)
{
    sl_places *p = on("core:3 pu:1", SL_PLACES_CACHES);
    CHECK_EQ(sl_places_count(p), 3);
    is(p, 1, 0, 2);
    sl_places_destroy(p);
}

static bool nearer(const sl_places *p, unsigned i, unsigned j, unsigned than)
{
    return sl_places_distance(p, i, j) < sl_places_distance(p, i, than);
}

static void distances(void)
{
    sl_places *p = on("numa:2 l3:2 l2:2 core:2 pu:2", SL_PLACES_CORES);
    unsigned n = sl_places_count(p);
    CHECK_EQ(n, 16);
    for (unsigned i = 0; i < n; i++) {
        CHECK_EQ(sl_places_distance(p, i, i), 0);
        CHECK_EQ(sl_places_distance(p, i, i + n), 0); /* round and round */
        CHECK(nearer(p, i, i, i ^ 1));
        CHECK(nearer(p, i, i ^ 1, i ^ 2)); /* the same second level */
        CHECK(nearer(p, i, i ^ 2, i ^ 4)); /* the same third */
        CHECK(nearer(p, i, i ^ 4, i ^ 8)); /* the same memory */
        for (unsigned j = 0; j < n; j++) {
            CHECK_EQ(sl_places_distance(p, i, j), sl_places_distance(p, j, i));
            CHECK(sl_places_distance(p, i, j) < SL_PLACES_FAR);
            for (unsigned bit = 8; bit; bit /= 2) /* the highest in which they differ decides */
                if ((i ^ j) & bit) {
                    CHECK_EQ(sl_places_distance(p, i, j), sl_places_distance(p, i, i ^ bit));
                    break;
                }
        }
    }
    sl_places_destroy(p);
    /* Bound to all that shares a third level: below it nobody knows. */
    p = on("numa:2 l3:2 l2:2 core:2 pu:2", SL_PLACES_CACHES);
    CHECK_EQ(sl_places_count(p), 16);
    CHECK_EQ(sl_places_distance(p, 0, 3), 0);
    CHECK(nearer(p, 0, 3, 4));
    CHECK(nearer(p, 0, 4, 8));
    CHECK_EQ(sl_places_distance(p, 0, 8), sl_places_distance(p, 0, 15));
    sl_places_destroy(p);
    p = on("core:3 pu:1", SL_PLACES_CORES); /* no cache known */
    CHECK(nearer(p, 0, 0, 1));
    CHECK_EQ(sl_places_distance(p, 0, 1), sl_places_distance(p, 0, 2));
    sl_places_destroy(p);
    p = on("core:3 pu:1", SL_PLACES_CACHES);
    CHECK_EQ(sl_places_distance(p, 0, 2), 0);
    sl_places_destroy(p);
    p = on("pu:4", SL_PLACES_CORES);
    CHECK_EQ(sl_places_distance(p, 0, 1), sl_places_distance(p, 0, 3));
    sl_places_destroy(p);
}

static void this_machine(void)
{
    cpu_set_t before, now;
    sl_places *p;
    CHECK_EQ(sched_getaffinity(0, sizeof before, &before), 0);
    CHECK_EQ(sl_places_create(&p, SL_PLACES_CORES), 0);
    unsigned n = sl_places_count(p);
    CHECK(n >= 1 && n <= (unsigned)CPU_COUNT(&before));
    for (unsigned i = 0; i < 2 * n; i++) {
        CHECK_EQ(sl_place_bind(p, i), 0);
        CHECK_EQ(sched_getaffinity(0, sizeof now, &now), 0);
        CHECK(CPU_COUNT(&now) >= 1);
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
            CHECK_EQ(CPU_ISSET(cpu, &now) != 0, sl_place_has(p, i, cpu));
    }
    CHECK_EQ(sl_place_unbind(p), 0);
    CHECK_EQ(sched_getaffinity(0, sizeof now, &now), 0);
    CHECK(CPU_EQUAL(&before, &now));
    sl_places_destroy(p);
    /* Only what the process may use. */
    CPU_ZERO(&now);
    int one = -1;
    for (int cpu = 0; cpu < CPU_SETSIZE && one < 0; cpu++)
        if (CPU_ISSET(cpu, &before))
            CPU_SET(one = cpu, &now);
    CHECK_EQ(sched_setaffinity(0, sizeof now, &now), 0);
    CHECK_EQ(sl_places_create(&p, SL_PLACES_CACHES), 0);
    CHECK_EQ(sl_places_count(p), 1);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        CHECK_EQ(sl_place_has(p, 0, (unsigned)cpu), cpu == one);
    sl_places_destroy(p);
    CHECK_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

int main(void)
{
    RUN(two_caches_of_two_cores);
    RUN(no_cache_known);
    RUN(distances);
    RUN(this_machine);
    return 0;
}
