// SPDX-License-Identifier: MIT
//
// Benchmarks of the native pool and its channels; bench/peers/go/main.go is the
// same work in Go, row by row, and bench/native/run.py runs both.  Not for
// figures of a single call: core_bench.cc has those.
//
// Each iteration is a whole scenario in a pool that exists already; the counter
// "ns" is the time of one operation of it.  STACKLESS_LANES in the environment
// is the number of lanes (default: the processors).

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <vector>

#include <pthread.h>

#include <stackless/channel.h>
#include <stackless/pool.h>

extern "C" {
#include "../../core/futex.h"
}

namespace {

sl_pool *pool;
unsigned lanes;

void check(int rc)
{
    if (rc < 0) {
        fprintf(stderr, "native_bench: %s\n", sl_strerror(rc));
        abort();
    }
}

double now()
{
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

void go(sl_body body, void *arg = nullptr)
{
    check(sl_go(pool, nullptr, body, arg));
}

// Runs `scenario` once an iteration; it does `operations` operations.
template <typename F> void measure(benchmark::State &state, double operations, F scenario)
{
    double spent = 0, done = 0;
    for (auto _ : state) {
        double start = now();
        scenario();
        spent += now() - start;
        done += operations;
    }
    state.counters["ns"] = spent / done;
}

struct Channel {
    sl_channel *c = nullptr;
    explicit Channel(size_t capacity) { check(sl_channel_create(&c, sizeof(long), capacity)); }
    ~Channel() { check(sl_channel_destroy(c)); }
    Channel(const Channel &) = delete;
};

// What a tasklet of a row gets.
struct Job {
    sl_channel *a = nullptr, *b = nullptr;
    long n = 0;
};

void sends(void *arg)
{
    Job *job = static_cast<Job *>(arg);
    for (long i = 0; i < job->n; i++)
        check(sl_send(job->a, &i));
}

void receives(void *arg)
{
    Job *job = static_cast<Job *>(arg);
    long value;
    for (long i = 0; i < job->n; i++)
        check(sl_receive(job->a, &value));
}

// ---- switching and spawning ----

void yields(void *arg)
{
    for (long i = 0; i < reinterpret_cast<long>(arg); i++)
        sl_yield();
}

void yield(benchmark::State &state)
{
    const long n = 100000;
    measure(state, 2 * n, [] {
        go(yields, reinterpret_cast<void *>(n));
        go(yields, reinterpret_cast<void *>(n));
        sl_pool_wait(pool);
    });
}
BENCHMARK(yield);

void nothing(void *) {}

void spawns(void *arg)
{
    for (long i = 0; i < reinterpret_cast<long>(arg); i++) {
        sl_tasklet *t;
        check(sl_go(nullptr, &t, nothing, nullptr));
        check(sl_join(t, SL_FOREVER));
    }
}

void spawn_join(benchmark::State &state)
{
    const long n = 20000;
    measure(state, n, [] {
        go(spawns, reinterpret_cast<void *>(n));
        sl_pool_wait(pool);
    });
}
BENCHMARK(spawn_join);

struct Fib {
    int n;
    long result;
};

void fib(void *arg)
{
    Fib *f = static_cast<Fib *>(arg);
    if (f->n < 2) {
        f->result = f->n;
        return;
    }
    Fib left{f->n - 1, 0}, right{f->n - 2, 0};
    sl_tasklet *t;
    check(sl_go(nullptr, &t, fib, &left));
    fib(&right);
    check(sl_join(t, SL_FOREVER));
    f->result = left.result + right.result;
}

void fib25(benchmark::State &state)
{
    measure(state, 1, [] {
        Fib root{25, 0};
        go(fib, &root);
        sl_pool_wait(pool);
        if (root.result != 75025)
            abort();
    });
}
BENCHMARK(fib25);

// ---- channels ----

void stream(benchmark::State &state, size_t capacity)
{
    Channel c(capacity);
    Job job{c.c, nullptr, 50000};
    measure(state, double(job.n), [&] {
        go(receives, &job);
        go(sends, &job);
        sl_pool_wait(pool);
    });
}
BENCHMARK_CAPTURE(stream, unbuffered, 0);
BENCHMARK_CAPTURE(stream, buffered1, 1);
BENCHMARK_CAPTURE(stream, buffered100, 100);

void serves(void *arg)
{
    Job *job = static_cast<Job *>(arg);
    for (long i = 0; i < job->n; i++) {
        check(sl_send(job->a, &i));
        check(sl_receive(job->b, &i));
    }
}

void returns(void *arg)
{
    Job *job = static_cast<Job *>(arg);
    long value;
    for (long i = 0; i < job->n; i++) {
        check(sl_receive(job->a, &value));
        check(sl_send(job->b, &value));
    }
}

void pingpong(benchmark::State &state)
{
    Channel a(0), b(0);
    Job job{a.c, b.c, 50000};
    measure(state, 2.0 * double(job.n), [&] {
        go(returns, &job);
        go(serves, &job);
        sl_pool_wait(pool);
    });
}
BENCHMARK(pingpong);

const long WIDTH = 100, MESSAGES = 50000;

void fan_in(benchmark::State &state)
{
    Channel c(0);
    Job all{c.c, nullptr, MESSAGES}, one{c.c, nullptr, MESSAGES / WIDTH};
    measure(state, double(MESSAGES), [&] {
        go(receives, &all);
        for (long i = 0; i < WIDTH; i++)
            go(sends, &one);
        sl_pool_wait(pool);
    });
}
BENCHMARK(fan_in);

void fan_out(benchmark::State &state)
{
    Channel c(0);
    Job all{c.c, nullptr, MESSAGES}, one{c.c, nullptr, MESSAGES / WIDTH};
    measure(state, double(MESSAGES), [&] {
        for (long i = 0; i < WIDTH; i++)
            go(receives, &one);
        go(sends, &all);
        sl_pool_wait(pool);
    });
}
BENCHMARK(fan_out);

void passes_on(void *arg)
{
    Job *job = static_cast<Job *>(arg);
    long token;
    while (sl_receive(job->a, &token) == 0 && sl_send(job->b, &token) == 0) {
    }
    sl_channel_close(job->b);
}

void serves_and_closes(void *arg)
{
    serves(arg);
    sl_channel_close(static_cast<Job *>(arg)->a);
}

void ring1000(benchmark::State &state)
{
    const int size = 1000;
    const long rounds = 50;
    measure(state, double(size) * rounds, [&] {
        std::vector<sl_channel *> c(size);
        std::vector<Job> jobs(size);
        for (auto &each : c)
            check(sl_channel_create(&each, sizeof(long), 0));
        for (int i = 1; i < size; i++) {
            jobs[i] = Job{c[i - 1], c[i], 0};
            go(passes_on, &jobs[i]);
        }
        jobs[0] = Job{c[0], c[size - 1], rounds};
        go(serves_and_closes, &jobs[0]);
        sl_pool_wait(pool);
        for (auto each : c)
            check(sl_channel_destroy(each));
    });
}
BENCHMARK(ring1000);

// ---- select ----

struct Choice {
    std::vector<sl_channel *> channels;
    long n;
};

void sends_to_each(void *arg)
{
    Choice *choice = static_cast<Choice *>(arg);
    for (long i = 0; i < choice->n; i++)
        check(sl_send(choice->channels[size_t(i) % choice->channels.size()], &i));
}

void chooses(void *arg)
{
    Choice *choice = static_cast<Choice *>(arg);
    long value;
    std::vector<sl_case> cases;
    for (auto c : choice->channels)
        cases.push_back(sl_case{c, &value, false, 0});
    for (long i = 0; i < choice->n; i++)
        check(sl_select(cases.data(), cases.size(), SL_FOREVER));
}

void choose(benchmark::State &state, size_t width)
{
    Choice choice{{}, 20000};
    for (size_t i = 0; i < width; i++) {
        choice.channels.push_back(nullptr);
        check(sl_channel_create(&choice.channels.back(), sizeof(long), 0));
    }
    measure(state, double(choice.n), [&] {
        go(chooses, &choice);
        go(sends_to_each, &choice);
        sl_pool_wait(pool);
    });
    for (auto c : choice.channels)
        check(sl_channel_destroy(c));
}
BENCHMARK_CAPTURE(choose, 2, 2);
BENCHMARK_CAPTURE(choose, 8, 8);

// ---- timers, parallel work ----

void sleeps(void *arg)
{
    check(sl_sleep(reinterpret_cast<long>(arg) % 20000 * 1000));
}

void starts_sleepers(void *arg)
{
    for (long i = 0; i < reinterpret_cast<long>(arg); i++)
        check(sl_go(nullptr, nullptr, sleeps, reinterpret_cast<void *>(i * 7919)));
}

void timers100k(benchmark::State &state)
{
    const long n = 100000;
    measure(state, double(n), [] {
        go(starts_sleepers, reinterpret_cast<void *>(n));
        sl_pool_wait(pool);
    });
}
BENCHMARK(timers100k);

struct Piece {
    long work;
    unsigned long result;
};

void adds(void *arg)
{
    Piece *piece = static_cast<Piece *>(arg);
    unsigned long x = 88172645463325252ul, sum = 0;
    for (long i = 0; i < piece->work; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        sum += x;
    }
    piece->result = sum;
}

// A divide and conquer over pieces of very different size.
struct Range {
    Piece *first;
    long n;
};

void adds_range(void *arg)
{
    Range *range = static_cast<Range *>(arg);
    if (range->n == 1) {
        adds(range->first);
        return;
    }
    Range left{range->first, range->n / 2}, right{range->first + range->n / 2, range->n - range->n / 2};
    sl_tasklet *t;
    check(sl_go(nullptr, &t, adds_range, &left));
    adds_range(&right);
    check(sl_join(t, SL_FOREVER));
}

void uneven_sum(benchmark::State &state)
{
    std::vector<Piece> pieces(1000);
    for (size_t i = 0; i < pieces.size(); i++)
        pieces[i].work = i % 97 == 0 ? 100000 : long(i % 50) * 100;
    Range all{pieces.data(), long(pieces.size())};
    measure(state, 1, [&] {
        go(adds_range, &all);
        sl_pool_wait(pool);
    });
}
BENCHMARK(uneven_sum);

// ---- latencies ----

volatile long flag;

void raises_flag(void *) { __atomic_store_n(&flag, 1, __ATOMIC_RELEASE); }

void spawns_and_spins(void *arg)
{
    for (long i = 0; i < reinterpret_cast<long>(arg); i++) {
        __atomic_store_n(&flag, 0, __ATOMIC_RELAXED);
        check(sl_go(nullptr, nullptr, nothing, nullptr)); // the host may keep this one
        check(sl_go(nullptr, nullptr, raises_flag, nullptr));
        while (!__atomic_load_n(&flag, __ATOMIC_ACQUIRE)) {
        }
        sl_yield();
    }
}

// From sl_go() on a lane that stays busy to the start on another one.
void steal(benchmark::State &state)
{
    if (lanes < 2) {
        state.SkipWithError("needs two lanes");
        return;
    }
    const long n = 2000;
    measure(state, double(n), [] {
        go(spawns_and_spins, reinterpret_cast<void *>(n));
        sl_pool_wait(pool);
    });
}
BENCHMARK(steal);

// Each wake-up comes when the sleeper has been parked for `rest` nanoseconds.  "ns" is the median:
// one that the kernel delays by a time slice says nothing about us, and spoils a mean.
template <typename Wake> void wake_row(benchmark::State &state, long rest, Wake wake)
{
    std::vector<double> each;
    for (auto _ : state) {
        timespec pause{0, rest};
        nanosleep(&pause, nullptr);
        __atomic_store_n(&flag, 0, __ATOMIC_RELAXED);
        double start = now();
        wake();
        while (!__atomic_load_n(&flag, __ATOMIC_ACQUIRE)) {
        }
        each.push_back(now() - start);
    }
    std::sort(each.begin(), each.end());
    state.counters["ns"] = each[each.size() / 2];
    state.counters["p10"] = each[each.size() / 10];
    state.counters["p90"] = each[each.size() * 9 / 10];
}

// After `SHORT` the pool's monitor is still up, after `LONG` it sleeps too.
const long SHORT = 200000, LONG = 8000000;

void wake_worker(benchmark::State &state, long rest)
{
    wake_row(state, rest, [] { go(raises_flag); });
    sl_pool_wait(pool);
}
BENCHMARK_CAPTURE(wake_worker, short, SHORT)->Iterations(500);
BENCHMARK_CAPTURE(wake_worker, long, LONG)->Iterations(50);

void sleeps_long(void *) { sl_sleep(3600 * 1000000000L); }

// One that sleeps until a timer: the pool's poller.
void wake_poller(benchmark::State &state)
{
    sl_tasklet *t;
    check(sl_go(pool, &t, sleeps_long, nullptr));
    wake_row(state, SHORT, [] { go(raises_flag); });
    sl_cancel(t);
    check(sl_join(t, SL_FOREVER));
    sl_pool_wait(pool);
}
BENCHMARK(wake_poller)->Iterations(500);

sl_atomic32 word;

void *sleeps_on_futex(void *)
{
    for (unsigned seen = 0; seen != ~0u;) {
        sl_futex_wait(&word, seen, INT64_MAX);
        unsigned value = sl_load_acquire32(&word);
        if (value != seen && value != ~0u)
            raises_flag(nullptr);
        seen = value;
    }
    return nullptr;
}

void wake_futex(benchmark::State &state, long rest)
{
    pthread_t thread;
    sl_store_relaxed32(&word, 0);
    pthread_create(&thread, nullptr, sleeps_on_futex, nullptr);
    wake_row(state, rest, [] {
        sl_add32(&word, 1);
        sl_futex_wake_all(&word);
    });
    sl_store_release32(&word, ~0u);
    sl_futex_wake_all(&word);
    pthread_join(thread, nullptr);
}
BENCHMARK_CAPTURE(wake_futex, short, SHORT)->Iterations(500);
BENCHMARK_CAPTURE(wake_futex, long, LONG)->Iterations(50);

} // namespace

int main(int argc, char **argv)
{
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return 1;
    const char *asked = getenv("STACKLESS_LANES");
    sl_pool_config config = {};
    config.lanes = asked ? unsigned(atoi(asked)) : 0;
    if (sl_pool_create(&pool, &config) < 0) {
        fprintf(stderr, "native_bench: %s\n", sl_pool_explain());
        return 1;
    }
    sl_pool_stats stats;
    sl_pool_get_stats(pool, &stats);
    lanes = stats.lanes;
    benchmark::RunSpecifiedBenchmarks();
    check(sl_pool_destroy(pool));
    return 0;
}
