/* SPDX-License-Identifier: MIT
 *
 * Moving the lane between workers: giving it, seizing it, the list of spares.
 *
 * Seizing is race-free because the guard is held: the host's tasklet cannot
 * run while we look, and everything that it will find changed on its return
 * (worker->lane, its place) is changed under the guard.  What the guard cannot
 * tell is whether the host is blocked in the OS or waits for the guard itself:
 * that it was free proves nothing, for the host may have been woken for it and
 * be given no processor.  The kernel is asked where the host sleeps.
 */
#include "lane.h"

#include <stddef.h>

/* How long nothing but main runs on its thread after something has blocked
 * there.  Chosen by feel: programs that block do it again, and one that keeps
 * main's thread keeps main; but a program may also have become another. */
static const int64_t SHY_FOR = (int64_t)60 * 1000 * 1000 * 1000;

static void host(sl_olane *lane, sl_oworker *w)
{
    w->lane = lane;
    sl_store_ptr_release(&lane->host, w); /* the monitor follows it */
}

void sl_olane_give(sl_olane *lane, sl_oworker *from, sl_oworker *to)
{
    from->lane = NULL;
    host(lane, to);
    if (to->spare)
        sl_opool_drop_spare(to->pool, to);
    sl_unpark(&to->parker);
}

bool sl_olane_take_idle(sl_olane *lane, sl_oworker *w)
{
    sl_oworker *h = sl_load_ptr(&lane->idle);
    if (!h)
        return false;
    sl_olane_kick(lane); /* it finds that it has no lane, and becomes a spare */
    h->lane = NULL;
    host(lane, w);
    return true;
}

sl_oworker *sl_opool_find_worker(sl_opool *pool, sl_oworker *host)
{
    sl_oworker *w = sl_load_ptr(&pool->spare);
    if (sl_load_relaxed32(&pool->stop))
        return NULL; /* they would not stay */
    if (w && w != pool->lane->owner) {
        sl_opool_drop_spare(pool, w);
        return w;
    }
    if (sl_opool_grow(pool, &w) < 0)
        return NULL;
    /* A lane given to a thread that then cannot run tasklets would be lost.  It
     * may need the guard to begin: an allocator that traces takes it. */
    pool->env->detach(host);
    while (!sl_load_acquire32(&w->begun))
        sl_park(&w->birth, SL_NEVER);
    pool->env->attach(host);
    return sl_load_relaxed32(&w->begun) == SL_BEGUN ? w : NULL;
}

void sl_opool_add_spare(sl_opool *pool, sl_oworker *w)
{
    sl_oworker *head = sl_load_ptr(&pool->spare);
    w->spare = true;
    w->next_spare = NULL;
    if (head && w == pool->lane->owner) { /* last resort: main's thread may be needed */
        while (head->next_spare)
            head = head->next_spare;
        head->next_spare = w;
        return;
    }
    w->next_spare = head;
    sl_store_ptr_release(&pool->spare, w);
}

void sl_opool_drop_spare(sl_opool *pool, sl_oworker *w)
{
    sl_oworker *head = sl_load_ptr(&pool->spare);
    w->spare = false;
    if (head == w) {
        sl_store_ptr_release(&pool->spare, w->next_spare);
        return;
    }
    while (head->next_spare != w)
        head = head->next_spare;
    head->next_spare = w->next_spare;
}

bool sl_olane_has_work(sl_olane *lane)
{
    return sl_olane_count(lane) > 1 || sl_load_relaxed(&lane->waiting) || sl_load_relaxed(&lane->inbox) ||
           sl_load_relaxed(&lane->timers.count);
}

/* `waited`: the guard was not free when `w` asked for it. */
bool sl_olane_seize(sl_olane *lane, sl_oworker *w, bool waited)
{
    sl_opool *pool = w->pool;
    sl_oworker *h = sl_olane_host(lane);
    sl_otasklet *t = h->current;
    if (!lane->env->away || !sl_swap32(&w->asked, 0))
        return false;
    if (!t || sl_load_relaxed(&lane->idle) || sl_load_relaxed32(&h->switching) ||
        sl_load_relaxed(&lane->turn) != sl_load_relaxed(&pool->seen_turn) || !sl_olane_has_work(lane) ||
        !lane->env->away(h, sl_load_ptr(&h->on)) ||
        (lane->env->may_hand_off && !lane->env->may_hand_off(lane, t)) ||
        (sl_load_relaxed(&pool->computes) != sl_load_relaxed(&lane->turn) + 1 &&
         lane->env->blocked && !lane->env->blocked(h, !waited))) {
        pool->refused++;
        return false;
    }
    if (t->place == SL_IN_RING)
        sl_olane_unlink(lane, t);
    t->place = SL_STRAY;
    if (h == lane->owner && t->home != h)
        lane->shy_until = sl_now() + SHY_FOR;
    sl_store_relaxed(&lane->strays, sl_load_relaxed(&lane->strays) + 1);
    /* What has been seen of `t` (seen_turn, computes, a slice) is not the next one's. */
    sl_store_relaxed(&lane->turn, sl_load_relaxed(&lane->turn) + 1);
    h->lane = NULL;
    host(lane, w);
    pool->handoffs++;
    return true;
}
