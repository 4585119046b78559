/* SPDX-License-Identifier: MIT
 *
 * Idle and wake: lanes without a host, workers without a lane, the global
 * list.  The protocol and why no wake-up is lost: engine.h.
 */
#include "engine.h"

#include <stddef.h>
#include <stdlib.h>

/* ---- global list ---- */

/* Lock held. */
static void append_global(sl_pool *pool, sl_tasklet *first, sl_tasklet *last, unsigned n)
{
    last->next = NULL;
    if (pool->global_last)
        pool->global_last->next = first;
    else
        pool->global = first;
    pool->global_last = last;
    pool->reported = false;
    sl_store_relaxed(&pool->global_count, sl_load_relaxed(&pool->global_count) + n);
}

void sl_global_push(sl_pool *pool, sl_tasklet *first, sl_tasklet *last, unsigned n)
{
    sl_lock_take(&pool->lock);
    append_global(pool, first, last, n);
    sl_lock_drop(&pool->lock);
}

sl_tasklet *sl_global_pop(sl_lane *lane)
{
    sl_pool *pool = lane->pool;
    if (!sl_load_relaxed(&pool->global_count))
        return NULL;
    sl_lock_take(&pool->lock);
    uintptr_t count = sl_load_relaxed(&pool->global_count), n = count / sl_load_relaxed(&pool->nlanes) + 1;
    unsigned room = SL_RING - (sl_load_relaxed32(&lane->tail) - sl_load_acquire32(&lane->head));
    if (n > count)
        n = count;
    if (n > SL_RING / 2)
        n = SL_RING / 2;
    if (n > room + 1)
        n = room + 1;
    sl_tasklet *first = pool->global, *rest = NULL;
    for (uintptr_t i = 0; i < n; i++) {
        sl_tasklet *t = pool->global;
        pool->global = t->next;
        if (i == 0)
            continue;
        if (i == 1)
            rest = t;
    }
    if (!pool->global)
        pool->global_last = NULL;
    sl_store_relaxed(&pool->global_count, count - n);
    sl_lock_drop(&pool->lock);
    for (uintptr_t i = 1; i < n; i++) {
        sl_tasklet *next = rest->next;
        sl_ring_push(lane, rest);
        rest = next;
    }
    return n ? first : NULL;
}

bool sl_any_work(sl_pool *pool)
{
    if (sl_load_relaxed(&pool->global_count))
        return true;
    uintptr_t n = sl_load_acquire(&pool->made);
    for (uintptr_t i = 0; i < n; i++) {
        sl_lane *lane = pool->lanes[i];
        if (n > 1 && !sl_load_acquire32(&lane->shared))
            continue; /* its host sees to that, and says so when it is shared */
        if (!sl_ring_empty(lane) || !sl_fresh_empty(lane))
            return true;
    }
    return false;
}

/* ---- lanes and workers; lock held ---- */

void sl_lane_empty(sl_lane *lane)
{
    sl_tasklet *t = sl_swap_ptr(&lane->slot, NULL);
    while (t || (t = sl_ring_pop(lane)) || (t = sl_fresh_pop(lane))) {
        append_global(lane->pool, t, t, 1);
        t = NULL;
    }
}

void sl_lane_rest(sl_pool *pool, sl_lane *lane)
{
    lane->host = NULL;
    if (sl_load_relaxed32(&lane->retired)) {
        sl_lane_empty(lane);
        sl_store_relaxed(&pool->retiring, sl_load_relaxed(&pool->retiring) - 1);
        return;
    }
    if (sl_load_relaxed(&pool->nlanes) > 1)
        sl_store_release32(&lane->shared, 1);
    lane->next_idle = pool->idle;
    pool->idle = lane;
    sl_store_relaxed(&pool->idle_lanes, sl_load_relaxed(&pool->idle_lanes) + 1);
}

sl_lane *sl_lane_take_idle(sl_pool *pool)
{
    sl_lane *lane = pool->idle;
    if (!lane)
        return NULL;
    pool->idle = lane->next_idle;
    sl_store_relaxed(&pool->idle_lanes, sl_load_relaxed(&pool->idle_lanes) - 1);
    return lane;
}

static void stop_wanting(sl_pool *pool, sl_worker *w)
{
    w->wants = false;
    sl_store_relaxed(&pool->wanting, sl_load_relaxed(&pool->wanting) - 1);
}

static void drop_spare(sl_pool *pool, sl_worker *w)
{
    sl_worker **at = &pool->spares;
    while (*at != w)
        at = &(*at)->next_spare;
    *at = w->next_spare;
    w->spare = false;
}

void sl_host(sl_lane *lane, sl_worker *w)
{
    w->lane = lane;
    lane->host = w;
    if (w->spare)
        drop_spare(w->pool, w);
    if (w->wants)
        stop_wanting(w->pool, w);
}

void sl_rouse_monitor(sl_pool *pool)
{
    if (sl_load_relaxed32(&pool->monitor_sleeps))
        sl_unpark(&pool->monitor_parker);
}

