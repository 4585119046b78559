/* SPDX-License-Identifier: MIT
 *
 * What the kernel says of a thread that sleeps, and of one that computes.
 */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../../core/atomic.h"
#include "../../core/threadstat.h"
#include "check.h"

static sl_atomic32 tid, stop;
static sem_t gate;

static void *sleeps(void *unused)
{
    sl_store_release32(&tid, (unsigned)syscall(SYS_gettid));
    while (sem_wait(&gate) < 0)
        ;
    return unused;
}

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
} waiting = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER};

static void *waits(void *unused)
{
    sl_store_release32(&tid, (unsigned)syscall(SYS_gettid));
    pthread_mutex_lock(&waiting.mutex);
    while (!sl_load_acquire32(&stop)) {
        struct timespec at;
        clock_gettime(CLOCK_REALTIME, &at);
        at.tv_nsec += 1000 * 1000;
        at.tv_sec += at.tv_nsec / 1000000000;
        at.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&waiting.changed, &waiting.mutex, &at);
    }
    pthread_mutex_unlock(&waiting.mutex);
    return unused;
}

static int ends[2];

static void *reads(void *unused)
{
    char byte;
    sl_store_release32(&tid, (unsigned)syscall(SYS_gettid));
    CHECK_EQ(read(ends[0], &byte, 1), 1);
    return unused;
}

static void *computes(void *unused)
{
    sl_store_release32(&tid, (unsigned)syscall(SYS_gettid));
    while (!sl_load_acquire32(&stop))
        ;
    return unused;
}

static pthread_t start(void *(*body)(void *))
{
    pthread_t thread;
    sl_store_relaxed32(&tid, 0);
    CHECK_EQ(pthread_create(&thread, NULL, body, NULL), 0);
    while (!sl_load_acquire32(&tid))
        sched_yield();
    return thread;
}

static enum sl_thread_state look(uintptr_t *futex)
{
    enum sl_thread_state state = sl_thread_look(sl_load_relaxed32(&tid), futex);
    if (state == SL_THREAD_UNKNOWN)
        SKIP("this kernel does not show the system calls of threads");
    return state;
}

static bool within(uintptr_t address, const void *object, size_t size)
{
    return address >= (uintptr_t)object && address < (uintptr_t)object + size;
}

static void sleeps_on_a_futex(void)
{
    uintptr_t futex;
    CHECK_EQ(sem_init(&gate, 0, 0), 0);
    pthread_t thread = start(sleeps);
    while (look(&futex) != SL_THREAD_SLEEPS)
        sched_yield();
    CHECK(within(futex, &gate, sizeof gate));
    CHECK_EQ(sem_post(&gate), 0);
    pthread_join(thread, NULL);
}

/* The kernel wakes it now and then, as it does a thread that waits for CPython's
 * GIL: it sleeps on the condition variable whenever it is not awake. */
static void waits_on_a_condition(void)
{
    uintptr_t futex;
    int seen = 0;
    pthread_t thread = start(waits);
    while (seen < 20) {
        if (look(&futex) == SL_THREAD_SLEEPS) {
            CHECK(within(futex, &waiting, sizeof waiting));
            seen++;
        }
    }
    sl_store_release32(&stop, 1);
    pthread_join(thread, NULL);
    sl_store_relaxed32(&stop, 0);
}

static void sleeps_in_another_call(void)
{
    uintptr_t futex;
    CHECK_EQ(pipe(ends), 0);
    pthread_t thread = start(reads);
    while (look(&futex) != SL_THREAD_SLEEPS)
        sched_yield();
    CHECK_EQ(futex, 0);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    pthread_join(thread, NULL);
    close(ends[0]);
    close(ends[1]);
}

static void computed_grows(void)
{
    uintptr_t futex;
    pthread_t thread = start(computes);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(look(&futex), SL_THREAD_RUNS);
    int64_t first = sl_thread_computed(sl_load_relaxed32(&tid));
    CHECK(first >= 0);
    while (sl_thread_computed(sl_load_relaxed32(&tid)) - first < 5 * 1000 * 1000)
        sched_yield();
    sl_store_release32(&stop, 1);
    pthread_join(thread, NULL);
}

static void no_such_thread(void)
{
    uintptr_t futex;
    CHECK_EQ(sl_thread_look(0x7ffffff, &futex), SL_THREAD_UNKNOWN);
    CHECK(sl_thread_computed(0x7ffffff) < 0);
}

int main(void)
{
    RUN(sleeps_on_a_futex);
    RUN(waits_on_a_condition);
    RUN(sleeps_in_another_call);
    RUN(computed_grows);
    RUN(no_such_thread);
    return 0;
}
