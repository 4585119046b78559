/* SPDX-License-Identifier: MIT
 * The ring, and waking the host that sleeps for want of work. */
#include "lane.h"

#include <stddef.h>
#include <string.h>

static void link_before(sl_otasklet *t, sl_otasklet *at)
{
    t->next = at;
    t->prev = at->prev;
    at->prev->next = t;
    at->prev = t;
}

static void counted(sl_olane *lane, sl_otasklet *t)
{
    unsigned n = sl_olane_count(lane) + 1;
    t->place = SL_IN_RING;
    sl_store_relaxed(&lane->count, n);
    if (sl_load_relaxed(&lane->idle))
        sl_olane_kick(lane);
    if (lane->pool && !sl_load_relaxed(&lane->watched) && sl_olane_has_work(lane))
        sl_opool_watch(lane->pool);
}

static bool first(sl_olane *lane, sl_otasklet *t)
{
    if (lane->current)
        return false;
    t->next = t->prev = t;
    lane->current = t;
    return true;
}

void sl_olane_append(sl_olane *lane, sl_otasklet *t)
{
    if (!first(lane, t))
        link_before(t, lane->current);
    counted(lane, t);
}

void sl_olane_append_next(sl_olane *lane, sl_otasklet *t)
{
    if (!first(lane, t))
        link_before(t, lane->current->next);
    counted(lane, t);
}

void sl_olane_append_head(sl_olane *lane, sl_otasklet *t)
{
    sl_olane_append(lane, t);
    lane->current = t;
}

void sl_olane_unlink(sl_olane *lane, sl_otasklet *t)
{
    if (t->next == t) {
        lane->current = NULL;
    } else {
        t->prev->next = t->next;
        t->next->prev = t->prev;
        if (lane->current == t)
            lane->current = t->next;
    }
    t->next = t->prev = NULL;
    t->place = SL_NOWHERE;
    sl_store_relaxed(&lane->count, sl_olane_count(lane) - 1);
}

void sl_olane_kick(sl_olane *lane)
{
    sl_oworker *w = sl_swap_ptr(&lane->idle, NULL);
    if (!w)
        return;
    if (w->in_poll)
        sl_netpoll_wake(lane->netpoll);
    else
        sl_unpark(&w->parker);
}

void sl_inbox_push(sl_olane *lane, sl_otasklet *t)
{
    void *head;
    t->place = SL_IN_INBOX;
    do {
        head = sl_load_ptr(&lane->inbox);
        t->next = head;
    } while (!sl_cas_ptr(&lane->inbox, head, t)); /* full barrier: then look for a sleeper */
    if (sl_load_relaxed(&lane->idle))
        sl_olane_kick(lane);
    if (lane->pool && !sl_load_relaxed(&lane->watched))
        sl_opool_watch(lane->pool); /* the host may be blocked */
}

void sl_inbox_take(sl_olane *lane)
{
    if (!sl_load_relaxed(&lane->inbox))
        return;
    sl_otasklet *t = sl_swap_ptr(&lane->inbox, NULL), *oldest = NULL;
    while (t) {
        sl_otasklet *next = t->next;
        t->next = oldest;
        oldest = t;
        t = next;
    }
    while (oldest) {
        t = oldest;
        oldest = t->next;
        sl_olane_append(lane, t);
    }
}

int sl_olane_init(sl_olane *lane, const sl_env *env, sl_stack_pool *stacks, sl_oworker *owner)
{
    memset(lane, 0, sizeof *lane);
    lane->env = env;
    lane->stacks = stacks;
    lane->owner = owner;
    sl_timers_init(&lane->timers);
    sl_store_ptr(&lane->host, owner);
    owner->lane = lane;
    return 0;
}

void sl_olane_free(sl_olane *lane)
{
    sl_timers_free(&lane->timers);
    if (lane->netpoll)
        sl_netpoll_destroy(lane->netpoll);
    lane->netpoll = NULL;
}

int sl_olane_netpoll(sl_olane *lane, sl_netpoll **out)
{
    if (!lane->netpoll) {
        int rc = sl_netpoll_create(&lane->netpoll);
        if (rc < 0) {
            lane->netpoll = NULL;
            return rc;
        }
    }
    *out = lane->netpoll;
    return 0;
}

void sl_olane_watch(sl_olane *lane)
{
    if (!lane->pool)
        sl_store_relaxed(&lane->attention, SL_ATTEND_CLOCK);
    else if (!sl_load_relaxed(&lane->watched))
        sl_opool_watch(lane->pool);
    if (sl_load_relaxed(&lane->idle)) /* a stray armed it; the host sleeps by an older deadline */
        sl_olane_kick(lane);
}