/* After a refusal by the system nobody asks for a thread for so long, nanoseconds. */
static const int64_t THREAD_PAUSE = 100 * 1000 * 1000;

static sl_worker *make_worker(sl_pool *pool)
{
    if (pool->nworkers == pool->max_threads || sl_load_relaxed32(&pool->stop) ||
        (pool->refused_at && sl_now_coarse() - pool->refused_at < THREAD_PAUSE))
        return NULL;
    sl_worker *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->pool = pool;
    w->id = pool->nworkers;
    sl_parker_init(&w->parker);
    pool->workers[pool->nworkers++] = w;
    return w;
}

sl_worker *sl_find_spare(sl_pool *pool)
{
    sl_worker *w = pool->spares;
    if (w) {
        drop_spare(pool, w);
        return w;
    }
    w = make_worker(pool);
    if (!w && (w = sl_load_ptr(&pool->poller)) != NULL && w->lane)
        w = NULL; /* the last resort: it has something to wait for */
    return w;
}

/* Its thread could not be had.  What it was to run waits for those there are. */
static void unborn(sl_worker *w)
{
    sl_pool *pool = w->pool;
    sl_lock_take(&pool->lock);
    pool->refused_at = sl_now_coarse();
    unsigned i = 0;
    while (pool->workers[i] != w)
        i++;
    pool->workers[i] = pool->workers[--pool->nworkers];
    if (w->wants)
        stop_wanting(pool, w);
    if (w->lane)
        sl_lane_rest(pool, w->lane);
    sl_lock_drop(&pool->lock);
    if (w->searching && sl_add(&pool->searching, (uintptr_t)-1) == 1 && sl_any_work(pool))
        sl_offer_work(pool); /* who relied on this search has woken nobody */
    free(w);
}

void sl_wake_worker(sl_worker *w)
{
    sl_pool *pool = w->pool;
    sl_lock_take(&pool->lock);
    bool begins = !w->lives, polls = w->polls;
    w->lives = true;
    pool->unparks++;
    sl_lock_drop(&pool->lock);
    if (!begins) {
        if (polls)
            sl_netpoll_wake(pool->netpoll);
        sl_unpark(&w->parker);
    } else if (sl_thread_start(&w->thread, sl_worker_main, w, NULL) < 0) {
        unborn(w);
    }
    sl_rouse_monitor(pool);
}

int sl_first_worker(sl_pool *pool)
{
    sl_worker *w = make_worker(pool);
    if (!w)
        return SL_ENOMEM;
    w->lives = true;
    int rc = sl_thread_start(&w->thread, sl_worker_main, w, NULL);
    w->lives = rc == 0;
    return rc;
}

void sl_wake_one(sl_pool *pool)
{
    if (!sl_cas(&pool->searching, 0, 1))
        return;
    sl_lock_take(&pool->lock);
    sl_worker *w = pool->idle && !sl_load_relaxed32(&pool->stop) ? sl_find_spare(pool) : NULL;
    if (w) {
        sl_host(sl_lane_take_idle(pool), w);
        w->searching = true;
    } else {
        /* With the lock: others have woken nobody because of this search, and whoever
         * lies down after this section looks at what they published. */
        sl_add(&pool->searching, (uintptr_t)-1);
    }
    sl_lock_drop(&pool->lock);
    if (w)
        sl_wake_worker(w);
}

/* Lock held.  Only one that lies down is given a lane by others: who is up and about
 * reads w->lane without the lock, and looks for work of its own before it sleeps. */
static bool lies(const sl_worker *w)
{
    return w->spare || sl_load_ptr(&w->pool->poller) == w;
}

void sl_call_home(sl_worker *w)
{
    sl_pool *pool = w->pool;
    bool wake = false;
    sl_lock_take(&pool->lock);
    pool->reported = false;
    if (w->lane) {
        sl_store_relaxed32(&w->lane->attention, 1);
    } else if (!w->blocked) {
        /* Also if it wants one already: that may be from a call that came late, when the
         * work was done, and since then all lanes may have gone to rest. */
        sl_lane *lane = lies(w) ? sl_lane_take_idle(pool) : NULL;
        if (lane) {
            sl_host(lane, w);
            wake = true;
        } else {
            if (!w->wants)
                sl_store_relaxed(&pool->wanting, sl_load_relaxed(&pool->wanting) + 1);
            w->wants = true;
            for (uintptr_t i = 0; i < sl_load_relaxed(&pool->nlanes); i++)
                sl_store_relaxed32(&pool->lanes[i]->attention, 1);
        }
    }
    sl_lock_drop(&pool->lock);
    if (wake)
        sl_wake_worker(w);
}

/* ---- a worker without work ---- */

static sl_worker *who_wants(sl_pool *pool)
{
    for (unsigned i = 0; i < pool->nworkers; i++)
        if (pool->workers[i]->wants && !pool->workers[i]->lane && lies(pool->workers[i]))
            return pool->workers[i];
    return NULL;
}

