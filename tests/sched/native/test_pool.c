/* SPDX-License-Identifier: MIT
 *
 * The native pool through its public interface: one lane and several, every
 * call and what each refuses.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../../core/atomic.h"
#include "../../../core/context.h"
#include "../../core/check.h"
#include "stackless/pool.h"

/* TSan knows 8128 threads, and each stack is one to it. */
enum { MANY = SL_TSAN ? 500 : 20000 };

static unsigned lanes;
static sl_pool *pool;

static void no_deadlock(sl_pool *p, void *unused)
{
    (void)unused;
    sl_pool_dump(p, stderr);
    CHECK(!"a deadlock was reported where there is none");
}

static void begin(void)
{
    sl_pool_config config = {.lanes = lanes, .deadlock = no_deadlock};
    CHECK_EQ(sl_pool_create(&pool, &config), 0);
}

static void end(void)
{
    sl_pool_stats stats;
    CHECK_EQ(sl_pool_wait(pool), 0);
    sl_pool_get_stats(pool, &stats);
    CHECK_EQ(stats.tasklets, 0);
    CHECK_EQ(stats.spawned, stats.finished);
    CHECK_EQ(sl_pool_destroy(pool), 0);
}

static void run(sl_body body, void *arg)
{
    begin();
    CHECK_EQ(sl_go(pool, NULL, body, arg), 0);
    end();
}

static sl_atomic count, running;

static void counts(void *unused)
{
    (void)unused;
    sl_add(&count, 1);
}

/* ---- configuration ---- */

static void bad_configuration(void)
{
    static const struct {
        const char *name, *value;
    } bad[] = {{"STACKLESS_THREADS", "0"},      {"STACKLESS_THREADS", "x"},    {"STACKLESS_THREADS", "-1"},
               {"STACKLESS_THREADS", "1000000000"}, {"STACKLESS_STACK_SIZE", "1"}, {"STACKLESS_TIMESLICE", "soon"},
               {"STACKLESS_SEED", "1.5"},       {"STACKLESS_AFFINITY", "all"},
               {"STACKLESS_THREADS", "1025"},   {"STACKLESS_STACK_SIZE", "63K"}, {"STACKLESS_STACK_SIZE", "65M"},
               {"STACKLESS_STACK_SIZE", "64KB"}, {"STACKLESS_TIMESLICE", "60001"}, {"STACKLESS_TIMESLICE", "-1"},
               {"STACKLESS_SEED", "18446744073709551616"}};
    sl_pool *p;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        setenv(bad[i].name, bad[i].value, 1);
        CHECK_EQ(sl_pool_create(&p, NULL), SL_EINVAL);
        CHECK(!p);
        CHECK(strstr(sl_pool_explain(), bad[i].name) && strstr(sl_pool_explain(), bad[i].value));
        setenv(bad[i].name, "", 1); /* counts as unset */
    }
    static const struct {
        const char *name, *value;
    } good[] = {{"STACKLESS_THREADS", "1024"}, {"STACKLESS_STACK_SIZE", "64K"}, {"STACKLESS_STACK_SIZE", "64M"},
                {"STACKLESS_STACK_SIZE", "65536"}, {"STACKLESS_TIMESLICE", "60000"}, {"STACKLESS_SEED", "18446744073709551615"}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        setenv(good[i].name, good[i].value, 1);
        CHECK_EQ(sl_pool_create(&p, NULL), 0);
        CHECK_EQ(sl_pool_destroy(p), 0);
        setenv(good[i].name, "", 1);
    }
    sl_pool_config config = {.lanes = 5000};
    CHECK_EQ(sl_pool_create(&p, &config), SL_EINVAL);
    CHECK(strstr(sl_pool_explain(), "lanes") != NULL);
    config = (sl_pool_config){.lanes = 4, .threads = 3};
    CHECK_EQ(sl_pool_create(&p, &config), SL_EINVAL);
    CHECK_EQ(sl_pool_create(&p, NULL), 0);
    CHECK_EQ(sl_pool_destroy(p), 0);
}

