/* SPDX-License-Identifier: MIT
 *
 * The channel type: Stackless's rules (specification, section 5) on a FIFO of
 * blocked tasklets.  Guarded by the GIL.  A queue's membership holds the
 * reference that the ring held before.
 */
#include "pystackless.h"

#include <structmember.h>

/* ---- the queue ---- */

static void enqueue(PyChannel *c, PyTasklet *t, int dir)
{
    sl_tasklet *b = &t->base;
    b->next = NULL;
    b->prev = c->tail;
    *(c->tail ? &c->tail->next : &c->head) = b;
    c->tail = b;
    b->place = SL_IN_QUEUE;
    t->blocked = (int8_t)dir;
    t->channel = c;
    c->balance += dir;
}

void channel_remove(PyChannel *c, PyTasklet *t)
{
    sl_tasklet *b = &t->base;
    *(b->prev ? &b->prev->next : &c->head) = b->next;
    *(b->next ? &b->next->prev : &c->tail) = b->prev;
    b->next = b->prev = NULL;
    b->place = SL_NOWHERE;
    c->balance -= t->blocked;
    t->blocked = 0;
    t->channel = NULL;
}

/* ---- the operation (5.1) ---- */

/* `value` (stolen; NULL: None) meets partner `p`; what `p` left is returned
 * through the caller's tempval or at once. */
static PyObject *exchange(PyChannel *c, PyTasklet *t, PyTasklet *p, PyObject *value, int dir)
{
    scheduler *s = scheduler_of(t);
    bool local = scheduler_of(p) == s;
    bool to_partner = local && !c->schedule_all && c->preference == -dir;
    bool to_next = local && c->schedule_all;
    if ((to_partner || to_next) && trapped(t)) {
        Py_XDECREF(value);
        return NULL;
    }
    if (!local && scheduler_of(p)->dead) {
        Py_XDECREF(value);
        PyErr_SetString(PyExc_RuntimeError, "tasklet has no thread");
        return NULL;
    }
    channel_remove(c, p);
    set_tempval(t, p->tempval);
    p->tempval = value;
    p->delivered = true;
    if (to_partner) {
        sl_lane_append_next(p->base.lane, &p->base);
        return switch_to(t, p);
    }
    sl_lane_append(p->base.lane, &p->base);
    if (to_next)
        return switch_to(t, tasklet_of(t->base.next));
    return take_tempval(t);
}

static PyObject *refuse(PyObject *type, const char *text, PyObject *value)
{
    Py_XDECREF(value);
    PyErr_SetString(type, text);
    return NULL;
}

static PyObject *block(PyChannel *c, PyTasklet *t, PyObject *value, int dir)
{
    if (t->block_trap)
        return refuse(PyExc_RuntimeError, "this tasklet does not like to be blocked.", value);
    if (c->closing)
        return refuse(PyExc_ValueError, "Send/receive operation on a closed channel", value);
    if (trapped(t)) {
        Py_XDECREF(value);
        return NULL;
    }
    set_tempval(t, value);
    sl_lane_unlink(t->base.lane, &t->base);
    enqueue(c, t, dir);
    return switch_to(t, NULL);
}

/* dir: +1 send, -1 receive.  `value` is stolen. */
static PyObject *operate(PyChannel *c, PyObject *value, int dir)
{
    PyTasklet *t = enter();
    if (!t) {
        Py_XDECREF(value);
        return NULL;
    }
    if (c->balance * dir < 0)
        return exchange(c, t, tasklet_of(c->head), value, dir);
    return block(c, t, value, dir);
}

/* ---- methods ---- */

static PyObject *send_value(PyObject *self, PyObject *value)
{
    return operate((PyChannel *)self, value == Py_None ? NULL : Py_NewRef(value), +1);
}

static PyObject *channel_receive(PyObject *self, PyObject *unused)
{
    return operate((PyChannel *)self, NULL, -1);
}

static PyObject *send_bomb(PyObject *self, PyObject *bomb)
{
    return bomb ? operate((PyChannel *)self, bomb, +1) : NULL;
}

