/* SPDX-License-Identifier: MIT
 *
 * The system refuses memory, address space or threads, at every single call in turn and from
 * some call on for good.  Whatever was asked for gives an error and leaves nothing behind,
 * what runs goes on, and the next attempt works.
 */
#include <string.h>
#include <unistd.h>

#include "stackless/channel.h"
#include "wrapped.h"

static const char *const kinds[] = {"memory", "address space", "thread"};

/* ---- what is tried ---- */

static void may(int rc, int error)
{
    if (rc != 0 && rc != error) {
        fprintf(stderr, "%s, with %lu refusals\n", sl_strerror(rc), (unsigned long)sl_load_relaxed(&refused));
        exit(1);
    }
}

static sl_pool *pool;
static sl_channel *plain, *ring;
static sl_key key;
static int ends[2];

static void nothing(void *unused) {}

/* Everything that a tasklet can ask for and that needs memory. */
static void asks(void *unused)
{
    sl_channel *c = NULL;
    sl_tasklet *t[3];
    sl_case k[20];
    uint64_t v = 0;
    may(sl_channel_create(&c, sizeof v, 1000), SL_ENOMEM);
    if (c)
        CHECK_EQ(sl_channel_destroy(c), 0);
    may(sl_set_local(key, &pool), SL_ENOMEM);
    for (int i = 0; i < 3; i++) {
        int rc = sl_go(NULL, &t[i], nothing, NULL);
        may(rc, SL_ENOMEM);
        CHECK((rc == 0) == (t[i] != NULL));
    }
    int64_t at = sl_after_ns(1000);
    int rc = sl_sleep_until(at);
    may(rc, SL_ENOMEM);
    CHECK(rc != 0 || sl_clock() >= at);
    for (int i = 0; i < 20; i++)
        k[i] = (sl_case){.channel = i % 2 ? plain : ring, .value = &v};
    rc = sl_select(k, 20, sl_after_ns(1000));
    CHECK(rc == SL_ETIMEDOUT || rc == SL_ENOMEM);
    rc = sl_receive_until(ring, &v, sl_after_ns(1000));
    CHECK(rc == SL_ETIMEDOUT || rc == SL_ENOMEM);
    rc = sl_wait_fd(ends[0], SL_FD_READ, sl_after_ns(1000));
    CHECK(rc == SL_ETIMEDOUT || rc == SL_ENOMEM || rc == SL_EPOLL);
    for (int i = 0; i < 3; i++)
        if (t[i] && (rc = sl_join(t[i], sl_after_ns(60000000000))) == SL_ENOMEM)
            CHECK_EQ(sl_join(t[i], SL_FOREVER), 0); /* this needs none */
}

/* 0, or what went wrong where it was allowed to. */
static int whole_life(unsigned lanes)
{
    sl_pool_config config = {.lanes = lanes};
    sl_pool_stats s;
    int rc = sl_pool_create(&pool, &config);
    if (rc != 0) {
        CHECK(pool == NULL);
        return rc;
    }
    for (int i = 0; i < 2; i++)
        may(rc = sl_go(pool, NULL, asks, NULL), SL_ENOMEM);
    int wait = sl_pool_wait(pool);
    CHECK_EQ(wait, 0);
    CHECK_EQ(sl_channel_waiting(plain, false), 0);
    CHECK_EQ(sl_channel_waiting(ring, false), 0);
    CHECK_EQ(sl_pool_get_stats(pool, &s), 0);
    CHECK_EQ(s.tasklets, 0);
    CHECK_EQ(sl_pool_destroy(pool), 0);
    return rc;
}

/* Each call of a kind in turn, alone, and then all from it on. */
static void each_call_in_turn(enum kind k, unsigned lanes)
{
    fprintf(stderr, "  no %s, %u lanes\n", kinds[k], lanes);
    for (int for_good = 0; for_good < 2; for_good++) {
        uintptr_t tried = 0;
        for (bool more = true; more;) {
            uintptr_t blocks = sl_load_relaxed(&held), bytes = sl_load_relaxed(&mapped);
            refuse(k, ++tried, for_good ? UINTPTR_MAX : 1);
            int rc = whole_life(lanes);
            more = sl_load_relaxed(&refused) != 0;
            CHECK(more || rc == 0);
            refuse(k, 0, 0);
            CHECK_EQ(sl_load_relaxed(&held), blocks);
            CHECK_EQ(sl_load_relaxed(&mapped), bytes);
        }
        CHECK(tried > (k == MEMORY ? 10 : 1)); /* there were such calls */
        CHECK_EQ(whole_life(lanes), 0);
    }
}