static void outside_a_tasklet(void)
{
    sl_key key;
    begin();
    CHECK(!sl_current());
    CHECK_EQ(sl_yield(), SL_ENOTASKLET);
    CHECK_EQ(sl_sleep(1), SL_ENOTASKLET);
    CHECK_EQ(sl_pin(true), SL_ENOTASKLET);
    CHECK_EQ(sl_blocking_begin(), SL_ENOTASKLET);
    CHECK_EQ(sl_blocking_end(), SL_ENOTASKLET);
    CHECK_EQ(sl_wait_fd(0, SL_FD_READ, 0), SL_ENOTASKLET);
    CHECK_EQ(sl_set_name(NULL, "x"), SL_ENOTASKLET);
    CHECK_EQ(sl_go(NULL, NULL, counts, NULL), SL_ENOTASKLET);
    CHECK_EQ(sl_go(pool, NULL, NULL, NULL), SL_EINVAL);
    CHECK_EQ(sl_key_create(&key, NULL), 0);
    CHECK_EQ(sl_set_local(key, &key), SL_ENOTASKLET);
    CHECK(!sl_get_local(key));
    CHECK(!sl_cancelled());
    CHECK_EQ(sl_pool_wait(NULL), SL_EINVAL);
    CHECK_EQ(sl_join(NULL, 0), SL_EINVAL);
    CHECK_EQ(sl_cancel(NULL), SL_EINVAL);
    end();
}

static void inside_what_is_for_outside(void *unused)
{
    (void)unused;
    CHECK_EQ(sl_pool_wait(pool), SL_EDEADLK);
    CHECK_EQ(sl_pool_destroy(pool), SL_EDEADLK);
    CHECK_EQ(sl_blocking_end(), SL_ENOTASKLET);
}

static void refuses_its_own_tasklets(void) { run(inside_what_is_for_outside, NULL); }

/* ---- spawn and join ---- */

static void spawns(void *n)
{
    for (intptr_t i = 0; i < (intptr_t)n; i++)
        CHECK_EQ(sl_go(NULL, NULL, counts, NULL), 0);
}

static void many_from_inside_and_outside(void)
{
    begin();
    sl_store_relaxed(&count, 0);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(sl_go(pool, NULL, counts, NULL), 0);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(sl_go(pool, NULL, spawns, (void *)(intptr_t)MANY), 0);
    end();
    CHECK_EQ(sl_load_relaxed(&count), 1000 + 10 * MANY);
}

static void sets(void *flag) { *(int *)flag = 1; }

static void joins_itself(void *handle) { CHECK_EQ(sl_join(*(sl_tasklet **)handle, SL_FOREVER), SL_EDEADLK); }

static void sleeps_long(void *status) { *(int *)status = sl_sleep(INT64_MAX); }

static void joins(void *unused)
{
    sl_tasklet *t;
    int flag = 0, status = 0;
    (void)unused;
    CHECK_EQ(sl_go(NULL, &t, sets, &flag), 0);
    CHECK_EQ(sl_join(t, SL_FOREVER), 0);
    CHECK_EQ(flag, 1);
    flag = 0;
    CHECK_EQ(sl_go(NULL, &t, sets, &flag), 0);
    for (int i = 0; !*(volatile int *)&flag || i < 100; i++)
        sl_yield();
    CHECK_EQ(sl_join(t, 0), 0); /* it has ended, or is about to */
    CHECK_EQ(sl_go(NULL, &t, joins_itself, &t), 0);
    CHECK_EQ(sl_join(t, SL_FOREVER), 0);
    CHECK_EQ(sl_go(NULL, &t, sleeps_long, &status), 0);
    CHECK_EQ(sl_join(t, sl_after_ns(1000000)), SL_ETIMEDOUT);
    CHECK_EQ(sl_join(t, 0), SL_ETIMEDOUT);
    CHECK_EQ(sl_cancel(t), 0);
    CHECK_EQ(sl_join(t, SL_FOREVER), 0);
    CHECK_EQ(status, SL_ECANCELLED);
    CHECK_EQ(sl_go(NULL, &t, sets, &flag), 0);
    sl_detach(t);
}

