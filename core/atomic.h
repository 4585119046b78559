/* SPDX-License-Identifier: MIT
 *
 * Atomic operations: single words of 32 bits and of pointer size, by way of
 * libatomic_ops, which maps them to the compiler's builtins, so that the
 * sanitizers see them.  Not for double words (their libatomic_ops form is
 * assembly that no sanitizer understands) and not for protocols: each of those
 * states its own invariant where it is defined.
 *
 * The orders, in words.  "Before" and "after" mean the order in the program.
 *
 *   relaxed   The access itself is whole and happens once.  It says nothing
 *             about any other access: they may move across it either way.
 *   acquire   A load.  Nothing after it moves before it.  If it reads what a
 *             release store (or anything stronger) wrote, everything before
 *             that store is visible after this load.
 *   release   A store.  Nothing before it moves after it.
 *   full      A read-modify-write (add, cas, swap).  Acquire and release at
 *             once, and also a fence: no access before it moves after it and
 *             none after it moves before it.  This holds for a cas that fails.
 *   sl_fence  All accesses before it come before all accesses after it, a
 *             store followed by a load of something else included.  That last
 *             pair is what acquire and release never order, and what "publish,
 *             then look for sleepers" needs.
 *
 * On x86-64 a full operation is one locked instruction and a fence another;
 * elsewhere libatomic_ops' "full" is only acquire plus release, so fences are
 * put around it here.
 */
#ifndef SL_CORE_ATOMIC_H
#define SL_CORE_ATOMIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ThreadSanitizer does not model fences and gcc says so at each.  Ours order a
 * store before a load; no happens-before edge is ever built on one. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__SANITIZE_THREAD__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"
#include <atomic_ops.h>
#pragma GCC diagnostic pop
#else
#include <atomic_ops.h>
#endif

/* 32 bits; &a->word may be given to the kernel as a futex word. */
typedef struct sl_atomic32 {
    volatile unsigned word;
} sl_atomic32;

/* One machine word: an integer or, by the _ptr operations, a pointer. */
typedef struct sl_atomic {
    volatile AO_t word;
} sl_atomic;

#if defined(__cplusplus)
#define SL_ATOMIC_STATIC_ASSERT(c) static_assert(c, #c)
#else
#define SL_ATOMIC_STATIC_ASSERT(c) _Static_assert(c, #c)
#endif
SL_ATOMIC_STATIC_ASSERT(sizeof(sl_atomic32) == 4);
SL_ATOMIC_STATIC_ASSERT(sizeof(sl_atomic) == sizeof(void *));
#undef SL_ATOMIC_STATIC_ASSERT

#define SL_ATOMIC_INIT(value) {(value)}

/* Full fence. */
static inline void sl_fence(void)
{
    AO_nop_full();
}

/* Tells the processor that this thread is spinning.  Orders nothing. */
static inline void sl_cpu_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb");
#endif
}

/* Turns libatomic_ops' acquire-release into a full barrier where the
 * instruction is not one by itself. */
static inline void sl_fence_around_rmw(void)
{
#if !defined(__x86_64__)
    AO_nop_full();
#endif
}

/* ---- 32 bits ---------------------------------------------------------- */

static inline unsigned sl_load_relaxed32(const sl_atomic32 *p)
{
    return AO_int_load(&p->word);
}

static inline unsigned sl_load_acquire32(const sl_atomic32 *p)
{
    return AO_int_load_acquire(&p->word);
}

static inline void sl_store_relaxed32(sl_atomic32 *p, unsigned value)
{
    AO_int_store(&p->word, value);
}

static inline void sl_store_release32(sl_atomic32 *p, unsigned value)
{
    AO_int_store_release(&p->word, value);
}

/* Full.  Returns the old value; wraps around, so adding (unsigned)-1 subtracts. */
static inline unsigned sl_add32(sl_atomic32 *p, unsigned delta)
{
    sl_fence_around_rmw();
    unsigned old = AO_int_fetch_and_add_full(&p->word, delta);
    sl_fence_around_rmw();
    return old;
}

/* Full.  Stores `desired` if the word is `expected`; says whether it did. */
static inline bool sl_cas32(sl_atomic32 *p, unsigned expected, unsigned desired)
{
    sl_fence_around_rmw();
    bool done = AO_int_compare_and_swap_full(&p->word, expected, desired) != 0;
    sl_fence_around_rmw();
    return done;
}

/* Full.  Returns the old value.  (libatomic_ops has no exchange.) */
static inline unsigned sl_swap32(sl_atomic32 *p, unsigned value)
{
    unsigned old = AO_int_load(&p->word), seen;
    sl_fence_around_rmw();
    while ((seen = AO_int_fetch_compare_and_swap_full(&p->word, old, value)) != old)
        old = seen;
    sl_fence_around_rmw();
    return old;
}

/* ---- one word --------------------------------------------------------- */

static inline uintptr_t sl_load_relaxed(const sl_atomic *p)
{
    return AO_load(&p->word);
}

static inline uintptr_t sl_load_acquire(const sl_atomic *p)
{
    return AO_load_acquire(&p->word);
}

static inline void sl_store_relaxed(sl_atomic *p, uintptr_t value)
{
    AO_store(&p->word, value);
}

static inline void sl_store_release(sl_atomic *p, uintptr_t value)
{
    AO_store_release(&p->word, value);
}

/* Full.  Returns the old value; wraps around, so adding (uintptr_t)-1 subtracts. */
static inline uintptr_t sl_add(sl_atomic *p, uintptr_t delta)
{
    sl_fence_around_rmw();
    uintptr_t old = AO_fetch_and_add_full(&p->word, delta);
    sl_fence_around_rmw();
    return old;
}

/* Full.  Stores `desired` if the word is `expected`; says whether it did. */
static inline bool sl_cas(sl_atomic *p, uintptr_t expected, uintptr_t desired)
{
    sl_fence_around_rmw();
    bool done = AO_compare_and_swap_full(&p->word, expected, desired) != 0;
    sl_fence_around_rmw();
    return done;
}

/* Full.  Returns the old value. */
static inline uintptr_t sl_swap(sl_atomic *p, uintptr_t value)
{
    uintptr_t old = AO_load(&p->word), seen;
    sl_fence_around_rmw();
    while ((seen = AO_fetch_compare_and_swap_full(&p->word, old, value)) != old)
        old = seen;
    sl_fence_around_rmw();
    return old;
}

/* ---- pointers in an sl_atomic ----------------------------------------- */

/* Relaxed. */
static inline void *sl_load_ptr(const sl_atomic *p)
{
    return (void *)sl_load_relaxed(p);
}

static inline void *sl_load_ptr_acquire(const sl_atomic *p)
{
    return (void *)sl_load_acquire(p);
}

/* Relaxed. */
static inline void sl_store_ptr(sl_atomic *p, const void *value)
{
    sl_store_relaxed(p, (uintptr_t)value);
}

static inline void sl_store_ptr_release(sl_atomic *p, const void *value)
{
    sl_store_release(p, (uintptr_t)value);
}

/* Full.  Returns the old pointer. */
static inline void *sl_swap_ptr(sl_atomic *p, const void *value)
{
    return (void *)sl_swap(p, (uintptr_t)value);
}

/* Full. */
static inline bool sl_cas_ptr(sl_atomic *p, const void *expected, const void *desired)
{
    return sl_cas(p, (uintptr_t)expected, (uintptr_t)desired);
}

#endif
