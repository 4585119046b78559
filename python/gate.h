/* SPDX-License-Identifier: MIT
 *
 * The gate: a value and a FIFO of waiting tasklets, on which locks and the like
 * (sync.c, condition.c) and queues (queue.c) stand.
 *
 * Guarded by the GIL; no Python code runs between the look at a gate and the place in
 * its queue.  Invariants between operations:
 *   - a lock or semaphore with waiters has value 0: who releases hands over directly;
 *   - a record is in the queue exactly while its tasklet is SL_IN_WAIT.  Whatever wakes
 *     that (a grant, a timer, a kill) takes the record out through leave();
 *   - who was granted something and gets an exception instead passes it on.
 */
#ifndef SL_PYTHON_GATE_H
#define SL_PYTHON_GATE_H

#include "pystackless.h"

typedef struct gate gate;

/* In the frame of the waiting call. */
typedef struct sync_wait {
    pywait wait;
    struct sync_wait *next, *prev;
    gate *gate;
    bool granted;
} sync_wait;

enum gate_kind { LOCK, RLOCK, SEMAPHORE, EVENT, CONDITION };

struct gate {
    PyObject_HEAD
    enum gate_kind kind;
    sync_wait *head, *tail;
    Py_ssize_t value;  /* locks: 1 if free; semaphores: how many are left; Event: is it set */
    Py_ssize_t bound;  /* BoundedSemaphore: the first value; else -1 */
    PyTasklet *owner;  /* RLock while held; strong, so that its address is nobody else's */
    Py_ssize_t depth;  /* RLock while held */
    gate *lock;        /* Condition; strong */
    PyObject *weakrefs;
};

/* What a wait came to. */
enum outcome {
    FAILED = -1,   /* with an exception */
    TIME_OVER = 0,
    GRANTED = 1,
    DISTURBED = 2, /* somebody made the tasklet run for no reason of ours */
};

#define AT_ONCE ((int64_t)0) /* a deadline that has passed: do not wait */

gate *gate_new(enum gate_kind kind, Py_ssize_t value);
/* One of a lock or semaphore. */
enum outcome gate_take(gate *g, int64_t deadline);
/* One turn of that which waits even if there is something to be had. */
enum outcome gate_wait(gate *g, PyTasklet *t, int64_t deadline);
/* One more is free: to the first waiter, or to be had. */
void gate_give(gate *g);
/* To the first waiter; false: there is none. */
bool gate_grant(gate *g);
/* What a waiter was granted and cannot use. */
void gate_pass_on(gate *g);
bool gate_may_park(PyTasklet *t); /* false with RuntimeError */
/* All waiters are DISTURBED: they look again why they wait. */
void gate_disturb(gate *g);
void gate_set(gate *g);
enum outcome gate_wait_set(gate *g, int64_t deadline);
PyObject *gate_answer(enum outcome o); /* False: the time is over */
/* minus_one: -1 stands for no limit and less is an error (Lock), else any negative
 * number is a time that has passed (Semaphore, Event, Condition). */
int parse_timeout(PyObject *seconds, bool minus_one, int64_t *deadline);
int parse_wait_timeout(PyObject *args, PyObject *kwargs, int64_t *deadline); /* wait(timeout=None) */

/* ---- condition.c: the methods ---- */

PyObject *condition_wait(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *condition_wait_for(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *condition_notify(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *condition_notify_all(PyObject *self, PyObject *unused);

#endif
