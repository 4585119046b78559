/* SPDX-License-Identifier: MIT
 *
 * What stackless.Queue and its like are made of: put and get, their waiters, the
 * count of unfinished tasks, shutdown.
 *
 * Not here: where the items are kept.  That is up to the Python class (_queue.py),
 * which gives two callables, or else methods _put and _get.
 *
 * Guarded by the GIL.  `items` counts what is stored and promised to nobody, `slots`
 * the free places; who comes first is served first, on both sides, since who has
 * taken one of them will find its item, or its place.  From there to the storage and
 * the other side no Python code runs but what the storage runs; so neither a kill nor a
 * signal comes between.
 */
#include "gate.h"

typedef struct {
    PyObject_HEAD
    gate *items, *slots, *done; /* made by __new__; slots counts only if maxsize > 0 */
    gate *mutex;                /* of a heap: comparing may run Python code, and that may switch */
    PyObject *store, *fetch;    /* callables, or NULL: the methods _put, _get */
    Py_ssize_t maxsize;         /* at most that many items; <= 0: no limit */
    Py_ssize_t unfinished;      /* put, and task_done() not called; done is set while 0 */
    bool shut;
} queue;

static PyObject *str_put, *str_get;

static PyObject *complain(queue *q, const char *which, const char *text)
{
    PyObject *type = PyObject_GetAttrString((PyObject *)q, which);
    if (type)
        PyErr_SetString(type, text);
    Py_XDECREF(type);
    return NULL;
}

/* One of `g`, for a get() or a put(). */
static enum outcome take(queue *q, gate *g, bool putting, int64_t deadline)
{
    static const char was_shut[] = "the queue has been shut down";
    for (;;) {
        if (q->shut && (putting || g->value == 0))
            return complain(q, "_ShutDown", was_shut), FAILED;
        if (putting && q->maxsize <= 0)
            return GRANTED;
        if (g->value > 0 || deadline == AT_ONCE)
            return gate_take(g, deadline);
        PyTasklet *t = enter_to_wait();
        if (!t)
            return FAILED;
        if (g->value > 0 || q->shut)
            continue;
        enum outcome o = gate_wait(g, t, deadline);
        if (o == GRANTED && putting && q->shut) {
            gate_give(g);
            continue;
        }
        if (o != DISTURBED)
            return o;
    }
}

static PyObject *put(queue *q, PyObject *item, int64_t deadline)
{
    enum outcome o = take(q, q->slots, true, deadline);
    if (o == FAILED)
        return NULL;
    if (o == TIME_OVER)
        return complain(q, "_Full", "the queue is full");
    PyObject *r = q->store ? PyObject_CallOneArg(q->store, item)
                           : PyObject_CallMethodOneArg((PyObject *)q, str_put, item);
    if (!r) {
        if (q->maxsize > 0)
            gate_give(q->slots);
        return NULL;
    }
    q->unfinished++;
    q->done->value = 0;
    gate_give(q->items);
    Py_DECREF(r);
    Py_RETURN_NONE;
}

static PyObject *get(queue *q, int64_t deadline)
{
    enum outcome o = take(q, q->items, false, deadline);
    if (o == FAILED)
        return NULL;
    if (o == TIME_OVER)
        return complain(q, "_Empty", "the queue is empty");
    PyObject *item = q->fetch ? PyObject_CallNoArgs(q->fetch) : PyObject_CallMethodNoArgs((PyObject *)q, str_get);
    if (!item)
        gate_give(q->items); /* it is still there */
    else if (q->maxsize > 0)
        gate_give(q->slots);
    return item;
}

/* ---- a heap ---- */

/* What PriorityQueue._put and _get do; here, as an exception from outside must find it
 * done or not done.  The heap is a list that only these two change, one at a time. */

