/* SPDX-License-Identifier: MIT
 *
 * _Descriptor: the hot socket operations of stackless.socket.
 *
 * Each tries the system call without blocking and with the GIL held, and parks
 * the tasklet on the poller only after EAGAIN.  What has no hot path (accept,
 * connect, recvmsg ...) is in stackless/socket.py, on top of wait().
 */
#include "pystackless.h"

#include <errno.h>
#include <math.h>
#include <structmember.h>
#include <sys/socket.h>

typedef struct {
    PyObject_HEAD
    int fd;             /* -1: forgotten */
    sl_fd *record;      /* in `np`, while epoch is current */
    sl_netpoll *np;
    uint64_t epoch;
    double timeout;     /* seconds; negative: none; 0: do not wait */
} descriptor;

/* Parks until `events`: 1 ready, -1 with an exception (also for a time-out). */
static int wait_ready(descriptor *d, uint32_t events, int64_t *deadline)
{
    if (d->timeout == 0) {
        errno = EAGAIN;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    if (*deadline < 0)
        *deadline = d->timeout < 0 ? SL_NEVER
                                   : sl_deadline_after(sl_now(), (int64_t)ceil(d->timeout * 1e9));
    PyTasklet *t = enter();
    if (!t)
        return -1;
    sl_netpoll *np;
    int rc = sl_lane_netpoll(t->base.lane, &np);
    if (rc == 0 && (d->np != np || d->epoch != fe.epoch)) {
        rc = sl_netpoll_open(np, d->fd, &d->record);
        d->np = np;
        d->epoch = fe.epoch;
    }
    if (rc < 0) {
        d->np = NULL;
        PyErr_Format(PyExc_OSError, "cannot wait for descriptor %d: %s", d->fd, sl_strerror(rc));
        return -1;
    }
    rc = wait_fd(t, d->record, events, *deadline);
    if (rc == 0)
        PyErr_SetString(PyExc_TimeoutError, "timed out");
    return rc > 0 ? 1 : -1;
}

/* After a failed call: 1 try again, -1 with an exception. */
static int failed(descriptor *d, uint32_t events, int64_t *deadline)
{
    if (errno == EINTR)
        return PyErr_CheckSignals() < 0 ? -1 : 1;
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return wait_ready(d, events, deadline);
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

static Py_ssize_t receive(descriptor *d, void *buffer, size_t size, int flags)
{
    int64_t deadline = -1;
    for (;;) {
        ssize_t n = recv(d->fd, buffer, size, flags | MSG_DONTWAIT);
        if (n >= 0)
            return n;
        if (failed(d, SL_READ, &deadline) < 0)
            return -1;
    }
}

static Py_ssize_t transmit(descriptor *d, const char *data, size_t size, int flags, int64_t *deadline)
{
    for (;;) {
        ssize_t n = send(d->fd, data, size, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0)
            return n;
        if (failed(d, SL_WRITE, deadline) < 0)
            return -1;
    }
}

static PyObject *descriptor_recv(PyObject *self, PyObject *args)
{
    Py_ssize_t size;
    int flags = 0;
    if (!PyArg_ParseTuple(args, "n|i:recv", &size, &flags))
        return NULL;
    if (size < 0) {
        PyErr_SetString(PyExc_ValueError, "negative buffersize in recv");
        return NULL;
    }
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);
    if (!bytes)
        return NULL;
    Py_ssize_t n = receive((descriptor *)self, PyBytes_AS_STRING(bytes), (size_t)size, flags);
    if (n < 0)
        Py_CLEAR(bytes);
    else if (n != size)
        _PyBytes_Resize(&bytes, n);
    return bytes;
}

static PyObject *descriptor_recv_into(PyObject *self, PyObject *args)
{
    Py_buffer view;
    Py_ssize_t size = 0;
    int flags = 0;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "w*|ni:recv_into", &view, &size, &flags))
        return NULL;
    if (size < 0)
        PyErr_SetString(PyExc_ValueError, "negative buffersize in recv_into");
    else if (size > view.len)
        PyErr_SetString(PyExc_ValueError, "buffer too small for requested bytes");
    else {
        Py_ssize_t n = receive((descriptor *)self, view.buf, (size_t)(size ? size : view.len), flags);
        result = n < 0 ? NULL : PyLong_FromSsize_t(n);
    }
    PyBuffer_Release(&view);
    return result;
}

static PyObject *descriptor_send(PyObject *self, PyObject *args)
{
    Py_buffer view;
    int flags = 0;
    int64_t deadline = -1;
    if (!PyArg_ParseTuple(args, "y*|i:send", &view, &flags))
        return NULL;
    Py_ssize_t n = transmit((descriptor *)self, view.buf, (size_t)view.len, flags, &deadline);
    PyBuffer_Release(&view);
    return n < 0 ? NULL : PyLong_FromSsize_t(n);
}

