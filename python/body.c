/* SPDX-License-Identifier: MIT
 *
 * The beginning and the end of a tasklet, and the hooks by which the
 * scheduler's mechanics meet the GIL (the guard) and thread states.
 */
#include "pystackless.h"

#include "../core/clock.h"
#include "../core/threadstat.h"

/* ---- the body ---- */

static PyObject *call(PyTasklet *t)
{
    if (t->tempval && is_bomb(t->tempval)) { /* thrown before the first run */
        take_tempval(t);
        return NULL;
    }
    PyObject *func = Py_NewRef(t->func), *args = t->args, *kwargs = t->kwargs, *result;
    t->args = t->kwargs = NULL;
    if (kwargs)
        result = PyObject_Call(func, args, kwargs);
    else
        result = PyObject_Vectorcall(func, &PyTuple_GET_ITEM(args, 0), (size_t)PyTuple_GET_SIZE(args), NULL);
    Py_DECREF(func);
    Py_DECREF(args);
    Py_XDECREF(kwargs);
    return result;
}

static PyObject *call_in_context(PyTasklet *t)
{
    if (t->context) {
        compat_set_context(t->base.carrier->env, t->context);
        t->context = NULL;
    }
    trace_begin(t);
    if (scheduler_of(t)->watch.owner)
        ticks_follow(t, t->base.carrier->env); /* in front of what that has installed */
    return call(t);
}

/* ---- the end (1.4, 6) ---- */

static PyObject *bomb_after_handler(PyTasklet *t)
{
    PyObject *type, *value, *tb;
    PyErr_Fetch(&type, &value, &tb);
    PyErr_NormalizeException(&type, &value, &tb);
    if (tb)
        PyException_SetTraceback(value, tb);
    PyObject *handler = Py_NewRef(fe.error_handler);
    PyObject *r = PyObject_CallFunctionObjArgs(handler, type, value, tb ? tb : Py_None, NULL);
    Py_DECREF(handler);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(tb);
    if (!r)
        return bomb_from_error();
    Py_DECREF(r);
    return NULL;
}

/* The exception with which a tasklet's function ended, as a bomb for the watchdog, or
 * `for_main`; NULL when it ends here. */
static PyObject *outcome(PyTasklet *t, bool *for_main)
{
    scheduler *s = scheduler_of(t);
    normalize_current_exception();
    if (PyErr_ExceptionMatches(fe.tasklet_exit)) {
        PyErr_Clear();
        return NULL;
    }
    if (PyErr_ExceptionMatches(PyExc_SystemExit)) {
        if (!s->initial) {
            PyErr_Clear();
            return NULL;
        }
        *for_main = true; /* the program unwinds and exits with its status */
        return bomb_from_error();
    }
    names_note(t);
    return fe.error_handler ? bomb_after_handler(t) : bomb_from_error();
}

/* The carrier serves the next tasklet if the last one has left nothing in its state. */
static void leave_clean(PyTasklet *t, sl_carrier *c)
{
    PyThreadState *ts = c->env;
    ticks_leave(t);
    if (scheduler_of(t)->watch.runs == t)
        scheduler_of(t)->watch.runs = NULL;
    if (ts->context)
        compat_set_context(ts, NULL);
    c->condemned = !compat_is_clean(ts);
}

static void end(PyTasklet *t, PyObject *result)
{
    scheduler *s = scheduler_of(t);
    bool for_main = false;
    PyObject *bomb = NULL;
    if (t->is_main)
        lifecycle_end_child(result); /* forked: it is all there is */
    if (t->watched)
        group_tell(t, result);
    else if (result)
        Py_DECREF(result);
    else
        bomb = outcome(t, &for_main);
    tasklet_set_dead(t);
    sl_carrier *carrier = t->base.carrier;
    sl_oworker *w = sl_self(); /* Python code has run: it may be another */
    if (t->base.place == SL_IN_RING)
        sl_olane_unlink(&s->lane, &t->base);
    t->base.place = SL_NOWHERE;
    t->base.carrier = NULL;
    t->base.home = NULL;
    if (bomb) {
        PyTasklet *target = for_main ? s->main : watchdog_or_main(s); /* a handler may have ended the one it was */
        plant(target, bomb);
        if (w->lane && target->base.place == SL_IN_RING)
            s->lane.current = &target->base;
    } else if (w->lane && !s->lane.current) {
        resolve_empty_ring(s, NULL);
    } else if (!w->lane) {
        s->last_blocked = NULL;
    }
    if (s->chores && w->lane)
        leaving(s, t, false);
    leave_clean(t, carrier);
    add_corpse(s, t); /* the ring's reference, or the stray's */
}

