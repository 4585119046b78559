/* SPDX-License-Identifier: MIT
 *
 * The public calls of a channel: argument checks, choice of the form, batches,
 * and the spin lock.  The forms themselves are chan_*.c, select is select.c.
 */
#include "chan.h"

#include <sched.h>
#include <stdio.h>
#include <time.h>

#define SIZE_MOST ((size_t)65536)
#define CAPACITY_MOST ((size_t)1 << 24)

/* From this capacity on the ring is the better form: never slower than the plain one, and
 * several times faster where a sender and a receiver run at once.  Below it
 * nearly every operation meets a waiter, which costs the ring a lock on top. */
#define RING_FROM 16

/* ---- the lock ---- */

/* A section is some 20 ns, so 100 pauses outlast a holder that runs; one that does
 * not run needs this processor; one that runs nowhere (a lower priority) needs us
 * to sleep. */
void sl_spin_once(unsigned *turns)
{
    unsigned t = ++*turns;
    if (t < 100) {
        sl_cpu_pause();
    } else if (t < 200) {
        sched_yield();
    } else {
        struct timespec some = {0, 50000};
        nanosleep(&some, NULL);
    }
}

__attribute__((noinline)) void sl_spin_contended(sl_spin *l)
{
    unsigned turns = 0;
    do
        sl_spin_once(&turns);
    while (sl_load_relaxed32(&l->word) != 0 || !sl_cas32(&l->word, 0, 1));
}

void sl_channel_unlock(void *c)
{
    sl_spin_drop(&((sl_channel *)c)->lock);
}

/* ---- waiting ---- */

int sl_channel_describe(char *text, size_t size, int side, const sl_channel *c, const char *where)
{
    return snprintf(text, size, "%s on channel %p%s%s%s", side == SL_SENDERS ? "send" : "receive", (const void *)c,
                    where ? " (made at " : "", where ? where : "", where ? ")" : "");
}

/* What a report reads lies in the waiter's frame: the channel may be gone when it does. */
typedef struct channel_wait {
    sl_wait wait; /* first */
    const char *where;
    int side;
} channel_wait;

static void describe(const sl_wait *w, char *text, size_t size)
{
    const channel_wait *c = (const channel_wait *)w;
    sl_channel_describe(text, size, c->side, w->object, c->where);
}

__attribute__((noinline)) int sl_channel_wait(sl_channel *c, int side, void *value, int64_t deadline)
{
    channel_wait here; /* without an initializer, which would clear all of it */
    sl_wait *wait = &here.wait;
    sl_waiter w;
    here.where = c->where;
    here.side = side;
    sl_wait_init(wait, NULL, c);
    wait->describe = describe;
    sl_waiter_init(&w, wait, value);
    sl_waiters_join(&c->meet.waiters[side], &w);
    uintptr_t claim = sl_wait_park(wait, deadline, sl_channel_unlock, c);
    if (claim >= SL_CLAIM_FIRST)
        return w.status; /* who won has unlinked it */
    sl_spin_take(&c->lock);
    sl_waiters_leave(&c->meet.waiters[side], &w);
    sl_spin_drop(&c->lock);
    return sl_wait_error(claim);
}

/* ---- making ---- */

int sl_channel_create_as(enum sl_channel_form form, sl_channel **out, size_t size, size_t capacity)
{
    if (!out || size > SIZE_MOST || capacity > CAPACITY_MOST)
        return SL_EINVAL;
    *out = NULL;
    switch (form) {
    case SL_CHANNEL_BEST:
        return capacity < RING_FROM ? sl_channel_plain(out, size, capacity) : sl_channel_ring(out, size, capacity);
    case SL_CHANNEL_PLAIN:
        return sl_channel_plain(out, size, capacity);
    case SL_CHANNEL_RING:
        return capacity ? sl_channel_ring(out, size, capacity) : SL_EINVAL;
    }
    return SL_EINVAL;
}

