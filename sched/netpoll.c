/* SPDX-License-Identifier: MIT
 * epoll behind netpoll.h; the only file that knows epoll. */

#include "netpoll.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stackless/error.h"

/* Records live in chunks that are never moved, indexed by descriptor. */
enum { CHUNK = 256, CHUNKS = 4096 };

struct sl_netpoll {
    int epoll;
    int event;
    sl_atomic32 wake_pending; /* any thread: 1 from the write to the read of `event` */
    unsigned waiting;         /* guard */
    sl_fd *chunks[CHUNKS];    /* guard */
};

static uint64_t key(const sl_fd *fd)
{
    return (uint64_t)fd->seq << 32 | (uint32_t)fd->fd;
}

int sl_netpoll_create(sl_netpoll **out)
{
    sl_netpoll *np = calloc(1, sizeof *np);
    if (!np)
        return SL_ENOMEM;
    np->epoll = epoll_create1(EPOLL_CLOEXEC);
    np->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = UINT64_MAX};
    if (np->epoll < 0 || np->event < 0 || epoll_ctl(np->epoll, EPOLL_CTL_ADD, np->event, &ev) < 0) {
        sl_netpoll_destroy(np);
        return SL_EPOLL;
    }
    *out = np;
    return 0;
}

void sl_netpoll_destroy(sl_netpoll *np)
{
    if (np->epoll >= 0)
        close(np->epoll);
    if (np->event >= 0)
        close(np->event);
    for (unsigned i = 0; i < CHUNKS; i++)
        free(np->chunks[i]);
    free(np);
}

static sl_fd *record(sl_netpoll *np, int fd)
{
    if (fd < 0 || fd >= CHUNK * CHUNKS)
        return NULL;
    sl_fd **chunk = &np->chunks[fd / CHUNK];
    if (!*chunk) {
        *chunk = calloc(CHUNK, sizeof **chunk);
        if (!*chunk)
            return NULL;
        for (int i = 0; i < CHUNK; i++)
            (*chunk)[i].fd = fd / CHUNK * CHUNK + i;
    }
    return &(*chunk)[fd % CHUNK];
}

int sl_netpoll_open(sl_netpoll *np, int fd, sl_fd **out)
{
    if (fd < 0 || fd >= CHUNK * CHUNKS)
        return SL_EPOLL;
    sl_fd *r = record(np, fd);
    if (!r)
        return SL_ENOMEM;
    r->seq++;
    struct epoll_event ev = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u64 = key(r)};
    if (epoll_ctl(np->epoll, EPOLL_CTL_ADD, fd, &ev) == 0) {
        /* New to the kernel: whatever we knew was about an earlier file. */
        r->ready = 0;
        r->ended = false;
        r->open = true;
    } else if (errno == EEXIST) {
        r->seq--; /* the registration we made stands */
    } else {
        r->seq--;
        return errno == EPERM ? SL_ENOTSUP : errno == ENOMEM ? SL_ENOMEM : SL_EPOLL;
    }
    *out = r;
    return 0;
}

static void unlink_wait(sl_netpoll *np, sl_fdwait *wait)
{
    sl_fd *fd = wait->fd;
    *(wait->prev ? &wait->prev->next : &fd->waits) = wait->next;
    *(wait->next ? &wait->next->prev : &fd->last) = wait->prev;
    wait->fd = NULL;
    np->waiting--;
}

void sl_netpoll_close(sl_netpoll *np, int fd)
{
    if (fd < 0 || fd >= CHUNK * CHUNKS || !np->chunks[fd / CHUNK])
        return;
    sl_fd *r = record(np, fd);
    if (!r->open)
        return;
    r->open = false;
    r->seq++; /* events already on their way are stale */
    epoll_ctl(np->epoll, EPOLL_CTL_DEL, fd, NULL);
    while (r->waits) {
        sl_fdwait *wait = r->waits;
        unlink_wait(np, wait);
        wait->status = SL_ECLOSED;
        wait->wake(wait);
    }
}