static void joins_and_timeouts(void) { run(joins, NULL); }

static void joined_by_a_thread(void)
{
    sl_tasklet *t;
    int flag = 0, status = 0;
    begin();
    CHECK_EQ(sl_go(pool, &t, sets, &flag), 0);
    CHECK_EQ(sl_join(t, SL_FOREVER), 0);
    CHECK_EQ(flag, 1);
    CHECK_EQ(sl_go(pool, &t, sleeps_long, &status), 0);
    CHECK_EQ(sl_join(t, sl_after_ns(1000000)), SL_ETIMEDOUT);
    CHECK_EQ(sl_cancel(t), 0);
    CHECK_EQ(sl_join(t, SL_FOREVER), 0);
    CHECK_EQ(status, SL_ECANCELLED);
    end();
}

static void divides(void *arg)
{
    intptr_t *n = arg;
    if (*n < 2)
        return;
    intptr_t left = *n - 1, right = *n - 2;
    sl_tasklet *t;
    CHECK_EQ(sl_go(NULL, &t, divides, &left), 0);
    divides(&right);
    CHECK_EQ(sl_join(t, SL_FOREVER), 0);
    *n = left + right;
}

static void divide_and_join(void)
{
    intptr_t n = 20;
    run(divides, &n);
    CHECK_EQ(n, 6765);
}

/* ---- yield, sleep, cancel ---- */

static char trace[64];

static void writes_twice(void *letter)
{
    for (int i = 0; i < 2; i++) {
        trace[strlen(trace)] = (char)(intptr_t)letter;
        sl_yield();
    }
}

static void three_writers(void *unused)
{
    (void)unused;
    for (intptr_t c = 'a'; c <= 'c'; c++)
        CHECK_EQ(sl_go(NULL, NULL, writes_twice, (void *)c), 0);
}

static void yields_take_turns(void)
{
    sl_pool_config config = {.lanes = 1};
    memset(trace, 0, sizeof trace);
    CHECK_EQ(sl_pool_create(&pool, &config), 0);
    CHECK_EQ(sl_go(pool, NULL, three_writers, NULL), 0);
    end();
    CHECK_EQ(strlen(trace), 6);
    CHECK(strncmp(trace, trace + 3, 3) == 0); /* everybody once before anybody twice */
}

static void sleeps_until(void *arg)
{
    int64_t at = sl_after_ns((intptr_t)arg * 1000000);
    CHECK_EQ(sl_sleep_until(at), 0);
    CHECK(sl_clock() >= at);
    sl_add(&count, 1);
}

static void sleepers(void)
{
    begin();
    sl_store_relaxed(&count, 0);
    for (intptr_t i = 0; i < 50; i++)
        CHECK_EQ(sl_go(pool, NULL, sleeps_until, (void *)(i % 7)), 0);
    end();
    CHECK_EQ(sl_load_relaxed(&count), 50);
}

static void cancelled_before_it_waits(void *unused)
{
    (void)unused;
    while (!sl_cancelled())
        sl_yield();
    CHECK_EQ(sl_sleep(1000000000), SL_ECANCELLED);
    CHECK(!sl_cancelled());
    CHECK_EQ(sl_sleep(1000), 0); /* once for each cancel */
    sl_add(&count, 1);
}

static void cancels(void *unused)
{
    sl_tasklet *t;
    (void)unused;
    CHECK_EQ(sl_go(NULL, &t, cancelled_before_it_waits, NULL), 0);
    sl_yield();
    CHECK_EQ(sl_cancel(t), 0);
    CHECK_EQ(sl_join(t, SL_FOREVER), 0);
}

/* The one worker of a lane sleeps until the first timer; a second one is made for what comes
 * from outside, and that one's timer is earlier. */
