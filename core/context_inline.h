/* SPDX-License-Identifier: MIT
 *
 * The body of sl_switch_to(), included by context.h and by nothing else.
 * Without a sanitizer it is the assembly call and a test of `after`.
 */
#ifndef SL_CORE_CONTEXT_INLINE_H
#define SL_CORE_CONTEXT_INLINE_H

#if SL_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#if SL_TSAN
#include <sanitizer/tsan_interface.h>
/* Under another name, because gcc knows this one with another type. */
void sl_tsan_func_exit(void) __asm__("__tsan_func_exit");
#endif

/* Tells the sanitizers that the stack is about to change.  With `final` the
 * stack that is left will never be entered again where it was left. */
static inline void sl_switch_announce(sl_context *from, sl_context *to, sl_transfer *out, bool final)
{
    (void)from, (void)to, (void)out, (void)final;
#if SL_ASAN
    out->from = from;
    __sanitizer_start_switch_fiber(final ? NULL : &from->fake_stack, to->stack_bottom,
                                   to->stack_size);
#endif
#if SL_TSAN
    if (final)
        sl_tsan_func_exit(); /* the entry function's: it does not return */
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
}

/* The far side: `self` (NULL on a fresh stack) has just been entered.  `in`
 * lies on the stack that was left and dies with `after`, so it is copied. */
static inline void *sl_switch_arrive(sl_context *self, const sl_transfer *in)
{
    (void)self;
#if SL_ASAN
    sl_context *left = in->from;
    const void *bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(self ? self->fake_stack : NULL, &bottom, &size);
    left->stack_bottom = bottom;
    left->stack_size = size;
#endif
    sl_after after = in->after;
    void *arg = in->arg;
    void *payload = in->payload;
    if (after)
        after(arg);
    return payload;
}

static inline void *sl_switch_to(sl_context *from, sl_context *to, sl_after after, void *arg, void *payload)
{
    sl_transfer out = {.after = after, .arg = arg, .payload = payload};
    void *in;
    sl_switch_announce(from, to, &out, false);
    if (from->keep_fp)
        in = sl_ctx_switch_fp(&from->sp, to->sp, &out);
    else
        in = sl_ctx_switch(&from->sp, to->sp, &out);
    return sl_switch_arrive(from, (const sl_transfer *)in);
}

/* sl_switch_to() for a context that is finished: `from` is never entered
 * again, and `after` may give its stack away.  Call it from the entry function
 * itself and not from something that one called (TSan's record of the stack
 * would keep the difference each time the stack is reused). */
__attribute__((noreturn)) static inline void sl_switch_final(sl_context *from, sl_context *to, sl_after after,
                                                             void *arg, void *payload)
{
    sl_transfer out = {.after = after, .arg = arg, .payload = payload};
    sl_switch_announce(from, to, &out, true);
    sl_ctx_switch(&from->sp, to->sp, &out);
    __builtin_trap(); /* somebody entered a finished context */
}

#endif
