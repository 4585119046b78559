/* SPDX-License-Identifier: MIT
 *
 * The system refuses threads: here pthread_create() is ours and says so.
 */
#include "check.h"

#include <dlfcn.h>
#include <errno.h>

static sl_atomic allowed, refused;

int pthread_create(pthread_t *out, const pthread_attr_t *attributes, void *(*body)(void *), void *arg)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    uintptr_t left;
    do
        left = sl_load_acquire(&allowed);
    while (left && !sl_cas(&allowed, left, left - 1));
    if (left)
        return real(out, attributes, body, arg);
    sl_add(&refused, 1);
    return EAGAIN;
}

static sl_ordered *native;
static sem_t gate;
static sl_atomic inside;
static int returned, turns;

static void none_at_all(void)
{
    sl_ordered *n;
    sl_store_release(&allowed, 0);
    CHECK_EQ(sl_ordered_create(&n, 4, SL_STACK_MIN), SL_ETHREAD);
    CHECK(sl_load_acquire(&refused) == 1);
}

static void blocks(void *unused)
{
    (void)unused;
    sl_add(&inside, 1);
    block_on(&gate);
    returned++;
}

static void takes_turns(void *unused)
{
    (void)unused;
    for (int i = 0; i < 100; i++) {
        turns++;
        sl_ordered_yield();
    }
}

/* `threads` can be made: the others wait for the blocked call, and go on then. */
static void without_a_thread_for_the_handoff(uintptr_t threads)
{
    returned = turns = 0;
    sl_store_relaxed(&inside, 0);
    CHECK_EQ(sem_init(&gate, 0, 0), 0);
    sl_store_release(&refused, 0);
    sl_store_release(&allowed, threads);
    native = start(4);
    go(native, takes_turns, NULL);
    go(native, blocks, NULL);
    go(native, takes_turns, NULL);
    while (!sl_load_acquire(&inside))
        sched_yield();
    while (!sl_load_acquire(&refused)) /* somebody has tried */
        sched_yield();
    CHECK_EQ(sem_post(&gate), 0);
    sl_ordered_wait(native);
    CHECK_EQ(returned, 1);
    CHECK_EQ(turns, 200);
    while (sl_ordered_threads(native) != 1) /* an attempt counts until it has failed */
        sched_yield();
    finish(native);
    sem_destroy(&gate);
}

static void no_monitor(void) { without_a_thread_for_the_handoff(1); }
static void no_worker(void) { without_a_thread_for_the_handoff(2); }

int main(void)
{
    RUN(none_at_all);
    RUN(no_monitor);
    RUN(no_worker);
    return 0;
}