int sl_channel_create_at(sl_channel **out, size_t size, size_t capacity, const char *where)
{
    int rc = sl_channel_create_as(SL_CHANNEL_BEST, out, size, capacity);
    if (rc == 0)
        (*out)->where = where;
    return rc;
}

int (sl_channel_create)(sl_channel **out, size_t size, size_t capacity)
{
    return sl_channel_create_at(out, size, capacity, NULL);
}

static size_t waiting(sl_channel *c, int side)
{
    sl_spin_take(&c->lock);
    size_t n = sl_waiters_count(&c->meet.waiters[side]);
    sl_spin_drop(&c->lock);
    return n;
}

int sl_channel_destroy(sl_channel *c)
{
    if (!c)
        return SL_EINVAL;
    if (waiting(c, SL_SENDERS) || waiting(c, SL_RECEIVERS))
        return SL_EBUSY;
    c->ops->destroy(c);
    return 0;
}

/* ---- operations ---- */

static bool wrong(const sl_channel *c, const void *value)
{
    return !c || (!value && c->meet.size);
}

/* Asks first who calls, so that a misuse does not depend on who else is there. */
static inline __attribute__((always_inline)) int blocking(sl_channel *c, int side, void *value, int64_t deadline)
{
    if (__builtin_expect(wrong(c, value), 0))
        return SL_EINVAL;
    if (__builtin_expect(!sl_wait_begin(), 0))
        return SL_ENOTASKLET;
    return c->ops->op[side](c, value, deadline);
}

/* A send only reads through its pointer. */
int sl_send(sl_channel *c, const void *value)
{
    return blocking(c, SL_SENDERS, (void *)value, SL_FOREVER);
}

int sl_receive(sl_channel *c, void *value)
{
    return blocking(c, SL_RECEIVERS, value, SL_FOREVER);
}

int sl_send_until(sl_channel *c, const void *value, int64_t deadline)
{
    return blocking(c, SL_SENDERS, (void *)value, deadline);
}

int sl_receive_until(sl_channel *c, void *value, int64_t deadline)
{
    return blocking(c, SL_RECEIVERS, value, deadline);
}

int sl_try_send(sl_channel *c, const void *value)
{
    return wrong(c, value) ? SL_EINVAL : c->ops->try_op[SL_SENDERS](c, (void *)value);
}

int sl_try_receive(sl_channel *c, void *value)
{
    return wrong(c, value) ? SL_EINVAL : c->ops->try_op[SL_RECEIVERS](c, value);
}

static ptrdiff_t batch(sl_channel *c, int side, unsigned char *values, size_t n, int64_t deadline)
{
    if (n == 0 || n > PTRDIFF_MAX)
        return SL_EINVAL;
    int r = blocking(c, side, values, deadline);
    if (r != 0)
        return r;
    size_t done = 1, size = c->meet.size;
    if (done < n && c->ops->more[side])
        done += c->ops->more[side](c, values + size, n - 1);
    else
        while (done < n && c->ops->try_op[side](c, values + done * size) == 0)
            done++;
    return (ptrdiff_t)done;
}

ptrdiff_t sl_send_many(sl_channel *c, const void *values, size_t n, int64_t deadline)
{
    return batch(c, SL_SENDERS, (void *)values, n, deadline);
}

ptrdiff_t sl_receive_many(sl_channel *c, void *values, size_t n, int64_t deadline)
{
    return batch(c, SL_RECEIVERS, values, n, deadline);
}

int sl_channel_close(sl_channel *c)
{
    return c ? c->ops->close(c) : SL_EINVAL;
}

size_t sl_channel_length(sl_channel *c)
{
    return c ? c->ops->length(c) : 0;
}

size_t sl_channel_waiting(sl_channel *c, bool senders)
{
    return c ? waiting(c, senders ? SL_SENDERS : SL_RECEIVERS) : 0;
}

size_t sl_channel_capacity(sl_channel *c)
{
    return c ? c->meet.capacity : 0;
}

bool sl_channel_closed(sl_channel *c)
{
    return c && c->ops->closed(c);
}
