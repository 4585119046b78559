/* SPDX-License-Identifier: MIT
 *
 * That a profiler's signal may land anywhere: the program single-steps through
 * switches and unwinds at each instruction of the assembly.  Each time the
 * unwinder must reach the frame that switched and stop at an end of stack.
 * x86-64 only (the trap flag); elsewhere a skip.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>
#include <unwind.h>

#include "check.h"
#include "context.h"
#include "stack.h"
#include "stackless/error.h"

#if defined(__x86_64__) && !SL_ASAN && !SL_TSAN

#define TRAP_FLAG 0x100
#define FEW_BYTES 256 /* no function of the assembly is longer */

extern const char sl_ctx_entry[];

static sl_context home, guest;
static int steps_inside, bad_steps, missed_caller;
static char seen[3][FEW_BYTES]; /* instructions at which we unwound */

typedef struct walk {
    int frames;
    bool caller_seen;
} walk;

static void native_side(void);
static void guest_side(void *payload);

static _Unwind_Reason_Code visit(struct _Unwind_Context *uc, void *arg)
{
    walk *w = arg;
    void *function = _Unwind_FindEnclosingFunction((void *)_Unwind_GetIP(uc));
    if (function == (void *)native_side || function == (void *)guest_side || function == (void *)sl_ctx_entry)
        w->caller_seen = true;
    return ++w->frames > 100 ? _URC_NORMAL_STOP : _URC_NO_REASON;
}

static int function_of(uintptr_t pc, uintptr_t *offset)
{
    uintptr_t starts[3] = {(uintptr_t)sl_ctx_switch, (uintptr_t)sl_ctx_switch_fp, (uintptr_t)sl_ctx_entry};
    void *start = _Unwind_FindEnclosingFunction((void *)(pc + 1));
    for (int i = 0; i < 3; i++)
        if ((uintptr_t)start == starts[i]) {
            *offset = pc - starts[i];
            return i;
        }
    return -1;
}

static void on_trap(int sig, siginfo_t *info, void *context)
{
    (void)sig, (void)info;
    const ucontext_t *uc = context;
    uintptr_t offset;
    int f = function_of((uintptr_t)uc->uc_mcontext.gregs[REG_RIP], &offset);
    if (f < 0)
        return;
    steps_inside++;
    if (offset < FEW_BYTES)
        seen[f][offset] = 1;
    walk w = {0};
    _Unwind_Reason_Code end = _Unwind_Backtrace(visit, &w);
    bad_steps += end != _URC_END_OF_STACK;
    missed_caller += !w.caller_seen;
}

__attribute__((always_inline)) static inline void set_trap_flag(bool on)
{
    uint64_t flags = __builtin_ia32_readeflags_u64();
    __builtin_ia32_writeeflags_u64(on ? flags | TRAP_FLAG : flags & ~(uint64_t)TRAP_FLAG);
}

__attribute__((noinline)) static void guest_side(void *payload)
{
    (void)payload;
    for (;;)
        sl_switch_to(&guest, &home, NULL, NULL, NULL);
}

__attribute__((noinline)) static void native_side(void)
{
    set_trap_flag(true);
    for (int i = 0; i < 3; i++)
        sl_switch_to(&home, &guest, NULL, NULL, NULL);
    set_trap_flag(false);
}

static int count_seen(int f)
{
    int n = 0;
    for (int i = 0; i < FEW_BYTES; i++)
        n += seen[f][i];
    return n;
}

/* All four pairs of variants, and control words that do and do not differ. */
static void step_through(sl_stack_pool *pool)
{
    for (int variant = 0; variant < 4; variant++) {
        sl_stack *s;
        CHECK_EQ(sl_stack_get(pool, &s), 0);
        sl_context_native(&home, variant & 1);
        sl_context_make(&guest, s, guest_side, variant & 2);
        __builtin_ia32_ldmxcsr(0x3f80); /* rounds down; the fresh context does not */
        native_side();
        __builtin_ia32_ldmxcsr(0x1f80);
        sl_stack_put(pool, s);
    }
}

int main(void)
{
    if (sl_context_supported() != 0)
        SKIP("user shadow stacks are on");
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    CHECK_EQ(sigaction(SIGTRAP, &action, NULL), 0);
    sl_stack_pool *pool;
    CHECK_EQ(sl_stack_pool_create(&pool, SL_STACK_DEFAULT), 0);
    walk warm = {0}; /* the unwinder allocates and binds on its first run */
    _Unwind_Backtrace(visit, &warm);
    step_through(pool);
    fprintf(stderr, "%d steps; %d, %d and %d different instructions\n", steps_inside, count_seen(0),
            count_seen(1), count_seen(2));
    CHECK(steps_inside > 200);
    CHECK(count_seen(0) >= 25 && count_seen(1) >= 25 && count_seen(2) >= 3);
    CHECK_EQ(bad_steps, 0);
    CHECK_EQ(missed_caller, 0);
    sl_stack_pool_destroy(pool);
    return 0;
}

#else

int main(void)
{
    SKIP("single-stepping needs x86-64 without a sanitizer");
}

#endif
