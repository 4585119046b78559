/* SPDX-License-Identifier: MIT
 *
 * Channels, every form: what each call promises.  Races and select are the
 * business of test_chan_lin.c, refusals of test_misuse.c, load of tests/stress.
 */
#include <pthread.h>
#include <string.h>

#include "chan_check.h"

typedef struct job {
    sl_channel *c;
    uint64_t value;
    int n;
    int result;
    int64_t deadline;
} job;

static void sends(void *arg)
{
    job *j = arg;
    for (int i = 0; i < j->n && j->result == 0; i++) {
        uint64_t v = j->value + (uint64_t)i;
        j->result = sl_send_until(j->c, &v, j->deadline);
    }
}

static void receives(void *arg)
{
    job *j = arg;
    for (int i = 0; i < j->n && j->result == 0; i++)
        j->result = sl_receive_until(j->c, &j->value, j->deadline);
}

static job job_on(sl_channel *c, uint64_t value, int n)
{
    return (job){.c = c, .value = value, .n = n, .deadline = SL_FOREVER};
}

static void in_order(const form *f)
{
    sl_channel *c = make(f, 8);
    job j = job_on(c, 0, 1000);
    sl_tasklet *t = go(sends, &j);
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t v = 9999;
        CHECK_EQ(sl_receive(c, &v), 0);
        CHECK_EQ(v, i);
    }
    join(t);
    CHECK_EQ(j.result, 0);
    CHECK_EQ(sl_channel_length(c), 0);
    unmake(c);
}

/* Those who wait are served first come, first served: both sides. */
static void first_come(const form *f)
{
    enum { N = 5 };
    sl_channel *c = make(f, 8);
    job j[N];
    sl_tasklet *t[N];
    for (int i = 0; i < N; i++) {
        j[i] = job_on(c, 0, 1);
        t[i] = go(receives, &j[i]);
        until_waiting(c, false, (size_t)i + 1);
    }
    for (uint64_t i = 0; i < N; i++)
        CHECK_EQ(sl_send(c, &i), 0);
    for (int i = 0; i < N; i++) {
        join(t[i]);
        CHECK_EQ(j[i].result, 0);
        CHECK_EQ(j[i].value, i);
    }
    for (uint64_t i = 0; i < f->capacity; i++)
        CHECK_EQ(sl_send(c, &i), 0);
    for (int i = 0; i < N; i++) {
        j[i] = job_on(c, f->capacity + (uint64_t)i, 1);
        t[i] = go(sends, &j[i]);
        until_waiting(c, true, (size_t)i + 1);
    }
    for (uint64_t i = 0; i < f->capacity + N; i++) {
        uint64_t v;
        CHECK_EQ(sl_receive(c, &v), 0);
        CHECK_EQ(v, i);
    }
    for (int i = 0; i < N; i++)
        join(t[i]);
    unmake(c);
}

static void tries(const form *f)
{
    sl_channel *c = make(f, 8);
    uint64_t v = 7;
    CHECK_EQ(sl_try_receive(c, &v), SL_EAGAIN);
    for (uint64_t i = 0; i < f->capacity; i++) {
        CHECK_EQ(sl_try_send(c, &i), 0);
        CHECK_EQ(sl_channel_length(c), i + 1);
    }
    CHECK_EQ(sl_try_send(c, &v), SL_EAGAIN);
    CHECK_EQ(sl_channel_length(c), f->capacity);
    for (uint64_t i = 0; i < f->capacity; i++) {
        CHECK_EQ(sl_try_receive(c, &v), 0);
        CHECK_EQ(v, i);
    }
    CHECK_EQ(sl_try_receive(c, &v), SL_EAGAIN);
    /* One that waits is found by a try. */
    job r = job_on(c, 0, 1), s = job_on(c, 5, 1 + (int)f->capacity);
    sl_tasklet *t = go(receives, &r);
    until_waiting(c, false, 1);
    v = 11;
    CHECK_EQ(sl_try_send(c, &v), 0);
    join(t);
    CHECK_EQ(r.value, 11);
    t = go(sends, &s);
    until_waiting(c, true, 1);
    for (uint64_t i = 0; i <= f->capacity; i++) {
        CHECK_EQ(sl_try_receive(c, &v), 0);
        CHECK_EQ(v, 5 + i);
    }
    join(t);
    CHECK_EQ(sl_try_receive(c, &v), SL_EAGAIN);
    unmake(c);
}

