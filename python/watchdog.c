/* SPDX-License-Identifier: MIT
 *
 * run(): the stack of watchdogs, and the timeout of the outermost timed run
 * (specification, 3.1 and 8).  Time slices (STACKLESS_TIMESLICE), which interrupt in
 * the same places.  Not here: how those are found and instructions counted (ticks.c).
 *
 * Invariant: while watch.owner is set it is on the stack of watchdogs, which
 * holds it, and scheduler.chores counts one for it, so that each landing and
 * each leaving is looked at.
 */
#include "pystackless.h"

/* ---- the stack ---- */

static int push_watchdog(scheduler *s, PyTasklet *t)
{
    if (s->nwatchdogs == s->watchdogs_size) {
        int size = s->watchdogs_size ? 2 * s->watchdogs_size : 8;
        PyTasklet **grown = PyMem_Resize(s->watchdogs, PyTasklet *, (size_t)size);
        if (!grown) {
            PyErr_NoMemory();
            return -1;
        }
        s->watchdogs = grown;
        s->watchdogs_size = size;
    }
    s->watchdogs[s->nwatchdogs++] = (PyTasklet *)Py_NewRef(t);
    return 0;
}

static void begin_timeout(scheduler *s, PyTasklet *t, const run_limits *limits)
{
    watch *w = &s->watch;
    w->owner = t;
    w->limits = *limits;
    w->left = limits->timeout;
    w->runs = NULL;
    w->serial++;
    s->chores++;
    ticks_users(+1);
}

void watchdog_end_timeout(scheduler *s)
{
    if (!s->watch.owner)
        return;
    s->watch.owner = NULL;
    s->chores--;
    ticks_users(-1);
}

/* Pops down to and including `t`; deeper ones notice when they run. */
static void pop_watchdogs(scheduler *s, PyTasklet *t)
{
    int at = s->nwatchdogs;
    while (at > 0 && s->watchdogs[at - 1] != t)
        at--;
    if (!at)
        return; /* an outer one has popped it */
    while (s->nwatchdogs >= at) {
        PyTasklet *deeper = s->watchdogs[--s->nwatchdogs];
        if (deeper == s->watch.owner)
            watchdog_end_timeout(s);
        if (deeper != t && deeper->base.place == SL_NOWHERE && is_alive(deeper))
            make_runnable(deeper);
        Py_DECREF(deeper);
    }
}

/* ---- run() ---- */

/* Who was interrupted, out of the ring (its reference is the caller's); NULL:
 * nobody, or it is not runnable any more. */
static PyObject *take_interrupted(scheduler *s)
{
    PyTasklet *c = s->watch.interrupted;
    s->watch.interrupted = NULL;
    if (!c || c->base.place != SL_IN_RING) {
        Py_XDECREF(c);
        return NULL;
    }
    sl_olane_unlink(&s->lane, &c->base);
    Py_DECREF(c); /* the ring's */
    return (PyObject *)c;
}

PyObject *run_loop(PyTasklet *t, const run_limits *limits)
{
    scheduler *s = scheduler_of(t);
    bool alone = t->base.next == &t->base, timed = limits->timeout > 0 && !s->watch.owner;
    if (alone && !limits->threadblock && !sl_olane_expects(&s->lane, 0))
        Py_RETURN_NONE;
    if ((timed && ticks_arm() < 0) || trapped(t))
        return NULL;
    if (t->tempval) { /* a finalizer may change all that */
        t = enter_to_wait();
        return t ? run_loop(t, limits) : NULL;
    }
    if (push_watchdog(s, t) < 0)
        return NULL;
    bool outer = s->threadblock;
    s->threadblock = limits->threadblock;
    if (t->is_main)
        s->lane.owner_waits = true;
    if (timed)
        begin_timeout(s, t, limits);
    sl_olane_unlink(&s->lane, &t->base);
    Py_DECREF(t); /* the ring's; the watchdog list has one */
    PyObject *v = switch_to(t, NULL), *interrupted = NULL;
    s->threadblock = outer;
    if (t->is_main)
        s->lane.owner_waits = false;
    if (s->watch.owner == t && v)
        interrupted = take_interrupted(s);
    pop_watchdogs(s, t);
    if (!s->watch.owner)
        Py_CLEAR(s->watch.interrupted); /* the run that it was for is over */
    if (!interrupted)
        return v && v != Py_None ? (Py_DECREF(v), Py_NewRef(Py_None)) : v;
    Py_DECREF(v);
    return interrupted;
}

