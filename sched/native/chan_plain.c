/* SPDX-License-Identifier: MIT
 *
 * The plain channel: rendezvous.h under one lock, with direct handoff into the
 * waiter's frame.  Any capacity.  It is also what the tests measure the other
 * forms against, so it has to stay obvious.
 *
 * Each operation takes effect (is linearized) inside the section of the lock
 * that completes it; the lock's CAS and release order the sections.  A waiter is
 * linked in the section that found nothing, so nobody comes between; it is
 * resumed, by the one who won its claim word, after that one's section.
 */
#include <stdlib.h>

#include "chan.h"

static int now(sl_channel *c, int side, void *value, sl_waiter **wake)
{
    return side == SL_SENDERS ? sl_meet_send(&c->meet, value, wake) : sl_meet_receive(&c->meet, value, wake);
}

static inline __attribute__((always_inline)) int attempt(sl_channel *c, int side, void *value)
{
    sl_waiter *wake;
    sl_spin_take(&c->lock);
    int r = now(c, side, value, &wake);
    sl_spin_drop(&c->lock);
    if (wake)
        sl_wait_resume(wake->owner);
    return r;
}

static int try_send(sl_channel *c, void *value)
{
    return attempt(c, SL_SENDERS, value);
}

static int try_receive(sl_channel *c, void *value)
{
    return attempt(c, SL_RECEIVERS, value);
}

static inline __attribute__((always_inline)) int operate(sl_channel *c, int side, void *value, int64_t deadline)
{
    sl_waiter *wake;
    sl_spin_take(&c->lock);
    int r = now(c, side, value, &wake);
    if (r == SL_EAGAIN)
        return sl_channel_wait(c, side, value, deadline);
    sl_spin_drop(&c->lock);
    if (wake)
        sl_wait_resume(wake->owner);
    return r;
}

static int op_send(sl_channel *c, void *value, int64_t deadline)
{
    return operate(c, SL_SENDERS, value, deadline);
}

static int op_receive(sl_channel *c, void *value, int64_t deadline)
{
    return operate(c, SL_RECEIVERS, value, deadline);
}

/* ---- batches: many elements in one section ---- */

/* Elements a section moves at most, so that nobody spins for long. */
#define SECTION 64

static size_t more(sl_channel *c, int side, unsigned char *values, size_t n)
{
    size_t done = 0, size = c->meet.size;
    for (bool ready = true; ready && done < n;) {
        sl_waiter *wake, *all = NULL, **end = &all;
        size_t stop = n - done > SECTION ? done + SECTION : n;
        sl_spin_take(&c->lock);
        while (done < stop && (ready = now(c, side, values + done * size, &wake) == 0)) {
            done++;
            if (wake) {
                *end = wake;
                end = &wake->next;
            }
        }
        sl_spin_drop(&c->lock);
        sl_channel_resume(all);
    }
    return done;
}

static size_t more_send(sl_channel *c, void *values, size_t n)
{
    return more(c, SL_SENDERS, values, n);
}

static size_t more_receive(sl_channel *c, void *values, size_t n)
{
    return more(c, SL_RECEIVERS, values, n);
}

/* ---- the rest ---- */

/* Nobody does anything without the lock. */
static int poll(sl_channel *c, int side, void *value, bool stays, sl_waiter **wake)
{
    return now(c, side, value, wake);
}

static int op_close(sl_channel *c)
{
    sl_spin_take(&c->lock);
    bool was = sl_load_relaxed32(&c->meet.closed);
    sl_waiter *all = was ? NULL : sl_meet_close(&c->meet);
    sl_spin_drop(&c->lock);
    sl_channel_resume(all);
    return was ? SL_ECLOSED : 0;
}

static size_t length(sl_channel *c)
{
    sl_spin_take(&c->lock);
    size_t n = c->meet.count;
    sl_spin_drop(&c->lock);
    return n;
}

static bool closed(sl_channel *c)
{
    sl_spin_take(&c->lock);
    bool is = sl_load_relaxed32(&c->meet.closed);
    sl_spin_drop(&c->lock);
    return is;
}

static void destroy(sl_channel *c)
{
    free(c->meet.ring);
    free(c);
}

static const sl_channel_ops plain_ops = {
    .name = "plain",
    .try_op = {try_receive, try_send},
    .op = {op_receive, op_send},
    .close = op_close,
    .length = length,
    .closed = closed,
    .destroy = destroy,
    .poll = poll,
    .more = {more_receive, more_send},
};

int sl_channel_plain(sl_channel **out, size_t size, size_t capacity)
{
    sl_channel *c = calloc(1, sizeof *c);
    size_t bytes = capacity * size; /* at most 2^40 */
    void *ring = c && bytes ? malloc(bytes) : NULL;
    if (!c || (bytes && !ring)) {
        free(c);
        return SL_ENOMEM;
    }
    c->ops = &plain_ops;
    sl_meet_init(&c->meet, size, capacity, ring);
    *out = c;
    return 0;
}
