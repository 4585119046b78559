/* SPDX-License-Identifier: MIT
 *
 * Waiting for a descriptor.  Readiness is that of poll(): a descriptor with
 * data is ready, whoever has waited for it before.  The poller below is
 * edge-triggered, so each wait clears the kept edges, asks the kernel once and
 * then enqueues: an edge after the clear is kept, and enqueueing sees it.  What
 * wakes it may be older than that: a worker has fetched an event and not dispatched it yet,
 * while the data was read.  So who is woken asks once more, and waits again.
 */
#include "engine.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>

#define container(type, member, ptr) ((type *)((char *)(ptr) - offsetof(type, member)))

typedef struct descriptor_wait {
    sl_wait wait;
    sl_fdwait fd;
    int number;
} descriptor_wait;

static void describe(const sl_wait *wait, char *text, size_t size)
{
    const descriptor_wait *w = (const descriptor_wait *)wait; /* its first member */
    snprintf(text, size, "%s descriptor %d", w->fd.events & SL_FD_READ ? "read" : "write", w->number);
}

/* Under net_lock. */
static void ready(sl_fdwait *fd)
{
    descriptor_wait *w = container(descriptor_wait, fd, fd);
    if (sl_wait_claim(&w->wait, SL_CLAIM_FIRST))
        sl_wait_resume(&w->wait);
}

/* Under net_lock. */
static int open_descriptor(sl_pool *pool, int fd, sl_fd **out)
{
    int rc = 0;
    if (!pool->netpoll)
        rc = sl_netpoll_create(&pool->netpoll);
    if (rc == 0)
        sl_store_release(&pool->net_ready, 1);
    return rc < 0 ? rc : sl_netpoll_open(pool->netpoll, fd, out);
}

static __attribute__((noinline)) int ask(int fd, unsigned events)
{
    struct pollfd p = {.fd = fd, .events = (short)(events & SL_FD_READ ? POLLIN : 0)};
    p.events |= (short)(events & SL_FD_WRITE ? POLLOUT : 0);
    if (poll(&p, 1, 0) <= 0)
        return 0;
    if (p.revents & POLLNVAL)
        return SL_EPOLL;
    unsigned got = 0;
    if (p.revents & (POLLIN | POLLHUP | POLLERR))
        got |= SL_FD_READ;
    if (p.revents & (POLLOUT | POLLHUP | POLLERR))
        got |= SL_FD_WRITE;
    return (int)(got & events);
}

/* 0: woken, but perhaps for something that is gone. */
static int wait_once(sl_pool *pool, int fd, unsigned events, int64_t deadline)
{
    sl_fd *record;
    descriptor_wait w;
    sl_lock_take(&pool->net_lock);
    int rc = open_descriptor(pool, fd, &record);
    if (rc == 0) {
        sl_netpoll_clear(record, events);
        rc = ask(fd, events);
    } else if (rc == SL_ENOTSUP) {
        rc = (int)events; /* a regular file is always ready */
    }
    if (rc != 0) {
        sl_lock_drop(&pool->net_lock);
        return rc;
    }
    sl_wait_init(&w.wait, NULL, NULL);
    w.wait.describe = describe;
    w.number = fd;
    memset(&w.fd, 0, sizeof w.fd);
    w.fd.events = events;
    w.fd.wake = ready;
    if (!sl_netpoll_enqueue(pool->netpoll, record, &w.fd)) {
        sl_lock_drop(&pool->net_lock);
        return 0;
    }
    pool->polls++;
    if (sl_add(&pool->net_waits, 1) == 0)
        sl_poller_changed(pool);
    sl_lock_drop(&pool->net_lock); /* before it parks: on the way this thread may look at the poller */
    sl_monitor_watch(pool);
    uintptr_t claim = sl_wait_park(&w.wait, deadline, NULL, NULL);
    sl_add(&pool->net_waits, (uintptr_t)-1);
    if (claim == SL_CLAIM_FIRST)
        return w.fd.status;
    sl_lock_take(&pool->net_lock);
    sl_netpoll_cancel(pool->netpoll, &w.fd);
    sl_lock_drop(&pool->net_lock);
    return sl_wait_error(claim);
}

int sl_wait_fd(int fd, unsigned events, int64_t deadline)
{
    sl_worker *self = sl_worker_self();
    if (!self || !self->current || !self->lane)
        return SL_ENOTASKLET;
    if (fd < 0 || !events || events & ~(unsigned)(SL_FD_READ | SL_FD_WRITE))
        return SL_EINVAL;
    sl_pool *pool = self->pool;
    int rc;
    do
        rc = wait_once(pool, fd, events, deadline);
    while (rc == 0 && (rc = ask(fd, events)) == 0);
    return rc;
}

int sl_forget_fd(int fd)
{
    sl_worker *self = sl_worker_self();
    if (!self || !self->current)
        return SL_ENOTASKLET;
    if (fd < 0)
        return SL_EINVAL;
    sl_pool *pool = self->pool;
    if (!sl_load_acquire(&pool->net_ready))
        return 0;
    sl_lock_take(&pool->net_lock);
    sl_netpoll_close(pool->netpoll, fd);
    sl_lock_drop(&pool->net_lock);
    return 0;
}
