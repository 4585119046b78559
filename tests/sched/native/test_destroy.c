/* SPDX-License-Identifier: MIT
 *
 * sl_pool_destroy() with tasklets in every state there is.  It cancels all, waits for all
 * to end and frees everything: each test counts the tasklets that have ended, and
 * blocks, mappings and descriptors afterwards.  Not for refusals (test_misuse.c).
 */
#include <dirent.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "../../../sched/native/engine.h"
#include "stackless/channel.h"
#include "wrapped.h"

static unsigned lanes;
static sl_pool *pool;
static sl_channel *empty, *full, *gate; /* nobody sends; no room; for those that get something */
static sl_atomic spawned, ended;
static int silent[2], block[2]; /* pipes */
static sl_key key;

static const int64_t HOUR = (int64_t)3600 * 1000000000;

static void nap(void) { usleep(100); }

static void no_report(sl_pool *p, void *arg) {}

static void begin_as(sl_pool_config config)
{
    config.deadlock = no_report;
    CHECK_EQ(sl_pool_create(&pool, &config), 0);
    sl_store_relaxed(&spawned, 0);
    sl_store_relaxed(&ended, 0);
}

static void begin(void) { begin_as((sl_pool_config){.lanes = lanes}); }

static void end(void)
{
    CHECK_EQ(sl_pool_destroy(pool), 0);
    CHECK_EQ(sl_load_relaxed(&ended), sl_load_relaxed(&spawned));
    CHECK_EQ(sl_channel_waiting(empty, false), 0);
    CHECK_EQ(sl_channel_waiting(full, true), 0);
    CHECK_EQ(sl_channel_waiting(gate, false), 0);
}

/* From a tasklet or from outside. */
static sl_tasklet *spawn(sl_body body, void *arg)
{
    sl_tasklet *t;
    sl_add(&spawned, 1);
    CHECK_EQ(sl_go(pool, &t, body, arg), 0); /* the handle is never dropped */
    return t;
}

static void at_its_end(void *value) { sl_add(&ended, 1); }

/* Every further wait is cancelled too, and what it spawns ends as well. */
static void comes_to_its_end(void)
{
    uint64_t v = 0;
    CHECK_EQ(sl_set_local(key, &key), 0); /* whose destructor counts */
    CHECK_EQ(sl_sleep(HOUR), SL_ECANCELLED);
    CHECK_EQ(sl_receive(empty, &v), SL_ECANCELLED);
    CHECK_EQ(sl_yield(), 0);
    CHECK(sl_cancelled());
}

/* ---- who waits ---- */

enum state { SEND, SEND_FULL, RECEIVE, RECEIVE_UNTIL, SELECT, JOIN, SLEEP, NEVER, FD, FD_UNTIL, BLOCKED, FORGETS, STATES };
static sl_tasklet *joined;

static int wait_in(enum state s)
{
    uint64_t v = 1;
    sl_case k[3] = {{.channel = empty, .value = &v}, {.channel = full, .value = &v, .send = true}, {.channel = NULL}};
    char byte;
    switch (s) {
    case SEND: return sl_send(full, &v);
    case SEND_FULL: return sl_send_until(full, &v, sl_after_ns(HOUR));
    case RECEIVE: return sl_receive(empty, &v);
    case RECEIVE_UNTIL: return sl_receive_until(empty, &v, sl_after_ns(HOUR));
    case SELECT: return sl_select(k, 3, SL_FOREVER);
    case JOIN: return sl_join(joined, SL_FOREVER);
    case SLEEP: return sl_sleep(HOUR);
    case NEVER: return sl_sleep_until(SL_FOREVER);
    case FD: return sl_wait_fd(silent[0], SL_FD_READ, SL_FOREVER);
    case FD_UNTIL: return sl_wait_fd(silent[0], SL_FD_READ, sl_after_ns(HOUR));
    default:
        CHECK_EQ(sl_blocking_begin(), 0);
        CHECK_EQ(read(block[0], &byte, 1), 1);
        if (s == BLOCKED)
            CHECK_EQ(sl_blocking_end(), 0);
        return SL_ECANCELLED;
    }
}

static void waits(void *arg)
{
    enum state s = (enum state)((intptr_t)arg % STATES);
    if ((intptr_t)arg >= STATES)
        CHECK_EQ(sl_pin(true), 0);
    int rc = wait_in(s);
    if (s != JOIN || rc != 0)
        CHECK_EQ(rc, SL_ECANCELLED);
    if (s == FORGETS)
        sl_add(&ended, 1);
    else
        comes_to_its_end();
}

static bool blocks(enum state s) { return s == BLOCKED || s == FORGETS; }

/* In deterministic mode an hour is over as soon as all wait. */
static bool for_ever(enum state s) { return s == SEND || s == RECEIVE || s == SELECT || s == NEVER; }

/* Lets those in the OS go as soon as the pool closes. */
static void *releases(void *n)
{
    while (!sl_load_acquire32(&pool->closing))
        nap();
    for (intptr_t i = 0; i < (intptr_t)n; i++)
        CHECK_EQ(write(block[1], "x", 1), 1);
    return NULL;
}

