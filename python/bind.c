/* SPDX-License-Identifier: MIT
 *
 * What a tasklet is to run, and on whose thread: bind(), setup(), bind_thread().
 * The states are those of specification 4.1.
 */
#include "pystackless.h"

/* ---- bind, setup ---- */

/* contextvars: a copy of the creator's context, taken now. */
int tasklet_inherit_context(PyTasklet *t)
{
    if (t->context || !PyThreadState_Get()->context)
        return 0;
    t->context = PyContext_CopyCurrent();
    return t->context ? 0 : -1;
}

static int may_bind(PyTasklet *t, bool unbinds)
{
    if (t->execution == EXEC_STARTED && !scheduler_of(t)->dead) {
        if (is_running(t))
            return tasklet_refuse("can't (re)bind the current tasklet");
        if (t->base.place == SL_IN_RING || t->base.place == SL_IN_QUEUE)
            return tasklet_refuse("tasklet is scheduled");
        if (t->is_main && unbinds)
            return tasklet_refuse("can't unbind the main tasklet");
        return tasklet_refuse("tasklet has C state on its stack");
    }
    if (t->base.place != SL_NOWHERE)
        return tasklet_refuse("tasklet is scheduled");
    if (t->execution == EXEC_STARTED) /* its thread has ended and it has not */
        return tasklet_refuse("tasklet has C state on its stack");
    return 0;
}

/* Binds arguments too; `args` a tuple, `kwargs` a dict or NULL. */
static int make_fresh(PyTasklet *t, PyObject *func, PyObject *args, PyObject *kwargs)
{
    if (scheduler_of(t)->dead)
        return tasklet_refuse("tasklet has no thread");
    if (!func)
        func = t->func ? t->func : t->tempval;
    if (!func || !PyCallable_Check(func))
        return tasklet_refuse("the tasklet was not bound to a function");
    if (tasklet_inherit_context(t) < 0)
        return -1;
    Py_INCREF(func);
    Py_XSETREF(t->args, Py_NewRef(args));
    Py_XSETREF(t->kwargs, kwargs && PyDict_GET_SIZE(kwargs) ? Py_NewRef(kwargs) : NULL);
    Py_XSETREF(t->func, func);
    Py_CLEAR(t->tempval);
    t->execution = EXEC_FRESH;
    return 0;
}

/* Paused below nothing but Python code, in this thread: what `restorable` promises (16.1). */
static bool may_unwind(PyTasklet *t)
{
    scheduler *s = scheduler_of(t);
    return t->execution == EXEC_STARTED && !t->is_main && !s->dead && s == scheduler_of(current_tasklet()) && !is_running(t) &&
           t->base.place == SL_NOWHERE && tasklet_depth_in_c(t) == 0;
}

int tasklet_bind(PyTasklet *t, PyObject *func, PyObject *args, PyObject *kwargs)
{
    func = func == Py_None ? NULL : func;
    args = args == Py_None ? NULL : args;
    kwargs = kwargs == Py_None ? NULL : kwargs;
    if (func && !PyCallable_Check(func)) {
        PyErr_SetString(PyExc_TypeError, "tasklet function must be a callable or None");
        return -1;
    }
    if (args && !PyTuple_Check(args)) {
        PyErr_SetString(PyExc_TypeError, "tasklet args must be a tuple or None");
        return -1;
    }
    if (kwargs && !PyDict_Check(kwargs)) {
        PyErr_SetString(PyExc_TypeError, "tasklet kwargs must be a dictionary or None");
        return -1;
    }
    if (may_unwind(t) && tasklet_kill(t, false) < 0)
        return -1;
    if (may_bind(t, !args && !kwargs) < 0)
        return -1;
    if (!args && !kwargs) {
        tasklet_set_dead(t);
        t->tempval = Py_XNewRef(func);
        return func ? tasklet_inherit_context(t) : 0;
    }
    Py_CLEAR(t->context);
    PyObject *none = args ? Py_NewRef(args) : PyTuple_New(0);
    int rc = none ? make_fresh(t, func, none, kwargs) : -1;
    Py_XDECREF(none);
    return rc;
}

static int parse_bind(PyObject *args, PyObject *kwargs, const char *format, PyObject **out)
{
    static char *names[] = {"func", "args", "kwargs", NULL};
    out[0] = out[1] = out[2] = Py_None;
    return PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &out[0], &out[1], &out[2]) ? 0 : -1;
}

int tasklet_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *p[3];
    if (parse_bind(args, kwargs, "|OOO:tasklet", p) < 0)
        return -1;
    return tasklet_bind((PyTasklet *)self, p[0], p[1], p[2]);
}

PyObject *tasklet_bind_method(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *p[3];
    if (parse_bind(args, kwargs, "|OOO:bind", p) < 0 || tasklet_bind((PyTasklet *)self, p[0], p[1], p[2]) < 0)
        return NULL;
    return Py_NewRef(self);
}

PyObject *tasklet_setup(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyTasklet *t = (PyTasklet *)self;
    if (is_alive(t)) {
        tasklet_refuse("tasklet is alive");
        return NULL;
    }
    if (t->execution == EXEC_STARTED) {
        tasklet_refuse("tasklet has no thread");
        return NULL;
    }
    if (make_fresh(t, NULL, args, kwargs) < 0)
        return NULL;
    make_runnable(t);
    return Py_NewRef(self);
}

/* ---- bind_thread ---- */

static scheduler *thread_to_bind(unsigned long id)
{
    PyTasklet *current = current_tasklet();
    if (!current)
        return NULL;
    scheduler *s = id == THREADS_SELF ? scheduler_of(current) : threads_scheduler(id);
    if (!s && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "bad thread");
    return s;
}

int tasklet_bind_thread(PyTasklet *t, unsigned long id)
{
    scheduler *s = thread_to_bind(id), *old = scheduler_of(t);
    if (!s)
        return -1;
    if (s == old)
        return 0;
    if (is_running(t) || t->base.place == SL_IN_RING || t->base.place == SL_DEFERRED)
        return tasklet_refuse("can't (re)bind a runnable tasklet");
    if (t->execution == EXEC_STARTED)
        return tasklet_refuse("tasklet has C state on its stack");
    if (old->last_blocked == t)
        old->last_blocked = NULL;
    tasklet_join(t, s);
    scheduler_unref(old);
    return 0;
}

PyObject *tasklet_bind_thread_method(PyObject *self, PyObject *args)
{
    unsigned long id = THREADS_SELF;
    if (!PyArg_ParseTuple(args, "|O&:bind_thread", threads_parse_id, &id) || tasklet_bind_thread((PyTasklet *)self, id) < 0)
        return NULL;
    Py_RETURN_NONE;
}
