/* SPDX-License-Identifier: MIT
 *
 * A snapshot of a pool in words: lanes, tasklets, who waits for what and where
 * it was spawned; and the report of a deadlock.
 */
#include "engine.h"

#include <dlfcn.h>
#include <string.h>

/* A code address as addr2line would want it, or as a symbol where there is one. */
static void place(const void *address, char *text, size_t size)
{
    Dl_info info;
    if (!dladdr(address, &info))
        snprintf(text, size, "%p", address);
    else if (info.dli_sname && address == info.dli_saddr)
        snprintf(text, size, "%s", info.dli_sname);
    else if (info.dli_sname)
        snprintf(text, size, "%s+0x%zx", info.dli_sname, (size_t)((const char *)address - (const char *)info.dli_saddr));
    else
        snprintf(text, size, "%s+0x%zx", info.dli_fname, (size_t)((const char *)address - (const char *)info.dli_fbase));
}

typedef struct row {
    FILE *to;
    unsigned shown, left_out;
    char state[512];
} row;

enum { ROWS_MAX = 1000 };

/* The waiter stays in its wait while this reads it, and nothing but it may be read: what
 * it waits for may be gone. */
static void describe_wait(sl_tasklet *t, sl_wait *w, void *arg)
{
    row *r = arg;
    (void)t;
    size_t n = (size_t)snprintf(r->state, sizeof r->state, "waits: ");
    if (w->describe)
        w->describe(w, r->state + n, sizeof r->state - n);
    else if (w->object)
        snprintf(r->state + n, sizeof r->state - n, "%s of tasklet %p", w->reason, w->object);
    else
        snprintf(r->state + n, sizeof r->state - n, "%s", w->reason);
}

static void describe(sl_tasklet *t, void *arg)
{
    row *r = arg;
    char site[160], body[160], name[sizeof t->name];
    if (r->shown++ >= ROWS_MAX) {
        r->left_out++;
        return;
    }
    for (size_t i = 0; i < sizeof t->name / sizeof *t->name; i++)
        memcpy(name + i * sizeof(uintptr_t), &(uintptr_t){sl_load_relaxed(&t->name[i])}, sizeof(uintptr_t));
    strcpy(r->state, "runs, blocks or is runnable");
    sl_watch_wait(t, describe_wait, r);
    if (!t->where)
        place(t->site, site, sizeof site);
    place((const void *)(uintptr_t)t->body, body, sizeof body);
    fprintf(r->to, "  tasklet %p%s%s: %s; spawned at %s, runs %s\n", (void *)t, *name ? " " : "", name, r->state,
            t->where ? t->where : site, body);
}

int sl_pool_dump(sl_pool *pool, FILE *to)
{
    if (!pool || !to)
        return SL_EINVAL;
    sl_pool_stats s;
    sl_pool_get_stats(pool, &s);
    fprintf(to, "pool %p: %u lanes (%u at rest), %u threads, %llu tasklets (%u between blocking begin and end)\n",
            (void *)pool, s.lanes, (unsigned)sl_load_relaxed(&pool->idle_lanes), s.threads,
            (unsigned long long)s.tasklets, s.blocking);
    for (uintptr_t i = 0; i < sl_load_acquire(&pool->nlanes); i++) {
        sl_lane *lane = pool->lanes[i];
        fprintf(to, "  lane %u: %u in the ring, %s slot, turn %llu\n", lane->id,
                sl_load_relaxed32(&lane->tail) - sl_load_relaxed32(&lane->head),
                sl_load_relaxed(&lane->slot) ? "one in the" : "empty", (unsigned long long)sl_load_relaxed(&lane->turn));
    }
    row r = {.to = to};
    sl_each_tasklet(pool, describe, &r);
    if (r.left_out)
        fprintf(to, "  and %u more\n", r.left_out);
    return ferror(to) ? SL_EINVAL : 0;
}

void sl_report_deadlock(sl_pool *pool)
{
    if (pool->config.deadlock) {
        pool->config.deadlock(pool, pool->config.deadlock_arg);
        return;
    }
    fprintf(stderr, "stackless: deadlock: every tasklet waits and nothing will wake any of them\n");
    sl_pool_dump(pool, stderr);
}
