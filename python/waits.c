/* SPDX-License-Identifier: MIT
 *
 * What parks a tasklet other than a channel: sleep(), timeout(), wait().
 *
 * A tasklet that waits is alive, neither paused, scheduled nor blocked.  Its
 * pywait lives in the frame of the waiting call; wait_cancel() takes it out of
 * heap and poller, whoever wakes it.
 */
#include "pystackless.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>

static const double NS = 1e9;
static const int64_t RETRY = 1000 * 1000;

/* ---- parking ---- */

static void count_waiting(sl_olane *lane)
{
    if (lane->netpoll)
        sl_store_relaxed(&lane->waiting, sl_netpoll_waiting(lane->netpoll));
}

void wait_cancel(PyTasklet *t)
{
    sl_olane *lane = t->base.lane;
    pywait *w = t->wait;
    sl_timers_remove(&lane->timers, &w->timer);
    if (w->fdwait.fd)
        sl_netpoll_cancel(lane->netpoll, &w->fdwait);
    if (w->leave)
        w->leave(w);
    count_waiting(lane);
    t->wait = NULL;
    t->base.place = SL_NOWHERE;
}

static void timer_fired(sl_timer *timer)
{
    pywait *w = container(pywait, timer, timer);
    w->timed_out = true;
    make_runnable(w->tasklet);
}

static void fd_ready(sl_fdwait *fdwait)
{
    make_runnable(container(pywait, fdwait, fdwait)->tasklet);
}

PyObject *wait_park(PyTasklet *t, pywait *w)
{
    w->tasklet = t;
    t->wait = w;
    sl_olane_unlink(t->base.lane, &t->base);
    t->base.place = SL_IN_WAIT; /* the ring's reference goes with it */
    count_waiting(t->base.lane);
    sl_olane_watch(t->base.lane);
    return switch_to(t, NULL);
}

static int park(PyTasklet *t, pywait *w)
{
    PyObject *v = wait_park(t, w);
    Py_XDECREF(v);
    return v ? 0 : -1;
}

