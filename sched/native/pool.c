/* SPDX-License-Identifier: MIT
 *
 * A pool's life: configuration, creation, waiting for its end, resizing,
 * destruction.
 */
#include "engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../core/cpus.h"
#include "../../core/futex.h"
#include "../../core/places.h"

enum { THREADS_MAX = 8192, THREADS_BESIDE = 64 };

static _Thread_local char explanation[160];

const char *sl_pool_explain(void)
{
    return explanation;
}

static int refuse(const char *name, const char *value, const char *allowed)
{
    snprintf(explanation, sizeof explanation, "%s is %.40s; allowed: %s", name, value, allowed);
    return SL_EINVAL;
}

/* ---- configuration ---- */

/* Sets `*value` to the variable's number, unless it is unset or empty. */
static int from_environment(const char *name, uint64_t least, uint64_t most, const char *allowed, uint64_t *value)
{
    const char *text = getenv(name);
    if (!text || !*text)
        return 0;
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (strcmp(name, "STACKLESS_STACK_SIZE") == 0 && (*end == 'K' || *end == 'M') && v <= most)
        v <<= *end++ == 'K' ? 10 : 20;
    if (*end || *text < '0' || *text > '9' || errno || v < least || v > most)
        return refuse(name, text, allowed);
    *value = v;
    return 0;
}

static int affinity_from_environment(enum sl_affinity *value)
{
    static const char *const names[] = {"none", "core", "cache"};
    const char *text = getenv("STACKLESS_AFFINITY");
    if (!text || !*text)
        return 0;
    for (int i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0) {
            *value = (enum sl_affinity)i;
            return 0;
        }
    return refuse("STACKLESS_AFFINITY", text, "none, core, cache");
}

static int check(const char *name, uint64_t value, uint64_t least, uint64_t most)
{
    if (value >= least && value <= most)
        return 0;
    char text[32], allowed[64];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    snprintf(allowed, sizeof allowed, "%llu to %llu", (unsigned long long)least, (unsigned long long)most);
    return refuse(name, text, allowed);
}

static int configure(sl_pool_config *c)
{
    uint64_t lanes = c->lanes, stack = c->stack_size, slice = (uint64_t)c->timeslice_ns, seed = c->seed;
    int rc = 0;
    if (c->timeslice_ns < 0)
        return refuse("timeslice_ns", "negative", "0 (never) or nanoseconds");
    if (!lanes)
        rc = from_environment("STACKLESS_THREADS", 1, SL_LANES_MAX, "1 to 1024", &lanes);
    if (rc == 0 && !stack)
        rc = from_environment("STACKLESS_STACK_SIZE", SL_STACK_MIN, SL_POOL_STACK_MAX, "64K to 64M", &stack);
    if (rc == 0 && !slice) {
        rc = from_environment("STACKLESS_TIMESLICE", 0, 60000, "milliseconds, 0 to 60000", &slice);
        slice *= 1000000;
    }
    if (rc == 0 && !seed)
        rc = from_environment("STACKLESS_SEED", 0, UINT64_MAX, "0 to 18446744073709551615", &seed);
    if (rc == 0 && !c->affinity)
        rc = affinity_from_environment(&c->affinity);
    if (rc < 0)
        return rc;
    if (seed)
        lanes = 1;
    c->lanes = lanes ? (unsigned)lanes : (unsigned)sl_cpu_count();
    if (!lanes && c->threads && c->lanes > c->threads)
        c->lanes = c->threads;
    c->stack_size = stack ? stack : SL_STACK_MIN;
    c->timeslice_ns = (int64_t)slice;
    c->seed = seed;
    if (!c->threads)
        c->threads = seed ? 1 : c->lanes + THREADS_BESIDE;
    if ((rc = check("lanes", c->lanes, 1, SL_LANES_MAX)) < 0 ||
        (rc = check("threads", c->threads, c->lanes, THREADS_MAX)) < 0 ||
        (rc = check("stack_size", c->stack_size, SL_POOL_STACK_MIN, SL_POOL_STACK_MAX)) < 0 ||
        (rc = check("affinity", (uint64_t)c->affinity, 0, SL_AFFINITY_CACHE)) < 0)
        return rc;
    return 0;
}

/* ---- making and unmaking ---- */

sl_lane *sl_lane_create(sl_pool *pool, unsigned id)
{
    sl_lane *lane = aligned_alloc(SL_LINE, sizeof *lane);
    if (!lane)
        return NULL;
    memset(lane, 0, sizeof *lane);
    lane->id = id;
    lane->pool = pool;
    lane->random = (0x9e3779b97f4a7c15u * (id + 1)) | 1;
    sl_store_relaxed32(&lane->shared, 1);
    sl_lock_init(&lane->timer_lock);
    sl_timers_init(&lane->timers);
    return lane;
}

