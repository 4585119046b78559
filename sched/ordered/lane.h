/* SPDX-License-Identifier: MIT
 *
 * The ordered lane and what runs on it: tasklets, carriers, workers, the pool.
 *
 * What it is for: one run queue in an order that a program may inspect and
 * edit, hosted by one OS thread at a time, which moves to another when the
 * running tasklet blocks in the OS.  What it is not for: Python (hooks in
 * sl_env), channels, stealing between lanes.
 *
 * The guard.  Everything here that is not marked "atomic" may be touched only
 * while holding the lane's guard: the GIL under Python, the pool's own lock in
 * C (ordered.c).  A tasklet runs with the guard held; code that drops it (a
 * blocking call) is what makes handoff possible.
 *
 *  - lane->host is changed only under the guard.  The worker that hosts the
 *    lane runs lane->current; nobody else runs tasklets of the lane, so a
 *    tasklet may be put in the ring before its stack has been left: only this
 *    worker will enter it, and it is the one that is leaving.
 *  - A tasklet that continues on a worker without the lane (a stray) is put in
 *    the ring only by an `after` on the far side of its switch.
 *  - A wake-up cannot be lost: who makes something runnable holds the guard,
 *    and who goes to sleep sets lane->idle under the guard before dropping it;
 *    the permit of the parker (or the poller's event) is kept until it sleeps.
 *    C threads without the guard use lane->inbox: push, full barrier, read
 *    idle; the sleeper: set idle, full barrier, read inbox.
 */
#ifndef SL_SCHED_LANE_H
#define SL_SCHED_LANE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "../../core/atomic.h"
#include "../../core/context.h"
#include "../../core/park.h"
#include "../../core/stack.h"
#include "../../core/thread.h"
#include "../netpoll.h"
#include "stackless/error.h"
#include "../timer.h"

typedef struct sl_otasklet sl_otasklet;
typedef struct sl_carrier sl_carrier;
typedef struct sl_oworker sl_oworker;
typedef struct sl_olane sl_olane;
typedef struct sl_opool sl_opool;

/* Where a tasklet is; each value says who holds its links. */
enum sl_place {
    SL_NOWHERE = 0, /* not runnable and in no queue: new, paused or dead */
    SL_IN_RING,     /* runnable or running: a member of its lane's ring */
    SL_IN_QUEUE,    /* in a waiter queue of the front end (a channel) */
    SL_IN_WAIT,     /* parked on its timer or a descriptor */
    SL_STRAY,       /* runs on a worker that lost the lane */
    SL_DEFERRED,    /* runnable, but the worker it is pinned to is stuck: in worker->deferred */
    SL_IN_INBOX,    /* made runnable by a thread without the guard: in lane->inbox */
};

struct sl_otasklet {
    sl_otasklet *next, *prev; /* ring or queue neighbours, by `place` */
    sl_olane *lane;           /* the scheduler it belongs to */
    sl_carrier *carrier;     /* stack it runs on; NULL before the first run and after the end */
    sl_oworker *home;         /* the only worker that may run it, or NULL */
    uint8_t place;           /* enum sl_place */
};

/* A stack and what the front end keeps with it (a thread state).  `native`
 * carriers stand for an OS thread's own stack. */
struct sl_carrier {
    sl_context context;
    sl_stack *stack;     /* NULL: native */
    sl_otasklet *tasklet; /* who runs on it; NULL: free, or a worker's own loop */
    void *env;           /* front end's: PyThreadState */
    sl_olane *lane;       /* whose free list it returns to */
    sl_carrier *next, *prev; /* lane->free or lane->condemned, or lane->busy */
    bool condemned;      /* destroy instead of reuse */
    sl_atomic announced; /* C: its tasklet is in a blocking call; monitor reads */
};

