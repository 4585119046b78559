/* SPDX-License-Identifier: MIT
 *
 * Machine contexts and the one form of switch that this project has.
 *
 * What it is for: leaving one stack and entering another.  What it is not for:
 * deciding who runs (sched/) and where stacks come from (stack.h).
 *
 * The rule that everything above relies on: a suspended context may be made
 * visible to others only after its stack has been left.  sl_switch_to()
 * therefore takes `after`, which runs on the far side, and that is where a
 * lock is dropped, a tasklet queued, a stack freed.
 *
 * Thread-local hazard: after sl_switch_to() returns, the caller may be on a
 * different OS thread.  errno and the address of any thread-local variable
 * that was computed before the call are stale.
 */
#ifndef SL_CORE_CONTEXT_H
#define SL_CORE_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define SL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SL_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define SL_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define SL_TSAN 1
#endif
#ifndef SL_ASAN
#define SL_ASAN 0
#endif
#ifndef SL_TSAN
#define SL_TSAN 0
#endif

/* A suspended point of execution.  `sp` is valid only while suspended; all
 * fields belong to whoever is allowed to switch from or to the context. */
typedef struct sl_context {
    void *sp;
    bool keep_fp; /* x87/MXCSR (FPCR) control words travel with this context */
#if SL_ASAN
    void *fake_stack;         /* ASan's handle while suspended */
    const void *stack_bottom; /* lowest address; learnt at the first switch for native stacks */
    size_t stack_size;
#endif
#if SL_TSAN
    void *fiber; /* TSan fiber; owned by the pooled stack, or the thread's own */
#endif
} sl_context;

typedef void (*sl_after)(void *arg);

/* What travels with a switch; it lives on the stack that is being left. */
typedef struct sl_transfer {
    sl_after after;
    void *arg;
    void *payload;
#if SL_ASAN || SL_TSAN
    sl_context *from;
#endif
} sl_transfer;

/* Assembly (core/arch).  Saves callee-saved registers (with _fp also the
 * floating-point control words), stores the stack pointer in *save_sp, enters
 * to_sp and makes the switch call on that side return `transfer`. */
void *sl_ctx_switch(void **save_sp, void *to_sp, void *transfer);
void *sl_ctx_switch_fp(void **save_sp, void *to_sp, void *transfer);

/* Runs on a fresh stack; `payload` is that of the first switch to it.  Must
 * never return. */
typedef void (*sl_context_entry)(void *payload);

struct sl_stack;

/* Makes `ctx` a fresh context on `stack`: the first switch to it calls
 * entry(payload).  Touches only the top few words of the stack. */
void sl_context_make(sl_context *ctx, struct sl_stack *stack, sl_context_entry entry, bool keep_fp);

/* Makes `ctx` stand for the calling OS thread's own stack. */
void sl_context_native(sl_context *ctx, bool keep_fp);

/* Refuses (SL_ESHSTK) where the kernel has user shadow stacks switched on for
 * this thread, which a stack switch would violate.  0 otherwise. */
int sl_context_supported(void);

/* Leaves `from` (the running context) for `to`.  On the far side runs
 * after(arg) if `after` is not NULL, then continues `to`, whose own
 * sl_switch_to() returns `payload` (or whose entry gets it). */
static inline void *sl_switch_to(sl_context *from, sl_context *to, sl_after after, void *arg, void *payload);

#include "context_inline.h"
#endif
