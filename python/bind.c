/* SPDX-License-Identifier: MIT
 *
 * What a tasklet is to run, and on whose thread: bind(), setup(), bind_thread().
 * The states are those of specification 4.1.
 */
#include "pystackless.h"

/* ---- bind, setup ---- */

/* contextvars: a copy of the creator's context, taken now; NULL: an empty one.  -1 with
 * an exception. */
int tasklet_inherit_context(PyObject **context)
{
    bool empty = !PyThreadState_Get()->context;
    *context = empty ? NULL : PyContext_CopyCurrent();
    return *context || empty ? 0 : -1;
}

/* What a tasklet is bound to. */
typedef struct binding {
    PyObject *tempval, *func, *args, *kwargs, *context; /* strong, or NULL */
} binding;

/* As a whole, before anything of the old is released: a finalizer may use the tasklet. */
static void rebind(PyTasklet *t, enum execution execution, binding new /* stolen */)
{
    binding old = {t->tempval, t->func, t->args, t->kwargs, t->context};
    t->execution = execution;
    t->tempval = new.tempval;
    t->func = new.func;
    t->args = new.args;
    t->kwargs = new.kwargs;
    t->context = new.context;
    Py_XDECREF(old.tempval);
    Py_XDECREF(old.func);
    Py_XDECREF(old.args);
    Py_XDECREF(old.kwargs);
    Py_XDECREF(old.context);
}

void tasklet_set_dead(PyTasklet *t)
{
    if (t->rare) {
        t->execution = EXEC_NONE;
        exits_forget(t);
        trace_forget(t);
    }
    rebind(t, EXEC_NONE, (binding){0});
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

/* Binds arguments too; `args` a tuple, `kwargs` a dict or NULL; `context` is stolen. */
static int make_fresh(PyTasklet *t, PyObject *func, PyObject *args, PyObject *kwargs, PyObject *context)
{
    const char *trouble = NULL;
    if (!func)
        func = t->func ? t->func : t->tempval;
    if (scheduler_of(t)->dead)
        trouble = "tasklet has no thread";
    else if (!func || !PyCallable_Check(func))
        trouble = "the tasklet was not bound to a function";
    if (trouble) {
        Py_XDECREF(context);
        return tasklet_refuse(trouble);
    }
    kwargs = kwargs && PyDict_GET_SIZE(kwargs) ? kwargs : NULL;
    rebind(t, EXEC_FRESH, (binding){NULL, Py_NewRef(func), Py_NewRef(args), Py_XNewRef(kwargs), context});
    return 0;
}

/* Paused below nothing but Python code, in this thread: what `restorable` promises (16.1). */
static bool may_unwind(PyTasklet *t)
{
    scheduler *s = scheduler_of(t);
    sl_oworker *w = sl_self();
    return t->execution == EXEC_STARTED && !t->is_main && !s->dead && w && w->current && w->current->lane == &s->lane &&
           !is_running(t) && t->base.place == SL_NOWHERE && tasklet_depth_in_c(t) == 0;
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
    bool unbinds = !args && !kwargs;
    PyObject *context = NULL, *tuple = args ? Py_NewRef(args) : PyTuple_New(0);
    int rc = -1;
    if (!tuple || ((func || !unbinds) && tasklet_inherit_context(&context) < 0) || may_bind(t, unbinds) < 0) {
        Py_XDECREF(context);
    } else if (unbinds) {
        if (t->rare)
            trace_forget(t);
        rebind(t, EXEC_NONE, (binding){.tempval = Py_XNewRef(func), .context = context});
        rc = 0;
    } else {
        rc = make_fresh(t, func, tuple, kwargs, context);
    }
    Py_XDECREF(tuple);
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
    PyObject *context = Py_XNewRef(t->context);
    if (!context && tasklet_inherit_context(&context) < 0)
        return NULL;
    if (t->execution != EXEC_NONE) {
        Py_XDECREF(context);
        tasklet_refuse(is_alive(t) ? "tasklet is alive" : "tasklet has no thread");
        return NULL;
    }
    if (make_fresh(t, NULL, args, kwargs, context) < 0)
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
