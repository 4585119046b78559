/* SPDX-License-Identifier: MIT
 * Attributes of the tasklet type (specification, 4.14). */
#include "pystackless.h"

#define SELF ((PyTasklet *)self)

static bool scheduled(PyTasklet *t)
{
    uint8_t place = t->base.place;
    return is_alive(t) && (place == SL_IN_RING || place == SL_IN_QUEUE || place == SL_DEFERRED);
}

static PyObject *get_alive(PyObject *self, void *unused)
{
    return PyBool_FromLong(is_alive(SELF));
}

PyObject *tasklet_paused(PyObject *self, void *unused)
{
    return PyBool_FromLong(is_alive(SELF) && SELF->base.place == SL_NOWHERE);
}

PyObject *tasklet_scheduled(PyObject *self, void *unused)
{
    return PyBool_FromLong(scheduled(SELF));
}

static PyObject *get_blocked(PyObject *self, void *unused)
{
    return PyBool_FromLong(SELF->base.place == SL_IN_QUEUE);
}

static PyObject *get_atomic(PyObject *self, void *unused)
{
    return PyBool_FromLong(SELF->atomic);
}

static PyObject *get_ignore_nesting(PyObject *self, void *unused)
{
    return PyBool_FromLong(SELF->ignore_nesting);
}

static PyObject *get_block_trap(PyObject *self, void *unused)
{
    return PyBool_FromLong(SELF->block_trap);
}

static int set_block_trap(PyObject *self, PyObject *value, void *unused)
{
    if (!value || !PyLong_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "block_trap must be set to a bool or integer");
        return -1;
    }
    SELF->block_trap = PyObject_IsTrue(value);
    return 0;
}

PyObject *tasklet_is_main(PyObject *self, void *unused)
{
    return PyBool_FromLong(SELF->is_main && !scheduler_of(SELF)->dead);
}

bool tasklet_is_current(PyTasklet *t)
{
    scheduler *s = scheduler_of(t);
    if (s->dead || t->execution != EXEC_STARTED)
        return false;
    sl_oworker *w = sl_self();
    return (w && w->current == &t->base) || sl_olane_host(&s->lane)->current == &t->base;
}

static PyObject *get_is_current(PyObject *self, void *unused)
{
    return PyBool_FromLong(tasklet_is_current(SELF));
}

static PyObject *get_pinned(PyObject *self, void *unused)
{
    return PyBool_FromLong(SELF->base.home != NULL);
}

static PyObject *get_thread_id(PyObject *self, void *unused)
{
    scheduler *s = scheduler_of(SELF);
    if (s->dead)
        return PyLong_FromLong(-1);
    return PyLong_FromUnsignedLong(s->thread_id);
}

static PyObject *neighbour(PyTasklet *t, sl_otasklet *base)
{
    bool linked = t->base.place == SL_IN_RING || t->base.place == SL_IN_QUEUE;
    if (!linked || !base)
        Py_RETURN_NONE;
    return Py_NewRef(tasklet_of(base));
}

static PyObject *get_next(PyObject *self, void *unused)
{
    return neighbour(SELF, SELF->base.next);
}

static PyObject *get_prev(PyObject *self, void *unused)
{
    return neighbour(SELF, SELF->base.prev);
}

/* New reference, NULL without an exception when there is none. */
static PyFrameObject *top_frame(PyTasklet *t)
{
    if (!is_alive(t) || t->execution != EXEC_STARTED)
        return NULL;
    return PyThreadState_GetFrame(t->base.carrier->env);
}

PyObject *tasklet_frame(PyObject *self, void *unused)
{
    if (pickle_is_stopped(SELF))
        return pickle_remains(SELF, "frame");
    PyFrameObject *f = top_frame(SELF);
    if (!f)
        Py_RETURN_NONE;
    return (PyObject *)f;
}

PyObject *tasklet_recursion_depth(PyObject *self, void *unused)
{
    long depth = 0;
    if (pickle_is_stopped(SELF))
        return pickle_remains(SELF, "recursion_depth");
    PyFrameObject *f = top_frame(SELF);
    while (f) {
        PyFrameObject *back = PyFrame_GetBack(f);
        Py_DECREF(f);
        f = back;
        depth++;
    }
    return PyLong_FromLong(depth);
}

/* Interpreter entries beside the first one.  A function written in C that is
 * the tasklet's own counts as none. */
