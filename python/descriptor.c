/* SPDX-License-Identifier: MIT
 *
 * _Descriptor: the hot socket operations of stackless.socket.
 *
 * Each tries the system call without blocking and with the GIL held, and parks
 * the tasklet on the poller only after EAGAIN.  What has no hot path (accept,
 * connect, recvmsg ...) is in stackless/socket.py, on top of wait().
 *
 * Between a try that said EAGAIN and the wait no other tasklet may run: it
 * could take the edge that this one needs.  So where one may (a stray that
 * queues for the lane), the try is repeated.
 *
 * After a wait the tasklet may be on another OS thread, and compilers keep the
 * address of errno for a whole function.  So errno is only touched in functions
 * that do not wait and are not inlined (NO_SWITCH).
 */
#include "pystackless.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <netinet/in.h>
#include <structmember.h>
#include <sys/socket.h>

typedef struct {
    PyObject_HEAD
    int fd;             /* -1: forgotten */
    sl_fd *record;      /* in `np`, while epoch is current */
    sl_netpoll *np;
    uint64_t epoch;
    double timeout;     /* seconds; negative: none; 0: do not wait */
    bool tcp;
    bool drained;       /* the last receive took all there was; see receive() */
} descriptor;

/* Receives of up to this size pass through one buffer: nothing is allocated
 * for a try that fails, or kept while a tasklet is parked.  Guarded by the GIL,
 * which is not dropped between receiving and copying. */
static char scratch[64 * 1024];

#define NO_SWITCH __attribute__((noinline))

