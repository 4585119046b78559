/* SPDX-License-Identifier: MIT
 *
 * The front end's own types and what its files share.
 *
 * All of it is guarded by the GIL.  A scheduler belongs to one OS thread that
 * brought it (the initial thread or a threading.Thread) and has one lane; the
 * initial thread's lane has a pool.  Spec numbers refer to docs/semantics.md.
 */
#ifndef SL_PYTHON_PYSTACKLESS_H
#define SL_PYTHON_PYSTACKLESS_H

#include <stdbool.h>

#include "compat.h"

#include "../sched/ordered/lane.h"
#include "../sched/rendezvous.h"

#define CONFIG_THREADS_MAX 1024
#define CONFIG_TIMESLICE_MAX 60000 /* milliseconds */

#define container(type, member, ptr) ((type *)((char *)(ptr)-offsetof(type, member)))

typedef struct scheduler scheduler;
typedef struct PyTasklet PyTasklet;
typedef struct PyChannel PyChannel;

enum execution {
    EXEC_NONE = 0, /* dead, or only a callable is bound (in tempval) */
    EXEC_FRESH,    /* callable and arguments are bound, not started */
    EXEC_STARTED,  /* has a carrier */
};

/* A park on a timer, a descriptor or several channels, or the clock of a channel
 * operation; in the frame of who waits. */
typedef struct pywait {
    sl_timer timer;
    sl_fdwait fdwait;
    PyTasklet *tasklet;
    void (*leave)(struct pywait *w); /* takes it out of what else it is in, or NULL */
    PyObject *unsent; /* of a channel operation that timed out: its tempval */
    bool timed_out;
    const char *hopeless; /* the wait may be ended by another thread; the error for main when that cannot be either */
} pywait;

/* What few tasklets have; made when first needed (names.c, trace.c, exits.c). */
typedef struct rarities {
    PyObject *name;            /* str, or NULL: derived */
    PyObject *trace, *profile; /* to be set when it runs next; NULL: nothing to do */
    bool chore;                /* ... and counted in scheduler.chores, as it had started */
    PyObject *exit;            /* the TaskletExit that was raised in it, until it ends; NULL: unknown */
    PyTasklet *next_suspect;   /* scheduler.suspects */
    Py_tracefunc behind;       /* 3.11: the tasklet's own, while ticks.c has its place; or NULL */
    bool suspect;              /* is in that list */
    bool doubtful;             /* one look has told nothing */
} rarities;

/* References: membership in a ring, in a channel's queue, in a wait and being
 * a stray hold one strong reference to the tasklet, handed from one to the
 * next.  A floating tasklet has only its users'. */
struct PyTasklet {
    PyObject_HEAD
    sl_otasklet base;
    PyObject *tempval; /* NULL: None */
    PyObject *func; /* from EXEC_FRESH to the end */
    PyObject *args, *kwargs; /* while EXEC_FRESH; args is a tuple */
    PyObject *context; /* until it starts: contextvars.Context to run in, or NULL: an empty one */
    PyChannel *channel; /* while SL_IN_QUEUE; borrowed: the blocked call holds it */
    pywait *wait;       /* while SL_IN_WAIT, or SL_IN_QUEUE with a timeout */
    uint64_t arrival;   /* while SL_IN_QUEUE: its number in that channel */
    PyTasklet *next_corpse;
    PyObject *weakrefs;
    PyCodeObject *born_in; /* the code that made it, or NULL, and where in it */
    int born_at;
    rarities *rare; /* or NULL */
    uint32_t timeouts; /* armed timeout() blocks of this tasklet */
    uint32_t due_in;   /* the timed run (watch.serial) that is to interrupt it as soon as it may, or 0 */
    uint8_t execution;
    int8_t blocked; /* +1 waits to send, -1 to receive */
    bool delivered; /* tempval came over a channel and must not be lost */
    bool watched;   /* its method _end is told the outcome (Task in stackless/_group.py) */
    bool is_main, atomic, ignore_nesting, block_trap, zombie, killed_at_exit;
};

