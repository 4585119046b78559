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
 * All types share one structure, the gate (sync.h).
 */
#include "sync.h"

#include <structmember.h>

/* How often a waiter is tried again that must come back with the lock although
 * exceptions are thrown at it; as often as a finalizer tries to kill. */
enum { ATTEMPTS = 10 };

static PyTypeObject *lock_type, *rlock_type, *semaphore_type, *event_type;

/* ---- the queue ---- */

static void join(gate *g, sync_wait *w)
{
    w->gate = g;
    w->next = NULL;
    w->prev = g->tail;
    *(g->tail ? &g->tail->next : &g->head) = w;
    g->tail = w;
}

static void leave(pywait *wait)
{
    sync_wait *w = container(sync_wait, wait, wait);
    gate *g = w->gate;
    *(w->prev ? &w->prev->next : &g->head) = w->next;
    *(w->next ? &w->next->prev : &g->tail) = w->prev;
}

static Py_ssize_t waiting(const gate *g)
{
    Py_ssize_t n = 0;
    for (sync_wait *w = g->head; w; w = w->next)
        n++;
    return n;
}

static void own(gate *g, PyTasklet *t)
{
    if (g->kind == RLOCK) {
        g->owner = (PyTasklet *)Py_NewRef(t);
        g->depth = 1;
    }
}

static bool grant_first(gate *g)
{
    sync_wait *w = g->head;
    if (!w)
        return false;
    w->granted = true;
    own(g, w->wait.tasklet);
    make_runnable(w->wait.tasklet); /* and leave() */
    return true;
}

void gate_give(gate *g)
{
    PyTasklet *owner = g->owner;
    g->owner = NULL;
    if (!grant_first(g))
        g->value++;
    Py_XDECREF(owner); /* last: it may run Python code */
}

/* What a waiter was granted and cannot use. */
static void pass_on(gate *g)
{
    if (g->kind == CONDITION)
        grant_first(g);
    else if (g->kind != EVENT)
        gate_give(g);
}

static bool may_park(PyTasklet *t)
{
    if (t->block_trap)
        PyErr_SetString(PyExc_RuntimeError, "this tasklet does not like to be blocked.");
    return !t->block_trap && !trapped(t);
}

enum outcome gate_wait(gate *g, PyTasklet *t, int64_t deadline)
{
    sync_wait w = {.wait = {.leave = leave, .tasklet = t, .hopeless = "Deadlock: the main tasklet waits for a lock, "
                            "event or queue, and nobody is left who could wake it."}};
    if (!may_park(t))
        return FAILED;
    if (deadline <= sl_now())
        return TIME_OVER;
    if (wait_arm(t, &w.wait, deadline, NULL) < 0)
        return FAILED;
    join(g, &w);
    PyObject *v = wait_park(t, &w.wait);
    if (!v && w.granted)
        pass_on(g);
    if (!v)
        return FAILED;
    Py_DECREF(v);
    return w.granted ? GRANTED : w.wait.timed_out ? TIME_OVER : DISTURBED;
}

PyTasklet *enter_to_wait(void)
{
    PyTasklet *t = enter();
    if (t && t->tempval)
        set_tempval(t, NULL);
    return t;
}

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
static int parse_wait(PyObject *args, PyObject *kwargs, int64_t *deadline)
{
    static char *names[] = {"timeout", NULL};
    PyObject *timeout = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:wait", names, &timeout))
        return -1;
    return parse_timeout(timeout, false, deadline);
}

static PyObject *answer(enum outcome o)
{
    return o == FAILED ? NULL : PyBool_FromLong(o != TIME_OVER);
}

/* ---- locks and semaphores ---- */

enum outcome gate_take(gate *g, int64_t deadline)
{
    PyTasklet *t = NULL;
    if (g->kind == RLOCK) {
        if (!(t = current_tasklet()))
            return FAILED;
        if (g->owner == t)
            return g->depth++, GRANTED;
    }
    for (;;) {
        if (g->value > 0) {
            g->value--;
            own(g, t);
            return GRANTED;
        }
        if (deadline == AT_ONCE)
            return TIME_OVER;
        if (!(t = enter_to_wait()))
            return FAILED;
        if (g->value > 0)
            continue; /* released while this one queued up for its turn */
        enum outcome o = gate_wait(g, t, deadline);
        if (o != DISTURBED)
            return o;
    }
}

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
    return answer(gate_take(g, deadline));
}

static PyObject *gate_enter(PyObject *self, PyObject *unused)
{
    return answer(gate_take(locked_by(self), SL_NEVER));
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
    while (n > 0 && grant_first(g))
        n--;
    g->value += n;
    Py_RETURN_NONE;
}

/* ---- events ---- */

static PyObject *event_is_set(PyObject *self, PyObject *unused)
{
    return PyBool_FromLong(((gate *)self)->value > 0);
}

void gate_set(gate *g)
{
    g->value = 1;
    while (grant_first(g))
        continue;
}

