/* SPDX-License-Identifier: MIT
 *
 * What the interface refuses: NULL, values out of range, handles used twice, calls
 * from where they make no sense.  Each is an error with a text, and the pool goes on
 * as if nothing had been asked.  Bad environment variables: test_pool.c.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../../../core/atomic.h"
#include "../../core/check.h"
#include "stackless/channel.h"

static sl_pool *pool;
static sl_channel *gate;

static void begin(void)
{
    sl_pool_config config = {.lanes = 2, .threads = 8};
    CHECK_EQ(sl_pool_create(&pool, &config), 0);
    CHECK_EQ(sl_channel_create(&gate, 0, 0), 0);
}

static void end(void)
{
    CHECK_EQ(sl_pool_wait(pool), 0);
    CHECK_EQ(sl_pool_destroy(pool), 0);
    CHECK_EQ(sl_channel_destroy(gate), 0);
}

static void run(sl_body body)
{
    begin();
    CHECK_EQ(sl_go(pool, NULL, body, NULL), 0);
    end();
}

static void nothing(void *unused) {}
static void waits(void *unused) { CHECK_EQ(sl_receive(gate, NULL), 0); }

/* ---- configuration ---- */

static void refused(const sl_pool_config *config, const char *name)
{
    sl_pool *p = (sl_pool *)&p;
    CHECK_EQ(sl_pool_create(&p, config), SL_EINVAL);
    CHECK(p == NULL);
    CHECK(strstr(sl_pool_explain(), name) && strstr(sl_pool_explain(), "allowed"));
}

static void out_of_range(void)
{
    refused(&(sl_pool_config){.lanes = 1025}, "lanes");
    refused(&(sl_pool_config){.lanes = 2, .threads = 1}, "threads");
    refused(&(sl_pool_config){.threads = 8193}, "threads");
    refused(&(sl_pool_config){.stack_size = SL_POOL_STACK_MIN - 1}, "stack_size");
    refused(&(sl_pool_config){.stack_size = SL_POOL_STACK_MAX + 1}, "stack_size");
    refused(&(sl_pool_config){.affinity = (enum sl_affinity)3}, "affinity");
    refused(&(sl_pool_config){.timeslice_ns = -1}, "timeslice_ns");
    CHECK_EQ(sl_pool_create(NULL, NULL), SL_EINVAL);
    /* The ends of the ranges are good, and one thread means one lane. */
    sl_pool *p;
    sl_pool_stats s;
    CHECK_EQ(sl_pool_create(&p, &(sl_pool_config){.threads = 1, .stack_size = SL_POOL_STACK_MAX}), 0);
    CHECK_EQ(sl_pool_explain()[0], 0);
    CHECK_EQ(sl_pool_get_stats(p, &s), 0);
    CHECK_EQ(s.lanes, 1);
    CHECK_EQ(sl_pool_destroy(p), 0);
    CHECK_EQ(sl_pool_create(&p, &(sl_pool_config){.lanes = 1024, .stack_size = SL_POOL_STACK_MIN}), 0);
    CHECK_EQ(sl_pool_destroy(p), 0);
}

static void nulls(void)
{
    sl_pool_stats s;
    sl_tasklet *t = (sl_tasklet *)&s;
    begin();
    CHECK_EQ(sl_pool_wait(NULL), SL_EINVAL);
    CHECK_EQ(sl_pool_destroy(NULL), SL_EINVAL);
    CHECK_EQ(sl_pool_resize(NULL, 1), SL_EINVAL);
    CHECK_EQ(sl_pool_get_stats(NULL, &s), SL_EINVAL);
    CHECK_EQ(sl_pool_get_stats(pool, NULL), SL_EINVAL);
    CHECK_EQ(sl_pool_dump(NULL, stderr), SL_EINVAL);
    CHECK_EQ(sl_pool_dump(pool, NULL), SL_EINVAL);
    CHECK_EQ(sl_go(pool, &t, NULL, NULL), SL_EINVAL);
    CHECK(t == NULL);
    CHECK_EQ(sl_join(NULL, 0), SL_EINVAL);
    CHECK_EQ(sl_detach(NULL), SL_EINVAL);
    CHECK_EQ(sl_cancel(NULL), SL_EINVAL);
    CHECK_EQ(sl_key_create(NULL, NULL), SL_EINVAL);
    CHECK_EQ(sl_channel_length(NULL), 0);
    CHECK_EQ(sl_channel_waiting(NULL, true), 0);
    CHECK_EQ(sl_channel_capacity(NULL), 0);
    CHECK(!sl_channel_closed(NULL));
    end();
}

