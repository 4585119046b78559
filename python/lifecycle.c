/* SPDX-License-Identifier: MIT
 *
 * The end of the process and fork: what becomes of tasklets and threads.
 */
#include "pystackless.h"

#include <unistd.h>

#include "../core/cpus.h"
#include "../core/lock.h"

/* How long exit waits for a tasklet that keeps the lane, nanoseconds. */
static const int64_t EXIT_PATIENCE = 500 * 1000 * 1000;

/* ---- interpreter exit (11) ---- */

/* A started tasklet of `s` that has not been asked to end yet (killed_at_exit), or NULL. */
static PyTasklet *next_victim(scheduler *s)
{
    for (sl_carrier *c = s->lane.busy; c; c = c->next) {
        PyTasklet *t = c->tasklet ? tasklet_of(c->tasklet) : NULL;
        if (t && !t->killed_at_exit)
            return t;
    }
    return NULL;
}

/* A supervisor may start another tasklet for each that dies; that has to end too. */
enum { SUCCESSORS_MOST = 1000 };

bool lifecycle_kill_all(scheduler *s, const char *occasion)
{
    PyTasklet *t;
    for (size_t left = s->lane.nbusy + SUCCESSORS_MOST; (t = next_victim(s)) != NULL; left--) {
        if (!left) {
            if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1,
                                 "%R and %d others have been started by tasklets that were killed at the end of the %s; "
                                 "no more are waited for", t, SUCCESSORS_MOST, occasion) < 0)
                PyErr_WriteUnraisable((PyObject *)t);
            return false;
        }
        t->killed_at_exit = true;
        Py_INCREF(t);
        if (tasklet_kill(t, false) < 0)
            PyErr_WriteUnraisable((PyObject *)t);
        Py_DECREF(t);
        if (!sl_self()->lane)
            return false; /* main was blocked on the way: enough */
    }
    return true;
}

/* Main comes back from a wait that a signal ended, while somebody keeps the
 * lane on another thread: that one is told to end, and main waits a little. */
static bool regain_lane(scheduler *s)
{
    sl_oworker *w = sl_self(), *host = sl_olane_host(&s->lane);
    if (w->lane)
        return true;
    if (host->current)
        compat_raise_async(host->current->carrier->env, fe.tasklet_exit);
    s->closing = true;
    s->close_by = sl_now() + EXIT_PATIENCE;
    sl_rejoin(w, &s->main->base);
    after_landing(s);
    s->closing = false;
    return sl_self()->lane != NULL;
}

/* What has not started just goes away. */
static void drop_fresh(scheduler *s)
{
    sl_otasklet *b = s->main->base.next;
    while (b != &s->main->base) {
        PyTasklet *t = tasklet_of(b);
        b = b->next;
        if (t->execution != EXEC_FRESH)
            continue;
        sl_olane_unlink(&s->lane, &t->base);
        add_corpse(s, t);
    }
    after_landing(s);
}

static PyObject *shut_down(PyObject *module, PyObject *unused)
{
    scheduler *s = fe.initial;
    sl_oworker *w = sl_self();
    if (!s || fe.finished || w != &s->worker || w->current != &s->main->base) {
        fe.finished = true;
        Py_RETURN_NONE;
    }
    s->switch_trap = 0;
    s->main->block_trap = true; /* nothing would ever wake it */
    if (regain_lane(s)) {
        drop_fresh(s);
        lifecycle_kill_all(s, "process");
    }
    fe.finished = true;
    if (s->lane.pool && sl_self()->lane)
        sl_opool_stop(&s->pool, sl_self());
    Py_RETURN_NONE;
}

/* ---- fork ---- */

/* What belongs to threads that do not exist here, or to tasklets that the
 * child goes on without.  CPython has freed every thread state but ours. */
static void abandon_tasklet(PyTasklet *t)
{
    t->base.carrier = NULL;
    t->base.home = NULL;
    t->execution = EXEC_NONE; /* its frames are gone with its thread state */
    if (t->base.place == SL_IN_QUEUE)
        channel_remove(t->channel, t); /* the reference is lost with the stack that held it */
    else if (t->base.place == SL_IN_WAIT && t->wait->leave)
        t->wait->leave(t->wait);
    if (t->base.place != SL_IN_RING)
        t->base.place = SL_NOWHERE;
    t->wait = NULL;
}

/* It forked in a schedule callback, on its way into a wait: nobody is left to end that,
 * and if it has a timeout that is over. */
