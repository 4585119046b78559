/* SPDX-License-Identifier: MIT
 *
 * Pickling of tasklets and channels (specification, 12): the methods, the
 * flags, and access to what Python code cannot see.  What is in a state is
 * decided in stackless/_pickle.py.
 */
#include "pystackless.h"

enum { FLAGS_ALL = 15 }; /* PICKLEFLAGS_*, in the module */

static PyTypeObject *stopped_type; /* of _inert.py, once it is imported */

static PyObject *call_python(const char *function, PyObject *a, PyObject *b)
{
    PyObject *module = PyImport_ImportModule("stackless._pickle");
    PyObject *f = module ? PyObject_GetAttrString(module, function) : NULL;
    PyObject *r = f ? PyObject_CallFunctionObjArgs(f, a, b, NULL) : NULL;
    Py_XDECREF(f);
    Py_XDECREF(module);
    return r;
}

static int check_protocol(PyObject *protocol)
{
    if (PyLong_Check(protocol))
        return 0;
    PyErr_Format(PyExc_TypeError, "__reduce_ex__() needs an integer, not %s", Py_TYPE(protocol)->tp_name);
    return -1;
}

/* ---- methods ---- */

PyObject *pickle_reduce_tasklet(PyObject *self, PyObject *unused)
{
    PyTasklet *t = (PyTasklet *)self;
    if (is_alive(t) && (t->base.place == SL_STRAY || tasklet_is_current(t))) {
        PyErr_SetString(PyExc_RuntimeError, "You cannot __reduce__ the tasklet which is current.");
        return NULL;
    }
    return call_python("reduce_tasklet", self, NULL);
}

PyObject *pickle_reduce_tasklet_ex(PyObject *self, PyObject *protocol)
{
    return check_protocol(protocol) < 0 ? NULL : pickle_reduce_tasklet(self, NULL);
}

PyObject *pickle_restore_tasklet(PyObject *self, PyObject *state)
{
    return call_python("restore_tasklet", self, state);
}

PyObject *pickle_reduce_channel(PyObject *self, PyObject *unused)
{
    return call_python("reduce_channel", self, NULL);
}

PyObject *pickle_reduce_channel_ex(PyObject *self, PyObject *protocol)
{
    return check_protocol(protocol) < 0 ? NULL : pickle_reduce_channel(self, NULL);
}

PyObject *pickle_restore_channel(PyObject *self, PyObject *state)
{
    return call_python("restore_channel", self, state);
}

/* ---- what is left of one that had started ---- */

bool pickle_is_stopped(PyTasklet *t)
{
    return stopped_type && t->execution == EXEC_FRESH && Py_TYPE(t->func) == stopped_type;
}

/* Its `name`; NULL with an exception. */
PyObject *pickle_remains(PyTasklet *t, const char *name)
{
    return PyObject_GetAttrString(t->func, name);
}

static PyObject *set_stopped_type(PyObject *module, PyObject *type)
{
    stopped_type = (PyTypeObject *)Py_NewRef(type);
    Py_RETURN_NONE;
}

/* ---- access ---- */

static PyTasklet *as_tasklet(PyObject *o)
{
    if (is_tasklet(o))
        return (PyTasklet *)o;
    PyErr_Format(PyExc_TypeError, "a tasklet is needed, not %s", Py_TYPE(o)->tp_name);
    return NULL;
}

static PyObject *parts(PyObject *module, PyObject *o)
{
    PyTasklet *t = as_tasklet(o);
    if (!t)
        return NULL;
    if (t->execution != EXEC_FRESH)
        Py_RETURN_NONE;
    return Py_BuildValue("(OOO)", t->func, t->args, t->kwargs ? t->kwargs : Py_None);
}

static PyObject *is_zombie(PyObject *module, PyObject *o)
{
    PyTasklet *t = as_tasklet(o);
    return t ? PyBool_FromLong(t->zombie && is_alive(t)) : NULL;
}

static PyObject *own_name(PyObject *module, PyObject *o)
{
    PyTasklet *t = as_tasklet(o);
    return t ? Py_NewRef(t->rare && t->rare->name ? t->rare->name : Py_None) : NULL;
}

static PyObject *get_context(PyObject *module, PyObject *o)
{
    PyTasklet *t = as_tasklet(o);
    return t ? context_of(t) : NULL;
}

