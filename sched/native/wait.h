/* SPDX-License-Identifier: MIT
 *
 * Waiting, as channels and joins see it: the contract between what wakes and
 * the scheduler.  What it is not for: deciding who is woken.
 *
 * A wait is a record on the waiting tasklet's stack.  Exactly one party wins
 * it, by sl_wait_claim(): a compare-and-set of `claim` from 0.  The winner, and
 * nobody else, calls sl_wait_resume() once, after it has dropped every lock; it
 * may write to the waiter's frame (a message) between the two.  The scheduler
 * claims too: SL_CLAIM_TIMEOUT when the deadline has passed, SL_CLAIM_CANCEL
 * for a cancel, SL_CLAIM_MEMORY when it cannot watch the deadline.
 *
 *   wait, locked form                 wait, lock-free form
 *     lock; look; nothing               look; nothing
 *     sl_wait_init(&w)                  sl_wait_init(&w)
 *     link w                            publish w (a CAS in a cell)
 *     c = sl_wait_park(&w, deadline,    c = sl_wait_park(&w, deadline, NULL, NULL)
 *                      unlock, lock)    (a claim that came first is seen)
 *     relock, unlink if not taken       mark the cell if not taken
 *
 * In the locked form nobody can claim before `unlock` has run, which is when
 * the stack has been left, so the winner may enqueue the tasklet at once.  In
 * the lock-free form `parked` decides: the waiter, its stack left, goes from
 * RUNNING to PARKED by CAS; the winner swaps NOTIFIED in and enqueues only if
 * it found PARKED; the waiter that finds NOTIFIED enqueues itself.
 *
 * The record must not be reachable by any claimer when the frame goes: who
 * publishes it has to make sure of that after sl_wait_park().
 */
#ifndef SL_SCHED_NATIVE_WAIT_H
#define SL_SCHED_NATIVE_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "../../core/atomic.h"
#include "../../core/park.h"
#include "../timer.h"
#include "stackless/pool.h"

enum {
    SL_CLAIM_NONE = 0,
    SL_CLAIM_TIMEOUT = 1,
    SL_CLAIM_CANCEL = 2,
    SL_CLAIM_MEMORY = 3, /* there is none for the timer of the deadline */
    SL_CLAIM_FIRST = 8, /* from here on the users' own values: pointers, case numbers */
};

typedef struct sl_wait {
    sl_atomic claim;     /* 0, then who won; CAS only */
    sl_tasklet *tasklet; /* who waits; NULL: the OS thread of `thread` */
    sl_parker *thread;
    const void *object;  /* for reports: what is waited for, or NULL */
    const char *reason;  /* for reports: "send", "receive", "select", "join", ... */
    void (*describe)(const struct sl_wait *w, char *text, size_t size); /* says more than these, or NULL */
    bool handshake;      /* lock-free form */
    sl_timer timer;      /* the scheduler's, with the lane whose heap it is in */
    void *timer_lane;
} sl_wait;

/* For the running tasklet, which must exist. */
void sl_wait_init(sl_wait *w, const char *reason, const void *object);

/* Any thread.  Full barrier. */
static inline bool sl_wait_claim(sl_wait *w, uintptr_t value)
{
    return sl_load_relaxed(&w->claim) == SL_CLAIM_NONE && sl_cas(&w->claim, SL_CLAIM_NONE, value);
}

/* By the winner, once: makes the tasklet runnable.  From a tasklet of the same
 * pool it goes to the running lane's slot, so that it runs soon.  `w` is gone
 * afterwards. */
void sl_wait_resume(sl_wait *w);

/* Parks the running tasklet until somebody has claimed `w` and resumed it;
 * returns the claim.  `unlock(arg)`, if not NULL, runs on the far side, when the
 * stack has been left; `arg` must outlive the wait.  A cancel that is pending
 * claims at once. */
uintptr_t sl_wait_park(sl_wait *w, int64_t deadline, void (*unlock)(void *arg), void *arg);

/* The code for a scheduler's claim: SL_ETIMEDOUT, SL_ECANCELLED or SL_ENOMEM. */
int sl_wait_error(uintptr_t claim);

/* The running tasklet may wait (it hosts a lane). */
bool sl_wait_allowed(void);

/* The same, and it begins an operation.  May switch, when the budget of operations
 * for this turn (128) is spent, so that two that always find each other ready do not
 * keep the lane. */
bool sl_wait_begin(void);

/* A number that differs from call to call; cheap. */
uint32_t sl_random(void);

#endif