static void sleeps_for_an_hour(void *unused)
{
    (void)unused;
    sl_store_relaxed(&running, 1);
    CHECK_EQ(sl_sleep((int64_t)3600 * 1000000000), SL_ECANCELLED);
}

static void sleeps_and_cancels(void *other)
{
    CHECK_EQ(sl_sleep(30000000), 0); /* not so short that the monitor has not gone to sleep yet */
    CHECK_EQ(sl_cancel(other), 0);
}

static void an_earlier_timer(void)
{
    sl_tasklet *t;
    sl_pool_stats stats;
    begin();
    sl_store_relaxed(&running, 0);
    CHECK_EQ(sl_go(pool, &t, sleeps_for_an_hour, NULL), 0);
    do { /* until all lie down */
        usleep(1000);
        sl_pool_get_stats(pool, &stats);
    } while (!sl_load_relaxed(&running) || stats.parks == 0);
    usleep(20000);
    CHECK_EQ(sl_go(pool, NULL, sleeps_and_cancels, t), 0);
    CHECK_EQ(sl_join(t, SL_FOREVER), 0);
    end();
}

static void a_cancel_is_kept(void)
{
    sl_store_relaxed(&count, 0);
    run(cancels, NULL);
    CHECK_EQ(sl_load_relaxed(&count), 1);
}

/* ---- threads ---- */

static void stays(void *unused)
{
    (void)unused;
    CHECK_EQ(sl_pin(true), 0);
    pthread_t self = pthread_self();
    for (int i = 0; i < 200; i++) {
        CHECK_EQ(i % 10 ? sl_yield() : sl_sleep(1000), 0);
        CHECK(pthread_equal(self, pthread_self()));
    }
    CHECK_EQ(sl_blocking_begin(), 0);
    CHECK_EQ(sl_blocking_end(), 0);
    CHECK(pthread_equal(self, pthread_self()));
    CHECK_EQ(sl_pin(false), 0);
    sl_add(&count, 1);
}

static void wanders(void *unused)
{
    (void)unused;
    for (int i = 0; i < 2000; i++)
        sl_yield();
}

static void pinned_ones_stay(void)
{
    begin();
    sl_store_relaxed(&count, 0);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(sl_go(pool, NULL, stays, NULL), 0);
        CHECK_EQ(sl_go(pool, NULL, wanders, NULL), 0);
    }
    end();
    CHECK_EQ(sl_load_relaxed(&count), 20);
}

static void blocks_often(void *unused)
{
    (void)unused;
    CHECK_EQ(sl_pin(true), 0);
    for (int i = 0; i < (SL_TSAN ? 500 : 3000); i++) {
        CHECK_EQ(sl_blocking_begin(), 0);
        CHECK_EQ(sl_blocking_end(), 0);
    }
    CHECK_EQ(sl_pin(false), 0);
}

/* On its way back from a blocking call a tasklet is in no queue: not a deadlock. */
static void pinned_ones_block(void)
{
    begin();
    for (int i = 0; i < 4; i++)
        CHECK_EQ(sl_go(pool, NULL, blocks_often, NULL), 0);
    end();
}

static int gate[2];

static void blocks(void *unused)
{
    char byte;
    (void)unused;
    CHECK_EQ(sl_blocking_begin(), 0);
    CHECK_EQ(sl_yield(), 0); /* harmless: it has no lane to give */
    CHECK_EQ(read(gate[0], &byte, 1), 1);
    CHECK_EQ(sl_blocking_end(), 0);
    sl_add(&count, 1);
}

static void opens(void *n)
{
    for (intptr_t i = 0; i < (intptr_t)n; i++)
        CHECK_EQ(write(gate[1], "x", 1), 1);
}

static void blocked_ones_stop_nobody(void)
{
    begin();
    CHECK_EQ(pipe(gate), 0);
    sl_store_relaxed(&count, 0);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(sl_go(pool, NULL, blocks, NULL), 0);
    CHECK_EQ(sl_go(pool, NULL, opens, (void *)(intptr_t)20), 0);
    end();
    CHECK_EQ(sl_load_relaxed(&count), 20);
    close(gate[0]);
    close(gate[1]);
}

