/* SPDX-License-Identifier: MIT
 *
 * Carriers: stacks with the front end's state, pooled per lane.
 *
 * A carrier is taken when a tasklet first runs and put back when it ends, so
 * tasklets that run one after another share one, warm.  Free carriers beyond
 * KEEP go from the cold end.  A carrier that is put back by the tasklet that
 * still stands on it is safe in the list: only the lane's host takes from it,
 * and the host is the thread that stands there.
 */
#include "lane.h"

#include <stdlib.h>

/* Chosen by feel: 1,024 parked carriers are about 9 MB under Python; enough
 * for the churn of 1,000 connections.  Rerun the parked-memory benchmark when
 * changing it. */
enum { KEEP = 1024 };

static void carrier_entry(void *payload);

static void push_busy(sl_olane *lane, sl_carrier *c)
{
    c->prev = NULL;
    c->next = lane->busy;
    if (lane->busy)
        lane->busy->prev = c;
    lane->busy = c;
    lane->nbusy++;
}

static void pop_busy(sl_olane *lane, sl_carrier *c)
{
    *(c->prev ? &c->prev->next : &lane->busy) = c->next;
    if (c->next)
        c->next->prev = c->prev;
    lane->nbusy--;
}

static sl_carrier *pop_free(sl_olane *lane)
{
    sl_carrier *c = lane->free;
    lane->free = c->next;
    *(c->next ? &c->next->prev : &lane->free_last) = NULL;
    lane->nfree--;
    return c;
}

int sl_carrier_take(sl_olane *lane, sl_carrier **out)
{
    sl_carrier *c;
    if (lane->free) {
        c = pop_free(lane);
    } else {
        c = calloc(1, sizeof *c);
        if (!c)
            return SL_ENOMEM;
        c->lane = lane;
        int rc = sl_stack_get(lane->stacks, &c->stack);
        if (rc == 0 && lane->env->carrier_begin) {
            rc = lane->env->carrier_begin(c);
            if (rc < 0)
                sl_stack_put(lane->stacks, c->stack);
        }
        if (rc < 0) {
            free(c);
            return rc;
        }
        sl_context_make(&c->context, c->stack, carrier_entry, lane->env->carrier_begin != NULL);
    }
    push_busy(lane, c);
    *out = c;
    return 0;
}

void sl_carrier_put(sl_carrier *c)
{
    sl_olane *lane = c->lane;
    c->tasklet = NULL;
    pop_busy(lane, c);
    if (c->condemned) {
        c->next = lane->condemned;
        lane->condemned = c;
        return;
    }
    c->prev = NULL;
    c->next = lane->free;
    *(lane->free ? &lane->free->prev : &lane->free_last) = c;
    lane->free = c;
    if (++lane->nfree > KEEP) {
        sl_carrier *cold = lane->free_last;
        lane->free_last = cold->prev;
        cold->prev->next = NULL;
        lane->nfree--;
        cold->next = lane->condemned;
        lane->condemned = cold;
    }
}

void sl_carrier_unseen(sl_opool *pool)
{
    if (!pool)
        return;
    sl_fence();
    while (sl_load_acquire32(&pool->peeking))
        sl_cpu_pause();
}

void sl_carrier_reap(sl_olane *lane)
{
    sl_oworker *w = sl_self();
    sl_carrier *c;
    while ((c = lane->condemned) != NULL) {
        if (sl_load_ptr(&w->on) == c)
            return; /* its last words: the next turn takes it */
        lane->condemned = c->next;
        sl_carrier_unseen(lane->pool);
        if (lane->env->carrier_end)
            lane->env->carrier_end(c);
        sl_stack_put(lane->stacks, c->stack);
        free(c);
    }
}

/* Where every tasklet of every carrier begins and ends. */
static void carrier_entry(void *payload)
{
    sl_oworker *w = payload;
    for (;;) {
        w = w->current->lane->env->run(w);
        w = sl_leave_dead(w);
    }
}
