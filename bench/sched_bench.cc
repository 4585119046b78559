// SPDX-License-Identifier: MIT
//
// Benchmarks of sched/ on one ordered lane, without Python: for regressions.
// Each iteration runs a whole scenario in a pool; "one" in the counters is the
// time of one operation of it.

#include <benchmark/benchmark.h>

extern "C" {
#include "../core/clock.h"
#include "../core/stack.h"
#include "../sched/ordered/ordered.h"
}

namespace {

constexpr int BATCH = 100000;

void per_operation(benchmark::State &state, double operations)
{
    state.counters["one"] = benchmark::Counter(
        operations, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

struct Pool {
    sl_ordered *native = nullptr;
    explicit Pool(int threads)
    {
        if (sl_ordered_create(&native, threads, SL_STACK_DEFAULT) != 0)
            abort();
    }
    ~Pool() { sl_ordered_destroy(native); }
    void go(void (*body)(void *), void *arg)
    {
        if (sl_ordered_go(native, body, arg) != 0)
            abort();
    }
    void wait() { sl_ordered_wait(native); }
};

void nothing(void *) {}

void yields(void *)
{
    for (int i = 0; i < BATCH; i++)
        sl_ordered_yield();
}

void spawns(void *native)
{
    for (int i = 0; i < BATCH; i++)
        sl_ordered_go(static_cast<sl_ordered *>(native), nothing, nullptr);
}

// Two tasklets that yield to each other.
void yield(benchmark::State &state)
{
    Pool pool(1);
    for (auto _ : state) {
        pool.go(yields, nullptr);
        pool.go(yields, nullptr);
        pool.wait();
    }
    per_operation(state, 2 * BATCH);
}
BENCHMARK(yield)->UseRealTime();

// A tasklet makes many, which then run one after another on one stack.
void spawn_and_run(benchmark::State &state)
{
    Pool pool(1);
    for (auto _ : state) {
        pool.go(spawns, pool.native);
        pool.wait();
    }
    per_operation(state, BATCH);
}
BENCHMARK(spawn_and_run)->UseRealTime();

struct Handoff {
    int64_t started = 0;
    int64_t taken = -1;
    bool blocked = false;
};

// Busy until the lane has come back from it; measures when another runs.
void blocks(void *arg)
{
    auto *h = static_cast<Handoff *>(arg);
    h->started = sl_now();
    h->blocked = true;
    sl_ordered_blocking_begin();
    while (__atomic_load_n(&h->taken, __ATOMIC_ACQUIRE) < 0)
        ;
    sl_ordered_blocking_end();
}

void takes(void *arg)
{
    auto *h = static_cast<Handoff *>(arg);
    while (!h->blocked)
        sl_ordered_yield();
    __atomic_store_n(&h->taken, sl_now() - h->started, __ATOMIC_RELEASE);
}

// From sl_ordered_blocking_begin() in one tasklet to the next one running on a spare.
void handoff_latency(benchmark::State &state)
{
    Pool pool(2);
    for (auto _ : state) {
        Handoff h;
        pool.go(blocks, &h);
        pool.go(takes, &h);
        pool.wait();
        state.SetIterationTime(static_cast<double>(h.taken) * 1e-9);
    }
}
BENCHMARK(handoff_latency)->UseManualTime()->Iterations(2000);

} // namespace

BENCHMARK_MAIN();
