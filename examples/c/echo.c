/* SPDX-License-Identifier: MIT
 *
 * A TCP echo server on the loopback interface: a tasklet for each connection, written as
 * if reading and writing blocked.
 *
 *     echo PORT          serves until it is ended
 *     echo --self-test   is its own client: so many connections at once, all checked
 */
#define _GNU_SOURCE /* accept4 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stackless/pool.h>

enum { CLIENTS = 50, MESSAGES = 100 };

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "echo: %s: %s\n", what, why);
    exit(1);
}

static void check(const char *what, int rc)
{
    if (rc < 0)
        fail(what, sl_strerror(rc));
}

/* ---- a connection ---- */

/* errno belongs to the OS thread: it is read right after the call, before any switch. */
static int would_block(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK;
}

/* Bytes, 0 at the end, -1: the connection is broken or the tasklet was cancelled. */
static ssize_t receive(int fd, char *to, size_t size)
{
    for (;;) {
        ssize_t n = recv(fd, to, size, 0);
        if (n >= 0 || !would_block())
            return n;
        if (sl_wait_fd(fd, SL_FD_READ, SL_FOREVER) < 0)
            return -1;
    }
}

static int send_all(int fd, const char *from, size_t size)
{
    while (size > 0) {
        ssize_t n = send(fd, from, size, MSG_NOSIGNAL);
        if (n > 0) {
            from += n;
            size -= (size_t)n;
        } else if (!would_block() || sl_wait_fd(fd, SL_FD_WRITE, SL_FOREVER) < 0) {
            return -1;
        }
    }
    return 0;
}

static void hang_up(int fd)
{
    sl_forget_fd(fd); /* whoever else waits for it is told */
    close(fd);
}

static void serve(void *connection)
{
    int fd = (int)(intptr_t)connection;
    char buffer[4096];
    ssize_t n;
    while ((n = receive(fd, buffer, sizeof buffer)) > 0)
        if (send_all(fd, buffer, (size_t)n) < 0)
            break;
    hang_up(fd);
}

/* ---- the server ---- */

static int listen_on(unsigned short *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 512) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &size) < 0)
        fail("listen", strerror(errno));
    *port = ntohs(at.sin_port);
    return fd;
}

/* Until it is cancelled. */
static void accept_all(void *listener)
{
    int fd = (int)(intptr_t)listener;
    for (;;) {
        int connection = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (connection >= 0) {
            if (sl_go(NULL, NULL, serve, (void *)(intptr_t)connection) < 0)
                close(connection); /* no memory: this one has to come again */
        } else if (would_block()) {
            int rc = sl_wait_fd(fd, SL_FD_READ, SL_FOREVER);
            if (rc == SL_ECANCELLED)
                break;
            check("waiting for a connection", rc);
        } else if (errno != ECONNABORTED && errno != EINTR) {
            if (sl_sleep(10 * 1000 * 1000) < 0) /* out of descriptors: some may be closed soon */
                break;
        }
    }
    hang_up(fd);
}

/* ---- a client, for the self-test ---- */

typedef struct client {
    unsigned short port;
    int number, echoed;
    sl_tasklet *handle;
} client;

static int connect_to(unsigned short port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = 0;
    socklen_t size = sizeof error;
    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0)
        return fd;
    if (errno == EINPROGRESS && sl_wait_fd(fd, SL_FD_WRITE, SL_FOREVER) == SL_FD_WRITE &&
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0)
        return fd;
    close(fd);
    return -1;
}

static void ask(void *arg)
{
    client *c = arg;
    int fd = connect_to(c->port);
    if (fd < 0)
        return;
    for (int i = 0; i < MESSAGES; i++) {
        char out[64], in[64];
        int size = snprintf(out, sizeof out, "client %d, message %d\n", c->number, i), have = 0;
        if (send_all(fd, out, (size_t)size) < 0)
            break;
        while (have < size) {
            ssize_t n = receive(fd, in + have, (size_t)(size - have));
            if (n <= 0)
                break;
            have += (int)n;
        }
        if (have < size || memcmp(in, out, (size_t)size) != 0)
            break;
        c->echoed++;
    }
    hang_up(fd);
}

static void self_test(sl_pool *pool, unsigned short port)
{
    static client clients[CLIENTS];
    int echoed = 0;
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (client){.port = port, .number = i};
        check("starting a client", sl_go(pool, &clients[i].handle, ask, &clients[i]));
    }
    for (int i = 0; i < CLIENTS; i++) {
        check("waiting for a client", sl_join(clients[i].handle, SL_FOREVER));
        echoed += clients[i].echoed;
    }
    if (echoed != CLIENTS * MESSAGES)
        fail("self-test", "some messages did not come back");
    printf("%d connections, %d messages echoed\n", CLIENTS, echoed);
}

int main(int argc, char **argv)
{
    int testing = argc == 2 && strcmp(argv[1], "--self-test") == 0;
    unsigned short port = (unsigned short)(argc == 2 && !testing ? atoi(argv[1]) : 0);
    sl_pool *pool;
    sl_tasklet *server;
    if (argc != 2 || (!testing && port == 0)) {
        fprintf(stderr, "usage: echo PORT | --self-test\n");
        return 2;
    }
    int rc = sl_pool_create(&pool, NULL);
    if (rc < 0)
        fail(sl_strerror(rc), sl_pool_explain());
    int listener = listen_on(&port);
    check("starting the server", sl_go(pool, &server, accept_all, (void *)(intptr_t)listener));
    if (testing) {
        self_test(pool, port);
        check("ending the server", sl_cancel(server));
    } else {
        printf("echoing on 127.0.0.1 port %d\n", port);
        fflush(stdout);
    }
    check("waiting for the server", sl_join(server, SL_FOREVER));
    check("the end", sl_pool_destroy(pool));
    return 0;
}
