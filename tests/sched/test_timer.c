/* SPDX-License-Identifier: MIT
 *
 * The heap of timers against a plain array: random adds, removes and runs.
 */
#include "../../sched/timer.h"

#include <stdlib.h>

#include "../core/check.h"
#include "stackless/error.h"

enum { TIMERS = 700, STEPS = 200000 };

static sl_timers heap;
static sl_timer timers[TIMERS];
static bool armed[TIMERS]; /* the reference */
static int fired[TIMERS];
static int64_t last_fired;

static uint64_t seed = 88172645463325252u;

static uint64_t random_number(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void fire(sl_timer *timer)
{
    size_t i = (size_t)(timer - timers);
    CHECK(armed[i]);
    CHECK(!sl_timer_armed(timer));
    CHECK(timer->deadline >= last_fired); /* earliest first */
    last_fired = timer->deadline;
    armed[i] = false;
    fired[i]++;
}

static int64_t reference_earliest(unsigned *count)
{
    int64_t least = SL_NEVER;
    *count = 0;
    for (int i = 0; i < TIMERS; i++) {
        if (!armed[i])
            continue;
        ++*count;
        if (timers[i].deadline < least)
            least = timers[i].deadline;
    }
    return least;
}

static void check_against_reference(void)
{
    unsigned count;
    int64_t earliest = reference_earliest(&count);
    CHECK_EQ(sl_load_relaxed(&heap.count), count);
    CHECK_EQ(sl_timers_earliest(&heap), earliest);
    for (int i = 0; i < TIMERS; i++)
        CHECK_EQ(sl_timer_armed(&timers[i]), armed[i]);
    for (unsigned i = 0; i < count; i++) {
        CHECK_EQ(heap.heap[i].timer->place, i + 1);
        if (i)
            CHECK(heap.heap[(i - 1) / 4].deadline <= heap.heap[i].deadline);
    }
}

static void run_until(int64_t now)
{
    unsigned due = 0;
    for (int i = 0; i < TIMERS; i++)
        due += armed[i] && timers[i].deadline <= now;
    last_fired = INT64_MIN;
    CHECK_EQ(sl_timers_run(&heap, now), due);
    for (int i = 0; i < TIMERS; i++)
        CHECK(!armed[i] || timers[i].deadline > now);
}

static void random_use(void)
{
    sl_timers_init(&heap);
    for (int step = 0; step < STEPS; step++) {
        size_t i = random_number() % TIMERS;
        unsigned what = (unsigned)(random_number() % 16);
        if (what < 10 && !armed[i]) {
            timers[i].fire = fire;
            armed[i] = true; /* few values: many are equal */
            CHECK_EQ(sl_timers_add(&heap, &timers[i], (int64_t)(random_number() % 1000)), 0);
        } else if (what < 15) {
            sl_timers_remove(&heap, &timers[i]); /* armed or not */
            armed[i] = false;
        } else if (random_number() % 32 == 0) {
            run_until((int64_t)(random_number() % 400));
        }
        if (step % 500 == 0)
            check_against_reference();
    }
    run_until(SL_NEVER - 1);
    check_against_reference();
    CHECK_EQ(sl_timers_earliest(&heap), SL_NEVER);
    sl_timers_free(&heap);
}

static sl_timer again;
static int rounds;

static void rearm(sl_timer *timer)
{
    if (++rounds < 10)
        CHECK_EQ(sl_timers_add(&heap, timer, timer->deadline + 1), 0);
}

static void a_timer_may_rearm_itself(void)
{
    sl_timers_init(&heap);
    again.fire = rearm;
    CHECK_EQ(sl_timers_add(&heap, &again, 0), 0);
    CHECK_EQ(sl_timers_run(&heap, 4), 5);
    CHECK_EQ(sl_timers_earliest(&heap), 5);
    CHECK_EQ(sl_timers_run(&heap, 100), 5);
    CHECK_EQ(sl_timers_run(&heap, SL_NEVER - 1), 0);
    sl_timers_free(&heap);
}

static void deadlines_do_not_overflow(void)
{
    CHECK_EQ(sl_deadline_after(100, 5), 105);
    CHECK_EQ(sl_deadline_after(100, -5), 100);
    CHECK_EQ(sl_deadline_after(100, SL_NEVER), SL_NEVER);
    CHECK_EQ(sl_deadline_after(100, SL_NEVER - 100), SL_NEVER);
    CHECK_EQ(sl_deadline_after(100, SL_NEVER - 101), SL_NEVER - 1);
}

int main(void)
{
    RUN(random_use);
    RUN(a_timer_may_rearm_itself);
    RUN(deadlines_do_not_overflow);
    return 0;
}