/* An item that could not be compared stands on the way up from the end. */
static void undo_push(PyObject *heap, PyObject *item)
{
    Py_ssize_t last = PyList_GET_SIZE(heap) - 1, at = last;
    while (at > 0 && PyList_GET_ITEM(heap, at) != item)
        at = (at - 1) >> 1;
    for (Py_ssize_t child = last; child > at; child = (child - 1) >> 1) {
        PyObject *displaced = PyList_GET_ITEM(heap, at);
        PyList_SET_ITEM(heap, at, PyList_GET_ITEM(heap, child));
        PyList_SET_ITEM(heap, child, displaced);
    }
    PyList_SetSlice(heap, last, last + 1, NULL);
}

static PyObject *queue_push(PyObject *self, PyObject *args)
{
    queue *q = (queue *)self;
    PyObject *heappush, *heap, *item;
    if (!PyArg_ParseTuple(args, "OO!O:_push", &heappush, &PyList_Type, &heap, &item) ||
        gate_take(q->mutex, SL_NEVER) != GRANTED)
        return NULL;
    Py_ssize_t before = PyList_GET_SIZE(heap);
    PyObject *r = PyObject_CallFunctionObjArgs(heappush, heap, item, NULL);
    if (!r && PyList_GET_SIZE(heap) > before) {
        PyObject *type, *value, *tb;
        PyErr_Fetch(&type, &value, &tb);
        undo_push(heap, item);
        PyErr_Restore(type, value, tb);
    }
    gate_give(q->mutex);
    return r;
}

static PyObject *queue_pop(PyObject *self, PyObject *args)
{
    queue *q = (queue *)self;
    PyObject *heappop, *heap;
    if (!PyArg_ParseTuple(args, "OO!:_pop", &heappop, &PyList_Type, &heap) ||
        gate_take(q->mutex, SL_NEVER) != GRANTED)
        return NULL;
    Py_ssize_t before = PyList_GET_SIZE(heap);
    PyObject *first = before ? Py_NewRef(PyList_GET_ITEM(heap, 0)) : NULL;
    PyObject *item = PyObject_CallOneArg(heappop, heap);
    if (!item && first && PyList_GET_SIZE(heap) < before) { /* two that had not met before are not comparable */
        PyObject *type, *value, *tb;
        PyErr_Fetch(&type, &value, &tb);
        PyList_Append(heap, first); /* its place is still allocated */
        PyErr_Restore(type, value, tb);
    }
    Py_XDECREF(first);
    gate_give(q->mutex);
    return item;
}

/* ---- methods ---- */

static int parse_block(PyObject *block, PyObject *timeout, int64_t *deadline)
{
    int yes = block ? PyObject_IsTrue(block) : 1;
    *deadline = SL_NEVER;
    if (yes < 0)
        return -1;
    if (!yes) {
        *deadline = AT_ONCE; /* as in the standard library, the timeout is ignored */
        return 0;
    }
    if (!timeout || timeout == Py_None)
        return 0;
    double s = PyFloat_AsDouble(timeout);
    if (s == -1.0 && PyErr_Occurred())
        return -1;
    if (!(s >= 0)) {
        PyErr_Format(PyExc_ValueError, "'timeout' must be a non-negative number of seconds, got %R", timeout);
        return -1;
    }
    return parse_timeout(timeout, false, deadline);
}

static PyObject *queue_put(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    static const char *const keywords[] = {"item", "block", "timeout"};
    PyObject *given[3] = {NULL, NULL, NULL};
    Py_ssize_t nkw = names ? PyTuple_GET_SIZE(names) : 0;
    int64_t deadline = SL_NEVER;
    if (n == 1 && !nkw)
        return put((queue *)self, args[0], SL_NEVER);
    if (n > 3)
        return PyErr_Format(PyExc_TypeError, "put() takes item, block and timeout, got %zd arguments", n);
    for (Py_ssize_t i = 0; i < n; i++)
        given[i] = args[i];
    for (Py_ssize_t i = 0; i < nkw; i++) {
        PyObject *key = PyTuple_GET_ITEM(names, i);
        int at = 2;
        while (at >= 0 && PyUnicode_CompareWithASCIIString(key, keywords[at]) != 0)
            at--;
        if (at < 0 || given[at])
            return PyErr_Format(PyExc_TypeError, "put() got an unexpected or a second %R", key);
        given[at] = args[n + i];
    }
    if (!given[0])
        return PyErr_Format(PyExc_TypeError, "put() needs an item");
    return parse_block(given[1], given[2], &deadline) < 0 ? NULL : put((queue *)self, given[0], deadline);
}