static void free_pool(sl_pool *pool)
{
    for (unsigned i = 0; pool->lanes && i < pool->max_lanes; i++)
        if (pool->lanes[i]) {
            sl_timers_free(&pool->lanes[i]->timers);
            free(pool->lanes[i]);
        }
    for (unsigned i = 0; i < pool->nworkers; i++)
        free(pool->workers[i]);
    sl_records_free(pool);
    if (pool->stacks)
        sl_stack_pool_destroy(pool->stacks);
    if (pool->netpoll)
        sl_netpoll_destroy(pool->netpoll);
    sl_places_destroy(pool->places);
    free(pool->lanes);
    free(pool->workers);
    free(pool);
}

static int build(sl_pool *pool)
{
    unsigned lanes = pool->config.lanes;
    pool->max_lanes = pool->config.seed ? 1 : SL_LANES_MAX;
    pool->max_threads = pool->config.threads;
    pool->lanes = calloc(pool->max_lanes, sizeof *pool->lanes);
    pool->workers = calloc(pool->max_threads, sizeof *pool->workers);
    if (!pool->lanes || !pool->workers)
        return SL_ENOMEM;
    sl_lock_init(&pool->lock);
    sl_lock_init(&pool->net_lock);
    sl_parker_init(&pool->monitor_parker);
    sl_store_relaxed(&pool->poll_until, (uintptr_t)SL_NEVER);
    pool->random = pool->config.seed;
    for (unsigned i = 0; i < lanes; i++) {
        if (!(pool->lanes[i] = sl_lane_create(pool, i)))
            return SL_ENOMEM;
        sl_store_relaxed32(&pool->lanes[i]->shared, lanes > 1 || pool->config.timeslice_ns);
    }
    sl_store_release(&pool->made, lanes);
    sl_store_release(&pool->nlanes, lanes);
    pool->lanes_wanted = lanes;
    for (unsigned i = lanes; i > 0; i--)
        sl_lane_rest(pool, pool->lanes[i - 1]);
    if (pool->config.affinity != SL_AFFINITY_NONE) {
        bool cores = pool->config.affinity == SL_AFFINITY_CORE;
        int rc = sl_places_create(&pool->places, cores ? SL_PLACES_CORES : SL_PLACES_CACHES);
        if (rc < 0)
            return rc;
    }
    return sl_stack_pool_create(&pool->stacks, pool->config.stack_size);
}

int sl_pool_create(sl_pool **out, const sl_pool_config *config)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, sl_wait_setup);
    explanation[0] = '\0';
    if (!out)
        return SL_EINVAL;
    *out = NULL;
    int rc = sl_context_supported();
    sl_pool *pool = rc < 0 ? NULL : calloc(1, sizeof *pool);
    if (!pool)
        return rc < 0 ? rc : SL_ENOMEM;
    if (config)
        pool->config = *config;
    if ((rc = configure(&pool->config)) == 0)
        rc = build(pool);
    if (rc == 0)
        rc = sl_first_worker(pool);
    if (rc < 0) {
        if (rc == SL_ETHREAD)
            snprintf(explanation, sizeof explanation, "the system refused the first thread of the pool");
        free_pool(pool);
        return rc;
    }
    if (pool->config.lanes > 1 || pool->config.timeslice_ns)
        sl_monitor_watch(pool);
    *out = pool;
    return 0;
}

/* ---- the end of all tasklets ---- */

uint64_t sl_pool_alive(sl_pool *pool)
{
    uint64_t spawned = pool->spawned, finished = 0;
    for (unsigned i = 0; i < pool->max_lanes; i++)
        if (pool->lanes[i]) {
            spawned += sl_load_relaxed(&pool->lanes[i]->spawned);
            finished += sl_load_relaxed(&pool->lanes[i]->finished);
        }
    return spawned - finished;
}

/* Lock held.  A worker may have gone to rest and not yet seen what has come for it alone. */
bool sl_pool_all_quiet(sl_pool *pool)
{
    return sl_load_relaxed(&pool->idle_lanes) == sl_load_relaxed(&pool->nlanes) && !sl_load_relaxed(&pool->retiring) && !pool->blocking &&
           !sl_load_relaxed(&pool->pinned_ready) && !sl_load_relaxed(&pool->global_count) && !sl_load_relaxed(&pool->searching) && !sl_any_work(pool);
}

