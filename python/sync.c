/* SPDX-License-Identifier: MIT
 *
 * Lock, RLock, Semaphore, BoundedSemaphore, Event and Condition: what parks
 * tasklets in a queue of its own.
 *
 * Why in C: each operation is then as atomic as the GIL makes it.  In Python a
 * thread, a signal handler or an exception thrown at a stray comes between any two
 * lines, and a wake-up would be lost.  Not here: queues of values (_queue.py) and
 * whatever else stands on these.
 *
 * All types share one structure, the gate (gate.h).  Here are its objects and methods;
 * what a Condition does is in condition.c.
 */
#include "gate.h"

#include <structmember.h>

static PyTypeObject *lock_type, *rlock_type, *semaphore_type, *event_type;

/* ---- arguments ---- */

int parse_timeout(PyObject *seconds, bool minus_one, int64_t *deadline)
{
    *deadline = SL_NEVER;
    if (!seconds || seconds == Py_None)
        return 0;
    double s = PyFloat_AsDouble(seconds);
    if (s == -1.0 && PyErr_Occurred())
        return -1;
    if (minus_one && s == -1.0)
        return 0;
    if (s < 0 && !minus_one) {
        *deadline = AT_ONCE;
        return 0;
    }
    if (!(s >= 0)) {
        PyErr_Format(PyExc_ValueError, "timeout value must be a non-negative number of seconds, got %R", seconds);
        return -1;
    }
    return s == 0 ? (*deadline = AT_ONCE, 0) : parse_deadline(seconds, deadline);
}

/* acquire(blocking=True, timeout=) */
static int parse_acquire(gate *g, PyObject *const *args, Py_ssize_t n, PyObject *names, int64_t *deadline)
{
    PyObject *given[2] = {NULL, NULL};
    Py_ssize_t nkw = names ? PyTuple_GET_SIZE(names) : 0;
    if (n + nkw > 2)
        return PyErr_Format(PyExc_TypeError, "acquire() takes blocking and timeout, got %zd arguments", n + nkw), -1;
    for (Py_ssize_t i = 0; i < n; i++)
        given[i] = args[i];
    for (Py_ssize_t i = 0; i < nkw; i++) {
        PyObject *key = PyTuple_GET_ITEM(names, i);
        int at = PyUnicode_CompareWithASCIIString(key, "blocking") == 0 ? 0
                 : PyUnicode_CompareWithASCIIString(key, "timeout") == 0 ? 1 : -1;
        if (at < 0 || given[at])
            return PyErr_Format(PyExc_TypeError, "acquire() got an unexpected or a second %R", key), -1;
        given[at] = args[n + i];
    }
    int blocking = given[0] ? PyObject_IsTrue(given[0]) : 1;
    if (blocking < 0 || parse_timeout(given[1], g->kind != SEMAPHORE, deadline) < 0)
        return -1;
    if (blocking)
        return 0;
    if (*deadline != SL_NEVER)
        return PyErr_SetString(PyExc_ValueError, "can't specify a timeout for a non-blocking call"), -1;
    *deadline = AT_ONCE;
    return 0;
}

/* wait(timeout=None) */
int parse_wait_timeout(PyObject *args, PyObject *kwargs, int64_t *deadline)
{
    static char *names[] = {"timeout", NULL};
    PyObject *timeout = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:wait", names, &timeout))
        return -1;
    return parse_timeout(timeout, false, deadline);
}

/* ---- locks and semaphores ---- */

static int refuse(PyObject *type, const char *text)
{
    PyErr_SetString(type, text);
    return -1;
}

static int release_rlock(gate *g)
{
    PyTasklet *t = current_tasklet();
    if (!t)
        return -1;
    if (!g->owner)
        return refuse(PyExc_RuntimeError, "cannot release un-acquired lock");
    if (g->owner != t) {
        PyErr_Format(PyExc_RuntimeError, "cannot release un-acquired lock: %R holds it, not the calling tasklet",
                     g->owner);
        return -1;
    }
    if (--g->depth == 0)
        gate_give(g);
    return 0;
}

static int release(gate *g)
{
    if (g->kind == RLOCK)
        return release_rlock(g);
    if (g->kind == LOCK && g->value > 0)
        return refuse(PyExc_RuntimeError, "release unlocked lock");
    if (g->bound >= 0 && g->value >= g->bound)
        return refuse(PyExc_ValueError, "Semaphore released too many times");
    gate_give(g);
    return 0;
}

static gate *locked_by(PyObject *self)
{
    gate *g = (gate *)self;
    return g->kind == CONDITION ? g->lock : g;
}

