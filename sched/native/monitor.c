/* SPDX-License-Identifier: MIT
 *
 * The native pool's monitor: what no scheduling point notices.
 *
 *  - timers or descriptors are due while the hosts are busy;
 *  - a tasklet waits in the slot of a host that goes on computing, or in a
 *    ring, while lanes rest;
 *  - the time slice is over (STACKLESS_TIMESLICE);
 *  - there are more free stacks than have been needed for a while.
 *
 * Time slices.  A tasklet whose slice is over makes room at its next scheduling point
 * (`hurry`).  If it does not come to one, its lane cannot be taken from it:
 * it uses it without a lock.  Instead there is another lane for as long as it goes
 * on, and that one's host steals everything from the first, as thieves do: to
 * the others it is as if the lane had been handed on, and the tasklet had become a stray.
 *
 * It is started with the first timer, descriptor wait, second lane, time
 * slice or surplus of stacks, and sleeps while every lane rests and there is no surplus: monitor_sleeps is stored, full
 * barrier, then the lanes are counted once more; who takes a lane (under the
 * pool's lock) or wakes the one he gave it to reads monitor_sleeps afterwards.
 */
#include "engine.h"

#include <stdlib.h>
#include <sys/prctl.h>

#include "../../core/places.h"

/* Nanoseconds. */
static const int64_t PERIOD_MIN = 100 * 1000, PERIOD_MAX = 1000 * 1000, PERIOD_ALL_BUSY = 10 * 1000 * 1000;
static const int64_t QUIET_AFTER = 5 * 1000 * 1000;
static const int64_t OVERDUE = 100 * 1000;
static const int64_t UNUSED_FOR = 500 * 1000 * 1000;

/* Stacks that it gives back at a time; a millisecond or so. */
enum { GIVEN_BACK = 512 };

typedef struct seen {
    uintptr_t turn;
    int64_t since;
} seen;

/* Retired lanes whose hosts compute included. */
static bool all_rest(sl_pool *pool)
{
    return sl_load_acquire(&pool->nlanes) == sl_load_relaxed(&pool->idle_lanes) && !sl_load_relaxed(&pool->retiring);
}

/* Somebody waits on this lane although its host has not switched since the last look. */
static bool stuck(sl_lane *lane, seen *last, int64_t now)
{
    uintptr_t turn = sl_load_relaxed(&lane->turn);
    if (turn != last->turn) {
        *last = (seen){turn, now};
        return false;
    }
    return sl_load_relaxed(&lane->slot) || !sl_ring_empty(lane) || !sl_fresh_empty(lane);
}

static bool look_at_lanes(sl_pool *pool, seen *last, int64_t now)
{
    bool found = false;
    uintptr_t n = sl_load_acquire(&pool->made); /* what waits in a retired one, thieves can have */
    for (uintptr_t i = 0; i < n; i++) {
        sl_lane *lane = pool->lanes[i];
        bool waits = stuck(lane, &last[i], now);
        found |= waits;
        if (waits && pool->config.timeslice_ns && now - last[i].since >= pool->config.timeslice_ns)
            sl_store_relaxed32(&lane->hurry, 1);
    }
    return found;
}

/* Time slices: as many lanes beside those wanted as are kept.  More only when
 * somebody waits and no lane rests; fewer at once. */
static void make_up(sl_pool *pool, seen *last, int64_t now, bool wanted)
{
    unsigned kept = 0;
    sl_lock_take(&pool->lock);
    for (uintptr_t i = 0; i < sl_load_relaxed(&pool->nlanes); i++) {
        if (!pool->lanes[i]->host)
            last[i].since = now; /* who hosts it next has kept it for no time yet */
        kept += sl_load_relaxed(&pool->lanes[i]->turn) == last[i].turn &&
                now - last[i].since >= pool->config.timeslice_ns;
    }
    if (kept < pool->lanes_kept || (kept > pool->lanes_kept && wanted && !pool->idle))
        sl_pool_make_up(pool, kept);
    sl_lock_drop(&pool->lock);
}

