/* SPDX-License-Identifier: MIT
 *
 * Exceptions for a tasklet: throw(), raise_exception(), kill().  Bombs, which carry
 * them, are in exceptions.c; what becomes of a TaskletExit in exits.c.
 */
#include "pystackless.h"

/* Runs on an OS thread where it cannot be switched to: it gets the exception
 * between two instructions. */
static bool is_out_of_reach(PyTasklet *t)
{
    sl_oworker *host = sl_olane_host(t->base.lane);
    return t->base.place == SL_STRAY ||
           (host->current == &t->base && host != sl_self() && !sl_load_relaxed32(&host->switching));
}

/* A stray runs, or will when its call returns (18.5); so does another thread's
 * current tasklet. */
static PyObject *throw_at_stray(PyTasklet *t, PyObject *bomb)
{
    PyObject *cls = bomb_async_class(bomb); /* may call the exception's class, and that take its time */
    if (cls && !is_out_of_reach(t)) {
        Py_DECREF(cls);
        return tasklet_throw_bomb(t, bomb, true);
    }
    Py_DECREF(bomb);
    if (!cls)
        return NULL;
    compat_raise_async(t->base.carrier->env, cls);
    Py_DECREF(cls);
    Py_RETURN_NONE;
}

static PyObject *throw_at_dead(PyTasklet *t, PyObject *bomb)
{
    bool ends = bomb_is_exit(bomb) && t->execution == EXEC_NONE;
    Py_DECREF(bomb);
    if (ends)
        Py_RETURN_NONE;
    tasklet_refuse(scheduler_of(t)->dead ? "tasklet has no thread" : "You cannot throw to a dead tasklet");
    return NULL;
}

PyObject *tasklet_throw_bomb(PyTasklet *t, PyObject *bomb, bool pending)
{
    PyTasklet *current = current_tasklet();
    if (!bomb)
        return NULL;
    if (t == current && sl_self()->current) {
        bomb_explode(bomb);
        return NULL;
    }
    if (!is_alive(t))
        return throw_at_dead(t, bomb);
    if (!current)
        PyErr_Clear(); /* a finalizer on a worker's own stack */
    pending = pending || !current || scheduler_of(t) != scheduler_of(current);
    if (!pending && t->base.place != SL_STRAY) {
        if (!enter() || trapped(current)) {
            Py_DECREF(bomb);
            return NULL;
        }
        if (!is_alive(t))
            return throw_at_dead(t, bomb);
    }
    if (is_out_of_reach(t))
        return throw_at_stray(t, bomb);
    if (pending) {
        plant(t, bomb);
        Py_RETURN_NONE;
    }
    PyObject *old = t->tempval;
    t->tempval = bomb;
    return release_after(switch_to(current, t), old); /* not before: its finalizer may end `t` */
}

PyObject *tasklet_throw(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"exc", "val", "tb", "pending", NULL};
    PyObject *exc, *val = Py_None, *tb = Py_None;
    int pending = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OOp:throw", names, &exc, &val, &tb, &pending))
        return NULL;
    return tasklet_throw_bomb((PyTasklet *)self, bomb_from_args(exc, val, tb), pending);
}

PyObject *tasklet_raise_exception(PyObject *self, PyObject *args)
{
    return tasklet_throw_bomb((PyTasklet *)self, bomb_from_call("tasklet", "raise_exception", args), false);
}

/* Of one that its thread has left behind: its stack is lost. */
static void discard(PyTasklet *t)
{
    bool held = unblock(t);
    if (t->base.carrier)
        t->base.carrier->tasklet = NULL;
    t->base.carrier = NULL;
    t->base.home = NULL;
    t->timeouts = 0;
    t->wait = NULL;
    tasklet_set_dead(t);
    if (held)
        Py_DECREF(t); /* the caller has one */
}

int tasklet_kill(PyTasklet *t, bool pending)
{
    if (scheduler_of(t)->dead) {
        discard(t);
        return 0;
    }
    PyObject *r = tasklet_throw_bomb(t, bomb_from_class(fe.tasklet_exit, NULL), pending);
    Py_XDECREF(r);
    return r ? 0 : -1;
}

PyObject *tasklet_kill_method(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"pending", NULL};
    int pending = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|p:kill", names, &pending) ||
        tasklet_kill((PyTasklet *)self, pending) < 0)
        return NULL;
    Py_RETURN_NONE;
}
