/* SPDX-License-Identifier: MIT
 *
 * The native pool's structures: tasklets, lanes, workers, the pool.
 *
 * What it is for: running C tasklets on many lanes at once.  What it is not
 * for: Python on a GIL build, whose one lane has an order that programs edit
 * (sched/ordered), and channels, which see only wait.h.
 *
 * Who may touch what:
 *   own       only the tasklet, lane host or worker it belongs to
 *   locked    under pool->lock
 *   atomic    any thread, with the order given
 * A lane changes hosts only under pool->lock, so what one host wrote the next
 * one sees.  A tasklet is in at most one of: a slot, a ring, the global list, a
 * worker's inbox, a wait; or it runs.  It is put anywhere only after its stack
 * has been left (the `after` of the switch).
 *
 * Idle and wake.  A wake-up is lost if work is published, nobody is woken, and
 * everybody parks.  Two store-load pairs exclude it:
 *   submitter  publishes (ring tail, global count), full barrier, reads
 *              `searching` and `idle_lanes`: nobody searches and a lane is
 *              idle: it wakes one worker, which searches.
 *   searcher   leaves `searching` (or makes its lane idle), full barrier, then
 *              reads every ring, the global count and the timers once more
 *              before it parks; what it finds it takes up again itself.
 * A searcher that has found work and was the last looks whether there is more, and
 * then wakes another.  One whose last
 * steals were not worth it naps before it searches (steal.c): it counts as a
 * searcher and looks everywhere afterwards, so what was published meanwhile waits
 * 0.1 ms or so, and is not lost.  A tasklet in a slot is no reason to wake anybody:
 * its lane's host is about to run it.  The monitor looks after a host that is
 * not, and a searcher takes from slots on its last pass.
 */
#ifndef SL_SCHED_NATIVE_ENGINE_H
#define SL_SCHED_NATIVE_ENGINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "../../core/atomic.h"
#include "../../core/clock.h"
#include "../../core/context.h"
#include "../../core/lock.h"
#include "../../core/park.h"
#include "../../core/places.h"
#include "../../core/stack.h"
#include "../../core/thread.h"
#include "../netpoll.h"
#include "../timer.h"
#include "stackless/pool.h"
#include "wait.h"

typedef struct sl_lane sl_lane;
typedef struct sl_worker sl_worker;

enum { SL_RING = 256, SL_FRESH = 64, SL_LINE = 128, SL_LANES_MAX = 1024 };

/* sl_tasklet.parked; see wait.h */
enum { SL_RUNNING = 0, SL_PARKED, SL_NOTIFIED };

/* sl_tasklet.end: who is told of the end; see tasklet.c.  Other values: a joiner's sl_wait. */
enum { SL_END_HANDLE, SL_END_DETACHED, SL_END_ENDED, SL_END_JOINED, SL_END_TOLD, SL_END_DROPPED };

/* Type-stable: a record is reused, and never freed before its pool. */
struct sl_tasklet {
    sl_context context;
    sl_tasklet *next;      /* own to the queue it is in */
    sl_stack *stack;       /* NULL: a free record without a stack */
    sl_pool *pool;
    sl_body body;
    void *arg;
    sl_worker *pinned;     /* own; others read it after a claim */
    void **locals;         /* own; SL_KEYS values, or NULL */
    const void *site;      /* where sl_go() was called, by address ... */
    const char *where;     /* ... and in words, or NULL */
    sl_atomic parked;      /* handshake of a lock-free wait */
    sl_atomic wait;        /* sl_wait *: parked in it.  Written by the tasklet; who else follows it
                              counts himself in `watchers` first: see sl_watch_wait() */
    sl_atomic32 watchers;
    sl_atomic32 cancel;    /* asked for and not reported yet; any thread */
    sl_atomic end;         /* enum above; CAS */
    sl_atomic32 alive;     /* for reports */
    sl_atomic name[4];     /* for reports: the bytes of a text that ends before the last one.  Stored by who names it;
                              a report that reads meanwhile finds words of both names */
};

/* Whom a thief tries, nearest first: those of level k are lane[ends[k - 1]] up to
 * lane[ends[k]], and equally far. */
typedef struct sl_victims {
    unsigned lanes;  /* that the pool had made when this was; 0: none */
    unsigned levels;
    uint16_t ends[SL_PLACES_FAR];
    uint16_t lane[SL_LANES_MAX];
} sl_victims;