static PyObject *gate_acquire(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    gate *g = locked_by(self);
    int64_t deadline = SL_NEVER;
    if ((n || names) && parse_acquire(g, args, n, names, &deadline) < 0)
        return NULL;
    return gate_answer(gate_take(g, deadline));
}

static PyObject *gate_enter(PyObject *self, PyObject *unused)
{
    return gate_answer(gate_take(locked_by(self), SL_NEVER));
}

static PyObject *gate_release(PyObject *self, PyObject *unused)
{
    if (release(locked_by(self)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *gate_exit(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    return gate_release(self, NULL);
}

static PyObject *gate_locked(PyObject *self, PyObject *unused)
{
    return PyBool_FromLong(locked_by(self)->value == 0);
}

static PyObject *semaphore_release(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"n", NULL};
    gate *g = (gate *)self;
    Py_ssize_t n = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|n:release", names, &n))
        return NULL;
    if (n < 1)
        return PyErr_Format(PyExc_ValueError, "n must be one or more, got %zd", n);
    if (g->bound >= 0 ? n > g->bound - g->value : n > PY_SSIZE_T_MAX - g->value) {
        PyErr_SetString(PyExc_ValueError, "Semaphore released too many times");
        return NULL;
    }
    while (n > 0 && gate_grant(g))
        n--;
    g->value += n;
    Py_RETURN_NONE;
}

/* ---- events ---- */

static PyObject *event_is_set(PyObject *self, PyObject *unused)
{
    return PyBool_FromLong(((gate *)self)->value > 0);
}

static PyObject *event_set(PyObject *self, PyObject *unused)
{
    gate_set((gate *)self);
    Py_RETURN_NONE;
}

static PyObject *event_clear(PyObject *self, PyObject *unused)
{
    ((gate *)self)->value = 0;
    Py_RETURN_NONE;
}

static PyObject *event_wait(PyObject *self, PyObject *args, PyObject *kwargs)
{
    int64_t deadline;
    if (parse_wait_timeout(args, kwargs, &deadline) < 0)
        return NULL;
    return gate_answer(gate_wait_set((gate *)self, deadline));
}

/* ---- life ---- */

static gate *make(PyTypeObject *type, enum gate_kind kind, Py_ssize_t value)
{
    gate *g = (gate *)type->tp_alloc(type, 0);
    if (g) {
        g->kind = kind;
        g->value = value;
        g->bound = -1;
    }
    return g;
}

gate *gate_new(enum gate_kind kind, Py_ssize_t value)
{
    return make(kind == EVENT ? event_type : semaphore_type, kind, value);
}

static int gate_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return 0; /* all is done in __new__ */
}

/* The __init__ of a subclass may take some. */
static PyObject *make_without_arguments(PyTypeObject *type, PyObject *args, PyObject *kwargs, enum gate_kind kind,
                                        Py_ssize_t value)
{
    bool none = PyTuple_GET_SIZE(args) == 0 && (!kwargs || PyDict_GET_SIZE(kwargs) == 0);
    if (none || type->tp_init != gate_init)
        return (PyObject *)make(type, kind, value);
    return PyErr_Format(PyExc_TypeError, "%s() takes no arguments", type->tp_name);
}

static PyObject *lock_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    return make_without_arguments(type, args, kwargs, LOCK, 1);
}

static PyObject *rlock_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    return make_without_arguments(type, args, kwargs, RLOCK, 1);
}

static PyObject *event_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    return make_without_arguments(type, args, kwargs, EVENT, 0);
}

static PyObject *semaphore_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"value", NULL};
    Py_ssize_t value = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|n:Semaphore", names, &value))
        return NULL;
    if (value < 0)
        return PyErr_Format(PyExc_ValueError, "semaphore initial value must be >= 0, got %zd", value);
    return (PyObject *)make(type, SEMAPHORE, value);
}

static PyObject *bounded_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *self = semaphore_new(type, args, kwargs);
    if (self)
        ((gate *)self)->bound = ((gate *)self)->value;
    return self;
}

static PyObject *condition_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"lock", NULL};
    PyObject *lock = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:Condition", names, &lock))
        return NULL;
    if (lock != Py_None && !PyObject_TypeCheck(lock, lock_type) && !PyObject_TypeCheck(lock, rlock_type)) {
        PyErr_Format(PyExc_TypeError, "Condition needs a stackless.Lock or stackless.RLock, got %R: another lock "
                     "would block the thread and not the tasklet", lock);
        return NULL;
    }
    gate *c = make(type, CONDITION, 0);
    if (c)
        c->lock = lock == Py_None ? make(rlock_type, RLOCK, 1) : (gate *)Py_NewRef(lock);
    if (c && !c->lock)
        Py_CLEAR(c);
    return (PyObject *)c;
}

