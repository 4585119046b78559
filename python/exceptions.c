/* SPDX-License-Identifier: MIT
 *
 * Bombs (exceptions on their way to another tasklet) and TaskletExit.
 *
 * A bomb keeps (type, value, traceback) as they were given; the instance is
 * made when it explodes, in the tasklet that it hits.
 */
#include "pystackless.h"

#include <structmember.h>

typedef struct {
    PyObject_HEAD
    PyObject *type, *value, *traceback; /* NULL: None */
} bomb;

static bomb *bomb_alloc(PyObject *type, PyObject *value, PyObject *tb)
{
    bomb *b = PyObject_GC_New(bomb, fe.bomb_type);
    if (!b)
        return NULL;
    b->type = Py_XNewRef(type);
    b->value = Py_XNewRef(value);
    b->traceback = Py_XNewRef(tb);
    PyObject_GC_Track(b);
    return b;
}

/* Fetches the current exception with `*type` the instance's own class: before
 * 3.12 an asynchronous one keeps the class that it was raised by. */
static void fetch_normalized(PyObject **type, PyObject **value, PyObject **tb)
{
    PyErr_Fetch(type, value, tb);
    PyErr_NormalizeException(type, value, tb);
    if (*value && PyExceptionInstance_Check(*value))
        Py_XSETREF(*type, Py_NewRef((PyObject *)Py_TYPE(*value)));
}

void normalize_current_exception(void)
{
    PyObject *type, *value, *tb;
    fetch_normalized(&type, &value, &tb);
    PyErr_Restore(type, value, tb);
}

/* When there is no memory: the exception must reach its tasklet in spite of that, and must
 * not stay behind in the state that it was raised in. */
static bomb *spare;

static bomb *take_spare(PyObject *type, PyObject *value, PyObject *tb)
{
    bomb *b = spare;
    spare = NULL;
    PyErr_Clear(); /* of the allocation */
    if (b) {
        b->type = Py_XNewRef(type);
        b->value = Py_XNewRef(value);
        b->traceback = Py_XNewRef(tb);
    } else {
        PyErr_Restore(Py_XNewRef(type), Py_XNewRef(value), Py_XNewRef(tb));
        PyErr_WriteUnraisable(NULL);
    }
    return b;
}

PyObject *bomb_from_error(void)
{
    PyObject *type, *value, *tb;
    fetch_normalized(&type, &value, &tb);
    if (tb && value)
        PyException_SetTraceback(value, tb);
    bomb *b = bomb_alloc(type, value, tb);
    if (!b)
        b = take_spare(type, value, tb);
    else if (!spare && !(spare = bomb_alloc(NULL, NULL, NULL)))
        PyErr_Clear();
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(tb);
    return (PyObject *)b;
}

static PyObject *none_to_null(PyObject *o)
{
    return o == Py_None ? NULL : o;
}

PyObject *bomb_from_args(PyObject *exc, PyObject *value, PyObject *tb)
{
    value = none_to_null(value);
    tb = none_to_null(tb);
    if (tb && !PyTraceBack_Check(tb)) {
        PyErr_SetString(PyExc_TypeError, "third argument must be a traceback object");
        return NULL;
    }
    if (PyExceptionClass_Check(exc))
        return (PyObject *)bomb_alloc(exc, value, tb);
    if (PyExceptionInstance_Check(exc)) {
        if (value) {
            PyErr_SetString(PyExc_TypeError, "instance exception may not have a separate value");
            return NULL;
        }
        return (PyObject *)bomb_alloc(PyExceptionInstance_Class(exc), exc, tb);
    }
    PyErr_Format(PyExc_TypeError, "exceptions must be classes, or instances, not %s", Py_TYPE(exc)->tp_name);
    return NULL;
}

PyObject *bomb_from_class(PyObject *cls, PyObject *args)
{
    return (PyObject *)bomb_alloc(cls, args, NULL);
}

