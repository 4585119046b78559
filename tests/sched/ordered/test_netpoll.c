/* SPDX-License-Identifier: MIT
 *
 * The poller alone (edges kept and consumed, closing, stale events, reuse),
 * and then under tasklets that wait for pipes.
 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

static sl_netpoll *np;
static int woken;

static void count_wake(sl_fdwait *wait)
{
    CHECK(wait->fd == NULL);
    woken++;
}

static void make_pipe(int ends[2])
{
    CHECK_EQ(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
}

static void close_pipe(int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

static void put_byte(int fd)
{
    CHECK_EQ(write(fd, "x", 1), 1);
}

static sl_fd *record(int fd)
{
    sl_fd *r;
    CHECK_EQ(sl_netpoll_open(np, fd, &r), 0);
    return r;
}

static void enqueue(sl_fd *r, sl_fdwait *wait, uint32_t events)
{
    *wait = (sl_fdwait){.events = events, .wake = count_wake};
    CHECK(sl_netpoll_enqueue(np, r, wait));
}

/* Events that are there already; how many waits they woke. */
static int dispatch_now(void)
{
    struct epoll_event events[SL_POLL_BATCH];
    int n = sl_netpoll_wait(np, events, 0);
    CHECK(n >= 0);
    return sl_netpoll_dispatch(np, events, n);
}

static void begin(void)
{
    CHECK_EQ(sl_netpoll_create(&np), 0);
    woken = 0;
}

static void end(void)
{
    CHECK_EQ(sl_netpoll_waiting(np), 0);
    sl_netpoll_destroy(np);
}

static void an_edge_wakes_and_is_consumed(void)
{
    int ends[2];
    sl_fdwait wait;
    begin();
    make_pipe(ends);
    sl_fd *r = record(ends[0]);
    CHECK(record(ends[0]) == r);
    enqueue(r, &wait, SL_READ);
    CHECK_EQ(dispatch_now(), 0);
    put_byte(ends[1]);
    CHECK_EQ(dispatch_now(), 1);
    CHECK_EQ(wait.ready, SL_READ);
    CHECK_EQ(wait.status, 0);
    CHECK_EQ(woken, 1);
    enqueue(r, &wait, SL_READ); /* the byte is still there, but no new edge */
    CHECK_EQ(dispatch_now(), 0);
    sl_netpoll_cancel(np, &wait);
    sl_netpoll_cancel(np, &wait); /* harmless */
    close_pipe(ends);
    end();
}

static void an_edge_that_nobody_waits_for_is_kept(void)
{
    int ends[2];
    sl_fdwait wait = {.events = SL_READ, .wake = count_wake};
    begin();
    make_pipe(ends);
    sl_fd *r = record(ends[0]);
    put_byte(ends[1]);
    CHECK_EQ(dispatch_now(), 0);
    CHECK(!sl_netpoll_enqueue(np, r, &wait));
    CHECK_EQ(wait.ready, SL_READ);
    CHECK_EQ(woken, 0);
    enqueue(r, &wait, SL_READ); /* consumed by the first */
    sl_netpoll_cancel(np, &wait);
    put_byte(ends[1]);
    dispatch_now();
    sl_netpoll_clear(r, SL_READ);
    enqueue(r, &wait, SL_READ);
    sl_netpoll_cancel(np, &wait);
    close_pipe(ends);
    end();
}

static void directions_are_separate(void)
{
    int ends[2];
    sl_fdwait reader, writer, both;
    begin();
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    sl_fd *r = record(ends[0]);
    dispatch_now(); /* there is room: an edge for writers */
    sl_netpoll_clear(r, SL_WRITE);
    enqueue(r, &reader, SL_READ);
    enqueue(r, &writer, SL_WRITE);
    enqueue(r, &both, SL_READ | SL_WRITE);
    CHECK_EQ(sl_netpoll_waiting(np), 3);
    put_byte(ends[1]);
    dispatch_now();
    CHECK_EQ(reader.ready, SL_READ);
    CHECK(both.ready & SL_READ);
    sl_netpoll_cancel(np, &writer);
    close_pipe(ends);
    end();
}

static void an_error_wakes_both(void)
{
    int ends[2];
    sl_fdwait reader, writer;
    begin();
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    sl_fd *r = record(ends[0]);
    dispatch_now();
    sl_netpoll_clear(r, SL_READ | SL_WRITE);
    enqueue(r, &reader, SL_READ);
    enqueue(r, &writer, SL_WRITE);
    close(ends[1]);
    CHECK_EQ(dispatch_now(), 2);
    sl_netpoll_close(np, ends[0]);
    close(ends[0]);
    end();
}

