/* SPDX-License-Identifier: MIT
 *
 * The monitor: the thread that notices what no scheduling point can.
 *
 *  - the host's tasklet is blocked in the OS while others could run: it asks a
 *    spare worker to seize the lane (handoff.c), making one if there is none;
 *  - timers and descriptors are due while a busy lane does not look;
 *  - a tasklet has kept the turn for longer than its time slice, if there is one.
 *
 * It is armed on demand.  It goes to sleep only with the guard held, and
 * whoever gives it something to watch holds the guard and tests
 * lane->watched, so nothing can be missed in between.
 */
#include "lane.h"

#include <signal.h>
#include <sys/prctl.h>

#include "../../core/threadstat.h"

enum monitor_state { MONITOR_NONE = 0, MONITOR_ON };

/* Nanoseconds.  A period is two system calls, some 3 us of CPU here, so 50 us
 * all the time would be a tax of 6 % on one core; 500 us costs 0.6 % while
 * something runs, and keeps the longest gap beside a blocked call near 1 ms.  Rerun the gap benchmark
 * when changing them. */
static const int64_t PERIOD_MIN = 50 * 1000, PERIOD_MAX = 500 * 1000;
static const int64_t STARVED_AFTER = 50 * 1000 * 1000;
/* Nobody has anything to do: fewer looks, and soon none. */
static const int64_t PERIOD_QUIET = 1000 * 1000, QUIET_AFTER = 5 * 1000 * 1000;

/* How many looks in a row must find the same tasklet away.  Each may fall into
 * a short call of its own (a stat, a read from the page cache) that is no
 * reason to take the lane away. */
enum { LOOKS = 3 };

/* So many more come as soon after each other: a spare may have to be made. */
enum { PATIENT_LOOKS = 8 };

typedef struct view {
    sl_oworker *host;
    uintptr_t turn;
    bool busy; /* somebody else could run, or a stray wants the guard */
    bool away; /* and the host's tasklet is not on the CPU */
} view;

static bool busy(sl_olane *lane)
{
    return !sl_load_relaxed(&lane->idle) && (sl_olane_has_work(lane) || sl_load_relaxed(&lane->strays));
}

static view look(sl_opool *pool)
{
    sl_olane *lane = pool->lane;
    view v = {.host = sl_load_ptr_acquire(&lane->host), .turn = sl_load_relaxed(&lane->turn)};
    v.busy = busy(lane);
    if (!pool->env->away)
        return v;
    /* A carrier's state is freed only while we do not look at it:
     * sl_carrier_unseen() waits for `peeking` to fall. */
    sl_swap32(&pool->peeking, 1);
    sl_carrier *on = sl_load_ptr_acquire(&v.host->on);
    /* A worker in its own loop (or not started yet) has no tasklet to be away; who
     * main is does not change, but who is on another carrier is the guard's. */
    bool runs = on != &v.host->native || on->tasklet;
    v.away = v.busy && sl_olane_has_work(lane) && runs && !sl_load_acquire32(&v.host->switching) &&
             pool->env->away(v.host, on) && sl_load_ptr(&v.host->on) == on;
    sl_store_release32(&pool->peeking, 0);
    return v;
}

static void attend(sl_olane *lane, uintptr_t bits)
{
    uintptr_t old;
    do
        old = sl_load_relaxed(&lane->attention);
    while ((old & bits) != bits && !sl_cas(&lane->attention, old, old | bits));
}

static void warn_starved(sl_opool *pool)
{
    pool->env->attach(&pool->monitor);
    if (pool->env->starved)
        pool->env->starved(pool);
    pool->env->detach(&pool->monitor);
}

/* Counting the processors takes a millisecond and more, so not before the first
 * handoff, which somebody waits for. */
static void settle_limit(sl_opool *pool)
{
    if (pool->limit_settled || !pool->env->thread_limit || sl_load_relaxed(&pool->nworkers) < SL_THREADS_SURE)
        return;
    int limit = pool->env->thread_limit();
    pool->limit = limit < pool->limit ? limit : pool->limit;
    pool->limit_settled = true;
}

static void ask_for_handoff(sl_opool *pool, const view *v, int64_t away_for)
{
    sl_oworker *spare = sl_load_ptr_acquire(&pool->spare), *made;
    sl_store_relaxed(&pool->seen_turn, v->turn);
    settle_limit(pool);
    if ((!spare || spare == pool->lane->owner) &&
        (sl_load_relaxed32(&pool->starting) || sl_opool_grow(pool, &made) == 0))
        return; /* it will be a spare at one of the next looks */
    if (spare) {
        sl_store_release32(&spare->asked, 1);
        sl_unpark(&spare->parker);
    } else if (away_for > STARVED_AFTER && !sl_swap32(&pool->warned, 1)) {
        warn_starved(pool);
    }
}

/* Sleeps until sl_opool_watch(), unless there is something to watch after all. */
static void sleep_unarmed(sl_opool *pool)
{
    sl_olane *lane = pool->lane;
    pool->env->attach(&pool->monitor);
    bool quiet = !busy(lane);
    if (quiet) {
        sl_store_relaxed(&lane->watched, 0);
        sl_fence(); /* sl_inbox_push() comes without the guard: push, barrier, read watched */
        if (sl_load_relaxed(&lane->inbox)) {
            sl_store_relaxed(&lane->watched, 1);
            quiet = false;
        }
    }
    pool->env->detach(&pool->monitor);
    while (quiet && !sl_load_acquire32(&pool->stop) && !sl_load_relaxed(&lane->watched))
        sl_park(&pool->monitor.parker, SL_NEVER);
}

