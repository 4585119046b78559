/* SPDX-License-Identifier: MIT
 *
 * Deterministic mode: many seeds over one program of channels, select, deadlines,
 * cancels and a close.  The same seed gives the same run, to the last result and time;
 * in each run every message that was sent is received once.
 *
 * A seed that fails is printed; STACKLESS_SEED_FIRST=N STACKLESS_SEEDS=1 runs it alone.
 */
#include <string.h>

#include "chan_check.h"

enum { SENDERS = 3, RECEIVERS = 3, EACH = 6, VALUES = SENDERS * EACH + 1 };
enum { CHANNELS = 2 };

typedef struct world {
    uint64_t trace; /* a hash of everything that happened, in order */
    unsigned steps;
    sl_channel *channel[CHANNELS];
    sl_tasklet *tasklet[SENDERS + RECEIVERS];
    unsigned char sent[VALUES], received[VALUES];
    unsigned alive;
} world;

static world run;
static uint64_t seed_now; /* 0: no run is under way */
static unsigned outcomes[6]; /* over all runs: 0, then what outcome_of() knows */

static int outcome_of(int rc)
{
    static const int known[] = {0, SL_ETIMEDOUT, SL_ECANCELLED, SL_ECLOSED, SL_EAGAIN};
    int i = 0;
    while (i < 5 && known[i] != rc)
        i++;
    return i;
}

static void tell_seed(void)
{
    if (seed_now)
        fprintf(stderr, "it was seed %llu\n", (unsigned long long)seed_now);
}

/* Mixes in who did what with which result, and the clock. */
static void note(unsigned who, int what, int64_t result)
{
    const uint64_t words[] = {who, (uint64_t)what, (uint64_t)result, (uint64_t)sl_clock()};
    for (int i = 0; i < 4; i++)
        run.trace = (run.trace ^ words[i]) * 0x100000001b3u;
    run.trace ^= run.trace >> 29;
    run.steps++;
}

/* A wait of 1 to 3 ms, or for ever. */
static int64_t some_deadline(void)
{
    unsigned ms = sl_random() % 4;
    return ms ? sl_after_ns(ms * 1000000) : SL_FOREVER;
}

static void sends(void *arg)
{
    unsigned me = (unsigned)(intptr_t)arg;
    for (unsigned i = 0; i < EACH; i++) {
        uint64_t v = 1 + me * EACH + i;
        sl_channel *c = run.channel[sl_random() % CHANNELS];
        int rc = i % 3 == 2 ? sl_try_send(c, &v) : sl_send_until(c, &v, some_deadline());
        run.sent[v] += rc == 0;
        outcomes[outcome_of(rc)]++;
        note(me, 1, rc);
        if (sl_random() % 2)
            CHECK_EQ(sl_yield(), 0);
    }
    run.alive--;
}

static int receive_one(uint64_t *v)
{
    sl_channel *c = run.channel[sl_random() % CHANNELS];
    if (sl_random() % 2)
        return sl_receive_until(c, v, some_deadline());
    sl_case cases[CHANNELS];
    for (int i = 0; i < CHANNELS; i++)
        cases[i] = (sl_case){.channel = run.channel[i], .value = v};
    int chosen = sl_select(cases, CHANNELS, some_deadline());
    return chosen < 0 ? chosen : cases[chosen].status;
}

static void receives(void *arg)
{
    unsigned me = (unsigned)(intptr_t)arg;
    int rc;
    do {
        uint64_t v = 0;
        rc = receive_one(&v);
        if (rc == 0) {
            CHECK(v > 0 && v < VALUES);
            run.received[v]++;
        }
        outcomes[outcome_of(rc)]++;
        note(me, 2, rc == 0 ? (int64_t)v : rc);
    } while (rc != SL_ECLOSED);
    run.alive--;
}

/* Everything happens in here, so that nothing comes from outside in an order of its own. */
static void plays(void *unused)
{
    enum { ALL = SENDERS + RECEIVERS };
    (void)unused;
    run.alive = ALL;
    for (int i = 0; i < CHANNELS; i++) {
        static const form kinds[] = {{SL_CHANNEL_PLAIN, 0, ""}, {SL_CHANNEL_PLAIN, 2, ""}, {SL_CHANNEL_RING, 1, ""}, {SL_CHANNEL_RING, 3, ""}};
        run.channel[i] = make(&kinds[sl_random() % 4], sizeof(uint64_t));
    }
    for (intptr_t i = 0; i < ALL; i++)
        run.tasklet[i] = go(i < SENDERS ? sends : receives, (void *)i);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(sl_sleep(sl_random() % 2000000), 0);
        CHECK_EQ(sl_cancel(run.tasklet[sl_random() % ALL]), 0);
    }
    for (int i = 0; i < CHANNELS; i++) {
        CHECK_EQ(sl_sleep(sl_random() % 4000000), 0);
        CHECK_EQ(sl_channel_close(run.channel[i]), 0);
        note(ALL, 3, i);
    }
    for (int i = 0; i < ALL; i++)
        join(run.tasklet[i]);
    CHECK_EQ(run.alive, 0);
    uint64_t v;
    for (int i = 0; i < CHANNELS; i++) {
        while (sl_try_receive(run.channel[i], &v) == 0)
            run.received[v]++;
        unmake(run.channel[i]);
    }
    for (int i = 1; i < VALUES; i++)
        CHECK(run.sent[i] == run.received[i] && run.sent[i] <= 1);
    note(ALL, 4, 0);
}

static uint64_t play(uint64_t seed, unsigned *steps)
{
    sl_pool *pool;
    sl_tasklet *t;
    sl_pool_config config = {.seed = seed, .deadlock = no_report};
    memset(&run, 0, sizeof run);
    run.trace = 0xcbf29ce484222325u;
    CHECK_EQ(sl_pool_create(&pool, &config), 0);
    CHECK_EQ(sl_go(pool, &t, plays, NULL), 0);
    CHECK_EQ(sl_join(t, SL_FOREVER), 0);
    CHECK_EQ(sl_pool_destroy(pool), 0);
    *steps = run.steps;
    return run.trace;
}

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static void many_seeds(void)
{
    uint64_t first = number("STACKLESS_SEED_FIRST", 1), seeds = number("STACKLESS_SEEDS", MANY_OR(2000, 20));
    uint64_t different = 0, last = 0;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        unsigned steps, again;
        seed_now = seed;
        uint64_t trace = play(seed, &steps), other = play(seed, &again);
        if (trace != other || steps != again) {
            fprintf(stderr, "two runs, of %u and %u steps, are not the same\n", steps, again);
            exit(1);
        }
        different += trace != last;
        last = trace;
    }
    seed_now = 0;
    CHECK(different >= seeds - seeds / 20);
    CHECK_EQ(outcomes[5], 0); /* no other result */
    for (int i = 0; seeds >= 20 && i < 5; i++)
        CHECK(outcomes[i] > 0);
}

/* The variable does what the field does. */
static void by_environment(void)
{
    unsigned steps, again;
    uint64_t trace = play(77, &steps);
    CHECK_EQ(setenv("STACKLESS_SEED", "77", 1), 0);
    CHECK(play(0, &again) == trace && steps == again);
    CHECK(play(78, &again) != trace); /* the field comes first */
    CHECK_EQ(unsetenv("STACKLESS_SEED"), 0);
}

int main(void)
{
    atexit(tell_seed);
    RUN(many_seeds);
    RUN(by_environment);
    return 0;
}