static void closing(const form *f)
{
    sl_channel *c = make(f, 8);
    uint64_t v = 1;
    job r[3];
    sl_tasklet *t[3];
    for (int i = 0; i < 3; i++) {
        r[i] = job_on(c, 0, 1);
        t[i] = go(receives, &r[i]);
    }
    until_waiting(c, false, 3);
    CHECK(!sl_channel_closed(c));
    CHECK_EQ(sl_channel_close(c), 0);
    for (int i = 0; i < 3; i++) {
        join(t[i]);
        CHECK_EQ(r[i].result, SL_ECLOSED);
    }
    CHECK(sl_channel_closed(c));
    CHECK_EQ(sl_channel_close(c), SL_ECLOSED);
    CHECK_EQ(sl_send(c, &v), SL_ECLOSED);
    CHECK_EQ(sl_receive(c, &v), SL_ECLOSED);
    CHECK_EQ(sl_try_send(c, &v), SL_ECLOSED);
    CHECK_EQ(sl_try_receive(c, &v), SL_ECLOSED);
    CHECK_EQ(sl_send_many(c, &v, 1, SL_FOREVER), SL_ECLOSED);
    CHECK_EQ(sl_receive_many(c, &v, 1, SL_FOREVER), SL_ECLOSED);
    unmake(c);
}

/* What is buffered is received after a close; who waited to send is told. */
static void draining(const form *f)
{
    sl_channel *c = make(f, 8);
    job s[2];
    sl_tasklet *t[2];
    uint64_t v;
    for (uint64_t i = 0; i < f->capacity; i++)
        CHECK_EQ(sl_send(c, &i), 0);
    for (int i = 0; i < 2; i++) {
        s[i] = job_on(c, 77, 1);
        t[i] = go(sends, &s[i]);
    }
    until_waiting(c, true, 2);
    CHECK_EQ(sl_channel_close(c), 0);
    for (int i = 0; i < 2; i++) {
        join(t[i]);
        CHECK_EQ(s[i].result, SL_ECLOSED);
    }
    for (uint64_t i = 0; i < f->capacity; i++) {
        CHECK_EQ(i % 2 ? sl_receive(c, &v) : sl_try_receive(c, &v), 0);
        CHECK_EQ(v, i);
    }
    CHECK_EQ(sl_receive(c, &v), SL_ECLOSED);
    unmake(c);
}

static void deadlines(const form *f)
{
    sl_channel *c = make(f, 8);
    uint64_t v = 3;
    int64_t begun = sl_clock();
    CHECK_EQ(sl_receive_until(c, &v, sl_after_ns(2000000)), SL_ETIMEDOUT);
    CHECK(sl_clock() - begun >= 2000000);
    CHECK_EQ(sl_receive_until(c, &v, 1), SL_ETIMEDOUT); /* long past */
    CHECK_EQ(v, 3);
    CHECK_EQ(sl_channel_waiting(c, false), 0);
    for (uint64_t i = 0; i < f->capacity; i++)
        CHECK_EQ(sl_send_until(c, &i, 1), 0); /* past, but there is room */
    CHECK_EQ(sl_send_until(c, &v, sl_after_ns(1000000)), SL_ETIMEDOUT);
    CHECK_EQ(sl_channel_waiting(c, true), 0);
    CHECK_EQ(sl_channel_length(c), f->capacity);
    for (uint64_t i = 0; i < f->capacity; i++) {
        CHECK_EQ(sl_receive_until(c, &v, 1), 0);
        CHECK_EQ(v, i);
    }
    CHECK_EQ(sl_try_receive(c, &v), SL_EAGAIN); /* what timed out was not sent */
    unmake(c);
}

/* One in the middle of the queue goes; the others keep their order. */
static void cancelled(const form *f)
{
    enum { N = 5 };
    sl_channel *c = make(f, 8);
    job j[N];
    sl_tasklet *t[N];
    for (int i = 0; i < N; i++) {
        j[i] = job_on(c, 99, 1);
        t[i] = go(receives, &j[i]);
        until_waiting(c, false, (size_t)i + 1);
    }
    CHECK_EQ(sl_cancel(t[2]), 0);
    join(t[2]);
    CHECK_EQ(j[2].result, SL_ECANCELLED);
    CHECK_EQ(j[2].value, 99);
    for (uint64_t i = 0; i < N - 1; i++)
        CHECK_EQ(sl_send(c, &i), 0);
    uint64_t wanted = 0;
    for (int i = 0; i < N; i++) {
        if (i == 2)
            continue;
        join(t[i]);
        CHECK_EQ(j[i].value, wanted++);
    }
    CHECK_EQ(sl_channel_length(c), 0);
    unmake(c);
}

