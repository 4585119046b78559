/* SPDX-License-Identifier: MIT
 *
 * The first N primes, by a chain of tasklets: one counts from 2, and each prime found adds
 * one that lets pass what it does not divide.  Nothing is shared; numbers travel through
 * channels.
 *
 *     sieve [N]     100 by default
 */
#include <stdio.h>
#include <stdlib.h>

#include <stackless/channel.h>

typedef struct filter {
    int prime;
    sl_channel *in, *out;
} filter;

static void check(const char *what, int rc)
{
    if (rc == 0)
        return;
    fprintf(stderr, "sieve: %s: %s\n", what, sl_strerror(rc));
    exit(1);
}

static sl_channel *new_channel(void)
{
    sl_channel *c;
    check("making a channel", sl_channel_create(&c, sizeof(int), 0));
    return c;
}

/* Until nobody wants more: who reads last closes, and each passes it on. */
static void count(void *out)
{
    for (int n = 2; sl_send(out, &n) == 0; n++)
        ;
}

static void sift(void *arg)
{
    filter *f = arg;
    int n;
    while (sl_receive(f->in, &n) == 0)
        if (n % f->prime != 0 && sl_send(f->out, &n) != 0)
            break;
    sl_channel_close(f->in); /* has been closed already if the receive failed; that is no harm */
}

static void print_primes(void *arg)
{
    int wanted = *(int *)arg, n;
    filter *filters = calloc((size_t)wanted, sizeof *filters);
    sl_tasklet **tasklets = calloc((size_t)wanted + 1, sizeof *tasklets);
    if (!filters || !tasklets)
        check("starting", SL_ENOMEM);
    sl_channel *last = new_channel();
    check("starting", sl_go(NULL, &tasklets[0], count, last));
    for (int i = 0; i < wanted; i++) {
        check("receiving", sl_receive(last, &n));
        printf("%d%c", n, i + 1 < wanted ? ' ' : '\n');
        filters[i] = (filter){.prime = n, .in = last, .out = new_channel()};
        check("starting", sl_go(NULL, &tasklets[i + 1], sift, &filters[i]));
        last = filters[i].out;
    }
    check("closing", sl_channel_close(last));
    for (int i = 0; i <= wanted; i++)
        check("joining", sl_join(tasklets[i], SL_FOREVER));
    for (int i = 0; i < wanted; i++)
        check("destroying", sl_channel_destroy(filters[i].in));
    check("destroying", sl_channel_destroy(last));
    free(filters);
    free(tasklets);
}

int main(int argc, char **argv)
{
    int wanted = argc > 1 ? atoi(argv[1]) : 100;
    sl_pool *pool;
    if (wanted < 1 || argc > 2) {
        fprintf(stderr, "usage: sieve [N]\n");
        return 2;
    }
    int rc = sl_pool_create(&pool, NULL);
    if (rc < 0) {
        fprintf(stderr, "sieve: %s %s\n", sl_strerror(rc), sl_pool_explain());
        return 1;
    }
    check("starting", sl_go(pool, NULL, print_primes, &wanted));
    check("waiting", sl_pool_wait(pool));
    check("the end", sl_pool_destroy(pool));
    return 0;
}
