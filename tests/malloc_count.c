/* SPDX-License-Identifier: MIT
 *
 * Preloaded by leaks.py: counts what malloc() has given out and not got back, exactly.
 *
 * mallinfo() cannot tell: its bytes in use contain what lies in the threads' caches and
 * what is left over of a chunk that was larger than asked for, so they creep up for hundreds
 * of rounds in which each allocation is freed.
 *
 * Before each block is a header: the bytes asked for, and MAGIC + the distance to the start
 * of what glibc gave.  What has no header (glibc's own, from before) is passed on.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC 0x51ac4e5500000000u
#define HEADER 16u

typedef struct header {
    size_t bytes;
    uint64_t mark;
} header;

_Static_assert(sizeof(header) == HEADER, "blocks stay aligned");

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t align, size_t n);
extern void __libc_free(void *p);

static long blocks, bytes; /* atomic; any order will do */

long malloc_count_blocks(void)
{
    return __atomic_load_n(&blocks, __ATOMIC_RELAXED);
}

long malloc_count_bytes(void)
{
    return __atomic_load_n(&bytes, __ATOMIC_RELAXED);
}

static void count(long change, size_t n)
{
    __atomic_add_fetch(&blocks, change, __ATOMIC_RELAXED);
    __atomic_add_fetch(&bytes, change * (long)n, __ATOMIC_RELAXED);
}

static header *header_of(void *p)
{
    header *h = (header *)p - 1;
    return h->mark >> 32 == MAGIC >> 32 ? h : NULL;
}

static void *begin(char *base, size_t distance, size_t n)
{
    if (!base)
        return NULL;
    header *h = (header *)(base + distance) - 1;
    *h = (header){n, MAGIC + distance};
    count(+1, n);
    return h + 1;
}

void *malloc(size_t n)
{
    return n > PTRDIFF_MAX - HEADER ? (errno = ENOMEM, NULL) : begin(__libc_malloc(n + HEADER), HEADER, n);
}

void *calloc(size_t n, size_t size)
{
    size_t all;
    if (__builtin_mul_overflow(n, size, &all) || all > PTRDIFF_MAX - HEADER)
        return errno = ENOMEM, NULL;
    return begin(__libc_calloc(1, all + HEADER), HEADER, all);
}

void *memalign(size_t align, size_t n)
{
    size_t distance = align < HEADER ? HEADER : align;
    return n > PTRDIFF_MAX - distance ? (errno = ENOMEM, NULL) : begin(__libc_memalign(distance, n + distance), distance, n);
}

void *aligned_alloc(size_t align, size_t n)
{
    return memalign(align, n);
}

int posix_memalign(void **out, size_t align, size_t n)
{
    void *p = memalign(align, n);
    return p ? (*out = p, 0) : ENOMEM;
}

void free(void *p)
{
    header *h = p ? header_of(p) : NULL;
    if (!h) {
        __libc_free(p);
        return;
    }
    count(-1, h->bytes);
    char *base = (char *)p - (uint32_t)h->mark;
    h->mark = 0;
    __libc_free(base);
}

void *realloc(void *p, size_t n)
{
    header *h = p ? header_of(p) : NULL;
    if (!p)
        return malloc(n);
    if (!h)
        return __libc_realloc(p, n);
    void *grown = malloc(n);
    if (grown) {
        memcpy(grown, p, n < h->bytes ? n : h->bytes);
        free(p);
    }
    return grown;
}

size_t malloc_usable_size(void *p)
{
    header *h = p ? header_of(p) : NULL;
    return h ? h->bytes : 0;
}
