/* SPDX-License-Identifier: MIT
 *
 * The tasklet type: its objects' beginning and end, and what makes a tasklet run.
 * What it is to run is in bind.c, exceptions for it in throw.c, attributes in
 * tasklet_attrs.c, the ring rules in schedule.c.
 */
#include "pystackless.h"

#include <structmember.h>

/* ---- creation ---- */

int tasklet_refuse(const char *text)
{
    PyErr_SetString(PyExc_RuntimeError, text);
    return -1;
}

void tasklet_join(PyTasklet *t, scheduler *s)
{
    t->base.lane = &s->lane;
    s->refs++;
}

static PyTasklet *alloc(PyTypeObject *type, scheduler *s)
{
    PyTasklet *t = (PyTasklet *)type->tp_alloc(type, 0); /* zeroed */
    if (t) {
        tasklet_join(t, s);
        s->spawned++;
    }
    return t;
}

PyTasklet *tasklet_new_main(scheduler *s)
{
    PyTasklet *t = alloc(fe.tasklet_type, s);
    if (!t)
        return NULL;
    t->is_main = true;
    t->execution = EXEC_STARTED;
    t->base.carrier = &s->worker.native;
    t->base.home = &s->worker;
    Py_INCREF(t); /* the ring's */
    sl_olane_append(&s->lane, &t->base);
    return t;
}

static PyObject *tasklet_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyTasklet *current = current_tasklet(), *t = current ? alloc(type, scheduler_of(current)) : NULL;
    if (t)
        names_born(t);
    return (PyObject *)t;
}

/* tasklet(func) of the exact type, without a tuple of arguments. */
static PyObject *tasklet_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Py_ssize_t n = PyVectorcall_NARGS(nargsf);
    if (n == 1 && !names && PyCallable_Check(args[0])) {
        PyObject *self = tasklet_new((PyTypeObject *)type, NULL, NULL);
        if (!self)
            return NULL;
        ((PyTasklet *)self)->tempval = Py_NewRef(args[0]);
        if (tasklet_inherit_context(&((PyTasklet *)self)->context) < 0)
            Py_CLEAR(self);
        return self;
    }
    PyObject *tuple = PyTuple_New(n), *kwargs = names ? PyDict_New() : NULL, *self = NULL;
    if (!tuple || (names && !kwargs))
        goto done;
    for (Py_ssize_t i = 0; i < n; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    for (Py_ssize_t i = 0; names && i < PyTuple_GET_SIZE(names); i++)
        if (PyDict_SetItem(kwargs, PyTuple_GET_ITEM(names, i), args[n + i]) < 0)
            goto done;
    self = tasklet_new((PyTypeObject *)type, NULL, NULL);
    if (self && tasklet_init(self, tuple, kwargs) < 0)
        Py_CLEAR(self);
done:
    Py_XDECREF(tuple);
    Py_XDECREF(kwargs);
    return self;
}

/* ---- insert, remove, run, switch ---- */

/* Errors that running `t` would have; for dead threads the text differs. */
static int may_run(PyTasklet *t, const char *no_thread)
{
    if (t->base.place == SL_IN_QUEUE)
        return tasklet_refuse("You cannot run a blocked tasklet");
    if (scheduler_of(t)->dead)
        return tasklet_refuse(no_thread);
    if (t->execution == EXEC_NONE)
        return tasklet_refuse("You cannot run an unbound(dead) tasklet");
    return 0;
}

PyObject *tasklet_insert(PyObject *self, PyObject *unused)
{
    PyTasklet *t = (PyTasklet *)self;
    if (may_run(t, "Target thread isn't initialized") < 0)
        return NULL;
    make_runnable(t);
    return Py_NewRef(self);
}

PyObject *tasklet_remove(PyObject *self, PyObject *unused)
{
    PyTasklet *t = (PyTasklet *)self;
    if (scheduler_of(t)->dead)
        return Py_NewRef(self);
    if (t->base.place == SL_IN_QUEUE) {
        tasklet_refuse("You cannot remove a blocked tasklet.");
        return NULL;
    }
    if (is_running(t)) {
        tasklet_refuse("The current tasklet cannot be removed.");
        return NULL;
    }
    if (t->base.place == SL_IN_RING) {
        sl_olane_unlink(t->base.lane, &t->base);
        Py_DECREF(t); /* the ring's; `self` is still held by the caller */
    }
    return Py_NewRef(self);
}