struct sl_lane {
    /* The ring: FIFO.  The host stores `tail`; pop and steal CAS `head`.  A slot
     * between head and tail is not written. */
    sl_atomic32 head __attribute__((aligned(SL_LINE)));
    sl_atomic32 tail __attribute__((aligned(SL_LINE)));
    sl_atomic slots[SL_RING];
    /* Tasklets that have not run yet, as a deque in Chase and Lev's form: the host
     * pushes and pops at the bottom, so that who divides its work goes depth
     * first and on warm stacks; thieves take the oldest by CAS of `top`. */
    sl_atomic32 top __attribute__((aligned(SL_LINE)));
    sl_atomic32 bottom __attribute__((aligned(SL_LINE)));
    sl_atomic fresh[SL_FRESH];
    /* Woken last, runs next.  The host puts, host and thieves take. */
    sl_atomic slot;
    sl_atomic32 shared;    /* there are other lanes, so thieves, who read it first.  Set, once, by the
                              host between turns, or under the lock while there is no host */
    unsigned wins;         /* own: of slot and fresh ones over the ring, in a row */
    unsigned budget;       /* own: operations left of this turn */
    sl_atomic32 hurry;     /* monitor: the time slice is over */
    sl_atomic32 attention; /* somebody wants the lane, or the clock is due; any thread sets, host clears */
    sl_atomic turn;        /* host stores, monitor reads */
    sl_tasklet *cache;     /* own: ended tasklets with their stacks, LIFO */
    unsigned cached;
    sl_atomic spawned, finished, steals, stolen, parks, fired; /* host counts (`fired`: under timer_lock), any thread reads */
    int64_t looked;        /* own: coarse time of the last look at the poller */
    int64_t looted;        /* own: time of the last steal, until it has been judged (steal.c) */
    uintptr_t looted_turn; /* own: `turn` at that time */
    unsigned crumbs;       /* own: steals in a row that were not worth it */
    uint64_t random;       /* own */
    sl_victims victims;    /* own */
    /* Timers of waits that began here. */
    sl_lock timer_lock;
    sl_timers timers;
    unsigned id;
    sl_worker *host;       /* locked */
    sl_lane *next_idle;    /* locked */
    sl_pool *pool;
    sl_atomic32 retired;   /* the pool has been made smaller: no host may keep it */
} __attribute__((aligned(SL_LINE)));

/* For counters that have one writer at a time. */
static inline void sl_count(sl_atomic *counter, uintptr_t n)
{
    sl_store_relaxed(counter, sl_load_relaxed(counter) + n);
}

struct sl_worker {
    sl_lane *lane;        /* own while it runs; locked while it lies down (idle.c) */
    sl_tasklet *current;  /* own */
    sl_tasklet *left;     /* own: who yields, until its stack has been left */
    sl_context native;
    sl_pool *pool;
    sl_parker parker;
    sl_atomic inbox;      /* stack of tasklets pinned here; any thread pushes */
    sl_tasklet *mine;     /* own: taken from there, FIFO */
    bool leaves;          /* own: the lane is wanted elsewhere; go_idle() gives it away */
    bool searching;       /* own while it runs; locked while it is parked */
    bool lives;           /* locked: its thread has been started */
    bool spare;           /* locked: in pool->spares */
    bool polls;           /* locked: sleeps in the poller */
    bool wants;           /* locked: has pinned work and no lane */
    bool blocked;         /* locked: its tasklet is between blocking begin and end; no lane is given to it */
    sl_worker *next_spare;
    unsigned id;
    unsigned place;       /* own: where it is bound to */
    pthread_t thread;
};

