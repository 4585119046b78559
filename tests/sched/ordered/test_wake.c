/* SPDX-License-Identifier: MIT
 *
 * Waking and spawning from OS threads that have nothing to do with the pool:
 * a wake that is lost makes this hang.
 */
#include "check.h"

enum { TASKLETS = 20, WAKERS = 4, ROUNDS = MANY_OR(5000, 300) };

typedef struct {
    sl_atomic handle; /* sl_ordered_tasklet *, once it runs */
    sl_atomic tokens; /* given by wakers */
    uintptr_t taken;  /* its own */
} sink;

static sink sinks[TASKLETS];
static sl_atomic wakers_left;

static void take_tokens(void *arg)
{
    sink *s = arg;
    sl_store_ptr_release(&s->handle, sl_ordered_current());
    while (s->taken < (uintptr_t)WAKERS * ROUNDS) {
        while (s->taken < sl_load_acquire(&s->tokens))
            s->taken++;
        if (s->taken < (uintptr_t)WAKERS * ROUNDS)
            sl_ordered_suspend();
    }
    while (sl_load_acquire(&wakers_left)) /* their last wake is for us */
        sl_ordered_yield();
}

static void *give_tokens(void *arg)
{
    unsigned at = (unsigned)(uintptr_t)arg;
    for (int i = 0; i < ROUNDS; i++)
        for (int k = 0; k < TASKLETS; k++) {
            sink *s = &sinks[(at + (unsigned)k) % TASKLETS];
            sl_ordered_tasklet *t;
            while (!(t = sl_load_ptr_acquire(&s->handle)))
                sched_yield();
            sl_add(&s->tokens, 1);
            sl_ordered_wake(t);
        }
    sl_add(&wakers_left, (uintptr_t)-1);
    return NULL;
}

static void tokens(int threads)
{
    pthread_t wakers[WAKERS];
    memset(sinks, 0, sizeof sinks);
    sl_store_relaxed(&wakers_left, WAKERS);
    sl_ordered *n = start(threads);
    for (int i = 0; i < TASKLETS; i++)
        go(n, take_tokens, &sinks[i]);
    for (uintptr_t i = 0; i < WAKERS; i++)
        CHECK_EQ(pthread_create(&wakers[i], NULL, give_tokens, (void *)i), 0);
    for (int i = 0; i < WAKERS; i++)
        pthread_join(wakers[i], NULL);
    sl_ordered_wait(n);
    for (int i = 0; i < TASKLETS; i++)
        CHECK_EQ(sinks[i].taken, WAKERS * ROUNDS);
    finish(n);
}

/* ---- spawning ---- */

static sl_ordered *native;
static uintptr_t ran; /* by tasklets only */

static void count(void *unused)
{
    (void)unused;
    ran++;
    sl_ordered_yield();
    ran++;
}

static void *spawn_many(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++)
        go(native, count, NULL);
    return NULL;
}

static void spawners(int threads)
{
    pthread_t others[WAKERS];
    ran = 0;
    native = start(threads);
    for (int i = 0; i < WAKERS; i++)
        CHECK_EQ(pthread_create(&others[i], NULL, spawn_many, NULL), 0);
    for (int i = 0; i < WAKERS; i++)
        pthread_join(others[i], NULL);
    finish(native);
    CHECK_EQ(ran, 2 * WAKERS * ROUNDS);
}

/* In a blocking section the guard is not held: spawning goes another way. */
static void spawns_while_blocking(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        sl_ordered_blocking_begin();
        go(native, count, NULL);
        sl_ordered_blocking_end();
    }
}

static void blocking_spawners(int threads)
{
    ran = 0;
    native = start(threads);
    for (int i = 0; i < 4; i++)
        go(native, spawns_while_blocking, NULL);
    finish(native);
    CHECK_EQ(ran, 2 * 4 * ROUNDS);
}

int main(void)
{
    for (int threads = 1; threads <= 8; threads *= 2) {
        fprintf(stderr, "%d threads\n", threads);
        tokens(threads);
        spawners(threads);
        blocking_spawners(threads);
    }
    return 0;
}