static sl_oworker *run(sl_oworker *w)
{
    PyTasklet *t = tasklet_of(w->current);
    t->execution = EXEC_STARTED;
    after_landing(scheduler_of(t));
    end(t, call_in_context(t));
    return sl_self();
}

static void no_carrier(sl_olane *lane, sl_otasklet *base, int error)
{
    scheduler *s = container(scheduler, lane, lane);
    PyTasklet *t = tasklet_of(base), *target = watchdog_or_main(s);
    PyObject *type, *value, *tb;
    PyErr_Fetch(&type, &value, &tb);
    PyErr_Format(PyExc_MemoryError, "no stack for a tasklet: %s (STACKLESS_STACK_SIZE is %zu bytes)",
                 sl_strerror(error), fe.stack_size);
    PyObject *bomb = bomb_from_error();
    PyErr_Restore(type, value, tb);
    sl_olane_unlink(lane, base);
    tasklet_set_dead(t);
    add_corpse(s, t);
    set_tempval(target, bomb);
    make_runnable(target);
    if (target->base.place == SL_IN_RING)
        lane->current = &target->base;
}

/* ---- hooks ---- */

static void attach(sl_oworker *w)
{
    PyEval_RestoreThread(w->native.env);
}

static void detach(sl_oworker *w)
{
    PyEval_SaveThread();
}

static int worker_begin(sl_oworker *w)
{
    PyThreadState *ts = lifecycle_new_state();
    __atomic_store_n(&w->native.env, ts, __ATOMIC_RELEASE);
    return ts ? 0 : SL_ENOMEM;
}

static void worker_end(sl_oworker *w)
{
    PyThreadState *ts = w->native.env;
    PyEval_RestoreThread(ts);
    PyThreadState_Clear(ts);
    __atomic_store_n(&w->native.env, NULL, __ATOMIC_RELEASE);
    PyThreadState_DeleteCurrent();
}

static void swap(sl_oworker *w, sl_carrier *to)
{
    if (COMPAT_SIGNAL_TARGET && fe.initial && w == fe.initial->lane.owner)
        compat_set_signal_target(to->env);
    compat_swap(to->env);
}

static int carrier_begin(sl_carrier *c)
{
    PyThreadState *ts = PyThreadState_New(fe.interp);
    if (!ts)
        return SL_ENOMEM;
    compat_set_stack(ts, c->stack->base, c->stack->size);
    c->env = ts;
    return 0;
}

static void carrier_end(sl_carrier *c)
{
    PyThreadState *ts = c->env;
    PyThreadState_Clear(ts);
    PyThreadState_Delete(ts);
}

static bool idle(sl_olane *lane, sl_oworker *w)
{
    scheduler *s = container(scheduler, lane, lane);
    PyTasklet *prev = s->last_blocked;
    bool waits = prev && (prev->base.place == SL_IN_QUEUE || prev->base.place == SL_IN_WAIT);
    return resolve_empty_ring(s, waits ? prev : NULL);
}

static void landed(sl_olane *lane)
{
    after_landing(container(scheduler, lane, lane));
}

/* Main continues although nobody switched to it: with the lane if its thread
 * has it or nobody uses it, else as a stray. */
static void release_main(scheduler *s, sl_oworker *w)
{
    PyTasklet *main = s->main;
    sl_otasklet *base = &main->base;
    if (!unblock(main)) {
        if (base->place == SL_IN_RING)
            sl_olane_unlink(&s->lane, base);
        else if (base->place == SL_DEFERRED)
            sl_undefer_one(w, base);
        else
            Py_INCREF(main);
    }
    if (w->lane || sl_olane_take_idle(&s->lane, w)) {
        sl_olane_append_head(&s->lane, base);
    } else {
        base->place = SL_STRAY;
        sl_store_relaxed(&s->lane.strays, sl_load_relaxed(&s->lane.strays) + 1);
    }
}

