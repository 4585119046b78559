/* SPDX-License-Identifier: MIT
 *
 * Context variables of tasklets (specification, 14).
 *
 * A tasklet that has started has its context in its thread state; until then it
 * is kept in the tasklet.  NULL stands for an empty one in both places.
 */
#include "pystackless.h"

/* Where the context of `t` is, and the state whose it is (NULL: not started). */
static PyObject **slot_of(PyTasklet *t, PyThreadState **ts)
{
    *ts = is_alive(t) ? state_of(t) : NULL;
    return *ts ? &(*ts)->context : &t->context;
}

static void put(PyTasklet *t, PyObject *context /* stolen */)
{
    PyThreadState *ts;
    PyObject **slot = slot_of(t, &ts);
    if (ts)
        compat_set_context(ts, context);
    else
        Py_XSETREF(*slot, context);
}

PyObject *context_of(PyTasklet *t)
{
    PyThreadState *ts;
    PyObject **slot = slot_of(t, &ts);
    if (!*slot) {
        PyObject *made = PyContext_New();
        if (!made)
            return NULL;
        put(t, made);
    }
    return Py_NewRef(*slot);
}

PyObject *context_get_id(PyObject *self, void *unused)
{
    PyObject *context = context_of((PyTasklet *)self);
    PyObject *id = context ? PyLong_FromVoidPtr(context) : NULL;
    Py_XDECREF(context);
    return id;
}

/* Does a Context.run() execute in it?  Only entering tells. */
static bool entered(PyObject *context)
{
    if (PyContext_Enter(context) < 0) {
        PyErr_Clear();
        return true;
    }
    PyContext_Exit(context);
    return false;
}

static int may_set(PyTasklet *t)
{
    PyTasklet *current = current_tasklet();
    if (!current)
        return -1;
    bool foreign = scheduler_of(t) != scheduler_of(current) && !scheduler_of(t)->dead;
    if (foreign && (t->base.place == SL_IN_RING || t->base.place == SL_DEFERRED || tasklet_is_current(t))) {
        PyErr_SetString(PyExc_RuntimeError, "tasklet belongs to a different thread");
        return -1;
    }
    PyThreadState *ts;
    PyObject *present = *slot_of(t, &ts);
    if (present && entered(present)) {
        PyErr_SetString(PyExc_RuntimeError, "the current context of the tasklet has been entered.");
        return -1;
    }
    return 0;
}

PyObject *context_set(PyObject *self, PyObject *context)
{
    if (!PyContext_CheckExact(context)) {
        PyErr_Format(PyExc_TypeError, "set_context() needs a contextvars.Context, not %s", Py_TYPE(context)->tp_name);
        return NULL;
    }
    if (may_set((PyTasklet *)self) < 0)
        return NULL;
    put((PyTasklet *)self, Py_NewRef(context));
    return Py_NewRef(self);
}

PyObject *context_run(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    if (n < 1) {
        PyErr_SetString(PyExc_TypeError, "context_run() missing 1 required positional argument");
        return NULL;
    }
    PyObject *context = context_of((PyTasklet *)self);
    if (!context)
        return NULL;
    PyThreadState *ts = PyThreadState_Get(); /* the caller's own: the same when it comes back */
    PyObject *saved = Py_XNewRef(ts->context);
    compat_set_context(ts, context);
    PyObject *result = PyObject_Vectorcall(args[0], args + 1, (size_t)(n - 1), names);
    PyObject *type, *value, *tb;
    PyErr_Fetch(&type, &value, &tb);
    compat_set_context(ts, saved);
    PyErr_Restore(type, value, tb);
    return result;
}