/* Nothing runs: tells who waits for that, and reports a deadlock: tasklets are
 * left, and nothing will ever wake them but an OS thread that itself waits. */
void sl_pool_settle(sl_pool *pool)
{
    sl_lock_take(&pool->lock);
    bool quiet = sl_pool_all_quiet(pool);
    bool dead = quiet && pool->outside && !pool->reported && sl_pool_alive(pool) && sl_earliest(pool) == SL_NEVER &&
                !sl_load_relaxed(&pool->net_waits) && !sl_load_relaxed32(&pool->closing);
    if (dead)
        pool->reported = true;
    if (quiet) {
        sl_add32(&pool->quiet, 1);
        if (pool->outside)
            sl_futex_wake_all(&pool->quiet);
    }
    sl_lock_drop(&pool->lock);
    if (dead)
        sl_report_deadlock(pool);
}

void sl_pool_outside(sl_pool *pool, int change)
{
    sl_lock_take(&pool->lock);
    pool->outside += (unsigned)change;
    sl_lock_drop(&pool->lock);
    if (change > 0)
        sl_pool_settle(pool); /* all may have been quiet for long */
}

void sl_pool_guest(sl_pool *pool, int change)
{
    sl_lock_take(&pool->lock);
    pool->guests += (unsigned)change;
    if (change < 0 && sl_load_relaxed32(&pool->closing)) {
        sl_add32(&pool->quiet, 1);
        sl_futex_wake_all(&pool->quiet);
    }
    sl_lock_drop(&pool->lock);
}

static bool ended(sl_pool *pool, unsigned *seen)
{
    sl_lock_take(&pool->lock);
    *seen = sl_load_relaxed32(&pool->quiet);
    bool yes = sl_pool_all_quiet(pool) && sl_pool_alive(pool) == 0;
    sl_lock_drop(&pool->lock);
    return yes;
}

int sl_pool_wait(sl_pool *pool)
{
    sl_worker *w = sl_worker_self();
    unsigned seen;
    if (!pool)
        return SL_EINVAL;
    if (w && w->pool == pool)
        return SL_EDEADLK;
    sl_pool_guest(pool, 1);
    sl_pool_outside(pool, 1);
    while (!ended(pool, &seen))
        sl_futex_wait(&pool->quiet, seen, SL_NEVER);
    sl_pool_outside(pool, -1);
    sl_pool_guest(pool, -1);
    return 0;
}

/* ... and nobody else waits for that any more. */
static bool deserted(sl_pool *pool, unsigned *seen)
{
    bool yes = ended(pool, seen);
    sl_lock_take(&pool->lock);
    yes = yes && !pool->guests;
    sl_lock_drop(&pool->lock);
    return yes;
}

static void cancel_each(sl_tasklet *t, void *unused)
{
    (void)unused;
    sl_cancel_one(t);
}

int sl_pool_destroy(sl_pool *pool)
{
    sl_worker *self = sl_worker_self();
    unsigned seen;
    if (!pool)
        return SL_EINVAL;
    if (self && self->pool == pool)
        return SL_EDEADLK;
    sl_store_release32(&pool->closing, 1);
    sl_pool_outside(pool, 1);
    do
        sl_each_tasklet(pool, cancel_each, NULL);
    while (!deserted(pool, &seen) && (sl_futex_wait(&pool->quiet, seen, sl_now() + 50 * 1000 * 1000), true) &&
           !deserted(pool, &seen));
    sl_lock_take(&pool->lock);
    sl_store_release32(&pool->stop, 1);
    sl_lock_drop(&pool->lock);
    for (unsigned i = 0; i < pool->nworkers; i++) {
        sl_worker *w = pool->workers[i];
        sl_unpark(&w->parker);
        if (sl_load_acquire(&pool->net_ready))
            sl_netpoll_wake(pool->netpoll);
        if (w->lives)
            pthread_join(w->thread, NULL);
    }
    sl_unpark(&pool->monitor_parker);
    if (pool->monitor_lives)
        pthread_join(pool->monitor, NULL);
    free_pool(pool);
    return 0;
}

/* ---- resizing ---- */

/* Lock held.  A lone lane does without atomic instructions; from now on others
 * will take from it: as soon as its host has come to know. */
static void share(sl_lane *lane)
{
    if (!lane->host)
        sl_store_release32(&lane->shared, 1);
    else
        sl_store_relaxed32(&lane->attention, 1);
}

