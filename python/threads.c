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
    sl_olane_free(&s->lane);
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

/* ---- the end of a thread (9.8) ---- */

PyObject *threads_started(scheduler *s, PyObject *list)
{
    for (sl_carrier *c = s->lane.busy; list && c; c = c->next) {
        PyTasklet *t = c->tasklet ? tasklet_of(c->tasklet) : NULL;
        if (t && t->base.place != SL_STRAY && !tasklet_is_current(t) && PyList_Append(list, (PyObject *)t) < 0)
            Py_CLEAR(list);
    }
    return list;
}

/* The tasklet of the thread's own stack is no more. */
static void retire_main(scheduler *s, PyTasklet *main)
{
    sl_olane_unlink(&s->lane, &main->base);
    tasklet_set_dead(main);
    main->is_main = false;
    main->base.carrier = NULL;
    main->base.home = NULL;
    Py_DECREF(main); /* the ring's */
    Py_DECREF(main); /* the scheduler's */
}

/* The thread's function has returned; another main stands where tasklets die. */
static void replace_main(scheduler *s)
{
    PyTasklet *old = s->main, *t = tasklet_new_main(s);
    if (!t) {
        PyErr_Clear();
        return; /* the old one will do */
    }
    s->main = t;
    s->worker.native.tasklet = s->worker.current = s->lane.current = &t->base;
    if (s->told == old)
        Py_SETREF(s->told, (PyTasklet *)Py_NewRef(t));
    retire_main(s, old);
}

static void empty_ring(scheduler *s)
{
    sl_otasklet *main = &s->main->base;
    while (main->next != main) {
        PyTasklet *t = tasklet_of(main->next);
        sl_olane_unlink(&s->lane, &t->base);
        Py_DECREF(t);
    }
}

/* So often those who have been killed may switch until they have ended. */
enum { LAST_TURNS = 10 };

/* Raises TaskletExit in each started tasklet, once.  Nobody else runs but who
 * is started by them, and is killed too. */
static void kill_started(scheduler *s)
{
    sl_olane *lane = &s->lane;
    for (sl_carrier *c = lane->busy; c; c = c->next)
        if (c->tasklet)
            tasklet_of(c->tasklet)->killed_at_exit = false;
    for (int turn = 0; lifecycle_kill_all(s, "thread") && turn < LAST_TURNS; turn++) {
        if (s->main->base.next == &s->main->base)
            return;
        PyObject *r = schedule_common(s->main, Py_None, false); /* blocks of finally that switch */
        if (!r)
            PyErr_WriteUnraisable(NULL);
        Py_XDECREF(r);
    }
}

