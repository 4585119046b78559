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

#include "../core/threadstat.h"

/* How long nothing but main runs on its thread after something has blocked
 * there.  Chosen by feel: programs that block do it again, and one that keeps
 * main's thread keeps main; but a program may also have become another. */
static const int64_t SHY_FOR = (int64_t)60 * 1000 * 1000 * 1000;

static void host(sl_lane *lane, sl_worker *w)
{
    w->lane = lane;
    sl_store_ptr_release(&lane->host, w); /* the monitor follows it */
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
    if (sl_load_relaxed32(&pool->stop))
        return NULL; /* they would not stay */
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

bool sl_host_sleeps(sl_worker *h, int64_t ns)
{
    sl_pool *pool = h->pool;
    int64_t at = (int64_t)sl_load_acquire(&pool->asleep.at);
    long long sleeps = (long long)sl_load_acquire(&pool->asleep.sleeps);
    if (!at || sl_now() - at < ns || sl_load_acquire(&pool->asleep.turn) != sl_load_relaxed(&pool->lane->turn))
        return false;
    return sl_thread_asleep((unsigned)sl_load_relaxed32(&h->tid)) == sleeps &&
           (int64_t)sl_load_acquire(&pool->asleep.at) == at;
}

/* How long the guard must have been free, nanoseconds: more than it takes a
 * thread that waits for it to wake up and get it. */
static const int64_t FREE_FOR = 100 * 1000, FREE_AFTER_TAKEN = 2 * 1000 * 1000;

/* A guard found free once proves little: the thread that had it may have
 * dropped it that moment - a spare does, when it has been refused - and the
 * host be on its way to it.  Had it been waiting it would have it by the next
 * look, or somebody else would. */
static bool guard_is_free(sl_pool *pool, uintptr_t turn, bool waited)
{
    int64_t now = sl_now();
    if (now < pool->contended_until)
        return false;
    if (waited) {
        pool->taken_turn = turn;
        pool->free_since = 0;
        return false;
    }
    if (!pool->free_since || pool->free_turn != turn) {
        pool->free_since = now;
        pool->free_turn = turn;
        return false;
    }
    return now - pool->free_since >= (pool->taken_turn == turn ? FREE_AFTER_TAKEN : FREE_FOR);
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
        !lane->env->away(h, sl_load_ptr(&h->on)) ||
        (lane->env->may_hand_off && !lane->env->may_hand_off(lane, t))) {
        pool->free_since = 0;
        pool->refused++;
        return false;
    }
    if (!guard_is_free(pool, sl_load_relaxed(&lane->turn), waited) &&
        !(lane->env->surely_blocked && lane->env->surely_blocked(h))) {
        pool->refused += waited;
        return false;
    }
    pool->free_since = 0;
    if (t->place == SL_IN_RING)
        sl_lane_unlink(lane, t);
    t->place = SL_STRAY;
    if (h == lane->owner && t->home != h)
        lane->shy_until = sl_now() + SHY_FOR;
    sl_store_relaxed(&lane->strays, sl_load_relaxed(&lane->strays) + 1);
    h->lane = NULL;
    host(lane, w);
    pool->handoffs++;
    return true;
}
