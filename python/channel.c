/* SPDX-License-Identifier: MIT
 *
 * Channels: Stackless's rules (specification, section 5) on a FIFO of blocked
 * tasklets; a buffer and the arms of select() (select.c) beside it.  Not here: the
 * type and its methods (channel_type.c).  Guarded by the GIL.  A queue's membership holds the reference that the ring
 * held before.
 *
 * Invariants between operations: while a value is buffered no receiver waits;
 * while there is room in the buffer no sender waits.  The two sides wait at once
 * only as arms of one select().
 */
#include "pystackless.h"

/* ---- the queue ---- */

void channel_enqueue(PyChannel *c, PyTasklet *t, int dir)
{
    sl_otasklet *b = &t->base;
    b->next = NULL;
    b->prev = c->tail;
    *(c->tail ? &c->tail->next : &c->head) = b;
    c->tail = b;
    b->place = SL_IN_QUEUE;
    t->arrival = c->arrivals++;
    t->blocked = (int8_t)dir;
    t->channel = c;
    c->balance += dir;
}

void channel_remove(PyChannel *c, PyTasklet *t)
{
    sl_otasklet *b = &t->base;
    *(b->prev ? &b->prev->next : &c->head) = b->next;
    *(b->next ? &b->next->prev : &c->tail) = b->prev;
    b->next = b->prev = NULL;
    b->place = SL_NOWHERE;
    c->balance -= t->blocked;
    t->blocked = 0;
    t->channel = NULL;
}

/* ---- the buffer ---- */

static void put(PyChannel *c, PyObject *value)
{
    Py_ssize_t i = c->first + c->count++;
    c->buffer[i < c->capacity ? i : i - c->capacity] = value;
}

/* ---- the operation (5.1) ---- */

/* Who goes on when two have met. */
enum course { CALLER, PARTNER, NEXT, REFUSED };

static inline enum course course_of(PyChannel *c, PyTasklet *t, PyTasklet *p, int dir)
{
    if (scheduler_of(p) != scheduler_of(t)) {
        if (!scheduler_of(p)->dead)
            return CALLER;
        PyErr_SetString(PyExc_RuntimeError, "tasklet has no thread");
        return REFUSED;
    }
    enum course course = c->schedule_all ? NEXT : c->preference == -dir ? PARTNER : CALLER;
    return course != CALLER && trapped(t) ? REFUSED : course;
}

/* `p`, whose reference the caller has, and `t` find in their tempvals what they get. */
static inline PyObject *go_on(PyTasklet *t, PyTasklet *p, enum course course)
{
    p->delivered = true;
    if (course == PARTNER) {
        sl_olane_append_next(p->base.lane, &p->base);
        return switch_to_partner(t, p);
    }
    sl_olane_append(p->base.lane, &p->base);
    if (course == NEXT)
        return switch_to(t, tasklet_of(t->base.next));
    return take_tempval(t);
}

/* Meets the first in the queue. */
static inline PyObject *exchange(PyChannel *c, PyTasklet *t, PyObject *value, int dir)
{
    PyTasklet *p = tasklet_of(c->head);
    enum course course = course_of(c, t, p, dir);
    if (course == REFUSED) {
        Py_XDECREF(value);
        return NULL;
    }
    channel_remove(c, p);
    PyObject *old = t->tempval;
    t->tempval = p->tempval;
    p->tempval = value;
    if (__builtin_expect(old != NULL, 0))
        return release_after(go_on(t, p, course), old);
    return go_on(t, p, course);
}

/* The same where there may be a buffer, or arms: false if `t` has to wait. */
static __attribute__((noinline)) bool operate_beside(PyChannel *c, PyTasklet *t, PyObject *value, int dir, PyObject **result)
{
    uint64_t arrival;
    PyTasklet *arm = select_peek(c, dir, &arrival), *p = c->balance * dir < 0 ? tasklet_of(c->head) : NULL;
    bool by_arm = arm && (!p || arrival < p->arrival);
    if (by_arm)
        p = arm;
    bool buffered = dir > 0 ? !p && c->count < c->capacity && !c->closing : c->count > 0;
    if (!p && !buffered)
        return false;
    enum course course = p ? course_of(c, t, p, dir) : CALLER;
    *result = NULL;
    if (course == REFUSED) {
        Py_XDECREF(value);
        return true;
    }
    if (p && by_arm)
        select_win(c, dir);
    else if (p)
        channel_remove(c, p);
    PyObject *old = t->tempval;
    if (buffered && dir > 0) {
        t->tempval = NULL;
        put(c, value);
    } else if (buffered) {
        t->tempval = channel_take(c);
        if (p)
            put(c, p->tempval); /* the next sender's value takes the place */
    } else {
        t->tempval = p->tempval;
    }
    if (p)
        p->tempval = value;
    *result = p ? go_on(t, p, course) : take_tempval(t);
    if (old)
        release_after(*result, old);
    return true;
}

static PyObject *refuse(PyObject *type, const char *text, PyObject *value)
{
    Py_XDECREF(value);
    PyErr_SetString(type, text);
    return NULL;
}