static void drop_carriers(sl_olane *lane)
{
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

/* In the thread, as its last words. */
static void thread_ends(scheduler *s)
{
    PyObject *list = PyList_New(0), *held = list ? threads_started(s, list) : NULL;
    if (!held)
        PyErr_Clear(); /* then the last reference kills some of them */
    s->switch_trap = 0;
    replace_main(s);
    empty_ring(s);
    kill_started(s);
    empty_ring(s);
    after_landing(s);
    drop_carriers(&s->lane);
    Py_CLEAR(s->told);
    watchdog_end_timeout(s);
    Py_CLEAR(s->watch.interrupted);
    s->dead = true;
    PyTasklet *main = s->main;
    s->main = NULL;
    retire_main(s, main);
    sl_set_self(NULL);
    if (s->lane.nbusy)
        s->refs++; /* who refuses to die keeps its stack and thread state for ever */
    else
        forget(s);
    Py_XDECREF(held); /* now these cannot be killed any more */
}

static void adopt(scheduler *s);

static void sentinel_dealloc(PyObject *self)
{
    scheduler *s = ((sentinel *)self)->s;
    PyTypeObject *type = Py_TYPE(self);
    sl_oworker *w = sl_self();
    if (s && !w && !s->adopted && s->thread_id == PyThread_get_thread_ident()) {
        adopt(s);
        w = sl_self();
    }
    if (s && w == &s->worker && !fe.finished) {
        PyObject *et, *ev, *tb;
        PyErr_Fetch(&et, &ev, &tb);
        thread_ends(s);
        PyErr_Restore(et, ev, tb);
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

/* In the dict of `s`'s thread, which is cleared when the thread ends. */
static int plant_sentinel(scheduler *s)
{
    PyThreadState *ts = s->worker.native.env;
    if (!ts->dict && !(ts->dict = PyDict_New())) /* as PyThreadState_GetDict() does for the calling one */
        return -1;
    sentinel *guard = PyObject_New(sentinel, sentinel_type);
    if (!guard)
        return -1;
    guard->s = s;
    int rc = PyDict_SetItem(ts->dict, sentinel_key, (PyObject *)guard);
    Py_DECREF(guard);
    return rc;
}

static scheduler *alloc_scheduler(PyThreadState *ts, unsigned long id)
{
    scheduler *s = PyMem_Calloc(1, sizeof *s);
    if (!s) {
        PyErr_NoMemory();
        return NULL;
    }
    s->refs = 1;
    s->thread_id = id;
    s->initial = id == fe.main_thread_id;
    s->pickle_flags = fe.pickle_flags;
    s->chores = fe.schedule_callback != NULL;
    sl_oworker_init(&s->worker, NULL, 0);
    sl_olane_init(&s->lane, &python_env, fe.stacks, &s->worker);
    s->worker.native.lane = &s->lane;
    s->worker.native.env = ts;
    s->main = tasklet_new_main(s);
    if (!s->main) {
        scheduler_unref(s);
        return NULL;
    }
    s->worker.native.tasklet = &s->main->base;
    s->worker.current = &s->main->base;
    return s;
}

/* For the thread `id`, whose own state is `ts`: the calling one, or another that
 * has not used the module yet and adopts it when it does. */
static scheduler *new_scheduler(PyThreadState *ts, unsigned long id)
{
    scheduler *s = alloc_scheduler(ts, id);
    if (!s)
        return NULL;
    if (s->initial && fe.threads != 1 &&
        sl_opool_init(&s->pool, &s->lane, &s->worker, fe.threads ? fe.threads : CONFIG_THREADS_MAX) < 0) {
        PyErr_NoMemory();
        return NULL;
    }
    s->pool.slice = fe.timeslice * INT64_C(1000000);
    s->next = fe.schedulers;
    fe.schedulers = s;
    if (!s->initial && plant_sentinel(s) < 0)
        return NULL;
    if (s->initial)
        fe.initial = s;
    return s;
}

/* What only the scheduler's own thread knows. */
static void adopt(scheduler *s)
{
    s->adopted = true;
    s->worker.native.env = PyThreadState_Get();
    sl_oworker_here(&s->worker);
    sl_set_self(&s->worker);
}

PyTasklet *current_slow(void)
{
    sl_oworker *w = sl_self();
    if (w) {
        sl_otasklet *t = w->current ? w->current : w->native.tasklet;
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
    unsigned long id = PyThread_get_thread_ident();
    scheduler *s = scheduler_of_thread(id);
    if (!s)
        s = new_scheduler(PyThreadState_Get(), id);
    if (!s)
        return NULL;
    adopt(s);
    callback_begun(s);
    return s->main;
}

/* ---- which threads there are ---- */

scheduler *scheduler_of_thread(unsigned long id)
{
    for (scheduler *s = fe.schedulers; s; s = s->next) {
        if (s->dead)
            continue;
        if (s->thread_id == id)
            return s;
        int n = s->lane.pool ? (int)sl_load_acquire(&s->pool.nworkers) : 0;
        for (int i = 1; i < n; i++)
            if ((unsigned long)s->pool.workers[i]->thread == id)
                return s;
    }
    return NULL;
}

/* Is `ts` that of a carrier, left on the stack of a tasklet whose thread has ended? */
static bool is_left_over(PyThreadState *ts)
{
    for (scheduler *s = fe.schedulers; s; s = s->next)
        for (sl_carrier *c = s->dead ? s->lane.busy : NULL; c; c = c->next)
            if (c->env == ts)
                return true;
    return false;
}

/* Threads of the pool run tasklets of the initial thread's scheduler. */
static bool is_of_pool(PyThreadState *ts)
{
    scheduler *s = scheduler_of_thread(ts->thread_id);
    return (s && s->thread_id != ts->thread_id) ||
           (fe.initial && ts == __atomic_load_n(&fe.initial->pool.monitor.native.env, __ATOMIC_ACQUIRE));
}

PyThreadState *threads_next(PyThreadState *ts)
{
    do
        ts = ts ? PyThreadState_Next(ts) : PyInterpreterState_ThreadHead(fe.interp);
    while (ts && (is_left_over(ts) || is_of_pool(ts)));
    return ts;
}

scheduler *threads_scheduler(unsigned long id)
{
    scheduler *s = scheduler_of_thread(id);
    PyThreadState *own = NULL;
    if (s || fe.finished || !id)
        return s;
    for (PyThreadState *ts = NULL; (ts = threads_next(ts)) != NULL;)
        if (ts->thread_id == id)
            own = ts; /* the oldest: others may come and go on top of it */
    return own ? new_scheduler(own, id) : NULL;
}

/* A new worker has a thread state only when it has got going. */
static bool has_state(sl_oworker *w)
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
        if (o == s || (!o->dead && o->parked && !o->lane.current))
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
