/* SPDX-License-Identifier: MIT
 * C tasklets: the hooks of sl_env with a lock as the guard, and the calls.
 *
 * The guard is taken by one tasklet and dropped by another, which a pthread mutex
 * forbids (ThreadSanitizer says so); core/lock.h's knows no owner. */
#include "ordered.h"

#include "lane.h"

#include <sched.h>
#include <stddef.h>
#include <stdlib.h>

#include "../../core/lock.h"

#define container(type, member, ptr) ((type *)((char *)(ptr) - offsetof(type, member)))

/* A tasklet's wake word: a wake that comes before the suspend is kept. */
enum { AWAKE = 0, NOTIFIED, ASLEEP };

struct sl_ordered {
    sl_opool pool;
    sl_olane lane;
    sl_oworker first;
    sl_stack_pool *stacks;
    sl_lock guard;
    sl_atomic waiting;    /* threads that want the guard; each counts itself */
    sl_atomic grants;     /* how often it has been got by attach(); written under the guard */
    sl_atomic alive;      /* tasklets; any thread */
    sl_atomic32 finished; /* alive has become 0; set under done_lock */
    pthread_mutex_t done_lock;
    pthread_cond_t done;
};

struct sl_ordered_tasklet {
    sl_otasklet base;
    sl_ordered *native;
    void (*body)(void *);
    void *arg;
    sl_atomic32 wake; /* AWAKE, NOTIFIED, ASLEEP; swaps and CAS by any thread */
    sl_timer timer;
    sl_fdwait wait;
    bool blocking; /* announced; guard */
};

static sl_ordered_tasklet *running(sl_oworker *w)
{
    return container(sl_ordered_tasklet, base, w->current);
}

static sl_ordered *native_of(sl_oworker *w)
{
    return container(sl_ordered, pool, w->pool);
}

/* ---- hooks ---- */

static void attach(sl_oworker *w)
{
    sl_ordered *n = native_of(w);
    if (!sl_trylock(&n->guard)) {
        sl_add(&n->waiting, 1);
        sl_lock_take(&n->guard);
        sl_add(&n->waiting, (uintptr_t)-1);
    }
    sl_store_release(&n->grants, sl_load_relaxed(&n->grants) + 1);
}

static void detach(sl_oworker *w)
{
    sl_lock_drop(&native_of(w)->guard);
}

/* A lock goes to whoever is awake, so a thread that only unlocks and locks it
 * keeps it: wait until one of those who want it has had it.  At every turn, for
 * the monitor, which would ask for it, may be one of them. */
static void offer(sl_oworker *w)
{
    sl_ordered *n = native_of(w);
    if (!sl_load_relaxed(&n->waiting))
        return;
    uintptr_t grants = sl_load_relaxed(&n->grants);
    sl_lock_drop(&n->guard);
    while (sl_load_acquire(&n->waiting) && sl_load_acquire(&n->grants) == grants)
        sched_yield();
    attach(w);
}

static bool away(sl_oworker *w, sl_carrier *c)
{
    (void)w;
    return sl_load_relaxed(&c->announced) != 0;
}

static sl_oworker *run(sl_oworker *w)
{
    sl_ordered_tasklet *t = running(w);
    sl_ordered *n = t->native;
    t->body(t->arg);
    w = sl_self();
    if (t->base.place == SL_IN_RING)
        sl_olane_unlink(&n->lane, &t->base);
    free(t);
    if (sl_add(&n->alive, (uintptr_t)-1) == 1) {
        pthread_mutex_lock(&n->done_lock);
        pthread_cond_broadcast(&n->done);
        pthread_mutex_unlock(&n->done_lock);
    }
    return w;
}

static void no_carrier(sl_olane *lane, sl_otasklet *t, int error)
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
    .offer = offer,
};

/* ---- life of the whole ---- */