NO_SWITCH static int failed_with(int error)
{
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* The record in the poller of t's lane, or NULL with an exception.  */
static sl_fd *record_for(descriptor *d, PyTasklet *t)
{
    sl_netpoll *np;
    int rc = sl_olane_netpoll(t->base.lane, &np);
    if (rc == 0 && d->np == np && d->epoch == fe.epoch)
        return d->record;
    if (rc == 0)
        rc = sl_netpoll_open(np, d->fd, &d->record);
    d->np = rc == 0 ? np : NULL;
    d->epoch = fe.epoch;
    if (rc == 0)
        return d->record;
    if (rc == SL_EPOLL)
        PyErr_SetFromErrno(PyExc_OSError);
    else
        PyErr_Format(PyExc_OSError, "cannot wait for descriptor %d: %s", d->fd, sl_strerror(rc));
    return NULL;
}

/* Parks until `events`: 1 try again, -1 with an exception (also for a
 * time-out).  `*deadline` is one for the whole operation, negative at first. */
static int wait_ready(descriptor *d, uint32_t events, int64_t *deadline)
{
    if (d->timeout == 0)
        return failed_with(EAGAIN);
    if (*deadline < 0)
        *deadline = d->timeout < 0 ? SL_NEVER
                                   : sl_deadline_after(sl_now(), (int64_t)ceil(d->timeout * 1e9));
    sl_oworker *w = sl_self();
    bool lets_others = w && w->current && (!w->lane || tasklet_of(w->current)->tempval);
    PyTasklet *t = enter_to_wait();
    if (!t)
        return -1;
    if (lets_others)
        return 1; /* others have run meanwhile */
    sl_fd *record = record_for(d, t);
    if (!record)
        return -1;
    int rc = wait_fd(t, record, events, *deadline);
    if (rc > 0)
        return 1;
    if (rc == 0)
        PyErr_SetString(PyExc_TimeoutError, "timed out");
    else if (d->fd < 0 && PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear();
        failed_with(EBADF); /* closed while we waited */
    }
    return -1;
}

/* After a call that failed with -`error`: 1 try again, -1 with an exception. */
static int failed(descriptor *d, ssize_t error, uint32_t events, int64_t *deadline)
{
    if (error == -EINTR)
        return PyErr_CheckSignals() < 0 ? -1 : 1;
    if (error == -EAGAIN || error == -EWOULDBLOCK)
        return wait_ready(d, events, deadline);
    return failed_with((int)-error);
}

NO_SWITCH static ssize_t try_recv(int fd, void *buffer, size_t size, int flags)
{
    ssize_t n = recv(fd, buffer, size, flags | MSG_DONTWAIT);
    return n < 0 ? -errno : n;
}

NO_SWITCH static ssize_t try_send(int fd, const void *data, size_t size, int flags)
{
    ssize_t n = send(fd, data, size, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

/* A TCP receive that got less than it asked for has emptied the socket, so
 * whatever comes next is an edge, and the next receive need not try first.
 * Not so at the end of the stream, whose edge may have been the data's. */
static void note_drained(descriptor *d, size_t size, ssize_t n)
{
    sl_oworker *w = sl_self();
    bool registered = d->np && d->epoch == fe.epoch && w && w->lane && w->lane->netpoll == d->np;
    d->drained = d->tcp && registered && n > 0 && (size_t)n < size && !d->record->ended;
}

static Py_ssize_t receive(descriptor *d, void *buffer, size_t size, int flags)
{
    int64_t deadline = -1;
    if (d->drained && !flags && d->timeout != 0) {
        d->drained = false;
        if (wait_ready(d, SL_READ, &deadline) < 0)
            return -1;
    }
    for (;;) {
        ssize_t n = try_recv(d->fd, buffer, size, flags);
        if (n >= 0) {
            if (!flags)
                note_drained(d, size, n);
            return n;
        }
        if (failed(d, n, SL_READ, &deadline) < 0)
            return -1;
    }
}

static Py_ssize_t transmit(descriptor *d, const char *data, size_t size, int flags, int64_t *deadline)
{
    for (;;) {
        ssize_t n = try_send(d->fd, data, size, flags);
        if (n >= 0)
            return n;
        if (failed(d, n, SL_WRITE, deadline) < 0)
            return -1;
    }
}

/* ---- arguments ---- */

static int check_count(const char *name, Py_ssize_t n, Py_ssize_t most)
{
    if (n >= 1 && n <= most)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s() takes 1 to %zd arguments (%zd given)", name, most, n);
    return -1;
}

/* Argument `i`, an int of C's; 0 if it was left out.  -1 with an exception. */
static int flags_argument(PyObject *const *args, Py_ssize_t n, Py_ssize_t i, int *out)
{
    *out = 0;
    if (i >= n)
        return 0;
    Py_ssize_t value = PyNumber_AsSsize_t(args[i], PyExc_OverflowError);
    if (value == -1 && PyErr_Occurred())
        return -1;
    if (value < INT_MIN || value > INT_MAX) {
        PyErr_SetString(PyExc_OverflowError, "flags do not fit in a C int");
        return -1;
    }
    *out = (int)value;
    return 0;
}

static int size_argument(PyObject *o, const char *name, Py_ssize_t *out)
{
    *out = PyNumber_AsSsize_t(o, PyExc_OverflowError);
    if (*out == -1 && PyErr_Occurred())
        return -1;
    if (*out >= 0)
        return 0;
    PyErr_Format(PyExc_ValueError, "negative buffersize in %s", name);
    return -1;
}

/* ---- operations ---- */

static PyObject *receive_small(descriptor *d, size_t size, int flags)
{
    Py_ssize_t n = receive(d, scratch, size, flags);
    if (n < 0)
        return NULL;
    /* MSG_TRUNC reports what there was rather than what fitted. */
    return PyBytes_FromStringAndSize(scratch, n < (Py_ssize_t)size ? n : (Py_ssize_t)size);
}

static PyObject *receive_big(descriptor *d, Py_ssize_t size, int flags)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);
    if (!bytes)
        return NULL;
    Py_ssize_t n = receive(d, PyBytes_AS_STRING(bytes), (size_t)size, flags);
    if (n < 0)
        Py_CLEAR(bytes);
    else if (n < size)
        _PyBytes_Resize(&bytes, n);
    return bytes;
}

static PyObject *descriptor_recv(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    Py_ssize_t size;
    int flags;
    if (check_count("recv", n, 2) < 0 || size_argument(args[0], "recv", &size) < 0 ||
        flags_argument(args, n, 1, &flags) < 0)
        return NULL;
    descriptor *d = (descriptor *)self;
    return size <= (Py_ssize_t)sizeof scratch ? receive_small(d, (size_t)size, flags)
                                              : receive_big(d, size, flags);
}

static PyObject *descriptor_recv_into(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    Py_buffer view;
    Py_ssize_t size = 0;
    int flags;
    if (check_count("recv_into", n, 3) < 0 ||
        (n > 1 && size_argument(args[1], "recv_into", &size) < 0) ||
        flags_argument(args, n, 2, &flags) < 0 || PyObject_GetBuffer(args[0], &view, PyBUF_WRITABLE) < 0)
        return NULL;
    Py_ssize_t got = -1;
    if (size > view.len)
        PyErr_SetString(PyExc_ValueError, "buffer too small for requested bytes");
    else
        got = receive((descriptor *)self, view.buf, (size_t)(size ? size : view.len), flags);
    PyBuffer_Release(&view);
    return got < 0 ? NULL : PyLong_FromSsize_t(got);
}

static PyObject *descriptor_send(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    Py_buffer view;
    int flags;
    int64_t deadline = -1;
    if (check_count("send", n, 2) < 0 || flags_argument(args, n, 1, &flags) < 0 ||
        PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) < 0)
        return NULL;
    Py_ssize_t sent = transmit((descriptor *)self, view.buf, (size_t)view.len, flags, &deadline);
    PyBuffer_Release(&view);
    return sent < 0 ? NULL : PyLong_FromSsize_t(sent);
}

