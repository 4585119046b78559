/* SPDX-License-Identifier: MIT
 *
 * The schedule and channel callbacks (3.9, 10.1, 10.2), one of each for the
 * interpreter.
 *
 * A callback must not switch, or it would be called in the middle of itself:
 * while one runs, scheduler.in_callback refuses that (trapped(), enter_slow())
 * and a handoff as well.  Not here: where they are called from (schedule.c,
 * body.c, channel.c).
 */
#include "pystackless.h"

/* ---- the schedule callback ---- */

/* The one who runs as far as the callback knows, so that a change behind its
 * back (a wait with nothing to run, a handoff) is seen on landing. */
static void tell(scheduler *s, PyTasklet *t)
{
    Py_XSETREF(s->told, (PyTasklet *)Py_NewRef(t));
}

/* enter() has a short way for a running tasklet without a tempval; none is to be
 * taken from inside a callback.  None and no tempval are the same to everybody else. */
static void bar_entry(PyTasklet *t)
{
    if (t->base.place == SL_IN_RING && !t->tempval)
        t->tempval = Py_NewRef(Py_None);
}

/* On the stack of the running tasklet, which is `prev` on leaving and `next` on
 * landing.  Counts as in the middle of a switch: what others throw at it waits
 * in its tempval instead of being raised in the callback. */
static void call(scheduler *s, PyTasklet *prev, PyTasklet *next)
{
    sl_oworker *w = sl_self();
    PyObject *type, *value, *tb, *f = Py_NewRef(fe.schedule_callback);
    PyErr_Fetch(&type, &value, &tb);
    s->in_callback++;
    sl_store_relaxed32(&w->switching, 1);
    PyObject *r = PyObject_CallFunctionObjArgs(f, prev ? (PyObject *)prev : Py_None, next, NULL);
    if (!r)
        PyErr_WriteUnraisable(f);
    Py_XDECREF(r);
    sl_store_release32(&w->switching, 0);
    s->in_callback--;
    Py_DECREF(f);
    PyErr_Restore(type, value, tb);
}

void callback_begun(scheduler *s)
{
    if (!fe.schedule_callback)
        return;
    tell(s, s->main);
    bar_entry(s->main);
    call(s, NULL, s->main);
}

void callback_leaving(scheduler *s, PyTasklet *prev)
{
    PyTasklet *next = tasklet_of(s->lane.current);
    bool stays = prev->base.place == SL_IN_RING;
    if (next == prev || s->in_callback)
        return;
    Py_INCREF(next);
    bar_entry(prev);
    if (stays)
        s->lane.current = &prev->base; /* it still runs: the end of the ring is before it */
    tell(s, next);
    call(s, prev, next);
    if (stays) /* unless the callback, or another thread, has taken `next` away */
        s->lane.current = next->base.place == SL_IN_RING && next->base.lane == &s->lane ? &next->base : prev->base.next;
    Py_DECREF(next);
}

void callback_landed(scheduler *s, PyTasklet *t)
{
    PyTasklet *prev = s->told;
    if (!fe.schedule_callback || prev == t)
        return;
    Py_XINCREF(prev);
    tell(s, t);
    bar_entry(t);
    if (prev)
        call(s, prev, t);
    Py_XDECREF(prev);
}

/* ---- the channel callback ---- */

int callback_channel(PyChannel *c, PyTasklet *t, PyObject **value, int dir)
{
    scheduler *s = scheduler_of(t);
    PyObject *f = Py_NewRef(fe.channel_callback);
    set_tempval(t, *value ? *value : Py_NewRef(Py_None)); /* see bar_entry() */
    *value = NULL;
    s->in_callback++;
    PyObject *r = PyObject_CallFunction(f, "OOii", c, t, dir > 0, !channel_ready(c, dir));
    s->in_callback--;
    Py_DECREF(f);
    PyObject *v = t->tempval; /* the callback may have put another there */
    t->tempval = NULL;
    if (dir > 0 && r && v != Py_None)
        *value = v;
    else
        Py_XDECREF(v);
    Py_XDECREF(r);
    return r ? 0 : -1;
}

/* ---- setting them ---- */

static int as_callback(PyObject *f, const char *what)
{
    if (f == Py_None || PyCallable_Check(f))
        return 0;
    PyErr_Format(PyExc_TypeError, "%s callback must be callable", what);
    return -1;
}

static PyObject *exchange(PyObject **slot, PyObject *f)
{
    PyObject *old = *slot ? *slot : Py_NewRef(Py_None);
    *slot = f == Py_None ? NULL : Py_NewRef(f);
    return old;
}

static scheduler *who_is_told(void)
{
    scheduler *s = fe.schedulers;
    while (s && !s->told)
        s = s->next;
    return s;
}

static void forget_told(void)
{
    scheduler *s;
    while (!fe.schedule_callback && (s = who_is_told()) != NULL)
        Py_CLEAR(s->told); /* may run anything */
}

PyObject *callbacks_set_schedule(PyObject *module, PyObject *f)
{
    if (as_callback(f, "schedule") < 0 || !current_tasklet())
        return NULL;
    int change = (f != Py_None) - (fe.schedule_callback != NULL);
    PyObject *old = exchange(&fe.schedule_callback, f);
    for (scheduler *s = fe.schedulers; s; s = s->next)
        s->chores += change; /* each landing is looked at */
    forget_told();
    return old;
}

PyObject *callbacks_set_channel(PyObject *module, PyObject *f)
{
    return as_callback(f, "channel") < 0 ? NULL : exchange(&fe.channel_callback, f);
}

static PyObject *py_get_schedule_callback(PyObject *module, PyObject *unused)
{
    return Py_NewRef(fe.schedule_callback ? fe.schedule_callback : Py_None);
}

static PyObject *py_get_channel_callback(PyObject *module, PyObject *unused)
{
    return Py_NewRef(fe.channel_callback ? fe.channel_callback : Py_None);
}

static PyMethodDef functions[] = {
    {"set_schedule_callback", callbacks_set_schedule, METH_O,
     "set_schedule_callback($module, callback, /)\n--\n\n"
     "callback(prev, next) is called before each switch from one tasklet to another, in all\n"
     "threads, in the tasklet that is left; in the next one, where there was nothing to run in\n"
     "between. prev is None when a thread's main tasklet is set up. It must not switch\n"
     "(RuntimeError); its exceptions are printed and ignored. None removes it. Returns the\n"
     "callback so far, or None."},
    {"get_schedule_callback", py_get_schedule_callback, METH_NOARGS,
     "get_schedule_callback($module, /)\n--\n\nWhat set_schedule_callback() has set, or None."},
    {"set_channel_callback", callbacks_set_channel, METH_O,
     "set_channel_callback($module, callback, /)\n--\n\n"
     "callback(channel, tasklet, sending, willblock) is called before each operation on a\n"
     "channel, in all threads, in the tasklet that does it; its tempval is what is sent. The\n"
     "last two are 0 or 1. It must not switch or use a channel (RuntimeError); an exception of\n"
     "it is raised by the operation, which is not done then. None removes it. Returns the\n"
     "callback so far, or None."},
    {"get_channel_callback", py_get_channel_callback, METH_NOARGS,
     "get_channel_callback($module, /)\n--\n\nWhat set_channel_callback() has set, or None."},
    {NULL},
};

int callbacks_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
