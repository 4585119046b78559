/* SPDX-License-Identifier: MIT
 *
 * The gate (gate.h): a value, a FIFO of waiting tasklets, and the ways to take, to
 * give and to wait.  Not here: what Python sees of it (sync.c, queue.c).
 */
#include "gate.h"

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

static void own(gate *g, PyTasklet *t)
{
    if (g->kind == RLOCK) {
        g->owner = (PyTasklet *)Py_NewRef(t);
        g->depth = 1;
    }
}

bool gate_grant(gate *g)
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
    if (!gate_grant(g))
        g->value++;
    Py_XDECREF(owner); /* last: it may run Python code */
}

void gate_pass_on(gate *g)
{
    if (g->kind == CONDITION)
        gate_grant(g);
    else if (g->kind != EVENT)
        gate_give(g);
}

bool gate_may_park(PyTasklet *t)
{
    if (t->block_trap)
        PyErr_SetString(PyExc_RuntimeError, "this tasklet does not like to be blocked.");
    return !t->block_trap && !trapped(t);
}

enum outcome gate_wait(gate *g, PyTasklet *t, int64_t deadline)
{
    sync_wait w = {.wait = {.leave = leave, .tasklet = t, .hopeless = "Deadlock: the main tasklet waits for a lock, "
                            "event or queue, and nobody is left who could wake it."}};
    if (!gate_may_park(t))
        return FAILED;
    if (deadline <= sl_now())
        return TIME_OVER;
    if (wait_arm(t, &w.wait, deadline, NULL) < 0)
        return FAILED;
    join(g, &w);
    PyObject *v = wait_park(t, &w.wait);
    if (!v && w.granted)
        gate_pass_on(g);
    if (!v)
        return FAILED;
    Py_DECREF(v);
    return w.granted ? GRANTED : w.wait.timed_out ? TIME_OVER : DISTURBED;
}

/* ---- to take one; to wait for a flag ---- */

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

void gate_set(gate *g)
{
    g->value = 1;
    while (gate_grant(g))
        continue;
}

void gate_disturb(gate *g)
{
    while (g->head)
        make_runnable(g->head->wait.tasklet);
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

PyObject *gate_answer(enum outcome o)
{
    return o == FAILED ? NULL : PyBool_FromLong(o != TIME_OVER);
}