typedef struct doomed {
    sl_channel *c, *start;
    int first, second;
    uint64_t value;
} doomed;

static void waits_twice(void *arg)
{
    doomed *d = arg;
    uint64_t v;
    CHECK_EQ(sl_receive(d->start, &v), 0);
    d->first = sl_receive(d->c, &d->value);
    d->second = sl_receive(d->c, &v);
}

/* A value that is there is delivered; the cancel is reported at the next wait. */
static void delivered_before_cancel(const form *f)
{
    sl_channel *c = make(f, 8), *start = make(&forms[0], 8);
    doomed d = {.c = c, .start = start};
    job s = job_on(c, 42, 1);
    sl_tasklet *sender = go(sends, &s), *t = go(waits_twice, &d);
    uint64_t v = 0;
    until_waiting(start, false, 1);
    if (f->capacity)
        join(sender);
    else
        until_waiting(c, true, 1);
    CHECK_EQ(sl_send(start, &v), 0);
    CHECK_EQ(sl_cancel(t), 0);
    join(t);
    CHECK((d.first == 0 && d.value == 42 && d.second == SL_ECANCELLED) || d.first == SL_ECANCELLED);
    if (d.first == SL_ECANCELLED) { /* it had not got so far: the value is still there */
        CHECK_EQ(d.second, 0);
    }
    if (!f->capacity)
        join(sender);
    unmake(c);
    unmake(start);
}

static void batches(const form *f)
{
    enum { N = 300 };
    sl_channel *c = make(f, 8);
    uint64_t out[N], in[N], got = 0;
    for (uint64_t i = 0; i < N; i++)
        out[i] = i;
    if (f->capacity)
        CHECK_EQ(sl_send_many(c, out, N, sl_after_ns(PATIENCE)), f->capacity);
    else
        CHECK_EQ(sl_send_many(c, out, N, sl_after_ns(1000)), SL_ETIMEDOUT);
    for (ptrdiff_t n; got < f->capacity; got += (uint64_t)n) {
        CHECK((n = sl_receive_many(c, in + got, N - got, SL_FOREVER)) > 0);
    }
    for (uint64_t i = 0; i < got; i++)
        CHECK_EQ(in[i], i);
    job s[3]; /* senders that wait are part of a batch */
    sl_tasklet *t[3];
    for (int i = 0; i < 3; i++) {
        s[i] = job_on(c, (uint64_t)i * 100, 1);
        t[i] = go(sends, &s[i]);
        until_waiting(c, true, i + 1 > (int)f->capacity ? (size_t)i + 1 - f->capacity : 0);
        int64_t end = sl_after_ns(PATIENCE);
        while (sl_channel_length(c) + sl_channel_waiting(c, true) != (size_t)i + 1)
            CHECK(sl_yield() == 0 && sl_clock() < end);
    }
    got = 0;
    for (ptrdiff_t n; got < 3; got += (uint64_t)n)
        CHECK((n = sl_receive_many(c, in + got, N, SL_FOREVER)) > 0);
    CHECK_EQ(got, 3);
    for (uint64_t i = 0; i < 3; i++) {
        join(t[i]);
        CHECK_EQ(in[i], i * 100);
    }
    CHECK_EQ(sl_receive_many(c, in, 0, SL_FOREVER), SL_EINVAL);
    unmake(c);
}

static void many_to_many_sizes(const form *f)
{
    static const size_t sizes[] = {0, 1, 3, 4, 8, 12, 24, 1000, 65536};
    static unsigned char a[65536], b[65536];
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        sl_channel *c = make(f, sizes[k]);
        memset(a, (int)k + 1, sizeof a);
        memset(b, 0, sizeof b);
        CHECK_EQ(sl_channel_capacity(c), f->capacity);
        if (f->capacity) {
            for (size_t round = 0; round < 2 * f->capacity + 1; round++) {
                CHECK_EQ(sl_send(c, sizes[k] ? a : NULL), 0);
                CHECK_EQ(sl_receive(c, sizes[k] ? b : NULL), 0);
            }
            CHECK(memcmp(a, b, sizes[k]) == 0);
            CHECK_EQ(sizes[k] == sizeof b ? 0 : b[sizes[k]], 0);
        }
        unmake(c);
    }
}

