/* SPDX-License-Identifier: MIT
 *
 * Parking in a wait, resuming, cancelling.  The contract: wait.h.
 *
 * Cancel and the frame.  Who cancels follows tasklet->wait to a record on the
 * waiter's stack, which must not go meanwhile.  The waiter stores `wait` before
 * it parks and clears it when it runs again; it then waits until `watchers` is
 * 0.  The canceller adds itself to `watchers` first.  Both sides are a store
 * before a load; the waiter's half is a plain store and load, because the
 * canceller makes every thread pass a barrier in between (sl_barrier_all()).
 */
#include "engine.h"

#include <linux/membarrier.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool asymmetric; /* membarrier() is to be had; set before any pool exists */

void sl_wait_setup(void)
{
    asymmetric = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

static void barrier_all(void)
{
    if (asymmetric)
        syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    sl_fence();
}

/* The waiter's half. */
static inline void barrier_own(void)
{
    __asm__ volatile("" ::: "memory");
    if (__builtin_expect(!asymmetric, 0))
        sl_fence();
}

void sl_wait_init(sl_wait *w, const char *reason, const void *object)
{
    sl_store_relaxed(&w->claim, SL_CLAIM_NONE);
    w->tasklet = sl_worker_self()->current;
    w->thread = NULL;
    w->object = object;
    w->reason = reason;
    w->describe = NULL;
    w->timer_lane = NULL;
    w->handshake = true; /* in the lock-free form a claim may come before the park */
    sl_store_relaxed(&w->tasklet->parked, SL_RUNNING);
}

void sl_wait_resume(sl_wait *w)
{
    sl_tasklet *t = w->tasklet;
    if (!t)
        sl_unpark(w->thread);
    else if (!w->handshake || sl_swap(&t->parked, SL_NOTIFIED) == SL_PARKED)
        sl_ready(t);
}

/* For claimers that do not hold the lock of a locked wait: its stack may not
 * have been left yet.  Never on the waiter's own worker. */
static void resume_stranger(sl_wait *w)
{
    if (w->tasklet && !w->handshake)
        while (sl_load_acquire(&w->tasklet->parked) != SL_PARKED)
            sched_yield();
    sl_wait_resume(w);
}

typedef struct parking {
    sl_tasklet *t;
    bool handshake;
    void (*unlock)(void *arg);
    void *arg;
} parking;

/* The waiter's stack has been left; it may go on from the last line. */
static void after_park(void *arg)
{
    parking p = *(parking *)arg;
    if (!p.handshake)
        sl_store_release(&p.t->parked, SL_PARKED);
    if (p.unlock)
        p.unlock(p.arg);
    if (p.handshake && !sl_cas(&p.t->parked, SL_RUNNING, SL_PARKED))
        sl_ready(p.t);
}

static bool must_cancel(sl_tasklet *t)
{
    return sl_load_relaxed32(&t->cancel) || sl_load_relaxed32(&t->pool->closing);
}

uintptr_t sl_wait_park(sl_wait *w, int64_t deadline, void (*unlock)(void *arg), void *arg)
{
    sl_worker *worker = sl_worker_self();
    sl_tasklet *t = w->tasklet;
    /* Who may claim before the stack has been left: anybody in the lock-free
     * form, and the timer, which this very worker may fire on its way. */
    parking p = {t, !unlock || deadline != SL_FOREVER, unlock, arg};
    if (!p.handshake)
        w->handshake = false; /* the lock still keeps claimers away */
    sl_store_ptr_release(&t->wait, w);
    barrier_own();
    bool stays = must_cancel(t) && sl_wait_claim(w, SL_CLAIM_CANCEL);
    if (!stays && deadline != SL_FOREVER && sl_wait_arm(w, deadline) < 0)
        stays = sl_wait_claim(w, SL_CLAIM_MEMORY);
    if (!stays)
        sl_switch_away(worker, t, after_park, &p);
    else if (unlock)
        unlock(arg);
    sl_store_ptr_release(&t->wait, NULL);
    barrier_own();
    while (__builtin_expect(sl_load_acquire32(&t->watchers) != 0, 0))
        sched_yield();
    uintptr_t claim = sl_load_acquire(&w->claim);
    if (claim != SL_CLAIM_TIMEOUT) /* then it has fired */
        sl_wait_disarm(w);
    return claim;
}

int sl_wait_error(uintptr_t claim)
{
    if (claim != SL_CLAIM_CANCEL)
        return claim == SL_CLAIM_MEMORY ? SL_ENOMEM : SL_ETIMEDOUT;
    sl_store_relaxed32(&sl_worker_self()->current->cancel, 0);
    return SL_ECANCELLED;
}

/* ---- others look at a wait ---- */

void sl_watch_wait(sl_tasklet *t, void (*look)(sl_tasklet *t, sl_wait *w, void *arg), void *arg)
{
    sl_add32(&t->watchers, 1);
    barrier_all();
    sl_wait *w = sl_load_ptr_acquire(&t->wait);
    if (w)
        look(t, w, arg);
    sl_add32(&t->watchers, (unsigned)-1);
}

static void cancel_wait(sl_tasklet *t, sl_wait *w, void *unused)
{
    (void)t, (void)unused;
    if (sl_wait_claim(w, SL_CLAIM_CANCEL))
        resume_stranger(w);
}

void sl_cancel_one(sl_tasklet *t)
{
    sl_store_release32(&t->cancel, 1);
    sl_watch_wait(t, cancel_wait, NULL);
}

int sl_cancel(sl_tasklet *t)
{
    if (!t || sl_load_acquire(&t->end) == SL_END_DROPPED)
        return SL_EINVAL;
    sl_cancel_one(t);
    return 0;
}

bool sl_cancelled(void)
{
    sl_worker *w = sl_worker_self();
    if (!w || !w->current)
        return false;
    sl_tasklet *t = w->current;
    sl_wait_begin();
    return must_cancel(t);
}