struct sl_pool {
    sl_lock lock;
    sl_lane **lanes;              /* [max_lanes], written before nlanes grows */
    sl_atomic nlanes;             /* those in use, from the first; stored under the lock */
    sl_atomic made;               /* how many there have ever been: retired ones may hold timers, and work while
                                     their last host computes */
    sl_atomic retiring;           /* retired, and still with a host; stored under the lock, before nlanes */
    unsigned lanes_wanted;        /* locked: by configuration or resize ... */
    unsigned lanes_kept;          /* locked: ... and how many of them computing tasklets keep (monitor.c) */
    unsigned max_lanes, max_threads;
    sl_worker **workers;          /* [max_threads], locked */
    unsigned nworkers;            /* locked */
    sl_lane *idle;                /* locked */
    sl_atomic idle_lanes;         /* how many; stored under the lock */
    sl_atomic searching;          /* workers that search */
    sl_worker *spares;            /* locked, LIFO */
    uint64_t polls;               /* net_lock: waits for descriptors */
    sl_atomic wanting;            /* stored under the lock: workers that want a lane for pinned work */
    sl_atomic pinned_ready;       /* tasklets in workers' inboxes and `mine`: a host counts what it puts and takes */
    unsigned blocking;            /* locked: tasklets between blocking begin and end */
    sl_tasklet *global, *global_last; /* locked, FIFO */
    sl_atomic global_count;       /* stored under the lock */
    sl_atomic poller;             /* sl_worker *, stored under the lock: sleeps until the next timer or event */
    sl_atomic poll_until;         /* int64_t: how long it sleeps at most; SL_NEVER: nobody does, or for ever */
    sl_lock net_lock;             /* guard of netpoll */
    sl_netpoll *netpoll;          /* made under net_lock, then read by anyone */
    sl_atomic net_ready;          /* it has been */
    sl_atomic net_waits;          /* raised after net_ready; who finds some by acquire sees netpoll */
    struct sl_chunk *chunks;      /* locked: all tasklet records */
    sl_tasklet *records;          /* locked: free records with a stack */
    sl_tasklet *bare;             /* locked: free records without */
    unsigned nrecords;            /* locked: how many in `records` ... */
    unsigned fewest;              /* locked: ... and the least since the monitor looked */
    sl_atomic32 surplus;          /* stored under the lock: more than are kept for good; the monitor stays awake */
    uint64_t spawned, handoffs, unparks; /* locked; spawned from outside */
    sl_stack_pool *stacks;
    struct sl_places *places;     /* fixed; NULL: the kernel places threads */
    sl_pool_config config;
    /* The monitor. */
    pthread_t monitor;
    sl_atomic32 monitored;        /* stored under the lock: it has been started, or tried to */
    bool monitor_lives;           /* locked */
    sl_parker monitor_parker;
    sl_atomic32 monitor_sleeps;
    sl_atomic32 stop;             /* workers end when idle */
    sl_atomic32 closing;          /* waits are cancelled */
    unsigned outside;             /* locked: OS threads that wait without a deadline in sl_pool_wait() or sl_join() */
    unsigned guests;              /* locked: threads in sl_pool_wait(), sl_join() or tasklets of others in the latter */
    bool reported;                /* locked: the deadlock has been, until something runs */
    sl_atomic32 quiet;            /* futex of sl_pool_wait(): counts the times all became idle */
    int64_t now;                  /* deterministic mode: the clock */
    uint64_t random;              /* deterministic mode */
    int64_t refused_at;           /* locked: when a thread was refused, coarse; 0: never */
};

/* ---- worker.c ---- */
sl_worker *sl_worker_self(void);
void *sl_worker_main(void *worker);
/* It has come to another lane: binds its thread where that lane belongs. */
void sl_worker_place(sl_worker *w);
/* Leaves the running tasklet `t` for another; `after(arg)` runs on the far side. */
void sl_switch_away(sl_worker *w, sl_tasklet *t, sl_after after, void *arg);
/* The end of the running tasklet. */
__attribute__((noreturn)) void sl_switch_end(sl_worker *w, sl_tasklet *t);
/* `t` (parked, its stack left, in no queue) is to run.  Any thread. */
void sl_ready(sl_tasklet *t);
/* The same for one that has had its turn: to the end. */
void sl_ready_last(sl_tasklet *t);
/* The same for one that has not run yet. */
void sl_ready_fresh(sl_tasklet *t);

/* ---- ring.c: host only, but for steal ---- */
void sl_ring_push(sl_lane *lane, sl_tasklet *t);
sl_tasklet *sl_ring_pop(sl_lane *lane);
bool sl_ring_empty(const sl_lane *lane); /* any thread */
void sl_fresh_push(sl_lane *lane, sl_tasklet *t);
sl_tasklet *sl_fresh_pop(sl_lane *lane);
bool sl_fresh_empty(const sl_lane *lane); /* any thread */
/* Moves half of `from` to `to`, whose ring is empty; returns one of them. */
sl_tasklet *sl_ring_steal(sl_lane *from, sl_lane *to, bool slot_too);

/* ---- steal.c ---- */
/* For a worker whose lane has nothing: something of another lane's, or NULL. */
sl_tasklet *sl_steal(sl_worker *w);
/* For the lane's host. */
void sl_order_victims(sl_lane *lane, unsigned made);

