/* SPDX-License-Identifier: MIT
 *
 * The C API for other extension modules, the capsule stackless._C_API.  What each
 * function promises is in include/stackless/python.h.  Each checks what it is given
 * and then is what the Python method is; subclasses' methods are not called.
 */
#define PYSTACKLESS_MODULE
#include "pystackless.h"

#include "stackless/python.h"

static int refuse_type(const char *wanted, void *given)
{
    PyErr_Format(PyExc_TypeError, "a %s is needed, got %s", wanted, given ? Py_TYPE((PyObject *)given)->tp_name : "NULL");
    return -1;
}

static PyTasklet *as_tasklet(PyTaskletObject *task)
{
    if (task && is_tasklet((PyObject *)task))
        return (PyTasklet *)task;
    refuse_type("tasklet", task);
    return NULL;
}

static PyChannel *as_channel(PyChannelObject *channel)
{
    if (channel && PyObject_TypeCheck((PyObject *)channel, fe.channel_type))
        return (PyChannel *)channel;
    refuse_type("channel", channel);
    return NULL;
}

/* ---- results (stolen) of Python methods as C's ---- */

static int status(PyObject *result)
{
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static int number(PyObject *result)
{
    long n = result ? PyLong_AsLong(result) : -1;
    Py_XDECREF(result);
    return (int)n;
}

static PyObject *none_to_null(PyObject *result)
{
    if (result != Py_None)
        return result;
    Py_DECREF(result);
    return NULL;
}

/* ---- tasklets ---- */

/* An instance of `type`, NULL: of `base`. */
static PyObject *make(PyTypeObject *type, PyTypeObject *base, PyObject *arg)
{
    if (!type)
        type = base;
    if (!PyType_Check((PyObject *)type) || !PyType_IsSubtype(type, base)) {
        PyErr_Format(PyExc_TypeError, "a subclass of %s is needed, got %R", base->tp_name, type);
        return NULL;
    }
    PyObject *made = arg ? PyObject_CallOneArg((PyObject *)type, arg) : PyObject_CallNoArgs((PyObject *)type);
    if (made && !PyObject_TypeCheck(made, base)) { /* its __new__ returns what it likes */
        refuse_type(base->tp_name, made);
        Py_CLEAR(made);
    }
    return made;
}

static PyTaskletObject *task_new(PyTypeObject *type, PyObject *func)
{
    return (PyTaskletObject *)make(type, fe.tasklet_type, func);
}

static int check_arguments(PyObject *args, PyObject *kwargs)
{
    if (args && !PyTuple_Check(args))
        return refuse_type("tuple of arguments", args);
    if (kwargs && !PyDict_Check(kwargs))
        return refuse_type("dict of keyword arguments", kwargs);
    return 0;
}

static int task_setup(PyTaskletObject *task, PyObject *args, PyObject *kwargs)
{
    PyTasklet *t = as_tasklet(task);
    if (!t || check_arguments(args, kwargs) < 0)
        return -1;
    PyObject *tuple = args ? Py_NewRef(args) : PyTuple_New(0);
    int rc = tuple ? status(tasklet_setup((PyObject *)t, tuple, kwargs)) : -1;
    Py_XDECREF(tuple);
    return rc;
}

static int task_bind(PyTaskletObject *task, PyObject *func, PyObject *args, PyObject *kwargs)
{
    PyTasklet *t = as_tasklet(task);
    return t ? tasklet_bind(t, func, args, kwargs) : -1;
}

static int task_bind_thread(PyTaskletObject *task, unsigned long id)
{
    PyTasklet *t = as_tasklet(task);
    return t ? tasklet_bind_thread(t, id) : -1;
}

static int task_run(PyTaskletObject *task)
{
    PyTasklet *t = as_tasklet(task);
    return t ? status(tasklet_run((PyObject *)t, NULL)) : -1;
}

static int task_switch(PyTaskletObject *task)
{
    PyTasklet *t = as_tasklet(task);
    return t ? status(tasklet_switch((PyObject *)t, NULL)) : -1;
}

static int task_insert(PyTaskletObject *task)
{
    PyTasklet *t = as_tasklet(task);
    return t ? status(tasklet_insert((PyObject *)t, NULL)) : -1;
}

static int task_remove(PyTaskletObject *task)
{
    PyTasklet *t = as_tasklet(task);
    return t ? status(tasklet_remove((PyObject *)t, NULL)) : -1;
}

/* The three parts of an exception; NULL with TypeError. */
static PyObject *bomb_of(PyObject *exc, PyObject *val, PyObject *tb)
{
    if (exc)
        return bomb_from_args(exc, val ? val : Py_None, tb ? tb : Py_None);
    refuse_type("class or an instance of an exception", NULL);
    return NULL;
}

static PyObject *bomb_of_class(PyObject *klass, PyObject *value)
{
    if (klass && PyExceptionClass_Check(klass))
        return bomb_from_class(klass, value);
    refuse_type("class of exceptions", klass);
    return NULL;
}

static int task_throw(PyTaskletObject *task, int pending, PyObject *exc, PyObject *val, PyObject *tb)
{
    PyTasklet *t = as_tasklet(task);
    return t ? status(tasklet_throw_bomb(t, bomb_of(exc, val, tb), pending != 0)) : -1;
}

static int task_raise(PyTaskletObject *task, PyObject *klass, PyObject *args)
{
    PyTasklet *t = as_tasklet(task);
    if (!t || check_arguments(args, NULL) < 0)
        return -1;
    return status(tasklet_throw_bomb(t, bomb_of_class(klass, args), false));
}

static int task_kill_pending(PyTaskletObject *task, int pending)
{
    PyTasklet *t = as_tasklet(task);
    return t ? tasklet_kill(t, pending != 0) : -1;
}

static int task_kill(PyTaskletObject *task)
{
    return task_kill_pending(task, 0);
}

/* ---- attributes of tasklets ---- */

/* int FUNCTION(task) for an expression of `t`. */
#define GET_TASKLET(function, expression) \
    static int function(PyTaskletObject *task) \
    { \
        PyTasklet *t = as_tasklet(task); \
        return t ? (expression) : -1; \
    }

/* The same with a flag, by a method. */
#define SET_FLAG(function, method) \
    static int function(PyTaskletObject *task, int flag) \
    { \
        PyTasklet *t = as_tasklet(task); \
        return t ? number(method((PyObject *)t, flag ? Py_True : Py_False)) : -1; \
    }

GET_TASKLET(task_atomic, t->atomic)
GET_TASKLET(task_ignore_nesting, t->ignore_nesting)
GET_TASKLET(task_block_trap, t->block_trap)
SET_FLAG(task_set_atomic, tasklet_set_atomic)
SET_FLAG(task_set_ignore_nesting, tasklet_set_ignore_nesting)
GET_TASKLET(task_is_main, number(tasklet_is_main((PyObject *)t, NULL)))
GET_TASKLET(task_is_current, tasklet_is_current(t))
GET_TASKLET(task_alive, is_alive(t))
GET_TASKLET(task_paused, number(tasklet_paused((PyObject *)t, NULL)))
GET_TASKLET(task_scheduled, number(tasklet_scheduled((PyObject *)t, NULL)))
GET_TASKLET(task_restorable, number(tasklet_restorable((PyObject *)t, NULL)))
GET_TASKLET(task_recursion_depth, number(tasklet_recursion_depth((PyObject *)t, NULL)))
GET_TASKLET(task_nesting_level, number(tasklet_nesting_level((PyObject *)t, NULL)))

static int task_set_block_trap(PyTaskletObject *task, int flag)
{
    PyTasklet *t = as_tasklet(task);
    if (!t)
        return -1;
    t->block_trap = flag != 0;
    return 0;
}

static PyObject *task_frame(PyTaskletObject *task)
{
    PyTasklet *t = as_tasklet(task);
    PyObject *frame = t ? tasklet_frame((PyObject *)t, NULL) : NULL;
    return frame ? none_to_null(frame) : NULL;
}

/* ---- channels ---- */

static PyChannelObject *chan_new(PyTypeObject *type)
{
    return (PyChannelObject *)make(type, fe.channel_type, NULL);
}

/* `value` is stolen, NULL for None.  A blocked call holds its channel. */
static PyObject *operate(PyChannel *c, PyObject *value, int dir)
{
    PyTasklet *t = enter();
    if (!t) {
        Py_XDECREF(value);
        return NULL;
    }
    Py_INCREF(c);
    PyObject *result = channel_operate(c, t, value, dir, SL_NEVER);
    Py_DECREF(c);
    return result;
}

static int chan_send(PyChannelObject *channel, PyObject *value)
{
    PyChannel *c = as_channel(channel);
    if (!c)
        return -1;
    if (!value)
        return refuse_type("value", NULL);
    return status(operate(c, value == Py_None ? NULL : Py_NewRef(value), +1));
}

static PyObject *chan_receive(PyChannelObject *channel)
{
    PyChannel *c = as_channel(channel);
    return c ? operate(c, NULL, -1) : NULL;
}

static int send_bomb(PyChannelObject *channel, PyObject *bomb)
{
    PyChannel *c = bomb ? as_channel(channel) : NULL;
    if (c)
        return status(operate(c, bomb, +1));
    Py_XDECREF(bomb);
    return -1;
}

static int chan_send_exception(PyChannelObject *channel, PyObject *klass, PyObject *value)
{
    return send_bomb(channel, bomb_of_class(klass, value));
}

static int chan_send_throw(PyChannelObject *channel, PyObject *exc, PyObject *val, PyObject *tb)
{
    return send_bomb(channel, bomb_of(exc, val, tb));
}

static PyObject *chan_queue(PyChannelObject *channel)
{
    PyChannel *c = as_channel(channel);
    return c && c->head ? Py_NewRef((PyObject *)tasklet_of(c->head)) : NULL;
}

#define GET_CHANNEL(function, expression) \
    static int function(PyChannelObject *channel) \
    { \
        PyChannel *c = as_channel(channel); \
        return c ? (expression) : -1; \
    }

/* int FUNCTION(channel, value) */
#define SET_CHANNEL(function, field, expression) \
    static int function(PyChannelObject *channel, int value) \
    { \
        PyChannel *c = as_channel(channel); \
        if (!c) \
            return -1; \
        c->field = (expression); \
        return 0; \
    }

SET_CHANNEL(chan_set_closing, closing, value != 0)
GET_CHANNEL(chan_closing, c->closing)
GET_CHANNEL(chan_closed, channel_is_closed(c))
GET_CHANNEL(chan_preference, c->preference)
SET_CHANNEL(chan_set_preference, preference, value > 0 ? 1 : value < 0 ? -1 : 0)
GET_CHANNEL(chan_schedule_all, c->schedule_all)
SET_CHANNEL(chan_set_schedule_all, schedule_all, value != 0)
GET_CHANNEL(chan_balance, (int)c->balance)

static int chan_close(PyChannelObject *channel)
{
    return chan_set_closing(channel, 1);
}

static int chan_open(PyChannelObject *channel)
{
    return chan_set_closing(channel, 0);
}

/* ---- scheduling ---- */

static PyObject *schedule(PyObject *retval, int remove)
{
    PyTasklet *t = enter();
    return t ? schedule_common(t, retval, remove != 0) : NULL;
}

static int run_count(void)
{
    PyTasklet *t = current_tasklet();
    return t ? (int)sl_olane_count(t->base.lane) : -1;
}

static PyObject *current(void)
{
    return Py_XNewRef((PyObject *)current_tasklet());
}

static PyObject *run_watchdog(long timeout, int flags)
{
    const int known = PY_WATCHDOG_THREADBLOCK | PY_WATCHDOG_SOFT | PY_WATCHDOG_IGNORE_NESTING | PY_WATCHDOG_TOTALTIMEOUT;
    if (flags & ~known) {
        PyErr_Format(PyExc_ValueError, "unknown watchdog flags: 0x%x", flags & ~known);
        return NULL;
    }
    run_limits limits = {
        .timeout = timeout,
        .threadblock = flags & PY_WATCHDOG_THREADBLOCK,
        .soft = flags & PY_WATCHDOG_SOFT,
        .ignore_nesting = flags & PY_WATCHDOG_IGNORE_NESTING,
        .total = flags & PY_WATCHDOG_TOTALTIMEOUT,
    };
    PyTasklet *t = enter();
    return t ? run_loop(t, &limits) : NULL;
}

static int set_schedule_callback(PyObject *callback)
{
    return status(callbacks_set_schedule(NULL, callback ? callback : Py_None));
}

static int set_channel_callback(PyObject *callback)
{
    return status(callbacks_set_channel(NULL, callback ? callback : Py_None));
}

/* ---- the capsule ---- */

static PyStackless_Functions functions = {
    .version = PYSTACKLESS_VERSION,
    .size = sizeof functions,
    .PyTasklet_New = task_new,
    .PyTasklet_Setup = task_setup,
    .PyTasklet_BindEx = task_bind,
    .PyTasklet_BindThread = task_bind_thread,
    .PyTasklet_Run = task_run,
    .PyTasklet_Switch = task_switch,
    .PyTasklet_Insert = task_insert,
    .PyTasklet_Remove = task_remove,
    .PyTasklet_Throw = task_throw,
    .PyTasklet_RaiseException = task_raise,
    .PyTasklet_Kill = task_kill,
    .PyTasklet_KillEx = task_kill_pending,
    .PyTasklet_GetAtomic = task_atomic,
    .PyTasklet_SetAtomic = task_set_atomic,
    .PyTasklet_GetIgnoreNesting = task_ignore_nesting,
    .PyTasklet_SetIgnoreNesting = task_set_ignore_nesting,
    .PyTasklet_GetBlockTrap = task_block_trap,
    .PyTasklet_SetBlockTrap = task_set_block_trap,
    .PyTasklet_IsMain = task_is_main,
    .PyTasklet_IsCurrent = task_is_current,
    .PyTasklet_Alive = task_alive,
    .PyTasklet_Paused = task_paused,
    .PyTasklet_Scheduled = task_scheduled,
    .PyTasklet_Restorable = task_restorable,
    .PyTasklet_GetRecursionDepth = task_recursion_depth,
    .PyTasklet_GetNestingLevel = task_nesting_level,
    .PyTasklet_GetFrame = task_frame,
    .PyChannel_New = chan_new,
    .PyChannel_Send = chan_send,
    .PyChannel_Receive = chan_receive,
    .PyChannel_SendException = chan_send_exception,
    .PyChannel_SendThrow = chan_send_throw,
    .PyChannel_GetQueue = chan_queue,
    .PyChannel_Close = chan_close,
    .PyChannel_Open = chan_open,
    .PyChannel_GetClosing = chan_closing,
    .PyChannel_GetClosed = chan_closed,
    .PyChannel_GetPreference = chan_preference,
    .PyChannel_SetPreference = chan_set_preference,
    .PyChannel_GetScheduleAll = chan_schedule_all,
    .PyChannel_SetScheduleAll = chan_set_schedule_all,
    .PyChannel_GetBalance = chan_balance,
    .PyStackless_Schedule = schedule,
    .PyStackless_GetRunCount = run_count,
    .PyStackless_GetCurrent = current,
    .PyStackless_GetCurrentId = threads_current_id,
    .PyStackless_RunWatchdogEx = run_watchdog,
    .PyStackless_SetScheduleCallback = set_schedule_callback,
    .PyStackless_SetChannelCallback = set_channel_callback,
};

int capi_init(PyObject *module)
{
    functions.tasklet_type = fe.tasklet_type;
    functions.channel_type = fe.channel_type;
    PyObject *capsule = PyCapsule_New(&functions, "stackless._C_API", NULL);
    int rc = capsule ? PyModule_AddObjectRef(module, "_C_API", capsule) : -1;
    Py_XDECREF(capsule);
    return rc;
}