PyObject *channel_refuse_closed(void)
{
    return refuse(PyExc_ValueError, "Send/receive operation on a closed channel", NULL);
}

/* In the middle of a switch perhaps, so nothing is released here. */
static void channel_wait_over(sl_timer *timer)
{
    pywait *w = container(pywait, timer, timer);
    PyTasklet *t = w->tasklet;
    if (t->base.place != SL_IN_QUEUE || t->wait != w)
        return; /* served, and about to run */
    w->timed_out = true;
    w->unsent = t->tempval;
    t->tempval = NULL;
    make_runnable(t);
}

static inline PyObject *block(PyChannel *c, PyTasklet *t, PyObject *value, int dir)
{
    t->tempval = value;
    sl_olane_unlink(t->base.lane, &t->base);
    channel_enqueue(c, t, dir);
    return switch_to(t, NULL);
}

static PyObject *time_is_over(int dir)
{
    return refuse(PyExc_TimeoutError, dir > 0 ? "nobody received within the timeout" : "nobody sent within the timeout",
                  NULL);
}

static __attribute__((noinline)) PyObject *block_until(PyChannel *c, PyTasklet *t, PyObject *value, int dir, int64_t deadline)
{
    pywait w = {.tasklet = t};
    if (deadline <= sl_now()) {
        Py_XDECREF(value);
        return time_is_over(dir);
    }
    if (wait_arm(t, &w, deadline, channel_wait_over) < 0) {
        Py_XDECREF(value);
        return NULL;
    }
    t->wait = &w;
    sl_olane_watch(t->base.lane);
    PyObject *v = block(c, t, value, dir);
    t->wait = NULL;
    sl_timers_remove(&t->base.lane->timers, &w.timer);
    Py_XDECREF(w.unsent);
    if (!v || !w.timed_out)
        return v;
    Py_DECREF(v);
    return time_is_over(dir);
}

/* Nobody is there to meet: is it an error to wait?  Then the value is gone. */
static inline bool must_not_wait(PyChannel *c, PyTasklet *t, PyObject *value)
{
    if (__builtin_expect(!t->block_trap && !c->closing && !trapped(t), 1))
        return false;
    if (t->block_trap)
        PyErr_SetString(PyExc_RuntimeError, "this tasklet does not like to be blocked.");
    else if (c->closing)
        channel_refuse_closed();
    Py_XDECREF(value);
    return true;
}

/* enter() has refused; within a callback the text is another. */
static __attribute__((noinline)) PyObject *not_entered(PyObject *value)
{
    PyTasklet *t = current_tasklet();
    if (t && callback_runs(t))
        return refuse(PyExc_RuntimeError, "Recursive channel call due to callbacks!", value);
    Py_XDECREF(value);
    return NULL;
}

/* `t` would wait, but it has a tempval, whose finalizer may change all that. */
static __attribute__((noinline)) PyObject *operate_again(PyChannel *c, PyObject *value, int dir, int64_t deadline)
{
    PyTasklet *t = enter_to_wait();
    return t ? channel_operate(c, t, value, dir, deadline) : not_entered(value);
}

PyObject *channel_operate(PyChannel *c, PyTasklet *t, PyObject *value, int dir, int64_t deadline)
{
    PyObject *result;
    if (fe.channel_callback && callback_channel(c, t, &value, dir) < 0)
        return NULL;
    if (c->beside && operate_beside(c, t, value, dir, &result))
        return result;
    if (!c->beside && c->balance * dir < 0)
        return exchange(c, t, value, dir);
    if (deadline == CHANNEL_NOW) {
        Py_XDECREF(value);
        return NULL;
    }
    if (must_not_wait(c, t, value))
        return NULL;
    if (t->tempval)
        return operate_again(c, value, dir, deadline);
    return deadline == SL_NEVER ? block(c, t, value, dir) : block_until(c, t, value, dir, deadline);
}

/* The usual case.  No local variable has its address taken, so all these calls are
 * jumps: after a switch the processor mispredicts each return (a fifth of a message). */
__attribute__((noinline)) PyObject *channel_perform(PyObject *self, PyObject *value, int dir)
{
    PyChannel *c = (PyChannel *)self;
    PyTasklet *t = enter();
    if (__builtin_expect(!t, 0))
        return not_entered(value);
    if (__builtin_expect(c->beside || fe.channel_callback, 0))
        return channel_operate(c, t, value, dir, SL_NEVER);
    if (c->balance * dir < 0)
        return exchange(c, t, value, dir);
    if (must_not_wait(c, t, value))
        return NULL;
    if (__builtin_expect(t->tempval != NULL, 0))
        return operate_again(c, value, dir, SL_NEVER);
    return block(c, t, value, dir);
}

PyObject *channel_perform_until(PyObject *self, PyObject *value, int dir, int64_t deadline)
{
    PyTasklet *t = enter();
    return t ? channel_operate((PyChannel *)self, t, value, dir, deadline) : not_entered(value);
}

bool channel_ready(const PyChannel *c, int dir)
{
    uint64_t unused;
    if (c->balance * dir < 0 || select_peek(c, dir, &unused))
        return true;
    return dir > 0 ? c->count < c->capacity && !c->closing : c->count > 0;
}
