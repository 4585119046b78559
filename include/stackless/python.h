/* SPDX-License-Identifier: MIT
 *
 * Tasklets and channels for extension modules of Python, with the names of Stackless
 * Python's C API.  Nothing is linked: the functions are those of the installed package
 * `stackless`, reached through a capsule.  stackless.get_include() is the directory to
 * compile with; docs/c-api.md is the guide.  C11 or C++11, gcc or clang.
 *
 * Call PyStackless_Import() where the module is initialised and fail if it does.  Before
 * that every other function here ends the process with a message.
 *
 * Everywhere: the caller holds the GIL and references to what it passes, and what is
 * returned is a new reference.  -1 or NULL means that an exception is set; for the few
 * results that may be -1 or NULL otherwise, PyErr_Occurred() tells.  An argument of another
 * type is a TypeError.  The comments say what a call may do to its caller:
 *
 *   (stays)     nobody else runs in it, but what Python code that it calls does: a subclass's
 *               methods, a finalizer
 *   (switches)  other tasklets may run before it returns, for any time.  Where the calling
 *               tasklet has just been blocked in the system it waits for its turn first
 *   (blocks)    as above, and it returns only when another tasklet or thread does its part
 *
 * After (switches) and (blocks) the calling tasklet may be on another OS thread: its own
 * thread state is still attached, but what has been kept of thread-local variables, errno
 * included, is of the old thread.  Both may fail with what another tasklet has thrown at
 * this one.  No lock may be held across them that other tasklets take without switching.
 */
#ifndef STACKLESS_PYTHON_H
#define STACKLESS_PYTHON_H

#include <Python.h>

/* Objects of stackless.tasklet and stackless.channel or of subclasses; cast them to
 * PyObject * at will. */
typedef struct PyTaskletObject PyTaskletObject;
typedef struct PyChannelObject PyChannelObject;

/* Changes when what is below changes its meaning; a module of another version is refused.
 * New functions are added at the end of the structure, whose size tells. */
#define PYSTACKLESS_VERSION 1

/* Of PyStackless_RunWatchdogEx(), any of them together. */
enum {
    PY_WATCHDOG_THREADBLOCK = 1,    /* wait for other threads before saying that nothing is left */
    PY_WATCHDOG_SOFT = 2,           /* at the end of the time wait for the next switch */
    PY_WATCHDOG_IGNORE_NESTING = 4, /* interrupt below calls from C too */
    PY_WATCHDOG_TOTALTIMEOUT = 8,   /* the time is for all tasklets together */
};

