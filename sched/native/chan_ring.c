/* SPDX-License-Identifier: MIT
 *
 * The buffered channel without a lock on its way: a stamped ring (Vyukov), and
 * the channel's lock only for those who have to wait and for who meets them.
 *
 *   position   lap + index; a lap is a power of two above the capacity
 *   stamp      of slot i: p        free, for the send at position p
 *                         p + 1    full, for the receive at position p
 *              (p + 1 and p + lap differ because a lap is at least 2)
 *   tail       position of the next send, and two flags
 *   head       position of the next receive, and one flag
 *   WAITS      in tail: receivers may wait; in head: senders may wait
 *   SHUT       in tail: closed
 *
 * R1  A slot's element is touched only by who moved tail (head) past its position,
 *     until he stores the stamp (release; the next one loads it with acquire, so
 *     the element travels with it).
 * R2  head <= tail <= head + lap; equal: empty; a lap apart: full.
 * R3  WAITS is set and cleared with the lock, and while it is set only who has the lock
 *     moves that word: the others move by CAS from a word without flags.
 * R4  WAITS in tail: the ring is empty.  WAITS in head: it is full.  Somebody waits:
 *     the flag of his side is set.
 * So a waiter is never overlooked: he sets his flag by a CAS in the very word that the
 * one he waits for has to move.  Either that one was first, and the CAS fails, or he
 * finds the flag, takes the lock and serves the waiter.  Nobody overtakes waiters
 * either, and no fence is needed.
 *
 * Linearized: a send at its CAS of tail, a receive at its CAS of head, close at its CAS
 * of tail; what meets a waiter, in its section of the lock.  "Full" at the load of
 * head, "empty" (and closed) at the load of tail that show it.  Between the two are
 * slots that somebody has claimed and not finished with; they are waited for (a few
 * instructions of his), or a try would say "empty" beside a send that has returned.
 */
#include <stdlib.h>

#include "chan.h"

#define SHUT ((uintptr_t)1 << 63)
#define WAITS ((uintptr_t)1 << 62)
#define POSITION(word) ((word) & (WAITS - 1))

enum { FLAGGED = 1 }; /* beside the codes: with the lock, please */

typedef struct slot {
    sl_atomic stamp;
    unsigned char element[];
} slot;

typedef struct ring_channel {
    sl_channel base;
    uintptr_t lap;   /* fixed */
    size_t stride;   /* fixed */
    unsigned char *slots; /* fixed */
    /* Each on a line of its own (two: the neighbour is fetched with it). */
    sl_atomic tail __attribute__((aligned(128)));
    sl_atomic tail_guess; /* what it probably is: see put_at() */
    sl_atomic head __attribute__((aligned(128)));
    sl_atomic head_guess;
    char end[] __attribute__((aligned(128)));
} ring_channel;

static inline ring_channel *ring_of(sl_channel *c)
{
    return (ring_channel *)c;
}

static inline slot *slot_at(ring_channel *r, uintptr_t position)
{
    return (slot *)(r->slots + (position & (r->lap - 1)) * r->stride);
}

static inline uintptr_t next_position(ring_channel *r, uintptr_t p)
{
    uintptr_t index = p & (r->lap - 1);
    return index + 1 < r->base.meet.capacity ? p + 1 : p - index + r->lap;
}

/* ---- without the lock: 0, SL_EAGAIN, SL_ECLOSED or FLAGGED ---- */

/* The claims: true if the slot of position `t` (`h`) has been free (full) and is ours.
 * They end in a guess of what the word is now, for the next one to begin with: a load
 * right after a CAS of the same word waits for it, which is a third of the
 * operation, and one of another word does not.  A wrong guess is found out here. */
static inline bool put_at(ring_channel *r, uintptr_t t, const void *value)
{
    slot *s = slot_at(r, t);
    uintptr_t next = next_position(r, t);
    if (sl_load_acquire(&s->stamp) != t || !sl_cas(&r->tail, t, next))
        return false;
    sl_store_relaxed(&r->tail_guess, next);
    sl_element_copy(s->element, value, r->base.meet.size);
    sl_store_release(&s->stamp, t + 1);
    return true;
}

static inline bool take_at(ring_channel *r, uintptr_t h, void *value)
{
    slot *s = slot_at(r, h);
    uintptr_t next = next_position(r, h);
    if (sl_load_acquire(&s->stamp) != h + 1 || !sl_cas(&r->head, h, next))
        return false;
    sl_store_relaxed(&r->head_guess, next);
    sl_element_copy(value, s->element, r->base.meet.size);
    sl_store_release(&s->stamp, h + r->lap);
    return true;
}

