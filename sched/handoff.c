/* SPDX-License-Identifier: MIT
 *
 * Moving the lane between workers: giving it, seizing it, the list of spares.
 *
 * Seizing is race-free because the guard is held: the host's tasklet cannot
 * run while we look, and everything that it will find changed on its return
 * (worker->lane, its place) is changed under the guard.  What the guard cannot
 * tell is whether the host is blocked in the OS or waits for the guard itself;
 * a guard that was free says the former.  See sl_lane_seize().
 */
#include "lane.h"

#include <stddef.h>

static void host(sl_lane *lane, sl_worker *w)
{
    w->lane = lane;
    sl_store_ptr(&lane->host, w);
}

void sl_lane_give(sl_lane *lane, sl_worker *from, sl_worker *to)
{
    from->lane = NULL;
    host(lane, to);
    if (to->spare)
        sl_pool_drop_spare(to->pool, to);
    sl_unpark(&to->parker);
}

sl_worker *sl_pool_find_worker(sl_pool *pool)
{
    sl_worker *w = sl_load_ptr(&pool->spare);
    if (w && w != pool->lane->owner)
        sl_pool_drop_spare(pool, w);
    else
        sl_pool_grow(pool, &w);
    return w;
}

void sl_pool_add_spare(sl_pool *pool, sl_worker *w)
{
    sl_worker *head = sl_load_ptr(&pool->spare);
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

void sl_pool_drop_spare(sl_pool *pool, sl_worker *w)
{
    sl_worker *head = sl_load_ptr(&pool->spare);
    w->spare = false;
    if (head == w) {
        sl_store_ptr_release(&pool->spare, w->next_spare);
        return;
    }
    while (head->next_spare != w)
        head = head->next_spare;
    head->next_spare = w->next_spare;
}

bool sl_lane_has_work(sl_lane *lane)
{
    return sl_lane_count(lane) > 1 || sl_load_relaxed(&lane->waiting) || sl_load_relaxed(&lane->inbox) ||
           sl_load_relaxed(&lane->timers.count);
}

/* `waited`: the guard was not free when `w` asked for it, so the host may only
 * be waiting for it too. */
bool sl_lane_seize(sl_lane *lane, sl_worker *w, bool waited)
{
    sl_pool *pool = w->pool;
    sl_worker *h = sl_lane_host(lane);
    sl_tasklet *t = h->current;
    if (!lane->env->away || !sl_swap32(&w->asked, 0))
        return false;
    if (!t || sl_load_relaxed(&lane->idle) || sl_load_relaxed32(&h->switching) ||
        sl_load_relaxed(&lane->turn) != sl_load_relaxed(&pool->seen_turn) || !sl_lane_has_work(lane) ||
        (waited && !(lane->env->surely_blocked && lane->env->surely_blocked(h))) ||
        !lane->env->away(h, sl_load_ptr(&h->on)) ||
        (lane->env->may_hand_off && !lane->env->may_hand_off(lane, t))) {
        pool->refused++;
        return false;
    }
    if (t->place == SL_IN_RING)
        sl_lane_unlink(lane, t);
    t->place = SL_STRAY;
    if (h == lane->owner && t->home != h && !lane->owner_waits)
        lane->shy = true;
    sl_store_relaxed(&lane->strays, sl_load_relaxed(&lane->strays) + 1);
    h->lane = NULL;
    host(lane, w);
    pool->handoffs++;
    if (lane->env->strayed)
        lane->env->strayed(lane, t);
    return true;
}