/* run() on another thread's tasklet: next there, or first if it sleeps. */
static void run_elsewhere(PyTasklet *t)
{
    sl_olane *lane = t->base.lane;
    if (t->base.place == SL_IN_RING)
        return;
    if (!unblock(t))
        Py_INCREF(t);
    if (!sl_olane_host(lane)->current) /* its thread sleeps, or is just being woken */
        sl_olane_append_head(lane, &t->base);
    else
        sl_olane_append_next(lane, &t->base);
}

PyObject *tasklet_run(PyObject *self, PyObject *unused)
{
    PyTasklet *t = (PyTasklet *)self, *current = current_tasklet();
    if (!current || may_run(t, "tasklet has no thread") < 0)
        return NULL;
    if (scheduler_of(t) != scheduler_of(current)) {
        run_elsewhere(t);
        Py_RETURN_NONE;
    }
    if (t == current)
        Py_RETURN_NONE;
    if (!enter() || may_run(t, "tasklet has no thread") < 0 || trapped(current))
        return NULL;
    return switch_to(current, t);
}

PyObject *tasklet_switch(PyObject *self, PyObject *unused)
{
    PyTasklet *t = (PyTasklet *)self, *current = current_tasklet();
    if (!current || may_run(t, "tasklet has no thread") < 0)
        return NULL;
    if (scheduler_of(t) != scheduler_of(current)) {
        tasklet_refuse("can't switch to a different thread.");
        return NULL;
    }
    if (t == current)
        Py_RETURN_NONE;
    if (!enter() || may_run(t, "tasklet has no thread") < 0 || trapped(current))
        return NULL;
    sl_olane_unlink(current->base.lane, &current->base);
    add_corpse(scheduler_of(current), current);
    return switch_to(current, t);
}

/* ---- flags ---- */

/* Of a running tasklet an interrupt may have waited for that. */
static PyObject *set_flag(PyTasklet *t, PyObject *value, bool *flag, const char *text)
{
    if (!PyLong_Check(value)) {
        PyErr_SetString(PyExc_TypeError, text);
        return NULL;
    }
    bool old = *flag;
    *flag = PyObject_IsTrue(value);
    return watchdog_obstacle_gone(t) < 0 ? NULL : PyBool_FromLong(old);
}

PyObject *tasklet_set_atomic(PyObject *self, PyObject *value)
{
    PyTasklet *t = (PyTasklet *)self;
    return set_flag(t, value, &t->atomic, "set_atomic needs exactly one bool or integer");
}

PyObject *tasklet_set_ignore_nesting(PyObject *self, PyObject *value)
{
    PyTasklet *t = (PyTasklet *)self;
    return set_flag(t, value, &t->ignore_nesting, "set_ignore_nesting needs exactly one bool or integer");
}

static PyObject *tasklet_pin(PyObject *self, PyObject *args)
{
    PyTasklet *t = (PyTasklet *)self;
    int pinned = 1;
    if (!PyArg_ParseTuple(args, "|p:pin", &pinned))
        return NULL;
    bool was = t->base.home != NULL;
    if (t->is_main)
        return PyBool_FromLong(1); /* always */
    sl_oworker *w = sl_self();
    if (!w || w->current != &t->base) {
        tasklet_refuse("only the running tasklet can be pinned: call it on getcurrent()");
        return NULL;
    }
    t->base.home = pinned ? w : NULL;
    return PyBool_FromLong(was);
}

/* ---- lifetime ---- */

/* The last reference to a started tasklet has gone: kill it (11). */
static void tasklet_finalize(PyObject *self)
{
    PyTasklet *t = (PyTasklet *)self;
    if (t->execution != EXEC_STARTED || t->is_main || scheduler_of(t)->dead || fe.finished)
        return;
    PyObject *type, *value, *tb;
    PyErr_Fetch(&type, &value, &tb);
    sl_oworker *w = sl_self();
    bool here = w && w->current && w->current->place == SL_IN_RING && w->lane == t->base.lane;
    for (int i = 0; i < 10 && is_alive(t); i++) {
        if (tasklet_kill(t, !here) < 0)
            PyErr_WriteUnraisable(self);
        if (!here || t->base.place != SL_NOWHERE)
            break; /* alive in a ring or on a channel, which holds it */
    }
    if (is_alive(t) && t->base.place == SL_NOWHERE) {
        PyObject *gc = PyImport_ImportModule("gc");
        PyObject *garbage = gc ? PyObject_GetAttrString(gc, "garbage") : NULL;
        t->zombie = true;
        if (!garbage || PyList_Append(garbage, self) < 0)
            PyErr_WriteUnraisable(self);
        Py_XDECREF(garbage);
        Py_XDECREF(gc);
    }
    PyErr_Restore(type, value, tb);
}