static Py_ssize_t waiting(const gate *g)
{
    Py_ssize_t n = 0;
    for (sync_wait *w = g->head; w; w = w->next)
        n++;
    return n;
}

static PyObject *gate_repr(PyObject *self)
{
    gate *g = (gate *)self;
    const char *name = Py_TYPE(self)->tp_name;
    Py_ssize_t n = waiting(g);
    switch (g->kind) {
    case LOCK:
        return PyUnicode_FromFormat("<%s object at %p: %s, %zd waiting>", name, self,
                                    g->value ? "unlocked" : "locked", n);
    case RLOCK:
        return g->owner ? PyUnicode_FromFormat("<%s object at %p: held %zd times by %R, %zd waiting>", name, self,
                                               g->depth, g->owner, n)
                        : PyUnicode_FromFormat("<%s object at %p: unlocked>", name, self);
    case EVENT:
        return PyUnicode_FromFormat("<%s object at %p: %s, %zd waiting>", name, self, g->value ? "set" : "unset", n);
    case CONDITION:
        return PyUnicode_FromFormat("<%s object at %p: %R, %zd waiting>", name, self, g->lock, n);
    default:
        return PyUnicode_FromFormat("<%s object at %p: value %zd, %zd waiting>", name, self, g->value, n);
    }
}

static int gate_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((gate *)self)->owner);
    Py_VISIT(((gate *)self)->lock);
    return 0;
}

static int gate_clear(PyObject *self)
{
    Py_CLEAR(((gate *)self)->owner);
    return 0; /* the lock stays: methods may still be called */
}

