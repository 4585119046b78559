/* SPDX-License-Identifier: MIT
 *
 * What a report says: who waits, for what, where it was spawned; a deadlock is reported
 * once, and again after something has run.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../core/check.h"
#include "stackless/channel.h"

static sl_pool *pool;
static sl_channel *a, *b;
static sl_tasklet *sleeper;
static int ends[2];
static char text[16384];

static void dump(sl_pool *p)
{
    memset(text, 0, sizeof text);
    FILE *to = fmemopen(text, sizeof text, "w");
    CHECK(to != NULL);
    CHECK_EQ(sl_pool_dump(p, to), 0);
    fclose(to);
}

/* The row of the tasklet with this name has all of these; "" ends them. */
static bool says(const char *name, const char *const *what)
{
    char *row = strstr(text, name), *end = row ? strchr(row, '\n') : NULL;
    if (!end)
        return false;
    *end = '\0';
    bool all = true;
    for (; **what; what++)
        all = all && strstr(row, *what);
    *end = '\n';
    return all;
}
#define SAYS(name, ...) says(name, (const char *const[]){__VA_ARGS__, ""})

static void named(const char *name) { CHECK_EQ(sl_set_name(NULL, name), 0); }

static void receives(void *unused)
{
    named("Receiver");
    CHECK_EQ(sl_receive(a, NULL), SL_ECANCELLED);
}

static void sends(void *unused)
{
    named("Sender");
    CHECK_EQ(sl_send(b, NULL), SL_ECANCELLED);
}

static void selects(void *unused)
{
    sl_case k[6] = {{.channel = a}, {.channel = NULL}, {.channel = b, .send = true}, {.channel = a}, {.channel = a}, {.channel = a}};
    named("Selector");
    CHECK_EQ(sl_select(k, 6, SL_FOREVER), SL_ECANCELLED);
}

static void sleeps(void *unused)
{
    named("Sleeper");
    CHECK_EQ(sl_sleep_until(SL_FOREVER), SL_ECANCELLED);
}

static void joins(void *unused)
{
    named("Joiner");
    int rc = sl_join(sleeper, SL_FOREVER);
    if (rc != 0) { /* else: the sleeper was cancelled first, and has ended */
        CHECK_EQ(rc, SL_ECANCELLED);
        CHECK_EQ(sl_detach(sleeper), 0);
    }
}

static void reads(void *unused)
{
    named("Reader");
    CHECK_EQ(sl_wait_fd(ends[0], SL_FD_READ, SL_FOREVER), SL_ECANCELLED);
}

static void by_address(void *unused)
{
    named("Addressed");
    CHECK_EQ(sl_sleep_until(SL_FOREVER), SL_ECANCELLED);
}

static void until_it_says(const char *name)
{
    do
        dump(pool);
    while (!SAYS(name, "waits"));
}

static void every_kind_of_wait(void)
{
    char line[64], channel[64];
    sl_pool_config config = {.lanes = 2};
    CHECK_EQ(sl_pool_create(&pool, &config), 0);
    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(sl_channel_create(&a, 0, 0), 0);
    snprintf(channel, sizeof channel, "(made at %s:%d)", __FILE__, __LINE__ - 1);
    CHECK_EQ((sl_channel_create)(&b, 0, 0), 0);
    CHECK_EQ(sl_go(pool, &sleeper, sleeps, NULL), 0);
    snprintf(line, sizeof line, "spawned at %s:%d", __FILE__, __LINE__ - 1);
    CHECK_EQ(sl_go(pool, NULL, receives, NULL), 0);
    CHECK_EQ(sl_go(pool, NULL, sends, NULL), 0);
    CHECK_EQ(sl_go(pool, NULL, selects, NULL), 0);
    CHECK_EQ(sl_go(pool, NULL, joins, NULL), 0);
    CHECK_EQ(sl_go(pool, NULL, reads, NULL), 0);
    CHECK_EQ((sl_go)(pool, NULL, by_address, NULL), 0);
    const char *const all[] = {"Sleeper", "Receiver", "Sender", "Selector", "Joiner", "Reader", "Addressed"};
    for (int i = 0; i < 7; i++)
        until_it_says(all[i]);
    char where_a[32], where_b[32], where_s[32], fd[32];
    snprintf(where_a, sizeof where_a, "channel %p", (void *)a);
    snprintf(where_b, sizeof where_b, "channel %p", (void *)b);
    snprintf(where_s, sizeof where_s, "tasklet %p", (void *)sleeper);
    snprintf(fd, sizeof fd, "read descriptor %d", ends[0]);
    CHECK(SAYS("Sleeper", "waits: sleep", line));
    CHECK(SAYS("Receiver", "waits: receive", where_a, channel, "test_report.c"));
    CHECK(SAYS("Sender", "waits: send", where_b));
    CHECK(!SAYS("Sender", "made at"));
    CHECK(SAYS("Selector", "waits: select of 6", "receive", where_a, channel, "send", where_b));
    CHECK(SAYS("Joiner", "waits: join", where_s));
    CHECK(SAYS("Reader", fd));
    CHECK(SAYS("Addressed", "spawned at ", "0x"));
    CHECK(!SAYS("Addressed", "test_report.c"));
    CHECK(strstr(text, "lane 1:") && strstr(text, "7 tasklets"));
    CHECK_EQ(sl_pool_destroy(pool), 0);
    CHECK_EQ(sl_channel_destroy(a), 0);
    CHECK_EQ(sl_channel_destroy(b), 0);
}

