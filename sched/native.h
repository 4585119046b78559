/* SPDX-License-Identifier: MIT
 *
 * Tasklets for C on one ordered lane: the scheduler without Python.
 *
 * What it is for: driving lane, workers, handoff, timers and poller from C, as
 * the tests do.  What it is not for yet: many lanes, channels, a public API.
 *
 * The guard is a mutex of the pool.  A tasklet holds it while it runs and drops
 * it in sl_blocking_begin(), which is also how it says that it will block.
 */
#ifndef SL_SCHED_NATIVE_H
#define SL_SCHED_NATIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "../core/clock.h"
#include "../core/stack.h"
#include "netpoll.h"
#include "stackless/error.h"

typedef struct sl_native sl_native;
typedef struct sl_ntasklet sl_ntasklet;

/* `threads` OS threads run tasklets, at least 1; the first starts at once. */
int sl_native_create(sl_native **out, int threads, size_t stack_size);
/* Waits until no tasklet is left, ends the threads, frees everything.  Not
 * from a tasklet. */
void sl_native_destroy(sl_native *n);

/* A new tasklet at the end of the ring.  Any thread. */
int sl_go(sl_native *n, void (*body)(void *), void *arg);
/* Blocks the calling OS thread until no tasklet is left.  Not from a tasklet. */
void sl_native_wait(sl_native *n);

/* The rest is for tasklets. */
sl_ntasklet *sl_current(void);
/* To the end of the ring. */
void sl_yield(void);
/* Out of the ring until sl_wake(), which may come first: no wake is lost. */
void sl_suspend(void);
/* From a tasklet of the same lane, or from any thread. */
void sl_wake(sl_ntasklet *t);
void sl_sleep(int64_t ns);
/* Parks until `events` (SL_READ | SL_WRITE) or `deadline`: the events that
 * came, or a negative code. */
int sl_wait_fd(int fd, uint32_t events, int64_t deadline);
/* From now on only this OS thread runs the calling tasklet; again with false. */
void sl_pin(bool pinned);
/* Around a call that may block the OS thread: the lane goes on without it. */
void sl_blocking_begin(void);
void sl_blocking_end(void);

uint64_t sl_native_handoffs(sl_native *n);
int sl_native_threads(sl_native *n);
sl_stack_pool *sl_native_stacks(sl_native *n);

#endif
