/* SPDX-License-Identifier: MIT
 *
 * Counts what tasklets execute, for run(timeout), and finds the places where a
 * time slice may end.
 *
 * An unpatched interpreter does not count its instructions.  What it can tell
 * is where it jumps back and which functions it enters, the places where it
 * looks for signals too.  A jump back counts as many instructions as it goes
 * over, and one; a function entered, or a generator resumed, counts one.
 *
 * 3.12 and later: sys.monitoring, under a tool id of our own, so that debuggers,
 * coverage and profilers go on beside it.  It is on for the whole interpreter,
 * hence armed by the first timed run, and disarmed after IDLE events that nobody
 * was charged for: a loop of short runs need not pay for it each time.
 *
 * 3.11: a trace function in C in the state of each tasklet that runs, in front
 * of the tasklet's own.
 */
#include "pystackless.h"

static int users; /* timed runs underway */

void ticks_users(int change)
{
    users += change;
}

/* The tasklet whose state is attached, strays too. */
static PyTasklet *running(void)
{
    sl_oworker *w = sl_self();
    return w && w->current ? tasklet_of(w->current) : NULL;
}

/* The tasklet to be charged: it hosts, and is not in the middle of a switch. */
static PyTasklet *charged(void)
{
    PyTasklet *t = running();
    if (!t || !sl_self()->lane || t->base.place != SL_IN_RING)
        return NULL;
    scheduler *s = scheduler_of(t);
    return s->watch.owner || s->slice_turn ? t : NULL;
}

#if COMPAT_MONITORING

enum { IDLE = 1000 };

static PyObject *monitoring; /* sys.monitoring; NULL: no tool id yet */
static int tool;
static long events, instruction; /* masks */
static bool armed;
static int idle;

static int set_events(long mask)
{
    PyObject *r = PyObject_CallMethod(monitoring, "set_events", "il", tool, mask);
    Py_XDECREF(r);
    return r ? 0 : -1;
}

static void disarm(void)
{
    armed = false;
    if (set_events(0) < 0)
        PyErr_WriteUnraisable(NULL);
}

