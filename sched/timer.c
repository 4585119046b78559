/* SPDX-License-Identifier: MIT
 * The 4-ary heap behind timer.h. */
#include "timer.h"

#include <stdlib.h>

#include "stackless/error.h"

void sl_timers_init(sl_timers *ts)
{
    ts->heap = NULL;
    ts->capacity = 0;
    sl_store_relaxed(&ts->count, 0);
    sl_store_relaxed(&ts->earliest, (uintptr_t)SL_NEVER);
}

void sl_timers_free(sl_timers *ts)
{
    free(ts->heap);
    sl_timers_init(ts);
}

static inline void put(sl_timers *ts, uint32_t i, sl_timer_entry e)
{
    ts->heap[i] = e;
    e.timer->place = i + 1;
}

static void publish_earliest(sl_timers *ts)
{
    bool any = sl_load_relaxed(&ts->count) != 0;
    sl_store_relaxed(&ts->earliest, (uintptr_t)(any ? ts->heap[0].deadline : SL_NEVER));
}

static void sift_up(sl_timers *ts, uint32_t i, sl_timer_entry e)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / 4;
        if (ts->heap[parent].deadline <= e.deadline)
            break;
        put(ts, i, ts->heap[parent]);
        i = parent;
    }
    put(ts, i, e);
}

static void sift_down(sl_timers *ts, uint32_t i, sl_timer_entry e)
{
    uint32_t n = (uint32_t)sl_load_relaxed(&ts->count);
    for (;;) {
        uint32_t first = 4 * i + 1, least = first;
        if (first >= n)
            break;
        for (uint32_t k = first + 1; k < n && k < first + 4; k++)
            if (ts->heap[k].deadline < ts->heap[least].deadline)
                least = k;
        if (e.deadline <= ts->heap[least].deadline)
            break;
        put(ts, i, ts->heap[least]);
        i = least;
    }
    put(ts, i, e);
}

int sl_timers_add(sl_timers *ts, sl_timer *timer, int64_t deadline)
{
    uint32_t n = (uint32_t)sl_load_relaxed(&ts->count);
    if (n == ts->capacity) {
        uint32_t capacity = n ? 2 * n : 64;
        sl_timer_entry *heap = realloc(ts->heap, capacity * sizeof *heap);
        if (!heap)
            return SL_ENOMEM;
        ts->heap = heap;
        ts->capacity = capacity;
    }
    timer->deadline = deadline;
    sl_store_relaxed(&ts->count, n + 1);
    sift_up(ts, n, (sl_timer_entry){deadline, timer});
    publish_earliest(ts);
    return 0;
}

void sl_timers_remove(sl_timers *ts, sl_timer *timer)
{
    if (!timer->place)
        return;
    uint32_t i = timer->place - 1;
    uint32_t n = (uint32_t)sl_load_relaxed(&ts->count) - 1;
    sl_timer_entry last = ts->heap[n];
    timer->place = 0;
    sl_store_relaxed(&ts->count, n);
    if (last.timer != timer) {
        if (i > 0 && last.deadline < ts->heap[(i - 1) / 4].deadline)
            sift_up(ts, i, last);
        else
            sift_down(ts, i, last);
    }
    publish_earliest(ts);
}

unsigned sl_timers_run(sl_timers *ts, int64_t now)
{
    unsigned fired = 0;
    while (sl_load_relaxed(&ts->count) && ts->heap[0].deadline <= now) {
        sl_timer *timer = ts->heap[0].timer;
        sl_timers_remove(ts, timer);
        timer->fire(timer);
        fired++;
    }
    return fired;
}