static bool signals(sl_oworker *w)
{
    PyTasklet *main = tasklet_of(w->native.tasklet);
    scheduler *s = scheduler_of(main);
    if (s->closing && sl_now() > s->close_by) {
        release_main(s, w);
        return true;
    }
    if (!s->initial || PyErr_CheckSignals() == 0)
        return false;
    set_tempval(main, bomb_from_error());
    release_main(s, w);
    return true;
}

#if COMPAT_SWAP_KEEPS_GIL
/* How long the GIL is on offer to a stray, in looks at who has it: about
 * 30 us, the time in which a woken thread gets there. */
enum { OFFER_LOOKS = 3000 };

static void offer(sl_oworker *w)
{
    if (!sl_load_relaxed(&w->native.lane->strays))
        return;
    sl_store_relaxed32(&w->switching, 1); /* away, but not blocked */
    PyThreadState *ts = PyEval_SaveThread();
    for (int i = 0; i < OFFER_LOOKS && !_PyThreadState_UncheckedGet(); i++)
        sl_cpu_pause();
    PyEval_RestoreThread(ts);
    sl_store_release32(&w->switching, 0);
}
#endif

static bool away(sl_oworker *w, sl_carrier *c)
{
    return compat_detached(c->env);
}

/* A thread that waits for the GIL sleeps on a futex in the runtime's own data.
 * Where the kernel does not tell, a GIL that was free must do for evidence. */
static bool blocked(sl_oworker *h, bool free)
{
    uintptr_t futex;
    switch (sl_thread_look((unsigned)sl_load_relaxed32(&h->tid), &futex)) {
    case SL_THREAD_SLEEPS:
        return !compat_in_runtime(futex);
    case SL_THREAD_RUNS:
        return false;
    default:
        return free;
    }
}

static bool may_hand_off(sl_olane *lane, sl_otasklet *base)
{
    scheduler *s = container(scheduler, lane, lane);
    PyTasklet *t = tasklet_of(base);
    return !t->atomic && !s->switch_trap && !s->in_callback && !fe.finished;
}

static void starved(sl_opool *pool)
{
    if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1,
                         "all %d threads that run tasklets are blocked in the operating system; the other "
                         "tasklets wait until one returns. Set STACKLESS_THREADS to more than %d to allow "
                         "more blocking calls at once.",
                         pool->limit, pool->limit) < 0)
        PyErr_WriteUnraisable(NULL);
}

static void slice_over(sl_opool *pool, uintptr_t turn)
{
    attach(&pool->monitor);
    watchdog_slice_over(container(scheduler, pool, pool), turn);
    detach(&pool->monitor);
}

static int warn_no_thread(void *unused)
{
    if (PyErr_WarnEx(PyExc_RuntimeWarning,
                     "the system refuses another thread: tasklets that are blocked in the operating "
                     "system may stop the others", 1) < 0)
        PyErr_WriteUnraisable(NULL);
    return 0;
}

static void no_thread(void)
{
    Py_AddPendingCall(warn_no_thread, NULL); /* from wherever we are to the main thread, between two instructions */
}

const sl_env python_env = {
    .attach = attach,
    .detach = detach,
    .worker_begin = worker_begin,
    .worker_end = worker_end,
    .swap = swap,
    .carrier_begin = carrier_begin,
    .carrier_end = carrier_end,
    .run = run,
    .no_carrier = no_carrier,
    .idle = idle,
    .landed = landed,
    .signals = signals,
#if COMPAT_SWAP_KEEPS_GIL
    .offer = offer,
#endif
    .away = away,
    .blocked = blocked,
    .may_hand_off = may_hand_off,
    .starved = starved,
    .slice_over = slice_over,
    .no_thread = no_thread,
    .thread_limit = config_threads,
};
