/* SPDX-License-Identifier: MIT
 *
 * The stack pool: 100,000 stacks at once, memory given back, reuse, guards of
 * both kinds, the system refusing memory, and many threads at once.
 */
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "context.h"
#include "stack.h"
#include "stack_guard.h"
#include "stackless/error.h"

/* ASan's shadow of 100,000 stacks would not fit into small machines. */
#if SL_ASAN
#define MANY 2000
#else
#define MANY MANY_OR(100000, 2000)
#endif

static sl_stack *stacks[MANY];

static size_t resident_bytes(void)
{
    size_t total, resident;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f && fscanf(f, "%zu %zu", &total, &resident) == 2);
    fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static size_t mappings(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    CHECK(f);
    size_t lines = 0;
    for (int c; (c = getc(f)) != EOF;)
        lines += c == '\n';
    fclose(f);
    return lines;
}

static sl_stack_pool *create(size_t size)
{
    sl_stack_pool *pool;
    CHECK_EQ(sl_stack_pool_create(&pool, size), 0);
    return pool;
}

static sl_stack_stats stats(sl_stack_pool *pool)
{
    sl_stack_stats st;
    sl_stack_pool_stats(pool, &st);
    return st;
}

static void sizes(void)
{
    sl_stack_pool *pool;
    CHECK_EQ(sl_stack_pool_create(&pool, SL_STACK_MIN - 1), SL_EINVAL);
    CHECK_EQ(sl_stack_pool_create(&pool, SL_STACK_MAX + 1), SL_EINVAL);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t wanted[] = {SL_STACK_MIN, SL_STACK_MIN + 1, SL_STACK_DEFAULT, SL_STACK_MAX};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        pool = create(wanted[i]);
        sl_stack *s;
        CHECK_EQ(sl_stack_get(pool, &s), 0);
        CHECK(s->size >= wanted[i] && s->size < wanted[i] + page && s->size % page == 0);
        CHECK((uintptr_t)s->base % page == 0);
        memset(s->base, 1, page);
        memset(s->base + s->size - page, 1, page);
        sl_stack_put(pool, s);
        sl_stack_pool_destroy(pool);
    }
}

static void reuse_is_lifo(void)
{
    sl_stack_pool *pool = create(SL_STACK_DEFAULT);
    sl_stack *s[20], *again;
    for (int i = 0; i < 20; i++)
        CHECK_EQ(sl_stack_get(pool, &s[i]), 0);
    for (int i = 0; i < 20; i++)
        sl_stack_put(pool, s[i]);
    for (int i = 19; i >= 0; i--) {
        CHECK_EQ(sl_stack_get(pool, &again), 0);
        CHECK(again == s[i]);
    }
    CHECK_EQ(stats(pool).live, 20);
    for (int i = 0; i < 20; i++)
        sl_stack_put(pool, s[i]);
    CHECK_EQ(stats(pool).live, 0);
    sl_stack_pool_destroy(pool);
}

/* Preparing ahead is a handful of pages, not a slab of them. */
static void little_is_touched_ahead(void)
{
    sl_stack_pool *pool = create(SL_STACK_DEFAULT);
    sl_stack *s;
    CHECK_EQ(sl_stack_get(pool, &s), 0);
    CHECK(stats(pool).resident <= 8);
    sl_stack_put(pool, s);
    sl_stack_pool_destroy(pool);
}

static void touch(sl_stack *s, int i)
{
    int *top = (int *)(s->base + s->size) - 1;
    *top = i;
}

static void many_at_once(void)
{
    sl_stack_pool *pool = create(SL_STACK_DEFAULT);
    size_t rss_before = resident_bytes(), maps_before = mappings();
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(sl_stack_get(pool, &stacks[i]), 0);
        touch(stacks[i], i);
    }
    sl_stack_stats st = stats(pool);
    CHECK_EQ(st.live, MANY);
    if (strcmp(st.guard, "madvise") == 0) {
        CHECK_EQ(st.unguarded, 0);
        CHECK(SL_TSAN || mappings() - maps_before < MANY / 100); /* TSan maps too */
    }
    size_t used = resident_bytes() - rss_before;
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(((int *)(stacks[i]->base + stacks[i]->size))[-1], i);
    for (int i = 0; i < MANY; i++)
        sl_stack_put(pool, stacks[i]);

    /* Most of it went back while they were put, the rest on request. */
    size_t kept = stats(pool).resident;
    CHECK_EQ(stats(pool).free >= MANY, 1);
    CHECK(kept <= 2048);
    fprintf(stderr, "  %d stacks: %zu KiB resident, %zu stacks kept\n", MANY, used >> 10, kept);
#if !SL_ASAN && !SL_TSAN && !defined(SL_TEST_EMULATED) /* the emulator's and shadow memory count as well */
    CHECK(used < (size_t)MANY * 8192);
    size_t held = resident_bytes() - rss_before;
    fprintf(stderr, "  after the last put: %zu KiB\n", held >> 10);
    CHECK(held < used / 4);