/* `n` in each of the states from `first` to `last`, all parked, then the end. */
static void parked(int n, enum state first, enum state last, unsigned resize)
{
    sl_tasklet *t[STATES * 2];
    intptr_t in_the_os = 0;
    pthread_t releaser;
    sl_pool_stats stats;
    begin();
    joined = NULL;
    if (first <= JOIN && last >= JOIN)
        joined = spawn(waits, (void *)(intptr_t)SLEEP);
    for (int i = 0; i < n; i++) {
        for (int s = (int)first; s <= (int)last; s++) {
            intptr_t pinned = i % 2 && s != JOIN ? STATES : 0;
            if (s == JOIN && i > 0)
                continue; /* only one may join it */
            t[s] = spawn(waits, (void *)(s + pinned));
            in_the_os += blocks((enum state)s);
        }
        for (int s = (int)first; s <= (int)last; s++)
            while (!blocks((enum state)s) && sl_load_acquire(&t[s]->parked) != SL_PARKED)
                nap();
    }
    do
        CHECK_EQ(sl_pool_get_stats(pool, &stats), 0);
    while (stats.blocking != in_the_os && (nap(), true));
    if (resize)
        CHECK_EQ(sl_pool_resize(pool, resize), 0);
    if (in_the_os) /* which keep the pool until they have been let go */
        CHECK_EQ(pthread_create(&releaser, NULL, releases, (void *)in_the_os), 0);
    end();
    if (in_the_os)
        CHECK_EQ(pthread_join(releaser, NULL), 0);
}

static void each_alone(void)
{
    for (int s = 0; s < STATES; s++) {
        parked(1, (enum state)s, (enum state)s, 0);
        parked(2, (enum state)s, (enum state)s, 0); /* one of them pinned */
    }
}

static void all_together(void)
{
    parked(10, (enum state)0, (enum state)(STATES - 1), 0);
}

static void on_lanes_that_have_gone(void)
{
    parked(4, (enum state)0, (enum state)(STATES - 1), 1);
    parked(4, (enum state)0, (enum state)(STATES - 1), 5);
}

/* ---- who may run, and who runs ---- */

static sl_atomic hogs, prepared;
enum { GIFTS = 6 };
static sl_tasklet *sleeping[2];

static void gets(void *arg)
{
    uint64_t v = 0;
    if (arg)
        CHECK_EQ(sl_pin(true), 0);
    CHECK_EQ(sl_receive(gate, &v), 0); /* delivered, so it stays delivered */
    CHECK_EQ(v, 77);
    comes_to_its_end();
}

static void fresh(void *unused) { comes_to_its_end(); }

/* Computes until the end has begun; the first fills every queue of its lane before. */
static void computes(void *unused)
{
    uint64_t v = 77;
    if (sl_add(&hogs, 1) == 0) {
        while (sl_load_acquire(&hogs) < lanes) /* so that nobody takes anything */
            sl_cpu_pause();
        for (int i = 0; i < GIFTS; i++)
            CHECK_EQ(sl_send(gate, &v), 0);
        CHECK_EQ(sl_cancel(sleeping[0]), 0);
        for (int i = 0; i < 5; i++)
            spawn(fresh, NULL);
        sl_add(&prepared, 1);
    }
    while (!sl_load_acquire32(&pool->closing))
        sl_cpu_pause();
    for (int i = 0; i < 100000; i++)
        sl_cpu_pause();
    comes_to_its_end();
}

static void yields_until_cancelled(void *unused)
{
    while (!sl_cancelled())
        CHECK_EQ(sl_yield(), 0);
    comes_to_its_end();
}

static void all_states_are_there(void)
{
    bool slot = false, ring = false, deque = false, inbox = false;
    for (uintptr_t i = 0; i < sl_load_relaxed(&pool->nlanes); i++) {
        slot |= sl_load_relaxed(&pool->lanes[i]->slot) != 0;
        ring |= !sl_ring_empty(pool->lanes[i]);
        deque |= !sl_fresh_empty(pool->lanes[i]);
    }
    for (unsigned i = 0; i < pool->nworkers; i++)
        inbox |= sl_load_relaxed(&pool->workers[i]->inbox) != 0;
    CHECK(slot && ring && deque && inbox && sl_load_relaxed(&pool->global_count));
}

static void runnable(void)
{
    begin();
    sl_store_relaxed(&hogs, 0);
    sl_store_relaxed(&prepared, 0);
    for (intptr_t i = 0; i < GIFTS; i++)
        spawn(gets, (void *)(i % 3 == 0 ? i + 1 : 0));
    while (sl_channel_waiting(gate, false) != GIFTS)
        nap();
    for (int i = 0; i < 2; i++) {
        sleeping[i] = spawn(waits, (void *)(intptr_t)SLEEP);
        while (sl_load_acquire(&sleeping[i]->parked) != SL_PARKED)
            nap();
    }
    for (unsigned i = 0; i < lanes; i++)
        spawn(computes, NULL);
    while (!sl_load_acquire(&prepared))
        nap();
    CHECK_EQ(sl_cancel(sleeping[1]), 0);
    for (int i = 0; i < 5; i++)
        spawn(i % 2 ? fresh : yields_until_cancelled, NULL);
    all_states_are_there();
    end();
}

