/* SPDX-License-Identifier: MIT
 *
 * The ring form with a pause before some of its atomic operations, so that few
 * histories show interleavings that are rare otherwise.  Included once, in a
 * file of its own: it contains the form.
 */
#include <sched.h>

#include "../../../sched/native/chan.h"

/* Mostly nothing, or a little while, or until others have had the processor. */
static void jitter(void)
{
    uint32_t r = sl_random();
    if (r % 64 == 0)
        sched_yield();
    else if (r % 8 == 0)
        for (r = r >> 8 & 63; r > 0; r--)
            sl_cpu_pause();
}

#define sl_load_relaxed(p) (jitter(), sl_load_relaxed(p))
#define sl_load_acquire(p) (jitter(), sl_load_acquire(p))
#define sl_store_release(p, value) (jitter(), sl_store_release(p, value))
#define sl_cas(p, old, value) (jitter(), sl_cas(p, old, value))
#ifdef HASTY
#define sl_spin_once(turns) return (void)(turns), SL_EAGAIN
#endif

#include "../../../sched/native/chan_ring.c"