/* ---- local storage ---- */

static sl_key key;

static void destroys(void *value)
{
    sl_add(&count, (uintptr_t)value);
}

static void keeps(void *value)
{
    CHECK(!sl_get_local(key));
    CHECK_EQ(sl_set_local(key, value), 0);
    sl_yield();
    CHECK(sl_get_local(key) == value);
    CHECK_EQ(sl_set_local(SL_KEYS, value), SL_EINVAL);
}

static void local_storage(void)
{
    begin();
    sl_store_relaxed(&count, 0);
    CHECK_EQ(sl_key_create(&key, destroys), 0);
    for (intptr_t i = 1; i <= 10; i++)
        CHECK_EQ(sl_go(pool, NULL, keeps, (void *)i), 0);
    end();
    CHECK_EQ(sl_load_relaxed(&count), 55);
}

/* ---- reports and the end ---- */

static void waits_for_ever(void *status) { *(int *)status = sl_sleep_until(SL_FOREVER); }

static void noticed(sl_pool *p, void *arg)
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    CHECK_EQ(sl_pool_dump(p, to), 0);
    fclose(to);
    CHECK(strstr(text, "the lost one") && strstr(text, "sleep"));
    free(text);
    sl_cancel(*(sl_tasklet **)arg);
}

static void deadlock_is_reported(void)
{
    sl_tasklet *t = NULL;
    int status = 0;
    sl_pool_config config = {.lanes = lanes, .deadlock = noticed, .deadlock_arg = &t};
    CHECK_EQ(sl_pool_create(&pool, &config), 0);
    CHECK_EQ(sl_go(pool, &t, waits_for_ever, &status), 0);
    CHECK_EQ(sl_set_name(t, "the lost one"), 0);
    CHECK_EQ(sl_join(t, SL_FOREVER), 0);
    CHECK_EQ(status, SL_ECANCELLED);
    end();
}

static void spins(void *unused)
{
    (void)unused;
    while (!sl_cancelled())
        sl_yield();
    sl_add(&count, 1);
}

static void destroyed_with_tasklets_in_every_state(void)
{
    static int status[30];
    begin();
    CHECK_EQ(pipe(gate), 0);
    sl_store_relaxed(&count, 0);
    for (int i = 0; i < 30; i++) {
        CHECK_EQ(sl_go(pool, NULL, i % 3 ? sleeps_long : waits_for_ever, &status[i]), 0);
        CHECK_EQ(sl_go(pool, NULL, spins, NULL), 0);
    }
    CHECK_EQ(sl_go(pool, NULL, blocks, NULL), 0);
    CHECK_EQ(write(gate[1], "x", 1), 1);
    CHECK_EQ(sl_pool_destroy(pool), 0);
    CHECK_EQ(sl_load_relaxed(&count), 31);
    for (int i = 0; i < 30; i++)
        CHECK_EQ(status[i], SL_ECANCELLED);
    close(gate[0]);
    close(gate[1]);
}

static void works(void *unused)
{
    (void)unused;
    while (sl_load_relaxed(&running)) {
        sl_yield();
        if (sl_load_relaxed(&count) % 3 == 0)
            sl_sleep(1000);
        sl_add(&count, 1);
    }
}

static void resized_while_it_runs(void)
{
    sl_pool_config config = {.lanes = lanes, .threads = 8};
    CHECK_EQ(sl_pool_create(&pool, &config), 0);
    sl_store_relaxed(&running, 1);
    sl_store_relaxed(&count, 0);
    for (int i = 0; i < 50; i++)
        CHECK_EQ(sl_go(pool, NULL, works, NULL), 0);
    for (unsigned i = 0; i < 200; i++) {
        uintptr_t seen = sl_load_relaxed(&count);
        CHECK_EQ(sl_pool_resize(pool, i * 7 % 8 + 1), 0);
        while (sl_load_relaxed(&count) < seen + 100)
            sched_yield();
    }
    CHECK_EQ(sl_pool_resize(pool, 0), SL_EINVAL);
    CHECK_EQ(sl_pool_resize(pool, 9), SL_EINVAL);
    sl_store_relaxed(&running, 0);
    end();
}

