/* SPDX-License-Identifier: MIT
 *
 * Announced blocking: the lane goes on without the tasklet.
 */
#include "engine.h"

int sl_blocking_begin(void)
{
    sl_worker *w = sl_worker_self();
    if (!w || !w->current || !w->lane)
        return SL_ENOTASKLET;
    sl_pool *pool = w->pool;
    sl_lane *lane = w->lane;
    bool busy = !sl_ring_empty(lane) || !sl_fresh_empty(lane) || sl_load_relaxed(&lane->slot) || sl_load_relaxed(&pool->global_count);
    sl_worker *wake = NULL;
    sl_lock_take(&pool->lock);
    pool->blocking++;
    w->blocked = true;
    pool->handoffs++;
    if (busy && !sl_load_relaxed(&pool->wanting) && (wake = sl_find_spare(pool)) != NULL) {
        w->lane = NULL;
        sl_host(lane, wake);
    } else {
        wake = sl_give_up_lane(w);
    }
    sl_lock_drop(&pool->lock);
    if (wake)
        sl_wake_worker(wake);
    else if (sl_any_work(pool)) /* seen after the lane has gone to rest */
        sl_offer_work(pool);
    else
        sl_pool_settle(pool);
    return 0;
}

/* It counts as blocking until it is where others see it: never is all quiet meanwhile. */
static void after_blocking(void *arg)
{
    sl_tasklet *t = arg;
    sl_pool *pool = t->pool;
    sl_ready_last(t); /* this worker has no lane: to the global list, or its own inbox */
    sl_lock_take(&pool->lock);
    pool->blocking--;
    sl_lock_drop(&pool->lock);
}

int sl_blocking_end(void)
{
    sl_worker *w = sl_worker_self();
    if (!w || !w->current || w->lane)
        return SL_ENOTASKLET;
    sl_pool *pool = w->pool;
    sl_lock_take(&pool->lock);
    w->blocked = false;
    sl_lane *lane = sl_lane_take_idle(pool);
    if (lane) {
        pool->blocking--;
        sl_host(lane, w);
        sl_store_relaxed32(&lane->attention, 1); /* pinned work may have come */
    }
    sl_lock_drop(&pool->lock);
    if (lane)
        sl_rouse_monitor(pool);
    if (lane && pool->places)
        sl_worker_place(w);
    if (!lane)
        sl_switch_away(w, w->current, after_blocking, w->current);
    return 0;
}