int tasklet_depth_in_c(PyTasklet *t)
{
    PyThreadState *ts = is_alive(t) ? state_of(t) : NULL;
    int entries = ts ? compat_entries(ts) : 0;
    return entries > 0 ? entries - 1 : 0;
}

PyObject *tasklet_nesting_level(PyObject *self, void *unused)
{
    return pickle_is_stopped(SELF) ? pickle_remains(SELF, "nesting_level") : PyLong_FromLong(tasklet_depth_in_c(SELF));
}

PyObject *tasklet_restorable(PyObject *self, void *unused)
{
    return PyBool_FromLong(!pickle_is_stopped(SELF) && (tasklet_depth_in_c(SELF) == 0 || tasklet_is_current(SELF)));
}

static PyObject *get_cstate(PyObject *self, void *unused)
{
    PyObject *module = PyImport_ImportModule("stackless._inert");
    PyObject *r = module ? PyObject_CallMethod(module, "cstack", "i", tasklet_depth_in_c(SELF)) : NULL;
    Py_XDECREF(module);
    return r;
}

static PyObject *get_tempval(PyObject *self, void *unused)
{
    return Py_NewRef(SELF->tempval ? SELF->tempval : Py_None);
}

static int set_tempval_attr(PyObject *self, PyObject *value, void *unused)
{
    set_tempval(SELF, value == Py_None ? NULL : Py_XNewRef(value));
    return 0;
}

static PyObject *get_channel(PyObject *self, void *unused)
{
    if (SELF->base.place != SL_IN_QUEUE)
        Py_RETURN_NONE;
    return Py_NewRef((PyObject *)SELF->channel);
}

PyGetSetDef tasklet_getset[] = {
    {"alive", get_alive, NULL, "Has something to run, and a thread to run it in.", NULL},
    {"paused", tasklet_paused, NULL, "Alive, but neither scheduled nor waiting for anything.", NULL},
    {"scheduled", tasklet_scheduled, NULL, "In the ring, or blocked on a channel.", NULL},
    {"blocked", get_blocked, NULL, "Waits in a channel.", NULL},
    {"atomic", get_atomic, NULL, "See set_atomic().", NULL},
    {"ignore_nesting", get_ignore_nesting, NULL, "See set_ignore_nesting().", NULL},
    {"block_trap", get_block_trap, set_block_trap,
     "While set, a channel operation of this tasklet that would block raises RuntimeError.", NULL},
    {"is_main", tasklet_is_main, NULL, "Is it its thread's main tasklet?", NULL},
    {"is_current", get_is_current, NULL, "Does it run at this moment?", NULL},
    {"pinned", get_pinned, NULL, "Does it stay on one OS thread? See pin().", NULL},
    {"thread_id", get_thread_id, NULL, "Id of the thread whose scheduler it belongs to; -1: that has ended.",
     NULL},
    {"next", get_next, NULL, "Its successor in the ring or the channel's queue, or None.", NULL},
    {"prev", get_prev, NULL, "Its predecessor in the ring or the channel's queue, or None.", NULL},
    {"frame", tasklet_frame, NULL, "Its topmost Python frame; None if it has not started or has ended.", NULL},
    {"recursion_depth", tasklet_recursion_depth, NULL, "How many Python frames it has.", NULL},
    {"nesting_level", tasklet_nesting_level, NULL, "How many calls on its stack have gone through C code.", NULL},
    {"restorable", tasklet_restorable, NULL, "False while it is suspended below a call that has gone through C code.", NULL},
    {"cstate", get_cstate, NULL, "Stands for its C stack, which cannot be looked at: a cstack without a size.", NULL},
    {"tempval", get_tempval, set_tempval_attr,
     "What its pending operation will return; for a blocked sender what is being sent.", NULL},
    {"trace_function", trace_get, trace_set,
     "Its trace function or None, as sys.settrace() sets it. Set on another tasklet it takes\n"
     "effect when that runs.", (void *)0},
    {"profile_function", trace_get, trace_set, "Its profile function or None, as sys.setprofile() sets it.",
     (void *)1},
    {"context_id", context_get_id, NULL, "id() of the contextvars.Context that it runs in.", NULL},
    {"name", names_get_attr, names_set_attr,
     "A name for reprs and messages: that of its function, unless set; deleting it undoes that.", NULL},
    {"created_at", names_created_at, NULL, "Where it was made, \"FILE:LINE\"; None if no Python code did.", NULL},
    {"_channel", get_channel, NULL, "The channel it is blocked on, or None.", NULL},
    {NULL},
};