static PyObject *descriptor_sendall(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    Py_buffer view;
    int flags;
    int64_t deadline = -1; /* one for the whole */
    if (check_count("sendall", n, 2) < 0 || flags_argument(args, n, 1, &flags) < 0 ||
        PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) < 0)
        return NULL;
    Py_ssize_t done = 0, sent = 0;
    do
        sent = transmit((descriptor *)self, (char *)view.buf + done, (size_t)(view.len - done), flags, &deadline);
    while (sent >= 0 && (done += sent) < view.len);
    PyBuffer_Release(&view);
    if (sent < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *descriptor_wait(PyObject *self, PyObject *args)
{
    unsigned int events;
    long long given = -1;
    if (!PyArg_ParseTuple(args, "I|L:wait", &events, &given))
        return NULL;
    if (!events || events & ~(SL_READ | SL_WRITE)) {
        PyErr_Format(PyExc_ValueError, "events must be READ, WRITE or both, got %u", events);
        return NULL;
    }
    int64_t deadline = given;
    if (wait_ready((descriptor *)self, events, &deadline) < 0)
        return NULL;
    return PyLong_FromLongLong(deadline);
}

static PyObject *descriptor_forget(PyObject *self, PyObject *unused)
{
    descriptor *d = (descriptor *)self;
    for (scheduler *s = fe.schedulers; s && d->fd >= 0; s = s->next)
        if (s->lane.netpoll)
            sl_netpoll_close(s->lane.netpoll, d->fd);
    d->fd = -1;
    d->np = NULL;
    d->drained = false;
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
    if (((descriptor *)self)->fd < 0)
        return failed_with(EBADF); /* as a setting of the descriptor's would */
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
        int protocol = 0;
        socklen_t length = sizeof protocol;
        d->tcp = getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) == 0 && protocol == IPPROTO_TCP;
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

#define FAST(function) (PyCFunction)(void (*)(void))function, METH_FASTCALL

static PyMethodDef descriptor_methods[] = {
    {"recv", FAST(descriptor_recv), "recv(bufsize, flags=0) -> bytes"},
    {"recv_into", FAST(descriptor_recv_into), "recv_into(buffer, nbytes=0, flags=0) -> int"},
    {"send", FAST(descriptor_send), "send(data, flags=0) -> int"},
    {"sendall", FAST(descriptor_sendall), "sendall(data, flags=0) -> None"},
    {"wait", descriptor_wait, METH_VARARGS,
     "wait(events, deadline=-1) -> deadline\n\n"
     "After a try that said EAGAIN: parks the tasklet until an edge of events; now and then\n"
     "for nothing. The result goes into the next wait of the same operation. TimeoutError\n"
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
