/* SPDX-License-Identifier: MIT
 *
 * The channel type: methods, attributes, objects.  Not here: what an operation does
 * (channel.c).  send(), receive() and iteration reach that by jumps, see there.
 */
#include "pystackless.h"

#include <structmember.h>

/* ---- methods ---- */

static PyObject *as_value(PyObject *value)
{
    return value == Py_None ? NULL : Py_NewRef(value);
}

/* `expected` positional arguments and perhaps timeout=. */
static int call_args(const char *name, Py_ssize_t expected, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                     int64_t *deadline)
{
    Py_ssize_t nkw = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    if (nargs != expected) {
        PyErr_Format(PyExc_TypeError, "channel.%s() takes %s (%zd given)", name,
                     expected ? "exactly one argument" : "no arguments", nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; i < nkw; i++) {
        PyObject *key = PyTuple_GET_ITEM(kwnames, i);
        if (PyUnicode_CompareWithASCIIString(key, "timeout") != 0) {
            PyErr_Format(PyExc_TypeError, "channel.%s() takes no keyword arguments but timeout, got %R", name, key);
            return -1;
        }
        if (parse_deadline(args[nargs + i], deadline) < 0)
            return -1;
    }
    return 0;
}

static PyObject *send_otherwise(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    int64_t deadline = SL_NEVER;
    if (call_args("send", 1, args, nargs, kwnames, &deadline) < 0)
        return NULL;
    return channel_perform_until(self, as_value(args[0]), +1, deadline);
}

static PyObject *channel_send(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (__builtin_expect(nargs != 1 || kwnames, 0))
        return send_otherwise(self, args, nargs, kwnames);
    return channel_perform(self, as_value(args[0]), +1);
}

static PyObject *receive_otherwise(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    int64_t deadline = SL_NEVER;
    if (call_args("receive", 0, args, nargs, kwnames, &deadline) < 0)
        return NULL;
    return channel_perform_until(self, NULL, -1, deadline);
}

static PyObject *channel_receive(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (__builtin_expect(nargs || kwnames, 0))
        return receive_otherwise(self, args, nargs, kwnames);
    return channel_perform(self, NULL, -1);
}

/* 1: it would not block; 0: it would; -1: it would be an error. */
static int look_first(PyChannel *c, PyTasklet *t, int dir)
{
    if (!t)
        return -1;
    if (channel_ready(c, dir))
        return 1;
    if (!c->closing)
        return 0;
    channel_refuse_closed();
    return -1;
}

static PyObject *channel_try_send(PyObject *self, PyObject *value)
{
    PyTasklet *t = enter();
    int ready = look_first((PyChannel *)self, t, +1);
    if (ready <= 0)
        return ready < 0 ? NULL : Py_NewRef(Py_False);
    PyObject *done = channel_operate((PyChannel *)self, t, as_value(value), +1, CHANNEL_NOW);
    Py_XDECREF(done);
    return done ? Py_NewRef(Py_True) : PyErr_Occurred() ? NULL : Py_NewRef(Py_False);
}

static PyObject *channel_try_receive(PyObject *self, PyObject *args)
{
    PyObject *missing = Py_None;
    if (!PyArg_ParseTuple(args, "|O:try_receive", &missing))
        return NULL;
    PyTasklet *t = enter();
    int ready = look_first((PyChannel *)self, t, -1);
    if (ready <= 0)
        return ready < 0 ? NULL : Py_NewRef(missing);
    PyObject *got = channel_operate((PyChannel *)self, t, NULL, -1, CHANNEL_NOW);
    return got || PyErr_Occurred() ? got : Py_NewRef(missing);
}

static PyObject *send_bomb(PyObject *self, PyObject *bomb, int64_t deadline)
{
    return bomb ? channel_perform_until(self, bomb, +1, deadline) : NULL;
}

/* The timeout of a call whose other arguments are positional. */
static int keyword_deadline(PyObject *kwargs, const char *name, int64_t *deadline)
{
    *deadline = SL_NEVER;
    if (!kwargs || PyDict_GET_SIZE(kwargs) == 0)
        return 0;
    PyObject *seconds = PyDict_GetItemString(kwargs, "timeout");
    if (!seconds || PyDict_GET_SIZE(kwargs) > 1) {
        PyErr_Format(PyExc_TypeError, "%s() takes no keyword arguments but timeout", name);
        return -1;
    }
    return parse_deadline(seconds, deadline);
}

static PyObject *channel_send_exception(PyObject *self, PyObject *args, PyObject *kwargs)
{
    int64_t deadline;
    if (keyword_deadline(kwargs, "send_exception", &deadline) < 0)
        return NULL;
    return send_bomb(self, bomb_from_call("channel", "send_exception", args), deadline);
}

static PyObject *channel_send_throw(PyObject *self, PyObject *args, PyObject *kwargs)
{
    int64_t deadline;
    PyObject *exc, *val = Py_None, *tb = Py_None;
    if (keyword_deadline(kwargs, "send_throw", &deadline) < 0 ||
        !PyArg_ParseTuple(args, "O|OO:send_throw", &exc, &val, &tb))
        return NULL;
    return send_bomb(self, bomb_from_args(exc, val, tb), deadline);
}

static PyObject *channel_send_sequence(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    int64_t deadline = SL_NEVER;
    if (call_args("send_sequence", 1, args, nargs, kwnames, &deadline) < 0)
        return NULL;
    PyObject *it = PyObject_GetIter(args[0]), *item;
    Py_ssize_t n = 0;
    if (!it)
        return NULL;
    while ((item = PyIter_Next(it)) != NULL) {
        PyObject *r = channel_perform_until(self, as_value(item), +1, deadline);
        Py_DECREF(item);
        if (!r)
            break;
        Py_DECREF(r);
        n++;
    }
    Py_DECREF(it);
    return PyErr_Occurred() ? NULL : PyLong_FromSsize_t(n);
}

static PyObject *channel_close(PyObject *self, PyObject *unused)
{
    ((PyChannel *)self)->closing = true;
    Py_RETURN_NONE;
}

static PyObject *channel_open(PyObject *self, PyObject *unused)
{
    ((PyChannel *)self)->closing = false;
    Py_RETURN_NONE;
}

static PyObject *channel_next(PyObject *self)
{
    PyChannel *c = (PyChannel *)self;
    if (c->closing && !channel_ready(c, -1))
        return NULL; /* StopIteration */
    return channel_perform(self, NULL, -1);
}

/* ---- attributes ---- */

static PyObject *get_balance(PyObject *self, void *unused)
{
    return PyLong_FromSsize_t(((PyChannel *)self)->balance);
}

static PyObject *get_closing(PyObject *self, void *unused)
{
    return PyBool_FromLong(((PyChannel *)self)->closing);
}

static PyObject *get_closed(PyObject *self, void *unused)
{
    return PyBool_FromLong(channel_is_closed((PyChannel *)self));
}

static PyObject *get_capacity(PyObject *self, void *unused)
{
    return PyLong_FromSsize_t(((PyChannel *)self)->capacity);
}

static PyObject *get_buffered(PyObject *self, void *unused)
{
    return PyLong_FromSsize_t(((PyChannel *)self)->count);
}

static PyObject *get_queue(PyObject *self, void *unused)
{
    PyChannel *c = (PyChannel *)self;
    return Py_NewRef(c->head ? (PyObject *)tasklet_of(c->head) : Py_None);
}

static PyObject *get_preference(PyObject *self, void *unused)
{
    return PyLong_FromLong(((PyChannel *)self)->preference);
}

static int set_preference(PyObject *self, PyObject *value, void *unused)
{
    if (!value || !PyLong_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "preference must be set to an integer");
        return -1;
    }
    int overflow;
    long v = PyLong_AsLongAndOverflow(value, &overflow);
    v = overflow ? overflow : v;
    ((PyChannel *)self)->preference = v > 0 ? 1 : v < 0 ? -1 : 0;
    return 0;
}

