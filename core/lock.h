/* SPDX-License-Identifier: MIT
 *
 * A small lock for short sections: one futex word, no system call unless two
 * threads meet.  Not fair, not recursive, not for waiting on events (park.h).
 * It knows no owner: who drops it may be another thread than who took it, so one can be
 * handed on across a switch (ordered.c's guard); but who waits for it blocks its thread.
 *
 * The word is 0 free, 1 held, 2 held and perhaps slept on.  It leaves 0 only by
 * cas or swap and returns to 0 only by the holder's swap, so exactly one thread
 * holds it; a sleeper sets 2 before it sleeps and the kernel compares the word
 * again, so the swap that frees the lock sees the 2 and wakes.
 * Both ends are full operations: a section sees all earlier sections.
 */
#ifndef SL_CORE_LOCK_H
#define SL_CORE_LOCK_H

#include "atomic.h"

typedef struct sl_lock {
    sl_atomic32 word;
} sl_lock;

#define SL_LOCK_INIT {SL_ATOMIC_INIT(0)}

/* Also makes the lock usable again in the child after a fork. */
static inline void sl_lock_init(sl_lock *l)
{
    sl_store_relaxed32(&l->word, 0);
}

void sl_lock_contended(sl_lock *l);
void sl_unlock_contended(sl_lock *l);

static inline bool sl_trylock(sl_lock *l)
{
    return sl_cas32(&l->word, 0, 1);
}

static inline void sl_lock_take(sl_lock *l)
{
    if (!sl_trylock(l))
        sl_lock_contended(l);
}

static inline void sl_lock_drop(sl_lock *l)
{
    if (!sl_cas32(&l->word, 1, 0))
        sl_unlock_contended(l);
}

#endif
