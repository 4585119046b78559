/* SPDX-License-Identifier: MIT
 *
 * What the kernel knows of another thread of this process: whether it sleeps,
 * and where, and how much it has computed.
 */
#ifndef SL_CORE_THREADSTAT_H
#define SL_CORE_THREADSTAT_H

#include <stdint.h>

enum sl_thread_state {
    SL_THREAD_UNKNOWN = 0, /* the kernel does not say */
    SL_THREAD_RUNS,        /* on a processor, waits for one, or for memory */
    SL_THREAD_SLEEPS,      /* in a system call */
};

/* `tid` is a kernel thread id.  `*futex`: the address of the futex that it
 * sleeps on, 0 if it sleeps on anything else.  Takes 20 to 50 us. */
enum sl_thread_state sl_thread_look(unsigned tid, uintptr_t *futex);

/* CPU time of the thread so far, nanoseconds; -1 if the kernel does not say.
 * One system call. */
int64_t sl_thread_computed(unsigned tid);

#endif
