/* SPDX-License-Identifier: MIT
 * C tasklets: the hooks of sl_env with a mutex as the guard, and the calls. */
#include "native.h"

#include "lane.h"

#include <sched.h>
#include <stddef.h>
#include <stdlib.h>

#define container(type, member, ptr) ((type *)((char *)(ptr) - offsetof(type, member)))

/* A tasklet's wake word: a wake that comes before the suspend is kept. */
enum { AWAKE = 0, NOTIFIED, ASLEEP };

struct sl_native {
    sl_pool pool;
    sl_lane lane;
    sl_worker first;
    sl_stack_pool *stacks;
    pthread_mutex_t guard;
    sl_atomic waiting;    /* threads that want the guard; each counts itself */
    sl_atomic grants;     /* how often it has been got by attach(); written under the guard */
    sl_atomic alive;      /* tasklets; any thread */
    sl_atomic32 finished; /* alive has become 0; set under done_lock */
    pthread_mutex_t done_lock;
    pthread_cond_t done;
};

struct sl_ntasklet {
    sl_tasklet base;
    sl_native *native;
    void (*body)(void *);
    void *arg;
    sl_atomic32 wake; /* AWAKE, NOTIFIED, ASLEEP; swaps and CAS by any thread */
    sl_timer timer;
    sl_fdwait wait;
    bool blocking; /* announced; guard */
};

static sl_ntasklet *running(sl_worker *w)
{
    return container(sl_ntasklet, base, w->current);
}

static sl_native *native_of(sl_worker *w)
{
    return container(sl_native, pool, w->pool);
}

/* ---- hooks ---- */

static void attach(sl_worker *w)
{
    sl_native *n = native_of(w);
    if (pthread_mutex_trylock(&n->guard) != 0) {
        sl_add(&n->waiting, 1);
        pthread_mutex_lock(&n->guard);
        sl_add(&n->waiting, (uintptr_t)-1);
    }
    sl_store_release(&n->grants, sl_load_relaxed(&n->grants) + 1);
}

static void detach(sl_worker *w)
{
    pthread_mutex_unlock(&native_of(w)->guard);
}

/* A mutex goes to whoever is awake, so a thread that only unlocks and locks it
 * keeps it: wait until one of those who want it has had it.  At every turn, for
 * the monitor, which would ask for it, may be one of them. */
static void offer(sl_worker *w)
{
    sl_native *n = native_of(w);
    if (!sl_load_relaxed(&n->waiting))
        return;
    uintptr_t grants = sl_load_relaxed(&n->grants);
    pthread_mutex_unlock(&n->guard);
    while (sl_load_acquire(&n->waiting) && sl_load_acquire(&n->grants) == grants)
        sched_yield();
    attach(w);
}

static bool away(sl_worker *w, sl_carrier *c)
{
    (void)w;
    return sl_load_relaxed(&c->announced) != 0;
}

static bool surely_blocked(sl_worker *h)
{
    (void)h;
    return true; /* announced */
}

static sl_worker *run(sl_worker *w)
{
    sl_ntasklet *t = running(w);
    sl_native *n = t->native;
    t->body(t->arg);
    w = sl_self();
    if (t->base.place == SL_IN_RING)
        sl_lane_unlink(&n->lane, &t->base);
    free(t);
    if (sl_add(&n->alive, (uintptr_t)-1) == 1) {
        pthread_mutex_lock(&n->done_lock);
        pthread_cond_broadcast(&n->done);
        pthread_mutex_unlock(&n->done_lock);
    }
    return w;
}

static void no_carrier(sl_lane *lane, sl_tasklet *t, int error)
{
    (void)error;
    /* Nobody to tell: try again when others have ended and left a stack. */
    lane->current = t->next;
    if (lane->current == t && !lane->nbusy)
        abort();
}

static const sl_env native_env = {
    .attach = attach,
    .detach = detach,
    .run = run,
    .no_carrier = no_carrier,
    .away = away,
    .surely_blocked = surely_blocked,
    .offer = offer,
};

/* ---- life of the whole ---- */

