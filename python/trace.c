/* SPDX-License-Identifier: MIT
 *
 * Trace and profile functions per tasklet (specification, 10.3).
 *
 * CPython keeps the pair in the thread state, so each tasklet has its own.
 * Those of a tasklet that is not running are set by itself when it runs next:
 * only sys.settrace() on the state itself does all that is to be done, and
 * nobody else may attach the state of a tasklet that could be resumed.
 */
#include "pystackless.h"

enum which { TRACE, PROFILE };

static const char *const setter_name[] = {"settrace", "setprofile"};
static const char *const audit_name[] = {"sys.settrace", "sys.setprofile"};
static PyObject *threading;  /* its namespace */
static PyObject *hook_name[2];
static PyObject *hook[2];    /* what threading.settrace() and setprofile() have set, or NULL */

#define WHICH(closure) ((enum which)(intptr_t)(closure))

static PyObject **pending(PyTasklet *t, enum which w)
{
    return w == TRACE ? &t->rare->trace : &t->rare->profile;
}

static bool has_pending(PyTasklet *t)
{
    return t->rare && (t->rare->trace || t->rare->profile);
}

static PyObject *installed(PyThreadState *ts, enum which w)
{
    PyObject *f = w == TRACE ? ts->c_traceobj : ts->c_profileobj;
    bool on = w == TRACE ? ts->c_tracefunc != NULL : ts->c_profilefunc != NULL;
    return Py_NewRef(on && f ? f : Py_None);
}

static bool runs_here(PyTasklet *t)
{
    sl_oworker *w = sl_self();
    return w && w->current == &t->base;
}

PyObject *trace_get(PyObject *self, void *closure)
{
    PyTasklet *t = (PyTasklet *)self;
    if (t->rare && *pending(t, WHICH(closure)))
        return Py_NewRef(*pending(t, WHICH(closure)));
    PyThreadState *ts = is_alive(t) ? state_of(t) : NULL;
    return ts ? installed(ts, WHICH(closure)) : Py_NewRef(Py_None);
}

/* On the calling tasklet. */
static int install(PyObject *f, enum which w)
{
    PyObject *set = PySys_GetObject(setter_name[w]); /* borrowed */
    PyObject *r = set ? PyObject_CallOneArg(set, f) : NULL;
    if (!r && !PyErr_Occurred())
        PyErr_Format(PyExc_RuntimeError, "sys.%s is gone", setter_name[w]);
    Py_XDECREF(r);
    return r ? 0 : -1;
}

int trace_set(PyObject *self, PyObject *value, void *closure)
{
    PyTasklet *t = (PyTasklet *)self;
    enum which w = WHICH(closure);
    if (!value) {
        PyErr_SetString(PyExc_AttributeError, "a trace or profile function cannot be deleted; set it to None");
        return -1;
    }
    if (runs_here(t))
        return install(value, w);
    if (is_alive(t) && (t->base.place == SL_STRAY || tasklet_is_current(t))) {
        PyErr_SetString(PyExc_RuntimeError, "the tasklet runs in another thread: only there can its trace and "
                                            "profile functions be set");
        return -1;
    }
    if (PySys_Audit(audit_name[w], NULL) < 0 || !tasklet_rare(t))
        return -1;
    if (t->execution == EXEC_STARTED && !t->rare->chore) {
        t->rare->chore = true;
        scheduler_of(t)->chores++;
    }
    Py_XSETREF(*pending(t, w), Py_NewRef(value));
    return 0;
}

static void apply(PyTasklet *t)
{
    for (int w = PROFILE; w >= TRACE; w--) {
        PyObject *f = *pending(t, w);
        *pending(t, w) = NULL;
        if (f && install(f, w) < 0)
            PyErr_WriteUnraisable((PyObject *)t);
        Py_XDECREF(f);
    }
}

static void chore_done(PyTasklet *t)
{
    if (t->rare->chore)
        scheduler_of(t)->chores--;
    t->rare->chore = false;
}

void trace_apply(PyTasklet *t)
{
    if (!t->rare->chore)
        return; /* also at its start: trace_begin() */
    chore_done(t);
    apply(t);
}

static void read_hooks(void)
{
    for (int w = PROFILE; w >= TRACE; w--) {
        PyObject *f = PyDict_GetItemWithError(threading, hook_name[w]); /* borrowed */
        Py_XSETREF(hook[w], f && f != Py_None ? Py_NewRef(f) : NULL);
    }
}

/* As in a new thread: coverage tools and debuggers ask for that. */
static void install_hooks(PyTasklet *t)
{
    for (int w = PROFILE; w >= TRACE; w--) {
        PyObject *f = t->rare && *pending(t, w) ? NULL : Py_XNewRef(hook[w]);
        if (f && install(f, w) < 0)
            PyErr_WriteUnraisable((PyObject *)t);
        Py_XDECREF(f);
    }
}

void trace_begin(PyTasklet *t)
{
    if (compat_dict_changed(threading))
        read_hooks();
    if (hook[TRACE] || hook[PROFILE])
        install_hooks(t);
    if (has_pending(t))
        apply(t);
}

void trace_forget(PyTasklet *t)
{
    chore_done(t);
    Py_CLEAR(t->rare->trace);
    Py_CLEAR(t->rare->profile);
}

int trace_init(void)
{
    PyObject *module = PyImport_ImportModule("threading");
    if (!module)
        return -1;
    threading = Py_NewRef(PyModule_GetDict(module));
    Py_DECREF(module);
    hook_name[TRACE] = PyUnicode_InternFromString("_trace_hook");
    hook_name[PROFILE] = PyUnicode_InternFromString("_profile_hook");
    return hook_name[TRACE] && hook_name[PROFILE] ? 0 : -1;
}