/* Nobody waits here any more: a waiting call holds its gate. */
static void gate_dealloc(PyObject *self)
{
    gate *g = (gate *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (g->weakrefs)
        PyObject_ClearWeakRefs(self);
    Py_CLEAR(g->owner);
    Py_CLEAR(g->lock);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- the types ---- */

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

#define ACQUIRE_DOC                                                                                              \
    "Takes it, parking the tasklet until it is free or the timeout (seconds; -1 or None: no limit) is over.\n"    \
    "True, or False if it was not to be had in time, or at once with blocking=False. Who waits is served in\n"    \
    "order. RuntimeError on a deadlock."

#define CONTEXT_METHODS                                                                                          \
    {"__enter__", gate_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nAs acquire()."},                           \
    {"__exit__", FAST(gate_exit), METH_FASTCALL, "__exit__($self, /, *exc_info)\n--\n\nAs release()."}

#define ACQUIRE(defaults)                                                                                        \
    {"acquire", FAST(gate_acquire), METH_FASTCALL | METH_KEYWORDS,                                               \
     "acquire($self, /, blocking=True, timeout=" defaults ")\n--\n\n" ACQUIRE_DOC}

static PyMethodDef lock_methods[] = {
    ACQUIRE("-1"),
    {"release", gate_release, METH_NOARGS,
     "release($self, /)\n--\n\n"
     "Hands it to the first waiter, or frees it. Any tasklet may do that, of any thread. Never switches.\n"
     "RuntimeError if it is not locked."},
    {"locked", gate_locked, METH_NOARGS, "locked($self, /)\n--\n\nIs it taken?"},
    CONTEXT_METHODS,
    {NULL},
};

static PyMethodDef rlock_methods[] = {
    ACQUIRE("-1"),
    {"release", gate_release, METH_NOARGS,
     "release($self, /)\n--\n\n"
     "Undoes one acquire(); the last one hands it to the first waiter, or frees it. Never switches.\n"
     "RuntimeError if the calling tasklet does not hold it."},
    {"locked", gate_locked, METH_NOARGS, "locked($self, /)\n--\n\nIs it taken, by whomever?"},
    CONTEXT_METHODS,
    {NULL},
};

static PyMethodDef semaphore_methods[] = {
    ACQUIRE("None"),
    {"release", (PyCFunction)(void (*)(void))semaphore_release, METH_VARARGS | METH_KEYWORDS,
     "release($self, /, n=1)\n--\n\n"
     "Gives n back: to the first n waiters, what is left to the counter. Never switches. ValueError for\n"
     "n < 1, or beyond the first value of a BoundedSemaphore."},
    {"locked", gate_locked, METH_NOARGS, "locked($self, /)\n--\n\nWould acquire() have to wait?"},
    CONTEXT_METHODS,
    {NULL},
};

static PyMethodDef event_methods[] = {
    {"is_set", event_is_set, METH_NOARGS, "is_set($self, /)\n--\n\nIs the flag set?"},
    {"set", event_set, METH_NOARGS,
     "set($self, /)\n--\n\nSets the flag and makes all waiters runnable. Never switches; from any thread."},
    {"clear", event_clear, METH_NOARGS, "clear($self, /)\n--\n\nClears the flag."},
    {"wait", (PyCFunction)(void (*)(void))event_wait, METH_VARARGS | METH_KEYWORDS,
     "wait($self, /, timeout=None)\n--\n\n"
     "Parks the tasklet until the flag is set, timeout seconds at most. True, also if the flag has been\n"
     "cleared since; False when the time is over. RuntimeError on a deadlock."},
    {NULL},
};

static PyMethodDef condition_methods[] = {
    ACQUIRE("-1"),
    {"release", gate_release, METH_NOARGS, "release($self, /)\n--\n\nReleases the lock."},
    {"wait", (PyCFunction)(void (*)(void))condition_wait, METH_VARARGS | METH_KEYWORDS,
     "wait($self, /, timeout=None)\n--\n\n"
     "Releases the lock (fully), parks the tasklet until it is notified, timeout seconds at most, and takes\n"
     "the lock again, which may park it too. False when the time was over, else True. An exception thrown at\n"
     "the waiter is raised once it has the lock; if it had been notified, another waiter is in its place.\n"
     "RuntimeError if the lock is not held, or on a deadlock."},
    {"wait_for", (PyCFunction)(void (*)(void))condition_wait_for, METH_VARARGS | METH_KEYWORDS,
     "wait_for($self, /, predicate, timeout=None)\n--\n\n"
     "wait() until predicate() is true, timeout seconds at most in all. Its last value."},
    {"notify", (PyCFunction)(void (*)(void))condition_notify, METH_VARARGS | METH_KEYWORDS,
     "notify($self, /, n=1)\n--\n\n"
     "Wakes the first n waiters. Never switches. RuntimeError if the lock is not held."},
    {"notify_all", condition_notify_all, METH_NOARGS, "notify_all($self, /)\n--\n\nWakes all waiters."},
    CONTEXT_METHODS,
    {NULL},
};

static PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(gate, weakrefs), READONLY},
    {NULL},
};

static int add(PyObject *module, const char *name, const char *doc, newfunc new, PyMethodDef *methods,
               PyTypeObject *base, PyTypeObject **out)
{
    PyType_Slot slots[] = {
        {Py_tp_doc, (void *)doc},         {Py_tp_new, (void *)new},
        {Py_tp_init, (void *)gate_init},  {Py_tp_repr, (void *)gate_repr},
        {Py_tp_traverse, (void *)gate_traverse}, {Py_tp_clear, (void *)gate_clear},
        {Py_tp_dealloc, (void *)gate_dealloc},   {Py_tp_members, members},
        {methods ? Py_tp_methods : 0, methods},  {0, NULL},
    };
    PyType_Spec spec = {
        .name = name,
        .basicsize = sizeof(gate),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
        .slots = slots,
    };
    PyTypeObject *type = (PyTypeObject *)PyType_FromSpecWithBases(&spec, (PyObject *)base);
    *out = type;
    return type ? PyModule_AddObjectRef(module, strrchr(name, '.') + 1, (PyObject *)type) : -1;
}

int sync_init(PyObject *module)
{
    static PyTypeObject *other; /* for ever */
    if (add(module, "stackless.Lock",
            "Lock()\n--\n\n"
            "Mutual exclusion that parks tasklets, of any thread. Release hands it to the first waiter, so it is\n"
            "first come first served. Also a context manager.",
            lock_new, lock_methods, NULL, &lock_type) < 0 ||
        add(module, "stackless.RLock",
            "RLock()\n--\n\n"
            "A Lock that the tasklet that holds it may take again; it is free when released as often.",
            rlock_new, rlock_methods, NULL, &rlock_type) < 0 ||
        add(module, "stackless.Semaphore",
            "Semaphore(value=1)\n--\n\n"
            "A counter that acquire() takes one from, parking the tasklet while it is 0. ValueError for a negative\n"
            "value. Also a context manager.",
            semaphore_new, semaphore_methods, NULL, &semaphore_type) < 0 ||
        add(module, "stackless.BoundedSemaphore",
            "BoundedSemaphore(value=1)\n--\n\n"
            "A Semaphore whose release() refuses to exceed the first value.",
            bounded_new, NULL, semaphore_type, &other) < 0 ||
        add(module, "stackless.Event",
            "Event()\n--\n\n"
            "A flag for which tasklets wait, of any thread.",
            event_new, event_methods, NULL, &event_type) < 0 ||
        add(module, "stackless.Condition",
            "Condition(lock=None)\n--\n\n"
            "Waits for a notification under a lock, a stackless.Lock or by default a new stackless.RLock. Also a\n"
            "context manager, for the lock.",
            condition_new, condition_methods, NULL, &other) < 0)
        return -1;
    return 0;
}
