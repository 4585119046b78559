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

#include "../../sched/native.h"
#include "../core/check.h"

static inline sl_native *start(int threads)
{
    sl_native *n;
    CHECK_EQ(sl_native_create(&n, threads, SL_STACK_MIN), 0);
    return n;
}

/* Waits for all tasklets. */
static inline void finish(sl_native *n)
{
    sl_native_destroy(n);
}

static inline void go(sl_native *n, void (*body)(void *), void *arg)
{
    CHECK_EQ(sl_go(n, body, arg), 0);
}

static inline long thread_id(void)
{
    return syscall(SYS_gettid);
}

/* Blocks the OS thread, announced, until somebody posts. */
static inline void block_on(sem_t *semaphore)
{
    sl_blocking_begin();
    while (sem_wait(semaphore) < 0)
        ;
    sl_blocking_end();
}

#endif
