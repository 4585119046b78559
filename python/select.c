/* SPDX-License-Identifier: MIT
 *
 * stackless.select(): one of several channel operations.
 *
 * What it is for: a tasklet that waits on several channels at once.  What it is
 * not for: the operations themselves (channel.c), which meet the arms here
 * through select_peek() and select_win().
 *
 * Guarded by the GIL.  The arms of a wait lie in an array that its frame holds;
 * each is a waiter in its channel, and all share one claim.  Whatever makes the
 * tasklet runnable takes all arms off their channels (leave_all), so an arm in a
 * channel can always be won.
 */
#include "pystackless.h"

typedef struct selection selection;

typedef struct select_arm {
    sl_waiter waiter; /* in channel->arms[side] while the tasklet waits */
    uint64_t arrival; /* its number in the channel */
    PyChannel *channel;
    PyObject *value;  /* to send; NULL for None and to receive */
    int dir;
    selection *all;
} select_arm;

struct selection {
    pywait wait;
    sl_atomic claim;
    Py_ssize_t chosen; /* which arm was won, -1: none */
    Py_ssize_t n;
    select_arm *arms;
};

static int side_of(int dir)
{
    return dir > 0 ? SL_SENDERS : SL_RECEIVERS;
}

/* ---- met by an operation on a channel ---- */

static select_arm *first_arm(const PyChannel *c, int dir)
{
    sl_waiter *w = sl_waiters_first(&c->arms[side_of(-dir)]);
    return w ? container(select_arm, waiter, w) : NULL;
}

PyTasklet *select_peek(const PyChannel *c, int dir, uint64_t *arrival)
{
    select_arm *arm = first_arm(c, dir);
    if (!arm)
        return NULL;
    *arrival = arm->arrival;
    return arm->all->wait.tasklet;
}

void select_win(PyChannel *c, int dir)
{
    select_arm *arm = container(select_arm, waiter, sl_waiters_win(&c->arms[side_of(-dir)]));
    selection *all = arm->all;
    PyTasklet *t = all->wait.tasklet;
    all->chosen = arm - all->arms;
    unblock(t);
    t->tempval = arm->value; /* it was NULL: wait_park() */
    arm->value = NULL;
}

static void leave_all(pywait *w)
{
    selection *all = container(selection, wait, w);
    for (Py_ssize_t i = 0; i < all->n; i++) {
        select_arm *arm = &all->arms[i];
        sl_waiters_leave(&arm->channel->arms[side_of(arm->dir)], &arm->waiter);
        arm->channel->beside--;
    }
}

static void join_all(selection *all)
{
    sl_store_relaxed(&all->claim, 0);
    all->chosen = -1;
    for (Py_ssize_t i = 0; i < all->n; i++) {
        select_arm *arm = &all->arms[i];
        arm->waiter.claim = &all->claim;
        arm->waiter.mark = 1;
        arm->arrival = arm->channel->arrivals++;
        arm->channel->beside++;
        sl_waiters_join(&arm->channel->arms[side_of(arm->dir)], &arm->waiter);
    }
}

/* ---- the call ---- */

static int parse_case(PyObject *item, Py_ssize_t i, select_arm *arm)
{
    PyObject *channel = item;
    arm->dir = -1;
    if (PyTuple_Check(item) && PyTuple_GET_SIZE(item) == 2) {
        channel = PyTuple_GET_ITEM(item, 0);
        arm->dir = +1;
    }
    if (!PyObject_TypeCheck(channel, fe.channel_type)) {
        PyErr_Format(PyExc_TypeError,
                     "case %zd must be a channel to receive from, or a tuple (channel, value) to send, got %R", i, item);
        return -1;
    }
    PyObject *value = arm->dir > 0 ? PyTuple_GET_ITEM(item, 1) : Py_None;
    arm->value = value == Py_None ? NULL : Py_NewRef(value);
    arm->channel = (PyChannel *)Py_NewRef(channel);
    return 0;
}

static void free_arms(selection *all)
{
    for (Py_ssize_t i = 0; i < all->n; i++) {
        Py_XDECREF(all->arms[i].value);
        Py_XDECREF(all->arms[i].channel);
    }
    PyMem_Free(all->arms);
}

static int parse_cases(PyObject *cases, selection *all)
{
    PyObject *list = PySequence_Fast(cases, "cases must be a sequence of channels and (channel, value) tuples");
    if (!list)
        return -1;
    Py_ssize_t n = PySequence_Fast_GET_SIZE(list);
    all->arms = PyMem_Calloc((size_t)n + 1, sizeof *all->arms);
    int rc = all->arms ? 0 : (PyErr_NoMemory(), -1);
    for (Py_ssize_t i = 0; rc == 0 && i < n; i++) {
        all->arms[i].all = all;
        rc = parse_case(PySequence_Fast_GET_ITEM(list, i), i, &all->arms[i]);
        if (rc == 0)
            all->n++;
    }
    Py_DECREF(list);
    return rc;
}