static PyObject *channel_send_exception(PyObject *self, PyObject *args)
{
    if (PyTuple_GET_SIZE(args) < 1) {
        PyErr_SetString(PyExc_TypeError, "send_exception() takes at least 1 argument");
        return NULL;
    }
    PyObject *cls = PyTuple_GET_ITEM(args, 0);
    if (!PyExceptionClass_Check(cls)) {
        PyErr_SetString(PyExc_TypeError,
                        "channel.send_exception needs Exception or string subclass as first parameter");
        return NULL;
    }
    PyObject *rest = PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args));
    if (!rest)
        return NULL;
    PyObject *bomb = bomb_from_class(cls, rest);
    Py_DECREF(rest);
    return send_bomb(self, bomb);
}

static PyObject *channel_send_throw(PyObject *self, PyObject *args)
{
    PyObject *exc, *val = Py_None, *tb = Py_None;
    if (!PyArg_ParseTuple(args, "O|OO:send_throw", &exc, &val, &tb))
        return NULL;
    return send_bomb(self, bomb_from_args(exc, val, tb));
}

static PyObject *channel_send_sequence(PyObject *self, PyObject *iterable)
{
    PyObject *it = PyObject_GetIter(iterable), *item;
    Py_ssize_t n = 0;
    if (!it)
        return NULL;
    while ((item = PyIter_Next(it)) != NULL) {
        PyObject *r = send_value(self, item);
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
    if (c->closing && c->balance <= 0)
        return NULL; /* StopIteration */
    return channel_receive(self, NULL);
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
    PyChannel *c = (PyChannel *)self;
    return PyBool_FromLong(c->closing && c->balance == 0);
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
    {"closing", get_closing, NULL, "close() has been called.", NULL},
    {"closed", get_closed, NULL, "close() has been called and nobody waits.", NULL},
    {"queue", get_queue, NULL, "The first blocked tasklet or None; go on with its next.", NULL},
    {"preference", get_preference, set_preference,
     "Who goes on when two sides meet: -1 the receiver (default), 1 the sender, 0 the caller.", NULL},
    {"schedule_all", get_schedule_all, set_schedule_all,
     "1: an operation that succeeds lets the next tasklet run; overrides preference.", NULL},
    {NULL},
};

/* ---- the type ---- */

static PyObject *channel_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyChannel *c = (PyChannel *)type->tp_alloc(type, 0);
    if (c)
        c->preference = -1;
    return (PyObject *)c;
}

static int channel_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return 0; /* any arguments are accepted and ignored */
}

static int channel_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    for (sl_tasklet *t = ((PyChannel *)self)->head; t; t = t->next)
        Py_VISIT(tasklet_of(t));
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
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef channel_methods[] = {
    {"send", send_value, METH_O,
     "send($self, value, /)\n--\n\n"
     "Hands value to a receiver. Blocks the tasklet until there is one; with the default\n"
     "preference switches to a receiver that waits already. ValueError if the channel is\n"
     "closing; RuntimeError on a deadlock."},
    {"receive", channel_receive, METH_NOARGS,
     "receive() -> value\n\n"
     "Takes a value from a sender, blocking the tasklet until there is one. Raises what\n"
     "was sent as an exception. ValueError if the channel is closing; RuntimeError on a\n"
     "deadlock."},
    {"send_exception", channel_send_exception, METH_VARARGS,
     "send_exception(exc_class, *args) -> None\n\nSends an exception: the receiver raises exc_class(*args)."},
    {"send_throw", channel_send_throw, METH_VARARGS,
     "send_throw(exc, val=None, tb=None) -> None\n\nSends an exception in the three-part form of raise."},
    {"send_sequence", channel_send_sequence, METH_O,
     "send_sequence($self, iterable, /)\n--\n\nSends every item; how many. Stops at the first error, which propagates."},
    {"close", channel_close, METH_NOARGS,
     "close() -> None\n\n"
     "No more operations that would block: they raise ValueError, iteration ends. Wakes\n"
     "nobody; tasklets that wait already can still be served."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "channel[T], for annotations."},
    {"open", channel_open, METH_NOARGS, "open() -> None\n\nUndoes close()."},
    {NULL},
};

static PyMemberDef channel_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PyChannel, weakrefs), READONLY},
    {NULL},
};

static PyType_Slot channel_slots[] = {
    {Py_tp_doc, "channel()\n--\n\n"
                "Connects tasklets, of one thread or of several: send() and receive() meet one to\n"
                "one, without a buffer, first come first served. Iterating receives until the\n"
                "channel is closed."},
    {Py_tp_new, channel_new},
    {Py_tp_init, channel_init},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, channel_next},
    {Py_tp_traverse, channel_traverse},
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