/* What a front end adds to the mechanics.  Hooks marked (opt) may be NULL. */
typedef struct sl_env {
    /* Take and drop the guard with the worker's home state, on its own stack. */
    void (*attach)(sl_oworker *w);
    void (*detach)(sl_oworker *w);
    /* A worker thread begins and ends, before attach and after detach (opt). */
    int (*worker_begin)(sl_oworker *w);
    void (*worker_end)(sl_oworker *w);
    /* Make `to` the carrier whose state is attached; may drop the guard for a
     * moment (opt). */
    void (*swap)(sl_oworker *w, sl_carrier *to);
    /* Fill and drop carrier->env (opt).  A negative code fails the start. */
    int (*carrier_begin)(sl_carrier *c);
    void (*carrier_end)(sl_carrier *c);
    /* The body: runs tasklet `w->current`, and when that is over leaves it out
     * of the ring and returns the worker it ended on. */
    sl_oworker *(*run)(sl_oworker *w);
    /* `t`, the ring's head, could not be given a stack: take it out. */
    void (*no_carrier)(sl_olane *lane, sl_otasklet *t, int error);
    /* The ring is empty: make something runnable and return true, or wait (opt). */
    bool (*idle)(sl_olane *lane, sl_oworker *w);
    /* On a worker's own stack, before it goes on: drop what ended (opt). */
    void (*landed)(sl_olane *lane);
    /* On the owner's own stack, after each of its waits (opt): look for
     * signals.  True: its main tasklet is to continue now, lane or not. */
    bool (*signals)(sl_oworker *w);
    /* Between turns: let a stray that waits for the guard have it (opt). */
    void (*offer)(sl_oworker *w);
    /* Monitor, without the guard: is the tasklet that runs on `c` away (the
     * guard not held by it)? (opt: no handoff) */
    bool (*away)(sl_oworker *w, sl_carrier *c);
    /* Any thread: does `h`, whose tasklet is away, sleep in the OS, and not for
     * the guard?  `free`: the guard has been found free. (opt: it does) */
    bool (*blocked)(sl_oworker *h, bool free);
    /* Under the guard: may the lane leave the tasklet `t`, which is blocked? (opt) */
    bool (*may_hand_off)(sl_olane *lane, sl_otasklet *t);
    /* Monitor, guard held: every worker is blocked (opt). */
    void (*starved)(sl_opool *pool);
    /* Once, any thread, guard or not: no more threads are to be had (opt). */
    void (*no_thread)(void);
    /* Monitor, without the guard: the tasklet that has been running since `turn` has
     * used up pool->slice (opt). */
    void (*slice_over)(sl_opool *pool, uintptr_t turn);
    /* Monitor, once, when SL_THREADS_SURE run: the pool's limit, if it has been
     * left open; more than that (opt). */
    int (*thread_limit)(void);
} sl_env;

/* Bits of lane->attention, set by the monitor, read at each turn. */
enum {
    SL_ATTEND_OFFER = 2, /* strays wait for the guard: offer it */
    SL_ATTEND_CLOCK = 4, /* timers or descriptors may be due */
};

struct sl_olane {
    sl_otasklet *current; /* ring head: who runs, or runs next; NULL when the ring is empty */
    sl_atomic count;     /* ring members; written under the guard, monitor reads */
    sl_atomic turn;      /* switches and handoffs so far, no two tasklets run in one; written by the host, monitor reads */
    sl_atomic host;      /* sl_oworker *; written under the guard, monitor reads */
    sl_atomic idle;      /* sl_oworker *: the host sleeps for want of work; see "lost" above */
    sl_atomic attention; /* bits; set by the monitor, taken by the host */
    sl_atomic inbox;     /* stack of tasklets linked by `next`: wake-ups without the guard */
    sl_atomic watched;   /* the monitor is awake; cleared by it under the guard */
    const sl_env *env;
    sl_opool *pool;       /* NULL: private lane of one OS thread */
    sl_oworker *owner;    /* the thread that brought the lane: main's, or the private one */
    sl_carrier *free, *free_last; /* LIFO at `free`; cold end `free_last` */
    sl_carrier *condemned;
    sl_carrier *busy;    /* carriers with a tasklet on them */
    unsigned nfree, nbusy;
    sl_stack_pool *stacks;
    sl_timers timers;
    sl_netpoll *netpoll; /* NULL until the first descriptor */
    sl_atomic waiting;   /* descriptor waits; for the monitor */
    sl_atomic strays;    /* for the monitor */
    unsigned deferred;
    /* What may run on the owner's thread, where a blocked call would keep the
     * main tasklet from going on (pool only; guard): */
    bool owner_waits;    /* main waits for all the others anyway: anything */
    int64_t shy_until;   /* it has happened: nothing but main for a while, sl_now() */
    int64_t left_at;     /* when main left, coarse: the rest stays only for a moment */
    bool stays;          /* no other worker is to be had, until main runs again */
    bool recheck;        /* idle() wants to be asked again before long */
    int64_t last_tick;   /* coarse time of the last look at timers and descriptors */
};

enum sl_begun { SL_NOT_YET = 0, SL_BEGUN, SL_FAILED };

