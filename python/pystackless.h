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

#include "../sched/lane.h"

#define CONFIG_THREADS_MAX 1024

#define container(type, member, ptr) ((type *)((char *)(ptr)-offsetof(type, member)))

typedef struct scheduler scheduler;
typedef struct PyTasklet PyTasklet;
typedef struct PyChannel PyChannel;

enum execution {
    EXEC_NONE = 0, /* dead, or only a callable is bound (in tempval) */
    EXEC_FRESH,    /* callable and arguments are bound, not started */
    EXEC_STARTED,  /* has a carrier */
};

/* A park on a timer or a descriptor, in the frame of who waits (waits.c). */
typedef struct pywait {
    sl_timer timer;
    sl_fdwait fdwait;
    PyTasklet *tasklet;
    bool timed_out;
} pywait;

/* References: membership in a ring, in a channel's queue, in a wait and being
 * a stray hold one strong reference to the tasklet, handed from one to the
 * next.  A floating tasklet has only its users'. */
struct PyTasklet {
    PyObject_HEAD
    sl_tasklet base;
    PyObject *tempval; /* NULL: None */
    PyObject *func, *args, *kwargs; /* while EXEC_FRESH; args is a tuple */
    PyObject *context; /* contextvars.Context to run in, or NULL: an empty one */
    PyChannel *channel; /* while SL_IN_QUEUE; borrowed: the blocked call holds it */
    pywait *wait;       /* while SL_IN_WAIT */
    PyTasklet *next_corpse;
    PyObject *weakrefs;
    uint32_t timeouts; /* armed timeout() blocks of this tasklet */
    uint8_t execution;
    int8_t blocked; /* +1 waits to send, -1 to receive */
    bool delivered; /* tempval came over a channel and must not be lost */
    bool is_main, atomic, ignore_nesting, block_trap, zombie, killed_at_exit;
};

struct PyChannel {
    PyObject_HEAD
    sl_tasklet *head, *tail; /* FIFO by next/prev, ends NULL */
    Py_ssize_t balance;      /* > 0: senders wait; < 0: receivers */
    int preference;          /* -1, 0, 1 */
    int schedule_all;
    bool closing;
    PyObject *weakrefs;
};

struct scheduler {
    sl_lane lane;
    sl_worker worker; /* of the thread that brought it */
    sl_pool pool;
    PyTasklet *main;  /* strong */
    unsigned long thread_id;
    Py_ssize_t refs;  /* its thread, and every tasklet */
    bool initial;     /* the initial thread's */
    bool dead;        /* its thread has ended, or was left behind by a fork */
    bool parked;      /* its thread sleeps with nothing to run: deadlock check */
    bool closing;     /* interpreter exit: do not wait for the lane for ever */
    int64_t close_by; /* ... not beyond this */
    int switch_trap;
    PyTasklet **watchdogs; /* tasklets inside run(), innermost last; borrowed: their frames hold them */
    int nwatchdogs, watchdogs_size;
    bool threadblock;      /* the innermost watchdog asked to wait for other threads */
    PyTasklet *last_blocked; /* who emptied the ring by blocking; borrowed, NULL if it ended */
    PyTasklet *corpses;    /* left the ring for good or as floating: who runs next drops the ring's reference */
    scheduler *next;       /* all schedulers */
    uint64_t spawned;
};

typedef struct front_end {
    PyTypeObject *tasklet_type, *channel_type, *bomb_type, *atomic_type, *descriptor_type,
        *timeout_type, *pinned_type;
    PyObject *tasklet_exit;
    PyObject *error_handler; /* or NULL */
    PyInterpreterState *interp;
    unsigned long main_thread_id;
    PyThreadState *main_ts;
    sl_stack_pool *stacks;
    scheduler *schedulers;
    scheduler *initial; /* NULL until the initial thread uses the module */
    int threads;        /* STACKLESS_THREADS, 0: default */
    size_t stack_size;
    uint64_t epoch;     /* pollers made before another value are gone (fork) */
    bool finished;      /* exit has run: no switching any more */
} front_end;

extern front_end fe;

static inline scheduler *scheduler_of(const PyTasklet *t)
{
    return container(scheduler, lane, t->base.lane);
}