static PyChannel *as_channel(PyObject *o)
{
    if (PyObject_TypeCheck(o, fe.channel_type))
        return (PyChannel *)o;
    PyErr_Format(PyExc_TypeError, "a channel is needed, not %s", Py_TYPE(o)->tp_name);
    return NULL;
}

static PyObject *buffered(PyObject *module, PyObject *o)
{
    PyChannel *c = as_channel(o);
    PyObject *list = c ? PyList_New(c->count) : NULL;
    for (Py_ssize_t i = 0; list && i < c->count; i++) {
        PyObject *value = c->buffer[(c->first + i) % c->capacity];
        PyList_SET_ITEM(list, i, Py_NewRef(value ? value : Py_None));
    }
    return list;
}

static PyObject *enqueue(PyObject *module, PyObject *args)
{
    PyObject *channel, *tasklet;
    int dir;
    if (!PyArg_ParseTuple(args, "OOi:_enqueue", &channel, &tasklet, &dir))
        return NULL;
    PyChannel *c = as_channel(channel);
    PyTasklet *t = c ? as_tasklet(tasklet) : NULL;
    if (!t)
        return NULL;
    if (!is_alive(t) || t->base.place != SL_NOWHERE || t->execution == EXEC_STARTED || c->balance * dir < 0) {
        PyErr_SetString(PyExc_RuntimeError, "only paused tasklets that have not started can be put in a channel's queue");
        return NULL;
    }
    Py_INCREF(t); /* the queue's */
    channel_enqueue(c, t, dir > 0 ? 1 : -1);
    Py_RETURN_NONE;
}

/* ---- flags (3.12) ---- */

static int parse_flags(PyObject *args, const char *format, long *value, long *mask)
{
    *value = *mask = -1;
    if (!PyArg_ParseTuple(args, format, value, mask))
        return -1;
    if (*value < -1 || (*value != -1 && (*value & *mask & ~(long)FLAGS_ALL))) {
        PyErr_SetString(PyExc_ValueError, "you must not set an undefined pickle-flag");
        return -1;
    }
    return 0;
}

static PyObject *exchange_flags(int *flags, long value, long mask)
{
    int old = *flags;
    if (value != -1)
        *flags = (int)((old & ~mask) | (value & mask));
    return PyLong_FromLong(old);
}

static PyObject *pickle_flags(PyObject *module, PyObject *args)
{
    long value, mask;
    PyTasklet *t = current_tasklet();
    if (!t || parse_flags(args, "|ll:pickle_flags", &value, &mask) < 0)
        return NULL;
    return exchange_flags(&scheduler_of(t)->pickle_flags, value, mask);
}

static PyObject *pickle_flags_default(PyObject *module, PyObject *args)
{
    long value, mask;
    if (parse_flags(args, "|ll:pickle_flags_default", &value, &mask) < 0)
        return NULL;
    return exchange_flags(&fe.pickle_flags, value, mask);
}

static PyMethodDef functions[] = {
    {"pickle_flags", pickle_flags, METH_VARARGS,
     "pickle_flags(new_flags=-1, mask=-1) -> int\n\n"
     "Sets those of this thread's PICKLEFLAGS_* that are in mask; returns the old ones. -1\n"
     "only asks. ValueError for flags that do not exist."},
    {"pickle_flags_default", pickle_flags_default, METH_VARARGS,
     "pickle_flags_default(new_default=-1, mask=-1) -> int\n\n"
     "As pickle_flags(), for threads that begin to use this module later."},
    {"_set_stopped_type", set_stopped_type, METH_O, "For _pickle.py."},
    {"_parts", parts, METH_O, "(callable, args, kwargs) of a tasklet that has not started, or None."},
    {"_own_name", own_name, METH_O, "A tasklet's name if it has been set, else None."},
    {"_is_zombie", is_zombie, METH_O, "Has its finalizer failed to kill it?"},
    {"_get_context", get_context, METH_O, "A tasklet's context."},
    {"_buffered", buffered, METH_O, "The values in a channel's buffer."},
    {"_enqueue", enqueue, METH_VARARGS, "_enqueue(channel, tasklet, dir): puts it at the end of the queue."},
    {NULL},
};

int pickle_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