static void recall(PyTasklet *t)
{
    pywait *w = t->wait;
    bool timed = w && sl_timer_armed(&w->timer);
    if (!unblock(t))
        return;
    if (timed) {
        w->timed_out = true;
        return;
    }
    PyErr_SetString(PyExc_RuntimeError, "Deadlock: the last runnable tasklet cannot be blocked.");
    t->tempval = bomb_from_error(); /* what was there belongs to nobody, and finalizers must not run here */
}

static void abandon(scheduler *s, PyTasklet *survivor)
{
    sl_olane *lane = &s->lane;
    if (survivor && scheduler_of(survivor) == s)
        recall(survivor);
    for (sl_carrier *c = lane->busy; c; c = c->next) {
        PyTasklet *t = c->tasklet ? tasklet_of(c->tasklet) : NULL;
        if (t && t != survivor)
            abandon_tasklet(t);
    }
    if (s->main && s->main != survivor)
        abandon_tasklet(s->main); /* a native carrier is in no list */
    while (lane->current) {
        PyTasklet *t = tasklet_of(lane->current);
        sl_olane_unlink(lane, &t->base);
        if (t != survivor)
            Py_DECREF(t);
    }
    lane->busy = lane->free = lane->free_last = lane->condemned = NULL;
    lane->nbusy = lane->nfree = lane->deferred = 0;
    waits_abandon(lane, survivor);
    if (lane->netpoll)
        sl_netpoll_destroy(lane->netpoll); /* the epoll instance is shared with the parent */
    lane->netpoll = NULL;
    sl_store_relaxed(&lane->waiting, 0);
    sl_store_relaxed(&lane->strays, 0);
    s->nwatchdogs = 0;
    watchdog_end_timeout(s);
    s->watch.interrupted = NULL; /* as told */
    s->last_blocked = NULL;
    s->parked = s->closing = false;
    s->corpses = NULL;
    s->told = NULL; /* the reference is lost, it may be anyone's */
    if (!survivor || !callback_runs(survivor)) /* else it returns there */
        s->in_callback = 0;
}

/* `t` is all there is: it becomes the main tasklet of its scheduler, on the
 * stack where it stands. */
static void become_main(scheduler *s, PyTasklet *t)
{
    sl_oworker *w = sl_self();
    PyTasklet *old = s->main;
    if (old != t) {
        old->is_main = false;
        old->execution = EXEC_NONE;
        old->base.carrier = NULL;
        old->base.home = NULL;
        old->base.place = SL_NOWHERE;
        w->native.context = t->base.carrier->context;
        w->native.env = t->base.carrier->env;
        w->native.lane = &s->lane;
        w->native.tasklet = &t->base;
        t->base.carrier = &w->native;
        t->is_main = true;
        s->main = (PyTasklet *)Py_NewRef(t);
        Py_DECREF(old);
    }
    t->base.home = w;
    t->base.place = SL_NOWHERE;
    w->current = &t->base;
    w->lane = &s->lane;
    w->deferred = NULL;
    sl_store_ptr(&w->on, &w->native);
    if (s->lane.pool)
        sl_opool_after_fork(&s->pool, w);
    s->pool.monitor.native.env = NULL; /* freed with its thread; the deadlock check counts states */
    sl_store_ptr(&s->lane.host, w);
    s->lane.owner = w;
    sl_olane_append(&s->lane, &t->base); /* with the reference it had */
    s->initial = true;
    s->thread_id = PyThread_get_thread_ident();
    fe.initial = s;
}

/* Held while a thread without the GIL makes its state, and across a fork:
 * CPython's own lock for that is taken for ever in the child of a fork in the
 * middle (seen on 3.11). */
static sl_lock making_state;

PyThreadState *lifecycle_new_state(void)
{
    sl_lock_take(&making_state);
    PyThreadState *ts = PyThreadState_New(fe.interp);
    sl_lock_drop(&making_state);
    return ts;
}

static PyObject *before_fork(PyObject *module, PyObject *unused)
{
    sl_cpu_before_fork();
    if (!sl_trylock(&making_state)) { /* its holder may need the GIL: an allocator that traces */
        Py_BEGIN_ALLOW_THREADS
        sl_lock_take(&making_state);
        Py_END_ALLOW_THREADS
    }
    Py_RETURN_NONE;
}

static PyObject *after_fork_in_parent(PyObject *module, PyObject *unused)
{
    sl_lock_drop(&making_state);
    sl_cpu_after_fork(false);
    Py_RETURN_NONE;
}