struct PyChannel {
    PyObject_HEAD
    sl_otasklet *head, *tail; /* FIFO by next/prev, ends NULL */
    Py_ssize_t balance;      /* > 0: senders wait; < 0: receivers */
    int preference;          /* -1, 0, 1 */
    bool schedule_all, closing;
    unsigned beside;         /* what there is beside the queue: a buffer, each arm of a select() */
    uint64_t arrivals;       /* how many have begun to wait: who came first is served first */
    PyObject **buffer;       /* a ring of `capacity` values, or NULL */
    Py_ssize_t capacity, count, first;
    sl_waiters arms[2];      /* of select(), by SL_RECEIVERS and SL_SENDERS; none whose claim is taken */
    PyObject *weakrefs;
};

/* Arguments of run(). */
typedef struct run_limits {
    long timeout; /* in instructions, see ticks.c; not positive: none */
    bool threadblock, soft, ignore_nesting, total;
} run_limits;

/* The outermost run(timeout) of a scheduler. */
typedef struct watch {
    PyTasklet *owner; /* who called it and waits; NULL: there is none.  Held by scheduler.watchdogs */
    run_limits limits;
    Py_ssize_t left;  /* instructions until the running tasklet is interrupted, or until all are (total) */
    PyTasklet *runs;  /* whose they are; borrowed, only compared */
    PyTasklet *interrupted; /* strong: on its way to the owner */
    uint32_t serial;  /* of this timed run, never 0 while there is one */
    void *frame;      /* 3.11: the frame of the last event, only compared, */
    int at;           /* and where in it */
} watch;

struct scheduler {
    sl_olane lane;
    sl_oworker worker; /* of the thread that brought it */
    sl_opool pool;
    PyTasklet *main;  /* strong */
    unsigned long thread_id;
    Py_ssize_t refs;  /* its thread, and every tasklet */
    bool initial;     /* the initial thread's */
    bool adopted;     /* its thread has used the module; else another one has asked about it */
    bool dead;        /* its thread has ended, or was left behind by a fork */
    bool parked;      /* its thread sleeps with nothing to run: deadlock check */
    bool closing;     /* interpreter exit: do not wait for the lane for ever */
    int64_t close_by; /* ... not beyond this */
    int switch_trap;
    int in_callback;       /* a schedule or channel callback runs: no switch, no handoff */
    PyTasklet **watchdogs; /* tasklets inside run(), innermost last; strong */
    int nwatchdogs, watchdogs_size;
    watch watch;
    bool threadblock;      /* the innermost watchdog asked to wait for other threads */
    PyTasklet *last_blocked; /* who emptied the ring by blocking; borrowed, NULL if it ended */
    PyTasklet *corpses;    /* left the ring for good or as floating: who runs next drops the ring's reference */
    PyTasklet *suspects;   /* TaskletExit was raised in them and they have not ended; borrowed */
    uintptr_t slice_turn;  /* 1 + the turn that has used up its time slice, or 0 */
    int chores;            /* suspects, started tasklets with a trace function to be set, the schedule callback,
                              a timed run: what each switch has to be looked at for */
    PyTasklet *told;       /* who runs as far as the schedule callback knows, or NULL; strong */
    scheduler *next;       /* all schedulers */
    uint64_t spawned;
    int pickle_flags;
};

typedef struct front_end {
    PyTypeObject *tasklet_type, *channel_type, *bomb_type, *atomic_type, *descriptor_type,
        *timeout_type, *pinned_type;
    PyObject *tasklet_exit;
    PyObject *error_handler; /* or NULL */
    PyObject *schedule_callback, *channel_callback; /* or NULL */
    PyInterpreterState *interp;
    unsigned long main_thread_id;
    PyThreadState *main_ts;
    sl_stack_pool *stacks;
    scheduler *schedulers;
    scheduler *initial; /* NULL until the initial thread uses the module */
    int threads;        /* STACKLESS_THREADS, 0: default */
    size_t stack_size;
    int timeslice;      /* STACKLESS_TIMESLICE, milliseconds; 0: none */
    uint64_t epoch;     /* pollers made before another value are gone (fork) */
    int pickle_flags;   /* of schedulers to come */
    bool finished;      /* exit has run: no switching any more */
} front_end;

extern front_end fe;

static inline scheduler *scheduler_of(const PyTasklet *t)
{
    return container(scheduler, lane, t->base.lane);
}

static inline PyTasklet *tasklet_of(sl_otasklet *base)
{
    return container(PyTasklet, base, base);
}

static inline bool is_tasklet(PyObject *o)
{
    return PyObject_TypeCheck(o, fe.tasklet_type);
}