/* CPU time that shows the host computing without the guard: who waits for the
 * guard sleeps, and uses some 10 us each time that it wakes for nothing, once a
 * switch interval under Python.  Nanoseconds. */
static const int64_t COMPUTES_FOR = 1000 * 1000, COMPUTES_WITHIN = 50 * 1000 * 1000;

/* In a longer gap between two looks, as where processors are short, it may have had the
 * guard meanwhile: less than Python's switch interval. */
static const int64_t UNSEEN = 4 * 1000 * 1000;

/* A host that has been away all the time since `at`. */
typedef struct sample {
    int64_t at;       /* 0: none has been taken */
    int64_t computed; /* CPU time then, nanoseconds */
    int64_t seen;     /* of the last look */
} sample;

/* `looked`: just before the look that found it away. */
static bool computes(const view *v, sample *first, int64_t looked)
{
    int64_t computed = sl_thread_computed((unsigned)sl_load_relaxed32(&v->host->tid)), now = sl_now();
    if (now - looked > COMPUTES_FOR / 2) { /* this thread was held up: what has been read is of later */
        *first = (sample){0};
        return false;
    }
    if (!first->at || now - first->at > COMPUTES_WITHIN || now - first->seen > UNSEEN)
        *first = (sample){.at = now, .computed = computed};
    first->seen = now;
    return computed - first->computed >= COMPUTES_FOR;
}

/* Worth a spare's attention, which looks once more (sl_olane_seize()). */
static bool gone(sl_opool *pool, const view *v)
{
    return sl_load_relaxed(&pool->computes) == v->turn + 1 || !pool->env->blocked ||
           pool->env->blocked(v->host, true);
}

/* True: the front end has been told. */
static bool end_slice(sl_opool *pool, const view *v, int64_t kept)
{
    if (!pool->slice || kept < pool->slice || v->away || sl_olane_count(pool->lane) < 2 || !pool->env->slice_over)
        return false;
    pool->env->slice_over(pool, v->turn);
    return true;
}

static void watch(sl_opool *pool)
{
    sl_olane *lane = pool->lane;
    view last = {0};
    int looks = 0;
    int64_t period = PERIOD_MIN, quiet_since = 0, away_since = 0, kept_since = 0;
    sample first = {0};
    while (!sl_load_acquire32(&pool->stop)) {
        int64_t now = sl_now();
        view v = look(pool);
        bool same = v.host == last.host && v.turn == last.turn;
        if (!same || !v.busy || end_slice(pool, &v, now - kept_since))
            kept_since = now;
        looks = v.away && same ? looks + 1 : v.away;
        if (looks <= 1) {
            away_since = now;
            first = (sample){0};
        } else if (computes(&v, &first, now)) {
            sl_store_relaxed(&pool->computes, v.turn + 1);
        }
        if (looks >= LOOKS && gone(pool, &v))
            ask_for_handoff(pool, &v, now - away_since);
        uintptr_t bits = 0;
        if (sl_load_relaxed(&lane->strays))
            bits |= SL_ATTEND_OFFER;
        if (sl_load_relaxed(&lane->waiting) || sl_timers_earliest(&lane->timers) <= now)
            bits |= SL_ATTEND_CLOCK;
        if (v.busy && bits)
            attend(lane, bits);
        if (v.busy)
            quiet_since = now;
        int64_t longest = v.busy ? PERIOD_MAX : PERIOD_QUIET;
        bool soon = v.away && looks < LOOKS + PATIENT_LOOKS;
        period = soon ? PERIOD_MIN : 2 * period < longest ? 2 * period : longest;
        if (now - quiet_since > QUIET_AFTER) {
            sleep_unarmed(pool);
            quiet_since = away_since = sl_now();
            period = PERIOD_MIN;
            last = (view){0};
            looks = 0;
            continue;
        }
        last = v;
        sl_park(&pool->monitor.parker, sl_now() + period);
    }
}

static void *monitor_main(void *arg)
{
    sl_opool *pool = arg;
    sl_oworker *w = &pool->monitor;
    prctl(PR_SET_TIMERSLACK, 1000UL); /* else each period is 50 us longer */
    prctl(PR_SET_NAME, "sl-monitor");
    sl_set_self(w);
    if (!pool->env->worker_begin || pool->env->worker_begin(w) == 0) {
        sl_oworker *made;
        if (sl_load_relaxed(&pool->nworkers) == 1)
            sl_opool_grow(pool, &made); /* a spare in advance: the first handoff is quick */
        watch(pool);
        if (pool->env->worker_end)
            pool->env->worker_end(w);
    }
    return NULL;
}

void sl_opool_watch(sl_opool *pool)
{
    sl_store_relaxed(&pool->lane->watched, 1);
    if (pool->limit < 2 || sl_load_relaxed32(&pool->stop))
        return;
    if (!sl_cas32(&pool->monitor_state, MONITOR_NONE, MONITOR_ON)) {
        sl_unpark(&pool->monitor.parker);
        return;
    }
    sl_oworker_init(&pool->monitor, pool, -1);
    pool->monitor.native.lane = pool->lane;
    pthread_sigmask(SIG_SETMASK, NULL, &pool->mask);
    if (sl_thread_start(&pool->monitor.thread, monitor_main, pool, NULL) < 0) { /* signals are for those that run tasklets */
        sl_store_relaxed32(&pool->monitor_state, MONITOR_NONE); /* look_around() tries again */
        sl_opool_no_thread(pool);
    }
}
