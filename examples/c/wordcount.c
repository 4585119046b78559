/* SPDX-License-Identifier: MIT
 *
 * Counts the words of files, like wc -w, on all processors: a tasklet for each file reads
 * it piece by piece, between sl_blocking_begin() and _end() since a disk may be slow, and
 * sends the pieces to as many counters as there are lanes.
 *
 *     wordcount FILE...
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <stackless/channel.h>

enum { PIECE = 256 * 1024, PIECES_WAITING = 16 };

typedef struct file {
    const char *name;
    int error;           /* errno of what failed, or 0 */
    unsigned long words;
    sl_tasklet *reader;
} file;

typedef struct piece {
    int file;
    int in_word;         /* the piece before it ended inside a word */
    size_t size;
    char *text;
} piece;

typedef struct count {
    int file;
    unsigned long words;
} count;

static sl_channel *pieces, *counts;
static file *files;

static void check(const char *what, int rc)
{
    if (rc == 0)
        return;
    fprintf(stderr, "wordcount: %s: %s\n", what, sl_strerror(rc));
    exit(1);
}

static ssize_t read_piece(int fd, char *to, int *error)
{
    check("before a read", sl_blocking_begin());
    ssize_t n = read(fd, to, PIECE);
    int e = n < 0 ? errno : 0; /* now: the end may change threads */
    check("after a read", sl_blocking_end());
    *error = e;
    return n;
}

static void read_file(void *arg)
{
    file *f = arg;
    int in_word = 0, fd = open(f->name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        f->error = errno;
        return;
    }
    for (;;) {
        piece p = {.file = (int)(f - files), .in_word = in_word, .text = malloc(PIECE)};
        ssize_t n = p.text ? read_piece(fd, p.text, &f->error) : -1;
        if (!p.text)
            f->error = ENOMEM;
        if (n <= 0) {
            free(p.text);
            break;
        }
        p.size = (size_t)n;
        in_word = !isspace((unsigned char)p.text[n - 1]);
        check("sending a piece", sl_send(pieces, &p)); /* waits when the counters do not keep up */
    }
    close(fd);
}

static void count_pieces(void *unused)
{
    piece p;
    (void)unused;
    while (sl_receive(pieces, &p) == 0) {
        count c = {.file = p.file};
        int in_word = p.in_word;
        for (size_t i = 0; i < p.size; i++) {
            int space = isspace((unsigned char)p.text[i]);
            c.words += !space && !in_word;
            in_word = !space;
        }
        free(p.text);
        check("sending a count", sl_send(counts, &c));
    }
}

static void add_up(void *unused)
{
    count c;
    (void)unused;
    while (sl_receive(counts, &c) == 0)
        files[c.file].words += c.words;
}

static void count_files(sl_pool *pool, int n)
{
    sl_pool_stats stats;
    sl_tasklet *adder, **counters;
    check("looking", sl_pool_get_stats(pool, &stats));
    if (!(counters = calloc(stats.lanes, sizeof *counters)))
        check("starting", SL_ENOMEM);
    check("starting", sl_go(pool, &adder, add_up, NULL));
    for (unsigned i = 0; i < stats.lanes; i++)
        check("starting", sl_go(pool, &counters[i], count_pieces, NULL));
    for (int i = 0; i < n; i++)
        check("starting", sl_go(pool, &files[i].reader, read_file, &files[i]));
    for (int i = 0; i < n; i++)
        check("joining", sl_join(files[i].reader, SL_FOREVER));
    check("closing", sl_channel_close(pieces)); /* the counters take what is left, and end */
    for (unsigned i = 0; i < stats.lanes; i++)
        check("joining", sl_join(counters[i], SL_FOREVER));
    check("closing", sl_channel_close(counts));
    check("joining", sl_join(adder, SL_FOREVER));
    free(counters);
}

int main(int argc, char **argv)
{
    sl_pool *pool;
    int n = argc - 1, failed = 0;
    unsigned long total = 0;
    if (n < 1) {
        fprintf(stderr, "usage: wordcount FILE...\n");
        return 2;
    }
    int rc = sl_pool_create(&pool, NULL);
    if (rc < 0) {
        fprintf(stderr, "wordcount: %s %s\n", sl_strerror(rc), sl_pool_explain());
        return 1;
    }
    if (!(files = calloc((size_t)n, sizeof *files)))
        check("starting", SL_ENOMEM);
    check("making a channel", sl_channel_create(&pieces, sizeof(piece), PIECES_WAITING));
    check("making a channel", sl_channel_create(&counts, sizeof(count), PIECES_WAITING));
    for (int i = 0; i < n; i++)
        files[i].name = argv[i + 1];
    count_files(pool, n);
    check("the end", sl_pool_destroy(pool));
    check("the end", sl_channel_destroy(pieces));
    check("the end", sl_channel_destroy(counts));
    for (int i = 0; i < n; i++) {
        if (files[i].error) {
            fprintf(stderr, "wordcount: %s: %s\n", files[i].name, strerror(files[i].error));
            failed = 1;
            continue;
        }
        printf("%lu %s\n", files[i].words, files[i].name);
        total += files[i].words;
    }
    if (n > 1)
        printf("%lu total\n", total);
    free(files);
    return failed;
}
