/* SPDX-License-Identifier: MIT
 *
 * Pools and tasklets: an M:N runtime for C and C++.
 *
 * A pool runs tasklets, each with a C stack of its own, on OS threads.  It has
 * lanes (run queues, each hosted by one thread at a time) and may have more
 * threads than lanes, for tasklets that block in the OS.  A tasklet switches
 * only in calls that say "may switch"; after one it may be on another OS
 * thread, so do not keep errno or the address of a thread-local variable
 * across it, nor hold a pthread mutex.  The pool's threads block all signals, and
 * a process that a tasklet starts inherits that: reset its mask.
 *
 * Errors are negative codes of stackless/error.h.  Calls "for tasklets" give
 * SL_ENOTASKLET to anyone else.
 */
#ifndef STACKLESS_POOL_H
#define STACKLESS_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <stackless/error.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sl_pool sl_pool;
typedef struct sl_tasklet sl_tasklet;

/* A point in time: nanoseconds of the monotonic clock.  SL_FOREVER: none. */
#define SL_FOREVER INT64_MAX
SL_API int64_t sl_clock(void);
/* The point `ns` from now; ns < 0 counts as 0, overflow as SL_FOREVER. */
SL_API int64_t sl_after_ns(int64_t ns);

enum sl_affinity {
    SL_AFFINITY_NONE = 0, /* the kernel places threads */
    SL_AFFINITY_CORE,     /* lane i's host is bound to core i, and so on round the cores */
    SL_AFFINITY_CACHE     /* ... to the cores that share a last-level cache with core i */
};

/* What a pool is made with.  Zero means the default, in every field. */
typedef struct sl_pool_config {
    unsigned lanes;      /* run queues: 1 to 1024; default: usable CPUs, `threads` at most */
    unsigned threads;    /* OS threads at most, `lanes` to 8192; default lanes + 64 */
    size_t stack_size;   /* bytes a tasklet, SL_POOL_STACK_MIN..MAX; default 64 KiB */
    enum sl_affinity affinity;
    int64_t timeslice_ns; /* a tasklet that has run so long while others wait is passed by; 0: never */
    uint64_t seed;       /* not 0: deterministic mode, one lane, seeded choices */
    /* Called on a pool thread when every tasklet waits and nothing is pending;
     * NULL: the report is written to stderr, once a deadlock. */
    void (*deadlock)(sl_pool *pool, void *arg);
    void *deadlock_arg;
} sl_pool_config;

#define SL_POOL_STACK_MIN ((size_t)64 << 10)
#define SL_POOL_STACK_MAX ((size_t)64 << 20)

/* Makes a pool; `config` NULL: all defaults, with the environment
 * (STACKLESS_THREADS, STACKLESS_STACK_SIZE, STACKLESS_AFFINITY,
 * STACKLESS_TIMESLICE, STACKLESS_SEED) where a field is 0.  SL_EINVAL names
 * the bad value through sl_pool_explain(); SL_ENOMEM; SL_ETHREAD; SL_ENOTSUP:
 * an affinity where the machine's cores are not known; SL_ESHSTK. */
SL_API int sl_pool_create(sl_pool **out, const sl_pool_config *config);
/* Why the calling thread's last sl_pool_create() failed, one sentence. */
SL_API const char *sl_pool_explain(void);
/* Waits until no tasklet is left.  Any OS thread that is not the pool's. */
SL_API int sl_pool_wait(sl_pool *pool);
/* Cancels every tasklet, waits for all to end, frees everything.  Waiting
 * tasklets return SL_ECANCELLED; those in blocking calls are waited for.
 * Threads that are in sl_pool_wait() or sl_join() return first; handles need not be dropped.
 * All other calls on the pool, and on what belongs to it, must have returned.
 * SL_EDEADLK from one of the pool's own tasklets. */
SL_API int sl_pool_destroy(sl_pool *pool);
/* Changes the number of lanes while tasklets run: 1 to 1024, and not more than
 * the pool may have threads.  SL_EINVAL; SL_ENOMEM: some of them; SL_ENOTSUP:
 * more than one in deterministic mode. */
SL_API int sl_pool_resize(sl_pool *pool, unsigned lanes);

/* ---- tasklets ---- */

typedef void (*sl_body)(void *arg);

/* A new tasklet that runs body(arg).  `pool` NULL: the caller's own.  From a
 * tasklet of the pool it goes to the caller's lane; from anywhere else through
 * the pool's inbox.  Does not switch.  `out` not NULL: a handle, to be given to
 * sl_join() or sl_detach() once.  SL_ENOMEM: nothing has been started.
 * SL_EINVAL, SL_ENOTASKLET.  `where` is shown in reports, and not copied; the
 * macro sl_go() fills in file and line, the function the address of the call. */
