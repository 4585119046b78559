/* SPDX-License-Identifier: MIT
 * The module stackless._stackless: functions, small types, and its start. */
#include "pystackless.h"

#include <structmember.h>

#include "../core/overflow.h"

front_end fe;

/* ---- scheduling functions ---- */

static int parse_retval(PyObject *const *args, Py_ssize_t n, PyObject *names, const char *name, PyObject **out)
{
    Py_ssize_t given = n + (names ? PyTuple_GET_SIZE(names) : 0);
    *out = NULL;
    if (given == 0)
        return 0;
    if (given > 1) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most 1 argument (%zd given)", name, given);
        return -1;
    }
    if (n == 0 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "retval") != 0) {
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", name,
                     PyTuple_GET_ITEM(names, 0));
        return -1;
    }
    *out = args[0];
    return 0;
}

static PyObject *py_schedule(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    PyObject *retval;
    if (parse_retval(args, n, names, "schedule", &retval) < 0)
        return NULL;
    PyTasklet *t = enter();
    return t ? schedule_common(t, retval, false) : NULL;
}

static PyObject *py_schedule_remove(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    PyObject *retval;
    if (parse_retval(args, n, names, "schedule_remove", &retval) < 0)
        return NULL;
    PyTasklet *t = enter();
    return t ? schedule_common(t, retval, true) : NULL;
}

static PyObject *py_run(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"timeout", "threadblock", "soft", "ignore_nesting", "totaltimeout", NULL};
    run_limits limits = {0};
    int threadblock = 0, soft = 0, ignore_nesting = 0, total = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|lpppp:run", names, &limits.timeout, &threadblock, &soft,
                                     &ignore_nesting, &total))
        return NULL;
    limits.threadblock = threadblock;
    limits.soft = soft;
    limits.ignore_nesting = ignore_nesting;
    limits.total = total;
    PyTasklet *t = enter();
    return t ? run_loop(t, &limits) : NULL;
}

static PyObject *py_getcurrent(PyObject *module, PyObject *unused)
{
    return Py_XNewRef((PyObject *)current_tasklet());
}

static PyObject *py_getmain(PyObject *module, PyObject *unused)
{
    PyTasklet *t = current_tasklet();
    return t ? Py_NewRef((PyObject *)scheduler_of(t)->main) : NULL;
}

static PyObject *py_getruncount(PyObject *module, PyObject *unused)
{
    PyTasklet *t = current_tasklet();
    return t ? PyLong_FromLong((long)sl_olane_count(t->base.lane)) : NULL;
}

static PyObject *py_switch_trap(PyObject *module, PyObject *args)
{
    int change = 0;
    if (!PyArg_ParseTuple(args, "|i:switch_trap", &change))
        return NULL;
    PyTasklet *t = current_tasklet();
    if (!t)
        return NULL;
    int old = scheduler_of(t)->switch_trap;
    scheduler_of(t)->switch_trap = old + change;
    return PyLong_FromLong(old);
}

static PyObject *py_set_error_handler(PyObject *module, PyObject *args)
{
    PyObject *handler = Py_None;
    if (!PyArg_ParseTuple(args, "|O:set_error_handler", &handler))
        return NULL;
    PyObject *old = fe.error_handler ? fe.error_handler : Py_NewRef(Py_None);
    fe.error_handler = handler == Py_None ? NULL : Py_NewRef(handler);
    return old;
}

/* ---- what is going on ---- */

static int put_number(PyObject *dict, const char *key, unsigned long long value)
{
    PyObject *v = PyLong_FromUnsignedLongLong(value);
    int rc = v ? PyDict_SetItemString(dict, key, v) : -1;
    Py_XDECREF(v);
    return rc;
}

