/* SPDX-License-Identifier: MIT
 *
 * What a Condition does: waits in one gate without the lock that is another, and comes
 * back with it whatever is thrown at it.  The type is in sync.c.
 */
#include "gate.h"

/* How often a waiter is tried again that must come back with the lock although
 * exceptions are thrown at it; as often as a finalizer tries to kill. */
enum { ATTEMPTS = 10 };

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
        return PyErr_SetString(PyExc_RuntimeError, "cannot wait on un-acquired lock"), FAILED;
    if (!gate_may_park(t)) /* while it still has the lock */
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
        gate_pass_on(c);
    return FAILED;
}

PyObject *condition_wait(PyObject *self, PyObject *args, PyObject *kwargs)
{
    int64_t deadline;
    if (parse_wait_timeout(args, kwargs, &deadline) < 0)
        return NULL;
    return gate_answer(condition_wait_until((gate *)self, deadline));
}

PyObject *condition_wait_for(PyObject *self, PyObject *args, PyObject *kwargs)
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
    while (n-- > 0 && gate_grant(c))
        continue;
    Py_RETURN_NONE;
}

PyObject *condition_notify(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"n", NULL};
    Py_ssize_t n = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|n:notify", names, &n))
        return NULL;
    return notify((gate *)self, n);
}

PyObject *condition_notify_all(PyObject *self, PyObject *unused)
{
    return notify((gate *)self, PY_SSIZE_T_MAX);
}