static inline bool is_alive(const PyTasklet *t)
{
    return t->execution != EXEC_NONE && !scheduler_of(t)->dead;
}

/* Runs at this moment or is blocked in the operating system, on whatever OS thread. */
static inline bool is_running(const PyTasklet *t)
{
    sl_oworker *host = sl_olane_host(t->base.lane);
    return !scheduler_of(t)->dead && (host->current == &t->base || t->base.place == SL_STRAY);
}

/* ---- threads.c ---- */

/* The calling thread's tasklet, making a scheduler on first use; NULL with an
 * exception.  Never switches. */
PyTasklet *current_slow(void);
static inline PyTasklet *current_tasklet(void)
{
    sl_oworker *w = sl_self();
    if (__builtin_expect(w && w->current, 1))
        return tasklet_of(w->current);
    return current_slow();
}
/* The scheduler whose tasklets run on that thread, or NULL. */
scheduler *scheduler_of_thread(unsigned long id);
/* The same, made if the thread has none yet; NULL: no such thread, or with an exception. */
scheduler *threads_scheduler(unsigned long id);
/* The thread states of the program's own threads, newest first; NULL: from the
 * beginning, and at the end.  Those of tasklets have the id of some thread. */
PyThreadState *threads_next(PyThreadState *ts);
/* Appends who has a stack of its own and does not run; `list` (stolen), or NULL with an exception. */
PyObject *threads_started(scheduler *s, PyObject *list);
void scheduler_unref(scheduler *s);
/* Are all other threads of the interpreter parked (or is there none)? */
bool threads_all_parked(scheduler *s);
int threads_init(PyObject *module);

/* ---- thread_info.c ---- */

/* A converter of PyArg_Parse*(): an unsigned long; -1 gives THREADS_SELF. */
#define THREADS_SELF (~0ul)
int threads_parse_id(PyObject *o, void *out);
unsigned long threads_current_id(void); /* 3.5; the calling thread need not know us */
int thread_info_init(PyObject *module);

/* ---- schedule.c: the ring rules ---- */

/* The calling tasklet at a scheduling point: queues a stray for the lane,
 * raises what another thread has thrown at it while it ran. */
PyTasklet *enter_slow(PyTasklet *t);
static inline PyTasklet *enter(void)
{
    sl_oworker *w = sl_self();
    if (__builtin_expect(w && w->current && w->lane && w->current->place == SL_IN_RING, 1) &&
        __builtin_expect(!tasklet_of(w->current)->tempval, 1))
        return tasklet_of(w->current);
    PyTasklet *t = current_tasklet();
    return t ? enter_slow(t) : NULL;
}

/* Control passes from `prev`, the running tasklet, to `next`; NULL: to whoever
 * the rules for an empty ring name.  Returns prev's tempval when it runs
 * again, or NULL with the exception that was planted there.  The queue changes
 * are the caller's; it has called trapped() before making them. */
PyObject *switch_to(PyTasklet *prev, PyTasklet *next);
/* The same to the partner of a channel operation, whom no soft timeout takes the turn from. */
PyObject *switch_to_partner(PyTasklet *prev, PyTasklet *next);
/* What is to be done before `prev` leaves for the ring's head, where there are chores. */
void leaving(scheduler *s, PyTasklet *prev, bool met);
/* prev's tempval, taken; a bomb is raised. */
PyObject *take_tempval(PyTasklet *t);
/* True with RuntimeError if `t` may not leave for another tasklet now. */
bool trapped(PyTasklet *t);
/* Makes `t` runnable wherever it is: off its channel, wait or nowhere. */
void make_runnable(PyTasklet *t);
/* Takes it off its channel or wait without making it runnable; its reference
 * goes to the caller.  False: it was in neither. */
bool unblock(PyTasklet *t);
PyTasklet *watchdog_or_main(scheduler *s);
bool resolve_empty_ring(scheduler *s, PyTasklet *prev);
/* What is to be done between two turns. */
void tidy(scheduler *s);
void add_corpse(scheduler *s, PyTasklet *t /* stolen */);
static inline void after_landing(scheduler *s)
{
    if (__builtin_expect(s->corpses || s->chores || sl_carrier_due(&s->lane), 0))
        tidy(s);
}
PyObject *schedule_common(PyTasklet *t, PyObject *retval, bool remove);
/* Where nothing is kept of what was found before: it may run a finalizer, which may switch. */
void set_tempval(PyTasklet *t, PyObject *value /* stolen */);
/* The same, and makes `t` runnable first. */
void plant(PyTasklet *t, PyObject *value /* stolen */);
/* The result of an operation, or its exception, after which the tempval that was `old` may
 * go (stolen; NULL: none): its finalizer may do anything. */
