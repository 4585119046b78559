/* SPDX-License-Identifier: MIT
 *
 * What the channel tests share: each test body runs in a tasklet, once for each
 * form of channel that can have the capacity, on one lane and on two.
 */
#ifndef TESTS_SCHED_NATIVE_CHAN_CHECK_H
#define TESTS_SCHED_NATIVE_CHAN_CHECK_H

#include "../../../sched/native/chan.h"
#include "../../core/check.h"

#define PATIENCE ((int64_t)60 * 1000000000)

typedef struct form {
    enum sl_channel_form form;
    size_t capacity;
    const char *name;
} form;

static const form forms[] = {
    {SL_CHANNEL_PLAIN, 0, "plain 0"}, {SL_CHANNEL_PLAIN, 1, "plain 1"}, {SL_CHANNEL_RING, 1, "ring 1"},
    {SL_CHANNEL_PLAIN, 3, "plain 3"}, {SL_CHANNEL_RING, 3, "ring 3"},   {SL_CHANNEL_PLAIN, 4, "plain 4"},
    {SL_CHANNEL_RING, 4, "ring 4"},   {SL_CHANNEL_BEST, 17, "best 17"},
};
enum { FORMS = sizeof forms / sizeof *forms };

static inline sl_channel *make(const form *f, size_t size)
{
    sl_channel *c;
    CHECK_EQ(sl_channel_create_as(f->form, &c, size, f->capacity), 0);
    return c;
}

static inline void unmake(sl_channel *c)
{
    CHECK_EQ(sl_channel_destroy(c), 0);
}

static inline sl_tasklet *go(sl_body body, void *arg)
{
    sl_tasklet *t;
    CHECK_EQ(sl_go(NULL, &t, body, arg), 0);
    return t;
}

static inline void join(sl_tasklet *t)
{
    CHECK_EQ(sl_join(t, sl_after_ns(PATIENCE)), 0);
}

/* Until `n` tasklets wait on that side. */
static inline void until_waiting(sl_channel *c, bool senders, size_t n)
{
    int64_t end = sl_after_ns(PATIENCE);
    while (sl_channel_waiting(c, senders) != n) {
        CHECK(sl_clock() < end);
        CHECK_EQ(sl_sleep(10000), 0);
    }
}

/* Threads outside a pool may still wake what waits. */
static inline void no_report(sl_pool *pool, void *arg)
{
}

/* Runs body(arg) as the first tasklet of a pool with so many lanes. */
static inline void in_pool(unsigned lanes, sl_body body, void *arg)
{
    sl_pool *pool;
    sl_tasklet *t;
    sl_pool_config config = {.lanes = lanes, .deadlock = no_report};
    CHECK_EQ(sl_pool_create(&pool, &config), 0);
    CHECK_EQ(sl_go(pool, &t, body, arg), 0);
    CHECK_EQ(sl_join(t, SL_FOREVER), 0);
    CHECK_EQ(sl_pool_wait(pool), 0);
    CHECK_EQ(sl_pool_destroy(pool), 0);
}

static inline void each_form(const char *name, void (*test)(const form *f))
{
    for (unsigned lanes = 1; lanes <= 2; lanes++) {
        for (int i = 0; i < FORMS; i++) {
            fprintf(stderr, "%s: %s, %u lanes\n", name, forms[i].name, lanes);
            in_pool(lanes, (sl_body)test, (void *)&forms[i]);
        }
    }
}

#define EACH_FORM(test) each_form(#test, test)

#endif
