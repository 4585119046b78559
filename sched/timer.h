/* SPDX-License-Identifier: MIT
 *
 * Timers of one lane: an intrusive 4-ary min-heap of deadlines.
 *
 * What it is for: sleep, timeouts, deadlines of waits; O(log n) add and
 * remove, no tombstones.  What it is not for: reading the clock, or waiting.
 *
 * The heap belongs to its lane: every function needs the lane's guard (see
 * lane.h).  Only `count` and `earliest` may be read without it, by the
 * monitor; they are stored relaxed and are hints there.
 */
#ifndef SL_SCHED_TIMER_H
#define SL_SCHED_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../core/atomic.h"
#include "../core/clock.h"

typedef struct sl_timer sl_timer;

/* Runs under the guard, on a worker that hosts the lane; must not switch. */
typedef void (*sl_timer_fire)(sl_timer *timer);

struct sl_timer {
    int64_t deadline; /* sl_now() nanoseconds; fixed while armed */
    uint32_t place;   /* index in the heap + 1; 0 = not armed */
    sl_timer_fire fire;
};

/* The deadline stands beside the pointer: sifting compares without following it. */
typedef struct sl_timer_entry {
    int64_t deadline;
    sl_timer *timer;
} sl_timer_entry;

typedef struct sl_timers {
    sl_timer_entry *heap;
    uint32_t capacity;
    sl_atomic count;    /* armed timers */
    sl_atomic earliest; /* deadline of heap[0] as uintptr_t; SL_NEVER when empty */
} sl_timers;

void sl_timers_init(sl_timers *ts);
void sl_timers_free(sl_timers *ts);

/* Arms `timer`, which must not be armed.  0 or SL_ENOMEM. */
int sl_timers_add(sl_timers *ts, sl_timer *timer, int64_t deadline);

/* Disarms `timer`; does nothing when it is not armed. */
void sl_timers_remove(sl_timers *ts, sl_timer *timer);

/* Disarms and fires every timer due at `now`, earliest first; how many. */
unsigned sl_timers_run(sl_timers *ts, int64_t now);

static inline int64_t sl_timers_earliest(sl_timers *ts)
{
    return (int64_t)sl_load_relaxed(&ts->earliest);
}

static inline bool sl_timer_armed(const sl_timer *timer)
{
    return timer->place != 0;
}

#endif
