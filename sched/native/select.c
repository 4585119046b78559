/* SPDX-License-Identifier: MIT
 *
 * select: exactly one of several channel operations, over any mix of forms.
 *
 *   1  try each case once, in a random order, without holding anything; a rendezvous at
 *      which nobody seems to be is left for 2;
 *   2  lock all channels, in the order of their addresses, and try each again;
 *      from there on nobody does anything for a case that was not ready
 *      without the lock (sl_channel_ops.poll);
 *   3  link a waiter on each;
 *   4  park, and unlock all when the stack has been left;
 *   5  evict the losers, each under its lock, and only then read the result.
 *
 * Nobody can win one of our waiters while the locks of 2 are held, because
 * winning takes the lock of its queue.  So a select never has to claim itself, and
 * two selects cannot wait for each other's claim.  All waiters share the
 * claim word of one wait and differ in `mark`, so one CAS picks the winner, whether
 * partner, close, timeout or cancel.
 *
 * Linearized where the chosen case is.  SL_EAGAIN: in 2, where no case of the
 * plain form was ready at the same time; of the others, each was not in its turn.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "chan.h"

#define CASES_MOST 65535
#define SMALL 8 /* cases served without allocation; a frame of about 0.7 KB */

typedef struct arm {
    sl_waiter waiter;
    const char *where; /* of the case's channel, for reports */
    sl_channel *lock; /* the k-th to lock, NULL at the end (not: of this case) */
    uint16_t turn;    /* the k-th case to try (not: of this case) */
} arm;

typedef struct select_state {
    sl_case *cases;
    arm *arms;
    size_t n;
    size_t locks;
    sl_wait wait;
} select_state;

static int side_of(const sl_case *k)
{
    return k->send ? SL_SENDERS : SL_RECEIVERS;
}

/* A permutation, all equally likely. */
static void shuffle(select_state *s)
{
    s->arms[0].turn = 0;
    for (size_t i = 1; i < s->n; i++) {
        size_t j = (size_t)(((uint64_t)sl_random() * (i + 1)) >> 32);
        s->arms[i].turn = s->arms[j].turn;
        s->arms[j].turn = (uint16_t)i;
    }
}

static int by_address(const void *a, const void *b)
{
    const sl_channel *x = ((const sl_channel *const *)a)[0], *y = ((const sl_channel *const *)b)[0];
    return (x > y) - (x < y);
}

/* Sorts the channels of many cases: through an array of their own.  Or SL_ENOMEM. */
static int order_many(select_state *s)
{
    sl_channel **all = malloc(s->n * sizeof *all);
    if (!all)
        return SL_ENOMEM;
    size_t count = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->cases[i].channel)
            all[count++] = s->cases[i].channel;
    qsort(all, count, sizeof *all, by_address);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || all[i] != all[i - 1])
            s->arms[s->locks++].lock = all[i];
    free(all);
    return 0;
}

/* Which channels to lock, in which order: each once. */
static int order_locks(select_state *s)
{
    s->locks = 0;
    if (s->n > SMALL)
        return order_many(s);
    for (size_t i = 0; i < s->n; i++) {
        sl_channel *c = s->cases[i].channel;
        size_t at = s->locks;
        while (at > 0 && s->arms[at - 1].lock > c)
            at--;
        if (!c || (at > 0 && s->arms[at - 1].lock == c))
            continue;
        for (size_t k = s->locks++; k > at; k--)
            s->arms[k].lock = s->arms[k - 1].lock;
        s->arms[at].lock = c;
    }
    return 0;
}

static void lock_all(select_state *s)
{
    for (size_t i = 0; i < s->locks; i++)
        sl_spin_take(&s->arms[i].lock->lock);
}

/* When we wait, the winner may run on at once, but not get past evict() before the last
 * lock has been dropped.  From then on `state` may be gone. */
static void unlock_all(void *state)
{
    const select_state *s = state;
    const arm *arms = s->arms;
    for (size_t i = 0, n = s->locks; i < n; i++)
        sl_spin_drop(&arms[i].lock->lock);
}

/* A rendezvous at which nobody waits.  Without the lock only a hint, which saves taking it:
 * what has come meanwhile is found in step 2.  A close counts as somebody, so that it has
 * the same chance as the other cases. */
static bool seems_empty(const sl_channel *c, int side)
{
    return c->meet.capacity == 0 && !sl_waiters_first(&c->meet.waiters[!side]) && !sl_load_relaxed32(&c->meet.closed);
}

