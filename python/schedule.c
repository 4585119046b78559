/* SPDX-License-Identifier: MIT
 *
 * The ring rules (specification, section 1): who runs when a tasklet switches,
 * blocks, removes itself or waits in run().  Not here: what happens when a
 * tasklet's function ends (body.c) and the machine's part (sched/).
 */
#include "pystackless.h"

void set_tempval(PyTasklet *t, PyObject *value)
{
    Py_XSETREF(t->tempval, value);
}

void plant(PyTasklet *t, PyObject *value)
{
    PyObject *old = t->tempval;
    t->tempval = value;
    make_runnable(t);
    Py_XDECREF(old);
}

__attribute__((noinline)) PyObject *release_after(PyObject *result, PyObject *old)
{
    PyObject *type, *value, *tb;
    PyErr_Fetch(&type, &value, &tb);
    Py_XDECREF(old);
    PyErr_Restore(type, value, tb);
    return result;
}

PyObject *take_tempval(PyTasklet *t)
{
    PyObject *v = t->tempval;
    t->tempval = NULL;
    t->delivered = false;
    if (!v)
        Py_RETURN_NONE;
    if (__builtin_expect(is_bomb(v), 0)) {
        bool exit = bomb_is_exit(v);
        bomb_explode(v);
        if (exit)
            exits_raised(t);
        return NULL;
    }
    return v;
}

static const char IN_CALLBACK[] = "Recursive scheduler call due to callbacks!";

bool trapped(PyTasklet *t)
{
    scheduler *s = scheduler_of(t);
    if (__builtin_expect((s->switch_trap | s->in_callback) == 0, 1))
        return false;
    PyErr_SetString(PyExc_RuntimeError, s->in_callback ? IN_CALLBACK : "switch_trap");
    return true;
}

/* ---- entering ---- */

/* NULL with an exception, or in the lane: unless what a finalizer did on landing has blocked. */
static PyTasklet *rejoin(PyTasklet *t)
{
    scheduler *s = scheduler_of(t);
    bool hosts = sl_rejoin(sl_self(), &t->base)->lane != NULL;
    after_landing(s);
    if (t->tempval && is_bomb(t->tempval)) {
        take_tempval(t);
        return NULL;
    }
    if (!hosts) {
        PyErr_SetString(PyExc_RuntimeError, "the interpreter exits while another tasklet keeps the lane");
        return NULL;
    }
    return t;
}

PyTasklet *enter_slow(PyTasklet *t)
{
    sl_oworker *w = sl_self();
    if (callback_runs(t)) {
        PyErr_SetString(PyExc_RuntimeError, IN_CALLBACK);
        return NULL;
    }
    /* Not in its place: it is just leaving, or has ended. */
    if (!w->current || t->base.place != (w->lane ? SL_IN_RING : SL_STRAY)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "cannot switch here: a signal handler or finalizer runs while its tasklet waits");
        return NULL;
    }
    while (!sl_self()->lane)
        if (!rejoin(t))
            return NULL;
    if (!t->tempval || !is_bomb(t->tempval))
        return t;
    take_tempval(t);
    return NULL;
}

PyTasklet *enter_to_wait(void)
{
    PyTasklet *t = enter();
    while (t && t->tempval) {
        set_tempval(t, NULL);
        t = enter();
    }
    return t;
}

/* ---- corpses ---- */

void add_corpse(scheduler *s, PyTasklet *t)
{
    if (t->next_corpse || s->corpses == t) {
        Py_DECREF(t); /* still listed: one reference is enough */
        return;
    }
    t->next_corpse = s->corpses;
    s->corpses = t;
}

static void drop_corpses(scheduler *s)
{
    while (s->corpses) {
        PyTasklet *t = s->corpses;
        s->corpses = t->next_corpse;
        t->next_corpse = NULL;
        PyObject *type, *value, *tb;
        PyErr_Fetch(&type, &value, &tb);
        Py_DECREF(t);
        PyErr_Restore(type, value, tb);
    }
}

/* On the stack of whoever runs now, which may be a worker's own. */
static void do_chores(scheduler *s)
{
    sl_oworker *w = sl_self();
    PyTasklet *t = w->current && w->lane == &s->lane ? tasklet_of(w->current) : NULL;
    PyObject *type, *value, *tb;
    if (!t || fe.finished)
        return;
    PyErr_Fetch(&type, &value, &tb);
    callback_landed(s, t);
    if (t->rare)
        trace_apply(t);
    watchdog_landed(s, t);
    if (s->suspects)
        exits_look(s);
    PyErr_Restore(type, value, tb);
}

void tidy(scheduler *s)
{
    drop_corpses(s);
    if (sl_carrier_due(&s->lane) && sl_self()->lane == &s->lane)
        sl_carrier_reap(&s->lane);
    if (s->chores)
        do_chores(s);
}

/* ---- making runnable ---- */

bool unblock(PyTasklet *t)
{
    if (t->base.place == SL_IN_QUEUE)
        channel_remove(t->channel, t);
    else if (t->base.place == SL_IN_WAIT)
        wait_cancel(t);
    else
        return false;
    return true;
}