static PyObject *get_schedule_all(PyObject *self, void *unused)
{
    return PyLong_FromLong(((PyChannel *)self)->schedule_all);
}

static int set_schedule_all(PyObject *self, PyObject *value, void *unused)
{
    if (!value || !PyLong_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "schedule_all must be set to a bool or integer");
        return -1;
    }
    ((PyChannel *)self)->schedule_all = PyObject_IsTrue(value);
    return 0;
}

static PyGetSetDef channel_getset[] = {
    {"balance", get_balance, NULL, "How many senders (> 0) or receivers (< 0) wait.", NULL},
    {"capacity", get_capacity, NULL, "How many values the buffer holds at most; 0: there is none.", NULL},
    {"buffered", get_buffered, NULL, "How many values are in the buffer.", NULL},
    {"closing", get_closing, NULL, "close() has been called.", NULL},
    {"closed", get_closed, NULL, "close() has been called, nobody waits and the buffer is empty.", NULL},
    {"queue", get_queue, NULL, "The first blocked tasklet or None; go on with its next.", NULL},
    {"preference", get_preference, set_preference,
     "Who goes on when two sides meet: -1 the receiver (default), 1 the sender, 0 the caller\n"
     "(default where there is a buffer).", NULL},
    {"schedule_all", get_schedule_all, set_schedule_all,
     "1: an operation that succeeds lets the next tasklet run; overrides preference.", NULL},
    {NULL},
};