static PyObject *after_fork_in_child(PyObject *module, PyObject *unused)
{
    sl_lock_init(&making_state);
    sl_cpu_after_fork(true);
    sl_oworker *w = sl_self();
    PyTasklet *t = w && w->current ? tasklet_of(w->current) : NULL;
    scheduler *own = t ? scheduler_of(t) : NULL;
    sl_stack_pool_after_fork(fe.stacks);
    fe.epoch++;
    fe.main_thread_id = PyThread_get_thread_ident();
    fe.main_ts = PyThreadState_Get();
    compat_reset_signal_target(fe.main_ts);
    fe.initial = NULL;
    for (scheduler *s = fe.schedulers; s; s = s->next) {
        abandon(s, t);
        if (s != own)
            s->dead = true;
    }
    fe.schedulers = own;
    if (own) {
        own->next = NULL;
        become_main(own, t);
    }
    Py_RETURN_NONE;
}

/* The status that an uncaught SystemExit asks for; prints what is no number. */
static int status_of_exit(void)
{
    PyObject *type, *value, *tb;
    int status = 0;
    PyErr_Fetch(&type, &value, &tb);
    PyErr_NormalizeException(&type, &value, &tb);
    PyObject *code = value ? PyObject_GetAttrString(value, "code") : NULL;
    if (code && PyLong_Check(code)) {
        status = (int)PyLong_AsLong(code); /* -1 if it is too large */
        PyErr_Clear();
    } else if (code && code != Py_None) {
        PySys_FormatStderr("%S\n", code);
        status = 1;
    }
    return status;
}

static void call_quietly(const char *module, const char *object, const char *method)
{
    PyObject *m = PyImport_ImportModule(module);
    PyObject *o = m && object ? PyObject_GetAttrString(m, object) : Py_XNewRef(m);
    PyObject *r = o ? PyObject_CallMethod(o, method, NULL) : NULL;
    if (!r)
        PyErr_Clear();
    Py_XDECREF(r);
    Py_XDECREF(o);
    Py_XDECREF(m);
}

/* Not Py_Exit(): it needs the main thread state, which the fork has freed. */
_Noreturn void lifecycle_end_child(PyObject *result)
{
    int status = 0;
    if (!result && PyErr_ExceptionMatches(PyExc_SystemExit)) {
        status = status_of_exit();
    } else if (!result) {
        PyErr_Print();
        status = 1;
    }
    call_quietly("atexit", NULL, "_run_exitfuncs");
    call_quietly("sys", "stdout", "flush");
    call_quietly("sys", "stderr", "flush");
    _exit(status);
}

static PyMethodDef functions[] = {
    {"_shut_down", shut_down, METH_NOARGS, "At exit: kills what is left and ends the pool's threads."},
    {"_before_fork", before_fork, METH_NOARGS, "Waits for what must not be forked in the middle."},
    {"_after_fork_in_parent", after_fork_in_parent, METH_NOARGS, "Undoes _before_fork()."},
    {"_after_fork_in_child", after_fork_in_child, METH_NOARGS, "Leaves the forking tasklet alone in the child."},
    {NULL},
};

static int call_with(const char *module, const char *function, PyObject *args, PyObject *kwargs)
{
    PyObject *m = PyImport_ImportModule(module);
    PyObject *f = m ? PyObject_GetAttrString(m, function) : NULL;
    PyObject *r = f ? PyObject_Call(f, args, kwargs) : NULL;
    Py_XDECREF(m);
    Py_XDECREF(f);
    Py_XDECREF(r);
    return r ? 0 : -1;
}

static int register_fork_hooks(PyObject *module)
{
    PyObject *before = PyObject_GetAttrString(module, "_before_fork");
    PyObject *parent = PyObject_GetAttrString(module, "_after_fork_in_parent");
    PyObject *child = PyObject_GetAttrString(module, "_after_fork_in_child");
    PyObject *none = PyTuple_New(0), *kwargs = NULL;
    if (before && parent && child && none)
        kwargs = Py_BuildValue("{sOsOsO}", "before", before, "after_in_parent", parent, "after_in_child", child);
    int rc = kwargs ? call_with("os", "register_at_fork", none, kwargs) : -1;
    Py_XDECREF(before);
    Py_XDECREF(parent);
    Py_XDECREF(child);
    Py_XDECREF(none);
    Py_XDECREF(kwargs);
    return rc;
}

int lifecycle_init(PyObject *module)
{
    if (PyModule_AddFunctions(module, functions) < 0 || register_fork_hooks(module) < 0)
        return -1;
    PyObject *down = PyObject_GetAttrString(module, "_shut_down");
    PyObject *one = down ? PyTuple_Pack(1, down) : NULL;
    int rc = one ? call_with("atexit", "register", one, NULL) : -1;
    Py_XDECREF(down);
    Py_XDECREF(one);
    return rc;
}