static void closing_wakes_with_a_code(void)
{
    int ends[2];
    sl_fdwait waits[3];
    begin();
    make_pipe(ends);
    sl_fd *r = record(ends[0]);
    for (int i = 0; i < 3; i++)
        enqueue(r, &waits[i], SL_READ);
    sl_netpoll_close(np, ends[0]);
    CHECK_EQ(woken, 3);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(waits[i].status, SL_ECLOSED);
        CHECK_EQ(waits[i].ready, 0);
    }
    sl_netpoll_close(np, ends[0]); /* again, and what was never registered */
    sl_netpoll_close(np, ends[1]);
    sl_netpoll_close(np, -1);
    sl_netpoll_close(np, 1 << 30);
    CHECK_EQ(woken, 3);
    close_pipe(ends);
    end();
}

/* An event that the kernel had given out before the descriptor was closed and
 * its number used again. */
static void stale_events_are_dropped(void)
{
    struct epoll_event events[SL_POLL_BATCH];
    int first[2], second[2];
    sl_fdwait wait;
    begin();
    make_pipe(first);
    record(first[0]);
    put_byte(first[1]);
    int n = sl_netpoll_wait(np, events, 0);
    CHECK_EQ(n, 1);
    sl_netpoll_close(np, first[0]);
    make_pipe(second);
    CHECK_EQ(dup3(second[0], first[0], O_CLOEXEC), first[0]);
    enqueue(record(first[0]), &wait, SL_READ);
    CHECK_EQ(sl_netpoll_dispatch(np, events, n), 0);
    CHECK_EQ(woken, 0);
    put_byte(second[1]);
    CHECK_EQ(dispatch_now(), 1);
    close_pipe(first);
    close_pipe(second);
    end();
}

/* As before, but nobody told the poller that the descriptor was closed. */
static void reuse_without_notice(void)
{
    struct epoll_event events[SL_POLL_BATCH];
    int first[2], second[2];
    sl_fdwait wait;
    begin();
    make_pipe(first);
    record(first[0]);
    put_byte(first[1]);
    int n = sl_netpoll_wait(np, events, 0);
    CHECK_EQ(n, 1);
    make_pipe(second);
    CHECK_EQ(dup3(second[0], first[0], O_CLOEXEC), first[0]);
    enqueue(record(first[0]), &wait, SL_READ);
    CHECK_EQ(sl_netpoll_dispatch(np, events, n), 0);
    put_byte(second[1]);
    CHECK_EQ(dispatch_now(), 1);
    CHECK_EQ(wait.ready, SL_READ);
    close_pipe(first);
    close_pipe(second);
    end();
}

static void codes(void)
{
    sl_fd *r;
    begin();
    FILE *file = tmpfile();
    CHECK(file != NULL);
    CHECK_EQ(sl_netpoll_open(np, fileno(file), &r), SL_ENOTSUP);
    int number = dup(0 <= fileno(file) ? fileno(file) : 0);
    close(number);
    CHECK_EQ(sl_netpoll_open(np, number, &r), SL_EPOLL);
    CHECK_EQ(sl_netpoll_open(np, -1, &r), SL_EPOLL);
    CHECK_EQ(sl_netpoll_open(np, INT32_MAX, &r), SL_EPOLL);
    fclose(file);
    end();
}

static void *sleep_in_poller(void *unused)
{
    struct epoll_event events[SL_POLL_BATCH];
    (void)unused;
    int n = sl_netpoll_wait(np, events, -1);
    CHECK(n > 0);
    CHECK_EQ(sl_netpoll_dispatch(np, events, n), 0);
    return NULL;
}

static void waking_the_poller(void)
{
    begin();
    for (int i = 0; i < 200; i++) {
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, NULL, sleep_in_poller, NULL), 0);
        sl_netpoll_wake(np); /* before or after it sleeps: it returns */
        sl_netpoll_wake(np); /* after the read of the first: the next sleeper's */
        pthread_join(thread, NULL);
    }
    end();
}