PyObject *bomb_from_call(const char *type, const char *method, PyObject *args)
{
    if (PyTuple_GET_SIZE(args) < 1)
        return PyErr_Format(PyExc_TypeError, "%s() takes at least 1 argument", method);
    PyObject *cls = PyTuple_GET_ITEM(args, 0);
    if (!PyExceptionClass_Check(cls))
        return PyErr_Format(PyExc_TypeError, "%s.%s needs Exception or string subclass as first parameter", type, method);
    PyObject *rest = PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args));
    PyObject *b = rest ? bomb_from_class(cls, rest) : NULL;
    Py_XDECREF(rest);
    return b;
}

bool bomb_is_exit(PyObject *b)
{
    PyObject *type = ((bomb *)b)->type;
    return type && PyExceptionClass_Check(type) && PyObject_IsSubclass(type, fe.tasklet_exit) > 0;
}

bool bomb_carries(PyObject *b, PyObject *instance)
{
    return ((bomb *)b)->value == instance;
}

void bomb_explode(PyObject *self)
{
    bomb *b = (bomb *)self;
    PyObject *type = Py_XNewRef(b->type), *value = Py_XNewRef(b->value), *tb = Py_XNewRef(b->traceback);
    Py_DECREF(self);
    if (!type || !PyExceptionClass_Check(type)) {
        Py_XDECREF(value);
        Py_XDECREF(tb);
        PyErr_Format(PyExc_TypeError, "bomb.type must be an exception class, not %R", type ? type : Py_None);
        Py_XDECREF(type);
        return;
    }
    PyErr_NormalizeException(&type, &value, &tb);
    if (value && PyExceptionInstance_Check(value)) /* from 3.14 on an instance thrown often would collect them all */
        PyException_SetTraceback(value, tb ? tb : Py_None);
    PyErr_Restore(type, value, tb);
}

/* ---- raising asynchronously ---- */

/* CPython raises classes alone asynchronously, by calling them.  Calling one of
 * this metaclass gives the instance that it was made for. */
static PyTypeObject *courier_meta;

static PyObject *courier_call(PyObject *cls, PyObject *args, PyObject *kwargs)
{
    return PyObject_GetAttrString(cls, "instance");
}

static PyType_Slot courier_slots[] = {{Py_tp_base, NULL}, {Py_tp_call, courier_call}, {0, NULL}};
static PyType_Spec courier_spec = {
    .name = "stackless._Courier",
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = courier_slots,
};

PyObject *bomb_async_class(PyObject *self)
{
    bomb *b = (bomb *)self;
    PyObject *type, *value, *tb;
    if (!b->value && !b->traceback && b->type && PyExceptionClass_Check(b->type))
        return Py_NewRef(b->type);
    bomb_explode(Py_NewRef(self));
    fetch_normalized(&type, &value, &tb);
    PyObject *cls = PyObject_CallFunction((PyObject *)courier_meta, "s(O){sO}", Py_TYPE(value)->tp_name,
                                          PyExc_BaseException, "instance", value);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(tb);
    return cls;
}

static int make_courier_meta(void)
{
    courier_slots[0].pfunc = &PyType_Type;
    courier_meta = (PyTypeObject *)PyType_FromSpec(&courier_spec);
    return courier_meta ? 0 : -1;
}

/* ---- the type ---- */

static PyObject *bomb_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"type", "value", "traceback", NULL};
    PyObject *t = NULL, *v = NULL, *tb = NULL, *only = NULL;
    if (PyTuple_GET_SIZE(args) == 1 && PyTuple_Check(PyTuple_GET_ITEM(args, 0)))
        args = only = PyTuple_GET_ITEM(args, 0);
    if (!PyArg_ParseTupleAndKeywords(args, only ? NULL : kwargs, "|OOO:bomb", names, &t, &v, &tb))
        return NULL;
    return (PyObject *)bomb_alloc(t, v, tb);
}

