// SPDX-License-Identifier: MIT
//
// Benchmarks of core/: for regressions and for choosing between variants, not
// for showing what a program gains.  Each name says what is measured; "one" in
// the counters is the time of one such operation.

#include <benchmark/benchmark.h>
#include <pthread.h>

extern "C" {
#include "../core/clock.h"
#include "../core/context.h"
#include "../core/park.h"
#include "../core/stack.h"
}

namespace {

using Switch = void *(void **, void *, void *);

void per_operation(benchmark::State &state, double operations)
{
    state.counters["one"] = benchmark::Counter(
        operations, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

struct Pool {
    sl_stack_pool *pool = nullptr;
    explicit Pool(size_t size = SL_STACK_DEFAULT)
    {
        if (sl_stack_pool_create(&pool, size) != 0)
            abort();
    }
    ~Pool() { sl_stack_pool_destroy(pool); }
    sl_stack *get()
    {
        sl_stack *s;
        if (sl_stack_get(pool, &s) != 0)
            abort();
        return s;
    }
    void put(sl_stack *s) { sl_stack_put(pool, s); }
};

sl_context home, guest;

template <Switch *raw> void bounce_raw(void *)
{
    for (;;)
        raw(&guest.sp, home.sp, nullptr);
}

// The first switch to a fresh context reads a transfer.
void enter(sl_context *context, void *payload)
{
    sl_switch_to(&home, context, nullptr, nullptr, payload);
}

// The assembly alone: there and back, two switches an iteration.
template <Switch *raw> void raw_switch(benchmark::State &state)
{
    Pool pool;
    sl_stack *stack = pool.get();
    sl_context_native(&home, raw == sl_ctx_switch_fp);
    sl_context_make(&guest, stack, bounce_raw<raw>, raw == sl_ctx_switch_fp);
    sl_transfer none = {};
    raw(&home.sp, guest.sp, &none);
    for (auto _ : state)
        raw(&home.sp, guest.sp, nullptr);
    per_operation(state, 2);
    pool.put(stack);
}
BENCHMARK(raw_switch<sl_ctx_switch>)->Name("raw_switch/plain");
BENCHMARK(raw_switch<sl_ctx_switch_fp>)->Name("raw_switch/fp");

void bounce(void *)
{
    for (;;)
        sl_switch_to(&guest, &home, nullptr, nullptr, nullptr);
}

void do_nothing(void *)
{
}

// sl_switch_to(), with and without something to run on the far side.
void switch_to(benchmark::State &state)
{
    Pool pool;
    sl_stack *stack = pool.get();
    bool fp = state.range(0);
    sl_after after = state.range(1) ? do_nothing : nullptr;
    sl_context_native(&home, fp);
    sl_context_make(&guest, stack, bounce, fp);
    for (auto _ : state)
        sl_switch_to(&home, &guest, after, nullptr, nullptr);
    per_operation(state, 2);
    pool.put(stack);
}
BENCHMARK(switch_to)->ArgNames({"fp", "after"})->ArgsProduct({{0, 1}, {0, 1}});

// Many contexts in a ring: what the caches say to that many stack tops.
struct Member {
    sl_context context;
    Member *next;
};

void ring_entry(void *payload)
{
    auto *self = static_cast<Member *>(payload);
    for (;;)
        sl_switch_to(&self->context, &self->next->context, nullptr, nullptr, self->next);
}

void close_ring(void *payload)
{
    auto *self = static_cast<Member *>(payload);
    for (;;)
        sl_switch_to(&self->context, &home, nullptr, nullptr, nullptr);
}

void switch_ring(benchmark::State &state)
{
    Pool pool;
    size_t n = static_cast<size_t>(state.range(0));
    auto *members = new Member[n];
    auto **stacks = new sl_stack *[n];
    sl_context_native(&home, false);
    for (size_t i = 0; i < n; i++) {
        stacks[i] = pool.get();
        members[i].next = i + 1 < n ? &members[i + 1] : nullptr;
        sl_context_make(&members[i].context, stacks[i], i + 1 < n ? ring_entry : close_ring, false);
    }
    for (auto _ : state)
        enter(&members[0].context, &members[0]);
    per_operation(state, static_cast<double>(n + 1));
    for (size_t i = 0; i < n; i++)
        pool.put(stacks[i]);
    delete[] stacks;
    delete[] members;
}
BENCHMARK(switch_ring)->Arg(10)->Arg(100)->Arg(1000)->Arg(10000);

// A fresh context on a warm stack, run to its end.
void one_shot(void *)
{
    sl_switch_final(&guest, &home, nullptr, nullptr, nullptr);
}

void make_and_run(benchmark::State &state)
{
    Pool pool;
    sl_context_native(&home, false);
    for (auto _ : state) {
        sl_stack *stack = pool.get();
        sl_context_make(&guest, stack, one_shot, true);
        sl_switch_to(&home, &guest, nullptr, nullptr, nullptr);
        pool.put(stack);
    }
}
BENCHMARK(make_and_run);

void stack_get_put(benchmark::State &state)
{
    Pool pool;
    pool.put(pool.get());
    for (auto _ : state)
        pool.put(pool.get());
}
BENCHMARK(stack_get_put);

// New stacks, first touch included; the mapping goes away unmeasured.
void stack_get_new(benchmark::State &state)
{
    constexpr int count = 1000;
    static sl_stack *stacks[count];
    for (auto _ : state) {
        state.PauseTiming();
        {
            Pool pool;
            state.ResumeTiming();
            for (auto &s : stacks) {
                s = pool.get();
                s->base[s->size - 1] = 1;
            }
            state.PauseTiming();
            for (auto *s : stacks)
                pool.put(s);
        }
        state.ResumeTiming();
    }
    per_operation(state, count);
}
BENCHMARK(stack_get_new);

// Swings far above what is kept: give-back and coming back included.
void stack_swing(benchmark::State &state)
{
    Pool pool;
    size_t n = static_cast<size_t>(state.range(0));
    auto **stacks = new sl_stack *[n];
    for (auto _ : state) {
        for (size_t i = 0; i < n; i++) {
            stacks[i] = pool.get();
            stacks[i]->base[stacks[i]->size - 1] = 1;
        }
        for (size_t i = 0; i < n; i++)
            pool.put(stacks[i]);
    }
    per_operation(state, static_cast<double>(n));
    delete[] stacks;
}
BENCHMARK(stack_swing)->Arg(1000)->Arg(10000);

// Unparking a parker that nobody sleeps on, and taking the permit.
void permit(benchmark::State &state)
{
    sl_parker parker;
    sl_parker_init(&parker);
    for (auto _ : state) {
        sl_unpark(&parker);
        sl_park(&parker, SL_NEVER);
    }
}
BENCHMARK(permit);

struct Echo {
    sl_parker here, there;
    bool stop;
};

void *echo(void *arg)
{
    auto *e = static_cast<Echo *>(arg);
    for (;;) {
        sl_park(&e->there, SL_NEVER);
        if (e->stop)
            return nullptr;
        sl_unpark(&e->here);
    }
}

// Two threads that sleep in turn: a round trip.
void park_round_trip(benchmark::State &state)
{
    Echo e = {};
    pthread_t thread;
    sl_parker_init(&e.here);
    sl_parker_init(&e.there);
    if (pthread_create(&thread, nullptr, echo, &e) != 0)
        abort();
    for (auto _ : state) {
        sl_unpark(&e.there);
        sl_park(&e.here, SL_NEVER);
    }
    e.stop = true;
    sl_unpark(&e.there);
    pthread_join(thread, nullptr);
}
BENCHMARK(park_round_trip)->UseRealTime();

} // namespace

BENCHMARK_MAIN();
