/* SPDX-License-Identifier: MIT
 *
 * What differs between CPython versions in thread states, the one place where
 * the front end looks at the version.  Not for anything that has a public
 * function on every supported version.
 *
 * Fields of PyThreadState are read, not written, except where a line below
 * says why.
 */
#ifndef SL_PYTHON_COMPAT_H
#define SL_PYTHON_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if PY_VERSION_HEX < 0x030B0000
#error "CPython 3.11 or newer is needed"
#endif

#if PY_VERSION_HEX < 0x030C0000
/* Writes the slot that PyGILState_Ensure() reads, which 3.11's
 * PyThreadState_Swap() leaves alone (3.12 and later move it).  Its address is
 * private, hence compat.c. */
void compat_set_gilstate_slot(PyThreadState *ts);
#endif

/* Makes `ts` the attached thread state of this OS thread.  3.11: the GIL is
 * kept.  3.12 and later: it is dropped and taken again. */
static inline void compat_swap(PyThreadState *ts)
{
    PyThreadState_Swap(ts);
#if PY_VERSION_HEX < 0x030C0000
    compat_set_gilstate_slot(ts);
#endif
}

/* Without the GIL: is `ts` detached at this moment? */
static inline bool compat_detached(PyThreadState *ts)
{
#if PY_VERSION_HEX >= 0x030D0000
    return *(volatile int *)&ts->state != 1; /* 3.13: 1 is "attached" */
#elif PY_VERSION_HEX >= 0x030C0000
    return !ts->_status.active;
#else
    /* 3.11 has no mark in the state; this reads who holds the one GIL. */
    return _PyThreadState_UncheckedGet() != ts;
#endif
}

/* Is `address` within the runtime's own data, where the words are that threads
 * sleep on which wait for the GIL? */
bool compat_in_runtime(uintptr_t address);

/* 3.11 keeps the GIL in a swap, so a thread that comes back from a blocking
 * call would wait for the whole switch interval. */
#define COMPAT_SWAP_KEEPS_GIL (PY_VERSION_HEX < 0x030C0000)

/* Tells `ts` about the C stack that it runs on; once per carrier. */
int compat_set_stack(PyThreadState *ts, char *base, size_t size);

/* The thread state that a tasklet leaves behind is as new: it can serve the
 * next one.  False: it has to be destroyed. */
bool compat_is_clean(PyThreadState *ts);

/* Makes `context` (stolen, NULL: an empty one) what contextvars see in `ts`.
 * Written directly: PyContext_Enter() lets one state at a time have a context,
 * and tasklets may share theirs.  The version tells each variable's cache. */
static inline void compat_set_context(PyThreadState *ts, PyObject *context)
{
    PyObject *old = ts->context;
    ts->context = context;
    ts->context_ver++;
    Py_XDECREF(old);
}

/* sys.monitoring is there. */
#define COMPAT_MONITORING (PY_VERSION_HEX >= 0x030C0000)

/* Entries of the interpreter's loop that stand on `ts`'s stack: 1 for Python
 * functions that call each other, one more for each call that passes through C. */
int compat_entries(PyThreadState *ts);

/* Does `ts` run, or stand in, Python code? */
bool compat_has_frame(PyThreadState *ts);

/* The code that `ts` runs (new reference; NULL without an exception: none) and
 * where in it, for PyCode_Addr2Line().  No frame object is made. */
PyCodeObject *compat_running_code(PyThreadState *ts, int *offset);

/* Has a value of `dict` changed since the last call?  For one dict, cheaper than
 * looking something up in it.  True at first. */
bool compat_dict_changed(PyObject *dict);

/* 3.13 and later flag signals in the runtime's "main" thread state alone; so
 * that they reach whatever runs on the main OS thread, that is kept to be the
 * state attached there.  3.11 and 3.12 flag them for all. */
#if PY_VERSION_HEX >= 0x030D0000
#define COMPAT_SIGNAL_TARGET 1
void compat_set_signal_target(PyThreadState *ts);
/* Learns whether this build's idea of the field's place is right. */
void compat_init_signal_target(PyThreadState *main_ts);
/* In a forked child: the old target has been freed. */
void compat_reset_signal_target(PyThreadState *ts);
#else
#define COMPAT_SIGNAL_TARGET 0
static inline void compat_set_signal_target(PyThreadState *ts) { (void)ts; }
static inline void compat_init_signal_target(PyThreadState *main_ts) { (void)main_ts; }
static inline void compat_reset_signal_target(PyThreadState *ts) { (void)ts; }
#endif

/* GIL held: raises `type` in whatever Python code next runs with `ts`. */
void compat_raise_async(PyThreadState *ts, PyObject *type);

/* The default stack size.  3.11 counts C calls and Python calls with one limit
 * of 1,000, so its stacks must hold as many C frames: the deepest seen took
 * 1,064 KB (SQL functions that run SQL), but for a sort() whose key sorts
 * (2.5 KB a level).  Up to 3.13 the parser alone takes 770 KB before it finds a
 * source too deeply nested; it counts, but not what compat_set_stack() limits.
 * From 3.14 CPython looks at the stack itself, except when it frees or
 * marshals: 1,000 nested generators take 260 to 400 KB. */
#if PY_VERSION_HEX < 0x030C0000
#define COMPAT_STACK_DEFAULT ((size_t)1280 << 10)
#elif PY_VERSION_HEX < 0x030E0000
#define COMPAT_STACK_DEFAULT ((size_t)1024 << 10)
#else
#define COMPAT_STACK_DEFAULT ((size_t)512 << 10)
#endif

/* NULL, or why this interpreter cannot run tasklets. */
const char *compat_unsupported(void);

#endif