SL_API int sl_go_at(sl_pool *pool, sl_tasklet **out, sl_body body, void *arg, const char *where);
SL_API int sl_go(sl_pool *pool, sl_tasklet **out, sl_body body, void *arg);
#define SL_TEXT_(x) #x
#define SL_TEXT(x) SL_TEXT_(x)
#define SL_HERE __FILE__ ":" SL_TEXT(__LINE__)
#define sl_go(pool, out, body, arg) sl_go_at(pool, out, body, arg, SL_HERE)

/* Waits until `t` has ended and drops the handle.  May switch; from an OS
 * thread outside the pool it blocks that thread.  SL_EDEADLK for oneself;
 * SL_ETIMEDOUT and SL_ECANCELLED keep the handle.  SL_EBUSY while another joins
 * it.  SL_EINVAL when the handle has been dropped, as long as no new tasklet has
 * taken its place: a handle that has been dropped must not be used. */
SL_API int sl_join(sl_tasklet *t, int64_t deadline);
/* Drops the handle; the tasklet goes on.  SL_EBUSY, SL_EINVAL as for a join. */
SL_API int sl_detach(sl_tasklet *t);

/* Asks `t` (by its handle) to end: a wait that it is in, or its next one,
 * returns SL_ECANCELLED; once for each cancel.  A value that was already
 * delivered stays delivered, and the next wait is cancelled.  Any thread. */
SL_API int sl_cancel(sl_tasklet *t);
/* For tasklets: has a cancel come that no call has reported yet? */
SL_API bool sl_cancelled(void);

/* The running tasklet, or NULL outside.  No handle: valid while it runs. */
SL_API sl_tasklet *sl_current(void);
/* A name for reports; copied, cut at 31 bytes.  NULL `t`: the caller. */
SL_API int sl_set_name(sl_tasklet *t, const char *name);

/* What waits until a deadline may return SL_ENOMEM at once: there is no memory to
 * watch it with. */

/* To the end of the lane's queue.  May switch.  0 or SL_ENOTASKLET. */
SL_API int sl_yield(void);
/* Not before `deadline`; a passed one yields.  May switch.  SL_ECANCELLED. */
SL_API int sl_sleep_until(int64_t deadline);
SL_API int sl_sleep(int64_t ns);

/* true: from now on only this OS thread runs the caller. */
SL_API int sl_pin(bool pinned);

/* Around a call that may block the OS thread; the lane goes to another thread
 * meanwhile, so nothing in between may wait (SL_ENOTASKLET).  end may switch. */
SL_API int sl_blocking_begin(void);
SL_API int sl_blocking_end(void);

/* Waits until `fd` (not blocking, a socket, pipe...) is ready for one of
 * `events`.  The events that are, or a negative code.  May switch. */
enum { SL_FD_READ = 1, SL_FD_WRITE = 4 };
SL_API int sl_wait_fd(int fd, unsigned events, int64_t deadline);
/* Before close(fd): wakes who waits for it with SL_ECLOSED. */
SL_API int sl_forget_fd(int fd);

/* ---- tasklet-local storage ---- */

typedef unsigned sl_key;
/* At most SL_KEYS for a process; `destroy` (may be NULL) runs on the tasklet at
 * its end for values that are not NULL. */
#define SL_KEYS 64
SL_API int sl_key_create(sl_key *out, void (*destroy)(void *value));
SL_API void *sl_get_local(sl_key key);
SL_API int sl_set_local(sl_key key, void *value);

/* ---- what is going on ---- */

typedef struct sl_pool_stats {
    unsigned lanes, threads;      /* now */
    unsigned extra_lanes;         /* beside `lanes`: for those that a time slice has passed by */
    unsigned blocking;            /* tasklets between blocking begin and end */
    uint64_t tasklets;            /* alive */
    uint64_t spawned, finished;
    uint64_t switches, steals, stolen; /* stolen: tasklets moved by steals */
    uint64_t handoffs, parks, unparks;
    uint64_t timers, polls;       /* fired; descriptor waits that had to be entered into the poller */
    size_t stack_bytes;           /* at least so many are held by stacks, free ones included */
} sl_pool_stats;

/* Sums over all lanes; exact when nothing runs.  SL_EINVAL for NULL.  Any thread. */
SL_API int sl_pool_get_stats(sl_pool *pool, sl_pool_stats *out);
/* Writes a table of all lanes and tasklets: state, what each waits for, where
 * it was spawned.  Any thread. */
SL_API int sl_pool_dump(sl_pool *pool, FILE *to);

#ifdef __cplusplus
}
#endif
#endif
