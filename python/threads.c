/* SPDX-License-Identifier: MIT
 *
 * Schedulers and the OS threads they belong to: made on a thread's first use,
 * given up when the thread ends (a sentinel in its thread-state dict).
 */
#include "pystackless.h"

static PyTypeObject *sentinel_type;
static PyObject *sentinel_key;

typedef struct {
    PyObject_HEAD
    scheduler *s;
} sentinel;

void scheduler_unref(scheduler *s)
{
    if (--s->refs)
        return;
    sl_lane_free(&s->lane);
    fe.epoch++; /* its poller's address may be used again */
    PyMem_Free(s->watchdogs);
    PyMem_Free(s);
}

static void forget(scheduler *s)
{
    scheduler **at = &fe.schedulers;
    while (*at && *at != s)
        at = &(*at)->next;
    if (*at)
        *at = s->next;
}

/* Kills what the thread has started; what is left loses its thread. */
static void thread_ends(scheduler *s)
{
    sl_lane *lane = &s->lane;
    PyTasklet *t;
    for (int round = 0; round < 10 && lane->busy; round++) {
        for (sl_carrier *c = lane->busy; c; c = c->next)
            if (c->tasklet)
                tasklet_of(c->tasklet)->killed_at_exit = false;
        while ((t = next_victim(s)) != NULL) {
            t->killed_at_exit = true;
            Py_INCREF(t);
            if (tasklet_kill(t, false) < 0)
                PyErr_WriteUnraisable((PyObject *)t);
            Py_DECREF(t);
        }
    }
    while (lane->current && lane->current != &s->main->base) {
        t = tasklet_of(lane->current);
        sl_lane_unlink(lane, &t->base);
        Py_DECREF(t);
    }
    after_landing(s);
    while (lane->free) {
        sl_carrier *c = lane->free;
        lane->free = c->next;
        c->next = lane->condemned;
        lane->condemned = c;
    }
    lane->nfree = 0;
    lane->free_last = NULL;
    sl_carrier_reap(lane);
}

static void sentinel_dealloc(PyObject *self)
{
    scheduler *s = ((sentinel *)self)->s;
    PyTypeObject *type = Py_TYPE(self);
    sl_worker *w = sl_self();
    if (s && w == &s->worker && !fe.finished) {
        PyObject *et, *ev, *tb;
        PyErr_Fetch(&et, &ev, &tb);
        thread_ends(s);
        PyErr_Restore(et, ev, tb);
        s->dead = true;
        PyTasklet *main = s->main;
        sl_lane_unlink(&s->lane, &main->base);
        main->execution = EXEC_NONE;
        main->base.carrier = NULL;
        sl_set_self(NULL);
        forget(s);
        Py_DECREF(main); /* the ring's */
        s->main = NULL;
        Py_DECREF(main); /* the scheduler's */
        scheduler_unref(s);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot sentinel_slots[] = {{Py_tp_dealloc, sentinel_dealloc}, {0, NULL}};
static PyType_Spec sentinel_spec = {
    .name = "stackless._ThreadSentinel",
    .basicsize = sizeof(sentinel),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = sentinel_slots,
};

static int plant_sentinel(scheduler *s)
{
    PyObject *dict = PyThreadState_GetDict(); /* borrowed */
    sentinel *guard = dict ? PyObject_New(sentinel, sentinel_type) : NULL;
    if (!guard)
        return -1;
    guard->s = s;
    int rc = PyDict_SetItem(dict, sentinel_key, (PyObject *)guard);
    Py_DECREF(guard);
    return rc;
}

static scheduler *new_scheduler(bool initial)
{
    scheduler *s = PyMem_Calloc(1, sizeof *s);
    if (!s) {
        PyErr_NoMemory();
        return NULL;
    }
    s->refs = 1;
    s->thread_id = PyThread_get_thread_ident();
    s->initial = initial;
    sl_worker_init(&s->worker, NULL, 0);
    sl_lane_init(&s->lane, &python_env, fe.stacks, &s->worker);
    s->worker.native.lane = &s->lane;
    s->worker.native.env = PyThreadState_Get();
    s->main = tasklet_new_main(s);
    if (!s->main) {
        scheduler_unref(s);
        return NULL;
    }
    s->worker.native.tasklet = &s->main->base;
    s->worker.current = &s->main->base;
    if (initial && fe.threads != 1 &&
        sl_pool_init(&s->pool, &s->lane, &s->worker, fe.threads ? fe.threads : CONFIG_THREADS_MAX) < 0) {
        PyErr_NoMemory();
        return NULL;
    }
    s->next = fe.schedulers;
    fe.schedulers = s;
    sl_set_self(&s->worker);
    if (!initial && plant_sentinel(s) < 0)
        return NULL;
    if (initial)
        fe.initial = s;
    return s;
}

PyTasklet *current_slow(void)
{
    sl_worker *w = sl_self();
    if (w) {
        sl_tasklet *t = w->current ? w->current : w->native.tasklet;
        if (t)
            return tasklet_of(t);
        PyErr_SetString(PyExc_RuntimeError, "no tasklet runs on this thread");
        return NULL;
    }
    if (fe.finished) {
        PyErr_SetString(PyExc_RuntimeError, "stackless has been shut down: the interpreter exits");
        return NULL;
    }
    if (PyInterpreterState_Get() != fe.interp) {
        PyErr_SetString(PyExc_RuntimeError, "stackless works in the main interpreter only");
        return NULL;
    }
    scheduler *s = new_scheduler(PyThread_get_thread_ident() == fe.main_thread_id);
    return s ? s->main : NULL;
}

scheduler *scheduler_of_thread(unsigned long id)
{
    for (scheduler *s = fe.schedulers; s; s = s->next)
        if (s->thread_id == id && !s->dead)
            return s;
    return NULL;
}

/* A new worker has a thread state only when it has got going. */
static bool has_state(sl_worker *w)
{
    return __atomic_load_n(&w->native.env, __ATOMIC_ACQUIRE) != NULL;
}

/* Counts thread states: those of other threads are all but our carriers' and
 * our workers'. */
bool threads_all_parked(scheduler *s)
{
    Py_ssize_t states = 0, ours = 0;
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(fe.interp); ts; ts = PyThreadState_Next(ts))
        states++;
    for (scheduler *o = fe.schedulers; o; o = o->next) {
        sl_carrier *c;
        ours += o->lane.nfree + o->lane.nbusy;
        for (c = o->lane.condemned; c; c = c->next)
            ours++;
        if (o == s || (o->parked && !o->lane.current))
            ours++; /* the thread's own */
        if (o->lane.pool) {
            int n = (int)sl_load_acquire(&o->pool.nworkers);
            for (int i = 1; i < n; i++)
                ours += has_state(o->pool.workers[i]);
            ours += has_state(&o->pool.monitor);
        }
    }
    return states <= ours;
}

int threads_init(PyObject *module)
{
    sentinel_type = (PyTypeObject *)PyType_FromSpec(&sentinel_spec);
    sentinel_key = PyUnicode_InternFromString("stackless._thread_sentinel");
    return sentinel_type && sentinel_key ? 0 : -1;
}
