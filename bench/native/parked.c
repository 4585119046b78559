/* SPDX-License-Identifier: MIT
 *
 * Memory of parked C tasklets, and the CPU use of an idle pool.
 *
 *     parked N
 *
 * parks N tasklets on a channel, prints resident memory and page tables for
 * each, wakes them all, and prints what the process has given back some seconds
 * later; then two idle seconds.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <stackless/channel.h>
#include <stackless/pool.h>

static sl_channel *channel;

static void check(int rc)
{
    if (rc == 0)
        return;
    fprintf(stderr, "parked: %s\n", sl_strerror(rc));
    exit(1);
}

static void waits(void *unused)
{
    char byte;
    (void)unused;
    if (sl_receive(channel, &byte) != SL_ECLOSED)
        abort();
}

/* Bytes of a line of /proc/self/status. */
static double status_bytes(const char *name)
{
    char line[256];
    double kilobytes = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, name, strlen(name)) == 0)
            kilobytes = atof(line + strlen(name) + 1);
    if (f)
        fclose(f);
    return 1024 * kilobytes;
}

static double cpu_seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void park_and_wake(sl_pool *pool, long n)
{
    double rss = status_bytes("VmRSS"), tables = status_bytes("VmPTE"), start = cpu_seconds(CLOCK_MONOTONIC);
    for (long i = 0; i < n; i++)
        check(sl_go(pool, NULL, waits, NULL));
    while (sl_channel_waiting(channel, false) < (size_t)n)
        usleep(1000);
    double parked = cpu_seconds(CLOCK_MONOTONIC), grown = status_bytes("VmRSS") - rss;
    printf("%ld parked: %.0f bytes each, page tables %.0f, in %.2f s\n", n, grown / (double)n,
           (status_bytes("VmPTE") - tables) / (double)n, parked - start);
    check(sl_channel_close(channel));
    check(sl_pool_wait(pool));
    double gone = cpu_seconds(CLOCK_MONOTONIC), last = status_bytes("VmRSS"), now;
    printf("all woken and gone in %.2f s\n", gone - parked);
    sleep(1); /* what was needed lately is kept */
    while ((now = status_bytes("VmRSS")) < last && (last = now, true))
        usleep(300000);
    printf("%.1f s later %.0f %% of the memory given back\n", cpu_seconds(CLOCK_MONOTONIC) - gone,
           100 - 100 * (now - rss) / grown);
}

int main(int argc, char **argv)
{
    long n = argc == 2 ? atol(argv[1]) : 0;
    sl_pool *pool;
    if (n < 1) {
        fprintf(stderr, "usage: parked N\n");
        return 2;
    }
    check(sl_pool_create(&pool, NULL));
    check(sl_channel_create(&channel, 1, 0));
    park_and_wake(pool, n);
    double before = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
    sleep(2);
    printf("idle pool: %.3f %% of a processor\n", 50 * (cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - before));
    check(sl_channel_destroy(channel));
    check(sl_pool_destroy(pool));
    return 0;
}
