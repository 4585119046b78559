/* SPDX-License-Identifier: MIT
 *
 * Parking of OS threads on a futex word.
 *
 * A parker is a one-permit semaphore: sl_unpark() leaves a permit, sl_park()
 * takes it or sleeps until there is one.  A permit given before the sleep is
 * never lost: the word is swapped to NOTIFIED before any wake, and the sleeper
 * goes to sleep by a compare-and-set from EMPTY to PARKED, which fails when
 * the permit is already there; the kernel compares the word once more.
 * sl_unpark() makes no system call unless somebody sleeps.
 */
#ifndef SL_CORE_PARK_H
#define SL_CORE_PARK_H

#include <stdint.h>

#include "atomic.h"

typedef struct sl_parker {
    sl_atomic32 word; /* EMPTY, PARKED, NOTIFIED; any thread, swaps and CAS only */
} sl_parker;

void sl_parker_init(sl_parker *p);

/* Takes the permit, waiting for it until `deadline` (sl_now() nanoseconds, or
 * SL_NEVER).  0, SL_ETIMEDOUT, or SL_EINTR when a signal handler ran on this
 * thread.  Only the parker's owner calls it. */
int sl_park(sl_parker *p, int64_t deadline);

/* Leaves a permit and wakes the owner if it sleeps.  Any thread.
 * Release: what was written before is visible to the owner after sl_park(). */
void sl_unpark(sl_parker *p);

#endif