/* ---- idle.c ---- */
void sl_wake_one(sl_pool *pool);
static inline void sl_offer_work(sl_pool *pool)
{
    if (sl_load_relaxed(&pool->idle_lanes) && !sl_load_relaxed(&pool->searching))
        sl_wake_one(pool);
}
/* The worker found nothing: gives its lane up and sleeps.  False: it is to end. */
bool sl_go_idle(sl_worker *w);
void sl_global_push(sl_pool *pool, sl_tasklet *first, sl_tasklet *last, unsigned n);
/* One for the caller; some more into the lane's ring. */
sl_tasklet *sl_global_pop(sl_lane *lane);
bool sl_any_work(sl_pool *pool);
/* The thread that a new pool begins with. */
int sl_first_worker(sl_pool *pool);
/* Lock held.  When it has been dropped, sl_wake_worker(w), or, by `w` itself, sl_rouse_monitor(). */
void sl_host(sl_lane *lane, sl_worker *w);
/* A lane has a new host: the monitor is to watch it.  After the worker has been woken, or the
 * two compete for a processor. */
void sl_rouse_monitor(sl_pool *pool);
/* Lock held: a parked or new worker, or NULL. */
sl_worker *sl_find_spare(sl_pool *pool);
void sl_wake_worker(sl_worker *w);
/* Wakes `w` for its inbox. */
void sl_call_home(sl_worker *w);
/* Takes a resting lane, if there is one: does `w` have one now? */
bool sl_get_lane(sl_worker *w);
/* Lock held: w's lane goes to who wants one, or rests.  Returns whom to wake. */
sl_worker *sl_give_up_lane(sl_worker *w);
/* Lock held, the lane has no host or the caller is its host: what is in it goes to the global list. */
void sl_lane_empty(sl_lane *lane);
/* Lock held: gives the lane to nobody.  A retired one is emptied, since nobody looks there. */
void sl_lane_rest(sl_pool *pool, sl_lane *lane);
sl_lane *sl_lane_take_idle(sl_pool *pool);

/* ---- time.c ---- */
int64_t sl_pool_now(sl_pool *pool);
/* There is something new to poll for: who sleeps must notice. */
void sl_poller_changed(sl_pool *pool);
int sl_wait_arm(sl_wait *w, int64_t deadline);
void sl_wait_disarm(sl_wait *w);
/* Fires what is due in all lanes; how many. */
unsigned sl_fire_timers(sl_pool *pool, int64_t now);
/* The same for a lane with nothing else to do; in deterministic mode the clock
 * goes on to the next timer. */
unsigned sl_fire_due(sl_pool *pool);
int64_t sl_earliest(sl_pool *pool);
/* Until `deadline`, unless there is a timer before `earliest`, the next one when that was chosen. */
void sl_sleep_as_poller(sl_worker *w, int64_t earliest, int64_t deadline);
/* Looks at descriptors without waiting. */
unsigned sl_poll_now(sl_pool *pool);

/* ---- wait.c ---- */
void sl_wait_setup(void);
/* Calls look(t, w, arg) if `t` is parked in a wait, which stays while it looks. */
void sl_watch_wait(sl_tasklet *t, void (*look)(sl_tasklet *t, sl_wait *w, void *arg), void *arg);
void sl_cancel_one(sl_tasklet *t);

/* ---- tasklet.c ---- */
/* The stack of `t`, which has returned, has been left. */
void sl_tasklet_ended(sl_tasklet *t);
void sl_locals_drop(sl_tasklet *t);
void sl_each_tasklet(sl_pool *pool, void (*look)(sl_tasklet *t, void *arg), void *arg);

/* ---- pool.c, monitor.c, report.c ---- */
sl_lane *sl_lane_create(sl_pool *pool, unsigned id);
/* Lock held. */
uint64_t sl_pool_alive(sl_pool *pool);
/* Lock held: no lane has a host and nothing is runnable. */
bool sl_pool_all_quiet(sl_pool *pool);
/* Lock held: so many lanes are kept by tasklets whose time slice is over. */
void sl_pool_make_up(sl_pool *pool, unsigned kept);
/* Lock not held: if all is quiet, tells who waits for it. */
void sl_pool_settle(sl_pool *pool);
/* One OS thread more, or less, waits for the pool. */
void sl_pool_outside(sl_pool *pool, int change);
/* One more, or less, who is no tasklet of the pool, is in a call that waits: it must not go. */
void sl_pool_guest(sl_pool *pool, int change);
void sl_records_free(sl_pool *pool);
/* How many free records above those kept for good have not been needed since the last call. */
unsigned sl_records_unused(sl_pool *pool);
/* Gives the stacks of `most` of them back; how many there were. */
unsigned sl_records_give_back(sl_pool *pool, unsigned most);
void sl_monitor_watch(sl_pool *pool);
void *sl_monitor_main(void *pool);
void sl_report_deadlock(sl_pool *pool);

#define SL_BUDGET 128u
#define SL_GLOBAL_TURNS 61u

#endif