/* What the capsule stackless._C_API points to.  Call these by the names below. */
typedef struct PyStackless_Functions {
    unsigned version; /* PYSTACKLESS_VERSION of the module */
    unsigned size;    /* of the module's own structure: the longer, the newer */

    PyTypeObject *tasklet_type, *channel_type;

    /* ---- tasklets ---- */

    /* type(func); type NULL: stackless.tasklet, else a subclass of it; func NULL: nothing is
     * bound yet.  (stays) */
    PyTaskletObject *(*PyTasklet_New)(PyTypeObject *type, PyObject *func);
    /* Gives the bound function its arguments and puts the tasklet at the end of the ring;
     * args a tuple or NULL, kwargs a dict or NULL.  RuntimeError if it is alive or nothing
     * is bound.  (stays) */
    int (*PyTasklet_Setup)(PyTaskletObject *task, PyObject *args, PyObject *kwargs);
    /* task.bind(): func, args and kwargs may be NULL; without args and kwargs it is not made
     * alive.  One that had started is killed first, if it is paused and restorable: (switches),
     * else (stays).  RuntimeError while it is scheduled or has other C code on its stack. */
    int (*PyTasklet_BindEx)(PyTaskletObject *task, PyObject *func, PyObject *args, PyObject *kwargs);
    /* Makes it belong to a thread, (unsigned long)-1: the calling one.  RuntimeError if it is
     * runnable or has started, ValueError if there is no such thread.  (stays) */
    int (*PyTasklet_BindThread)(PyTaskletObject *task, unsigned long thread_id);
    /* Runs it now; the caller keeps its place in the ring.  One of another thread is put next
     * there.  RuntimeError if it is blocked or dead.  (switches) */
    int (*PyTasklet_Run)(PyTaskletObject *task);
    /* The same, but the caller leaves the ring: somebody has to insert it.  RuntimeError for
     * one of another thread.  (blocks) */
    int (*PyTasklet_Switch)(PyTaskletObject *task);
    /* At the end of the ring, unless it is in there.  RuntimeError if it is blocked or dead.
     * (stays) */
    int (*PyTasklet_Insert)(PyTaskletObject *task);
    /* Out of the ring, if it is in there: it is paused.  RuntimeError if it is blocked or
     * current.  (stays) */
    int (*PyTasklet_Remove)(PyTaskletObject *task);
    /* Raises exc (a class, or an instance and no val) in it; val and tb may be NULL.  pending:
     * when its turn comes, (stays); else now, (switches).  Raised in the caller, so -1, if that
     * is its own tasklet.  RuntimeError if it is dead. */
    int (*PyTasklet_Throw)(PyTaskletObject *task, int pending, PyObject *exc, PyObject *val, PyObject *tb);
    /* Raises klass(*args) in it; args a tuple or NULL.  (switches) */
    int (*PyTasklet_RaiseException)(PyTaskletObject *task, PyObject *klass, PyObject *args);
    /* Raises TaskletExit in it; nothing if it is dead.  (switches) */
    int (*PyTasklet_Kill)(PyTaskletObject *task);
    /* The same, with pending when its turn comes: (stays). */
    int (*PyTasklet_KillEx)(PyTaskletObject *task, int pending);

    /* Flags, 0 or 1.  The setters take any number but 0 for 1; those of the first two return
     * the old value, the third returns 0.  (stays), but a change that lets a timeout of run()
     * interrupt the caller at last (switches). */
    int (*PyTasklet_GetAtomic)(PyTaskletObject *task);
    int (*PyTasklet_SetAtomic)(PyTaskletObject *task, int flag);
    int (*PyTasklet_GetIgnoreNesting)(PyTaskletObject *task);
    int (*PyTasklet_SetIgnoreNesting)(PyTaskletObject *task, int flag);
    int (*PyTasklet_GetBlockTrap)(PyTaskletObject *task);
    int (*PyTasklet_SetBlockTrap)(PyTaskletObject *task, int flag);

    /* The attributes is_main, is_current, alive, paused, scheduled and restorable: 0 or 1.
     * recursion_depth and nesting_level.  (stays) */
    int (*PyTasklet_IsMain)(PyTaskletObject *task);
    int (*PyTasklet_IsCurrent)(PyTaskletObject *task);
    int (*PyTasklet_Alive)(PyTaskletObject *task);
    int (*PyTasklet_Paused)(PyTaskletObject *task);
    int (*PyTasklet_Scheduled)(PyTaskletObject *task);
    int (*PyTasklet_Restorable)(PyTaskletObject *task);
    int (*PyTasklet_GetRecursionDepth)(PyTaskletObject *task);
    int (*PyTasklet_GetNestingLevel)(PyTaskletObject *task);
    /* Its topmost frame; NULL without an exception if it has not started or has ended.
     * (stays) */
    PyObject *(*PyTasklet_GetFrame)(PyTaskletObject *task);

    /* ---- channels ---- */

    /* type NULL: stackless.channel, else a subclass of it.  (stays) */
    PyChannelObject *(*PyChannel_New)(PyTypeObject *type);
    /* Hands over one value.  With nobody at the other side (blocks), else (switches) as the
     * channel's preference says.  ValueError if it would block and the channel is closing;
     * RuntimeError on a deadlock. */
    int (*PyChannel_Send)(PyChannelObject *channel, PyObject *value);
    PyObject *(*PyChannel_Receive)(PyChannelObject *channel);
    /* As PyChannel_Send(), but the receiver raises: klass(value), klass(*value) for a tuple,
     * klass() for NULL;  exc as in PyTasklet_Throw(). */
    int (*PyChannel_SendException)(PyChannelObject *channel, PyObject *klass, PyObject *value);
    int (*PyChannel_SendThrow)(PyChannelObject *channel, PyObject *exc, PyObject *val, PyObject *tb);
    /* The first tasklet that waits; NULL without an exception if none does.  (stays) */
    PyObject *(*PyChannel_GetQueue)(PyChannelObject *channel);
    /* From now on operations that would block are ValueErrors, or not.  Wakes nobody.  (stays) */
    int (*PyChannel_Close)(PyChannelObject *channel);
    int (*PyChannel_Open)(PyChannelObject *channel);
    /* The attributes closing and closed: 0 or 1.  (stays) */
    int (*PyChannel_GetClosing)(PyChannelObject *channel);
    int (*PyChannel_GetClosed)(PyChannelObject *channel);
    /* -1, 0 or 1: the receiver, the caller or the sender goes on; set by its sign.  (stays) */
    int (*PyChannel_GetPreference)(PyChannelObject *channel);
    int (*PyChannel_SetPreference)(PyChannelObject *channel, int preference);
    /* 0 or 1.  (stays) */
    int (*PyChannel_GetScheduleAll)(PyChannelObject *channel);
    int (*PyChannel_SetScheduleAll)(PyChannelObject *channel, int flag);
    /* How many wait: > 0 senders, < 0 receivers.  (stays) */
    int (*PyChannel_GetBalance)(PyChannelObject *channel);

    /* ---- scheduling ---- */

    /* Lets the next tasklet run; NULL: retval is the calling tasklet.  Returns retval, unless
     * somebody has set the caller's tempval.  (switches); with remove the caller leaves the
     * ring and somebody has to insert it: (blocks). */
    PyObject *(*PyStackless_Schedule)(PyObject *retval, int remove);
    /* Of the calling thread: how many tasklets are runnable, the caller included.  (stays) */
    int (*PyStackless_GetRunCount)(void);
    /* The running tasklet.  (stays) */
    PyObject *(*PyStackless_GetCurrent)(void);
    /* stackless.getcurrentid(); never fails.  (stays) */
    unsigned long (*PyStackless_GetCurrentId)(void);
    /* stackless.run(): None when no tasklet is left to run; what one of them did not catch is
     * raised here.  timeout in units of run(timeout), 0: none; the tasklet that it interrupted
     * is returned, paused, but with PY_WATCHDOG_SOFT.  (blocks) */
    PyObject *(*PyStackless_RunWatchdogEx)(long timeout, int flags);
    /* stackless.set_schedule_callback() and set_channel_callback(); NULL removes it.  TypeError if
     * it cannot be called.  (stays) */
    int (*PyStackless_SetScheduleCallback)(PyObject *callback);
    int (*PyStackless_SetChannelCallback)(PyObject *callback);
} PyStackless_Functions;