static PyObject *queue_get(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"block", "timeout", NULL};
    PyObject *block = NULL, *timeout = NULL;
    int64_t deadline = SL_NEVER;
    if ((PyTuple_GET_SIZE(args) || kwargs) &&
        (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:get", names, &block, &timeout) ||
         parse_block(block, timeout, &deadline) < 0))
        return NULL;
    return get((queue *)self, deadline);
}

static PyObject *queue_put_nowait(PyObject *self, PyObject *item)
{
    return put((queue *)self, item, AT_ONCE);
}

static PyObject *queue_get_nowait(PyObject *self, PyObject *unused)
{
    return get((queue *)self, AT_ONCE);
}

static PyObject *queue_task_done(PyObject *self, PyObject *unused)
{
    queue *q = (queue *)self;
    if (q->unfinished <= 0) {
        PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
        return NULL;
    }
    if (--q->unfinished == 0)
        gate_set(q->done);
    Py_RETURN_NONE;
}

static PyObject *queue_join(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"timeout", NULL};
    PyObject *timeout = NULL;
    int64_t deadline;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:join", names, &timeout) ||
        parse_timeout(timeout, false, &deadline) < 0)
        return NULL;
    enum outcome o = gate_wait_set(((queue *)self)->done, deadline);
    return o == FAILED ? NULL : PyBool_FromLong(o == GRANTED);
}

/* What is promised to a getter that has not run yet is left to it. */
static int drain(queue *q)
{
    while (q->items->value > 0) {
        PyObject *item = get(q, AT_ONCE), *r;
        if (!item)
            return -1;
        Py_DECREF(item);
        r = q->unfinished > 0 ? queue_task_done((PyObject *)q, NULL) : Py_NewRef(Py_None);
        if (!r)
            return -1;
        Py_DECREF(r);
    }
    return 0;
}

static PyObject *queue_shutdown(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"immediate", NULL};
    queue *q = (queue *)self;
    int immediate = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|p:shutdown", names, &immediate))
        return NULL;
    q->shut = true;
    gate_disturb(q->slots);
    if (immediate && drain(q) < 0)
        return NULL;
    gate_disturb(q->items);
    Py_RETURN_NONE;
}

static PyObject *queue_storage(PyObject *self, PyObject *args)
{
    queue *q = (queue *)self;
    PyObject *store, *fetch;
    if (!PyArg_ParseTuple(args, "nOO:_storage", &q->maxsize, &store, &fetch))
        return NULL;
    q->slots->value = q->maxsize > 0 ? q->maxsize : 0;
    Py_XSETREF(q->store, store == Py_None ? NULL : Py_NewRef(store));
    Py_XSETREF(q->fetch, fetch == Py_None ? NULL : Py_NewRef(fetch));
    Py_RETURN_NONE;
}

static PyObject *get_maxsize(PyObject *self, void *unused)
{
    return PyLong_FromSsize_t(((queue *)self)->maxsize);
}

static PyObject *get_unfinished(PyObject *self, void *unused)
{
    return PyLong_FromSsize_t(((queue *)self)->unfinished);
}

static PyObject *get_is_shutdown(PyObject *self, void *unused)
{
    return PyBool_FromLong(((queue *)self)->shut);
}

/* ---- life ---- */

static PyObject *queue_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    queue *q = (queue *)type->tp_alloc(type, 0);
    if (!q)
        return NULL;
    q->items = gate_new(SEMAPHORE, 0);
    q->slots = gate_new(SEMAPHORE, 0);
    q->done = gate_new(EVENT, 1);
    q->mutex = gate_new(SEMAPHORE, 1);
    if (!q->items || !q->slots || !q->done || !q->mutex)
        Py_CLEAR(q);
    return (PyObject *)q;
}

