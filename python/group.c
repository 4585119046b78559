/* SPDX-License-Identifier: MIT
 *
 * What TaskletGroup and its Tasks (stackless/_group.py) need of the extension.
 *
 * The end of a task and the end of a group's block must be carried out whatever is
 * raised meanwhile: by a signal handler, or in a stray by a kill, between any two
 * instructions of Python code.  So they begin here, and are repeated until they have
 * been gone through.
 */
#include "pystackless.h"

enum { ATTEMPTS = 10 }; /* each is spoiled by an exception that comes from outside */

/* ---- a Task is told its outcome ---- */

static PyObject *take_exception(void)
{
    PyObject *type, *value, *tb;
    normalize_current_exception();
    PyErr_Fetch(&type, &value, &tb);
    if (tb && value)
        PyException_SetTraceback(value, tb);
    Py_XDECREF(type);
    Py_XDECREF(tb);
    return value;
}

/* What has been thrown at it too late: a kill has nothing left to do, anything else
 * must not be lost. */
static PyObject *take_late(void)
{
    PyObject *late = take_exception();
    if (late && PyObject_TypeCheck(late, (PyTypeObject *)fe.tasklet_exit))
        Py_CLEAR(late);
    return late;
}

/* Calls t._end(result, exception, late).  First a stray gets into the lane, where
 * nothing is raised in it between two instructions any more but by a signal. */
void group_tell(PyTasklet *t, PyObject *result /* stolen; NULL: the current exception */)
{
    if (t->rare)
        exits_forget(t); /* it has ended, and did not swallow that */
    if (!result && !PyErr_ExceptionMatches(fe.tasklet_exit))
        names_note(t);
    PyObject *exception = result ? Py_NewRef(Py_None) : take_exception();
    PyObject *late = enter() ? NULL : take_late(), *done = NULL;
    if (!result)
        result = Py_NewRef(Py_None);
    for (int i = 0; i < ATTEMPTS && !done; i++) {
        done = PyObject_CallMethod((PyObject *)t, "_end", "OOO", result, exception, late ? late : Py_None);
        if (!done)
            Py_XSETREF(late, take_late());
    }
    if (!done) {
        PyErr_SetString(PyExc_RuntimeError, "a Task could not report its end");
        PyErr_WriteUnraisable((PyObject *)t);
    }
    Py_XDECREF(done);
    Py_XDECREF(late);
    Py_DECREF(exception);
    Py_DECREF(result);
}

/* ---- interrupting ---- */

static PyObject *py_watch(PyObject *module, PyObject *tasklet)
{
    if (!is_tasklet(tasklet))
        return PyErr_Format(PyExc_TypeError, "needs a tasklet, got %R", tasklet);
    ((PyTasklet *)tasklet)->watched = true;
    Py_RETURN_NONE;
}

/* Raises `exception` in the tasklet where it waits, or at its next scheduling point;
 * in a stray too, where throw() would raise it between any two instructions. */
static PyObject *py_interrupt(PyObject *module, PyObject *args)
{
    PyTasklet *t;
    PyObject *exception;
    if (!PyArg_ParseTuple(args, "O!O:_interrupt", fe.tasklet_type, &t, &exception))
        return NULL;
    if (!is_alive(t) || (t->tempval && is_bomb(t->tempval)))
        Py_RETURN_FALSE; /* another exception is on its way */
    PyObject *bomb = bomb_from_args(exception, Py_None, Py_None);
    if (!bomb)
        return NULL;
    plant(t, bomb);
    Py_RETURN_TRUE;
}

/* Takes that back from the calling tasklet if it has not been raised. */
static PyObject *py_defuse(PyObject *module, PyObject *exception)
{
    PyTasklet *t = current_tasklet();
    if (!t)
        return NULL;
    if (t->tempval && is_bomb(t->tempval) && bomb_carries(t->tempval, exception))
        set_tempval(t, NULL);
    Py_RETURN_NONE;
}

/* ---- the end of a block ---- */

/* __exit__: calls self._exit(exception, late), which returns what __exit__ returns or
 * an exception to raise; first a stray gets into the lane. */
static PyObject *block_exit(PyObject *self, PyObject *args)
{
    PyObject *type, *value, *tb, *verdict = NULL;
    if (!PyArg_ParseTuple(args, "OOO:__exit__", &type, &value, &tb))
        return NULL;
    PyObject *late = enter() ? NULL : take_exception();
    for (int i = 0; i < ATTEMPTS && !verdict; i++) {
        verdict = PyObject_CallMethod(self, "_exit", "OO", value, late ? late : Py_None);
        if (!verdict)
            Py_XSETREF(late, take_exception());
    }
    if (!verdict) {
        PyErr_Restore(Py_NewRef(Py_TYPE(late)), late, PyException_GetTraceback(late));
        return NULL;
    }
    Py_XDECREF(late);
    if (PyObject_SetAttrString(self, "_verdict", Py_None) < 0)
        PyErr_Clear();
    if (!PyExceptionInstance_Check(verdict))
        return verdict;
    PyErr_SetObject((PyObject *)Py_TYPE(verdict), verdict);
    Py_DECREF(verdict);
    return NULL;
}

static PyMethodDef block_methods[] = {
    {"__exit__", block_exit, METH_VARARGS, "Waits for all tasklets of the group; raises what they raised."},
    {NULL},
};

static PyType_Slot block_slots[] = {
    {Py_tp_doc, "What stackless.TaskletGroup is made of."},
    {Py_tp_methods, block_methods},
    {0, NULL},
};

static PyType_Spec block_spec = {
    .name = "stackless._stackless._Block",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = block_slots,
};

static PyMethodDef functions[] = {
    {"_interrupt", py_interrupt, METH_VARARGS, "_interrupt(tasklet, exception) -> bool"},
    {"_watch", py_watch, METH_O, "_watch(tasklet): its method _end(result, exception, late) will be called"},
    {"_defuse", py_defuse, METH_O, "_defuse(exception)"},
    {NULL},
};

int group_init(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&block_spec);
    return type && PyModule_AddObjectRef(module, "_Block", type) == 0 ? PyModule_AddFunctions(module, functions) : -1;
}