static void yields_while_it_runs(void *unused)
{
    (void)unused;
    sl_add(&count, 1);
    while (sl_load_relaxed(&running))
        sl_yield();
}

/* What was in the rings of lanes that go, goes on. */
static void shrunk_for_good(void)
{
    sl_pool_config config = {.lanes = 8, .threads = 8};
    for (int round = 0; round < 30; round++) {
        CHECK_EQ(sl_pool_create(&pool, &config), 0);
        sl_store_relaxed(&running, 1);
        sl_store_relaxed(&count, 0);
        for (int i = 0; i < 100; i++)
            CHECK_EQ(sl_go(pool, NULL, yields_while_it_runs, NULL), 0);
        while (sl_load_relaxed(&count) < 100)
            sched_yield();
        CHECK_EQ(sl_pool_resize(pool, 1), 0);
        sl_store_relaxed(&running, 0);
        end();
    }
}

/* ---- deterministic mode ---- */

static char runs[2][400];
static char *record;

static void records(void *letter)
{
    for (int i = 0; i < 10; i++) {
        record[strlen(record)] = (char)(intptr_t)letter;
        if (i % 3 == 0)
            sl_sleep((int64_t)(sl_clock() % 5 + 1) * 3600 * 1000000000);
        else
            sl_yield();
    }
}

static void with_seed(uint64_t seed, char *to)
{
    sl_pool_config config = {.seed = seed};
    record = to;
    memset(record, 0, 400);
    CHECK_EQ(sl_pool_create(&pool, &config), 0);
    for (intptr_t c = 'a'; c < 'm'; c++)
        CHECK_EQ(sl_go(pool, NULL, records, (void *)c), 0);
    end();
    CHECK_EQ(strlen(record), 120);
}

static void starts_all(void *unused)
{
    (void)unused;
    for (intptr_t c = 'a'; c < 'm'; c++)
        CHECK_EQ(sl_go(NULL, NULL, records, (void *)c), 0);
}

static void same_seed_same_run(void)
{
    int different = 0;
    for (uint64_t seed = 1; seed < 20; seed++) {
        for (int i = 0; i < 2; i++) {
            sl_pool_config config = {.seed = seed};
            record = runs[i];
            memset(record, 0, 400);
            CHECK_EQ(sl_pool_create(&pool, &config), 0);
            CHECK_EQ(sl_go(pool, NULL, starts_all, NULL), 0);
            end();
            CHECK_EQ(strlen(record), 120);
        }
        CHECK(strcmp(runs[0], runs[1]) == 0);
        static char first[400];
        if (seed == 1)
            strcpy(first, runs[0]);
        different += strcmp(first, runs[0]) != 0;
    }
    CHECK(different >= 15);
    with_seed(3, runs[0]);
}

int main(void)
{
    RUN(bad_configuration);
    RUN(yields_take_turns);
    RUN(same_seed_same_run);
    RUN(shrunk_for_good);
    for (lanes = 1; lanes <= 4; lanes += lanes) {
        RUN(resized_while_it_runs);
        RUN(outside_a_tasklet);
        RUN(refuses_its_own_tasklets);
        RUN(many_from_inside_and_outside);
        RUN(joins_and_timeouts);
        RUN(joined_by_a_thread);
        RUN(divide_and_join);
        RUN(sleepers);
        RUN(an_earlier_timer);
        RUN(a_cancel_is_kept);
        RUN(pinned_ones_stay);
        RUN(pinned_ones_block);
        RUN(blocked_ones_stop_nobody);
        RUN(local_storage);
        RUN(deadlock_is_reported);
        RUN(destroyed_with_tasklets_in_every_state);
    }
    return 0;
}
