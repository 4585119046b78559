/* SPDX-License-Identifier: MIT
 *
 * The order of the ring: spawning, yielding, sleeping.  The same for every
 * number of threads, because one lane runs one tasklet at a time.
 */
#include "check.h"

static char journal[4096];
static size_t length;

static void note(char c)
{
    CHECK(length + 1 < sizeof journal);
    journal[length++] = c;
    journal[length] = 0;
}

static void check_journal(const char *wanted)
{
    if (strcmp(journal, wanted)) {
        fprintf(stderr, "the order was %s, not %s\n", journal, wanted);
        exit(1);
    }
    length = 0;
    journal[0] = 0;
}

static sl_ordered *native;

/* Runs `first` as the only tasklet from outside, so that no other thread
 * decides when what it spawns arrives. */
static void run(int threads, void (*first)(void *))
{
    native = start(threads);
    go(native, first, NULL);
    finish(native);
}

static void spawn(void (*body)(void *), const char *name)
{
    go(native, body, (void *)(uintptr_t)name);
}

static void thrice(void *name)
{
    for (int i = 0; i < 3; i++) {
        note(*(char *)name);
        sl_ordered_yield();
    }
}

static void spawn_three(void *unused)
{
    (void)unused;
    spawn(thrice, "a");
    spawn(thrice, "b");
    spawn(thrice, "c");
    note('.');
    sl_ordered_yield();
    note('.');
}

static void parent(void *unused)
{
    (void)unused;
    note('p');
    spawn(thrice, "x");
    sl_ordered_yield();
    spawn(thrice, "y"); /* before us, after x */
    sl_ordered_yield();
    note('p');
}

static void alone(void *unused)
{
    (void)unused;
    for (int i = 0; i < 1000; i++)
        sl_ordered_yield();
    note('1');
}

/* ---- suspend and wake in the lane ---- */

static sl_ordered_tasklet *sleeper;

static void suspends(void *unused)
{
    (void)unused;
    sleeper = sl_ordered_current();
    note('s');
    sl_ordered_suspend();
    note('S');
    sl_ordered_suspend(); /* woken already */
    note('!');
}

static void wakes(void *unused)
{
    (void)unused;
    go(native, suspends, NULL);
    sl_ordered_yield();
    note('w');
    sl_ordered_wake(sleeper);
    sl_ordered_wake(sleeper); /* it has not run yet: kept for its next suspend */
}

static void wakes_itself(void *unused)
{
    (void)unused;
    sl_ordered_wake(sl_ordered_current());
    sl_ordered_suspend();
    note('m');
}

/* ---- sleeping ---- */

/* Who is called n sleeps for n units.  `begun` is when each came to it, in the order of
 * spawning, and when all had. */
static const char sleepers[] = "352416";
static int64_t unit, begun[7];

static void sleeps(void *at)
{
    int64_t ns = (sleepers[(intptr_t)at] - '0') * unit, before = begun[(intptr_t)at] = sl_now();
    sl_ordered_sleep(ns);
    CHECK(sl_now() >= before + ns);
    note(sleepers[(intptr_t)at]);
}

static void all_sleep(void *unused)
{
    (void)unused;
    begun[6] = sl_now();
}

static void spawn_sleepers(void *unused)
{
    (void)unused;
    for (intptr_t i = 0; i < 6; i++)
        go(native, sleeps, (void *)i);
    go(native, all_sleep, NULL);
}

/* All began to sleep so soon after each other that their order is certain.  A timer was
 * set after its sleeper began and before the next one did. */
static bool in_time(void)
{
    int64_t last = begun[6];
    for (char name = '1'; name <= '6'; name++) {
        intptr_t i = strchr(sleepers, name) - sleepers;
        if (begun[i] + (name - '0') * unit <= last)
            return false;
        last = begun[i + 1] + (name - '0') * unit;
    }
    return true;
}

/* A slow machine gets longer units. */
static void sleepers_wake_in_order(int threads)
{
    unit = 10 * 1000 * 1000;
    for (run(threads, spawn_sleepers); !in_time() && unit < (int64_t)5 * 1000 * 1000 * 1000; run(threads, spawn_sleepers)) {
        unit *= 2;
        length = 0;
    }
    check_journal("123456");
}

static void stop_when_slept(void *stop)
{
    sl_ordered_sleep(5 * 1000 * 1000);
    *(bool *)stop = true;
}

/* A lane that is never idle looks at the clock all the same. */
static void busy_beside_a_sleeper(void *unused)
{
    bool stop = false;
    (void)unused;
    go(native, stop_when_slept, &stop);
    while (!stop)
        sl_ordered_yield();
    sl_ordered_sleep(0);
    sl_ordered_sleep(-1);
    note('k');
}

int main(void)
{
    for (int threads = 1; threads <= 8; threads *= 2) {
        fprintf(stderr, "%d threads\n", threads);
        run(threads, spawn_three);
        check_journal(".abc.abcabc");
        run(threads, parent);
        check_journal("pxxypxyy");
        run(threads, alone);
        check_journal("1");
        run(threads, wakes);
        check_journal("swS!");
        run(threads, wakes_itself);
        check_journal("m");
        sleepers_wake_in_order(threads);
        run(threads, busy_beside_a_sleeper);
        check_journal("k");
    }
    return 0;
}