/* Lock held.  The lane goes to who wants one, or rests.  Returns whom to wake. */
sl_worker *sl_give_up_lane(sl_worker *w)
{
    sl_pool *pool = w->pool;
    sl_lane *lane = w->lane;
    sl_worker *wants = sl_load_relaxed(&pool->wanting) && !sl_load_relaxed32(&lane->retired) ? who_wants(pool) : NULL;
    w->lane = NULL;
    w->leaves = false;
    if (!wants || wants == w) {
        sl_lane_rest(pool, lane);
        return NULL;
    }
    sl_host(lane, wants);
    return wants;
}

/* Work has been seen: a lane for it, if one rests. */
bool sl_get_lane(sl_worker *w)
{
    sl_pool *pool = w->pool;
    sl_lock_take(&pool->lock);
    if (!w->lane) {
        sl_lane *lane = sl_lane_take_idle(pool);
        if (lane)
            sl_host(lane, w);
    }
    bool has = w->lane != NULL;
    sl_lock_drop(&pool->lock);
    if (has)
        sl_rouse_monitor(pool);
    return has;
}

static bool timer_due(sl_pool *pool)
{
    int64_t earliest = sl_earliest(pool);
    return earliest != SL_NEVER && (pool->config.seed || earliest <= sl_now());
}

/* A timer is due and all lanes are busy: look again so often, nanoseconds. */
static const int64_t OVERDUE_LOOK = 1000 * 1000;

/* Lock held.  Until when a worker without a lane may sleep as the poller, `earliest`
 * being the next timer: one that is due while no lane rests is seen to by the hosts. */
static int64_t poll_deadline(sl_pool *pool, int64_t earliest)
{
    int64_t now;
    if (earliest == SL_NEVER || earliest > (now = sl_now()))
        return earliest;
    for (uintptr_t i = 0; i < sl_load_relaxed(&pool->nlanes); i++)
        sl_store_relaxed32(&pool->lanes[i]->attention, 1);
    return now + OVERDUE_LOOK;
}

/* Lock held.  From here on others may give `w` a lane.  True: it is the poller. */
static bool lie_down(sl_worker *w)
{
    sl_pool *pool = w->pool;
    bool polls = sl_load_acquire(&pool->net_waits) != 0;
    if (!pool->config.seed && !sl_load_ptr(&pool->poller) && (polls || sl_earliest(pool) != SL_NEVER)) {
        sl_store_ptr(&pool->poller, w);
        w->polls = polls;
        return true;
    }
    w->spare = true;
    w->next_spare = pool->spares;
    pool->spares = w;
    return false;
}

static void get_up(sl_worker *w, bool leads)
{
    sl_pool *pool = w->pool;
    sl_lock_take(&pool->lock);
    if (leads) {
        sl_store_ptr(&pool->poller, NULL);
        w->polls = false;
        sl_store_relaxed(&pool->poll_until, (uintptr_t)SL_NEVER);
    }
    if (w->spare)
        drop_spare(pool, w);
    sl_lock_drop(&pool->lock);
}

static void sleep_without_lane(sl_worker *w, bool leads)
{
    sl_pool *pool = w->pool;
    if (!leads) {
        sl_pool_settle(pool);
        sl_park(&w->parker, SL_NEVER);
        return;
    }
    sl_lock_take(&pool->lock);
    int64_t earliest = sl_earliest(pool), until = poll_deadline(pool, earliest);
    sl_lock_drop(&pool->lock);
    sl_sleep_as_poller(w, earliest, until);
}

/* Gives up the lane, if there is one, and everything else that others may take
 * for a promise to look for work.  Says whether the worker is the poller now. */
static bool let_go(sl_worker *w)
{
    sl_pool *pool = w->pool;
    sl_worker *wake = NULL;
    sl_lock_take(&pool->lock);
    if (w->lane)
        wake = sl_give_up_lane(w);
    bool searched = w->searching;
    w->searching = false; /* before others can find it: sl_wake_one() sets it */
    bool leads = lie_down(w);
    sl_lock_drop(&pool->lock);
    if (searched)
        sl_add(&pool->searching, (uintptr_t)-1);
    if (wake)
        sl_wake_worker(wake);
    return leads;
}

static bool has_own(sl_worker *w)
{
    return w->mine || sl_load_relaxed(&w->inbox);
}

bool sl_go_idle(sl_worker *w)
{
    sl_pool *pool = w->pool;
    if (w->lane) {
        sl_count(&w->lane->parks, 1);
        if (w->leaves && !sl_load_relaxed(&pool->wanting) && !sl_load_relaxed32(&w->lane->retired)) {
            w->leaves = false; /* somebody else was quicker */
            return true;
        }
    }
    bool leads = let_go(w);
    sl_fence(); /* the lane rests, nobody searches, we can be woken: now look once more */
    bool found = (sl_any_work(pool) || has_own(w) || timer_due(pool)) && sl_get_lane(w);
    bool ends = !found && sl_load_acquire32(&pool->stop);
    if (!found && !ends) {
        if (has_own(w))
            sl_call_home(w);
        sleep_without_lane(w, leads);
    }
    get_up(w, leads);
    return !ends;
}