/* ---- deadlocks ---- */

static sl_tasklet *lost[3];
static int reports;

static void waits(void *pinned)
{
    named("Lost");
    CHECK_EQ(sl_pin(pinned != NULL), 0);
    CHECK_EQ(sl_sleep_until(SL_FOREVER), SL_ECANCELLED);
}

static void frees_the_next(sl_pool *p, void *arg)
{
    CHECK(p == pool && arg == &reports);
    dump(p);
    CHECK(SAYS("Lost", "waits: sleep"));
    CHECK_EQ(sl_cancel(lost[reports++]), 0);
}

/* Each time nothing can go on any more; also when the one to go on belongs to the very
 * thread that reports. */
static void once_a_deadlock(void)
{
    for (unsigned lanes = 1; lanes <= 2; lanes++)
        for (intptr_t pinned = 0; pinned < 2; pinned++) {
            sl_pool_config config = {.lanes = lanes, .deadlock = frees_the_next, .deadlock_arg = &reports};
            CHECK_EQ(sl_pool_create(&pool, &config), 0);
            reports = 0;
            for (int i = 0; i < 3; i++)
                CHECK_EQ(sl_go(pool, &lost[i], waits, (void *)pinned), 0);
            for (int i = 0; i < 3; i++)
                CHECK_EQ(sl_join(lost[i], SL_FOREVER), 0);
            CHECK_EQ(reports, 3);
            CHECK_EQ(sl_pool_destroy(pool), 0);
        }
}

/* Who joins until a deadline is no part of a deadlock: somebody must wait for good. */
static void *waits_for_all(void *unused)
{
    CHECK_EQ(sl_pool_wait(pool), 0);
    return unused;
}

static void to_stderr_by_default(void)
{
    sl_tasklet *t;
    pthread_t thread;
    FILE *file = tmpfile();
    int old = dup(2);
    CHECK(file && old >= 0);
    CHECK_EQ(sl_pool_create(&pool, NULL), 0);
    CHECK_EQ(dup2(fileno(file), 2), 2);
    CHECK_EQ(sl_go(pool, &t, waits, NULL), 0);
    CHECK_EQ(pthread_create(&thread, NULL, waits_for_all, NULL), 0);
    do {
        CHECK_EQ(sl_join(t, sl_after_ns(1000000)), SL_ETIMEDOUT);
        memset(text, 0, sizeof text);
        CHECK(pread(fileno(file), text, sizeof text - 1, 0) >= 0);
    } while (!SAYS("Lost", "waits: sleep", "test_report.c:"));
    CHECK_EQ(dup2(old, 2), 2);
    close(old);
    CHECK(strncmp(text, "stackless: deadlock: ", 21) == 0);
    CHECK(strstr(text + 1, "stackless: deadlock: ") == NULL);
    CHECK_EQ(sl_cancel(t), 0);
    CHECK_EQ(sl_join(t, SL_FOREVER), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(sl_pool_destroy(pool), 0);
    fclose(file);
}

static void renames_itself(void *unused)
{
    for (int i = 0; !sl_cancelled(); i++) {
        named(i % 2 ? "Renamed" : "Renamed, and longer than before");
        CHECK_EQ(sl_yield(), 0);
    }
}

/* A report may meet a tasklet that is just being named; ThreadSanitizer looks on. */
static void named_meanwhile(void)
{
    sl_tasklet *t;
    CHECK_EQ(sl_pool_create(&pool, NULL), 0);
    CHECK_EQ(sl_go(pool, &t, renames_itself, NULL), 0);
    do
        dump(pool);
    while (!strstr(text, "Renamed"));
    for (int i = 0; i < 200; i++) {
        dump(pool);
        CHECK(SAYS("Renamed", "; spawned at "));
    }
    CHECK_EQ(sl_cancel(t), 0);
    CHECK_EQ(sl_join(t, SL_FOREVER), 0);
    CHECK_EQ(sl_pool_destroy(pool), 0);
}

int main(void)
{
    RUN(every_kind_of_wait);
    RUN(once_a_deadlock);
    RUN(to_stderr_by_default);
    RUN(named_meanwhile);
    return 0;
}
