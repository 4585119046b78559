/* SPDX-License-Identifier: MIT
 *
 * What the memory checkers are told about stacks.  Each function is empty
 * where its checker is not compiled in.  For stack.c.
 */
#ifndef SL_CORE_STACK_NOTES_H
#define SL_CORE_STACK_NOTES_H

#include "context.h"
#include "stack.h"

#if SL_ASAN
#include <sanitizer/asan_interface.h>
#endif
#if SL_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define SL_VALGRIND 1
#endif
#endif

/* Valgrind runs this program.  It knows mappings but not the kernel's guards, and would
 * read in them itself. */
static inline bool sl_note_valgrind(void)
{
#ifdef SL_VALGRIND
    return RUNNING_ON_VALGRIND != 0;
#else
    return false;
#endif
}

/* Once, before a stack is first handed out. */
static inline void sl_note_new(sl_stack *s)
{
    (void)s;
#ifdef SL_VALGRIND
    s->valgrind_id = VALGRIND_STACK_REGISTER(s->base, s->base + s->size);
#endif
}

/* Each time it is handed out.  A TSan fiber takes milliseconds to create, so
 * it is created once and stays with the stack. */
static inline void sl_note_get(sl_stack *s)
{
    (void)s;
#if SL_ASAN
    ASAN_UNPOISON_MEMORY_REGION(s->base, s->size);
#endif
#if SL_TSAN
    if (!s->fiber)
        s->fiber = __tsan_create_fiber(0);
#endif
}

/* Each time it comes back: touching it from now on is an error. */
static inline void sl_note_put(sl_stack *s)
{
    (void)s;
#if SL_ASAN
    ASAN_POISON_MEMORY_REGION(s->base, s->size);
#endif
}

/* Before its memory is unmapped. */
static inline void sl_note_gone(sl_stack *s)
{
    (void)s;
#if SL_ASAN
    ASAN_UNPOISON_MEMORY_REGION(s->base, s->size);
#endif
#if SL_TSAN
    if (s->fiber)
        __tsan_destroy_fiber(s->fiber);
#endif
#ifdef SL_VALGRIND
    VALGRIND_STACK_DEREGISTER(s->valgrind_id);
#endif
}

#endif