static void one_lane(void)
{
    for (int k = 0; k < KINDS; k++)
        each_call_in_turn((enum kind)k, 1);
}

static void two_lanes(void)
{
    for (int k = 0; k < KINDS; k++)
        each_call_in_turn((enum kind)k, 2);
}

/* ---- address space ends among many ---- */

static sl_atomic ran;

static void waits(void *unused)
{
    char byte;
    CHECK_EQ(sl_receive(plain, &byte), SL_ECLOSED);
    sl_add(&ran, 1);
}

static void spawn_until_none_is(uintptr_t mappings)
{
    uintptr_t bytes = sl_load_relaxed(&mapped), blocks = sl_load_relaxed(&held), started = 0;
    int rc;
    sl_store_relaxed(&ran, 0);
    sl_pool_config config = {.lanes = 2};
    CHECK_EQ(sl_pool_create(&pool, &config), 0);
    refuse(SPACE, mappings + 1, UINTPTR_MAX);
    while ((rc = sl_go(pool, NULL, waits, NULL)) == 0)
        started++;
    CHECK_EQ(rc, SL_ENOMEM);
    CHECK(started >= 64);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(sl_go(pool, NULL, waits, NULL), SL_ENOMEM);
    refuse(SPACE, 0, 0);
    CHECK_EQ(sl_go(pool, NULL, waits, NULL), 0); /* there is some again */
    CHECK_EQ(sl_channel_close(plain), 0);
    CHECK_EQ(sl_pool_wait(pool), 0);
    CHECK_EQ(sl_load_relaxed(&ran), started + 1);
    CHECK_EQ(sl_pool_destroy(pool), 0);
    CHECK_EQ(sl_load_relaxed(&mapped), bytes);
    CHECK_EQ(sl_channel_destroy(plain), 0);
    CHECK_EQ(sl_channel_create(&plain, sizeof(uint64_t), 0), 0);
    CHECK(sl_load_relaxed(&held) - blocks <= mappings); /* what the process keeps for each of its slabs */
}

static void spawn_until_none_is_left(void)
{
    spawn_until_none_is(16);
    uintptr_t blocks = sl_load_relaxed(&held);
    spawn_until_none_is(8); /* some are for the threads, so surely fewer slabs than before */
    CHECK_EQ(sl_load_relaxed(&held), blocks);
}

/* ---- threads ---- */

static void blocks(void *unused)
{
    CHECK_EQ(sl_blocking_begin(), 0);
    usleep(1000);
    CHECK_EQ(sl_blocking_end(), 0);
    sl_add(&ran, 1);
}

static void spawns(void *n)
{
    for (intptr_t i = 0; i < (intptr_t)n; i++)
        CHECK_EQ(sl_go(NULL, NULL, i % 50 ? spawns : blocks, NULL), 0);
    CHECK_EQ(sl_sleep(1000), 0);
    sl_add(&ran, 1);
}

/* One thread has to do for four lanes, and for those that block. */
static void no_second_thread(void)
{
    sl_pool_stats s;
    sl_store_relaxed(&ran, 0);
    refuse(THREADS, 2, UINTPTR_MAX);
    sl_pool_config config = {.lanes = 4};
    CHECK_EQ(sl_pool_create(&pool, &config), 0);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(sl_go(pool, NULL, spawns, (void *)(intptr_t)200), 0);
    CHECK_EQ(sl_pool_wait(pool), 0);
    CHECK_EQ(sl_load_relaxed(&ran), 5 * 201);
    CHECK_EQ(sl_pool_get_stats(pool, &s), 0);
    CHECK_EQ(s.threads, 1);
    CHECK(sl_load_relaxed(&refused) > 0);
    CHECK_EQ(sl_pool_destroy(pool), 0);
    refuse(THREADS, 1, 1);
    CHECK_EQ(sl_pool_create(&pool, NULL), SL_ETHREAD);
    CHECK(strstr(sl_pool_explain(), "thread") != NULL);
    refuse(THREADS, 0, 0);
}

int main(void)
{
    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(sl_key_create(&key, NULL), 0);
    CHECK_EQ(sl_channel_create(&plain, sizeof(uint64_t), 0), 0);
    CHECK_EQ(sl_channel_create(&ring, sizeof(uint64_t), 100), 0);
    for (int i = 0; i < 3; i++) /* what is kept for the process is there now */
        CHECK_EQ(whole_life(2), 0);
    RUN(one_lane);
    RUN(two_lanes);
    RUN(spawn_until_none_is_left);
    RUN(no_second_thread);
    return 0;
}