/* ---- the timeout ---- */

/* An interrupt is due in `t` and has not taken place.  One of another run does not count. */
static bool due(const watch *w, const PyTasklet *t)
{
    return t->due_in == w->serial;
}

static bool nesting_forbids(scheduler *s, PyTasklet *t)
{
    bool ignored = t->ignore_nesting || (s->watch.owner && s->watch.limits.ignore_nesting);
    return !ignored && tasklet_depth_in_c(t) > 0;
}

static bool may_interrupt(scheduler *s, PyTasklet *t)
{
    return !t->atomic && !s->in_callback && !s->switch_trap && !fe.finished && !nesting_forbids(s, t) &&
           !(t->tempval && is_bomb(t->tempval));
}

/* The switch, of which the tasklet is not to notice anything. */
static int leave_between_instructions(PyTasklet *t, PyTasklet *next)
{
    PyObject *kept = t->tempval;
    t->tempval = NULL;
    PyObject *v = switch_to(t, next);
    if (v && kept && !t->tempval) {
        t->tempval = kept;
        kept = NULL;
    }
    Py_XDECREF(kept);
    Py_XDECREF(v);
    return v ? 0 : -1;
}

static int interrupt(scheduler *s, PyTasklet *t)
{
    t->due_in = 0;
    Py_XSETREF(s->watch.interrupted, (PyTasklet *)Py_NewRef(t));
    return leave_between_instructions(t, s->watch.owner);
}

/* ---- time slices ---- */

void watchdog_slice_over(scheduler *s, uintptr_t turn)
{
    sl_oworker *h = sl_olane_host(&s->lane);
    PyTasklet *t = h->current ? tasklet_of(h->current) : NULL;
    if (!t || t->base.place != SL_IN_RING || sl_load_relaxed(&s->lane.turn) != turn || sl_load_relaxed32(&h->switching) ||
        fe.finished)
        return;
    if (ticks_arm() < 0) {
        PyErr_WriteUnraisable((PyObject *)t);
        s->pool.slice = 0; /* it would fail each time */
        return;
    }
    s->slice_turn = turn + 1;
    ticks_follow(t, t->base.carrier->env);
}

/* At the next place where its function may be left. */
static int give_turn(scheduler *s, PyTasklet *t)
{
    bool stale = s->slice_turn != sl_load_relaxed(&s->lane.turn) + 1 || t->base.next == &t->base;
    if (!stale && (!may_interrupt(s, t)))
        return 0;
    s->slice_turn = 0;
    return stale ? 0 : leave_between_instructions(t, tasklet_of(t->base.next));
}

int watchdog_tick(PyTasklet *t, Py_ssize_t n)
{
    scheduler *s = scheduler_of(t);
    watch *w = &s->watch;
    if (s->slice_turn && give_turn(s, t) < 0)
        return -1;
    if (!w->owner)
        return 0;
    w->left -= n;
    if (w->left < 0) {
        t->due_in = w->serial;
        w->left = w->limits.timeout;
    }
    return due(w, t) && !w->limits.soft && may_interrupt(s, t) ? interrupt(s, t) : 0;
}

int watchdog_obstacle_gone(PyTasklet *t)
{
    sl_oworker *w = sl_self();
    return w && w->lane && w->current == &t->base && t->base.place == SL_IN_RING ? watchdog_tick(t, 0) : 0;
}

void watchdog_leaving(scheduler *s, PyTasklet *prev, bool met)
{
    watch *w = &s->watch;
    PyTasklet *owner = w->owner, *next = tasklet_of(s->lane.current);
    if (!owner || !w->limits.soft || !due(w, prev) || next == owner || prev == owner || s->switch_trap ||
        owner->base.place != SL_NOWHERE)
        return;
    prev->due_in = 0;
    if (met || nesting_forbids(s, prev)) {
        next->due_in = w->serial;
        return;
    }
    make_runnable(owner); /* before `next` */
    if (owner->base.place == SL_IN_RING)
        s->lane.current = &owner->base;
}

void watchdog_landed(scheduler *s, PyTasklet *t)
{
    watch *w = &s->watch;
    if (!w->owner)
        return;
    if (w->runs != t && w->runs && !w->limits.total)
        w->left = w->limits.timeout;
    w->runs = t;
    ticks_follow(t, PyThreadState_Get());
}
