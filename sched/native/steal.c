/* SPDX-License-Identifier: MIT
 *
 * Stealing: when a worker whose lane is empty goes looking, and from whom it takes
 * first.  What it takes, and how: ring.c.
 *
 * From whom.  A tasklet brings what it works on along through the caches that both lanes'
 * processors share, so thieves go from the nearest lanes to the farthest.  Which
 * those are is known where each lane has a place of its own (STACKLESS_AFFINITY): the
 * place's distance in the machine's tree of caches, packages and memory.  Without an affinity
 * the kernel moves the threads as it likes, a lane is nowhere, and all are equally far.
 * Among lanes that are equally far each search begins at a random one, so that
 * thieves do not all go to the same.
 */
#include "engine.h"

#include <time.h>

#include "../../core/places.h"

/* How often a searcher goes round all lanes before it gives up. */
enum { SEARCH_PASSES = 4 };

/* Tasklets that wake each other with next to no work in between run faster on
 * one lane: one that is stolen brings its cache misses along, and soon the rest is
 * stolen back.  A steal was for crumbs when all of it was used up within
 * CRUMBS_LAST and a turn took less than CRUMB, nanoseconds. */
static const int64_t CRUMBS_LAST = 50000, CRUMB = 2000;
enum { CRUMBS_MOST = 3 };
/* After some such steals in a row the thief naps before each search.  It stays a searcher:
 * work put meanwhile wakes nobody and waits for the end of the nap at the worst. */
static const long NAP = 50000;

static void judge_loot(sl_lane *lane)
{
    if (!lane->looted)
        return;
    int64_t lasted = sl_now() - lane->looted;
    uintptr_t turns = sl_load_relaxed(&lane->turn) - lane->looted_turn;
    lane->looted = 0;
    if (lasted > CRUMBS_LAST || lasted > (int64_t)turns * CRUMB)
        lane->crumbs = 0;
    else
        lane->crumbs++;
    if (lane->crumbs >= CRUMBS_MOST) {
        struct timespec nap = {0, NAP};
        nanosleep(&nap, NULL);
    }
}

void sl_order_victims(sl_lane *lane, unsigned made)
{
    const struct sl_places *places = lane->pool->places;
    sl_victims *v = &lane->victims;
    unsigned n = 0;
    v->lanes = made;
    v->levels = 0;
    for (unsigned distance = 0; n < made - 1; distance++) {
        unsigned before = n;
        for (unsigned i = 0; i < made; i++)
            if (i != lane->id && (places ? sl_places_distance(places, lane->id, i) : 0) == distance)
                v->lane[n++] = (uint16_t)i;
        if (n > before)
            v->ends[v->levels++] = (uint16_t)n;
    }
}

static sl_tasklet *rob(sl_worker *w, bool slot_too)
{
    const sl_victims *v = &w->lane->victims;
    for (unsigned level = 0, first = 0; level < v->levels; first = v->ends[level++]) {
        unsigned n = v->ends[level] - first, start = sl_random() % n;
        for (unsigned i = 0; i < n; i++) {
            sl_lane *from = w->pool->lanes[v->lane[first + (start + i) % n]];
            sl_tasklet *t = sl_ring_steal(from, w->lane, slot_too);
            if (t)
                return t;
        }
    }
    return NULL;
}

/* Not too many at once: at most half as many as there are busy lanes. */
static bool begin_search(sl_worker *w)
{
    sl_pool *pool = w->pool;
    if (w->searching)
        return true;
    uintptr_t busy = sl_load_relaxed(&pool->nlanes) - sl_load_relaxed(&pool->idle_lanes);
    if (2 * sl_load_relaxed(&pool->searching) >= busy)
        return false;
    w->searching = true;
    sl_add(&pool->searching, 1);
    return true;
}

sl_tasklet *sl_steal(sl_worker *w)
{
    sl_lane *lane = w->lane;
    unsigned n = (unsigned)sl_load_acquire(&w->pool->made); /* retired ones too: their hosts may go on computing */
    if (n == 1 || !begin_search(w))
        return NULL;
    if (lane->victims.lanes != n)
        sl_order_victims(lane, n);
    judge_loot(lane);
    for (int pass = 1; pass <= SEARCH_PASSES; pass++) {
        sl_tasklet *t = rob(w, pass == SEARCH_PASSES);
        if (t) {
            lane->looted = sl_now();
            lane->looted_turn = sl_load_relaxed(&lane->turn);
            return t;
        }
        for (int i = 0; i < 32; i++)
            sl_cpu_pause();
    }
    return NULL;
}
