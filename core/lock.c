/* SPDX-License-Identifier: MIT
 *
 * The slow halves of lock.h.
 */
#include "lock.h"

#include "futex.h"

/* Sections are tens of nanoseconds; a short spin usually outlasts the holder. */
#define SPINS 100

void sl_lock_contended(sl_lock *l)
{
    for (int i = 0; i < SPINS; i++) {
        sl_cpu_pause();
        if (sl_load_relaxed32(&l->word) == 0 && sl_trylock(l))
            return;
    }
    /* Taken with 2 because others may sleep as well; a needless wake at most. */
    while (sl_swap32(&l->word, 2) != 0)
        sl_futex_wait(&l->word, 2, SL_NEVER);
}

void sl_unlock_contended(sl_lock *l)
{
    if (sl_swap32(&l->word, 0) == 2)
        sl_futex_wake_one(&l->word);
}
