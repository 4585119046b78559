/* SPDX-License-Identifier: MIT
 *
 * The system's memory, mappings and threads, counted and refused at will: the library's
 * calls come through the linker (--wrap, see meson.build) to the functions here.
 */
#ifndef TESTS_SCHED_NATIVE_WRAPPED_H
#define TESTS_SCHED_NATIVE_WRAPPED_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "../../../core/atomic.h"
#include "../../core/check.h"

enum kind { MEMORY, SPACE, THREADS, KINDS };
static sl_atomic calls[KINDS], from[KINDS], most[KINDS]; /* calls number from, ... of so many are refused */
static sl_atomic refused;
static sl_atomic held, mapped; /* blocks, bytes */

static bool refuses(enum kind k)
{
    uintptr_t call = sl_add(&calls[k], 1) + 1, first = sl_load_relaxed(&from[k]);
    if (!first || call < first || call - first >= sl_load_relaxed(&most[k]))
        return false;
    sl_add(&refused, 1);
    return true;
}

static inline void refuse(enum kind k, uintptr_t first, uintptr_t n)
{
    sl_store_relaxed(&calls[k], 0);
    sl_store_relaxed(&most[k], n);
    sl_store_release(&from[k], first);
    sl_store_relaxed(&refused, 0);
}

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__real_aligned_alloc(size_t, size_t);
void __real_free(void *);
void *__real_mmap64(void *, size_t, int, int, int, off_t);
int __real_munmap(void *, size_t);
int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
void *__wrap_aligned_alloc(size_t, size_t);
void __wrap_free(void *);
void *__wrap_mmap64(void *, size_t, int, int, int, off_t);
int __wrap_munmap(void *, size_t);
int __wrap_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

static void *counted(void *p)
{
    if (p)
        sl_add(&held, 1);
    return p;
}

void *__wrap_malloc(size_t n) { return refuses(MEMORY) ? NULL : counted(__real_malloc(n)); }
void *__wrap_calloc(size_t n, size_t size) { return refuses(MEMORY) ? NULL : counted(__real_calloc(n, size)); }
void *__wrap_aligned_alloc(size_t a, size_t n) { return refuses(MEMORY) ? NULL : counted(__real_aligned_alloc(a, n)); }

void *__wrap_realloc(void *old, size_t n)
{
    if (refuses(MEMORY))
        return NULL;
    void *p = __real_realloc(old, n);
    return old ? p : counted(p);
}

void __wrap_free(void *p)
{
    if (p)
        sl_add(&held, (uintptr_t)-1);
    __real_free(p);
}

void *__wrap_mmap64(void *at, size_t n, int protection, int flags, int fd, off_t offset)
{
    void *p = refuses(SPACE) ? MAP_FAILED : __real_mmap64(at, n, protection, flags, fd, offset);
    if (p != MAP_FAILED)
        sl_add(&mapped, n);
    return p;
}

int __wrap_munmap(void *at, size_t n)
{
    sl_add(&mapped, (uintptr_t)0 - n);
    return __real_munmap(at, n);
}

int __wrap_pthread_create(pthread_t *out, const pthread_attr_t *a, void *(*body)(void *), void *arg)
{
    return refuses(THREADS) ? EAGAIN : __real_pthread_create(out, a, body, arg);
}

#endif