static PyObject *descriptor_sendall(PyObject *self, PyObject *args)
{
    Py_buffer view;
    int flags = 0;
    int64_t deadline = -1; /* one for the whole */
    if (!PyArg_ParseTuple(args, "y*|i:sendall", &view, &flags))
        return NULL;
    Py_ssize_t done = 0, n = 0;
    do
        n = transmit((descriptor *)self, (char *)view.buf + done, (size_t)(view.len - done), flags, &deadline);
    while (n >= 0 && (done += n) < view.len);
    PyBuffer_Release(&view);
    if (n < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *descriptor_wait(PyObject *self, PyObject *args)
{
    unsigned int events;
    int64_t deadline = -1;
    if (!PyArg_ParseTuple(args, "I:wait", &events))
        return NULL;
    if (!events || events & ~(SL_READ | SL_WRITE)) {
        PyErr_Format(PyExc_ValueError, "events must be READ, WRITE or both, got %u", events);
        return NULL;
    }
    if (wait_ready((descriptor *)self, events, &deadline) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *descriptor_forget(PyObject *self, PyObject *unused)
{
    descriptor *d = (descriptor *)self;
    for (scheduler *s = fe.schedulers; s && d->fd >= 0; s = s->next)
        if (s->lane.netpoll)
            sl_netpoll_close(s->lane.netpoll, d->fd);
    d->fd = -1;
    d->np = NULL;
    Py_RETURN_NONE;
}

static PyObject *get_timeout(PyObject *self, void *unused)
{
    double timeout = ((descriptor *)self)->timeout;
    if (timeout < 0)
        Py_RETURN_NONE;
    return PyFloat_FromDouble(timeout);
}

static int set_timeout(PyObject *self, PyObject *value, void *unused)
{
    double timeout = -1;
    if (value && value != Py_None) {
        timeout = PyFloat_AsDouble(value);
        if (timeout == -1.0 && PyErr_Occurred())
            return -1;
        if (!(timeout >= 0)) {
            PyErr_SetString(PyExc_ValueError, "Timeout value out of range");
            return -1;
        }
        timeout = timeout > 9e9 ? 9e9 : timeout;
    }
    ((descriptor *)self)->timeout = timeout;
    return 0;
}

static PyObject *descriptor_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    int fd;
    if (!PyArg_ParseTuple(args, "i:_Descriptor", &fd))
        return NULL;
    descriptor *d = (descriptor *)type->tp_alloc(type, 0);
    if (d) {
        d->fd = fd;
        d->timeout = -1;
    }
    return (PyObject *)d;
}

static void descriptor_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef descriptor_methods[] = {
    {"recv", descriptor_recv, METH_VARARGS, "recv(bufsize, flags=0) -> bytes"},
    {"recv_into", descriptor_recv_into, METH_VARARGS, "recv_into(buffer, nbytes=0, flags=0) -> int"},
    {"send", descriptor_send, METH_VARARGS, "send(data, flags=0) -> int"},
    {"sendall", descriptor_sendall, METH_VARARGS, "sendall(data, flags=0) -> None"},
    {"wait", descriptor_wait, METH_VARARGS,
     "wait(events) -> None\n\n"
     "Parks the tasklet until an edge of events, after a try that said EAGAIN. TimeoutError\n"
     "after the timeout, BlockingIOError when that is 0."},
    {"forget", descriptor_forget, METH_NOARGS,
     "forget() -> None\n\nBefore close(): wakes who waits for the descriptor with OSError."},
    {NULL},
};

static PyGetSetDef descriptor_getset[] = {
    {"timeout", get_timeout, set_timeout, "Seconds for each operation, None: no limit, 0: never wait.", NULL},
    {NULL},
};

static PyMemberDef descriptor_members[] = {
    {"fd", T_INT, offsetof(descriptor, fd), READONLY, "The descriptor, -1 when forgotten."},
    {NULL},
};

static PyType_Slot descriptor_slots[] = {
    {Py_tp_doc, "_Descriptor(fd)\n--\n\nCooperative operations on a socket's descriptor, which it does not own."},
    {Py_tp_new, descriptor_new},
    {Py_tp_dealloc, descriptor_dealloc},
    {Py_tp_methods, descriptor_methods},
    {Py_tp_getset, descriptor_getset},
    {Py_tp_members, descriptor_members},
    {0, NULL},
};

static PyType_Spec descriptor_spec = {
    .name = "stackless._Descriptor",
    .basicsize = sizeof(descriptor),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = descriptor_slots,
};

int descriptor_init_type(PyObject *module)
{
    fe.descriptor_type = (PyTypeObject *)PyType_FromSpec(&descriptor_spec);
    if (!fe.descriptor_type)
        return -1;
    return PyModule_AddObjectRef(module, "_Descriptor", (PyObject *)fe.descriptor_type);
}