/* Whoever looks in passing must not take it from who sleeps. */
static void a_look_leaves_the_wake(void)
{
    struct epoll_event events[SL_POLL_BATCH];
    begin();
    sl_netpoll_wake(np);
    CHECK_EQ(dispatch_now(), 0);
    CHECK_EQ(sl_netpoll_wait(np, events, 0), 0);
    CHECK_EQ(sl_netpoll_wait(np, events, (int64_t)60 * 1000000000), 1);
    CHECK_EQ(sl_netpoll_dispatch(np, events, 1), 0);
    CHECK_EQ(sl_netpoll_wait(np, events, 1), 0);
    end();
}

/* ---- with tasklets ---- */

enum { TURNS = 300 };

typedef struct {
    int from, to;
    int passed;
} relay;

static void get_byte(int fd)
{
    char c;
    for (;;) {
        ssize_t got = read(fd, &c, 1);
        int error = errno;
        if (got == 1)
            return;
        CHECK(got < 0 && error == EAGAIN);
        CHECK(sl_ordered_wait_fd(fd, SL_READ, SL_NEVER) > 0);
    }
}

static void pass_on(void *arg)
{
    relay *r = arg;
    while (r->passed < TURNS) {
        get_byte(r->from);
        r->passed++;
        put_byte(r->to);
    }
}

static void a_ring_of_pipes(int threads)
{
    enum { MEMBERS = 20 };
    int ends[MEMBERS][2];
    relay relays[MEMBERS];
    sl_ordered *n = start(threads);
    for (int i = 0; i < MEMBERS; i++)
        make_pipe(ends[i]);
    for (int i = 0; i < MEMBERS; i++) {
        relays[i] = (relay){.from = ends[i][0], .to = ends[(i + 1) % MEMBERS][1]};
        go(n, pass_on, &relays[i]);
    }
    put_byte(ends[0][1]);
    finish(n);
    for (int i = 0; i < MEMBERS; i++) {
        CHECK_EQ(relays[i].passed, TURNS);
        close_pipe(ends[i]);
    }
}

static void rings_of_pipes(void)
{
    for (int threads = 1; threads <= 8; threads *= 2)
        a_ring_of_pipes(threads);
}

static int timed_out, came;

static void expect_timeout(void *arg)
{
    int64_t deadline = sl_now() + 1000000;
    int rc = sl_ordered_wait_fd(*(int *)arg, SL_READ, deadline);
    CHECK_EQ(rc, SL_ETIMEDOUT);
    CHECK(sl_now() >= deadline);
    timed_out++;
}

static void expect_event(void *arg)
{
    CHECK_EQ(sl_ordered_wait_fd(*(int *)arg, SL_READ, sl_now() + (int64_t)3600 * 1000000000), (int)SL_READ);
    came++;
}

static void timeouts(void)
{
    for (int threads = 1; threads <= 4; threads *= 2) {
        int quiet[2], busy[2];
        timed_out = came = 0;
        make_pipe(quiet);
        make_pipe(busy);
        sl_ordered *n = start(threads);
        for (int i = 0; i < 20; i++)
            go(n, expect_timeout, &quiet[0]);
        go(n, expect_event, &busy[0]);
        put_byte(busy[1]);
        finish(n); /* the hour's timer is gone too, or this would last */
        CHECK_EQ(timed_out, 20);
        CHECK_EQ(came, 1);
        close_pipe(quiet);
        close_pipe(busy);
    }
}

static void regular_files_are_ready(void *arg)
{
    CHECK_EQ(sl_ordered_wait_fd(fileno(arg), SL_READ | SL_WRITE, SL_NEVER), (int)(SL_READ | SL_WRITE));
    CHECK_EQ(sl_ordered_wait_fd(-1, SL_READ, SL_NEVER), SL_EPOLL);
}

static void files_and_nothing(void)
{
    FILE *file = tmpfile();
    CHECK(file != NULL);
    sl_ordered *n = start(2);
    go(n, regular_files_are_ready, file);
    finish(n);
    fclose(file);
}

int main(void)
{
    RUN(an_edge_wakes_and_is_consumed);
    RUN(an_edge_that_nobody_waits_for_is_kept);
    RUN(directions_are_separate);
    RUN(an_error_wakes_both);
    RUN(closing_wakes_with_a_code);
    RUN(stale_events_are_dropped);
    RUN(reuse_without_notice);
    RUN(codes);
    RUN(waking_the_poller);
    RUN(a_look_leaves_the_wake);
    RUN(rings_of_pipes);
    RUN(timeouts);
    RUN(files_and_nothing);
    return 0;
}
