/* SPDX-License-Identifier: MIT
 *
 * The parker of park.h.
 *
 *   EMPTY    --owner, cas-->   PARKED     about to sleep
 *   any      --waker, swap-->  NOTIFIED   permit; was PARKED: wake
 *   NOTIFIED --owner, cas-->   EMPTY      permit taken
 *   PARKED   --owner, cas-->   EMPTY      gave up (deadline, signal)
 *
 * The waker swaps even if the word already is NOTIFIED, so that what it wrote
 * before is ordered before the owner's taking of the permit in every case.
 */
#include "park.h"

#include "clock.h"
#include "futex.h"
#include "stackless/error.h"

enum { EMPTY, PARKED, NOTIFIED };

void sl_parker_init(sl_parker *p)
{
    sl_store_relaxed32(&p->word, EMPTY);
}

int sl_park(sl_parker *p, int64_t deadline)
{
    if (sl_cas32(&p->word, NOTIFIED, EMPTY))
        return 0;
    if (!sl_cas32(&p->word, EMPTY, PARKED)) {
        sl_swap32(&p->word, EMPTY); /* a permit came between the two */
        return 0;
    }
    for (;;) {
        int error = sl_futex_wait(&p->word, PARKED, deadline);
        if (sl_cas32(&p->word, NOTIFIED, EMPTY))
            return 0;
        if (error != ETIMEDOUT && error != EINTR)
            continue; /* a stray wake */
        if (!sl_cas32(&p->word, PARKED, EMPTY)) {
            sl_swap32(&p->word, EMPTY); /* the permit won */
            return 0;
        }
        return error == ETIMEDOUT ? SL_ETIMEDOUT : SL_EINTR;
    }
}

void sl_unpark(sl_parker *p)
{
    if (sl_swap32(&p->word, NOTIFIED) == PARKED)
        sl_futex_wake_one(&p->word);
}