/* ---- the type ---- */

enum { CAPACITY_MAX = 1 << 24 };

/* capacity= of the keyword arguments, 0 if it is not there; everything else is ignored. */
static Py_ssize_t capacity_of(PyObject *kwargs)
{
    PyObject *given = kwargs ? PyDict_GetItemString(kwargs, "capacity") : NULL;
    if (!given)
        return 0;
    if (!PyIndex_Check(given)) {
        PyErr_Format(PyExc_TypeError, "capacity must be an integer, got %R", given);
        return -1;
    }
    Py_ssize_t n = PyNumber_AsSsize_t(given, NULL); /* cut to the range of its type */
    if (n == -1 && PyErr_Occurred())
        return -1;
    if (n >= 0 && n <= CAPACITY_MAX)
        return n;
    PyErr_Format(PyExc_ValueError, "capacity must be between 0 and %d, got %R", CAPACITY_MAX, given);
    return -1;
}

static PyObject *channel_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    Py_ssize_t capacity = capacity_of(kwargs);
    PyChannel *c = capacity < 0 ? NULL : (PyChannel *)type->tp_alloc(type, 0);
    if (!c)
        return NULL;
    c->preference = capacity ? 0 : -1;
    if (capacity && !(c->buffer = PyMem_Calloc((size_t)capacity, sizeof *c->buffer))) {
        Py_DECREF(c);
        return PyErr_NoMemory();
    }
    c->capacity = capacity;
    c->beside = capacity > 0;
    return (PyObject *)c;
}

static int channel_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return 0; /* any arguments are accepted; all but capacity are ignored */
}

static int channel_traverse(PyObject *self, visitproc visit, void *arg)
{
    PyChannel *c = (PyChannel *)self;
    Py_VISIT(Py_TYPE(self));
    for (sl_otasklet *t = c->head; t; t = t->next)
        Py_VISIT(tasklet_of(t));
    for (Py_ssize_t i = 0; i < c->count; i++)
        Py_VISIT(c->buffer[(c->first + i) % c->capacity]);
    return 0;
}

static int channel_clear(PyObject *self)
{
    PyChannel *c = (PyChannel *)self;
    while (c->count) {
        PyObject *value = channel_take(c);
        Py_XDECREF(value);
    }
    return 0;
}