static int tasklet_traverse(PyObject *self, visitproc visit, void *arg)
{
    PyTasklet *t = (PyTasklet *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(t->tempval);
    Py_VISIT(t->func);
    Py_VISIT(t->args);
    Py_VISIT(t->kwargs);
    Py_VISIT(t->context);
    if (t->rare) {
        Py_VISIT(t->rare->trace);
        Py_VISIT(t->rare->profile);
        Py_VISIT(t->rare->exit);
    }
    return 0;
}

static int tasklet_clear(PyObject *self)
{
    PyTasklet *t = (PyTasklet *)self;
    Py_CLEAR(t->tempval);
    if (t->execution == EXEC_FRESH && t->base.place == SL_NOWHERE)
        tasklet_set_dead(t);
    return 0;
}

static void tasklet_dealloc(PyObject *self)
{
    PyTasklet *t = (PyTasklet *)self;
    PyTypeObject *type = Py_TYPE(self);
    scheduler *s = t->base.lane ? scheduler_of(t) : NULL;
    if (s && t->execution == EXEC_STARTED && PyObject_CallFinalizerFromDealloc(self) < 0)
        return; /* alive again */
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, tasklet_dealloc) /* tempval, args: a long chain of tasklets */
    if (t->weakrefs)
        PyObject_ClearWeakRefs(self);
    tasklet_set_dead(t);
    Py_XDECREF(t->born_in);
    if (t->rare) {
        Py_XDECREF(t->rare->name);
        PyMem_Free(t->rare);
    }
    if (t->base.carrier)
        t->base.carrier->tasklet = NULL; /* left behind by a dead thread, exit or fork */
    if (s) {
        if (s->last_blocked == t)
            s->last_blocked = NULL;
        scheduler_unref(s);
    }
    type->tp_free(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

/* ---- the type ---- */

static PyMethodDef tasklet_methods[] = {
    {"bind", (PyCFunction)tasklet_bind_method, METH_VARARGS | METH_KEYWORDS,
     "bind(func=None, args=None, kwargs=None) -> self\n\n"
     "Binds a callable, and with args or kwargs makes the tasklet ready to be inserted\n"
     "(alive, paused). bind(None) unbinds. One that has started and is paused and restorable\n"
     "is killed first, which switches; nothing else does. RuntimeError while it is scheduled,\n"
     "current, or stands in a function written in C."},
    {"setup", (PyCFunction)tasklet_setup, METH_VARARGS | METH_KEYWORDS,
     "setup(*args, **kwargs) -> self\n\n"
     "Gives the bound callable its arguments and puts the tasklet at the end of the ring.\n"
     "RuntimeError if it is alive or nothing is bound. Never switches."},
    {"insert", tasklet_insert, METH_NOARGS,
     "insert() -> self\n\n"
     "Puts a paused tasklet at the end of its ring and wakes its thread. Ends a sleep or\n"
     "a wait early. RuntimeError if it is blocked on a channel or dead. Never switches."},
    {"remove", tasklet_remove, METH_NOARGS,
     "remove() -> self\n\n"
     "Takes a scheduled tasklet out of the ring: it is paused. RuntimeError if it is\n"
     "blocked on a channel or running. Never switches."},
    {"run", tasklet_run, METH_NOARGS,
     "run() -> value\n\n"
     "Switches to this tasklet; the caller stays in the ring. Another thread's tasklet is\n"
     "put next there instead. Returns the caller's tempval when it runs again."},
    {"switch", tasklet_switch, METH_NOARGS,
     "switch() -> value\n\n"
     "As run(), but the caller leaves the ring and is paused."},
    {"bind_thread", tasklet_bind_thread_method, METH_VARARGS,
     "bind_thread(thread_id=-1) -> None\n\n"
     "Makes a tasklet that has not started belong to another thread (-1: the calling one),\n"
     "also after its own has ended. RuntimeError while it is runnable or if it has started;\n"
     "ValueError: there is no such thread. Never switches."},
    {"throw", (PyCFunction)tasklet_throw, METH_VARARGS | METH_KEYWORDS,
     "throw(exc, val=None, tb=None, pending=False) -> value\n\n"
     "Raises an exception in this tasklet: at once, by switching to it, or with pending\n"
     "when its turn comes. One that is blocked in the operating system gets it when that\n"
     "call returns, and the caller goes on. RuntimeError if it is dead."},
    {"raise_exception", tasklet_raise_exception, METH_VARARGS,
     "raise_exception(exc_class, *args) -> value\n\n"
     "Raises exc_class(*args) in this tasklet, by switching to it."},
    {"kill", (PyCFunction)tasklet_kill_method, METH_VARARGS | METH_KEYWORDS,
     "kill(pending=False) -> None\n\n"
     "Raises TaskletExit in this tasklet: throw(TaskletExit, pending=pending). Does\n"
     "nothing if it is dead."},
    {"set_atomic", tasklet_set_atomic, METH_O,
     "set_atomic($self, flag, /)\n--\n\n"
     "While set, no timeout of run() interrupts this tasklet, and the others wait for it even\n"
     "while it is blocked in the operating system. Returns the old value."},
    {"set_ignore_nesting", tasklet_set_ignore_nesting, METH_O,
     "set_ignore_nesting($self, flag, /)\n--\n\n"
     "While set, a timeout of run() may interrupt this tasklet below a call through C, too.\n"
     "Returns the old value."},
    {"set_context", context_set, METH_O,
     "set_context($self, context, /)\n--\n\n"
     "Makes a contextvars.Context the one that this tasklet runs in; returns the tasklet.\n"
     "RuntimeError while Context.run() executes in its present one, and if it is runnable\n"
     "in another thread. Never switches."},
    {"context_run", (PyCFunction)(void (*)(void))context_run, METH_FASTCALL | METH_KEYWORDS,
     "context_run(callable, *args, **kwargs) -> result\n\n"
     "Calls callable in the calling tasklet, with this tasklet's context variables."},
    {"__reduce__", pickle_reduce_tasklet, METH_NOARGS, "Pickle support; RuntimeError while it runs."},
    {"__reduce_ex__", pickle_reduce_tasklet_ex, METH_O, "Pickle support; RuntimeError while it runs."},
    {"__setstate__", pickle_restore_tasklet, METH_O, "Pickle support; RuntimeError if it is alive."},
    {"pin", tasklet_pin, METH_VARARGS,
     "pin(pinned=True) -> bool\n\n"
     "Keeps the running tasklet on the OS thread where it is (pin(False): no longer), for\n"
     "libraries whose state belongs to a thread. Returns whether it was pinned. The main\n"
     "tasklet always is. RuntimeError unless called on the current tasklet. Never switches."},
    {NULL},
};

static PyMemberDef tasklet_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PyTasklet, weakrefs), READONLY},
    {NULL},
};

