/* SPDX-License-Identifier: MIT
 *
 * Making contexts: the forged first frame of a fresh stack, the context that
 * stands for an OS thread, and the question whether this machine allows
 * switching at all.  The switch itself is in arch/ and context_inline.h.
 */
#include "context.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/frame.h"
#include "stack.h"
#include "stackless/error.h"

#if SL_ASAN
#include <sanitizer/asan_interface.h>
#endif

/* Known to the assembly only. */
extern const char sl_ctx_entry[];
void sl_context_start(sl_transfer *in, sl_context_entry entry);

/* Stacks lie a whole number of pages apart, so without this the hot top of
 * each would compete for the same few sets of the first-level cache. */
#define COLOURS 8
#define COLOUR_STEP 128

/* Above the first frame: zeros, where a frame-pointer walk ends. */
#define HEADROOM 16

void sl_context_make(sl_context *ctx, struct sl_stack *stack, sl_context_entry entry, bool keep_fp)
{
    uintptr_t top = (uintptr_t)stack->base + stack->size;
#if SL_ASAN
    /* Who used it before never returned from its last frames. */
    ASAN_UNPOISON_MEMORY_REGION(stack->base, stack->size);
#endif
    top -= (stack->index % COLOURS) * COLOUR_STEP;
    char *sp = (char *)(top - HEADROOM - SL_FRAME_SIZE);
    memset(sp, 0, SL_FRAME_SIZE + HEADROOM);

    uint64_t fp = keep_fp ? (uint64_t)SL_FP_INITIAL : 0;
    uintptr_t return_to = (uintptr_t)sl_ctx_entry + SL_FRAME_ENTRY_SKIP, function = (uintptr_t)entry;
    memcpy(sp + SL_FRAME_FP, &fp, sizeof fp);
    memcpy(sp + SL_FRAME_RETURN, &return_to, sizeof return_to);
    memcpy(sp + SL_FRAME_ENTRY, &function, sizeof function);

    memset(ctx, 0, sizeof *ctx);
    ctx->sp = sp;
    ctx->keep_fp = keep_fp;
#if SL_ASAN
    ctx->stack_bottom = stack->base;
    ctx->stack_size = stack->size;
#endif
#if SL_TSAN
    ctx->fiber = stack->fiber;
#endif
}

/* First C function on a fresh stack.  Not instrumented by TSan, so that its
 * record of the stack is empty again after sl_switch_final(). */
__attribute__((noreturn, used))
#if SL_TSAN
__attribute__((no_sanitize_thread))
#endif
void sl_context_start(sl_transfer *in, sl_context_entry entry)
{
    void *payload = sl_switch_arrive(NULL, in);
    entry(payload);
    abort(); /* an entry function must not return: there is nowhere to go */
}

void sl_context_native(sl_context *ctx, bool keep_fp)
{
    memset(ctx, 0, sizeof *ctx);
    ctx->keep_fp = keep_fp;
#if SL_TSAN
    ctx->fiber = __tsan_get_current_fiber();
#endif
}

int sl_context_supported(void)
{
    unsigned long features = 0;
#if defined(__x86_64__)
    /* ARCH_SHSTK_STATUS; older kernels know neither it nor shadow stacks. */
    if (syscall(SYS_arch_prctl, 0x5005, &features) != 0)
        return 0;
#elif defined(__aarch64__)
    /* PR_GET_SHADOW_STACK_STATUS, the guarded control stack. */
    if (prctl(74, &features, 0, 0, 0) != 0)
        return 0;
#endif
    return features & 1 ? SL_ESHSTK : 0;
}
