/* SPDX-License-Identifier: MIT
 *
 * Random operations on real channels, recorded and checked (lin.h): every form,
 * two channels a history, 2 to 16 tasklets on 1, 2 and 4 lanes.  And channels that
 * are broken on purpose, each in one way, which the checker must reject.
 *
 * STACKLESS_LIN_HISTORIES: how many for each number of lanes (50,000), twice.
 * STACKLESS_LIN_SEED: of the random choices; the interleaving is the machine's.
 */
#include <sched.h>
#include <string.h>

#include "chan_check.h"
#include "lin.h"

enum { ACTORS = 16 };

/* Forms that only this test has; see the files of these names. */
int ring_slow(sl_channel **out, size_t size, size_t capacity);
int ring_hasty(sl_channel **out, size_t size, size_t capacity);

/* Either the plain form with other operations, or a form of its own. */
typedef struct mutant {
    const char *name;
    void (*breaks)(sl_channel_ops *ops);
    int (*make)(sl_channel **out, size_t size, size_t capacity);
} mutant;

/* One run: actors go through histories in lockstep. */
typedef struct run {
    uint64_t histories, seed, failed;
    const mutant *mutant;     /* NULL: whole channels */
    int (*ring)(sl_channel **out, size_t size, size_t capacity);
    sl_tasklet *handle[ACTORS];
    sl_channel *channel[LIN_CHANNELS];
    sl_channel_ops ops[LIN_CHANNELS]; /* the mutant's */
    bool strict;              /* both plain: a select's "none" is exact */
    unsigned players;         /* of this history */
    sl_atomic round;          /* begins when the last player has set it up */
    sl_atomic32 finished;     /* players of this history that are through */
    sl_atomic clock;
    sl_atomic issued;         /* cancels */
    sl_atomic reported;
    sl_atomic32 recorded;
    lin_history history;
} run;

typedef struct actor {
    run *r;
    unsigned id;
    uint64_t random;
} actor;

static unsigned chance(uint64_t *state, unsigned n)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((*state >> 33) % n);
}

/* ---- one operation ---- */

static lin_op *record(actor *a, lin_op *o, const char *call)
{
    o->actor = (uint8_t)a->id;
    o->call = call;
    o->end = sl_add(&a->r->clock, 1);
    if (o->result == SL_ECANCELLED)
        sl_add(&a->r->reported, 1);
    lin_op *at = &a->r->history.op[sl_add32(&a->r->recorded, 1)];
    *at = *o;
    return at;
}

static int64_t some_deadline(actor *a, bool may_block)
{
    if (may_block && chance(&a->random, 2))
        return SL_FOREVER;
    return chance(&a->random, 2) ? 1 : sl_after_ns(chance(&a->random, 60000));
}

static void one_way(actor *a, uint32_t value, bool may_block)
{
    lin_op o = {.channel = (uint8_t)chance(&a->random, LIN_CHANNELS), .value = value};
    sl_channel *c = a->r->channel[o.channel];
    bool send = chance(&a->random, 2), tries = chance(&a->random, 3) == 0;
    int64_t deadline = some_deadline(a, may_block);
    o.kind = send ? LIN_SEND : LIN_RECEIVE;
    o.begin = sl_add(&a->r->clock, 1);
    if (tries)
        o.result = send ? sl_try_send(c, &o.value) : sl_try_receive(c, &o.value);
    else
        o.result = send ? sl_send_until(c, &o.value, deadline) : sl_receive_until(c, &o.value, deadline);
    record(a, &o, tries ? "try" : deadline == SL_FOREVER ? "for ever" : deadline == 1 ? "at once" : "until");
}