static inline PyTasklet *tasklet_of(sl_tasklet *base)
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

/* ---- threads.c ---- */

/* The calling thread's tasklet, making a scheduler on first use; NULL with an
 * exception.  Never switches. */
PyTasklet *current_slow(void);
static inline PyTasklet *current_tasklet(void)
{
    sl_worker *w = sl_self();
    if (__builtin_expect(w && w->current, 1))
        return tasklet_of(w->current);
    return current_slow();
}
scheduler *scheduler_of_thread(unsigned long id);
void scheduler_unref(scheduler *s);
/* Are all other threads of the interpreter parked (or is there none)? */
bool threads_all_parked(scheduler *s);
int threads_init(PyObject *module);

/* ---- schedule.c: the ring rules ---- */

/* The calling tasklet at a scheduling point: queues a stray for the lane,
 * raises what was thrown at it. */
PyTasklet *enter_slow(PyTasklet *t);
static inline PyTasklet *enter(void)
{
    sl_worker *w = sl_self();
    if (__builtin_expect(w && w->current && w->lane && w->current->place == SL_IN_RING, 1))
        return tasklet_of(w->current);
    PyTasklet *t = current_tasklet();
    return t ? enter_slow(t) : NULL;
}

/* Control passes from `prev`, the running tasklet, to `next`; NULL: to whoever
 * the rules for an empty ring name.  Returns prev's tempval when it runs
 * again, or NULL with the exception that was planted there.  The queue changes
 * are the caller's; it has called trapped() before making them. */
PyObject *switch_to(PyTasklet *prev, PyTasklet *next);
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
void drop_corpses(scheduler *s);
void add_corpse(scheduler *s, PyTasklet *t /* stolen */);
static inline void after_landing(scheduler *s)
{
    if (__builtin_expect(s->corpses || sl_carrier_due(&s->lane), 0))
        drop_corpses(s);
}
PyObject *schedule_common(PyTasklet *t, PyObject *retval, bool remove);
PyObject *run_loop(PyTasklet *t, bool threadblock);
void set_tempval(PyTasklet *t, PyObject *value /* stolen */);

/* ---- body.c: beginning and end of a tasklet; the hooks ---- */

extern const sl_env python_env;

/* ---- exceptions.c ---- */

PyObject *bomb_from_error(void);              /* takes the current exception */
PyObject *bomb_from_args(PyObject *exc, PyObject *value, PyObject *tb); /* throw's rules */
PyObject *bomb_from_class(PyObject *cls, PyObject *args);
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
void tasklet_set_dead(PyTasklet *t);
extern PyGetSetDef tasklet_getset[]; /* tasklet_attrs.c */
/* Sends `bomb` (stolen) into `t`: 0, 1 with *result (the caller's tempval), or -1. */
PyObject *tasklet_throw_bomb(PyTasklet *t, PyObject *bomb, bool pending);
int tasklet_kill(PyTasklet *t, bool pending);

/* ---- channel.c ---- */

int channel_init_type(PyObject *module);
void channel_remove(PyChannel *c, PyTasklet *t);

/* ---- waits.c ---- */

int waits_init(PyObject *module);
/* In a forked child: of the lane's timers only survivor's time-outs go on. */
void waits_abandon(sl_lane *lane, PyTasklet *survivor);
void wait_cancel(PyTasklet *t);
/* Parks the running tasklet until `ns` have passed or the descriptor is ready.
 * Events, 0 on time-out, -1 with an exception. */
int wait_fd(PyTasklet *t, sl_fd *fd, uint32_t events, int64_t deadline);

/* ---- descriptor.c, config.c, lifecycle.c ---- */

int descriptor_init_type(PyObject *module);
int config_read(void);
PyObject *config_describe(void);
int config_threads(void);
int lifecycle_init(PyObject *module);
/* PyThreadState_New() for a thread without the GIL, never in the middle of a fork. */
PyThreadState *lifecycle_new_state(void);
PyTasklet *next_victim(scheduler *s); /* borrowed */
/* Ends a child process whose only tasklet ended; NULL: with the current exception. */
_Noreturn void lifecycle_end_child(PyObject *result);

#endif
