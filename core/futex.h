/* SPDX-License-Identifier: MIT
 *
 * The futex calls that parking and locking need.  Process-private.
 */
#ifndef SL_CORE_FUTEX_H
#define SL_CORE_FUTEX_H

#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"

/* Sleeps while the word is `expected`, until woken or until `deadline`
 * (CLOCK_MONOTONIC).  0 or an errno value: EAGAIN, EINTR, ETIMEDOUT. */
static inline int sl_futex_wait(sl_atomic32 *word, unsigned expected, int64_t deadline)
{
    struct timespec at, *until = NULL;
    if (deadline != SL_NEVER) {
        if (deadline < 0)
            deadline = 0;
        at.tv_sec = (time_t)(deadline / 1000000000);
        at.tv_nsec = (long)(deadline % 1000000000);
        until = &at;
    }
    /* WAIT_BITSET because its timeout is absolute. */
    long r = syscall(SYS_futex, &word->word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected, until, NULL,
                     FUTEX_BITSET_MATCH_ANY);
    return r == 0 ? 0 : errno;
}

static inline void sl_futex_wake_one(sl_atomic32 *word)
{
    syscall(SYS_futex, &word->word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

static inline void sl_futex_wake_all(sl_atomic32 *word)
{
    syscall(SYS_futex, &word->word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT32_MAX, NULL, NULL, 0);
}

#endif
