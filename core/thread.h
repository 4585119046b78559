/* SPDX-License-Identifier: MIT
 *
 * Starting an OS thread with the signals it is to block.  What it is not for: what a
 * thread does (sched/), and where it may run (places.h).
 */
#ifndef SL_CORE_THREAD_H
#define SL_CORE_THREAD_H

#include <pthread.h>
#include <signal.h>

/* `mask`: the signals it blocks, NULL: all; a process that it starts inherits that.
 * SL_ETHREAD: the system refuses. */
int sl_thread_start(pthread_t *out, void *(*body)(void *), void *arg, const sigset_t *mask);

#endif