static PyObject *py_stats(PyObject *module, PyObject *unused)
{
    PyTasklet *t = current_tasklet();
    PyObject *d = t ? PyDict_New() : NULL;
    if (!d)
        return NULL;
    scheduler *s = scheduler_of(t);
    sl_olane *lane = &s->lane;
    sl_stack_stats st;
    sl_stack_pool_stats(fe.stacks, &st);
    bool pool = lane->pool != NULL;
    int rc = 0;
    rc |= put_number(d, "threads", pool ? sl_load_acquire(&s->pool.nworkers) : 1);
    rc |= put_number(d, "threads_limit", (unsigned long long)(pool ? config_threads() : 1));
    rc |= put_number(d, "runnable", sl_olane_count(lane));
    rc |= put_number(d, "strays", sl_load_relaxed(&lane->strays));
    rc |= put_number(d, "timers", sl_load_relaxed(&lane->timers.count));
    rc |= put_number(d, "io_waiters", sl_load_relaxed(&lane->waiting));
    rc |= put_number(d, "started", lane->nbusy);
    rc |= put_number(d, "created", s->spawned);
    rc |= put_number(d, "switches", sl_load_relaxed(&lane->turn));
    rc |= put_number(d, "handoffs", pool ? s->pool.handoffs : 0);
    rc |= put_number(d, "handoffs_refused", pool ? s->pool.refused : 0);
    rc |= put_number(d, "moves", pool ? s->pool.moves : 0);
    rc |= put_number(d, "stack_size", st.size);
    rc |= put_number(d, "stacks_live", st.live);
    rc |= put_number(d, "stacks_free", st.free);
    rc |= put_number(d, "stacks_unguarded", st.unguarded);
    rc |= put_number(d, "carriers_free", lane->nfree);
    if (rc < 0)
        Py_CLEAR(d);
    return d;
}

static PyObject *py_settings(PyObject *module, PyObject *unused)
{
    return config_describe();
}

/* ---- atomic and pinned ---- */

typedef struct {
    PyObject_HEAD
    char saved[16]; /* what each nested enter found, innermost last */
    int depth;
} flag_guard;

static PyObject *guard_push(flag_guard *g, bool old)
{
    if (g->depth == (int)sizeof g->saved) {
        PyErr_SetString(PyExc_RuntimeError, "one context manager is entered more than 16 deep; make another one");
        return NULL;
    }
    g->saved[g->depth++] = old;
    Py_RETURN_NONE;
}

static int guard_pop(flag_guard *g)
{
    if (!g->depth) {
        PyErr_SetString(PyExc_RuntimeError, "this context manager has not been entered");
        return -1;
    }
    return g->saved[--g->depth];
}

static PyObject *atomic_enter(PyObject *self, PyObject *unused)
{
    PyTasklet *t = current_tasklet();
    PyObject *r = t ? guard_push((flag_guard *)self, t->atomic) : NULL;
    if (r)
        t->atomic = true;
    return r;
}