int wait_arm(PyTasklet *t, pywait *w, int64_t deadline, void (*fire)(sl_timer *))
{
    w->timer.fire = fire ? fire : timer_fired;
    if (deadline != SL_NEVER && sl_timers_add(&t->base.lane->timers, &w->timer, deadline) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* Not inlined: errno's address must not be kept across a switch. */
__attribute__((noinline)) static int bad_descriptor(void)
{
    errno = EBADF;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

int wait_fd(PyTasklet *t, sl_fd *fd, uint32_t events, int64_t deadline)
{
    pywait w = {.fdwait = {.events = events, .wake = fd_ready}};
    sl_netpoll *np = t->base.lane->netpoll;
    if (trapped(t))
        return -1;
    if (!sl_netpoll_enqueue(np, fd, &w.fdwait))
        return (int)w.fdwait.ready;
    if (wait_arm(t, &w, deadline, NULL) < 0) {
        sl_netpoll_cancel(np, &w.fdwait);
        return -1;
    }
    if (park(t, &w) < 0)
        return -1;
    if (w.fdwait.status < 0) {
        return bad_descriptor();
    }
    return w.timed_out ? 0 : (int)w.fdwait.ready;
}

/* ---- seconds ---- */

int parse_deadline(PyObject *seconds, int64_t *deadline)
{
    if (seconds == Py_None) {
        *deadline = SL_NEVER;
        return 0;
    }
    double s = PyFloat_AsDouble(seconds);
    if (s == -1.0 && PyErr_Occurred())
        return -1;
    if (!(s >= 0)) { /* also NaN */
        PyErr_Format(PyExc_ValueError, "seconds must not be negative, got %R", seconds);
        return -1;
    }
    *deadline = s >= 9e9 ? SL_NEVER - 1 : sl_deadline_after(sl_now(), (int64_t)ceil(s * NS));
    return 0;
}

static PyObject *py_sleep(PyObject *module, PyObject *seconds)
{
    int64_t deadline;
    if (parse_deadline(seconds, &deadline) < 0)
        return NULL;
    if (deadline == SL_NEVER) {
        PyErr_SetString(PyExc_TypeError, "sleep() takes a number of seconds, not None");
        return NULL;
    }
    PyTasklet *t = enter_to_wait();
    if (!t)
        return NULL;
    if (deadline <= sl_now())
        return schedule_common(t, Py_None, false);
    pywait w = {0};
    if (trapped(t) || wait_arm(t, &w, deadline, NULL) < 0 || park(t, &w) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static int fd_of(PyObject *o)
{
    return PyObject_AsFileDescriptor(o);
}

/* What poll(2) says of it now: a mask, or -1. */
__attribute__((noinline)) static int ready_now(int fd, uint32_t events)
{
    struct pollfd p = {.fd = fd, .events = (short)events};
    if (poll(&p, 1, 0) <= 0)
        return 0;
    if (p.revents & (POLLERR | POLLHUP))
        return (int)events;
    if (p.revents & POLLNVAL)
        return bad_descriptor();
    return p.revents & (int)events;
}

static PyObject *py_wait(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"fd", "events", "timeout", NULL};
    PyObject *file, *timeout = Py_None;
    unsigned int events;
    int64_t deadline;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OI|O:wait", names, &file, &events, &timeout))
        return NULL;
    int fd = fd_of(file);
    if (fd < 0 || parse_deadline(timeout, &deadline) < 0)
        return NULL;
    if (!events || events & ~(SL_READ | SL_WRITE)) {
        PyErr_Format(PyExc_ValueError, "events must be READ, WRITE or both, got %u", events);
        return NULL;
    }
    PyTasklet *t = enter_to_wait();
    if (!t)
        return NULL;
    sl_netpoll *np;
    sl_fd *record;
    int rc = sl_olane_netpoll(t->base.lane, &np);
    if (rc == 0)
        rc = sl_netpoll_open(np, fd, &record);
    if (rc == SL_ENOTSUP)
        return PyLong_FromLong((long)events); /* a regular file never blocks */
    if (rc == SL_EPOLL) {
        bad_descriptor();
        return NULL;
    }
    if (rc < 0) {
        PyErr_Format(PyExc_OSError, "cannot wait for descriptor %d: %s", fd, sl_strerror(rc));
        return NULL;
    }
    sl_netpoll_clear(record, events);
    int ready = ready_now(fd, events);
    if (ready == 0)
        ready = wait_fd(t, record, events, deadline);
    return ready < 0 ? NULL : PyLong_FromLong(ready);
}

/* ---- timeout() ---- */

typedef struct {
    PyObject_HEAD
    sl_timer timer;
    PyTasklet *tasklet; /* while entered; strong */
    double seconds;     /* negative: none */
    bool expired;
    /* Made on entry, since Python code must not run where timers fire, in the
     * middle of a switch: the exception that this one throws and its bomb. */
    PyObject *mark, *bomb;
    PyObject *displaced; /* the tempval that the bomb took the place of */
} pytimeout;

static PyObject *expired_type; /* BaseException: a body's "except Exception" lets it pass */

static void timeout_fired(sl_timer *timer)
{
    pytimeout *o = container(pytimeout, timer, timer);
    PyTasklet *t = o->tasklet;
    if (!is_alive(t)) { /* ended in the block of a generator */
        o->expired = true;
        return;
    }
    if (t->base.place == SL_IN_RING && t->delivered) {
        /* A value has been delivered to it and must not be lost: later. */
        sl_timers_add(&t->base.lane->timers, timer, timer->deadline + RETRY);
        return;
    }
    t->timeouts--;
    o->expired = true;
    o->displaced = t->tempval;
    t->tempval = Py_NewRef(o->bomb);
    make_runnable(t); /* a stray finds it at its next scheduling point */
}

void waits_abandon(sl_olane *lane, PyTasklet *survivor)
{
    sl_timers *ts = &lane->timers;
    sl_timer_entry *old = ts->heap;
    uint32_t n = (uint32_t)sl_load_relaxed(&ts->count);
    sl_timers_init(ts);
    for (uint32_t i = 0; i < n; i++) {
        sl_timer *timer = old[i].timer;
        timer->place = 0;
        if (survivor && timer->fire == timeout_fired && container(pytimeout, timer, timer)->tasklet == survivor)
            sl_timers_add(ts, timer, timer->deadline); /* out of memory: it never runs out */
    }
    free(old);
}

static PyObject *timeout_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"seconds", NULL};
    PyObject *seconds;
    int64_t unused;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:timeout", names, &seconds) ||
        parse_deadline(seconds, &unused) < 0)
        return NULL;
    pytimeout *o = (pytimeout *)type->tp_alloc(type, 0);
    if (o)
        o->seconds = seconds == Py_None ? -1 : PyFloat_AsDouble(seconds);
    return (PyObject *)o;
}

static void timeout_forget(pytimeout *o)
{
    Py_CLEAR(o->mark);
    Py_CLEAR(o->bomb);
    Py_CLEAR(o->displaced);
    Py_CLEAR(o->tasklet);
}

static PyObject *timeout_enter(PyObject *self, PyObject *unused)
{
    pytimeout *o = (pytimeout *)self;
    PyTasklet *t = current_tasklet();
    if (!t)
        return NULL;
    if (o->tasklet) {
        PyErr_SetString(PyExc_RuntimeError, "this timeout has been entered already; make another one");
        return NULL;
    }
    o->expired = false;
    o->timer.fire = timeout_fired;
    if (o->seconds >= 0) {
        o->mark = PyObject_CallNoArgs(expired_type);
        o->bomb = o->mark ? bomb_from_args(o->mark, Py_None, Py_None) : NULL;
        if (!o->bomb) {
            Py_CLEAR(o->mark);
            return NULL;
        }
        int64_t delay = o->seconds >= 9e9 ? SL_NEVER : (int64_t)ceil(o->seconds * NS);
        if (sl_timers_add(&t->base.lane->timers, &o->timer, sl_deadline_after(sl_now(), delay)) < 0) {
            timeout_forget(o);
            return PyErr_NoMemory();
        }
        t->timeouts++;
        sl_olane_watch(t->base.lane);
    }
    o->tasklet = (PyTasklet *)Py_NewRef(t);
    return Py_NewRef(self);
}

static void disarm(pytimeout *o)
{
    if (!sl_timer_armed(&o->timer))
        return;
    sl_timers_remove(&o->tasklet->base.lane->timers, &o->timer);
    o->tasklet->timeouts--;
}

/* Takes back a bomb of ours that has not gone off. */
static void defuse(pytimeout *o)
{
    PyTasklet *t = o->tasklet;
    if (o->mark && t->tempval && is_bomb(t->tempval) && bomb_carries(t->tempval, o->mark))
        set_tempval(t, NULL);
}

/* A TaskletGroup had errors of its own when the block was interrupted: TimeoutError
 * takes the place of our mark in its exception group. */
static bool mark_in_group(pytimeout *o, PyObject *value)
{
    return o->mark && PyObject_TypeCheck(value, (PyTypeObject *)PyExc_BaseExceptionGroup);
}

static PyObject *raise_in_group(PyObject *group, PyObject *mark /* stolen */, PyObject *error /* stolen */)
{
    PyObject *module = PyImport_ImportModule("stackless._group");
    PyObject *other = module ? PyObject_CallMethod(module, "replaced", "OOO", group, mark, error) : NULL;
    Py_XDECREF(module);
    Py_DECREF(mark);
    Py_DECREF(error);
    if (other == Py_None) {
        Py_DECREF(other);
        Py_RETURN_FALSE;
    }
    if (other)
        PyErr_SetObject((PyObject *)Py_TYPE(other), other);
    Py_XDECREF(other);
    return NULL;
}

static PyObject *timeout_exit(PyObject *self, PyObject *args)
{
    pytimeout *o = (pytimeout *)self;
    PyObject *type, *value, *tb;
    if (!PyArg_ParseTuple(args, "OOO:__exit__", &type, &value, &tb))
        return NULL;
    if (!o->tasklet) {
        PyErr_SetString(PyExc_RuntimeError, "this timeout has not been entered");
        return NULL;
    }
    disarm(o);
    defuse(o);
    bool ours = o->mark && value == o->mark;
    PyObject *mark = mark_in_group(o, value) ? Py_NewRef(o->mark) : NULL;
    timeout_forget(o);
    if (!ours && !mark)
        Py_RETURN_FALSE;
    PyObject *seconds = PyFloat_FromDouble(o->seconds);
    PyObject *text = seconds ? PyUnicode_FromFormat("the block did not end within %R seconds", seconds) : NULL;
    PyObject *error = text ? PyObject_CallOneArg(PyExc_TimeoutError, text) : NULL;
    Py_XDECREF(seconds);
    Py_XDECREF(text);
    if (error && mark)
        return raise_in_group(value, mark, error);
    if (error)
        PyErr_SetObject(PyExc_TimeoutError, error);
    Py_XDECREF(error);
    Py_XDECREF(mark);
    return NULL;
}

static PyObject *timeout_get_expired(PyObject *self, void *unused)
{
    return PyBool_FromLong(((pytimeout *)self)->expired);
}

static void timeout_dealloc(PyObject *self)
{
    pytimeout *o = (pytimeout *)self;
    PyTypeObject *type = Py_TYPE(self);
    if (o->tasklet)
        disarm(o);
    timeout_forget(o);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef timeout_methods[] = {
    {"__enter__", timeout_enter, METH_NOARGS, "Starts the clock for the calling tasklet."},
    {"__exit__", timeout_exit, METH_VARARGS, "Stops the clock; raises TimeoutError if it has run out in the block."},
    {NULL},
};

static PyGetSetDef timeout_getset[] = {
    {"expired", timeout_get_expired, NULL, "Has the time run out?", NULL},
    {NULL},
};

static PyType_Slot timeout_slots[] = {
    {Py_tp_doc, "timeout(seconds)\n--\n\n"
                "Context manager: if its block has not ended after so many seconds (None: no\n"
                "limit), the block is interrupted where it waits - in a channel, sleep(), wait(), a\n"
                "socket of stackless.socket - or at its next scheduling point, and TimeoutError is\n"
                "raised at the end of the block. A call blocked in the operating system is not cut\n"
                "short. Blocks nest; each raises its own. ValueError for negative seconds."},
    {Py_tp_new, timeout_new},
    {Py_tp_dealloc, timeout_dealloc},
    {Py_tp_methods, timeout_methods},
    {Py_tp_getset, timeout_getset},
    {0, NULL},
};

static PyType_Spec timeout_spec = {
    .name = "stackless.timeout",
    .basicsize = sizeof(pytimeout),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = timeout_slots,
};

static PyMethodDef functions[] = {
    {"sleep", py_sleep, METH_O,
     "sleep($module, seconds, /)\n--\n\n"
     "Parks the calling tasklet; the others run. sleep(0) lets each other runnable one have a turn. ValueError for\n"
     "a negative number."},
    {"wait", (PyCFunction)py_wait, METH_VARARGS | METH_KEYWORDS,
     "wait(fd, events, timeout=None) -> int\n\n"
     "Parks the calling tasklet until the descriptor (an int, or an object with fileno())\n"
     "is ready for one of events, READ, WRITE or READ|WRITE, and returns those that are;\n"
     "0 after timeout seconds. An error on the descriptor counts as ready. OSError if it\n"
     "is not open, or is closed meanwhile by a stackless.socket (a plain close is not\n"
     "noticed)."},
    {NULL},
};

int waits_init(PyObject *module)
{
    expired_type = PyErr_NewExceptionWithDoc("stackless._Expired", "Interrupts the block of a timeout().",
                                             PyExc_BaseException, NULL);
    fe.timeout_type = (PyTypeObject *)PyType_FromSpec(&timeout_spec);
    if (!expired_type || !fe.timeout_type ||
        PyModule_AddObjectRef(module, "timeout", (PyObject *)fe.timeout_type) < 0 ||
        PyModule_AddIntConstant(module, "READ", (long)SL_READ) < 0 ||
        PyModule_AddIntConstant(module, "WRITE", (long)SL_WRITE) < 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}