static bool clock_due(sl_pool *pool, int64_t now, int64_t *polled)
{
    bool due = sl_earliest(pool) < now - OVERDUE;
    if (sl_load_relaxed(&pool->net_waits) && !sl_load_ptr(&pool->poller) &&
        now - *polled > PERIOD_ALL_BUSY) {
        *polled = now;
        due = true;
    }
    return due;
}

/* Stacks that were not needed for so long go back to the system; are there more to go? */
static bool give_back(sl_pool *pool, int64_t now, int64_t *asked, unsigned *unused)
{
    if (!sl_load_relaxed32(&pool->surplus))
        return false;
    if (now - *asked >= UNUSED_FOR) {
        *asked = now;
        *unused = sl_records_unused(pool);
    }
    if (*unused) {
        unsigned most = *unused < GIVEN_BACK ? *unused : GIVEN_BACK;
        *unused = sl_records_give_back(pool, most) == most ? *unused - most : 0;
    }
    return *unused != 0;
}

static void sleep_while_all_rest(sl_pool *pool)
{
    sl_store_relaxed32(&pool->monitor_sleeps, 1);
    sl_fence();
    while (all_rest(pool) && !sl_load_relaxed32(&pool->surplus) && !sl_load_acquire32(&pool->stop))
        sl_park(&pool->monitor_parker, SL_NEVER);
    sl_store_relaxed32(&pool->monitor_sleeps, 0);
}

void *sl_monitor_main(void *arg)
{
    sl_pool *pool = arg;
    seen *last = calloc(pool->max_lanes, sizeof *last);
    int64_t period = PERIOD_MIN, busy_at = sl_now(), polled = 0, asked = 0;
    unsigned unused = 0;
    for (unsigned i = 0; last && i < pool->max_lanes; i++)
        last[i].since = busy_at;
    prctl(PR_SET_NAME, "sl-monitor");
    prctl(PR_SET_TIMERSLACK, 1000UL);
    if (pool->places)
        sl_place_unbind(pool->places); /* who started it may be bound */
    while (last && !sl_load_acquire32(&pool->stop)) {
        int64_t now = sl_now();
        bool late = clock_due(pool, now, &polled), found = look_at_lanes(pool, last, now) || late;
        if (pool->config.timeslice_ns) {
            found |= sl_load_relaxed(&pool->global_count) != 0;
            make_up(pool, last, now, found);
        }
        bool rest = sl_load_relaxed(&pool->idle_lanes) != 0;
        if (found && rest)
            sl_offer_work(pool);
        else if (late)
            for (uintptr_t i = 0; i < sl_load_relaxed(&pool->nlanes); i++)
                sl_store_relaxed32(&pool->lanes[i]->attention, 1);
        int64_t longest = rest ? PERIOD_MAX : PERIOD_ALL_BUSY;
        if (pool->config.timeslice_ns && pool->config.timeslice_ns < longest)
            longest = pool->config.timeslice_ns;
        period = give_back(pool, now, &asked, &unused) || found ? PERIOD_MIN : 2 * period < longest ? 2 * period : longest;
        if (!all_rest(pool) || sl_load_relaxed32(&pool->surplus))
            busy_at = now;
        if (now - busy_at > QUIET_AFTER) {
            sleep_while_all_rest(pool);
            period = PERIOD_MIN;
            busy_at = sl_now();
            continue;
        }
        sl_park(&pool->monitor_parker, sl_now() + period);
    }
    free(last);
    return NULL;
}

void sl_monitor_watch(sl_pool *pool)
{
    if (sl_load_relaxed32(&pool->monitored) || pool->config.seed)
        return;
    sl_lock_take(&pool->lock);
    bool starts = !sl_load_relaxed32(&pool->monitored) && !sl_load_relaxed32(&pool->stop);
    if (starts) {
        bool made = sl_thread_start(&pool->monitor, sl_monitor_main, pool, NULL) == 0;
        pool->monitor_lives |= made;
        sl_store_relaxed32(&pool->monitored, 1); /* also if not: the hosts look by themselves */
    }
    sl_lock_drop(&pool->lock);
}
