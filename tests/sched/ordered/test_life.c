/* SPDX-License-Identifier: MIT
 *
 * Many tasklets, flat memory, and the end of a scheduler in every state that
 * it can be left in.
 */
#include "check.h"

#include <malloc.h>

static sl_ordered *native;
static long ran;

static void nothing(void *unused)
{
    (void)unused;
    ran++;
}

static void yields_once(void *unused)
{
    (void)unused;
    sl_ordered_yield();
    ran++;
}

static void bad_arguments(void)
{
    sl_ordered *n;
    CHECK_EQ(sl_ordered_create(&n, 0, SL_STACK_MIN), SL_EINVAL);
    CHECK_EQ(sl_ordered_create(&n, -1, SL_STACK_MIN), SL_EINVAL);
    CHECK_EQ(sl_ordered_create(&n, 1, 1), SL_EINVAL);
    CHECK(sl_ordered_current() == NULL);
}

static void ends_without_tasklets(void)
{
    for (int i = 0; i < 50; i++)
        finish(start(1 + i % 4));
}

static void waits_twice(void)
{
    ran = 0;
    native = start(2);
    sl_ordered_wait(native);
    go(native, nothing, NULL);
    sl_ordered_wait(native);
    CHECK_EQ(ran, 1);
    go(native, nothing, NULL);
    sl_ordered_wait(native);
    CHECK_EQ(ran, 2);
    finish(native);
}

/* ---- storms ---- */

enum { BATCH = 200, BATCHES = 300 };

static void spawns_batches(void *batches)
{
    for (intptr_t i = 0; i < (intptr_t)batches; i++) {
        for (int k = 0; k < BATCH; k++)
            go(native, k % 2 ? yields_once : nothing, NULL);
        long wanted = ran + BATCH;
        while (ran < wanted)
            sl_ordered_yield();
    }
}

static void storm(int threads)
{
    sl_stack_stats before, after;
    ran = 0;
    native = start(threads);
    go(native, spawns_batches, (void *)20); /* warm */
    sl_ordered_wait(native);
    sl_stack_pool_stats(sl_ordered_stacks(native), &before);
    size_t heap = mallinfo2().uordblks;
    go(native, spawns_batches, (void *)BATCHES);
    sl_ordered_wait(native);
    sl_stack_pool_stats(sl_ordered_stacks(native), &after);
    CHECK_EQ(ran, (20 + BATCHES) * BATCH);
    CHECK_EQ(after.slabs, before.slabs);
    CHECK(after.live <= BATCH + 1);
    CHECK(mallinfo2().uordblks <= heap + 65536); /* a sanitizer's says 0 */
    finish(native);
}

static void storms(void)
{
    for (int threads = 1; threads <= 4; threads *= 2)
        storm(threads);
}

/* ---- many parked at once ---- */

enum { PARKED = 5000 };

static sl_ordered_tasklet *parked[PARKED];
static int nparked;

static void parks(void *unused)
{
    (void)unused;
    parked[nparked++] = sl_ordered_current();
    sl_ordered_suspend();
    ran++;
}

static void wakes_all(void *unused)
{
    (void)unused;
    for (int i = 0; i < PARKED; i++)
        go(native, parks, NULL);
    while (nparked < PARKED)
        sl_ordered_yield();
    for (int i = PARKED; i-- > 0;)
        sl_ordered_wake(parked[i]);
}

static void many_parked(void)
{
    ran = nparked = 0;
    native = start(2);
    go(native, wakes_all, NULL);
    finish(native);
    CHECK_EQ(ran, PARKED);
}

/* ---- the end, with the lane on some other thread ---- */

static sem_t gate;

static void blocks(void *unused)
{
    (void)unused;
    block_on(&gate);
}

static void opens(void *unused)
{
    (void)unused;
    sl_ordered_yield();
    CHECK_EQ(sem_post(&gate), 0);
    sl_ordered_yield();
}

static void uses_poller(void *unused)
{
    int ends[2];
    (void)unused;
    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(sl_ordered_wait_fd(ends[0], SL_READ, sl_now() + 1000), SL_ETIMEDOUT);
    close(ends[0]);
    close(ends[1]);
}

static void ends_after_handoffs(void)
{
    CHECK_EQ(sem_init(&gate, 0, 0), 0);
    for (int i = 0; i < 200; i++) {
        native = start(2 + i % 3);
        go(native, blocks, NULL);
        go(native, opens, NULL);
        if (i % 2)
            go(native, uses_poller, NULL);
        if (i % 4 < 2)
            sl_ordered_wait(native);
        finish(native);
    }
    sem_destroy(&gate);
}

int main(void)
{
    RUN(bad_arguments);
    RUN(ends_without_tasklets);
    RUN(waits_twice);
    RUN(storms);
    RUN(many_parked);
    RUN(ends_after_handoffs);
    return 0;
}