struct sl_oworker {
    sl_olane *lane;         /* hosted, or NULL */
    sl_otasklet *current;   /* runs on this thread (also as a stray); NULL in its own loop */
    sl_atomic on;          /* sl_carrier *: whose state is attached; monitor reads */
    sl_atomic32 switching; /* between two states: detached, but not blocked; monitor reads */
    sl_carrier native;     /* the thread's own stack; native.tasklet: main tasklet or NULL */
    sl_parker parker;
    sl_opool *pool;
    sl_oworker *next_spare; /* pool->spare list */
    bool spare;            /* in that list */
    bool parked;           /* in its own loop without a lane */
    bool in_poll;          /* sleeps in the poller rather than on the parker */
    sl_atomic32 asked;     /* the monitor unparked it to try a handoff */
    sl_atomic32 begun;     /* enum sl_begun, by its own thread, once; others wait on it */
    sl_parker birth;       /* of who waits for that: sl_opool_find_worker() */
    sl_otasklet *deferred;  /* pinned to this worker while it was stuck */
    bool joined;           /* its thread has been joined or let go */
    int id;                /* 0: the thread that made the pool */
    pthread_t thread;
    sl_atomic32 tid;       /* kernel thread id */
};

/* So many threads every limit left open allows. */
#define SL_THREADS_SURE 4

struct sl_opool {
    sl_olane *lane;
    const sl_env *env;
    int limit;          /* OS threads that may run tasklets, the owner's included */
    bool limit_settled; /* monitor: has asked env->thread_limit */
    pthread_mutex_t growing; /* workers[] and nworkers have one writer at a time */
    sl_atomic nworkers; /* started, the owner's included */
    sl_oworker **workers; /* [limit] */
    sl_atomic spare;    /* sl_oworker *, head of the list of parked workers; guard to change */
    sl_oworker monitor;
    sl_atomic32 monitor_state; /* enum monitor_state */
    sigset_t mask;      /* the workers' blocked signals, whoever makes them; written while there is no monitor */
    sl_atomic32 stop;
    sl_atomic32 peeking;       /* monitor looks at a carrier's state; see sl_carrier_unseen() */
    sl_atomic seen_turn;       /* lane->turn at the monitor's last look */
    /* 1 + the turn in which the host has been found computing without the guard;
     * written by the monitor, a hint. */
    sl_atomic computes;
    sl_atomic32 warned, no_thread;
    sl_atomic32 starting;      /* a worker has been made and has not got going yet */
    int64_t slice; /* nanoseconds without a switch after which others get the turn; 0: for ever.  Set before any starts */
    uint64_t handoffs, refused, moves;
};

/* ---- ring (lane.c); guard held ---- */

/* Links `t` immediately before current: the end of the queue. */
void sl_olane_append(sl_olane *lane, sl_otasklet *t);
/* Links `t` immediately after current: it runs next. */
void sl_olane_append_next(sl_olane *lane, sl_otasklet *t);
/* Links `t` before current and makes it current: the others follow it. */
void sl_olane_append_head(sl_olane *lane, sl_otasklet *t);
/* Takes `t` out; if it was current, its successor becomes current. */
void sl_olane_unlink(sl_olane *lane, sl_otasklet *t);
/* Wakes the host if it sleeps for want of work. */
void sl_olane_kick(sl_olane *lane);

int sl_olane_init(sl_olane *lane, const sl_env *env, sl_stack_pool *stacks, sl_oworker *owner);
void sl_olane_free(sl_olane *lane);
/* The poller, made on first use. */
int sl_olane_netpoll(sl_olane *lane, sl_netpoll **out);

/* Makes `t`, parked for good (its stack left), runnable.  Any C thread, without
 * the guard. */
void sl_inbox_push(sl_olane *lane, sl_otasklet *t);
/* Moves what is in the inbox to the ring, oldest first. */
void sl_inbox_take(sl_olane *lane);

/* Somebody must watch the clock or the descriptors from now on. */
void sl_olane_watch(sl_olane *lane);

static inline unsigned sl_olane_count(sl_olane *lane)
{
    return (unsigned)sl_load_relaxed(&lane->count);
}

static inline sl_oworker *sl_olane_host(sl_olane *lane)
{
    return sl_load_ptr(&lane->host);
}

/* Work that will make something runnable later: the lane is not deadlocked.
 * `timers_apart`: so many of the timers do not count. */
static inline bool sl_olane_expects(sl_olane *lane, uintptr_t timers_apart)
{
    return sl_load_relaxed(&lane->strays) || sl_load_relaxed(&lane->timers.count) > timers_apart ||
           sl_load_relaxed(&lane->waiting) || lane->deferred;
}

/* Takes `t` out of w->deferred. */
void sl_undefer_one(sl_oworker *w, sl_otasklet *t);