static int queue_traverse(PyObject *self, visitproc visit, void *arg)
{
    queue *q = (queue *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(q->store);
    Py_VISIT(q->fetch);
    return 0;
}

static int queue_clear(PyObject *self)
{
    queue *q = (queue *)self;
    Py_CLEAR(q->store);
    Py_CLEAR(q->fetch);
    return 0;
}

static void queue_dealloc(PyObject *self)
{
    queue *q = (queue *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    queue_clear(self);
    Py_CLEAR(q->items);
    Py_CLEAR(q->slots);
    Py_CLEAR(q->done);
    Py_CLEAR(q->mutex);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef queue_methods[] = {
    {"put", (PyCFunction)(void (*)(void))queue_put, METH_FASTCALL | METH_KEYWORDS,
     "put($self, /, item, block=True, timeout=None)\n--\n\n"
     "Puts an item in, parking the tasklet while the queue is full: timeout seconds at most, not at all if not\n"
     "block; then queue.Full. ShutDown after shutdown(). Hands it to the first waiter; never switches to it."},
    {"get", (PyCFunction)(void (*)(void))queue_get, METH_VARARGS | METH_KEYWORDS,
     "get($self, /, block=True, timeout=None)\n--\n\n"
     "Takes an item out, parking the tasklet while there is none: timeout seconds at most, not at all if not\n"
     "block; then queue.Empty. ShutDown if there is none after shutdown(). Who waits is served in order."},
    {"put_nowait", queue_put_nowait, METH_O, "put_nowait($self, item, /)\n--\n\nput(item, block=False)"},
    {"get_nowait", queue_get_nowait, METH_NOARGS, "get_nowait($self, /)\n--\n\nget(block=False)"},
    {"task_done", queue_task_done, METH_NOARGS,
     "task_done($self, /)\n--\n\n"
     "One item that was put in has been dealt with. ValueError if there are not so many."},
    {"join", (PyCFunction)(void (*)(void))queue_join, METH_VARARGS | METH_KEYWORDS,
     "join($self, /, timeout=None)\n--\n\n"
     "Parks the tasklet until task_done() has been called for each item: True; False after timeout seconds."},
    {"shutdown", (PyCFunction)(void (*)(void))queue_shutdown, METH_VARARGS | METH_KEYWORDS,
     "shutdown($self, /, immediate=False)\n--\n\n"
     "From now on put() raises ShutDown, and get() when the queue is empty; who waits is told.\n"
     "immediate: what is in the queue is thrown away and counts as done."},
    {"_push", queue_push, METH_VARARGS, "_push(heappush, heap, item): undone if it fails"},
    {"_pop", queue_pop, METH_VARARGS, "_pop(heappop, heap): loses nothing if it fails"},
    {"_storage", queue_storage, METH_VARARGS,
     "_storage(maxsize, store, fetch): where items are kept; None: the methods _put and _get"},
    {NULL},
};

static PyGetSetDef queue_getset[] = {
    {"maxsize", get_maxsize, NULL, "How many items there may be; 0: any number.", NULL},
    {"unfinished_tasks", get_unfinished, NULL, "Items put in for which task_done() has not been called.", NULL},
    {"is_shutdown", get_is_shutdown, NULL, "Has shutdown() been called?", NULL},
    {NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_doc, "What stackless.Queue is made of."},
    {Py_tp_new, queue_new},
    {Py_tp_traverse, queue_traverse},
    {Py_tp_clear, queue_clear},
    {Py_tp_dealloc, queue_dealloc},
    {Py_tp_methods, queue_methods},
    {Py_tp_getset, queue_getset},
    {0, NULL},
};

static PyType_Spec queue_spec = {
    .name = "stackless._stackless._Queue",
    .basicsize = sizeof(queue),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = queue_slots,
};

int queue_init(PyObject *module)
{
    str_put = PyUnicode_InternFromString("_put");
    str_get = PyUnicode_InternFromString("_get");
    PyObject *type = str_put && str_get ? PyType_FromSpec(&queue_spec) : NULL;
    return type ? PyModule_AddObjectRef(module, "_Queue", type) : -1;
}
