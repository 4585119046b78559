/* SPDX-License-Identifier: MIT
 *
 * What the tests of sched/ share: the assertions of tests/core, and starting
 * and ending a scheduler.  Nothing here waits for a time to pass.
 */
#ifndef TESTS_SCHED_CHECK_H
#define TESTS_SCHED_CHECK_H

#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../../sched/ordered/ordered.h"
#include "../../core/check.h"

static inline sl_ordered *start(int threads)
{
    sl_ordered *n;
    CHECK_EQ(sl_ordered_create(&n, threads, SL_STACK_MIN), 0);
    return n;
}

/* Waits for all tasklets. */
static inline void finish(sl_ordered *n)
{
    sl_ordered_destroy(n);
}

static inline void go(sl_ordered *n, void (*body)(void *), void *arg)
{
    CHECK_EQ(sl_ordered_go(n, body, arg), 0);
}

static inline long thread_id(void)
{
    return syscall(SYS_gettid);
}

/* Blocks the OS thread, announced, until somebody posts. */
static inline void block_on(sem_t *semaphore)
{
    sl_ordered_blocking_begin();
    while (sem_wait(semaphore) < 0)
        ;
    sl_ordered_blocking_end();
}

#endif