static void yielding(void)
{
    begin();
    for (int i = 0; i < 20; i++)
        spawn(yields_until_cancelled, NULL);
    end();
}

/* ---- what is still being made ---- */

static void spawns(void *depth)
{
    uint64_t v = 0;
    CHECK_EQ(sl_receive(empty, &v), SL_ECANCELLED);
    for (int i = 0; i < 2 && depth; i++)
        spawn(spawns, (void *)((intptr_t)depth - 1));
    comes_to_its_end();
}

static void more_and_more(void)
{
    begin();
    for (int i = 0; i < 3; i++)
        spawn(spawns, (void *)6);
    end();
    CHECK_EQ(sl_load_relaxed(&ended), 3 * 127);
}

static void at_once(void)
{
    for (int i = 0; i < 20; i++) {
        begin();
        for (int k = 0; k < i / 2; k++)
            spawn(fresh, NULL);
        end();
    }
}

static void other_kinds_of_pools(void)
{
    const sl_pool_config configs[] = {
        {.lanes = 1, .seed = 7}, {.lanes = lanes, .threads = lanes}, {.lanes = lanes, .timeslice_ns = 100000}};
    for (int i = 0; i < 3; i++) {
        begin_as(configs[i]);
        for (intptr_t s = 0; s < STATES; s++)
            if (configs[i].seed ? for_ever((enum state)s) : !blocks((enum state)s) && s != JOIN)
                spawn(waits, (void *)s);
        spawn(yields_until_cancelled, NULL);
        end();
    }
}

/* ---- threads that wait for it meanwhile ---- */

static void *joins(void *t)
{
    CHECK_EQ(sl_join(t, SL_FOREVER), 0);
    return NULL;
}

static void *waits_for_all(void *unused)
{
    CHECK_EQ(sl_pool_wait(pool), 0);
    return NULL;
}

static void others_wait_for_it(void)
{
    pthread_t thread[4];
    begin();
    for (int i = 0; i < 2; i++) {
        sl_tasklet *t = spawn(waits, (void *)(intptr_t)(i ? RECEIVE : SLEEP));
        CHECK_EQ(pthread_create(&thread[2 * i], NULL, joins, t), 0);
        CHECK_EQ(pthread_create(&thread[2 * i + 1], NULL, waits_for_all, NULL), 0);
    }
    for (unsigned guests = 0; guests < 4; nap()) {
        sl_lock_take(&pool->lock);
        guests = pool->guests;
        sl_lock_drop(&pool->lock);
    }
    end();
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
}

/* ---- what is left ---- */

/* More than any test has at once, so that what is kept for the process, a note for
 * each slab of stacks, is there. */
static void very_many(void)
{
    begin();
    for (int i = 0; i < 600; i++)
        spawn(waits, (void *)(intptr_t)SLEEP);
    end();
}

static int descriptors(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    CHECK(dir != NULL);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void leaves_nothing(const char *name, void (*test)(void))
{
    uintptr_t blocks_before = sl_load_relaxed(&held), bytes = sl_load_relaxed(&mapped);
    int fds = descriptors();
    fprintf(stderr, "%s, %u lanes\n", name, lanes);
    test();
    CHECK_EQ(sl_load_relaxed(&held), blocks_before);
    CHECK_EQ(sl_load_relaxed(&mapped), bytes);
    CHECK_EQ(descriptors(), fds);
}

#define LEAVES_NOTHING(test) leaves_nothing(#test, test)

int main(void)
{
    uint64_t v = 0;
    CHECK_EQ(pipe(silent), 0);
    CHECK_EQ(pipe(block), 0);
    CHECK_EQ(sl_key_create(&key, at_its_end), 0);
    CHECK_EQ(sl_channel_create(&empty, sizeof v, 0), 0);
    CHECK_EQ(sl_channel_create(&full, sizeof v, 1), 0);
    CHECK_EQ(sl_channel_create(&gate, sizeof v, 0), 0);
    CHECK_EQ(sl_try_send(full, &v), 0);
    lanes = 3;
    very_many();
    for (lanes = 1; lanes <= 3; lanes++) {
        LEAVES_NOTHING(each_alone);
        LEAVES_NOTHING(all_together);
        LEAVES_NOTHING(on_lanes_that_have_gone);
        LEAVES_NOTHING(runnable);
        LEAVES_NOTHING(yielding);
        LEAVES_NOTHING(more_and_more);
        LEAVES_NOTHING(at_once);
        LEAVES_NOTHING(other_kinds_of_pools);
        LEAVES_NOTHING(others_wait_for_it);
    }
    return 0;
}
