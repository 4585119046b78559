/* SPDX-License-Identifier: MIT
 *
 * A lane's ring and its deque of fresh tasklets: push and pop by the host,
 * steal by others.
 *
 * `head` and `tail` count without end; their difference is the length.  The
 * host alone stores `tail`, with release after the slot it announces.  Whoever
 * takes from the front reads the slots first and then owns them by the CAS of
 * `head`, which fails if anybody else has taken one of them meanwhile; a slot
 * is written again only when `head` has passed it.
 */
#include "engine.h"

#include <sched.h>

static sl_atomic *at(sl_lane *lane, unsigned i)
{
    return &lane->slots[i % SL_RING];
}

bool sl_ring_empty(const sl_lane *lane)
{
    return sl_load_acquire32(&lane->head) == sl_load_acquire32(&lane->tail);
}

/* The ring is full: its newer half and `t` go to the global list.  False if a
 * thief has made room meanwhile. */
static bool overflow(sl_lane *lane, sl_tasklet *t, unsigned head, unsigned tail)
{
    /* The older half goes to the front again: only `head` can be moved by CAS,
     * so all are claimed, and those that stay are pushed back. */
    sl_tasklet *all[SL_RING];
    unsigned n = tail - head;
    for (unsigned i = 0; i < n; i++)
        all[i] = sl_load_ptr(at(lane, head + i));
    if (!sl_cas32(&lane->head, head, tail))
        return false;
    for (unsigned i = 0; i < n / 2; i++)
        sl_store_ptr(at(lane, tail + i), all[i]);
    sl_store_release32(&lane->tail, tail + n / 2);
    for (unsigned i = n / 2; i + 1 < n; i++)
        all[i]->next = all[i + 1];
    all[n - 1]->next = t;
    t->next = NULL;
    sl_global_push(lane->pool, all[n / 2], t, n - n / 2 + 1);
    return true;
}

void sl_ring_push(sl_lane *lane, sl_tasklet *t)
{
    unsigned tail = sl_load_relaxed32(&lane->tail);
    for (;;) {
        unsigned head = sl_load_acquire32(&lane->head);
        if (tail - head < SL_RING) {
            sl_store_ptr(at(lane, tail), t);
            sl_store_release32(&lane->tail, tail + 1);
            return;
        }
        if (overflow(lane, t, head, tail))
            return;
    }
}

sl_tasklet *sl_ring_pop(sl_lane *lane)
{
    for (;;) {
        unsigned head = sl_load_acquire32(&lane->head);
        if (head == sl_load_relaxed32(&lane->tail))
            return NULL;
        sl_tasklet *t = sl_load_ptr(at(lane, head));
        if (!sl_load_relaxed32(&lane->shared)) {
            sl_store_relaxed32(&lane->head, head + 1);
            return t;
        }
        if (sl_cas32(&lane->head, head, head + 1))
            return t;
    }
}

/* ---- fresh ones ---- */

/* The host lowers `bottom` before it reads `top`, a thief reads `top` before
 * `bottom`, with a full barrier in between on both sides: of the last one left
 * at least one of the two knows that there are two, and the CAS of `top`
 * decides. */

bool sl_fresh_empty(const sl_lane *lane)
{
    return (int)(sl_load_acquire32(&lane->bottom) - sl_load_acquire32(&lane->top)) <= 0;
}

static sl_atomic *fresh_at(sl_lane *lane, unsigned i)
{
    return &lane->fresh[i % SL_FRESH];
}

static sl_tasklet *take_oldest(sl_lane *lane)
{
    unsigned top = sl_load_acquire32(&lane->top);
    sl_fence();
    if ((int)(sl_load_acquire32(&lane->bottom) - top) <= 0)
        return NULL;
    sl_tasklet *t = sl_load_ptr(fresh_at(lane, top));
    return sl_cas32(&lane->top, top, top + 1) ? t : NULL;
}

void sl_fresh_push(sl_lane *lane, sl_tasklet *t)
{
    unsigned bottom = sl_load_relaxed32(&lane->bottom);
    while (bottom - sl_load_acquire32(&lane->top) >= SL_FRESH) {
        sl_tasklet *oldest = take_oldest(lane);
        if (oldest)
            sl_ring_push(lane, oldest);
    }
    sl_store_ptr(fresh_at(lane, bottom), t);
    sl_store_release32(&lane->bottom, bottom + 1);
}

sl_tasklet *sl_fresh_pop(sl_lane *lane)
{
    unsigned bottom = sl_load_relaxed32(&lane->bottom), top = sl_load_relaxed32(&lane->top);
    if (bottom == top)
        return NULL; /* only the host adds */
    bottom--;
    sl_store_relaxed32(&lane->bottom, bottom);
    if (sl_load_relaxed32(&lane->shared)) {
        sl_fence();
        top = sl_load_relaxed32(&lane->top);
    }
    sl_tasklet *t = sl_load_ptr(fresh_at(lane, bottom));
    if ((int)(bottom - top) > 0)
        return t;
    if ((int)(bottom - top) < 0 || (sl_load_relaxed32(&lane->shared) && !sl_cas32(&lane->top, top, top + 1)))
        t = NULL;
    else if (!sl_load_relaxed32(&lane->shared))
        sl_store_relaxed32(&lane->top, top + 1);
    sl_store_relaxed32(&lane->bottom, bottom + 1);
    return t;
}

/* ---- stealing ---- */

/* Long enough for a host to come to what it has just put into its slot. */
static void pause_a_little(void)
{
    for (int i = 0; i < 64; i++)
        sl_cpu_pause();
}

sl_tasklet *sl_ring_steal(sl_lane *from, sl_lane *to, bool slot_too)
{
    unsigned tail = sl_load_relaxed32(&to->tail);
    if (!sl_load_acquire32(&from->shared))
        return NULL; /* its host does not know of thieves yet */
    for (;;) {
        unsigned head = sl_load_acquire32(&from->head);
        unsigned n = sl_load_acquire32(&from->tail) - head;
        n -= n / 2;
        if (n == 0)
            break;
        if (n > SL_RING / 2)
            continue; /* the two were not of one moment */
        for (unsigned i = 0; i < n; i++)
            sl_store_ptr(at(to, tail + i), sl_load_ptr(at(from, head + i)));
        if (!sl_cas32(&from->head, head, head + n))
            continue;
        sl_tasklet *t = sl_load_ptr(at(to, tail + n - 1));
        sl_store_release32(&to->tail, tail + n - 1);
        sl_count(&to->steals, 1);
        sl_count(&to->stolen, n);
        return t;
    }
    sl_tasklet *t = take_oldest(from);
    if (!t) {
        if (!slot_too || !(t = sl_load_ptr(&from->slot)))
            return NULL;
        pause_a_little();
        if (!sl_cas_ptr(&from->slot, t, NULL))
            return NULL;
    }
    sl_count(&to->steals, 1);
    sl_count(&to->stolen, 1);
    return t;
}
