/* SPDX-License-Identifier: MIT
 *
 * The pool: its OS threads, made one at a time when they are needed, and their
 * end.  Who hosts the lane is handoff.c's.
 */
#include "lane.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../core/overflow.h"

int sl_opool_init(sl_opool *pool, sl_olane *lane, sl_oworker *owner, int limit)
{
    memset(pool, 0, sizeof *pool);
    pool->workers = calloc((size_t)limit, sizeof *pool->workers);
    if (!pool->workers)
        return SL_ENOMEM;
    pool->lane = lane;
    pool->env = lane->env;
    pool->limit = limit;
    pool->workers[0] = owner;
    pthread_mutex_init(&pool->growing, NULL);
    sl_store_relaxed(&pool->nworkers, 1);
    owner->pool = pool;
    lane->pool = limit > 1 ? pool : NULL;
    pthread_sigmask(SIG_SETMASK, NULL, &pool->mask);
    return 0;
}

void *sl_oworker_main(void *arg)
{
    sl_oworker *w = arg;
    const sl_env *env = w->pool->env;
    char name[16];
    snprintf(name, sizeof name, "sl-worker-%d", w->id);
    prctl(PR_SET_NAME, name);
    sl_set_self(w);
    sl_context_native(&w->native.context, true);
    sl_store_relaxed32(&w->tid, (unsigned)syscall(SYS_gettid));
    bool fails = env->worker_begin && env->worker_begin(w) < 0;
    sl_store_release32(&w->begun, fails ? SL_FAILED : SL_BEGUN);
    sl_unpark(&w->birth);
    if (fails) {
        sl_store_relaxed32(&w->pool->starting, 0);
        return NULL;
    }
    sl_overflow_thread_begin();
    env->attach(w);
    sl_store_relaxed32(&w->pool->starting, 0);
    sl_oworker_loop(w);
    env->detach(w);
    sl_overflow_thread_end();
    if (env->worker_end)
        env->worker_end(w);
    return NULL;
}

void sl_opool_no_thread(sl_opool *pool)
{
    if (pool->env->no_thread && !sl_swap32(&pool->no_thread, 1))
        pool->env->no_thread();
}

static int grow(sl_opool *pool, sl_oworker **out)
{
    int n = (int)sl_load_relaxed(&pool->nworkers);
    if (n >= pool->limit || sl_load_relaxed32(&pool->stop))
        return SL_ETHREAD;
    sl_oworker *w = calloc(1, sizeof *w);
    if (!w)
        return SL_ENOMEM;
    sl_oworker_init(w, pool, n);
    w->native.lane = pool->lane;
    pool->workers[n] = w;
    sl_store_release(&pool->nworkers, (uintptr_t)n + 1);
    sl_store_relaxed32(&pool->starting, 1);
    int rc = sl_thread_start(&w->thread, sl_oworker_main, w, &pool->mask);
    if (rc < 0) {
        sl_store_relaxed32(&pool->starting, 0);
        sl_store_release(&pool->nworkers, (uintptr_t)n);
        pool->workers[n] = NULL;
        free(w);
        sl_opool_no_thread(pool);
        return rc;
    }
    *out = w;
    return 0;
}

int sl_opool_grow(sl_opool *pool, sl_oworker **out)
{
    *out = NULL;
    pthread_mutex_lock(&pool->growing);
    int rc = grow(pool, out);
    pthread_mutex_unlock(&pool->growing);
    return rc;
}

void sl_opool_stop(sl_opool *pool, sl_oworker *w)
{
    sl_store_release32(&pool->stop, 1);
    int n = (int)sl_load_acquire(&pool->nworkers);
    bool monitored = sl_load_relaxed32(&pool->monitor_state) != 0;
    sl_unpark(&pool->monitor.parker);
    pool->env->detach(w);
    if (monitored) /* first: it may be making a worker */
        pthread_join(pool->monitor.thread, NULL);
    pool->env->attach(w);
    n = (int)sl_load_acquire(&pool->nworkers);
    for (int i = 1; i < n; i++) {
        sl_oworker *other = pool->workers[i];
        bool ends = !other->current && !other->lane;
        other->joined = true;
        if (!ends) {
            pthread_detach(other->thread);
            continue;
        }
        sl_unpark(&other->parker);
        pool->env->detach(w);
        pthread_join(other->thread, NULL);
        pool->env->attach(w);
    }
    sl_store_relaxed32(&pool->monitor_state, 0);
}

void sl_opool_after_fork(sl_opool *pool, sl_oworker *w)
{
    sl_olane *lane = pool->lane;
    sl_oworker **workers = pool->workers;
    for (int i = 0; i < pool->limit; i++) /* their threads do not exist here */
        workers[i] = NULL;
    workers[0] = w;
    w->pool = pool;
    w->id = 0;
    w->spare = w->parked = false;
    sl_parker_init(&w->parker);
    sl_store_relaxed32(&w->tid, (unsigned)syscall(SYS_gettid));
    pthread_mutex_init(&pool->growing, NULL);
    sl_store_relaxed(&pool->nworkers, 1);
    sl_store_ptr(&pool->spare, NULL);
    sl_store_relaxed32(&pool->monitor_state, 0);
    sl_store_relaxed32(&pool->stop, 0);
    sl_store_relaxed32(&pool->peeking, 0);
    sl_store_relaxed32(&pool->starting, 0);
    sl_store_relaxed(&lane->watched, 0);
    sl_store_relaxed(&lane->attention, 0);
    sl_store_ptr(&lane->idle, NULL);
    sl_store_ptr(&lane->inbox, NULL);
    sl_store_ptr(&lane->host, w);
    lane->owner = w;
    lane->owner_waits = lane->stays = false;
    lane->shy_until = 0;
    w->lane = lane;
}
