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

static void sleeps(void *name)
{
    int64_t ns = (*(char *)name - '0') * (int64_t)10 * 1000 * 1000, before = sl_now();
    sl_ordered_sleep(ns);
    CHECK(sl_now() >= before + ns);
    note(*(char *)name);
}

static void spawn_sleepers(void *unused)
{
    static char names[] = "352416";
    (void)unused;
    for (int i = 0; i < 6; i++)
        go(native, sleeps, &names[i]);
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
        run(threads, spawn_sleepers);
        check_journal("123456");
        run(threads, busy_beside_a_sleeper);
        check_journal("k");
    }
    return 0;
}
