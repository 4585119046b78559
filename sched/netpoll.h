/* SPDX-License-Identifier: MIT
 *
 * Readiness of file descriptors, by epoll.
 *
 * What it is for: parking a tasklet until a descriptor is readable or
 * writable.  What it is not for: doing the I/O (the caller tries first and
 * waits only after EAGAIN).
 *
 * A descriptor is registered once, edge-triggered, for both directions, so a
 * wait costs no system call.  An edge that comes while nobody waits is kept in
 * `ready` and consumed by the next wait; with "clear, try, wait" no edge can
 * be lost: one after the clear is either seen by the try or kept for the wait.
 * Records are never freed before the poller, and carry a sequence number,
 * because an event can arrive for a descriptor closed and reused since.
 *
 * Guard: everything but sl_netpoll_wait() and sl_netpoll_wake() needs the
 * guard of the lane that owns the poller.  sl_netpoll_wait() is called without
 * it, by any number of threads; what it returns is handed to
 * sl_netpoll_dispatch() under the guard.
 */
#ifndef SL_SCHED_NETPOLL_H
#define SL_SCHED_NETPOLL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "../core/atomic.h"

#define SL_READ ((uint32_t)EPOLLIN)
#define SL_WRITE ((uint32_t)EPOLLOUT)
#define SL_POLL_BATCH 128

typedef struct sl_netpoll sl_netpoll;
typedef struct sl_fd sl_fd;
typedef struct sl_fdwait sl_fdwait;

/* One wait, in the frame of who waits. */
struct sl_fdwait {
    sl_fdwait *next, *prev; /* in sl_fd.waits, oldest first */
    sl_fd *fd;              /* NULL when not enqueued */
    uint32_t events;        /* SL_READ | SL_WRITE: what is waited for */
    uint32_t ready;         /* result: which of them came; 0 until then */
    int status;             /* 0, or SL_ECLOSED */
    void (*wake)(sl_fdwait *wait); /* runs under the guard, once, after removal */
};

struct sl_fd {
    int fd;
    uint32_t seq;      /* of this registration */
    uint32_t ready;    /* edges nobody waited for */
    bool open;         /* registered as far as we know */
    bool ended;        /* the peer has closed or an error came: no edge need follow */
    sl_fdwait *waits, *last;
};

int sl_netpoll_create(sl_netpoll **out);
void sl_netpoll_destroy(sl_netpoll *np);

/* Registers `fd` and gives its record.  Registering twice is harmless.
 * SL_ENOTSUP: the descriptor is always ready (a regular file); SL_EPOLL: it
 * is not open; SL_ENOMEM. */
int sl_netpoll_open(sl_netpoll *np, int fd, sl_fd **out);

/* Forgets `fd`, wakes who waits for it with SL_ECLOSED.  Call before close(). */
void sl_netpoll_close(sl_netpoll *np, int fd);

/* Consumes kept edges before a try. */
static inline void sl_netpoll_clear(sl_fd *fd, uint32_t events)
{
    fd->ready &= ~events;
}

/* Enqueues `wait` unless an edge is kept for it: then sets wait->ready and
 * returns false. */
bool sl_netpoll_enqueue(sl_netpoll *np, sl_fd *fd, sl_fdwait *wait);

/* Takes `wait` back without waking; does nothing if it has been woken. */
void sl_netpoll_cancel(sl_netpoll *np, sl_fdwait *wait);

/* How many waits are enqueued. */
unsigned sl_netpoll_waiting(const sl_netpoll *np);

/* Waits in the kernel until an event, sl_netpoll_wake() or `timeout_ns` (0:
 * only look, which leaves a wake to who sleeps; negative: for ever).  Number of
 * events, or SL_EINTR. */
int sl_netpoll_wait(sl_netpoll *np, struct epoll_event *events, int64_t timeout_ns);

/* Wakes the waits that `events` concern; how many. */
int sl_netpoll_dispatch(sl_netpoll *np, const struct epoll_event *events, int n);

/* Makes one sl_netpoll_wait() return that sleeps, or the next one that would.  Many
 * calls cost one write. */
void sl_netpoll_wake(sl_netpoll *np);

#endif
