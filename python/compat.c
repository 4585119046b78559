/* SPDX-License-Identifier: MIT
 * The version-dependent parts that need more than a line; see compat.h. */
#include <patchlevel.h>
#if PY_VERSION_HEX < 0x030C0000 || PY_VERSION_HEX >= 0x030D0000
#define Py_BUILD_CORE_MODULE 1 /* _PyRuntime: 3.11 autoTSSkey, 3.13 main_tstate */
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#ifdef Py_BUILD_CORE_MODULE
#include <internal/pycore_runtime.h>
#endif
#include <stdbool.h>

#include "compat.h"

#if PY_VERSION_HEX < 0x030C0000
void compat_set_gilstate_slot(PyThreadState *ts)
{
    PyThread_tss_set(&_PyRuntime.gilstate.autoTSSkey, ts);
}
#endif

#if PY_VERSION_HEX >= 0x030E0000
/* 3.14.1 and later; weak, so that an extension built against newer headers
 * still loads on 3.14.0 and can say what is wrong. */
#pragma weak PyUnstable_ThreadState_SetStackProtection
PyAPI_FUNC(int) PyUnstable_ThreadState_SetStackProtection(PyThreadState *, void *, size_t);
#endif

int compat_set_stack(PyThreadState *ts, char *base, size_t size)
{
#if PY_VERSION_HEX >= 0x030E0000
    return PyUnstable_ThreadState_SetStackProtection(ts, base, size);
#elif PY_VERSION_HEX >= 0x030C0000
    /* 3.12 and 3.13 count C recursion against a constant that is meant for a
     * thread's stack of megabytes.  The most that a counted level was seen to
     * take is 5.1 KB, in list.sort() with a key that sorts (most take 150 to
     * 500 bytes).  A small stack gets a few levels more than that allows, or
     * nothing would run on it; there the guard catches the rest. */
    enum { LEVEL = 5376, MARGIN = 32 << 10, LEAST = 32 };
    (void)base;
    size_t levels = (size - MARGIN) / LEVEL;
    levels = levels < LEAST ? LEAST : levels;
    if (levels < (size_t)ts->c_recursion_remaining)
        ts->c_recursion_remaining = (int)levels;
    return 0;
#else
    (void)ts, (void)base, (void)size;
    return 0;
#endif
}

bool compat_is_clean(PyThreadState *ts)
{
    if (ts->dict || ts->context || ts->async_exc || ts->c_tracefunc || ts->c_profilefunc ||
        ts->async_gen_firstiter || ts->async_gen_finalizer)
        return false;
#if PY_VERSION_HEX >= 0x030D0000
    if (ts->threading_local_key) /* 3.13: threading.local left the dict */
        return false;
#else
    if (ts->on_delete) /* 3.13 moved it out of sight, to the thread's handle */
        return false;
#endif
    return true;
}

#if COMPAT_SIGNAL_TARGET
static bool target_known;

void compat_init_signal_target(PyThreadState *main_ts)
{
    /* The layout of _PyRuntime may differ from that of the headers that this
     * was built with; then signals wait for the main tasklet. */
    target_known = _PyRuntime.main_tstate == main_ts;
}

void compat_reset_signal_target(PyThreadState *ts)
{
    if (target_known)
        _PyRuntime.main_tstate = ts;
}

void compat_set_signal_target(PyThreadState *ts)
{
    if (!target_known)
        return;
    PyThreadState *old = _PyRuntime.main_tstate;
    __atomic_store_n(&_PyRuntime.main_tstate, ts, __ATOMIC_RELAXED);
    /* One that came before goes along.  Bit 1 is "signals pending". */
    if (old != ts && (__atomic_load_n(&old->eval_breaker, __ATOMIC_RELAXED) & 2))
        __atomic_or_fetch(&ts->eval_breaker, (uintptr_t)2, __ATOMIC_RELAXED);
}
#endif

void compat_raise_async(PyThreadState *ts, PyObject *type)
{
    /* The only public way goes by thread id, which tasklets share; so the id
     * is made unique for the length of the call. */
    unsigned long id = ts->thread_id;
    ts->thread_id = (unsigned long)(uintptr_t)ts;
    PyThreadState_SetAsyncExc(ts->thread_id, type);
    ts->thread_id = id;
}

const char *compat_unsupported(void)
{
#ifdef Py_GIL_DISABLED
    return "free-threaded builds of CPython are not supported yet: there a started tasklet must not "
           "change threads; use a build with the GIL";
#endif
#if PY_VERSION_HEX >= 0x030E0000
    if (!PyUnstable_ThreadState_SetStackProtection)
        return "CPython 3.14.0 takes every stack but a thread's own for an overflow; "
               "stackless needs 3.14.1 or newer";
#endif
    return NULL;
}