static void resizes(void)
{
    sl_pool *p;
    begin();
    CHECK_EQ(sl_pool_resize(pool, 0), SL_EINVAL);
    CHECK_EQ(sl_pool_resize(pool, 9), SL_EINVAL); /* more than threads */
    CHECK_EQ(sl_pool_resize(pool, 1025), SL_EINVAL);
    CHECK_EQ(sl_pool_resize(pool, 8), 0);
    end();
    CHECK_EQ(sl_pool_create(&p, &(sl_pool_config){.seed = 1}), 0);
    CHECK_EQ(sl_pool_resize(p, 2), SL_ENOTSUP);
    CHECK_EQ(sl_pool_resize(p, 0), SL_EINVAL);
    CHECK_EQ(sl_pool_resize(p, 1), 0);
    CHECK_EQ(sl_pool_destroy(p), 0);
}

/* ---- handles ---- */

static void joins_self(void *handle)
{
    CHECK_EQ(sl_join(*(sl_tasklet **)handle, SL_FOREVER), SL_EDEADLK);
    CHECK_EQ(sl_join(sl_current(), 0), SL_EDEADLK);
}

static void joins(void *t)
{
    int rc;
    while ((rc = sl_join(t, SL_FOREVER)) == SL_EBUSY) /* the other one looks */
        CHECK_EQ(sl_yield(), 0);
    CHECK_EQ(rc, 0);
}

static void handles(void *unused)
{
    sl_tasklet *t, *other;
    CHECK_EQ(sl_go(NULL, &t, joins_self, &t), 0);
    CHECK_EQ(sl_join(t, SL_FOREVER), 0);
    /* It has been dropped. */
    CHECK_EQ(sl_join(t, SL_FOREVER), SL_EINVAL);
    CHECK_EQ(sl_detach(t), SL_EINVAL);
    CHECK_EQ(sl_cancel(t), SL_EINVAL);
    CHECK_EQ(sl_set_name(t, "x"), SL_EINVAL);
    /* Somebody else waits for it. */
    CHECK_EQ(sl_go(NULL, &t, waits, NULL), 0);
    CHECK_EQ(sl_go(NULL, &other, joins, t), 0);
    int rc;
    while ((rc = sl_join(t, 1)) == SL_ETIMEDOUT) /* as long as the other has not begun */
        CHECK_EQ(sl_yield(), 0);
    CHECK_EQ(rc, SL_EBUSY);
    CHECK_EQ(sl_join(t, SL_FOREVER), SL_EBUSY);
    CHECK_EQ(sl_detach(t), SL_EBUSY);
    CHECK_EQ(sl_send(gate, NULL), 0);
    CHECK_EQ(sl_join(other, SL_FOREVER), 0);
    CHECK_EQ(sl_join(t, 0), SL_EINVAL);
    /* It is nobody's. */
    CHECK_EQ(sl_go(NULL, &t, waits, NULL), 0);
    CHECK_EQ(sl_detach(t), 0);
    CHECK_EQ(sl_detach(t), SL_EINVAL);
    CHECK_EQ(sl_join(t, SL_FOREVER), SL_EINVAL);
    CHECK_EQ(sl_send(gate, NULL), 0);
}

static void handles_used_twice(void) { run(handles); }

static void *detaches(void *t)
{
    return sl_detach(t) == 0 ? &pool : NULL;
}

/* Two threads drop a handle at once, around the end: one of them has it. */
static void dropped_by_two(void)
{
    begin();
    for (int i = 0; i < 300; i++) {
        sl_tasklet *t;
        pthread_t thread;
        void *his;
        CHECK_EQ(sl_go(pool, &t, nothing, NULL), 0);
        CHECK_EQ(pthread_create(&thread, NULL, detaches, t), 0);
        int mine = i % 2 ? sl_detach(t) : sl_join(t, SL_FOREVER);
        CHECK_EQ(pthread_join(thread, &his), 0);
        CHECK((mine == 0) != (his != NULL));
        CHECK(mine == 0 || mine == SL_EINVAL);
    }
    end();
}

/* ---- the wrong place ---- */

static sl_tasklet *sleeper;

static void sleeps(void *unused) { CHECK_EQ(sl_sleep_until(SL_FOREVER), SL_ECANCELLED); }