/* Any start is as likely: who always comes first must not starve the others. */
static Py_ssize_t draw(Py_ssize_t n)
{
    static uint64_t state = 0x9e3779b97f4a7c15u; /* GIL */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (Py_ssize_t)((state >> 33) % (uint64_t)n);
}

/* The first that would not block, or that is an error; -1. */
static Py_ssize_t find_ready(selection *all)
{
    Py_ssize_t start = draw(all->n);
    for (Py_ssize_t k = 0; k < all->n; k++) {
        Py_ssize_t i = (start + k) % all->n;
        if (channel_ready(all->arms[i].channel, all->arms[i].dir))
            return i;
    }
    for (Py_ssize_t i = 0; i < all->n; i++)
        if (all->arms[i].channel->closing)
            return i;
    return -1;
}

static PyObject *result_of(Py_ssize_t i, PyObject *value /* stolen; NULL: an exception */)
{
    return value ? Py_BuildValue("nN", i, value) : NULL;
}

/* NULL without an exception: the channel callback has let another thread take the partner. */
static PyObject *operate_now(selection *all, PyTasklet *t, Py_ssize_t i)
{
    select_arm *arm = &all->arms[i];
    if (!channel_ready(arm->channel, arm->dir))
        return PyErr_Format(PyExc_ValueError, "case %zd: Send/receive operation on a closed channel", i);
    return result_of(i, channel_operate(arm->channel, t, Py_XNewRef(arm->value), arm->dir, CHANNEL_NOW));
}

/* Waits for a partner.  *result: NULL without an exception if somebody made the
 * tasklet run for no reason of ours. */
static int wait_for_one(selection *all, PyTasklet *t, int64_t deadline, PyObject **result)
{
    *result = NULL;
    if (t->block_trap) {
        PyErr_SetString(PyExc_RuntimeError, "this tasklet does not like to be blocked.");
        return -1;
    }
    all->wait = (pywait){.leave = leave_all};
    if (trapped(t) || wait_arm(t, &all->wait, deadline, NULL) < 0)
        return -1;
    all->wait.tasklet = t;
    join_all(all);
    PyObject *v = wait_park(t, &all->wait);
    if (!v)
        return -1;
    if (all->chosen >= 0) {
        *result = result_of(all->chosen, v);
        return *result ? 0 : -1;
    }
    Py_DECREF(v);
    if (!all->wait.timed_out)
        return 0;
    PyErr_SetString(PyExc_TimeoutError, "no case became ready within the timeout");
    return -1;
}

static PyObject *select_one(selection *all, PyObject *missing, int64_t deadline)
{
    PyObject *result;
    for (;;) {
        PyTasklet *t = enter_to_wait();
        if (!t)
            return NULL;
        Py_ssize_t i = all->n ? find_ready(all) : -1;
        if (i >= 0 && ((result = operate_now(all, t, i)) != NULL || PyErr_Occurred()))
            return result;
        if (i >= 0)
            continue;
        if (missing)
            return result_of(-1, Py_NewRef(missing));
        if (deadline != SL_NEVER && deadline <= sl_now()) {
            PyErr_SetString(PyExc_TimeoutError, "no case became ready within the timeout");
            return NULL;
        }
        if (wait_for_one(all, t, deadline, &result) < 0)
            return NULL;
        if (result)
            return result;
    }
}

static PyObject *py_select(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"cases", "timeout", "default", NULL};
    PyObject *cases, *timeout = Py_None, *missing = NULL;
    int64_t deadline;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$OO:select", names, &cases, &timeout, &missing) ||
        parse_deadline(timeout, &deadline) < 0)
        return NULL;
    if (missing && timeout != Py_None) {
        PyErr_SetString(PyExc_TypeError, "select() takes a timeout or a default, not both: with a default it does not wait");
        return NULL;
    }
    selection all = {.chosen = -1};
    PyObject *result = NULL;
    if (parse_cases(cases, &all) == 0) {
        if (all.n == 0 && !missing && deadline == SL_NEVER)
            PyErr_SetString(PyExc_ValueError, "select() without cases, timeout and default would wait for ever");
        else
            result = select_one(&all, missing, deadline);
    }
    if (all.arms)
        free_arms(&all);
    return result;
}

static PyMethodDef functions[] = {
    {"select", (PyCFunction)(void (*)(void))py_select, METH_VARARGS | METH_KEYWORDS,
     "select($module, /, cases, *, timeout=None, default=...)\n--\n\n"
     "Does exactly one of several channel operations and returns (index, value): which case it\n"
     "was and what was received, or None for a send. A case is a channel to receive from, or a\n"
     "tuple (channel, value) to send. Among several that are ready the choice is random; if\n"
     "none is, the tasklet blocks until one gets a partner. A closing channel without a partner\n"
     "counts as ready and raises ValueError, naming the case. timeout: seconds to wait at most,\n"
     "then TimeoutError (None: for ever). default: do not wait, return (-1, default).\n"
     "A tasklet that waits here is in no channel's queue and balance."},
    {NULL},
};

int select_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