#ifndef PYSTACKLESS_MODULE /* which stackless itself defines */

/* One for all files of an extension module. */
#ifdef __cplusplus
extern "C" {
#endif
extern const PyStackless_Functions *PyStackless_API;
__attribute__((weak, visibility("hidden"))) const PyStackless_Functions *PyStackless_API = NULL;
#ifdef __cplusplus
}
#endif

/* Imports stackless.  0, or -1 with ImportError: it is not installed or cannot work in this
 * interpreter, or is not one that this extension was compiled for.  Again and again: no harm. */
static inline int PyStackless_Import(void)
{
    PyObject *module = PyImport_ImportModule("stackless"), *capsule;
    const PyStackless_Functions *api;
    if (!module)
        return -1;
    capsule = PyObject_GetAttrString(module, "_C_API");
    if (!capsule)
        PyErr_Format(PyExc_ImportError, "%R has no C API: an extension needs stackless-mn", module);
    Py_DECREF(module);
    if (!capsule)
        return -1;
    api = (const PyStackless_Functions *)PyCapsule_GetPointer(capsule, "stackless._C_API");
    Py_DECREF(capsule); /* the functions stay */
    if (!api)
        return -1;
    if (api->version != PYSTACKLESS_VERSION || api->size < sizeof *api) {
        PyErr_Format(PyExc_ImportError,
                     "an extension was compiled for version %u of stackless's C API, %u bytes long; installed is "
                     "version %u, %u bytes: compile it again or install the stackless that it was compiled for",
                     (unsigned)PYSTACKLESS_VERSION, (unsigned)sizeof *api, api->version, api->size);
        return -1;
    }
    PyStackless_API = api;
    return 0;
}

static inline const PyStackless_Functions *PyStackless_Get(void)
{
    if (!PyStackless_API)
        Py_FatalError("an extension uses stackless's C API before PyStackless_Import()");
    return PyStackless_API;
}