#endif
    sl_stack_trim(pool);
    CHECK_EQ(stats(pool).resident, 0);

    /* What was given back serves again and reads as zero. */
    CHECK_EQ(sl_stack_get(pool, &stacks[0]), 0);
    CHECK_EQ(((int *)(stacks[0]->base + stacks[0]->size))[-1], 0);
    sl_stack_put(pool, stacks[0]);
    sl_stack_pool_destroy(pool);
}

/* A load that swings does not go to the kernel each time. */
static void swinging_load_stays_resident(void)
{
    sl_stack_pool *pool = create(SL_STACK_DEFAULT);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 500; i++)
            CHECK_EQ(sl_stack_get(pool, &stacks[i]), 0);
        for (int i = 0; i < 500; i++)
            sl_stack_put(pool, stacks[i]);
        CHECK(stats(pool).resident >= 500);
    }
    sl_stack_pool_destroy(pool);
}

/* The remembered peak sinks: a long quiet time ends in a small pool. */
static void peak_is_forgotten(void)
{
    sl_stack_pool *pool = create(SL_STACK_DEFAULT);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(sl_stack_get(pool, &stacks[i]), 0);
    for (int i = 0; i < 1000; i++)
        sl_stack_put(pool, stacks[i]);
    CHECK(stats(pool).resident >= 1000);
    for (int i = 0; i < 4096 * 20; i++) {
        CHECK_EQ(sl_stack_get(pool, &stacks[0]), 0);
        sl_stack_put(pool, stacks[0]);
    }
    CHECK(stats(pool).resident <= 128);
    sl_stack_pool_destroy(pool);
}

/* ---- guards ---------------------------------------------------------------- */

/* 1 if writing at `at` kills a child. */
static int kills(char *at)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        freopen("/dev/null", "w", stderr); /* ASan's report */
        *(volatile char *)at = 1;
        _exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFSIGNALED(status) || WEXITSTATUS(status) != 0;
}

static void check_guards(const char *kind)
{
    sl_stack_pool *pool = create(SL_STACK_DEFAULT);
    sl_stack *s[70];
    for (int i = 0; i < 70; i++)
        CHECK_EQ(sl_stack_get(pool, &s[i]), 0);
    CHECK(strcmp(stats(pool).guard, kind) == 0);
    CHECK_EQ(stats(pool).unguarded, 0);
    for (int i = 0; i < 70; i += 23) {
        CHECK(s[i]->guarded);
        CHECK(kills(s[i]->base - 1));
        CHECK(kills(s[i]->base - 4096));
        CHECK(!kills(s[i]->base));
        CHECK(sl_stack_of_guard(s[i]->base - 1) == s[i]);
        CHECK(sl_stack_of_guard(s[i]->base - 4096) == s[i]);
        CHECK(sl_stack_of_guard(s[i]->base) == NULL);
        CHECK(sl_stack_of_guard(s[i]->base + s[i]->size - 1) == NULL);
    }
    CHECK(sl_stack_of_guard(NULL) == NULL && sl_stack_of_guard(&pool) == NULL);
    for (int i = 0; i < 70; i++)
        sl_stack_put(pool, s[i]);
    /* The guard outlives giving the memory back. */
    sl_stack_trim(pool);
    CHECK(kills(s[0]->base - 1));
    const char *gone = s[0]->base - 1;
    sl_stack_pool_destroy(pool);
    CHECK(sl_stack_of_guard(gone) == NULL);
}

static void guards_by_madvise(void)
{
    sl_guard_force(SL_GUARD_NONE, 0);
    sl_stack_pool *pool = create(SL_STACK_DEFAULT);
    sl_stack *s;
    CHECK_EQ(sl_stack_get(pool, &s), 0);
    bool have = strcmp(stats(pool).guard, "madvise") == 0;
    sl_stack_put(pool, s);
    sl_stack_pool_destroy(pool);
    if (have)
        check_guards("madvise");
    else
        fprintf(stderr, "  this kernel has no MADV_GUARD_INSTALL: not tested\n");
}

static void guards_by_mprotect(void)
{
    sl_guard_force(SL_GUARD_MPROTECT, 0);
    check_guards("mprotect");
    sl_guard_force(SL_GUARD_NONE, 0);
}

/* Beyond the budget stacks are still handed out, without a guard and counted;
 * a destroyed pool returns its share. */
static void guard_budget(void)
{
    sl_guard_force(SL_GUARD_MPROTECT, 200);
    for (int round = 0; round < 2; round++) {
        sl_stack_pool *pool = create(SL_STACK_MIN);
        size_t guarded = 0;
        for (int i = 0; i < 160; i++) {
            CHECK_EQ(sl_stack_get(pool, &stacks[i]), 0);
            guarded += stacks[i]->guarded;
            CHECK(stacks[i]->guarded || sl_stack_of_guard(stacks[i]->base - 1) == NULL);
        }
        CHECK_EQ(guarded, 100);
        CHECK_EQ(stats(pool).unguarded, 60);
        for (int i = 0; i < 160; i++)
            sl_stack_put(pool, stacks[i]);
        sl_stack_pool_destroy(pool);
    }
    sl_guard_force(SL_GUARD_NONE, 0);
}

