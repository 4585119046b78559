/* SPDX-License-Identifier: MIT
 *
 * Tasklets for C on one ordered lane: the scheduler without Python.
 *
 * What it is for: driving lane, workers, handoff, timers and poller from C, as
 * the tests do.  What it is not for yet: many lanes, channels, a public API.
 *
 * The guard is a lock of the pool.  A tasklet holds it while it runs and drops
 * it in sl_ordered_blocking_begin(), which is also how it says that it will block.
 */
#ifndef SL_SCHED_NATIVE_H
#define SL_SCHED_NATIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "../../core/clock.h"
#include "../../core/stack.h"
#include "../netpoll.h"
#include "stackless/error.h"

typedef struct sl_ordered sl_ordered;
typedef struct sl_ordered_tasklet sl_ordered_tasklet;

/* `threads` OS threads run tasklets, at least 1; the first starts at once. */
int sl_ordered_create(sl_ordered **out, int threads, size_t stack_size);
/* Waits until no tasklet is left, ends the threads, frees everything.  Not
 * from a tasklet. */
void sl_ordered_destroy(sl_ordered *n);

/* A new tasklet at the end of the ring.  Any thread. */
int sl_ordered_go(sl_ordered *n, void (*body)(void *), void *arg);
/* Blocks the calling OS thread until no tasklet is left.  Not from a tasklet. */
void sl_ordered_wait(sl_ordered *n);

/* The rest is for tasklets. */
sl_ordered_tasklet *sl_ordered_current(void);
/* To the end of the ring. */
void sl_ordered_yield(void);
/* Out of the ring until sl_ordered_wake(), which may come first: no wake is lost. */
void sl_ordered_suspend(void);
/* From a tasklet of the same lane, or from any thread. */
void sl_ordered_wake(sl_ordered_tasklet *t);
void sl_ordered_sleep(int64_t ns);
/* Parks until `events` (SL_READ | SL_WRITE) or `deadline`: the events that
 * came, or a negative code. */
int sl_ordered_wait_fd(int fd, uint32_t events, int64_t deadline);
/* From now on only this OS thread runs the calling tasklet; again with false. */
void sl_ordered_pin(bool pinned);
/* Around a call that may block the OS thread: the lane goes on without it. */
void sl_ordered_blocking_begin(void);
void sl_ordered_blocking_end(void);

uint64_t sl_ordered_handoffs(sl_ordered *n);
int sl_ordered_threads(sl_ordered *n);
sl_stack_pool *sl_ordered_stacks(sl_ordered *n);

#endif