static void selects(actor *a, uint32_t value, bool may_block)
{
    run *r = a->r;
    uint32_t values[4];
    sl_case cases[4];
    lin_op o = {.kind = LIN_NEITHER};
    size_t n = 1 + chance(&a->random, 4);
    for (size_t i = 0; i < n; i++) {
        unsigned c = chance(&a->random, LIN_CHANNELS);
        values[i] = value + (uint32_t)i;
        cases[i] = (sl_case){.channel = r->channel[c], .value = &values[i], .send = chance(&a->random, 2) != 0};
        if (r->strict)
            o.blocked |= (uint8_t)((cases[i].send ? 2 : 1) << 2 * c);
    }
    int64_t deadline = chance(&a->random, 3) ? some_deadline(a, may_block) : 0;
    o.begin = sl_add(&r->clock, 1);
    int k = sl_select(cases, n, deadline);
    if (k >= 0) {
        o.kind = cases[k].send ? LIN_SEND : LIN_RECEIVE;
        o.channel = cases[k].channel == r->channel[1];
        o.value = values[k];
        o.result = cases[k].status;
    } else {
        o.result = k;
    }
    record(a, &o, deadline == 0 ? "select default" : "select");
}

static void closes(actor *a, unsigned channel)
{
    lin_op o = {.kind = LIN_CLOSE, .channel = (uint8_t)channel};
    o.begin = sl_add(&a->r->clock, 1);
    o.result = sl_channel_close(a->r->channel[channel]);
    record(a, &o, "close");
}

static void measures(actor *a)
{
    lin_op o = {.kind = LIN_LENGTH, .channel = (uint8_t)chance(&a->random, LIN_CHANNELS)};
    o.begin = sl_add(&a->r->clock, 1);
    o.result = (int)sl_channel_length(a->r->channel[o.channel]);
    record(a, &o, "length");
}

static void cancels(actor *a)
{
    unsigned whom = chance(&a->random, a->r->players);
    if (whom == a->id)
        return;
    sl_add(&a->r->issued, 1);
    CHECK_EQ(sl_cancel(a->r->handle[whom]), 0);
}

/* ---- one history ---- */

/* Actor 0 does nothing that lasts and closes both channels at the end, so that all
 * others come to an end, whatever they wait for. */
static void play(actor *a)
{
    unsigned most = a->r->players > 8 ? 2 : a->r->players > 4 ? 4 : 6, n = 1 + chance(&a->random, most);
    for (unsigned i = 0; i < n; i++) {
        uint32_t value = 1000 * (a->id + 1) + 10 * i;
        unsigned what = chance(&a->random, 40);
        if (what < 24)
            one_way(a, value, a->id != 0);
        else if (what < 34)
            selects(a, value, a->id != 0);
        else if (what < 36)
            measures(a);
        else if (what < 37)
            closes(a, chance(&a->random, LIN_CHANNELS));
        else if (what < 38)
            cancels(a);
        else
            sl_yield();
    }
    if (a->id != 0)
        return;
    closes(a, 0);
    closes(a, 1);
}

static void make_channel(actor *a, unsigned i, unsigned capacity)
{
    run *r = a->r;
    const mutant *m = r->mutant;
    bool ring = capacity && (m ? m->make != NULL : chance(&a->random, 3) != 0);
    r->strict &= !ring;
    if (ring)
        CHECK_EQ((m ? m->make : r->ring)(&r->channel[i], sizeof(uint32_t), capacity), 0);
    else
        CHECK_EQ(sl_channel_plain(&r->channel[i], sizeof(uint32_t), capacity), 0);
    if (m && m->breaks) {
        r->ops[i] = *r->channel[i]->ops;
        m->breaks(&r->ops[i]);
        r->channel[i]->ops = &r->ops[i];
    }
    r->history.capacity[i] = capacity;
}

/* By one actor, while all others wait for the next round. */
static void prepare(actor *a)
{
    run *r = a->r;
    r->strict = true;
    for (unsigned i = 0; i < LIN_CHANNELS; i++) {
        static const unsigned capacities[] = {0, 0, 0, 1, 1, 2, 3, 4};
        make_channel(a, i, capacities[chance(&a->random, 8)]);
    }
    unsigned size = chance(&a->random, 8);
    r->players = size < 5 ? 2 + chance(&a->random, 3) : size < 7 ? 2 + chance(&a->random, 7) : 2 + chance(&a->random, 15);
    sl_store_relaxed32(&r->recorded, 0);
    sl_store_relaxed(&r->clock, 1);
    sl_store_relaxed32(&r->finished, 0);
}