/* Step 1.  The case done, or SL_EAGAIN. */
static int try_each(select_state *s)
{
    for (size_t i = 0; i < s->n; i++) {
        size_t at = s->arms[i].turn;
        sl_case *k = &s->cases[at];
        if (!k->channel || seems_empty(k->channel, side_of(k)))
            continue;
        int r = k->channel->ops->try_op[side_of(k)](k->channel, k->value);
        if (r == SL_EAGAIN)
            continue;
        k->status = r;
        return (int)at;
    }
    return SL_EAGAIN;
}

/* Step 2, locked.  The case done (and whom to resume), or SL_EAGAIN. */
static int poll_each(select_state *s, bool stays, sl_waiter **wake)
{
    for (size_t i = 0; i < s->n; i++) {
        size_t at = s->arms[i].turn;
        sl_case *k = &s->cases[at];
        if (!k->channel || seems_empty(k->channel, side_of(k)))
            continue;
        int r = k->channel->ops->poll(k->channel, side_of(k), k->value, stays, wake);
        if (r == SL_EAGAIN)
            continue;
        k->status = r;
        return (int)at;
    }
    *wake = NULL;
    return SL_EAGAIN;
}

/* Step 3, locked. */
static void link_all(select_state *s)
{
    for (size_t i = 0; i < s->n; i++) {
        sl_case *k = &s->cases[i];
        sl_waiter *w = &s->arms[i].waiter;
        sl_waiter_init(w, &s->wait, k->value);
        w->mark = SL_CLAIM_FIRST + i;
        if (!k->channel)
            continue;
        s->arms[i].where = k->channel->where;
        sl_waiters_join(&k->channel->meet.waiters[side_of(k)], w);
    }
}

/* Step 5.  The winner's waiter has been unlinked by who won it. */
static void evict(select_state *s, size_t winner)
{
    for (size_t i = 0; i < s->n; i++) {
        sl_channel *c = s->cases[i].channel;
        if (!c || i == winner)
            continue;
        sl_spin_take(&c->lock);
        sl_waiters_leave(&c->meet.waiters[side_of(&s->cases[i])], &s->arms[i].waiter);
        sl_spin_drop(&c->lock);
    }
}

/* For a report, which keeps the waiter in sl_wait_park() meanwhile: some of the cases. */
static void describe(const sl_wait *w, char *text, size_t size)
{
    const select_state *s = (const select_state *)((const char *)w - offsetof(select_state, wait));
    size_t at = (size_t)snprintf(text, size, "select of %zu", s->n);
    for (size_t i = 0, shown = 0; i < s->n && shown < 4 && at < size; i++) {
        const sl_case *k = &s->cases[i];
        if (!k->channel)
            continue;
        at += (size_t)snprintf(text + at, size - at, "%s ", shown++ ? "," : ":");
        if (at < size)
            at += (size_t)sl_channel_describe(text + at, size - at, side_of(k), k->channel, s->arms[i].where);
    }
}

/* Steps 2 to 5. */
static int select_locked(select_state *s, int64_t deadline)
{
    sl_waiter *wake;
    lock_all(s);
    int r = poll_each(s, deadline != 0, &wake);
    if (r != SL_EAGAIN || deadline == 0) {
        unlock_all(s);
        sl_channel_resume(wake);
        return r;
    }
    sl_wait_init(&s->wait, NULL, NULL);
    s->wait.describe = describe;
    link_all(s);
    uintptr_t claim = sl_wait_park(&s->wait, deadline, unlock_all, s);
    size_t winner = claim < SL_CLAIM_FIRST ? s->n : claim - SL_CLAIM_FIRST;
    evict(s, winner);
    if (winner == s->n)
        return sl_wait_error(claim);
    s->cases[winner].status = s->arms[winner].waiter.status;
    return (int)winner;
}

static int select_with(select_state *s, int64_t deadline)
{
    shuffle(s);
    int r = try_each(s);
    if (r != SL_EAGAIN)
        return r;
    if ((r = order_locks(s)) != 0)
        return r;
    return select_locked(s, deadline);
}

int sl_select(sl_case *cases, size_t n, int64_t deadline)
{
    arm few[SMALL];
    if (!cases || n == 0 || n > CASES_MOST)
        return SL_EINVAL;
    for (size_t i = 0; i < n; i++)
        if (cases[i].channel && !cases[i].value && cases[i].channel->meet.size)
            return SL_EINVAL;
    if (!sl_wait_begin())
        return SL_ENOTASKLET;
    select_state s; /* without an initializer, which would clear the wait too */
    s.cases = cases;
    s.arms = few;
    s.n = n;
    if (n > SMALL && !(s.arms = malloc(n * sizeof *s.arms)))
        return SL_ENOMEM;
    int r = select_with(&s, deadline);
    if (s.arms != few)
        free(s.arms);
    return r;
}