static __attribute__((noinline)) int put_slowly(ring_channel *r, const void *value, uintptr_t tried)
{
    unsigned turns = 0;
    for (;; tried = SHUT) {
        uintptr_t t = sl_load_relaxed(&r->tail);
        if (t & SHUT)
            return SL_ECLOSED;
        if (t & WAITS)
            return FLAGGED;
        if (t != tried && put_at(r, t, value))
            return 0;
        uintptr_t h = POSITION(sl_load_acquire(&r->head));
        if (sl_load_acquire(&r->tail) != t)
            continue;
        if (h + r->lap == t)
            return SL_EAGAIN;
        sl_spin_once(&turns);
    }
}

static __attribute__((noinline)) int take_slowly(ring_channel *r, void *value, uintptr_t tried)
{
    unsigned turns = 0;
    for (;; tried = SHUT) {
        uintptr_t h = sl_load_relaxed(&r->head);
        if (h & WAITS)
            return FLAGGED;
        if (h != tried && take_at(r, h, value))
            return 0;
        uintptr_t t = sl_load_acquire(&r->tail);
        if (sl_load_acquire(&r->head) != h)
            continue;
        if (POSITION(t) == h)
            return t & SHUT ? SL_ECLOSED : SL_EAGAIN;
        sl_spin_once(&turns);
    }
}

static inline int put(ring_channel *r, const void *value)
{
    uintptr_t t = sl_load_relaxed(&r->tail_guess); /* its flags would be no stamp's */
    return put_at(r, t, value) ? 0 : put_slowly(r, value, t);
}

static inline int take(ring_channel *r, void *value)
{
    uintptr_t h = sl_load_relaxed(&r->head_guess);
    return take_at(r, h, value) ? 0 : take_slowly(r, value, h);
}

static inline int act(ring_channel *r, int side, void *value)
{
    return side == SL_SENDERS ? put(r, value) : take(r, value);
}

/* ---- with the lock ---- */

static inline uintptr_t flag_for(const sl_waiters *q)
{
    return sl_waiters_first(q) ? WAITS : 0;
}

static inline void set_tail(ring_channel *r, uintptr_t t)
{
    sl_store_release(&r->tail, t);
    sl_store_relaxed(&r->tail_guess, t);
}

static inline void set_head(ring_channel *r, uintptr_t h)
{
    sl_store_release(&r->head, h);
    sl_store_relaxed(&r->head_guess, h);
}

/* WAITS in tail: hands the value to a receiver.  FLAGGED: all had gone, and so has
 * the flag. */
static int meet_receiver(ring_channel *r, const void *value, sl_waiter **wake)
{
    sl_waiters *q = &r->base.meet.waiters[SL_RECEIVERS];
    sl_waiter *w = sl_waiters_win(q);
    set_tail(r, POSITION(sl_load_relaxed(&r->tail)) | flag_for(q));
    if (!w)
        return FLAGGED;
    sl_element_copy(w->value, value, r->base.meet.size);
    w->status = 0;
    w->next = NULL;
    *wake = w;
    return 0;
}

/* WAITS in head: takes the oldest element; that of a sender who waits, if there still
 * is one, comes into its place. */
static int meet_sender(ring_channel *r, void *value, sl_waiter **wake)
{
    sl_waiters *q = &r->base.meet.waiters[SL_SENDERS];
    uintptr_t h = POSITION(sl_load_relaxed(&r->head));
    slot *s = slot_at(r, h);
    unsigned turns = 0;
    while (sl_load_acquire(&s->stamp) != h + 1) /* its sender is about to */
        sl_spin_once(&turns);
    sl_element_copy(value, s->element, r->base.meet.size);
    sl_waiter *w = sl_waiters_win(q);
    set_head(r, next_position(r, h) | flag_for(q));
    uintptr_t stamp = h + r->lap; /* of the slot, and tail: the ring was full */
    if (w) {
        sl_element_copy(s->element, w->value, r->base.meet.size);
        w->status = 0;
        w->next = NULL;
        *wake = w;
        set_tail(r, next_position(r, stamp));
        stamp++;
    }
    sl_store_release(&s->stamp, stamp);
    return 0;
}

/* Sets the flag of those who wait on `side`; false: there may be something to do. */
static bool flag(ring_channel *r, int side)
{
    uintptr_t h = sl_load_acquire(&r->head), t = sl_load_acquire(&r->tail);
    if (t & SHUT)
        return false;
    if (POSITION(t) != POSITION(h) + (side == SL_SENDERS ? r->lap : 0))
        return false;
    sl_atomic *end = side == SL_SENDERS ? &r->head : &r->tail;
    uintptr_t seen = side == SL_SENDERS ? h : t;
    if (!(seen & WAITS) && !sl_cas(end, seen, seen | WAITS))
        return false;
    sl_store_relaxed(side == SL_SENDERS ? &r->head_guess : &r->tail_guess, seen | WAITS);
    return true;
}