static void judge(run *r)
{
    r->history.n = sl_load_acquire32(&r->recorded);
    if (!lin_check(&r->history)) {
        r->failed++;
        if (!r->mutant) {
            fprintf(stderr, "not linearizable: history %llu of seed %llu; %s, %s\n",
                    (unsigned long long)sl_load_relaxed(&r->round), (unsigned long long)r->seed,
                    r->channel[0]->ops->name, r->channel[1]->ops->name);
            lin_print(&r->history);
            exit(1);
        }
    }
    for (int i = 0; i < LIN_CHANNELS; i++)
        unmake(r->channel[i]);
}

static void acts(void *arg)
{
    actor *a = arg;
    run *r = a->r;
    int64_t patience = sl_after_ns(PATIENCE);
    unsigned idle = 0;
    for (uint64_t round = 1; round <= r->histories;) {
        if (sl_load_acquire(&r->round) != round) {
            sl_yield();
            if (++idle % 64 == 0)
                sched_yield(); /* the missing one may need this processor */
            if (idle % 4096 == 0 && sl_clock() > patience) {
                fprintf(stderr, "history %llu of seed %llu does not end: %u of %u players are through\n",
                        (unsigned long long)round - 1, (unsigned long long)r->seed,
                        sl_load_relaxed32(&r->finished), r->players);
                abort();
            }
            continue;
        }
        patience = sl_after_ns(PATIENCE);
        if (a->id < r->players)
            play(a);
        round++;
        if (sl_add32(&r->finished, 1) + 1 == ACTORS) {
            judge(r);
            if (round <= r->histories)
                prepare(a);
            sl_store_release(&r->round, round);
        }
    }
}

static void run_all(void *arg)
{
    run *r = arg;
    actor actors[ACTORS];
    for (unsigned i = 0; i < ACTORS; i++)
        actors[i] = (actor){.r = r, .id = i, .random = r->seed * 1000003 + i};
    prepare(&actors[0]);
    for (unsigned i = 0; i < ACTORS; i++)
        r->handle[i] = go(acts, &actors[i]);
    sl_store_release(&r->round, 1);
    while (sl_load_acquire(&r->round) <= r->histories)
        sl_sleep(1000000); /* a join takes the handle, which another may be cancelling */
    for (unsigned i = 0; i < ACTORS; i++)
        CHECK_EQ(sl_join(r->handle[i], SL_FOREVER), 0);
    CHECK(sl_load_relaxed(&r->reported) <= sl_load_relaxed(&r->issued));
}

/* ---- channels broken on purpose ---- */

static int (*whole_op[2])(sl_channel *c, void *value, int64_t deadline);
static int (*whole_try[2])(sl_channel *c, void *value);
static int (*whole_close)(sl_channel *c);
static size_t (*whole_length)(sl_channel *c);

/* A cancel or timeout that swallows what came meanwhile. */
static int loses_value(sl_channel *c, void *value, int64_t deadline)
{
    uint32_t lost;
    int r = whole_op[SL_RECEIVERS](c, value, deadline);
    if (r == SL_ETIMEDOUT || r == SL_ECANCELLED) {
        sl_yield();
        whole_try[SL_RECEIVERS](c, &lost);
    }
    return r;
}

static void breaks_by_loss(sl_channel_ops *ops)
{
    ops->op[SL_RECEIVERS] = loses_value;
}

static int sends_twice(sl_channel *c, void *value)
{
    int r = whole_try[SL_SENDERS](c, value);
    if (r == 0)
        whole_try[SL_SENDERS](c, value);
    return r;
}

static void breaks_by_doubling(sl_channel_ops *ops)
{
    ops->try_op[SL_SENDERS] = sends_twice;
}