int sl_ordered_create(sl_ordered **out, int threads, size_t stack_size)
{
    if (threads < 1)
        return SL_EINVAL;
    sl_ordered *n = calloc(1, sizeof *n);
    if (!n)
        return SL_ENOMEM;
    int rc = sl_stack_pool_create(&n->stacks, stack_size);
    if (rc < 0)
        goto free_it;
    sl_lock_init(&n->guard);
    pthread_mutex_init(&n->done_lock, NULL);
    pthread_cond_init(&n->done, NULL);
    sl_oworker_init(&n->first, &n->pool, 0);
    n->first.native.lane = &n->lane;
    sl_olane_init(&n->lane, &native_env, n->stacks, &n->first);
    rc = sl_opool_init(&n->pool, &n->lane, &n->first, threads);
    if (rc == 0)
        rc = sl_thread_start(&n->first.thread, sl_oworker_main, &n->first, &n->pool.mask);
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

void sl_ordered_wait(sl_ordered *n)
{
    pthread_mutex_lock(&n->done_lock);
    while (sl_load_acquire(&n->alive))
        pthread_cond_wait(&n->done, &n->done_lock);
    pthread_mutex_unlock(&n->done_lock);
}

static void drop_carriers(sl_olane *lane)
{
    while (lane->free) {
        sl_carrier *c = lane->free;
        lane->free = c->next;
        c->next = lane->condemned;
        lane->condemned = c;
    }
    sl_carrier_reap(lane);
}

void sl_ordered_destroy(sl_ordered *n)
{
    sl_ordered_wait(n);
    sl_oworker me;
    sl_oworker_init(&me, &n->pool, -2);
    sl_oworker *before = sl_self();
    sl_set_self(&me);
    sl_lock_take(&n->guard);
    sl_oworker *h;
    while ((h = sl_olane_host(&n->lane))->current) { /* offers the guard on its way out of the last tasklet */
        sl_lock_drop(&n->guard);
        sched_yield();
        sl_lock_take(&n->guard);
    }
    /* The others end only without the lane; whoever hosts it sleeps, as there
     * is nothing to run. */
    if (h != &n->first)
        sl_olane_give(&n->lane, h, &n->first);
    sl_store_release32(&n->pool.stop, 1); /* before anybody wakes and sleeps again */
    sl_olane_kick(&n->lane);
    sl_unpark(&n->first.parker);
    sl_opool_stop(&n->pool, &me);
    sl_lock_drop(&n->guard);
    for (int i = 0; i < n->pool.limit; i++)
        if (n->pool.workers[i] && !n->pool.workers[i]->joined)
            pthread_join(n->pool.workers[i]->thread, NULL);
    drop_carriers(&n->lane);
    sl_set_self(before);
    for (int i = 1; i < n->pool.limit; i++)
        free(n->pool.workers[i]);
    free(n->pool.workers);
    sl_olane_free(&n->lane);
    sl_stack_pool_destroy(n->stacks);
    pthread_mutex_destroy(&n->done_lock);
    pthread_cond_destroy(&n->done);
    free(n);
}

/* ---- calls ---- */

int sl_ordered_go(sl_ordered *n, void (*body)(void *), void *arg)
{
    sl_ordered_tasklet *t = calloc(1, sizeof *t);
    if (!t)
        return SL_ENOMEM;
    t->base.lane = &n->lane;
    t->native = n;
    t->body = body;
    t->arg = arg;
    sl_add(&n->alive, 1);
    sl_oworker *w = sl_self();
    bool guarded = w && w->pool == &n->pool && w->current &&
                   !sl_load_relaxed(&w->current->carrier->announced); /* not in a blocking section */
    if (guarded)
        sl_olane_append(&n->lane, &t->base);
    else
        sl_inbox_push(&n->lane, &t->base);
    return 0;
}

sl_ordered_tasklet *sl_ordered_current(void)
{
    sl_oworker *w = sl_self();
    return w && w->current ? running(w) : NULL;
}

void sl_ordered_yield(void)
{
    sl_oworker *w = sl_self();
    offer(w);
    w->lane->current = w->current->next;
    sl_dispatch(w, w->current);
}

/* Leaves the ring; `t` must be found by a timer, a descriptor or a waker that
 * holds the guard or takes the inbox. */
static void leave(sl_oworker *w, sl_ordered_tasklet *t, uint8_t place)
{
    sl_olane_unlink(t->base.lane, &t->base);
    t->base.place = place;
    sl_dispatch(w, &t->base);
}

void sl_ordered_suspend(void)
{
    sl_oworker *w = sl_self();
    sl_ordered_tasklet *t = running(w);
    offer(w);
    if (sl_cas32(&t->wake, NOTIFIED, AWAKE))
        return;
    sl_olane_unlink(t->base.lane, &t->base);
    t->base.place = SL_IN_WAIT;
    if (!sl_cas32(&t->wake, AWAKE, ASLEEP)) { /* notified in between */
        sl_store_release32(&t->wake, AWAKE);
        t->base.place = SL_NOWHERE;
        sl_olane_append_head(t->base.lane, &t->base);
        return;
    }
    sl_dispatch(w, &t->base);
}

void sl_ordered_wake(sl_ordered_tasklet *t)
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
    sl_ordered_tasklet *t = container(sl_ordered_tasklet, timer, timer);
    sl_olane *lane = t->base.lane;
    if (t->wait.fd) {
        sl_netpoll_cancel(lane->netpoll, &t->wait);
        sl_store_relaxed(&lane->waiting, sl_netpoll_waiting(lane->netpoll));
    }
    sl_olane_append(lane, &t->base);
}