/* 100,000 stacks also where guards cost mappings. */
static void many_with_mprotect(void)
{
    sl_guard_force(SL_GUARD_MPROTECT, 0);
    sl_stack_pool *pool = create(SL_STACK_DEFAULT);
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(sl_stack_get(pool, &stacks[i]), 0);
    CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    fprintf(stderr, "  %zu of %d unguarded, %zu mappings\n", stats(pool).unguarded, MANY, mappings());
    for (int i = 0; i < MANY; i++)
        sl_stack_put(pool, stacks[i]);
    sl_stack_pool_destroy(pool);
    sl_guard_force(SL_GUARD_NONE, 0);
}

/* ---- the system refuses memory ------------------------------------------------ */

static void exhaust_in_child(void)
{
    sl_stack_pool *pool = create(SL_STACK_DEFAULT);
    size_t pages;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f && fscanf(f, "%zu", &pages) == 1);
    fclose(f);
    rlim_t room = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + ((rlim_t)200 << 20);
    CHECK_EQ(setrlimit(RLIMIT_AS, &(struct rlimit){room, room}), 0);
    int n[2];
    for (int round = 0; round < 2; round++) {
        sl_stack *s = NULL;
        int rc = 0;
        for (n[round] = 0; n[round] < MANY && (rc = sl_stack_get(pool, &s)) == 0; n[round]++)
            stacks[n[round]] = s;
        CHECK_EQ(rc, SL_ENOMEM);
        CHECK(s == NULL);
        CHECK_EQ(stats(pool).live, n[round]);
        CHECK_EQ(sl_stack_get(pool, &s), SL_ENOMEM); /* and again */
        for (int i = 0; i < n[round]; i++) {
            touch(stacks[i], i);
            sl_stack_put(pool, stacks[i]);
        }
        CHECK_EQ(stats(pool).live, 0);
    }
    /* 200 MiB hold some 640 stacks with their guards; small slabs fill the rest. */
    CHECK(n[0] > 500 && n[0] < 800);
    CHECK_EQ(n[1], n[0]);
    sl_stack_pool_destroy(pool);
    exit(0);
}

static void out_of_address_space(void)
{
#if SL_ASAN || SL_TSAN || defined(SL_TEST_EMULATED)
    fprintf(stderr, "  RLIMIT_AS and sanitizers or emulators do not go together: not tested\n");
    (void)exhaust_in_child;
#else
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        exhaust_in_child();
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
#endif
}

/* ---- many threads ---------------------------------------------------------------- */

#define THREADS 4
#define ROUNDS 20000
#define HELD 100

static void *stress(void *arg)
{
    sl_stack_pool *pool = arg;
    sl_stack *held[HELD] = {0};
    unsigned state = (unsigned)(uintptr_t)&held ^ 0x9e3779b9;
    for (int i = 0; i < ROUNDS; i++) {
        state = state * 1664525 + 1013904223;
        sl_stack **slot = &held[(state >> 16) % HELD];
        if (!*slot) {
            CHECK_EQ(sl_stack_get(pool, slot), 0);
            CHECK((*slot)->label == NULL); /* nobody else has it */
            (*slot)->label = held;
            touch(*slot, 1);
        } else {
            CHECK((*slot)->label == held);
            (*slot)->label = NULL;
            sl_stack_put(pool, *slot);
            *slot = NULL;
        }
        if (state >> 20 == 0)
            sl_stack_trim(pool);
    }
    for (int i = 0; i < HELD; i++)
        if (held[i])
            sl_stack_put(pool, held[i]);
    return NULL;
}

static void many_threads(void)
{
    sl_stack_pool *pool = create(SL_STACK_MIN);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, stress, pool), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    sl_stack_stats st = stats(pool);
    CHECK_EQ(st.live, 0);
    /* No stack was lost: all that were ever made can be had without a new slab. */
    size_t total = st.free;
    CHECK(total >= HELD / 2 && total <= MANY);
    for (size_t i = 0; i < total; i++)
        CHECK_EQ(sl_stack_get(pool, &stacks[i]), 0);
    CHECK_EQ(stats(pool).slabs, st.slabs);
    CHECK_EQ(stats(pool).free, 0);
    for (size_t i = 0; i < total; i++)
        sl_stack_put(pool, stacks[i]);
    sl_stack_pool_destroy(pool);
}

int main(void)
{
    RUN(sizes);
    RUN(reuse_is_lifo);
    RUN(little_is_touched_ahead);
    RUN(many_at_once);
    RUN(swinging_load_stays_resident);
    RUN(peak_is_forgotten);
    RUN(guards_by_madvise);
    RUN(guards_by_mprotect);
    RUN(guard_budget);
    RUN(many_with_mprotect);
    RUN(out_of_address_space);
    RUN(many_threads);
    return 0;
}