int sl_native_create(sl_native **out, int threads, size_t stack_size)
{
    if (threads < 1)
        return SL_EINVAL;
    sl_native *n = calloc(1, sizeof *n);
    if (!n)
        return SL_ENOMEM;
    int rc = sl_stack_pool_create(&n->stacks, stack_size);
    if (rc < 0)
        goto free_it;
    pthread_mutex_init(&n->guard, NULL);
    pthread_mutex_init(&n->done_lock, NULL);
    pthread_cond_init(&n->done, NULL);
    sl_worker_init(&n->first, &n->pool, 0);
    n->first.native.lane = &n->lane;
    sl_lane_init(&n->lane, &native_env, n->stacks, &n->first);
    rc = sl_pool_init(&n->pool, &n->lane, &n->first, threads);
    if (rc == 0)
        rc = sl_thread_start(&n->first.thread, sl_worker_main, &n->first, false);
    if (rc == 0) {
        *out = n;
        return 0;
    }
    free(n->pool.workers);
    sl_stack_pool_destroy(n->stacks);
free_it:
    free(n);
    return rc;
}

void sl_native_wait(sl_native *n)
{
    pthread_mutex_lock(&n->done_lock);
    while (sl_load_acquire(&n->alive))
        pthread_cond_wait(&n->done, &n->done_lock);
    pthread_mutex_unlock(&n->done_lock);
}

static void drop_carriers(sl_lane *lane)
{
    while (lane->free) {
        sl_carrier *c = lane->free;
        lane->free = c->next;
        c->next = lane->condemned;
        lane->condemned = c;
    }
    sl_carrier_reap(lane);
}

void sl_native_destroy(sl_native *n)
{
    sl_native_wait(n);
    sl_worker me;
    sl_worker_init(&me, &n->pool, -2);
    sl_worker *before = sl_self();
    sl_set_self(&me);
    pthread_mutex_lock(&n->guard);
    /* The others end only without the lane; whoever hosts it sleeps, as there
     * is nothing to run. */
    sl_worker *h = sl_lane_host(&n->lane);
    if (h != &n->first)
        sl_lane_give(&n->lane, h, &n->first);
    sl_store_release32(&n->pool.stop, 1); /* before anybody wakes and sleeps again */
    sl_lane_kick(&n->lane);
    sl_unpark(&n->first.parker);
    sl_pool_stop(&n->pool, &me);
    pthread_mutex_unlock(&n->guard);
    for (int i = 0; i < n->pool.limit; i++)
        if (n->pool.workers[i] && !n->pool.workers[i]->joined)
            pthread_join(n->pool.workers[i]->thread, NULL);
    drop_carriers(&n->lane);
    sl_set_self(before);
    for (int i = 1; i < n->pool.limit; i++)
        free(n->pool.workers[i]);
    free(n->pool.workers);
    sl_lane_free(&n->lane);
    sl_stack_pool_destroy(n->stacks);
    pthread_mutex_destroy(&n->guard);
    pthread_mutex_destroy(&n->done_lock);
    pthread_cond_destroy(&n->done);
    free(n);
}

/* ---- calls ---- */

int sl_go(sl_native *n, void (*body)(void *), void *arg)
{
    sl_ntasklet *t = calloc(1, sizeof *t);
    if (!t)
        return SL_ENOMEM;
    t->base.lane = &n->lane;
    t->native = n;
    t->body = body;
    t->arg = arg;
    sl_add(&n->alive, 1);
    sl_worker *w = sl_self();
    bool guarded = w && w->pool == &n->pool && w->current &&
                   !sl_load_relaxed(&w->current->carrier->announced); /* not in a blocking section */
    if (guarded)
        sl_lane_append(&n->lane, &t->base);
    else
        sl_inbox_push(&n->lane, &t->base);
    return 0;
}

sl_ntasklet *sl_current(void)
{
    sl_worker *w = sl_self();
    return w && w->current ? running(w) : NULL;
}

void sl_yield(void)
{
    sl_worker *w = sl_self();
    offer(w);
    w->lane->current = w->current->next;
    sl_dispatch(w, w->current);
}

/* Leaves the ring; `t` must be found by a timer, a descriptor or a waker that
 * holds the guard or takes the inbox. */
static void leave(sl_worker *w, sl_ntasklet *t, uint8_t place)
{
    sl_lane_unlink(t->base.lane, &t->base);
    t->base.place = place;
    sl_dispatch(w, &t->base);
}

void sl_suspend(void)
{
    sl_worker *w = sl_self();
    sl_ntasklet *t = running(w);
    offer(w);
    if (sl_cas32(&t->wake, NOTIFIED, AWAKE))
        return;
    sl_lane_unlink(t->base.lane, &t->base);
    t->base.place = SL_IN_WAIT;
    if (!sl_cas32(&t->wake, AWAKE, ASLEEP)) { /* notified in between */
        sl_store_release32(&t->wake, AWAKE);
        t->base.place = SL_NOWHERE;
        sl_lane_append_head(t->base.lane, &t->base);
        return;
    }
    sl_dispatch(w, &t->base);
}