bool sl_netpoll_enqueue(sl_netpoll *np, sl_fd *fd, sl_fdwait *wait)
{
    wait->fd = NULL;
    wait->status = 0;
    wait->ready = fd->ready & wait->events;
    if (wait->ready) {
        fd->ready &= ~wait->events;
        return false;
    }
    wait->fd = fd;
    wait->next = NULL;
    wait->prev = fd->last;
    *(fd->last ? &fd->last->next : &fd->waits) = wait;
    fd->last = wait;
    np->waiting++;
    return true;
}

void sl_netpoll_cancel(sl_netpoll *np, sl_fdwait *wait)
{
    if (wait->fd)
        unlink_wait(np, wait);
}

unsigned sl_netpoll_waiting(const sl_netpoll *np)
{
    return np->waiting;
}

static int epoll_wait_ns(int epoll, struct epoll_event *events, int64_t timeout_ns)
{
    if (timeout_ns > 0) {
        struct timespec t = {timeout_ns / 1000000000, timeout_ns % 1000000000};
        long n = syscall(SYS_epoll_pwait2, epoll, events, SL_POLL_BATCH, &t, NULL, (size_t)8);
        if (n >= 0 || errno != ENOSYS)
            return (int)n;
        /* Linux before 5.11: milliseconds, rounded up so as not to spin. */
        int64_t ms = (timeout_ns + 999999) / 1000000;
        return epoll_wait(epoll, events, SL_POLL_BATCH, ms > 1000000 ? 1000000 : (int)ms);
    }
    return epoll_wait(epoll, events, SL_POLL_BATCH, timeout_ns < 0 ? -1 : 0);
}

static bool is_wake(const struct epoll_event *event)
{
    return event->data.u64 == UINT64_MAX;
}

int sl_netpoll_wait(sl_netpoll *np, struct epoll_event *events, int64_t timeout_ns)
{
    int n = epoll_wait_ns(np->epoll, events, timeout_ns), kept = 0;
    if (n < 0)
        return SL_EINTR;
    for (int i = 0; i < n; i++) /* a look must not take what is to wake a sleeper */
        if (timeout_ns || !is_wake(&events[i]))
            events[kept++] = events[i];
    return kept;
}

static int wake_ready(sl_netpoll *np, sl_fd *fd, uint32_t came)
{
    int woken = 0;
    uint32_t taken = 0;
    for (sl_fdwait *wait = fd->waits, *next; wait; wait = next) {
        next = wait->next;
        if (!(wait->events & came))
            continue;
        taken |= wait->events & came;
        unlink_wait(np, wait);
        wait->ready = wait->events & came;
        wait->wake(wait);
        woken++;
    }
    fd->ready |= came & ~taken;
    return woken;
}

int sl_netpoll_dispatch(sl_netpoll *np, const struct epoll_event *events, int n)
{
    int woken = 0;
    for (int i = 0; i < n; i++) {
        uint64_t data = events[i].data.u64;
        if (is_wake(&events[i])) {
            uint64_t count;
            while (read(np->event, &count, sizeof count) < 0 && errno == EINTR)
                ;
            /* After the read, and as a swap: a wake that found it set wrote
             * its news before, so whoever dispatches sees them from here on. */
            sl_swap32(&np->wake_pending, 0);
            continue;
        }
        sl_fd *fd = record(np, (int)(uint32_t)data);
        if (!fd || !fd->open || key(fd) != data)
            continue;
        uint32_t e = events[i].events, came = e & (SL_READ | SL_WRITE);
        fd->ended = fd->ended || (e & (EPOLLERR | EPOLLHUP | EPOLLRDHUP));
        if (e & (EPOLLERR | EPOLLHUP))
            came = SL_READ | SL_WRITE; /* let the operation find the error */
        else if (e & EPOLLRDHUP)
            came |= SL_READ;
        woken += wake_ready(np, fd, came);
    }
    return woken;
}

void sl_netpoll_wake(sl_netpoll *np)
{
    uint64_t one = 1;
    if (sl_swap32(&np->wake_pending, 1))
        return;
    while (write(np->event, &one, sizeof one) < 0 && errno == EINTR)
        ;
}
