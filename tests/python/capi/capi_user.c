/* SPDX-License-Identifier: MIT
 *
 * An extension module that uses every function of <stackless/python.h>, for
 * tests/python/test_capi.py, which compiles it.  One function of the module for each of
 * the header's, without its Py prefix, and C functions that are bodies of tasklets.
 */
#include <stackless/python.h>

#include <unistd.h>

#define TASK(o) ((PyTaskletObject *)(o))
#define CHANNEL(o) ((PyChannelObject *)(o))

static PyObject *null(PyObject *o) { return o == Py_None ? NULL : o; }

static PyObject *number(long n) { return n == -1 && PyErr_Occurred() ? NULL : PyLong_FromLong(n); }

/* What NULL without an exception is, as a Python value. */
static PyObject *or_none(PyObject *o)
{
    if (o || PyErr_Occurred())
        return o;
    Py_INCREF(Py_None);
    return Py_None;
}

/* Functions of one object, which is passed on whatever it is. */
#define INT_OF(kind, name) \
    static PyObject *x_##name(PyObject *m, PyObject *o) { (void)m; return number(Py##name((kind)o)); }
#define OBJECT_OF(kind, name) \
    static PyObject *x_##name(PyObject *m, PyObject *o) { (void)m; return or_none((PyObject *)Py##name((kind)o)); }