static PyObject *atomic_exit(PyObject *self, PyObject *args)
{
    PyTasklet *t = current_tasklet();
    int old = t ? guard_pop((flag_guard *)self) : -1;
    if (old < 0)
        return NULL;
    t->atomic = old;
    if (!old && watchdog_obstacle_gone(t) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *pinned_enter(PyObject *self, PyObject *unused)
{
    PyTasklet *t = current_tasklet();
    PyObject *r = t ? guard_push((flag_guard *)self, t->base.home != NULL) : NULL;
    if (r && !t->base.home)
        t->base.home = sl_self();
    return r;
}

static PyObject *pinned_exit(PyObject *self, PyObject *args)
{
    PyTasklet *t = current_tasklet();
    int old = t ? guard_pop((flag_guard *)self) : -1;
    if (old < 0)
        return NULL;
    if (!old)
        t->base.home = NULL;
    Py_RETURN_NONE;
}

static void guard_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef atomic_methods[] = {
    {"__enter__", atomic_enter, METH_NOARGS, "Sets the current tasklet's atomic flag."},
    {"__exit__", atomic_exit, METH_VARARGS, "Puts the flag back."},
    {NULL},
};

static PyMethodDef pinned_methods[] = {
    {"__enter__", pinned_enter, METH_NOARGS, "Keeps the current tasklet on this OS thread."},
    {"__exit__", pinned_exit, METH_VARARGS, "Lets it go, unless it was pinned before."},
    {NULL},
};

static PyType_Slot atomic_slots[] = {
    {Py_tp_doc, "atomic()\n--\n\n"
                "Context manager: inside, the current tasklet is not interrupted, and the others wait\n"
                "for it even while it is blocked in the operating system. May be nested and reused."},
    {Py_tp_methods, atomic_methods},
    {Py_tp_dealloc, guard_dealloc},
    {0, NULL},
};

static PyType_Slot pinned_slots[] = {
    {Py_tp_doc, "pinned()\n--\n\n"
                "Context manager: inside, the current tasklet stays on the OS thread where it is,\n"
                "also across scheduling points. See tasklet.pin()."},
    {Py_tp_methods, pinned_methods},
    {Py_tp_dealloc, guard_dealloc},
    {0, NULL},
};

static PyType_Spec atomic_spec = {
    .name = "stackless.atomic", .basicsize = sizeof(flag_guard), .flags = Py_TPFLAGS_DEFAULT, .slots = atomic_slots};
static PyType_Spec pinned_spec = {
    .name = "stackless.pinned", .basicsize = sizeof(flag_guard), .flags = Py_TPFLAGS_DEFAULT, .slots = pinned_slots};

/* ---- start ---- */

static PyMethodDef functions[] = {
    {"schedule", (PyCFunction)(void (*)(void))py_schedule, METH_FASTCALL | METH_KEYWORDS,
     "schedule(retval=<current tasklet>)\n\n"
     "Lets the next runnable tasklet run; the caller goes to the end of the ring. Returns\n"
     "retval, unless somebody has set the caller's tempval meanwhile."},
    {"schedule_remove", (PyCFunction)(void (*)(void))py_schedule_remove, METH_FASTCALL | METH_KEYWORDS,
     "schedule_remove(retval=<current tasklet>)\n\n"
     "As schedule(), but the caller leaves the ring: it is paused until somebody inserts it."},
    {"run", (PyCFunction)(void (*)(void))py_run, METH_VARARGS | METH_KEYWORDS,
     "run(timeout=0, threadblock=False, soft=False, ignore_nesting=False, totaltimeout=False)\n\n"
     "Runs the other tasklets until none is runnable and none is asleep, waits for a\n"
     "descriptor or is blocked in the operating system. Raises what one of them did not\n"
     "catch. threadblock: also waits for other threads.\n\n"
     "timeout: a tasklet that executes so many instructions, roughly, without switching is\n"
     "interrupted: run() returns it, paused; insert() lets it go on. With totaltimeout that is\n"
     "counted over all tasklets. With soft, run() returns None at the tasklet's next switch\n"
     "instead, and all stay runnable. A tasklet is not interrupted while it is atomic, nor,\n"
     "without ignore_nesting, below a call through C. Of nested timeouts the outermost counts."},
    {"getcurrent", py_getcurrent, METH_NOARGS, "getcurrent() -> tasklet\n\nThe running tasklet of this thread."},
    {"getmain", py_getmain, METH_NOARGS, "getmain() -> tasklet\n\nThe main tasklet of this thread."},
    {"getruncount", py_getruncount, METH_NOARGS,
     "getruncount() -> int\n\nHow many tasklets of this thread are runnable, the running one included."},
    {"switch_trap", py_switch_trap, METH_VARARGS,
     "switch_trap(change=0) -> int\n\n"
     "Adds change to this thread's trap level and returns the old one. While it is not 0,\n"
     "whatever would switch to another tasklet raises RuntimeError instead."},
    {"set_error_handler", py_set_error_handler, METH_VARARGS,
     "set_error_handler(handler=None) -> old handler\n\n"
     "handler(type, value, traceback) is called in a tasklet that an exception ends, instead\n"
     "of raising it in the main tasklet. None removes it."},
    {"stats", py_stats, METH_NOARGS,
     "stats() -> dict\n\n"
     "Counters of this thread's scheduler: threads and threads_limit, runnable, strays\n"
     "(tasklets on an OS thread of their own after a blocking call), timers, io_waiters,\n"
     "started (with a stack), created, switches, handoffs, handoffs_refused, moves,\n"
     "stack_size in bytes, stacks_live, stacks_free, stacks_unguarded, carriers_free."},
    {"_settings", py_settings, METH_NOARGS, "_settings() -> [(name, value, origin)]"},
    {NULL},
};

static int add_type(PyObject *module, PyTypeObject **slot, PyType_Spec *spec, const char *name)
{
    *slot = (PyTypeObject *)PyType_FromSpec(spec);
    return *slot ? PyModule_AddObjectRef(module, name, (PyObject *)*slot) : -1;
}

/* In a signal handler: no locks, no allocation. */
static void describe_tasklet(const void *label, char *text, size_t size)
{
    static const char what[] = "tasklet object at 0x";
    uintptr_t address = label ? (uintptr_t)tasklet_of((sl_otasklet *)label) : 0;
    size_t digits = 2 * sizeof address, n = sizeof what - 1;
    if (size < n + digits + 1)
        return;
    memcpy(text, what, n);
    for (size_t i = 0; i < digits; i++)
        text[n + i] = "0123456789abcdef"[address >> 4 * (digits - 1 - i) & 15];
    text[n + digits] = '\0';
}

static int refuse_import(const char *why)
{
    PyErr_SetString(PyExc_ImportError, why);
    return -1;
}

static unsigned long main_thread_ident(void)
{
    unsigned long id = 0;
    PyObject *threading = PyImport_ImportModule("threading");
    PyObject *main = threading ? PyObject_CallMethod(threading, "main_thread", NULL) : NULL;
    PyObject *ident = main ? PyObject_GetAttrString(main, "ident") : NULL;
    if (ident)
        id = PyLong_AsUnsignedLong(ident);
    Py_XDECREF(ident);
    Py_XDECREF(main);
    Py_XDECREF(threading);
    return id;
}

static PyThreadState *oldest_state(PyInterpreterState *interp)
{
    PyThreadState *ts = PyInterpreterState_ThreadHead(interp), *last = ts;
    for (; ts; ts = PyThreadState_Next(ts))
        last = ts;
    return last;
}

static int exec(PyObject *module)
{
    if (PyInterpreterState_Get() != PyInterpreterState_Main())
        return refuse_import("stackless works in the main interpreter only");
    if (fe.interp)
        return refuse_import("stackless has been imported already; keep it in sys.modules");
    if (compat_unsupported())
        return refuse_import(compat_unsupported());
    int rc = sl_context_supported();
    if (rc < 0)
        return refuse_import(sl_strerror(rc));
    if (config_read() < 0)
        return -1;
    rc = sl_stack_pool_create(&fe.stacks, fe.stack_size);
    if (rc < 0)
        return refuse_import(sl_strerror(rc));
    fe.main_thread_id = main_thread_ident();
    if (PyErr_Occurred())
        return -1;
    fe.main_ts = oldest_state(PyInterpreterState_Get());
    compat_init_signal_target(fe.main_ts);
    if (exceptions_init(module) < 0 || threads_init(module) < 0 || thread_info_init(module) < 0 ||
        callbacks_init(module) < 0 || names_init() < 0 || pickle_init(module) < 0 || trace_init() < 0 || tasklet_init_type(module) < 0 ||
        channel_init_type(module) < 0 || descriptor_init_type(module) < 0 || waits_init(module) < 0 ||
        select_init(module) < 0 || sync_init(module) < 0 || queue_init(module) < 0 ||
        group_init(module) < 0 || capi_init(module) < 0 ||
        add_type(module, &fe.atomic_type, &atomic_spec, "atomic") < 0 ||
        add_type(module, &fe.pinned_type, &pinned_spec, "pinned") < 0 || lifecycle_init(module) < 0 ||
        PyModule_AddStringConstant(module, "__version__", SL_VERSION) < 0)
        return -1;
    fe.interp = PyInterpreterState_Get();
    sl_overflow_install(describe_tasklet);
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, exec},
#if PY_VERSION_HEX >= 0x030C0000 /* the slot's first version */
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "stackless._stackless",
    .m_doc = "Tasklets and channels; import stackless instead.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__stackless(void); /* for -Wmissing-prototypes */
PyMODINIT_FUNC PyInit__stackless(void)
{
    return PyModuleDef_Init(&definition);
}