void gate_disturb(gate *g)
{
    while (g->head)
        make_runnable(g->head->wait.tasklet);
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

enum outcome gate_wait_set(gate *g, int64_t deadline)
{
    enum outcome o = DISTURBED;
    while (o == DISTURBED && !g->value && deadline != AT_ONCE) {
        PyTasklet *t = enter_to_wait();
        if (!t)
            return FAILED;
        if (!g->value)
            o = gate_wait(g, t, deadline);
    }
    return o == FAILED || o == GRANTED ? o : g->value ? GRANTED : TIME_OVER;
}

static PyObject *event_wait(PyObject *self, PyObject *args, PyObject *kwargs)
{
    int64_t deadline;
    if (parse_wait(args, kwargs, &deadline) < 0)
        return NULL;
    return answer(gate_wait_set((gate *)self, deadline));
}

/* ---- conditions ---- */

static bool holds(gate *lock, PyTasklet *t)
{
    return lock->kind == RLOCK ? lock->owner == t : lock->value == 0;
}

static void put_exception(PyObject *value /* stolen */)
{
    PyErr_Restore(Py_NewRef(Py_TYPE(value)), value, PyException_GetTraceback(value));
}

/* The current exception is the newer one; `old` (stolen, or NULL) becomes its context.
 * But a kill is not lost for something that was thrown after it. */
static void chain(PyObject *old)
{
    PyObject *type, *value, *tb;
    if (!old)
        return;
    PyErr_Fetch(&type, &value, &tb);
    PyErr_NormalizeException(&type, &value, &tb);
    if (tb)
        PyException_SetTraceback(value, tb);
    if (value == old) {
        Py_DECREF(old);
    } else if (PyObject_TypeCheck(old, (PyTypeObject *)fe.tasklet_exit)) {
        PyException_SetContext(value, NULL); /* it may be the old one */
        PyException_SetContext(old, value); /* steals it */
        Py_XDECREF(type);
        Py_XDECREF(tb);
        put_exception(old);
        return;
    } else {
        PyException_SetContext(value, old); /* steals it */
    }
    PyErr_Restore(type, value, tb);
}

static PyObject *take_exception(void)
{
    PyObject *type, *value, *tb;
    PyErr_Fetch(&type, &value, &tb);
    PyErr_NormalizeException(&type, &value, &tb);
    if (tb)
        PyException_SetTraceback(value, tb);
    Py_XDECREF(type);
    Py_XDECREF(tb);
    return value;
}

/* Who waited in a condition must come back with the lock, as its block will release
 * it, whatever was thrown at it (stolen, or NULL) or is meanwhile: -1 with that.  Until
 * then it counts as handled, as in a block of finally: exits.c looks for that. */
static int come_back(gate *lock, Py_ssize_t depth, PyObject *thrown)
{
    PyObject *handled = PyErr_GetHandledException();
    for (int i = 0; i < ATTEMPTS; i++) {
        if (thrown)
            PyErr_SetHandledException(thrown);
        if (gate_take(lock, SL_NEVER) == GRANTED) {
            if (lock->kind == RLOCK)
                lock->depth = depth;
            break;
        }
        chain(thrown);
        thrown = take_exception();
    }
    PyErr_SetHandledException(handled);
    Py_XDECREF(handled);
    if (!thrown)
        return 0;
    put_exception(thrown);
    return -1;
}

static enum outcome condition_wait_until(gate *c, int64_t deadline)
{
    gate *lock = c->lock;
    PyTasklet *t = enter_to_wait();
    if (!t)
        return FAILED;
    if (!holds(lock, t))
        return refuse(PyExc_RuntimeError, "cannot wait on un-acquired lock"), FAILED;
    if (!may_park(t)) /* while it still has the lock */
        return FAILED;
    Py_ssize_t depth = lock->depth;
    PyTasklet *owner = lock->owner;
    Py_XINCREF(owner); /* no finalizer between the release and the wait */
    gate_give(lock);
    enum outcome o = gate_wait(c, t, deadline);
    Py_XDECREF(owner);
    if (come_back(lock, depth, o == FAILED ? take_exception() : NULL) == 0)
        return o;
    if (o == GRANTED)
        pass_on(c);
    return FAILED;
}

static PyObject *condition_wait(PyObject *self, PyObject *args, PyObject *kwargs)
{
    int64_t deadline;
    if (parse_wait(args, kwargs, &deadline) < 0)
        return NULL;
    return answer(condition_wait_until((gate *)self, deadline));
}

static PyObject *condition_wait_for(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"predicate", "timeout", NULL};
    PyObject *predicate, *timeout = NULL;
    int64_t deadline;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:wait_for", names, &predicate, &timeout) ||
        parse_timeout(timeout, false, &deadline) < 0)
        return NULL;
    for (bool over = false;;) {
        PyObject *result = PyObject_CallNoArgs(predicate);
        int yes = result ? PyObject_IsTrue(result) : -1;
        if (yes > 0 || (yes == 0 && over))
            return result;
        Py_XDECREF(result);
        if (yes < 0)
            return NULL;
        enum outcome o = condition_wait_until((gate *)self, deadline);
        if (o == FAILED)
            return NULL;
        over = o == TIME_OVER;
    }
}

static PyObject *notify(gate *c, Py_ssize_t n)
{
    PyTasklet *t = current_tasklet();
    if (!t)
        return NULL;
    if (!holds(c->lock, t)) {
        PyErr_SetString(PyExc_RuntimeError, "cannot notify on un-acquired lock");
        return NULL;
    }
    while (n-- > 0 && grant_first(c))
        continue;
    Py_RETURN_NONE;
}

static PyObject *condition_notify(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"n", NULL};
    Py_ssize_t n = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|n:notify", names, &n))
        return NULL;
    return notify((gate *)self, n);
}

static PyObject *condition_notify_all(PyObject *self, PyObject *unused)
{
    return notify((gate *)self, PY_SSIZE_T_MAX);
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