PyObject *release_after(PyObject *result, PyObject *old);
/* As enter(), with an empty tempval: who parks need not release one then. */
PyTasklet *enter_to_wait(void);

/* ---- callbacks.c ---- */

/* Call the schedule callback, if there is one and it has not been told: main has
 * been set up; `prev` leaves for the ring's head; `t` has landed. */
void callback_begun(scheduler *s);
void callback_leaving(scheduler *s, PyTasklet *prev);
void callback_landed(scheduler *s, PyTasklet *t);
/* Calls the channel callback.  *value, what is sent, is in t's tempval meanwhile;
 * -1 with an exception, then it is gone. */
int callback_channel(PyChannel *c, PyTasklet *t, PyObject **value, int dir);
/* Is `t`, which runs on this thread, in a callback?  (Not if it is a stray.) */
static inline bool callback_runs(const PyTasklet *t)
{
    return scheduler_of(t)->in_callback && sl_self()->current == &t->base && sl_self()->lane;
}
PyObject *callbacks_set_schedule(PyObject *module, PyObject *f); /* None removes it; the one so far */
PyObject *callbacks_set_channel(PyObject *module, PyObject *f);
int callbacks_init(PyObject *module);

/* ---- watchdog.c: run() and its timeout ---- */

PyObject *run_loop(PyTasklet *t, const run_limits *limits);
/* `t`, which runs here and hosts, has executed `n` more; -1 with an exception that was
 * thrown at it while it was interrupted. */
int watchdog_tick(PyTasklet *t, Py_ssize_t n);
/* The same at once, where `t` has become free to be interrupted, if it runs here. */
int watchdog_obstacle_gone(PyTasklet *t);
/* `met`: leaves for its partner in a channel. */
void watchdog_leaving(scheduler *s, PyTasklet *prev, bool met);
void watchdog_landed(scheduler *s, PyTasklet *t);
void watchdog_end_timeout(scheduler *s);
/* In the monitor: who runs in that turn is to give it to the next one. */
void watchdog_slice_over(scheduler *s, uintptr_t turn);

/* ---- ticks.c: counting instructions ---- */

/* Makes sure that they are counted; -1 with an exception. */
int ticks_arm(void);
void ticks_users(int change);
/* On `ts`, the state of `t`, which begins or goes on in a timed run, or whose slice is over; and which ends. */
void ticks_follow(PyTasklet *t, PyThreadState *ts);
void ticks_leave(PyTasklet *t);

/* ---- body.c: beginning and end of a tasklet; the hooks ---- */

extern const sl_env python_env;

/* ---- exceptions.c ---- */

PyObject *bomb_from_error(void);              /* takes the current exception */
PyObject *bomb_from_args(PyObject *exc, PyObject *value, PyObject *tb); /* throw's rules */
PyObject *bomb_from_class(PyObject *cls, PyObject *args);
PyObject *bomb_from_call(const char *type, const char *method, PyObject *args /* (class, *its arguments) */);
void bomb_explode(PyObject *bomb /* stolen */);
/* A class that raises the bomb's exception when raised asynchronously. */
PyObject *bomb_async_class(PyObject *bomb);
void normalize_current_exception(void);
bool bomb_is_exit(PyObject *bomb);
bool bomb_carries(PyObject *bomb, PyObject *instance);
static inline bool is_bomb(PyObject *o)
{
    return Py_TYPE(o) == fe.bomb_type;
}
int exceptions_init(PyObject *module);

/* ---- tasklet.c ---- */

int tasklet_init_type(PyObject *module);
PyTasklet *tasklet_new_main(scheduler *s);
void tasklet_join(PyTasklet *t, scheduler *s);
int tasklet_refuse(const char *text); /* -1 with RuntimeError */
extern PyGetSetDef tasklet_getset[]; /* tasklet_attrs.c */
/* The methods. */
PyObject *tasklet_insert(PyObject *self, PyObject *unused);
PyObject *tasklet_remove(PyObject *self, PyObject *unused);
PyObject *tasklet_run(PyObject *self, PyObject *unused);
PyObject *tasklet_switch(PyObject *self, PyObject *unused);
PyObject *tasklet_set_atomic(PyObject *self, PyObject *value);
PyObject *tasklet_set_ignore_nesting(PyObject *self, PyObject *value);