static int bomb_traverse(PyObject *self, visitproc visit, void *arg)
{
    bomb *b = (bomb *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(b->type);
    Py_VISIT(b->value);
    Py_VISIT(b->traceback);
    return 0;
}

static int bomb_clear(PyObject *self)
{
    bomb *b = (bomb *)self;
    Py_CLEAR(b->type);
    Py_CLEAR(b->value);
    Py_CLEAR(b->traceback);
    return 0;
}

static void bomb_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, bomb_dealloc)
    bomb_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static PyObject *bomb_reduce(PyObject *self, PyObject *unused)
{
    bomb *b = (bomb *)self;
    return Py_BuildValue("(O()(OOO))", fe.bomb_type, b->type ? b->type : Py_None,
                         b->value ? b->value : Py_None, Py_None); /* tracebacks do not pickle */
}

static PyObject *bomb_setstate(PyObject *self, PyObject *state)
{
    bomb *b = (bomb *)self;
    PyObject *t, *v, *tb;
    if (!PyTuple_Check(state))
        return PyErr_Format(PyExc_TypeError, "__setstate__() needs a tuple (type, value, traceback), got %R", state);
    if (!PyArg_ParseTuple(state, "OOO:__setstate__", &t, &v, &tb))
        return NULL;
    Py_XSETREF(b->type, Py_NewRef(t));
    Py_XSETREF(b->value, Py_NewRef(v));
    Py_XSETREF(b->traceback, Py_NewRef(tb));
    return Py_NewRef(self);
}

static PyMemberDef bomb_members[] = {
    {"type", T_OBJECT, offsetof(bomb, type), READONLY, "The exception class, or None."},
    {"value", T_OBJECT, offsetof(bomb, value), READONLY, "Its instance or constructor argument, or None."},
    {"traceback", T_OBJECT, offsetof(bomb, traceback), READONLY, "A traceback, or None."},
    {NULL},
};

static PyMethodDef bomb_methods[] = {
    {"__reduce__", bomb_reduce, METH_NOARGS, "Pickle support; the traceback is left out."},
    {"__setstate__", bomb_setstate, METH_O, "Pickle support."},
    {NULL},
};

static PyType_Slot bomb_slots[] = {
    {Py_tp_doc, "bomb(type=None, value=None, traceback=None)\n--\n\n"
                "An exception on its way to another tasklet. A bomb that becomes the tempval of a\n"
                "tasklet, or is sent over a channel, is raised in who receives it. A single tuple\n"
                "argument is unpacked."},
    {Py_tp_new, bomb_new},
    {Py_tp_traverse, bomb_traverse},
    {Py_tp_clear, bomb_clear},
    {Py_tp_dealloc, bomb_dealloc},
    {Py_tp_members, bomb_members},
    {Py_tp_methods, bomb_methods},
    {0, NULL},
};

static PyType_Spec bomb_spec = {
    .name = "stackless.bomb",
    .basicsize = sizeof(bomb),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = bomb_slots,
};

int exceptions_init(PyObject *module)
{
    if (make_courier_meta() < 0)
        return -1;
    fe.bomb_type = (PyTypeObject *)PyType_FromSpec(&bomb_spec);
    fe.tasklet_exit = PyErr_NewExceptionWithDoc(
        "builtins.TaskletExit",
        "Raised in a tasklet to end it. Ends it silently; on a main tasklet it is not\n"
        "caught and ends the thread.",
        PyExc_SystemExit, NULL);
    PyObject *builtins = PyImport_ImportModule("builtins"); /* where programs look for it */
    int rc = -1;
    if (fe.bomb_type && fe.tasklet_exit && builtins)
        rc = PyObject_SetAttrString(builtins, "TaskletExit", fe.tasklet_exit) < 0 ||
                     PyModule_AddObjectRef(module, "TaskletExit", fe.tasklet_exit) < 0 ||
                     PyModule_AddObjectRef(module, "bomb", (PyObject *)fe.bomb_type) < 0
                 ? -1
                 : 0;
    Py_XDECREF(builtins);
    return rc;
}