/* ---- switching (dispatch.c) ---- */

/* The calling OS thread's worker, or NULL.  Never cache across a switch. */
sl_oworker *sl_self(void);
void sl_set_self(sl_oworker *w);

/* Leaves `from`, the tasklet running on `w` (which hosts its lane), for the
 * ring's head.  Returns the worker on which `from` runs again; at once when it
 * is the head itself.  `from` must be where others can find it already. */
sl_oworker *sl_dispatch(sl_oworker *w, sl_otasklet *from);

/* A stray comes back: queues for the lane; returns when it is its turn. */
sl_oworker *sl_rejoin(sl_oworker *w, sl_otasklet *t);

/* The end of the tasklet that ran on the attached carrier: goes on with the
 * ring's head, and returns when the carrier is used again. */
sl_oworker *sl_leave_dead(sl_oworker *w);

/* From a worker's own loop into the ring's head, which `w` may run. */
void sl_enter_current(sl_oworker *w);

/* Must the ring's head, which is not main, run on another thread than `w`'s?
 * Unless main waits in run(), new tasklets start elsewhere, so that one that
 * blocks at once does not take main's thread with it. */
bool sl_olane_leaves_owner(sl_olane *lane, sl_oworker *w);

/* Fires due timers; polls descriptors without waiting. */
void sl_olane_fire_timers(sl_olane *lane, int64_t now);
void sl_olane_poll_now(sl_olane *lane);

/* A worker's own loop; see worker.c.  Guard held, home state attached. */
void sl_oworker_loop(sl_oworker *w);

/* ---- carriers (carrier.c); guard held ---- */

int sl_carrier_take(sl_olane *lane, sl_carrier **out);
void sl_carrier_put(sl_carrier *c);
/* Destroys condemned and surplus carriers; may run front end code. */
void sl_carrier_reap(sl_olane *lane);
static inline bool sl_carrier_due(sl_olane *lane)
{
    return lane->condemned != NULL;
}
/* Waits until the monitor does not look at any carrier's state. */
void sl_carrier_unseen(sl_opool *pool);

/* ---- pool, handoff, monitor ---- */

/* Makes a pool whose first worker is the calling thread's `owner` and whose
 * lane it hosts.  Starts no thread. */
int sl_opool_init(sl_opool *pool, sl_olane *lane, sl_oworker *owner, int limit);
/* Ends the monitor and all parked workers; strays keep theirs.  Guard held;
 * dropped while waiting. */
void sl_opool_stop(sl_opool *pool, sl_oworker *w);
/* In a forked child: only the calling worker is left. */
void sl_opool_after_fork(sl_opool *pool, sl_oworker *w);
/* Makes sure that the monitor runs. */
void sl_opool_watch(sl_opool *pool);

void sl_oworker_init(sl_oworker *w, sl_opool *pool, int id);
/* The calling thread is `w`'s; sl_oworker_init() has taken its caller for that. */
void sl_oworker_here(sl_oworker *w);
void *sl_oworker_main(void *worker);
/* Starts another worker, or SL_ETHREAD when the limit is reached.  Any thread. */
int sl_opool_grow(sl_opool *pool, sl_oworker **out);
/* Tells the front end, once, that a thread could not be started. */
void sl_opool_no_thread(sl_opool *pool);

/* Lets `to` host instead of `from`, which hosts. */
void sl_olane_give(sl_olane *lane, sl_oworker *from, sl_oworker *to);
/* `w`, which has no lane, takes it from a host that sleeps for want of work;
 * false if none does. */
bool sl_olane_take_idle(sl_olane *lane, sl_oworker *w);
/* A spare takes the lane from a host whose tasklet is blocked. */
bool sl_olane_seize(sl_olane *lane, sl_oworker *w, bool waited);
/* A worker without a lane, made if there is none; NULL when all are busy or its
 * thread or thread state is not to be had.  For `host` in its own loop; the
 * guard may be dropped for a moment. */
sl_oworker *sl_opool_find_worker(sl_opool *pool, sl_oworker *host);
void sl_opool_add_spare(sl_opool *pool, sl_oworker *w);
void sl_opool_drop_spare(sl_opool *pool, sl_oworker *w);

/* Something other than the running tasklet could make progress. */
bool sl_olane_has_work(sl_olane *lane);

/* Longer than this for the guard means that it was not free, nanoseconds.
 * Measured: an uncontended take with the wake before it is under 100 us. */
#define SL_GUARD_WAITED ((int64_t)200 * 1000)

#endif
