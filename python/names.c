/* SPDX-License-Identifier: MIT
 *
 * How a tasklet is recognised: its name, where it was made, its repr, and the
 * note on an exception that leaves it.
 *
 * Making a tasklet only keeps the code object and the offset in it; text is
 * made when somebody asks.
 */
#include "pystackless.h"

/* An exception that keeps passing through tasklets does not grow beyond this. */
enum { NOTES_MOST = 8 };

static PyObject *str_add_note, *str_notes, *str_qualname, *str_package;

rarities *tasklet_rare(PyTasklet *t)
{
    if (!t->rare && !(t->rare = PyMem_Calloc(1, sizeof *t->rare)))
        PyErr_NoMemory();
    return t->rare;
}

static bool is_of_the_package(PyFrameObject *f)
{
    PyObject *globals = PyFrame_GetGlobals(f);
    PyObject *name = PyDict_GetItemString(globals, "__name__"); /* borrowed */
    bool yes = name && PyUnicode_Check(name) && PyUnicode_Tailmatch(name, str_package, 0, PY_SSIZE_T_MAX, -1) > 0;
    Py_DECREF(globals);
    return yes;
}

/* Where the caller of the package is, for the tasklets that the package makes. */
static void born_outside(PyTasklet *t)
{
    PyFrameObject *f = PyThreadState_GetFrame(PyThreadState_Get());
    while (f && is_of_the_package(f)) {
        PyFrameObject *back = PyFrame_GetBack(f);
        Py_DECREF(f);
        f = back;
    }
    if (!f)
        return;
    t->born_in = PyFrame_GetCode(f);
    t->born_at = PyFrame_GetLasti(f);
    Py_DECREF(f);
}

void names_born(PyTasklet *t)
{
    if (Py_TYPE(t) != fe.tasklet_type)
        born_outside(t);
    if (!t->born_in)
        t->born_in = compat_running_code(PyThreadState_Get(), &t->born_at);
}

/* ---- name and place ---- */

static PyObject *name_of_callable(PyObject *func)
{
    Py_INCREF(func); /* Python code may run, and unbind it */
    PyObject *name = PyObject_GetAttr(func, str_qualname);
    if (!name || !PyUnicode_Check(name)) { /* functools.partial and other instances */
        PyErr_Clear();
        Py_XSETREF(name, PyUnicode_FromString(Py_TYPE(func)->tp_name));
    }
    Py_DECREF(func);
    return name;
}

PyObject *names_get(PyTasklet *t)
{
    if (t->rare && t->rare->name)
        return Py_NewRef(t->rare->name);
    if (t->is_main)
        return PyUnicode_FromString("main");
    if (t->func)
        return name_of_callable(t->func);
    if (t->execution == EXEC_NONE && t->tempval && PyCallable_Check(t->tempval))
        return name_of_callable(t->tempval);
    return PyUnicode_FromString("");
}

PyObject *names_place(PyTasklet *t)
{
    if (!t->born_in)
        Py_RETURN_NONE;
    int line = PyCode_Addr2Line(t->born_in, t->born_at);
    return PyUnicode_FromFormat("%U:%d", t->born_in->co_filename, line);
}

PyObject *names_get_attr(PyObject *self, void *unused)
{
    return names_get((PyTasklet *)self);
}

int names_set_attr(PyObject *self, PyObject *value, void *unused)
{
    if (value && !PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "name must be a string, not %s", Py_TYPE(value)->tp_name);
        return -1;
    }
    rarities *rare = tasklet_rare((PyTasklet *)self);
    if (!rare)
        return -1;
    Py_XSETREF(rare->name, Py_XNewRef(value));
    return 0;
}

PyObject *names_created_at(PyObject *self, void *unused)
{
    return names_place((PyTasklet *)self);
}

/* ---- repr ---- */

static const char *state(PyTasklet *t)
{
    if (!is_alive(t))
        return t->tempval && PyCallable_Check(t->tempval) ? "bound" : "dead";
    if (t->base.place == SL_STRAY)
        return "in a call to the system";
    if (tasklet_is_current(t))
        return "running";
    switch (t->base.place) {
    case SL_IN_QUEUE:
        return t->blocked > 0 ? "sending" : "receiving";
    case SL_IN_WAIT:
        return "waiting";
    case SL_NOWHERE:
        return "paused";
    default:
        return "scheduled";
    }
}

PyObject *names_repr(PyObject *self)
{
    PyTasklet *t = (PyTasklet *)self;
    PyObject *name = names_get(t), *place = name ? names_place(t) : NULL, *text = NULL;
    if (place && place != Py_None)
        text = PyUnicode_FromFormat("<%s object at %p: %R, %s, created at %U>", Py_TYPE(self)->tp_name, self, name,
                                    state(t), place);
    else if (place)
        text = PyUnicode_FromFormat("<%s object at %p: %R, %s>", Py_TYPE(self)->tp_name, self, name, state(t));
    Py_XDECREF(name);
    Py_XDECREF(place);
    return text;
}

/* ---- the note ---- */

static PyObject *note_text(PyTasklet *t)
{
    PyObject *name = names_get(t), *place = name ? names_place(t) : NULL, *text = NULL;
    if (place && place != Py_None)
        text = PyUnicode_FromFormat("raised in tasklet %R, created at %U", name, place);
    Py_XDECREF(name);
    Py_XDECREF(place);
    return text;
}

/* False also for one that has it already, or has many. */
static bool wants_note(PyObject *exception, PyObject *text)
{
    PyObject *notes = PyObject_GetAttr(exception, str_notes);
    bool yes = !notes || !PyList_Check(notes) ||
               (PyList_GET_SIZE(notes) < NOTES_MOST && PySequence_Contains(notes, text) == 0);
    PyErr_Clear();
    Py_XDECREF(notes);
    return yes;
}

void names_note(PyTasklet *t)
{
    PyObject *type, *value, *tb, *r = NULL;
    PyErr_Fetch(&type, &value, &tb);
    PyErr_NormalizeException(&type, &value, &tb);
    PyObject *text = note_text(t);
    if (text && wants_note(value, text))
        r = PyObject_CallMethodOneArg(value, str_add_note, text);
    Py_XDECREF(r);
    Py_XDECREF(text);
    PyErr_Clear(); /* an exception without a note is better than another one */
    PyErr_Restore(type, value, tb);
}

int names_init(void)
{
    str_add_note = PyUnicode_InternFromString("add_note");
    str_notes = PyUnicode_InternFromString("__notes__");
    str_qualname = PyUnicode_InternFromString("__qualname__");
    str_package = PyUnicode_InternFromString("stackless.");
    return str_add_note && str_notes && str_qualname && str_package ? 0 : -1;
}
