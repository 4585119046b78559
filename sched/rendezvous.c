/* SPDX-License-Identifier: MIT
 *
 * The plain channel's state machine; rendezvous.h has its invariants.
 */
#include "rendezvous.h"

#include "stackless/error.h"

sl_waiter *sl_waiters_win(sl_waiters *q)
{
    sl_waiter *w;
    while ((w = sl_waiters_first(q)) != NULL) {
        sl_waiters_leave(q, w);
        /* Full: what the winner writes to the frame comes after it, and the owner
         * of a lost one sees `linked` under the lock. */
        if (sl_load_relaxed(w->claim) == 0 && sl_cas(w->claim, 0, w->mark))
            return w;
    }
    return NULL;
}

size_t sl_waiters_count(const sl_waiters *q)
{
    size_t n = 0;
    for (const sl_waiter *w = sl_waiters_first(q); w; w = w->next)
        n += sl_load_relaxed(w->claim) == 0;
    return n;
}

static void *slot(sl_meet *m, size_t i)
{
    return m->ring + i * m->size;
}

static void put(sl_meet *m, const void *value)
{
    size_t i = m->first + m->count++;
    sl_element_copy(slot(m, i < m->capacity ? i : i - m->capacity), value, m->size);
}

static void take(sl_meet *m, void *value)
{
    sl_element_copy(value, slot(m, m->first), m->size);
    m->count--;
    if (++m->first == m->capacity)
        m->first = 0;
}

int sl_meet_send(sl_meet *m, const void *value, sl_waiter **wake)
{
    *wake = NULL;
    if (sl_load_relaxed32(&m->closed))
        return SL_ECLOSED;
    sl_waiter *w = sl_waiters_win(&m->waiters[SL_RECEIVERS]);
    if (w) { /* I1: the ring is empty, so this is the next element */
        sl_element_copy(w->value, value, m->size);
        w->status = 0;
        w->next = NULL;
        *wake = w;
        return 0;
    }
    if (m->count == m->capacity)
        return SL_EAGAIN;
    put(m, value);
    return 0;
}

int sl_meet_receive(sl_meet *m, void *value, sl_waiter **wake)
{
    *wake = NULL;
    if (m->count) {
        take(m, value);
        sl_waiter *w = sl_waiters_first(&m->waiters[SL_SENDERS]) ? sl_waiters_win(&m->waiters[SL_SENDERS]) : NULL;
        if (w) { /* I2: somebody waits, so the ring was full */
            put(m, w->value);
            w->status = 0;
            w->next = NULL;
            *wake = w;
        }
        return 0;
    }
    sl_waiter *w = sl_waiters_win(&m->waiters[SL_SENDERS]);
    if (w) { /* only with capacity 0 */
        sl_element_copy(value, w->value, m->size);
        w->status = 0;
        w->next = NULL;
        *wake = w;
        return 0;
    }
    return sl_load_relaxed32(&m->closed) ? SL_ECLOSED : SL_EAGAIN;
}

sl_waiter *sl_meet_close(sl_meet *m)
{
    sl_waiter *all = NULL, **end = &all, *w;
    sl_store_relaxed32(&m->closed, 1);
    for (int side = 0; side < 2; side++) {
        while ((w = sl_waiters_win(&m->waiters[side])) != NULL) {
            w->status = SL_ECLOSED;
            w->next = NULL;
            *end = w;
            end = &w->next;
        }
    }
    return all;
}