void make_runnable(PyTasklet *t)
{
    if (!unblock(t)) {
        if (t->base.place != SL_NOWHERE)
            return; /* in the ring, or on its way there */
        Py_INCREF(t);
    }
    sl_olane_append(t->base.lane, &t->base);
}

/* ---- the empty ring (1.5, 1.4-5, 18.4) ---- */

PyTasklet *watchdog_or_main(scheduler *s)
{
    return s->nwatchdogs ? s->watchdogs[s->nwatchdogs - 1] : s->main;
}

static void plant_error(PyTasklet *t, const char *text)
{
    PyObject *type, *value, *tb;
    PyErr_Fetch(&type, &value, &tb);
    PyErr_SetString(PyExc_RuntimeError, text);
    set_tempval(t, bomb_from_error());
    PyErr_Restore(type, value, tb);
}

/* The ring has emptied because a tasklet ended (or what it waited for did). */
static bool resolve_after_end(PyTasklet *w)
{
    if (w->base.place == SL_IN_QUEUE)
        plant_error(w, w->blocked > 0
                           ? "the main tasklet is sending without a receiver available."
                           : "the main tasklet is receiving without a sender available.");
    else if (w->base.place == SL_IN_WAIT) /* for nothing that comes by itself */
        plant_error(w, w->wait->hopeless ? w->wait->hopeless
                                         : "the main tasklet is in select() without a partner available.");
    make_runnable(w);
    return true;
}

/* Will something become runnable by itself?  The timeouts of who sits in run()
 * do not count: they limit the waiting, they are not what is waited for. */
static bool expects(scheduler *s)
{
    uintptr_t theirs = 0;
    for (int i = 0; i < s->nwatchdogs; i++)
        theirs += s->watchdogs[i]->timeouts;
    return sl_olane_expects(&s->lane, theirs);
}

bool resolve_empty_ring(scheduler *s, PyTasklet *prev)
{
    if (s->lane.current)
        return true;
    s->last_blocked = prev;
    if (expects(s))
        return false;
    PyTasklet *w = watchdog_or_main(s);
    bool floating = w->base.place == SL_NOWHERE;
    bool patient = floating ? s->threadblock : w->base.place == SL_IN_WAIT && w->wait->hopeless;
    if (!prev && !patient)
        return resolve_after_end(w);
    if (floating && !s->threadblock) {
        if (prev != w && prev->tempval && is_bomb(prev->tempval)) {
            set_tempval(w, prev->tempval);
            prev->tempval = NULL;
        }
        make_runnable(w);
        return true;
    }
    s->parked = s->lane.recheck = true; /* a thread that ends wakes nobody */
    if (!threads_all_parked(s))
        return false;
    s->parked = s->lane.recheck = false;
    if (!prev || (floating && s->initial))
        return resolve_after_end(w);
    plant_error(prev, "Deadlock: the last runnable tasklet cannot be blocked.");
    make_runnable(prev);
    return true;
}

/* ---- switching ---- */

void leaving(scheduler *s, PyTasklet *prev, bool met)
{
    if (!s->lane.current)
        return; /* nobody knows who will be next */
    watchdog_leaving(s, prev, met);
    if (fe.schedule_callback)
        callback_leaving(s, prev);
}

static inline PyObject *leave_for(PyTasklet *prev, PyTasklet *next, bool met)
{
    scheduler *s = scheduler_of(prev);
    if (next) {
        if (next->base.place != SL_IN_RING)
            make_runnable(next);
        if (next->base.place == SL_IN_RING) /* else it waits for its thread */
            s->lane.current = &next->base;
    }
    if (!s->lane.current)
        resolve_empty_ring(s, prev);
    if (__builtin_expect(s->chores, 0))
        leaving(s, prev, met);
    sl_dispatch(sl_self(), &prev->base);
    s->parked = s->lane.recheck = false;
    PyObject *v = take_tempval(prev); /* first: a finalizer in there may switch */
    after_landing(s);
    return v;
}

PyObject *switch_to(PyTasklet *prev, PyTasklet *next)
{
    return leave_for(prev, next, false);
}

PyObject *switch_to_partner(PyTasklet *prev, PyTasklet *next)
{
    return leave_for(prev, next, true);
}

PyObject *schedule_common(PyTasklet *t, PyObject *retval, bool remove)
{
    scheduler *s = scheduler_of(t);
    sl_otasklet *next = t->base.next;
    if (!retval)
        retval = (PyObject *)t;
    if (next != &t->base || remove) {
        if ((next != &t->base || sl_olane_expects(&s->lane, 0) || t != s->main) && trapped(t))
            return NULL;
    }
    if (t->tempval) { /* a finalizer may change all that */
        t = enter_to_wait();
        return t ? schedule_common(t, retval, remove) : NULL;
    }
    t->tempval = retval == Py_None ? NULL : Py_NewRef(retval);
    if (!remove)
        return switch_to(t, tasklet_of(next));
    sl_olane_unlink(&s->lane, &t->base);
    add_corpse(s, t);
    return switch_to(t, NULL);
}
