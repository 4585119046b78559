/* SPDX-License-Identifier: MIT
 * The version-dependent parts that need more than a line; see compat.h. */
#include <patchlevel.h>
#if PY_VERSION_HEX < 0x030C0000 || PY_VERSION_HEX >= 0x030D0000
#define Py_BUILD_CORE_MODULE 1 /* _PyRuntime: 3.11 autoTSSkey, 3.13 main_tstate; frames */
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#ifdef Py_BUILD_CORE_MODULE
#include <internal/pycore_runtime.h>
#if PY_VERSION_HEX >= 0x030E0000
#include <internal/pycore_interpframe_structs.h>
#else
#include <internal/pycore_frame.h>
#endif
#endif
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
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

/* The symbol has no public declaration in 3.12, and its size may be another than
 * that of the headers: the loader knows both.  All that is in there besides the
 * GIL's words is locks of the runtime, and a thread that sleeps on one of those
 * will go on soon. */
bool compat_in_runtime(uintptr_t address)
{
    static uintptr_t begin, end; /* one value, whoever writes it */
    uintptr_t to = __atomic_load_n(&end, __ATOMIC_ACQUIRE);
    if (!to) {
        Dl_info info;
        void *extra = NULL;
        void *runtime = dlsym(RTLD_DEFAULT, "_PyRuntime");
        if (!runtime || !dladdr1(runtime, &info, &extra, RTLD_DL_SYMENT) || !extra)
            return true;
        to = (uintptr_t)runtime + ((const ElfW(Sym) *)extra)->st_size;
        __atomic_store_n(&begin, (uintptr_t)runtime, __ATOMIC_RELAXED);
        __atomic_store_n(&end, to, __ATOMIC_RELEASE);
    }
    return address >= __atomic_load_n(&begin, __ATOMIC_RELAXED) && address < to;
}

/* ---- frames ---- */

#if PY_VERSION_HEX < 0x030D0000
int compat_entries(PyThreadState *ts)
{
    int n = -1; /* root_cframe is no entry */
    for (_PyCFrame *c = ts->cframe; c; c = c->previous)
        n++;
    return n;
}

static struct _PyInterpreterFrame *running_frame(PyThreadState *ts)
{
    return ts->cframe->current_frame;
}
#else
int compat_entries(PyThreadState *ts)
{
    int n = 0;
#if PY_VERSION_HEX >= 0x030F0000
    struct _PyInterpreterFrame *end = ts->base_frame;
#else
    struct _PyInterpreterFrame *end = NULL;
#endif
    /* Each entry begins with a frame of its own, owned by none of these. */
    for (struct _PyInterpreterFrame *f = ts->current_frame; f && f != end; f = f->previous)
        n += f->owner != FRAME_OWNED_BY_THREAD && f->owner != FRAME_OWNED_BY_GENERATOR &&
             f->owner != FRAME_OWNED_BY_FRAME_OBJECT;
    return n;
}

static struct _PyInterpreterFrame *running_frame(PyThreadState *ts)
{
    return ts->current_frame;
}
#endif

bool compat_has_frame(PyThreadState *ts)
{
#if PY_VERSION_HEX >= 0x030F0000
    return running_frame(ts) && running_frame(ts) != ts->base_frame;
#else
    return running_frame(ts) != NULL;
#endif
}

PyCodeObject *compat_running_code(PyThreadState *ts, int *offset)
{
    struct _PyInterpreterFrame *f = running_frame(ts);
    if (!f)
        return NULL;
#if PY_VERSION_HEX >= 0x030C0000
    PyObject *code = PyUnstable_InterpreterFrame_GetCode(f);
    if (!code || !PyCode_Check(code)) { /* called by C, with nothing above */
        Py_XDECREF(code);
        return NULL;
    }
    *offset = PyUnstable_InterpreterFrame_GetLasti(f);
#else
    PyObject *code = Py_NewRef((PyObject *)f->f_code);
    *offset = _PyInterpreterFrame_LASTI(f) * (int)sizeof(_Py_CODEUNIT);
#endif
    return (PyCodeObject *)code;
}

/* ---- a dict that is watched ---- */

#if PY_VERSION_HEX >= 0x030C0000
static bool dict_changed = true;
static int dict_watcher = -1;

static int on_dict_event(PyDict_WatchEvent event, PyObject *dict, PyObject *key, PyObject *value)
{
    dict_changed = true;
    return 0;
}

bool compat_dict_changed(PyObject *dict)
{
    if (!dict_changed)
        return false;
    if (dict_watcher < 0) { /* without one (all taken) each call says yes */
        dict_watcher = PyDict_AddWatcher(on_dict_event);
        if (dict_watcher < 0 || PyDict_Watch(dict_watcher, dict) < 0) {
            PyErr_Clear();
            return true;
        }
    }
    dict_changed = false;
    return true;
}
#else
bool compat_dict_changed(PyObject *dict)
{
    static uint64_t seen;
    uint64_t now = ((PyDictObject *)dict)->ma_version_tag;
    bool changed = now != seen;
    seen = now;
    return changed;
}
#endif

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