#define PyTasklet_Type (*PyStackless_Get()->tasklet_type)
#define PyTasklet_Check(o) PyObject_TypeCheck((PyObject *)(o), &PyTasklet_Type)
#define PyTasklet_CheckExact(o) (Py_TYPE((PyObject *)(o)) == &PyTasklet_Type)
#define PyTasklet_New (PyStackless_Get()->PyTasklet_New)
#define PyTasklet_Setup (PyStackless_Get()->PyTasklet_Setup)
#define PyTasklet_BindEx (PyStackless_Get()->PyTasklet_BindEx)
#define PyTasklet_BindThread (PyStackless_Get()->PyTasklet_BindThread)
#define PyTasklet_Run (PyStackless_Get()->PyTasklet_Run)
#define PyTasklet_Switch (PyStackless_Get()->PyTasklet_Switch)
#define PyTasklet_Insert (PyStackless_Get()->PyTasklet_Insert)
#define PyTasklet_Remove (PyStackless_Get()->PyTasklet_Remove)
#define PyTasklet_Throw (PyStackless_Get()->PyTasklet_Throw)
#define PyTasklet_RaiseException (PyStackless_Get()->PyTasklet_RaiseException)
#define PyTasklet_Kill (PyStackless_Get()->PyTasklet_Kill)
#define PyTasklet_KillEx (PyStackless_Get()->PyTasklet_KillEx)
#define PyTasklet_GetAtomic (PyStackless_Get()->PyTasklet_GetAtomic)
#define PyTasklet_SetAtomic (PyStackless_Get()->PyTasklet_SetAtomic)
#define PyTasklet_GetIgnoreNesting (PyStackless_Get()->PyTasklet_GetIgnoreNesting)
#define PyTasklet_SetIgnoreNesting (PyStackless_Get()->PyTasklet_SetIgnoreNesting)
#define PyTasklet_GetBlockTrap (PyStackless_Get()->PyTasklet_GetBlockTrap)
#define PyTasklet_SetBlockTrap (PyStackless_Get()->PyTasklet_SetBlockTrap)
#define PyTasklet_IsMain (PyStackless_Get()->PyTasklet_IsMain)
#define PyTasklet_IsCurrent (PyStackless_Get()->PyTasklet_IsCurrent)
#define PyTasklet_Alive (PyStackless_Get()->PyTasklet_Alive)
#define PyTasklet_Paused (PyStackless_Get()->PyTasklet_Paused)
#define PyTasklet_Scheduled (PyStackless_Get()->PyTasklet_Scheduled)
#define PyTasklet_Restorable (PyStackless_Get()->PyTasklet_Restorable)
#define PyTasklet_GetRecursionDepth (PyStackless_Get()->PyTasklet_GetRecursionDepth)
#define PyTasklet_GetNestingLevel (PyStackless_Get()->PyTasklet_GetNestingLevel)
#define PyTasklet_GetFrame (PyStackless_Get()->PyTasklet_GetFrame)

#define PyChannel_Type (*PyStackless_Get()->channel_type)
#define PyChannel_Check(o) PyObject_TypeCheck((PyObject *)(o), &PyChannel_Type)
#define PyChannel_CheckExact(o) (Py_TYPE((PyObject *)(o)) == &PyChannel_Type)
#define PyChannel_New (PyStackless_Get()->PyChannel_New)
#define PyChannel_Send (PyStackless_Get()->PyChannel_Send)
#define PyChannel_Receive (PyStackless_Get()->PyChannel_Receive)
#define PyChannel_SendException (PyStackless_Get()->PyChannel_SendException)
#define PyChannel_SendThrow (PyStackless_Get()->PyChannel_SendThrow)
#define PyChannel_GetQueue (PyStackless_Get()->PyChannel_GetQueue)
#define PyChannel_Close (PyStackless_Get()->PyChannel_Close)
#define PyChannel_Open (PyStackless_Get()->PyChannel_Open)
#define PyChannel_GetClosing (PyStackless_Get()->PyChannel_GetClosing)
#define PyChannel_GetClosed (PyStackless_Get()->PyChannel_GetClosed)
#define PyChannel_GetPreference (PyStackless_Get()->PyChannel_GetPreference)
#define PyChannel_SetPreference (PyStackless_Get()->PyChannel_SetPreference)
#define PyChannel_GetScheduleAll (PyStackless_Get()->PyChannel_GetScheduleAll)
#define PyChannel_SetScheduleAll (PyStackless_Get()->PyChannel_SetScheduleAll)
#define PyChannel_GetBalance (PyStackless_Get()->PyChannel_GetBalance)

#define PyStackless_Schedule (PyStackless_Get()->PyStackless_Schedule)
#define PyStackless_GetRunCount (PyStackless_Get()->PyStackless_GetRunCount)
#define PyStackless_GetCurrent (PyStackless_Get()->PyStackless_GetCurrent)
#define PyStackless_GetCurrentId (PyStackless_Get()->PyStackless_GetCurrentId)
#define PyStackless_RunWatchdogEx (PyStackless_Get()->PyStackless_RunWatchdogEx)
#define PyStackless_SetScheduleCallback (PyStackless_Get()->PyStackless_SetScheduleCallback)
#define PyStackless_SetChannelCallback (PyStackless_Get()->PyStackless_SetChannelCallback)
#define PyStackless_RunWatchdog(timeout) PyStackless_RunWatchdogEx((timeout), 0)

/* For sources written for Stackless Python.  Every thread has a main tasklet here, and no
 * switch is a soft one, so these are the plain calls. */
#define PyTasklet_Run_nr PyTasklet_Run
#define PyTasklet_Switch_nr PyTasklet_Switch
#define PyChannel_Send_nr PyChannel_Send
#define PyChannel_Receive_nr PyChannel_Receive
#define PyStackless_Schedule_nr PyStackless_Schedule
#define PyStackless_Call_Main PyObject_Call
#define PyStackless_CallMethod_Main PyObject_CallMethod

#endif /* !PYSTACKLESS_MODULE */
#endif