/* Two that are there change places. */
static int swaps(sl_channel *c, void *value)
{
    uint32_t first, second;
    int r = whole_try[SL_RECEIVERS](c, &first);
    if (r != 0)
        return r;
    if (whole_try[SL_RECEIVERS](c, &second) == 0 && whole_try[SL_SENDERS](c, &first) == 0)
        first = second;
    memcpy(value, &first, sizeof first);
    return 0;
}

static void breaks_by_order(sl_channel_ops *ops)
{
    ops->try_op[SL_RECEIVERS] = swaps;
}

static int denies(sl_channel *c, void *value)
{
    return whole_length(c) > 1 ? SL_EAGAIN : whole_try[SL_RECEIVERS](c, value);
}

static void breaks_by_denial(sl_channel_ops *ops)
{
    ops->try_op[SL_RECEIVERS] = denies;
}

static int drops_buffer(sl_channel *c)
{
    uint32_t lost;
    while (whole_try[SL_RECEIVERS](c, &lost) == 0)
        ;
    return whole_close(c);
}

static void breaks_by_close(sl_channel_ops *ops)
{
    ops->close = drops_buffer;
}

/* Delivers, and says that it timed out. */
static int sends_and_denies(sl_channel *c, void *value, int64_t deadline)
{
    int r = whole_op[SL_SENDERS](c, value, deadline);
    return r == 0 && deadline != SL_FOREVER ? SL_ETIMEDOUT : r;
}

static void breaks_by_denied_send(sl_channel_ops *ops)
{
    ops->op[SL_SENDERS] = sends_and_denies;
}

static const mutant mutants[] = {
    {"a timeout loses a value", breaks_by_loss, NULL},
    {"a try sends twice", breaks_by_doubling, NULL},
    {"a try takes the second first", breaks_by_order, NULL},
    {"a try says empty when it is not", breaks_by_denial, NULL},
    {"close drops what is buffered", breaks_by_close, NULL},
    {"a send that timed out was received", breaks_by_denied_send, NULL},
    {"a ring waits for nobody", NULL, ring_hasty},
};

static void keep_whole(void)
{
    sl_channel *c = make(&forms[0], 4);
    memcpy(whole_op, c->ops->op, sizeof whole_op);
    memcpy(whole_try, c->ops->try_op, sizeof whole_try);
    whole_close = c->ops->close;
    whole_length = c->ops->length;
    unmake(c);
}

/* Until one history is rejected: a race is not to be had at will. */
static void must_be_caught(const mutant *m, uint64_t seed)
{
    uint64_t histories = 0, failed = 0;
    while (failed == 0 && histories < 600000) {
        run r = {.histories = 3000, .seed = seed++, .mutant = m};
        in_pool(m->make ? 4 : 2, run_all, &r);
        histories += r.histories;
        failed = r.failed;
    }
    fprintf(stderr, "%s: %llu of %llu rejected\n", m->name, (unsigned long long)failed, (unsigned long long)histories);
    CHECK(failed > 0);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

int main(void)
{
    static const unsigned lanes[] = {1, 2, 4};
    uint64_t histories = number("STACKLESS_LIN_HISTORIES", MANY_OR(50000, 2000)), seed = number("STACKLESS_LIN_SEED", 1);
    keep_whole();
    for (int i = 0; i < 6; i++) {
        run r = {.histories = histories, .seed = seed + (uint64_t)i, .ring = i < 3 ? sl_channel_ring : ring_slow};
        int64_t begun = sl_clock();
        in_pool(lanes[i % 3], run_all, &r);
        fprintf(stderr, "%llu histories on %u lanes%s: linearizable, %.1f s\n", (unsigned long long)histories,
                lanes[i % 3], i < 3 ? "" : ", slowed down", (double)(sl_clock() - begun) * 1e-9);
    }
    for (size_t i = 0; i < sizeof mutants / sizeof *mutants; i++)
        must_be_caught(&mutants[i], seed);
    return 0;
}