void sl_wake(sl_ntasklet *t)
{
    /* The host alone enters tasklets of the ring, and takes the inbox only
     * between turns, so `t` has left its stack when it is entered again. */
    if (sl_swap32(&t->wake, NOTIFIED) != ASLEEP)
        return;
    sl_store_release32(&t->wake, AWAKE);
    sl_inbox_push(t->base.lane, &t->base);
}

static void wake_sleeper(sl_timer *timer)
{
    sl_ntasklet *t = container(sl_ntasklet, timer, timer);
    sl_lane *lane = t->base.lane;
    if (t->wait.fd) {
        sl_netpoll_cancel(lane->netpoll, &t->wait);
        sl_store_relaxed(&lane->waiting, sl_netpoll_waiting(lane->netpoll));
    }
    sl_lane_append(lane, &t->base);
}

static void wake_waiter(sl_fdwait *wait)
{
    sl_ntasklet *t = container(sl_ntasklet, wait, wait);
    sl_lane *lane = t->base.lane;
    sl_timers_remove(&lane->timers, &t->timer);
    sl_store_relaxed(&lane->waiting, sl_netpoll_waiting(lane->netpoll));
    sl_lane_append(lane, &t->base);
}

void sl_sleep(int64_t ns)
{
    sl_worker *w = sl_self();
    sl_ntasklet *t = running(w);
    offer(w);
    t->timer.fire = wake_sleeper;
    if (sl_timers_add(&t->base.lane->timers, &t->timer, sl_deadline_after(sl_now(), ns)) < 0) {
        sl_yield(); /* no memory for a timer: too early rather than never */
        return;
    }
    sl_lane_watch(t->base.lane);
    leave(w, t, SL_IN_WAIT);
}

int sl_wait_fd(int fd, uint32_t events, int64_t deadline)
{
    sl_worker *w = sl_self();
    sl_ntasklet *t = running(w);
    sl_lane *lane = t->base.lane;
    sl_netpoll *np;
    sl_fd *record;
    int rc = sl_lane_netpoll(lane, &np);
    if (rc == 0)
        rc = sl_netpoll_open(np, fd, &record);
    if (rc < 0)
        return rc == SL_ENOTSUP ? (int)events : rc;
    t->wait.events = events;
    t->wait.wake = wake_waiter;
    t->timer.fire = wake_sleeper;
    if (!sl_netpoll_enqueue(np, record, &t->wait))
        return (int)t->wait.ready;
    if (deadline != SL_NEVER && (rc = sl_timers_add(&lane->timers, &t->timer, deadline)) < 0) {
        sl_netpoll_cancel(np, &t->wait);
        return rc;
    }
    sl_store_relaxed(&lane->waiting, sl_netpoll_waiting(np));
    sl_lane_watch(lane);
    leave(w, t, SL_IN_WAIT);
    if (t->wait.status < 0)
        return t->wait.status;
    return t->wait.ready ? (int)t->wait.ready : SL_ETIMEDOUT;
}

void sl_pin(bool pinned)
{
    sl_worker *w = sl_self();
    w->current->home = pinned ? w : NULL;
}

void sl_blocking_begin(void)
{
    sl_worker *w = sl_self();
    sl_native *n = native_of(w);
    sl_store_release(&w->current->carrier->announced, 1);
    sl_worker *spare = sl_load_ptr(&n->pool.spare);
    if (spare && sl_lane_has_work(&n->lane)) {
        sl_store_relaxed(&n->pool.seen_turn, sl_load_relaxed(&n->lane.turn));
        sl_store_release32(&spare->asked, 1);
        sl_unpark(&spare->parker);
    }
    detach(w);
}

void sl_blocking_end(void)
{
    sl_worker *w = sl_self();
    attach(w);
    sl_store_relaxed(&w->current->carrier->announced, 0);
    if (w->lane == NULL)
        sl_rejoin(w, w->current);
}

uint64_t sl_native_handoffs(sl_native *n)
{
    return n->pool.handoffs;
}

int sl_native_threads(sl_native *n)
{
    return (int)sl_load_acquire(&n->pool.nworkers);
}

sl_stack_pool *sl_native_stacks(sl_native *n)
{
    return n->stacks;
}
