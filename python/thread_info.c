/* SPDX-License-Identifier: MIT
 *
 * What a program may ask about threads and the scheduler as a whole (3.4 to
 * 3.7, 3.11, 3.13).  Not here: how threads come by a scheduler (threads.c).
 */
#include "pystackless.h"

int threads_parse_id(PyObject *o, void *out)
{
    int overflow;
    if (!PyLong_Check(o)) {
        PyErr_Format(PyExc_TypeError, "a thread id is an integer, not %s", Py_TYPE(o)->tp_name);
        return 0;
    }
    if (PyLong_AsLongAndOverflow(o, &overflow) == -1 && !overflow)
        *(unsigned long *)out = THREADS_SELF;
    else
        *(unsigned long *)out = PyLong_AsUnsignedLong(o); /* OverflowError if it is negative */
    return !PyErr_Occurred();
}

/* ---- ids ---- */

unsigned long threads_current_id(void)
{
    sl_oworker *w = sl_self();
    PyTasklet *t = w && w->current ? tasklet_of(w->current) : NULL;
    return !t || t->is_main ? PyThread_get_thread_ident() : (unsigned long)(uintptr_t)t;
}

static PyObject *py_getcurrentid(PyObject *module, PyObject *unused)
{
    return PyLong_FromUnsignedLong(threads_current_id());
}

static int add_id(PyObject *ids, unsigned long id)
{
    PyObject *o = PyLong_FromUnsignedLong(id);
    int found = o ? PySequence_Contains(ids, o) : -1;
    int rc = found ? found : id == fe.main_thread_id ? PyList_Insert(ids, 0, o) : PyList_Append(ids, o);
    Py_XDECREF(o);
    return rc < 0 ? -1 : 0;
}

/* No Python code may run in here: states would come and go. */
static int collect_ids(PyObject *ids)
{
    Py_ssize_t n = 0, i = 0;
    PyThreadState *ts;
    for (ts = NULL; (ts = threads_next(ts)) != NULL;)
        n++;
    unsigned long *found = PyMem_Calloc((size_t)n + 1, sizeof *found);
    if (!found) {
        PyErr_NoMemory();
        return -1;
    }
    for (ts = NULL; i < n && (ts = threads_next(ts)) != NULL;)
        if (compat_has_frame(ts))
            found[i++] = ts->thread_id;
    int rc = 0;
    while (rc == 0 && i > 0) /* oldest first */
        rc = add_id(ids, found[--i]);
    PyMem_Free(found);
    return rc;
}

static PyObject *py_getthreads(PyObject *module, PyObject *unused)
{
    PyObject *ids = PyList_New(0);
    if (ids && collect_ids(ids) < 0)
        Py_CLEAR(ids);
    return ids;
}

/* ---- get_thread_info ---- */

enum { INFO_SERIALS = 30, INFO_WATCHDOGS = 31 }; /* bits of its flags */

/* [whose timeout it is or None, *who is inside run()]; None if nobody has been. */
static PyObject *watchdogs_of(scheduler *s)
{
    if (!s->watchdogs)
        Py_RETURN_NONE;
    PyObject *list = PyList_New(1 + s->nwatchdogs);
    if (!list)
        return NULL;
    PyList_SET_ITEM(list, 0, Py_NewRef(s->watch.owner ? (PyObject *)s->watch.owner : Py_None));
    for (int i = 0; i < s->nwatchdogs; i++)
        PyList_SET_ITEM(list, 1 + i, Py_NewRef((PyObject *)s->watchdogs[i]));
    return list;
}

static int append_new(PyObject *list, PyObject *item /* stolen */)
{
    int rc = item ? PyList_Append(list, item) : -1;
    Py_XDECREF(item);
    return rc;
}

static PyObject *describe(scheduler *s, PyTasklet *current, unsigned long flags)
{
    PyObject *list = Py_BuildValue("[OOI]", s->main, current ? (PyObject *)current : Py_None,
                                   sl_olane_count(&s->lane)), *r;
    if (!list)
        return NULL;
    if ((flags >> INFO_SERIALS & 1) && append_new(list, Py_BuildValue("(iiO)", 0, 0, Py_None)) < 0)
        Py_CLEAR(list);
    if (list && (flags >> INFO_WATCHDOGS & 1) && append_new(list, watchdogs_of(s)) < 0)
        Py_CLEAR(list);
    r = list ? PyList_AsTuple(list) : NULL;
    Py_XDECREF(list);
    return r;
}

static PyObject *py_get_thread_info(PyObject *module, PyObject *args)
{
    unsigned long id = THREADS_SELF, flags = 0;
    if (!PyArg_ParseTuple(args, "|O&k:get_thread_info", threads_parse_id, &id, &flags))
        return NULL;
    PyTasklet *t = current_tasklet();
    if (!t)
        return NULL;
    if (id == THREADS_SELF || threads_scheduler(id) == scheduler_of(t))
        return describe(scheduler_of(t), t, flags);
    scheduler *s = PyErr_Occurred() ? NULL : threads_scheduler(id);
    if (!s) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_RuntimeError, "Thread id not found");
        return NULL;
    }
    return describe(s, s->lane.current ? tasklet_of(s->lane.current) : NULL, flags);
}

/* ---- the rest ---- */

static PyObject *py_getdebug(PyObject *module, PyObject *unused)
{
#ifdef Py_DEBUG
    Py_RETURN_TRUE;
#else
    Py_RETURN_FALSE;
#endif
}

static PyObject *py_getuncollectables(PyObject *module, PyObject *unused)
{
    PyObject *list = PyList_New(0);
    for (scheduler *s = fe.schedulers; list && s; s = s->next)
        list = threads_started(s, list);
    return list;
}

static PyObject *py_enable_softswitch(PyObject *module, PyObject *flag)
{
    Py_RETURN_FALSE;
}

static PyMethodDef functions[] = {
    {"getcurrentid", py_getcurrentid, METH_NOARGS,
     "getcurrentid() -> int\n\n"
     "Identifies the running tasklet while it lives: the thread id for a main tasklet, else a\n"
     "number of its own."},
    {"getthreads", py_getthreads, METH_NOARGS,
     "getthreads() -> list\n\n"
     "Ids of the threads that run Python code, the initial one first, the others as they were\n"
     "made. Those that only run tasklets of the initial thread are left out."},
    {"get_thread_info", py_get_thread_info, METH_VARARGS,
     "get_thread_info(thread_id=-1, flags=0) -> (main, current, runcount)\n\n"
     "Of that thread's scheduler (-1: of the calling one's). current is None if nothing is\n"
     "runnable there. RuntimeError: there is no such thread. flags is for tests: bit 30 appends\n"
     "(0, 0, None), bit 31 the list of tasklets inside run(), behind a None."},
    {"getdebug", py_getdebug, METH_NOARGS, "getdebug() -> bool\n\nIs this a debug build of Python?"},
    {"getuncollectables", py_getuncollectables, METH_NOARGS,
     "getuncollectables() -> list\n\n"
     "All suspended tasklets that have started: what only their stacks refer to cannot be\n"
     "found by the garbage collector."},
    {"enable_softswitch", py_enable_softswitch, METH_O,
     "enable_softswitch($module, flag, /)\n--\n\n"
     "For programs written for Stackless Python; does nothing and returns False, since all\n"
     "switches are hard ones here."},
    {NULL},
};

int thread_info_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
