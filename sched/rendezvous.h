/* SPDX-License-Identifier: MIT
 *
 * Where senders and receivers meet: the plain channel, without its lock.
 *
 * What it is for: one state machine (a ring of elements, two queues of waiters, a
 * closed flag) that every front end can stand on.  What it is not for: locks,
 * scheduling, waking.  Each function runs with the channel's lock held, whatever
 * that is (a spin lock, a mutex, the GIL); it never blocks, allocates or wakes, but
 * says whom to resume, which the caller does after it has dropped the lock.
 *
 * A waiter is a record in the waiting frame.  Its claim word is 0 until one party
 * wins it by a compare-and-set: here a partner or a close, elsewhere a timeout or a
 * cancel.  The several waiters of a select share one word, so that it is won once.
 *
 * Invariants, whenever the lock is free; "waits" means linked with claim 0:
 *   I1  an element in the ring: no receiver waits
 *   I2  room in the ring (count < capacity): no sender waits
 *   I3  a sender and a receiver wait both: they are arms of one select
 *   I4  closed: nobody waits
 * Losers (claimed elsewhere) may still be linked; who finds one drops it, and its owner
 * takes the lock once more before the frame goes (sl_waiters_leave).
 *
 * Every operation is linearized in its section; a waiting one in that of the
 * partner who claims it.
 */
#ifndef SL_SCHED_RENDEZVOUS_H
#define SL_SCHED_RENDEZVOUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../core/atomic.h"

typedef struct sl_waiter sl_waiter;

struct sl_waiter {
    sl_waiter *next; /* the lock; then, for the winner, the next one to resume */
    sl_waiter *prev; /* the lock */
    sl_atomic *claim; /* 0, then who won; fixed while linked */
    uintptr_t mark;  /* what a partner writes there, not 0; fixed while linked */
    void *value;     /* the element in the waiter's frame; the winner's until the resume */
    void *owner;     /* what the front end resumes; fixed while linked */
    int status;      /* the winner writes the result here before the resume */
    bool linked;     /* the lock */
};

typedef struct sl_waiters {
    sl_atomic head;  /* sl_waiter *.  Stored under the lock, relaxed: without it a hint that somebody may wait */
    sl_waiter *tail; /* the lock */
} sl_waiters;

static inline sl_waiter *sl_waiters_first(const sl_waiters *q)
{
    return (sl_waiter *)sl_load_ptr(&q->head);
}

/* The two sides, also as indexes. */
enum { SL_RECEIVERS = 0, SL_SENDERS = 1 };

typedef struct sl_meet {
    size_t size;     /* bytes of an element; fixed */
    size_t capacity; /* of the ring; fixed */
    size_t count;    /* elements in the ring */
    size_t first;    /* index of the oldest */
    unsigned char *ring; /* capacity * size bytes, the caller's */
    sl_waiters waiters[2];
    sl_atomic32 closed; /* like a head: stored under the lock, a hint without it */
} sl_meet;

static inline void sl_meet_init(sl_meet *m, size_t size, size_t capacity, void *ring)
{
    memset(m, 0, sizeof *m);
    m->size = size;
    m->capacity = capacity;
    m->ring = ring;
}

/* Copies an element; the usual sizes without a call. */
static inline void sl_element_copy(void *to, const void *from, size_t size)
{
    if (size == sizeof(uint64_t))
        memcpy(to, from, sizeof(uint64_t));
    else if (size == sizeof(uint32_t))
        memcpy(to, from, sizeof(uint32_t));
    else if (size)
        memcpy(to, from, size);
}

/* 0: done, and `*wake` is who has to be resumed, or NULL.  SL_ECLOSED.
 * SL_EAGAIN: it has to wait. */
int sl_meet_send(sl_meet *m, const void *value, sl_waiter **wake);
int sl_meet_receive(sl_meet *m, void *value, sl_waiter **wake);

/* Closes; everybody who waited, strung together by `next`, to be resumed (status
 * SL_ECLOSED).  The caller looks at `closed` first. */
sl_waiter *sl_meet_close(sl_meet *m);

/* The first of a side that could be won, unlinked, or NULL. */
sl_waiter *sl_waiters_win(sl_waiters *q);

/* To the end of a side's queue. */
static inline void sl_waiters_join(sl_waiters *q, sl_waiter *w)
{
    w->linked = true;
    w->next = NULL;
    w->prev = q->tail;
    if (q->tail)
        q->tail->next = w;
    else
        sl_store_ptr(&q->head, w);
    q->tail = w;
}

/* Out of the queue, if it still is in it. */
static inline void sl_waiters_leave(sl_waiters *q, sl_waiter *w)
{
    if (!w->linked)
        return;
    if (w->prev)
        w->prev->next = w->next;
    else
        sl_store_ptr(&q->head, w->next);
    *(w->next ? &w->next->prev : &q->tail) = w->prev;
    w->linked = false;
}

/* How many of a side wait. */
size_t sl_waiters_count(const sl_waiters *q);

#endif