static void channel_dealloc(PyObject *self)
{
    PyChannel *c = (PyChannel *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (c->weakrefs)
        PyObject_ClearWeakRefs(self);
    c->closing = true;
    while (c->head) { /* only after exit or a fork: a blocked call holds its channel */
        PyTasklet *t = tasklet_of(c->head);
        channel_remove(c, t);
        Py_DECREF(t);
    }
    channel_clear(self);
    PyMem_Free(c->buffer);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef channel_methods[] = {
    {"send", (PyCFunction)(void (*)(void))channel_send, METH_FASTCALL | METH_KEYWORDS,
     "send($self, value, /, *, timeout=None)\n--\n\n"
     "Hands value to a receiver, or puts it into the buffer if there is room. Else blocks the\n"
     "tasklet, for timeout seconds at most (None: for ever). With the default preference\n"
     "switches to a receiver that waits already. ValueError if the channel is closing;\n"
     "TimeoutError: the value has not been and will not be received; RuntimeError on a\n"
     "deadlock."},
    {"receive", (PyCFunction)(void (*)(void))channel_receive, METH_FASTCALL | METH_KEYWORDS,
     "receive($self, /, *, timeout=None)\n--\n\n"
     "Takes the oldest value from the buffer or a sender, blocking the tasklet until there is\n"
     "one, for timeout seconds at most (None: for ever). Raises what was sent as an exception.\n"
     "ValueError if the channel is closing and empty; TimeoutError: nothing has been taken;\n"
     "RuntimeError on a deadlock."},
    {"try_send", channel_try_send, METH_O,
     "try_send($self, value, /)\n--\n\n"
     "As send() and True, if that would not block; else False at once."},
    {"try_receive", channel_try_receive, METH_VARARGS,
     "try_receive($self, default=None, /)\n--\n\n"
     "As receive(), if that would not block; else default at once."},
    {"send_exception", (PyCFunction)(void (*)(void))channel_send_exception, METH_VARARGS | METH_KEYWORDS,
     "send_exception(exc_class, *args, timeout=None) -> None\n\n"
     "Sends an exception, as send() a value: the receiver raises exc_class(*args)."},
    {"send_throw", (PyCFunction)(void (*)(void))channel_send_throw, METH_VARARGS | METH_KEYWORDS,
     "send_throw(exc, val=None, tb=None, *, timeout=None) -> None\n\n"
     "Sends an exception, as send() a value, in the three-part form of raise."},
    {"send_sequence", (PyCFunction)(void (*)(void))channel_send_sequence, METH_FASTCALL | METH_KEYWORDS,
     "send_sequence($self, iterable, /, *, timeout=None)\n--\n\n"
     "Sends every item; how many. Stops at the first error, which propagates. The timeout is\n"
     "for all of them together."},
    {"close", channel_close, METH_NOARGS,
     "close() -> None\n\n"
     "No more operations that would block: they raise ValueError, iteration ends. Wakes\n"
     "nobody; tasklets that wait already can still be served."},
    {"__reduce__", pickle_reduce_channel, METH_NOARGS, "Pickle support."},
    {"__reduce_ex__", pickle_reduce_channel_ex, METH_O, "Pickle support."},
    {"__setstate__", pickle_restore_channel, METH_O, "Pickle support."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "channel[T], for annotations."},
    {"open", channel_open, METH_NOARGS, "open() -> None\n\nUndoes close()."},
    {NULL},
};

static PyMemberDef channel_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PyChannel, weakrefs), READONLY},
    {NULL},
};

static PyType_Slot channel_slots[] = {
    {Py_tp_doc, "channel(*ignored, capacity=0, **others)\n--\n\n"
                "Connects tasklets, of one thread or of several: send() and receive() meet one to\n"
                "one, first come first served. With a capacity (up to 2**24) that many values may\n"
                "wait in a buffer, so a sender runs ahead; the order of values stays. Iterating\n"
                "receives until the channel is closed and empty. Other arguments are ignored."},
    {Py_tp_new, channel_new},
    {Py_tp_init, channel_init},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, channel_next},
    {Py_tp_traverse, channel_traverse},
    {Py_tp_clear, channel_clear},
    {Py_tp_dealloc, channel_dealloc},
    {Py_tp_methods, channel_methods},
    {Py_tp_members, channel_members},
    {Py_tp_getset, channel_getset},
    {0, NULL},
};

static PyType_Spec channel_spec = {
    .name = "stackless.channel",
    .basicsize = sizeof(PyChannel),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = channel_slots,
};

int channel_init_type(PyObject *module)
{
    fe.channel_type = (PyTypeObject *)PyType_FromSpec(&channel_spec);
    if (!fe.channel_type)
        return -1;
    return PyModule_AddObjectRef(module, "channel", (PyObject *)fe.channel_type);
}
