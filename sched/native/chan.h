/* SPDX-License-Identifier: MIT
 *
 * What the forms of a channel share, and the table each of them fills.
 *
 *   plain   any capacity: everything under one lock (rendezvous.h)
 *   ring    capacity >= 1: a stamped ring; the lock only for waiters
 * (A third form, a rendezvous in cells that two counters hand out, was slower than the
 * plain one in all but one of the cases measured, and is gone.)
 *
 * Not for users (stackless/channel.h) and not for waiting itself (wait.h).
 *
 * `lock` guards `meet` and what a form says.  It is a leaf: nothing is locked
 * under it but other channels' locks in the order of their addresses
 * (select.c), and nobody is resumed while it is held.
 */
#ifndef SL_SCHED_NATIVE_CHAN_H
#define SL_SCHED_NATIVE_CHAN_H

#include "../rendezvous.h"
#include "stackless/channel.h"
#include "wait.h"

enum sl_channel_form {
    SL_CHANNEL_BEST, /* what chan.c found faster for the capacity */
    SL_CHANNEL_PLAIN,
    SL_CHANNEL_RING,
};

/* A lock for sections of a few dozen instructions: one CAS in, one store out.
 * A holder may have lost its processor, so a spinner soon gives up its own. */
typedef struct sl_spin {
    sl_atomic32 word;
} sl_spin;

void sl_spin_contended(sl_spin *l);

static inline void sl_spin_take(sl_spin *l)
{
    if (!sl_cas32(&l->word, 0, 1))
        sl_spin_contended(l);
}

static inline void sl_spin_drop(sl_spin *l)
{
    sl_store_release32(&l->word, 0);
}

/* Spins politely: `*turns` starts at 0. */
void sl_spin_once(unsigned *turns);

typedef struct sl_channel_ops {
    const char *name;
    /* The calls of channel.h, arguments checked. */
    int (*try_op[2])(sl_channel *c, void *value);                   /* by side */
    int (*op[2])(sl_channel *c, void *value, int64_t deadline);
    int (*close)(sl_channel *c);
    size_t (*length)(sl_channel *c);
    bool (*closed)(sl_channel *c);
    void (*destroy)(sl_channel *c);
    /* With the lock: do it now or SL_EAGAIN.  `*wake`: to be resumed, or NULL.
     * `stays`: the caller means to wait, and after SL_EAGAIN nobody does anything on the
     * other side without the lock, until it has been dropped and for as long as
     * somebody is linked in meet.waiters[side]. */
    int (*poll)(sl_channel *c, int side, void *value, bool stays, sl_waiter **wake);
    /* More of what was begun, without waiting: how many.  May be NULL. */
    size_t (*more[2])(sl_channel *c, void *values, size_t n);
} sl_channel_ops;

struct sl_channel {
    const sl_channel_ops *ops; /* fixed */
    const char *where;         /* it was made, for reports; NULL: unknown.  Fixed */
    sl_spin lock;
    sl_meet meet; /* the lock */
};

/* Any OS thread.  SL_EINVAL when the form cannot have that capacity. */
int sl_channel_create_as(enum sl_channel_form form, sl_channel **out, size_t size, size_t capacity);

int sl_channel_plain(sl_channel **out, size_t size, size_t capacity);
int sl_channel_ring(sl_channel **out, size_t size, size_t capacity);

/* For sl_wait_park(): drops the lock of the sl_channel. */
void sl_channel_unlock(void *c);
/* The lock is held and nothing can be had: waits, and drops the lock. */
int sl_channel_wait(sl_channel *c, int side, void *value, int64_t deadline);

/* For reports: "receive on channel 0x... (made at main.c:7)". */
int sl_channel_describe(char *text, size_t size, int side, const sl_channel *c, const char *where);

/* Resumes a string of winners' finds.  No lock may be held. */
static inline void sl_channel_resume(sl_waiter *w)
{
    while (w) {
        sl_waiter *next = w->next; /* the frame goes with the resume */
        sl_wait_resume(w->owner);
        w = next;
    }
}

static inline void sl_waiter_init(sl_waiter *w, sl_wait *wait, void *value)
{
    w->claim = &wait->claim;
    w->mark = SL_CLAIM_FIRST;
    w->value = value;
    w->owner = wait;
    w->linked = false;
}

#endif
