/* SPDX-License-Identifier: MIT
 *
 * Tasklets that swallow TaskletExit (a bare except, except BaseException) are
 * reported.
 *
 * A tasklet in which it was raised is a suspect until it ends.  Whoever runs
 * next after a suspect has left looks at the suspect's state: while it handles
 * the exception (an except or finally block, a with statement) all is well;
 * when it goes on living without, it has swallowed it.  Nothing is looked at
 * while there is no suspect.  Not here: the text and the place
 * (stackless/_exits.py).
 */
#include "pystackless.h"

static void add_suspect(PyTasklet *t)
{
    rarities *rare = t->rare;
    scheduler *s = scheduler_of(t);
    rare->doubtful = false;
    if (rare->suspect)
        return;
    rare->suspect = true;
    rare->next_suspect = s->suspects;
    s->suspects = t;
    s->chores++;
}

static void remove_suspect(PyTasklet *t)
{
    scheduler *s = scheduler_of(t);
    PyTasklet **at = &s->suspects;
    while (*at != t)
        at = &(*at)->rare->next_suspect;
    *at = t->rare->next_suspect;
    t->rare->suspect = false;
    s->chores--;
}

void exits_raised(PyTasklet *t)
{
    PyObject *type, *value, *tb;
    if (t->is_main || fe.finished)
        return;
    PyErr_Fetch(&type, &value, &tb);
    if (tasklet_rare(t)) {
        add_suspect(t);
        Py_XSETREF(t->rare->exit, Py_XNewRef(value));
    } else {
        PyErr_Clear();
    }
    PyErr_Restore(type, value, tb);
}

void exits_forget(PyTasklet *t)
{
    if (t->rare->suspect)
        remove_suspect(t);
    Py_CLEAR(t->rare->exit);
}

/* ---- looking ---- */

static bool handles_exit(PyThreadState *ts)
{
    for (_PyErr_StackItem *item = ts->exc_info; item; item = item->previous_item)
        if (item->exc_value && PyObject_TypeCheck(item->exc_value, (PyTypeObject *)fe.tasklet_exit))
            return true;
    return false;
}

static bool undelivered(PyTasklet *t, PyThreadState *ts)
{
    return ts->async_exc || (t->tempval && is_bomb(t->tempval) && bomb_is_exit(t->tempval));
}

/* The frame that has caught the exception still runs.  If it does not, a
 * finalizer may be switching while the exception passes. */
static bool catcher_runs(PyTasklet *t, PyThreadState *ts)
{
    PyObject *tb = t->rare->exit ? PyException_GetTraceback(t->rare->exit) : NULL;
    if (!tb)
        return false;
    PyFrameObject *catcher = ((PyTracebackObject *)tb)->tb_frame, *f = PyThreadState_GetFrame(ts);
    while (f && f != catcher) {
        PyFrameObject *back = PyFrame_GetBack(f);
        Py_DECREF(f);
        f = back;
    }
    bool found = f != NULL;
    Py_XDECREF(f);
    Py_DECREF(tb);
    return found;
}

static void report(PyTasklet *t)
{
    PyObject *exit = t->rare->exit ? t->rare->exit : Py_NewRef(Py_None), *r = NULL;
    t->rare->exit = NULL;
    Py_INCREF(t);
    PyObject *module = PyImport_ImportModule("stackless._exits");
    if (module)
        r = PyObject_CallMethod(module, "report", "OO", t, exit);
    if (!r)
        PyErr_WriteUnraisable((PyObject *)t); /* also a warning that is an error */
    Py_XDECREF(r);
    Py_XDECREF(module);
    Py_DECREF(exit);
    Py_DECREF(t);
}

/* True: it is to be reported. */
static bool judge(PyTasklet *t, PyThreadState *ts)
{
    if (tasklet_is_current(t) || t->base.place == SL_STRAY || undelivered(t, ts) || handles_exit(ts))
        return false;
    if (catcher_runs(t, ts) || t->rare->doubtful)
        return true;
    t->rare->doubtful = true;
    return false;
}

void exits_look(scheduler *s)
{
    PyTasklet *t = s->suspects;
    while (t) {
        PyThreadState *ts = state_of(t);
        if (!ts || !judge(t, ts)) {
            t = t->rare->next_suspect;
            continue;
        }
        remove_suspect(t);
        report(t);
        t = s->suspects; /* Python code has run: anything may have changed */
    }
}