/* Lock held. */
static int grow(sl_pool *pool, unsigned lanes)
{
    for (unsigned i = (unsigned)sl_load_relaxed(&pool->nlanes); i < lanes; i++) {
        sl_lane *lane = pool->lanes[i];
        if (!lane && !(lane = pool->lanes[i] = sl_lane_create(pool, i)))
            return SL_ENOMEM;
        sl_store_relaxed32(&lane->retired, 0);
        if (!lane->host)
            sl_lane_rest(pool, lane);
        if (i >= sl_load_relaxed(&pool->made))
            sl_store_release(&pool->made, i + 1);
        sl_store_release(&pool->nlanes, i + 1);
        if (lane->host) /* it has not been given up yet; after nlanes: the monitor is not to see all at rest */
            sl_store_relaxed(&pool->retiring, sl_load_relaxed(&pool->retiring) - 1);
    }
    share(pool->lanes[0]);
    return 0;
}

/* Lock held. */
static void shrink(sl_pool *pool, unsigned lanes)
{
    unsigned n = (unsigned)sl_load_relaxed(&pool->nlanes);
    for (unsigned i = lanes; i < n; i++) {
        sl_lane *lane = pool->lanes[i], **at = &pool->idle;
        sl_store_relaxed32(&lane->retired, 1);
        sl_store_relaxed32(&lane->attention, 1);
        while (*at && *at != lane)
            at = &(*at)->next_idle;
        if (*at) {
            *at = lane->next_idle;
            sl_lane_empty(lane);
            sl_store_relaxed(&pool->idle_lanes, sl_load_relaxed(&pool->idle_lanes) - 1);
        } else {
            sl_store_relaxed(&pool->retiring, sl_load_relaxed(&pool->retiring) + 1);
        }
    }
    sl_store_release(&pool->nlanes, lanes);
}

/* Lock held.  All lanes there are to be: those wanted, and those for the ones kept. */
static int set_lanes(sl_pool *pool)
{
    unsigned lanes = pool->lanes_wanted + pool->lanes_kept;
    if (lanes > SL_LANES_MAX)
        lanes = SL_LANES_MAX;
    if (lanes > sl_load_relaxed(&pool->nlanes))
        return grow(pool, lanes);
    shrink(pool, lanes);
    return 0;
}

void sl_pool_make_up(sl_pool *pool, unsigned kept)
{
    pool->lanes_kept = kept;
    set_lanes(pool); /* without memory: the next time */
}

int sl_pool_resize(sl_pool *pool, unsigned lanes)
{
    if (!pool || lanes < 1 || lanes > SL_LANES_MAX)
        return SL_EINVAL;
    if (pool->config.seed)
        return lanes > 1 ? SL_ENOTSUP : 0;
    if (lanes > pool->max_threads)
        return SL_EINVAL;
    sl_lock_take(&pool->lock);
    pool->lanes_wanted = lanes;
    int rc = set_lanes(pool);
    sl_lock_drop(&pool->lock);
    sl_offer_work(pool);
    if (lanes > 1)
        sl_monitor_watch(pool);
    return rc;
}

/* ---- counters ---- */

int sl_pool_get_stats(sl_pool *pool, sl_pool_stats *out)
{
    sl_stack_stats stacks;
    if (!pool || !out)
        return SL_EINVAL;
    memset(out, 0, sizeof *out);
    sl_lock_take(&pool->net_lock);
    out->polls = pool->polls;
    sl_lock_drop(&pool->net_lock);
    sl_lock_take(&pool->lock);
    out->lanes = pool->lanes_wanted;
    out->extra_lanes = (unsigned)sl_load_relaxed(&pool->nlanes) - pool->lanes_wanted;
    out->threads = pool->nworkers;
    out->blocking = pool->blocking;
    out->spawned = pool->spawned;
    out->handoffs = pool->handoffs;
    out->unparks = pool->unparks;
    for (unsigned i = 0; i < pool->max_lanes && pool->lanes[i]; i++) {
        sl_lane *lane = pool->lanes[i];
        out->spawned += sl_load_relaxed(&lane->spawned);
        out->finished += sl_load_relaxed(&lane->finished);
        out->switches += sl_load_relaxed(&lane->turn);
        out->steals += sl_load_relaxed(&lane->steals);
        out->stolen += sl_load_relaxed(&lane->stolen);
        out->parks += sl_load_relaxed(&lane->parks);
        out->timers += sl_load_relaxed(&lane->fired);
    }
    out->tasklets = out->spawned - out->finished;
    sl_lock_drop(&pool->lock);
    sl_stack_pool_stats(pool->stacks, &stacks);
    out->stack_bytes = (stacks.live + stacks.resident) * 4096;
    return 0;
}
