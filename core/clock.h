/* SPDX-License-Identifier: MIT
 *
 * The monotonic clock, in nanoseconds.  Deadlines everywhere in the library
 * are absolute values of this clock.
 */
#ifndef SL_CORE_CLOCK_H
#define SL_CORE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define SL_NEVER INT64_MAX

/* Exact, about 26 ns. */
static inline int64_t sl_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Behind sl_now() by up to one kernel tick (1 to 10 ms), about 3 ns. */
static inline int64_t sl_now_coarse(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* now + delay without overflow; a negative delay counts as none. */
static inline int64_t sl_deadline_after(int64_t now, int64_t delay)
{
    if (delay < 0)
        return now;
    return delay > SL_NEVER - now ? SL_NEVER : now + delay;
}

#endif