static void misuse(const form *f)
{
    sl_channel *c = make(f, 8), *none;
    uint64_t v = 0;
    CHECK_EQ(sl_send(NULL, &v), SL_EINVAL);
    CHECK_EQ(sl_send(c, NULL), SL_EINVAL);
    CHECK_EQ(sl_receive(c, NULL), SL_EINVAL);
    CHECK_EQ(sl_try_send(NULL, &v), SL_EINVAL);
    CHECK_EQ(sl_channel_close(NULL), SL_EINVAL);
    CHECK_EQ(sl_channel_destroy(NULL), SL_EINVAL);
    CHECK_EQ(sl_channel_create(NULL, 8, 0), SL_EINVAL);
    CHECK_EQ(sl_channel_create(&none, 65537, 0), SL_EINVAL);
    CHECK_EQ(sl_channel_create(&none, 8, ((size_t)1 << 24) + 1), SL_EINVAL);
    CHECK_EQ(sl_channel_create(&none, 8, SIZE_MAX), SL_EINVAL);
    job r = job_on(c, 0, 1);
    sl_tasklet *t = go(receives, &r);
    until_waiting(c, false, 1);
    CHECK_EQ(sl_channel_destroy(c), SL_EBUSY);
    CHECK_EQ(sl_send(c, &v), 0);
    join(t);
    unmake(c);
}

typedef struct foreign {
    sl_channel *c;
    sl_atomic32 done;
} foreign;

static void *foreigner(void *arg)
{
    foreign *o = arg;
    uint64_t v = 5;
    CHECK_EQ(sl_send(o->c, &v), SL_ENOTASKLET);
    CHECK_EQ(sl_receive(o->c, &v), SL_ENOTASKLET);
    for (uint64_t i = 0; i < 1000;)
        if (sl_try_send(o->c, &i) == 0)
            i++;
        else
            sched_yield();
    CHECK_EQ(sl_channel_close(o->c), 0);
    sl_store_release32(&o->done, 1);
    return NULL;
}

/* An OS thread that is nobody's worker tries, and closes. */
static void other_threads(const form *f)
{
    foreign o = {.c = make(f, 8)};
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, foreigner, &o), 0);
    uint64_t v, n = 0;
    int r;
    while ((r = sl_receive(o.c, &v)) == 0)
        CHECK_EQ(v, n++);
    CHECK_EQ(r, SL_ECLOSED);
    CHECK_EQ(n, 1000);
    pthread_join(thread, NULL);
    unmake(o.c);
}

/* A select between a closed channel and one that always has something comes to both. */
static void closed_has_its_turn(const form *f)
{
    static const form one = {SL_CHANNEL_PLAIN, 1, "one"};
    sl_channel *gone = make(f, 8), *full = make(&one, 8);
    uint64_t v = 0;
    unsigned chosen[2] = {0, 0};
    CHECK_EQ(sl_channel_close(gone), 0);
    for (int i = 0; i < 200; i++) {
        sl_case cases[2] = {{.channel = gone, .value = &v}, {.channel = full, .value = &v}};
        sl_try_send(full, &v);
        int k = sl_select(cases, 2, SL_FOREVER);
        CHECK(k == 0 || k == 1);
        CHECK_EQ(cases[k].status, k == 0 ? SL_ECLOSED : 0);
        chosen[k]++;
    }
    CHECK(chosen[0] > 0 && chosen[1] > 0);
    unmake(gone);
    unmake(full);
}

int main(void)
{
    EACH_FORM(in_order);
    EACH_FORM(first_come);
    EACH_FORM(tries);
    EACH_FORM(closing);
    EACH_FORM(draining);
    EACH_FORM(deadlines);
    EACH_FORM(cancelled);
    EACH_FORM(delivered_before_cancel);
    EACH_FORM(batches);
    EACH_FORM(many_to_many_sizes);
    EACH_FORM(misuse);
    EACH_FORM(other_threads);
    EACH_FORM(closed_has_its_turn);
    return 0;
}