static void wake_waiter(sl_fdwait *wait)
{
    sl_ordered_tasklet *t = container(sl_ordered_tasklet, wait, wait);
    sl_olane *lane = t->base.lane;
    sl_timers_remove(&lane->timers, &t->timer);
    sl_store_relaxed(&lane->waiting, sl_netpoll_waiting(lane->netpoll));
    sl_olane_append(lane, &t->base);
}

void sl_ordered_sleep(int64_t ns)
{
    sl_oworker *w = sl_self();
    sl_ordered_tasklet *t = running(w);
    offer(w);
    t->timer.fire = wake_sleeper;
    if (sl_timers_add(&t->base.lane->timers, &t->timer, sl_deadline_after(sl_now(), ns)) < 0) {
        sl_ordered_yield(); /* no memory for a timer: too early rather than never */
        return;
    }
    sl_olane_watch(t->base.lane);
    leave(w, t, SL_IN_WAIT);
}

int sl_ordered_wait_fd(int fd, uint32_t events, int64_t deadline)
{
    sl_oworker *w = sl_self();
    sl_ordered_tasklet *t = running(w);
    sl_olane *lane = t->base.lane;
    sl_netpoll *np;
    sl_fd *record;
    int rc = sl_olane_netpoll(lane, &np);
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
    sl_olane_watch(lane);
    leave(w, t, SL_IN_WAIT);
    if (t->wait.status < 0)
        return t->wait.status;
    return t->wait.ready ? (int)t->wait.ready : SL_ETIMEDOUT;
}

void sl_ordered_pin(bool pinned)
{
    sl_oworker *w = sl_self();
    w->current->home = pinned ? w : NULL;
}

void sl_ordered_blocking_begin(void)
{
    sl_oworker *w = sl_self();
    sl_ordered *n = native_of(w);
    sl_store_release(&w->current->carrier->announced, 1);
    sl_oworker *spare = sl_load_ptr(&n->pool.spare);
    if (spare && sl_olane_has_work(&n->lane)) {
        sl_store_relaxed(&n->pool.seen_turn, sl_load_relaxed(&n->lane.turn));
        sl_store_release32(&spare->asked, 1);
        sl_unpark(&spare->parker);
    }
    detach(w);
}

void sl_ordered_blocking_end(void)
{
    sl_oworker *w = sl_self();
    attach(w);
    sl_store_relaxed(&w->current->carrier->announced, 0);
    if (w->lane == NULL)
        sl_rejoin(w, w->current);
}

uint64_t sl_ordered_handoffs(sl_ordered *n)
{
    return n->pool.handoffs;
}

int sl_ordered_threads(sl_ordered *n)
{
    return (int)sl_load_acquire(&n->pool.nworkers);
}

sl_stack_pool *sl_ordered_stacks(sl_ordered *n)
{
    return n->stacks;
}