/* ---- bind.c: what a tasklet is to run ---- */

void tasklet_set_dead(PyTasklet *t);
int tasklet_inherit_context(PyObject **context);
int tasklet_bind(PyTasklet *t, PyObject *func, PyObject *args, PyObject *kwargs); /* None is as good as NULL */
int tasklet_bind_thread(PyTasklet *t, unsigned long id);
/* The methods. */
int tasklet_init(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *tasklet_bind_method(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *tasklet_setup(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *tasklet_bind_thread_method(PyObject *self, PyObject *args);

/* ---- throw.c ---- */

/* Sends `bomb` (stolen; NULL: there is an exception already) into `t`; the caller's tempval, or NULL. */
PyObject *tasklet_throw_bomb(PyTasklet *t, PyObject *bomb, bool pending);
int tasklet_kill(PyTasklet *t, bool pending);
/* The methods. */
PyObject *tasklet_throw(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *tasklet_raise_exception(PyObject *self, PyObject *args);
PyObject *tasklet_kill_method(PyObject *self, PyObject *args, PyObject *kwargs);

/* ---- tasklet_attrs.c, names.c: what a tasklet is called and where it was made ---- */

/* Runs at this moment, here or on another OS thread. */
bool tasklet_is_current(PyTasklet *t);
/* Its thread state while it is started, else NULL. */
static inline PyThreadState *state_of(PyTasklet *t)
{
    return t->execution == EXEC_STARTED && t->base.carrier ? t->base.carrier->env : NULL;
}
/* The attributes. */
PyObject *tasklet_paused(PyObject *self, void *unused);
PyObject *tasklet_scheduled(PyObject *self, void *unused);
PyObject *tasklet_is_main(PyObject *self, void *unused);
PyObject *tasklet_restorable(PyObject *self, void *unused);
PyObject *tasklet_recursion_depth(PyObject *self, void *unused);
int tasklet_depth_in_c(PyTasklet *t); /* nesting_level; 0 if it does not run */
PyObject *tasklet_nesting_level(PyObject *self, void *unused);
PyObject *tasklet_frame(PyObject *self, void *unused);
rarities *tasklet_rare(PyTasklet *t); /* NULL with MemoryError */
void names_born(PyTasklet *t);
PyObject *names_get(PyTasklet *t);
PyObject *names_place(PyTasklet *t); /* "FILE:LINE", or None */
PyObject *names_repr(PyObject *self);
void names_note(PyTasklet *t); /* to the current exception */
int names_init(void);
PyObject *names_get_attr(PyObject *self, void *unused);
int names_set_attr(PyObject *self, PyObject *value, void *unused);
PyObject *names_created_at(PyObject *self, void *unused);

/* ---- context.c, trace.c: contextvars, trace and profile functions ---- */

PyObject *context_set(PyObject *self, PyObject *context);
PyObject *context_run(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names);
PyObject *context_get_id(PyObject *self, void *unused);
PyObject *trace_get(PyObject *self, void *which);
int trace_set(PyObject *self, PyObject *value, void *which);
/* On the tasklet's own state: at its start, and when it runs again. */
void trace_begin(PyTasklet *t);
void trace_apply(PyTasklet *t);
void trace_forget(PyTasklet *t);
int trace_init(void);

PyObject *context_of(PyTasklet *t); /* made if there is none yet */

/* ---- pickle.c ---- */

PyObject *pickle_reduce_tasklet(PyObject *self, PyObject *unused);
PyObject *pickle_reduce_tasklet_ex(PyObject *self, PyObject *protocol);
PyObject *pickle_restore_tasklet(PyObject *self, PyObject *state);
PyObject *pickle_reduce_channel(PyObject *self, PyObject *unused);
PyObject *pickle_reduce_channel_ex(PyObject *self, PyObject *protocol);
PyObject *pickle_restore_channel(PyObject *self, PyObject *state);
/* Had started when it was pickled: it can be looked at, but not run. */
bool pickle_is_stopped(PyTasklet *t);
PyObject *pickle_remains(PyTasklet *t, const char *name);
int pickle_init(PyObject *module);

/* ---- exits.c: who swallows TaskletExit ---- */

/* TaskletExit has been raised in `t` (it is the current exception), or will be. */
void exits_raised(PyTasklet *t);
void exits_look(scheduler *s);
void exits_forget(PyTasklet *t);

/* ---- channel.c: the rules; channel_type.c: the type ---- */

int channel_init_type(PyObject *module);
void channel_enqueue(PyChannel *c, PyTasklet *t, int dir);
void channel_remove(PyChannel *c, PyTasklet *t);
/* dir: +1 to send, -1 to receive.  Would it not block? */
bool channel_ready(const PyChannel *c, int dir);
/* The operation (5.1): `value` is stolen, NULL for None and to receive.  With
 * CHANNEL_NOW it does not wait but returns NULL without an exception. */
#define CHANNEL_NOW ((int64_t)-1)
PyObject *channel_operate(PyChannel *c, PyTasklet *t, PyObject *value, int dir, int64_t deadline);
/* The same from the beginning, for the calling tasklet and SL_NEVER, or any deadline. */
PyObject *channel_perform(PyObject *self, PyObject *value, int dir);
PyObject *channel_perform_until(PyObject *self, PyObject *value, int dir, int64_t deadline);
/* The first value in the buffer, which is not empty. */
static inline PyObject *channel_take(PyChannel *c)
{
    PyObject *value = c->buffer[c->first];
    c->count--;
    if (++c->first == c->capacity)
        c->first = 0;
    return value;
}
PyObject *channel_refuse_closed(void);
static inline bool channel_is_closed(const PyChannel *c)
{
    return c->closing && c->balance == 0 && c->count == 0;
}

/* ---- select.c ---- */

int select_init(PyObject *module);
/* The tasklet of the first waiting arm that a `dir` operation can meet, or NULL. */
PyTasklet *select_peek(const PyChannel *c, int dir, uint64_t *arrival);
/* Wins that arm and takes its tasklet off all its channels; what it sends goes to
 * its tempval.  The wait's reference goes to the caller. */
void select_win(PyChannel *c, int dir);

/* ---- sync.c, queue.c (on gate.h): locks, semaphores, events, conditions; queues ---- */

int sync_init(PyObject *module);
int queue_init(PyObject *module);

/* ---- group.c ---- */

int group_init(PyObject *module);
/* Tells a watched tasklet its outcome: `result` (stolen), or NULL and the current exception. */
void group_tell(PyTasklet *t, PyObject *result);

/* ---- waits.c ---- */

int waits_init(PyObject *module);
/* A delay in seconds as a deadline; None: SL_NEVER.  -1 with an exception. */
int parse_deadline(PyObject *seconds, int64_t *deadline);
/* Starts the clock of `w`; at the deadline fire(&w->timer) runs, where no Python
 * code may; NULL: timed_out is set and the tasklet made runnable. */
int wait_arm(PyTasklet *t, pywait *w, int64_t deadline, void (*fire)(sl_timer *));
/* Leaves the ring until something makes it runnable: its tempval, or NULL with
 * what was thrown at it. */
PyObject *wait_park(PyTasklet *t, pywait *w);
/* In a forked child: of the lane's timers only survivor's time-outs go on. */
void waits_abandon(sl_olane *lane, PyTasklet *survivor);
void wait_cancel(PyTasklet *t);
/* Parks the running tasklet until `ns` have passed or the descriptor is ready.
 * Events, 0 on time-out, -1 with an exception. */
int wait_fd(PyTasklet *t, sl_fd *fd, uint32_t events, int64_t deadline);

/* ---- descriptor.c, capi.c, config.c, lifecycle.c ---- */

int descriptor_init_type(PyObject *module);
int capi_init(PyObject *module);
int config_read(void);
PyObject *config_describe(void);
int config_threads(void);
int lifecycle_init(PyObject *module);
/* PyThreadState_New() for a thread without the GIL, never in the middle of a fork. */
PyThreadState *lifecycle_new_state(void);
/* Kills each started tasklet of `s`, once; false: it gave up, with a warning that names the occasion. */
bool lifecycle_kill_all(scheduler *s, const char *occasion);
/* Ends a child process whose only tasklet ended; NULL: with the current exception. */
_Noreturn void lifecycle_end_child(PyObject *result);

#endif