static int poll(sl_channel *c, int side, void *value, bool stays, sl_waiter **wake)
{
    ring_channel *r = ring_of(c);
    *wake = NULL;
    for (;;) {
        int done = act(r, side, value);
        if (done == FLAGGED)
            done = side == SL_SENDERS ? meet_receiver(r, value, wake) : meet_sender(r, value, wake);
        if (done != FLAGGED && (done != SL_EAGAIN || !stays || flag(r, side)))
            return done;
    }
}

/* ---- the calls ---- */

static __attribute__((noinline)) int try_locked(sl_channel *c, int side, void *value)
{
    sl_waiter *wake;
    sl_spin_take(&c->lock);
    int done = poll(c, side, value, false, &wake);
    sl_spin_drop(&c->lock);
    sl_channel_resume(wake);
    return done;
}

static int try_send(sl_channel *c, void *value)
{
    int done = put(ring_of(c), value);
    return done == FLAGGED ? try_locked(c, SL_SENDERS, value) : done;
}

static int try_receive(sl_channel *c, void *value)
{
    int done = take(ring_of(c), value);
    return done == FLAGGED ? try_locked(c, SL_RECEIVERS, value) : done;
}

static __attribute__((noinline)) int operate_locked(sl_channel *c, int side, void *value, int64_t deadline)
{
    sl_waiter *wake;
    sl_spin_take(&c->lock);
    int done = poll(c, side, value, true, &wake);
    if (done == SL_EAGAIN)
        return sl_channel_wait(c, side, value, deadline);
    sl_spin_drop(&c->lock);
    sl_channel_resume(wake);
    return done;
}

static inline __attribute__((always_inline)) int operate(sl_channel *c, int side, void *value, int64_t deadline)
{
    int done = act(ring_of(c), side, value);
    if (__builtin_expect(done == SL_EAGAIN || done == FLAGGED, 0))
        return operate_locked(c, side, value, deadline);
    return done;
}

static int op_send(sl_channel *c, void *value, int64_t deadline)
{
    return operate(c, SL_SENDERS, value, deadline);
}

static int op_receive(sl_channel *c, void *value, int64_t deadline)
{
    return operate(c, SL_RECEIVERS, value, deadline);
}

static int op_close(sl_channel *c)
{
    ring_channel *r = ring_of(c);
    sl_waiter *all = NULL;
    uintptr_t t, h;
    sl_spin_take(&c->lock);
    bool was = (sl_load_relaxed(&r->tail) & SHUT) != 0;
    if (!was) {
        do
            t = sl_load_relaxed(&r->tail);
        while (!sl_cas(&r->tail, t, POSITION(t) | SHUT));
        do
            h = sl_load_relaxed(&r->head);
        while (!sl_cas(&r->head, h, POSITION(h)));
        all = sl_meet_close(&c->meet);
    }
    sl_spin_drop(&c->lock);
    sl_channel_resume(all);
    return was ? SL_ECLOSED : 0;
}

static size_t length(sl_channel *c)
{
    ring_channel *r = ring_of(c);
    for (;;) {
        uintptr_t t = sl_load_acquire(&r->tail), h = POSITION(sl_load_acquire(&r->head));
        if (sl_load_acquire(&r->tail) != t)
            continue;
        t = POSITION(t);
        if (t == h)
            return 0;
        uintptr_t ti = t & (r->lap - 1), hi = h & (r->lap - 1);
        return ti > hi ? ti - hi : ti + c->meet.capacity - hi;
    }
}

static bool closed(sl_channel *c)
{
    return (sl_load_acquire(&ring_of(c)->tail) & SHUT) != 0;
}

static void destroy(sl_channel *c)
{
    free(ring_of(c)->slots);
    free(c);
}

static const sl_channel_ops ring_ops = {
    .name = "ring",
    .try_op = {try_receive, try_send},
    .op = {op_receive, op_send},
    .close = op_close,
    .length = length,
    .closed = closed,
    .destroy = destroy,
    .poll = poll,
};

int sl_channel_ring(sl_channel **out, size_t size, size_t capacity)
{
    ring_channel *r = aligned_alloc(128, sizeof *r);
    size_t stride = (sizeof(slot) + size + 7) & ~(size_t)7;
    unsigned char *slots = malloc(capacity * stride); /* at most 2^24 * 2^17 bytes */
    if (!r || !slots) {
        free(r);
        free(slots);
        return SL_ENOMEM;
    }
    memset(r, 0, sizeof *r);
    r->base.ops = &ring_ops;
    sl_meet_init(&r->base.meet, size, capacity, NULL);
    for (r->lap = 2; r->lap <= capacity;)
        r->lap *= 2;
    r->stride = stride;
    r->slots = slots;
    for (size_t i = 0; i < capacity; i++)
        sl_store_relaxed(&slot_at(r, i)->stamp, i);
    *out = &r->base;
    return 0;
}