#define INT_OF_AND_INT(kind, name) \
    static PyObject *x_##name(PyObject *m, PyObject *args) \
    { \
        PyObject *o; \
        int value; \
        (void)m; \
        if (!PyArg_ParseTuple(args, "Oi", &o, &value)) \
            return NULL; \
        return number(Py##name((kind)o, value)); \
    }

#define EACH_INT_OF_TASKLET(X) \
    X(Tasklet_Run) X(Tasklet_Switch) X(Tasklet_Insert) X(Tasklet_Remove) X(Tasklet_Kill) X(Tasklet_GetAtomic) \
    X(Tasklet_GetIgnoreNesting) X(Tasklet_GetBlockTrap) X(Tasklet_IsMain) X(Tasklet_IsCurrent) X(Tasklet_Alive) \
    X(Tasklet_Paused) X(Tasklet_Scheduled) X(Tasklet_Restorable) X(Tasklet_GetRecursionDepth) \
    X(Tasklet_GetNestingLevel) X(Tasklet_Run_nr) X(Tasklet_Switch_nr)
#define EACH_SETTER_OF_TASKLET(X) \
    X(Tasklet_KillEx) X(Tasklet_SetAtomic) X(Tasklet_SetIgnoreNesting) X(Tasklet_SetBlockTrap)
#define EACH_INT_OF_CHANNEL(X) \
    X(Channel_Close) X(Channel_Open) X(Channel_GetClosing) X(Channel_GetClosed) X(Channel_GetPreference) \
    X(Channel_GetScheduleAll) X(Channel_GetBalance)
#define EACH_SETTER_OF_CHANNEL(X) X(Channel_SetPreference) X(Channel_SetScheduleAll)
#define EACH_OBJECT_OF_CHANNEL(X) X(Channel_Receive) X(Channel_GetQueue) X(Channel_Receive_nr)

#define DEFINE(name) INT_OF(PyTaskletObject *, name)
EACH_INT_OF_TASKLET(DEFINE)
#undef DEFINE
#define DEFINE(name) INT_OF_AND_INT(PyTaskletObject *, name)
EACH_SETTER_OF_TASKLET(DEFINE)
#undef DEFINE
#define DEFINE(name) INT_OF(PyChannelObject *, name)
EACH_INT_OF_CHANNEL(DEFINE)
#undef DEFINE
#define DEFINE(name) INT_OF_AND_INT(PyChannelObject *, name)
EACH_SETTER_OF_CHANNEL(DEFINE)
#undef DEFINE
#define DEFINE(name) OBJECT_OF(PyChannelObject *, name)
EACH_OBJECT_OF_CHANNEL(DEFINE)
#undef DEFINE
OBJECT_OF(PyTaskletObject *, Tasklet_GetFrame)

/* ---- the others ---- */

static PyObject *x_Tasklet_New(PyObject *m, PyObject *args)
{
    PyObject *type, *func;
    (void)m;
    if (!PyArg_ParseTuple(args, "OO", &type, &func))
        return NULL;
    return (PyObject *)PyTasklet_New((PyTypeObject *)null(type), null(func));
}

static PyObject *x_Tasklet_Setup(PyObject *m, PyObject *args)
{
    PyObject *task, *tuple, *dict;
    (void)m;
    if (!PyArg_ParseTuple(args, "OOO", &task, &tuple, &dict))
        return NULL;
    return number(PyTasklet_Setup(TASK(task), null(tuple), null(dict)));
}

static PyObject *x_Tasklet_BindEx(PyObject *m, PyObject *args)
{
    PyObject *task, *func, *tuple, *dict;
    (void)m;
    if (!PyArg_ParseTuple(args, "OOOO", &task, &func, &tuple, &dict))
        return NULL;
    return number(PyTasklet_BindEx(TASK(task), null(func), null(tuple), null(dict)));
}

static PyObject *x_Tasklet_BindThread(PyObject *m, PyObject *args)
{
    PyObject *task;
    unsigned long id;
    (void)m;
    if (!PyArg_ParseTuple(args, "Ok", &task, &id))
        return NULL;
    return number(PyTasklet_BindThread(TASK(task), id));
}

static PyObject *x_Tasklet_Throw(PyObject *m, PyObject *args)
{
    PyObject *task, *exc, *val, *tb;
    int pending;
    (void)m;
    if (!PyArg_ParseTuple(args, "OiOOO", &task, &pending, &exc, &val, &tb))
        return NULL;
    return number(PyTasklet_Throw(TASK(task), pending, null(exc), null(val), null(tb)));
}

static PyObject *x_Tasklet_RaiseException(PyObject *m, PyObject *args)
{
    PyObject *task, *klass, *rest;
    (void)m;
    if (!PyArg_ParseTuple(args, "OOO", &task, &klass, &rest))
        return NULL;
    return number(PyTasklet_RaiseException(TASK(task), klass, null(rest)));
}

static PyObject *x_Channel_New(PyObject *m, PyObject *type)
{
    (void)m;
    return (PyObject *)PyChannel_New((PyTypeObject *)null(type));
}

static PyObject *x_Channel_Send(PyObject *m, PyObject *args)
{
    PyObject *channel, *value;
    (void)m;
    if (!PyArg_ParseTuple(args, "OO", &channel, &value))
        return NULL;
    return number(PyChannel_Send(CHANNEL(channel), value));
}

static PyObject *x_Channel_Send_nr(PyObject *m, PyObject *channel)
{
    (void)m;
    return number(PyChannel_Send_nr(CHANNEL(channel), NULL));
}

static PyObject *x_Channel_SendException(PyObject *m, PyObject *args)
{
    PyObject *channel, *klass, *value;
    (void)m;
    if (!PyArg_ParseTuple(args, "OOO", &channel, &klass, &value))
        return NULL;
    return number(PyChannel_SendException(CHANNEL(channel), klass, null(value)));
}

static PyObject *x_Channel_SendThrow(PyObject *m, PyObject *args)
{
    PyObject *channel, *exc, *val, *tb;
    (void)m;
    if (!PyArg_ParseTuple(args, "OOOO", &channel, &exc, &val, &tb))
        return NULL;
    return number(PyChannel_SendThrow(CHANNEL(channel), null(exc), null(val), null(tb)));
}

static PyObject *x_Stackless_Schedule(PyObject *m, PyObject *args)
{
    PyObject *retval = NULL;
    int remove;
    (void)m;
    if (!PyArg_ParseTuple(args, "i|O", &remove, &retval))
        return NULL;
    return PyStackless_Schedule(retval, remove);
}

static PyObject *x_Stackless_Schedule_nr(PyObject *m, PyObject *retval)
{
    (void)m;
    return PyStackless_Schedule_nr(retval, 0);
}

static PyObject *x_Stackless_GetRunCount(PyObject *m, PyObject *unused)
{
    (void)m, (void)unused;
    return number(PyStackless_GetRunCount());
}

static PyObject *x_Stackless_GetCurrent(PyObject *m, PyObject *unused)
{
    (void)m, (void)unused;
    return PyStackless_GetCurrent();
}

static PyObject *x_Stackless_GetCurrentId(PyObject *m, PyObject *unused)
{
    (void)m, (void)unused;
    return PyLong_FromUnsignedLong(PyStackless_GetCurrentId());
}

static PyObject *x_Stackless_RunWatchdog(PyObject *m, PyObject *timeout)
{
    (void)m;
    return PyStackless_RunWatchdog(PyLong_AsLong(timeout));
}

static PyObject *x_Stackless_RunWatchdogEx(PyObject *m, PyObject *args)
{
    long timeout;
    int flags;
    (void)m;
    if (!PyArg_ParseTuple(args, "li", &timeout, &flags))
        return NULL;
    return PyStackless_RunWatchdogEx(timeout, flags);
}

static PyObject *x_Stackless_SetScheduleCallback(PyObject *m, PyObject *callback)
{
    (void)m;
    return number(PyStackless_SetScheduleCallback(null(callback)));
}

static PyObject *x_Stackless_SetChannelCallback(PyObject *m, PyObject *callback)
{
    (void)m;
    return number(PyStackless_SetChannelCallback(null(callback)));
}

static PyObject *x_Stackless_Call_Main(PyObject *m, PyObject *args)
{
    PyObject *func, *tuple;
    (void)m;
    if (!PyArg_ParseTuple(args, "OO", &func, &tuple))
        return NULL;
    return PyStackless_Call_Main(func, tuple, NULL);
}

static PyObject *x_Stackless_CallMethod_Main(PyObject *m, PyObject *o)
{
    (void)m;
    return PyStackless_CallMethod_Main(o, "join", "((ss))", "a", "b");
}

static PyObject *kinds(PyObject *m, PyObject *o)
{
    (void)m;
    return Py_BuildValue("(iiii)", PyTasklet_Check(o) != 0, PyTasklet_CheckExact(o) != 0, PyChannel_Check(o) != 0,
                         PyChannel_CheckExact(o) != 0);
}

static PyObject *types(PyObject *m, PyObject *unused)
{
    (void)m, (void)unused;
    return Py_BuildValue("(OO)", (PyObject *)&PyTasklet_Type, (PyObject *)&PyChannel_Type);
}

PyObject *current_by_second_file(void); /* capi_more.c */

static PyObject *second_file(PyObject *m, PyObject *unused)
{
    (void)m, (void)unused;
    return current_by_second_file();
}

/* ---- bodies of tasklets ---- */

/* relay(from, to, n): n values, all of whose state is on this C stack. */
static PyObject *relay(PyObject *m, PyObject *args)
{
    PyObject *from, *to;
    int n, i;
    (void)m;
    if (!PyArg_ParseTuple(args, "OOi", &from, &to, &n))
        return NULL;
    for (i = 0; i < n; i++) {
        PyObject *value = PyChannel_Receive(CHANNEL(from));
        int rc = value ? PyChannel_Send(CHANNEL(to), value) : -1;
        Py_XDECREF(value);
        if (rc < 0)
            return NULL;
    }
    return PyLong_FromLong(i);
}

/* block(fd, channel): a blocking read, which stops nobody, then sends what came. */
static PyObject *block(PyObject *m, PyObject *args)
{
    PyObject *channel, *value;
    PyThreadState *before = PyThreadState_Get();
    char text[16];
    ssize_t got;
    int fd, rc;
    (void)m;
    if (!PyArg_ParseTuple(args, "iO", &fd, &channel))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    got = read(fd, text, sizeof text);
    Py_END_ALLOW_THREADS
    value = PyBytes_FromStringAndSize(text, got < 0 ? 0 : got);
    rc = value ? PyChannel_Send(CHANNEL(channel), value) : -1;
    Py_XDECREF(value);
    if (rc < 0)
        return NULL;
    return PyBool_FromLong(PyThreadState_Get() == before);
}

/* spawn(n, to): n tasklets of a C function that send their numbers; none is kept. */
static PyObject *send_number(PyObject *self, PyObject *to)
{
    return number(PyChannel_Send(CHANNEL(to), self));
}

static PyMethodDef send_number_def = {"send_number", send_number, METH_O, NULL};

static PyObject *spawn(PyObject *m, PyObject *args)
{
    PyObject *to;
    long n, i;
    (void)m;
    if (!PyArg_ParseTuple(args, "lO", &n, &to))
        return NULL;
    for (i = 0; i < n; i++) {
        PyObject *self = PyLong_FromLong(i), *func = self ? PyCFunction_New(&send_number_def, self) : NULL;
        PyTaskletObject *task = func ? PyTasklet_New(NULL, func) : NULL;
        PyObject *tuple = task ? PyTuple_Pack(1, to) : NULL;
        int rc = tuple ? PyTasklet_Setup(task, tuple, NULL) : -1;
        Py_XDECREF(tuple);
        Py_XDECREF((PyObject *)task);
        Py_XDECREF(func);
        Py_XDECREF(self);
        if (rc < 0)
            return NULL;
    }
    return PyLong_FromLong(n);
}

/* ---- the module ---- */

#define NAMED(name, flags) {#name, x_##name, flags, NULL},
#define OF_ONE(name) NAMED(name, METH_O)
#define OF_MORE(name) NAMED(name, METH_VARARGS)

static PyMethodDef functions[] = {
    EACH_INT_OF_TASKLET(OF_ONE) EACH_SETTER_OF_TASKLET(OF_MORE)
    EACH_INT_OF_CHANNEL(OF_ONE) EACH_SETTER_OF_CHANNEL(OF_MORE) EACH_OBJECT_OF_CHANNEL(OF_ONE)
    OF_ONE(Tasklet_GetFrame) OF_MORE(Tasklet_New) OF_MORE(Tasklet_Setup) OF_MORE(Tasklet_BindEx)
    OF_MORE(Tasklet_BindThread) OF_MORE(Tasklet_Throw) OF_MORE(Tasklet_RaiseException)
    OF_ONE(Channel_New) OF_MORE(Channel_Send) OF_ONE(Channel_Send_nr) OF_MORE(Channel_SendException)
    OF_MORE(Channel_SendThrow) OF_MORE(Stackless_Schedule) OF_ONE(Stackless_Schedule_nr)
    NAMED(Stackless_GetRunCount, METH_NOARGS) NAMED(Stackless_GetCurrent, METH_NOARGS)
    NAMED(Stackless_GetCurrentId, METH_NOARGS) OF_ONE(Stackless_RunWatchdog) OF_MORE(Stackless_RunWatchdogEx)
    OF_ONE(Stackless_SetScheduleCallback) OF_ONE(Stackless_SetChannelCallback)
    OF_MORE(Stackless_Call_Main) OF_ONE(Stackless_CallMethod_Main)
    {"kinds", kinds, METH_O, NULL},
    {"types", types, METH_NOARGS, NULL},
    {"second_file", second_file, METH_NOARGS, NULL},
    {"relay", relay, METH_VARARGS, NULL},
    {"block", block, METH_VARARGS, NULL},
    {"spawn", spawn, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static int exec(PyObject *m)
{
    (void)m;
#ifdef FORGET_THE_IMPORT
    return 0;
#else
    return PyStackless_Import();
#endif
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)exec}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "capi_user", NULL, 0, functions, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_capi_user(void)
{
    return PyModuleDef_Init(&definition);
}