static PyObject *count(Py_ssize_t n)
{
    PyTasklet *t = charged();
    if (t)
        idle = 0;
    else if (++idle > IDLE && !users && armed)
        disarm();
    if (t && watchdog_tick(t, n) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static int set_local_events(PyObject *code, long mask)
{
    PyObject *r = PyObject_CallMethod(monitoring, "set_local_events", "iOl", tool, code, mask);
    Py_XDECREF(r);
    return r ? 0 : -1;
}

/* 3.12 and 3.13 pass over the function's own handlers when a jump's event raises, so
 * it is left to the next instruction. */
static PyObject *raise_at_next(PyObject *code)
{
    PyTasklet *t = tasklet_of(sl_self()->current);
    PyObject *bomb = bomb_from_error();
    if (!bomb || set_local_events(code, instruction) < 0) {
        Py_XDECREF(bomb);
        return NULL;
    }
    set_tempval(t, bomb);
    Py_RETURN_NONE;
}

/* (code, where).  Another thread's tasklet may be here first; then the exception waits
 * in tempval for the next scheduling point. */
static PyObject *on_instruction(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyTasklet *t = running();
    if (nargs < 1 || set_local_events(args[0], 0) < 0)
        return NULL;
    if (t && t->tempval && is_bomb(t->tempval))
        return take_tempval(t);
    Py_RETURN_NONE;
}

/* (code, from, to), both in bytes. */
static PyObject *on_jump(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    Py_ssize_t over = nargs == 3 ? PyLong_AsSsize_t(args[1]) - PyLong_AsSsize_t(args[2]) : 0;
    if (over <= 0)
        Py_RETURN_NONE; /* forward */
    PyObject *r = count(over / (Py_ssize_t)sizeof(uint16_t) + 1);
    return r ? r : raise_at_next(args[0]);
}

static PyObject *on_entry(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return count(1);
}

static PyMethodDef handlers[] = {
    {"on_jump", (PyCFunction)(void (*)(void))on_jump, METH_FASTCALL, NULL},
    {"on_entry", (PyCFunction)(void (*)(void))on_entry, METH_FASTCALL, NULL},
    {"on_instruction", (PyCFunction)(void (*)(void))on_instruction, METH_FASTCALL, NULL},
};

static const struct {
    const char *name;
    PyMethodDef *handler;
} watched[] = {{"JUMP", &handlers[0]}, {"PY_START", &handlers[1]}, {"PY_RESUME", &handlers[1]},
             {"INSTRUCTION", &handlers[2]}}; /* the last one: of one function at a time */

/* For that event; its bit, or -1. */
static long handle(PyObject *m, int id, const char *name, PyMethodDef *handler)
{
    PyObject *all = PyObject_GetAttrString(m, "events"), *bit = all ? PyObject_GetAttrString(all, name) : NULL;
    PyObject *f = bit ? PyCFunction_New(handler, NULL) : NULL;
    PyObject *r = f ? PyObject_CallMethod(m, "register_callback", "iOO", id, bit, f) : NULL;
    long mask = r ? PyLong_AsLong(bit) : -1;
    Py_XDECREF(all);
    Py_XDECREF(bit);
    Py_XDECREF(f);
    Py_XDECREF(r);
    return mask;
}

/* Of the ids that no kind of tool is meant to have. */
static int claim(PyObject *m)
{
    for (int id = 4; id >= 3; id--) {
        PyObject *r = PyObject_CallMethod(m, "use_tool_id", "is", id, "stackless");
        Py_XDECREF(r);
        if (r)
            return id;
        if (!PyErr_ExceptionMatches(PyExc_ValueError))
            return -1;
        PyErr_Clear();
    }
    PyErr_SetString(PyExc_RuntimeError, "run(timeout) counts instructions by sys.monitoring, but other tools have taken "
                                        "its ids 3 and 4: free one of them");
    return -1;
}

static int prepare(void)
{
    PyObject *m = PySys_GetObject("monitoring"); /* borrowed */
    if (!m) {
        PyErr_SetString(PyExc_RuntimeError, "run(timeout) needs sys.monitoring, which is gone");
        return -1;
    }
    int id = claim(m);
    long mask = 0, bit = 0;
    for (size_t i = 0; id >= 0 && i < sizeof watched / sizeof *watched; i++) {
        mask |= bit;
        bit = handle(m, id, watched[i].name, watched[i].handler);
        if (bit < 0)
            return -1;
    }
    if (id < 0)
        return -1;
    tool = id;
    events = mask;
    instruction = bit;
    monitoring = Py_NewRef(m);
    return 0;
}

int ticks_arm(void)
{
    idle = 0;
    if (armed)
        return 0;
    if ((!monitoring && prepare() < 0) || set_events(events) < 0)
        return -1;
    armed = true;
    return 0;
}

void ticks_follow(PyTasklet *t, PyThreadState *ts)
{
    (void)t, (void)ts; /* the whole interpreter is watched */
}

void ticks_leave(PyTasklet *t)
{
    (void)t;
}

#else /* 3.11 */

static const char opcodes[] = "f_trace_opcodes";

/* Lets `f` report each instruction. */
static int report_instructions(PyObject *f, bool on)
{
    return PyObject_SetAttrString(f, opcodes, on ? Py_True : Py_False);
}

static int for_all_frames(PyThreadState *ts, bool on)
{
    PyFrameObject *f = PyThreadState_GetFrame(ts);
    int rc = 0;
    while (f) {
        rc |= report_instructions((PyObject *)f, on);
        PyFrameObject *back = PyFrame_GetBack(f);
        Py_DECREF(f);
        f = back;
    }
    return rc;
}

static int on_event(PyObject *self, PyFrameObject *frame, int what, PyObject *arg);

/* As PyEval_SetTrace() does, but for any state, without an audit event (its hooks may
 * run anything) and without a word about the function's object: that stays the
 * tasklet's own, for sys.gettrace() and for the function behind ours. */
static void set_function(PyThreadState *ts, Py_tracefunc f)
{
    ts->c_tracefunc = f;
    if (!ts->tracing)
        ts->cframe->use_tracing = f || ts->c_profilefunc ? 255 : 0;
}

static void install(PyTasklet *t, PyThreadState *ts)
{
    PyObject *type, *value, *tb;
    PyErr_Fetch(&type, &value, &tb);
    if (tasklet_rare(t)) {
        t->rare->behind = ts->c_tracefunc;
        set_function(ts, on_event);
        for_all_frames(ts, true);
    }
    if (PyErr_Occurred())
        PyErr_WriteUnraisable((PyObject *)t);
    PyErr_Restore(type, value, tb);
}

static void uninstall(PyTasklet *t, PyThreadState *ts)
{
    PyObject *type, *value, *tb;
    PyErr_Fetch(&type, &value, &tb);
    set_function(ts, t->rare->behind);
    t->rare->behind = NULL;
    if (for_all_frames(ts, false) < 0)
        PyErr_WriteUnraisable((PyObject *)t);
    PyErr_Restore(type, value, tb);
}

static int count(PyTasklet *t, PyFrameObject *frame, int what)
{
    watch *w = &scheduler_of(t)->watch;
    int at = PyFrame_GetLasti(frame), over = 0;
    if (what == PyTrace_CALL)
        over = 1;
    else if ((what == PyTrace_OPCODE || what == PyTrace_LINE) && w->frame == frame && at < w->at)
        over = (w->at - at) / (int)sizeof(uint16_t) + 1;
    w->frame = frame; /* only compared */
    w->at = at;
    return over ? watchdog_tick(t, over) : 0;
}

static int on_event(PyObject *self, PyFrameObject *frame, int what, PyObject *arg)
{
    PyThreadState *ts = PyThreadState_Get();
    PyTasklet *t = running();
    if (!t || !t->rare)
        return 0;
    Py_tracefunc behind = t->rare->behind;
    if (what == PyTrace_CALL && report_instructions((PyObject *)frame, true) < 0)
        return -1;
    if (behind && what != PyTrace_OPCODE && behind(self, frame, what, arg) < 0)
        return -1;
    if (ts->c_tracefunc != on_event)
        return 0; /* it has set another */
    if (charged() == t)
        return count(t, frame, what);
    if (!scheduler_of(t)->watch.owner)
        uninstall(t, ts);
    return 0;
}

int ticks_arm(void)
{
    return 0;
}

void ticks_follow(PyTasklet *t, PyThreadState *ts)
{
    if (ts->c_tracefunc != on_event)
        install(t, ts);
}

void ticks_leave(PyTasklet *t)
{
    PyThreadState *ts = PyThreadState_Get();
    if (ts->c_tracefunc == on_event)
        uninstall(t, ts);
}

#endif