static void between(void *unused)
{
    sl_case k = {.channel = gate, .send = true};
    CHECK_EQ(sl_go(NULL, &sleeper, sleeps, NULL), 0);
    CHECK_EQ(sl_blocking_end(), SL_ENOTASKLET);
    CHECK_EQ(sl_blocking_begin(), 0);
    CHECK_EQ(sl_blocking_begin(), SL_ENOTASKLET);
    CHECK_EQ(sl_send(gate, NULL), SL_ENOTASKLET);
    CHECK_EQ(sl_receive(gate, NULL), SL_ENOTASKLET);
    CHECK_EQ(sl_send_many(gate, NULL, 1, 0), SL_ENOTASKLET);
    CHECK_EQ(sl_select(&k, 1, SL_FOREVER), SL_ENOTASKLET);
    CHECK_EQ(sl_sleep(1), SL_ENOTASKLET);
    CHECK_EQ(sl_join(sleeper, SL_FOREVER), SL_ENOTASKLET);
    CHECK_EQ(sl_wait_fd(0, SL_FD_READ, SL_FOREVER), SL_ENOTASKLET);
    CHECK_EQ(sl_try_send(gate, NULL), SL_EAGAIN); /* this one does not wait */
    CHECK_EQ(sl_yield(), 0);
    CHECK_EQ(sl_cancel(sleeper), 0);
    CHECK_EQ(sl_blocking_end(), 0);
    CHECK_EQ(sl_join(sleeper, SL_FOREVER), 0);
}

static void between_begin_and_end(void) { run(between); }

static void forgets(void *unused) { CHECK_EQ(sl_blocking_begin(), 0); }

/* A body that returns without the end has ended all the same. */
static void without_an_end(void) { run(forgets); }

static void inside(void *unused)
{
    sl_key key;
    CHECK_EQ(sl_pool_wait(pool), SL_EDEADLK);
    CHECK_EQ(sl_pool_destroy(pool), SL_EDEADLK);
    CHECK_EQ(sl_wait_fd(-1, SL_FD_READ, 0), SL_EINVAL);
    CHECK_EQ(sl_wait_fd(0, 0, 0), SL_EINVAL);
    CHECK_EQ(sl_wait_fd(0, 2, 0), SL_EINVAL);
    CHECK_EQ(sl_forget_fd(-1), SL_EINVAL);
    CHECK_EQ(sl_forget_fd(12345), 0); /* nobody waits for it */
    CHECK_EQ(sl_set_name(NULL, NULL), SL_EINVAL);
    CHECK_EQ(sl_set_local(SL_KEYS, NULL), SL_EINVAL);
    CHECK_EQ(sl_set_local(0, &key), SL_EINVAL); /* has not been made */
    for (int i = 0; i < SL_KEYS; i++)
        CHECK_EQ(sl_key_create(&key, NULL), 0);
    CHECK_EQ(sl_key_create(&key, NULL), SL_ENOMEM);
    CHECK_EQ(sl_set_local(key, &key), 0);
    CHECK(sl_get_local(key) == &key);
    CHECK(sl_get_local(SL_KEYS) == NULL);
}

static void inside_a_tasklet(void) { run(inside); }

static void selects(void *unused)
{
    static sl_case many[65536];
    sl_channel *c;
    int v = 1;
    sl_case none = {.channel = NULL}, k = {.send = true};
    CHECK_EQ(sl_channel_create(&c, sizeof v, 1), 0);
    k.channel = c;
    CHECK_EQ(sl_select(NULL, 1, 0), SL_EINVAL);
    CHECK_EQ(sl_select(&none, 0, 0), SL_EINVAL);
    CHECK_EQ(sl_select(many, 65536, 0), SL_EINVAL);
    CHECK_EQ(sl_select(&k, 1, 0), SL_EINVAL); /* no value */
    CHECK_EQ(sl_select(&none, 1, 0), SL_EAGAIN);
    CHECK_EQ(sl_select(&none, 1, 1), SL_ETIMEDOUT);
    k.value = &v;
    CHECK_EQ(sl_channel_close(c), 0);
    CHECK_EQ(sl_select(&k, 1, SL_FOREVER), 0);
    CHECK_EQ(k.status, SL_ECLOSED);
    CHECK_EQ(sl_channel_destroy(c), 0);
}

static void bad_selects(void) { run(selects); }

static void waited_on(void *unused)
{
    sl_tasklet *t;
    sl_case k[2] = {{.channel = NULL}, {.channel = gate}};
    CHECK_EQ(sl_go(NULL, &t, waits, NULL), 0);
    while (sl_channel_waiting(gate, false) != 1)
        CHECK_EQ(sl_yield(), 0);
    CHECK_EQ(sl_channel_destroy(gate), SL_EBUSY);
    CHECK_EQ(sl_send(gate, NULL), 0);
    CHECK_EQ(sl_join(t, SL_FOREVER), 0);
    CHECK_EQ(sl_select(k, 2, 1), SL_ETIMEDOUT); /* has taken its waiters with it */
    CHECK_EQ(sl_channel_waiting(gate, false), 0);
}

static void channel_with_waiters(void) { run(waited_on); }

int main(void)
{
    RUN(out_of_range);
    RUN(nulls);
    RUN(resizes);
    RUN(handles_used_twice);
    RUN(dropped_by_two);
    RUN(between_begin_and_end);
    RUN(without_an_end);
    RUN(inside_a_tasklet);
    RUN(bad_selects);
    RUN(channel_with_waiters);
    return 0;
}