static PyType_Slot tasklet_slots[] = {
    {Py_tp_doc, "tasklet(func=None, args=None, kwargs=None)\n--\n\n"
                "A unit of execution with its own C stack. tasklet(func)(*args) schedules a call\n"
                "of func; it runs when the calling thread's scheduler gets to it. It inherits a\n"
                "copy of the creator's contextvars context."},
    {Py_tp_new, tasklet_new},
    {Py_tp_init, tasklet_init},
    {Py_tp_call, tasklet_setup},
    {Py_tp_repr, names_repr},
    {Py_tp_finalize, tasklet_finalize},
    {Py_tp_traverse, tasklet_traverse},
    {Py_tp_clear, tasklet_clear},
    {Py_tp_dealloc, tasklet_dealloc},
    {Py_tp_methods, tasklet_methods},
    {Py_tp_members, tasklet_members},
    {Py_tp_getset, tasklet_getset},
    {0, NULL},
};

static PyType_Spec tasklet_spec = {
    .name = "stackless.tasklet",
    .basicsize = sizeof(PyTasklet),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = tasklet_slots,
};

int tasklet_init_type(PyObject *module)
{
    fe.tasklet_type = (PyTypeObject *)PyType_FromSpec(&tasklet_spec);
    if (!fe.tasklet_type)
        return -1;
    fe.tasklet_type->tp_vectorcall = tasklet_vectorcall;
    return PyModule_AddObjectRef(module, "tasklet", (PyObject *)fe.tasklet_type);
}
