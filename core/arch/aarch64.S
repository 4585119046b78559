/* SPDX-License-Identifier: MIT
 *
 * Context switch for AArch64, System V ABI (AAPCS64).  The contract is in
 * context.h, the frame in frame.h.
 *
 * Both variants build the same frame, so that either can resume what the other
 * suspended, and one CFI description holds before and after the stack pointer
 * changes hands.
 *
 * x30 goes to memory as it came.  A caller that signs its return address signs
 * it with its own stack pointer, which is the same when it is resumed.
 */
#if defined(__aarch64__)

#include "frame.h"

        .text

        .macro  save_registers
        sub     sp, sp, #SL_FRAME_SIZE
        .cfi_def_cfa_offset SL_FRAME_SIZE
        stp     d8, d9, [sp, #SL_FRAME_D8]
        .cfi_rel_offset d8, SL_FRAME_D8
        .cfi_rel_offset d9, SL_FRAME_D8 + 8
        stp     d10, d11, [sp, #SL_FRAME_D8 + 16]
        .cfi_rel_offset d10, SL_FRAME_D8 + 16
        .cfi_rel_offset d11, SL_FRAME_D8 + 24
        stp     d12, d13, [sp, #SL_FRAME_D8 + 32]
        .cfi_rel_offset d12, SL_FRAME_D8 + 32
        .cfi_rel_offset d13, SL_FRAME_D8 + 40
        stp     d14, d15, [sp, #SL_FRAME_D8 + 48]
        .cfi_rel_offset d14, SL_FRAME_D8 + 48
        .cfi_rel_offset d15, SL_FRAME_D8 + 56
        stp     x19, x20, [sp, #SL_FRAME_X19]
        .cfi_rel_offset x19, SL_FRAME_X19
        .cfi_rel_offset x20, SL_FRAME_X19 + 8
        stp     x21, x22, [sp, #SL_FRAME_X19 + 16]
        .cfi_rel_offset x21, SL_FRAME_X19 + 16
        .cfi_rel_offset x22, SL_FRAME_X19 + 24
        stp     x23, x24, [sp, #SL_FRAME_X19 + 32]
        .cfi_rel_offset x23, SL_FRAME_X19 + 32
        .cfi_rel_offset x24, SL_FRAME_X19 + 40
        stp     x25, x26, [sp, #SL_FRAME_X19 + 48]
        .cfi_rel_offset x25, SL_FRAME_X19 + 48
        .cfi_rel_offset x26, SL_FRAME_X19 + 56
        stp     x27, x28, [sp, #SL_FRAME_X19 + 64]
        .cfi_rel_offset x27, SL_FRAME_X19 + 64
        .cfi_rel_offset x28, SL_FRAME_X19 + 72
        stp     x29, x30, [sp, #SL_FRAME_X29]
        .cfi_rel_offset x29, SL_FRAME_X29
        .cfi_rel_offset x30, SL_FRAME_RETURN
        .endm

        /* Until the stack pointer moves, what the frame says of each register
         * and what the register holds agree; one statement then covers both. */
        .macro  restore_registers_and_leave
        ldp     d8, d9, [sp, #SL_FRAME_D8]
        ldp     d10, d11, [sp, #SL_FRAME_D8 + 16]
        ldp     d12, d13, [sp, #SL_FRAME_D8 + 32]
        ldp     d14, d15, [sp, #SL_FRAME_D8 + 48]
        ldp     x19, x20, [sp, #SL_FRAME_X19]
        ldp     x21, x22, [sp, #SL_FRAME_X19 + 16]
        ldp     x23, x24, [sp, #SL_FRAME_X19 + 32]
        ldp     x25, x26, [sp, #SL_FRAME_X19 + 48]
        ldp     x27, x28, [sp, #SL_FRAME_X19 + 64]
        ldp     x29, x30, [sp, #SL_FRAME_X29]
        add     sp, sp, #SL_FRAME_SIZE
        .cfi_def_cfa_offset 0
        .irp    r, 8, 9, 10, 11, 12, 13, 14, 15
        .cfi_restore d\r
        .endr
        .irp    r, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
        .cfi_restore x\r
        .endr
        ret
        .endm

/* void *sl_ctx_switch(void **save_sp, void *to_sp, void *transfer) */
        .globl  sl_ctx_switch
        .hidden sl_ctx_switch
        .type   sl_ctx_switch, %function
        .p2align 5
sl_ctx_switch:
        .cfi_startproc
        hint    #34                     /* bti c */
        save_registers
        str     xzr, [sp, #SL_FRAME_FP]
        mov     x9, sp
        str     x9, [x0]
        mov     sp, x1
        mov     x0, x2
        ldr     x10, [sp, #SL_FRAME_FP]
        tbnz    x10, #63, 2f
1:
        .cfi_remember_state
        restore_registers_and_leave
        .cfi_restore_state

2:      and     x10, x10, #0x7fffffffffffffff
        mrs     x11, fpcr
        cmp     x10, x11
        b.eq    1b
        msr     fpcr, x10
        b       1b
        .cfi_endproc
        .size   sl_ctx_switch, . - sl_ctx_switch

/* void *sl_ctx_switch_fp(void **save_sp, void *to_sp, void *transfer) */
        .globl  sl_ctx_switch_fp
        .hidden sl_ctx_switch_fp
        .type   sl_ctx_switch_fp, %function
        .p2align 5
sl_ctx_switch_fp:
        .cfi_startproc
        hint    #34                     /* bti c */
        save_registers
        mrs     x11, fpcr
        orr     x10, x11, #0x8000000000000000
        str     x10, [sp, #SL_FRAME_FP]
        mov     x9, sp
        str     x9, [x0]
        mov     sp, x1
        mov     x0, x2
        ldr     x10, [sp, #SL_FRAME_FP]
        tbz     x10, #63, 1f
        and     x10, x10, #0x7fffffffffffffff
        cmp     x10, x11
        b.ne    2f
1:
        .cfi_remember_state
        restore_registers_and_leave
        .cfi_restore_state

2:      msr     fpcr, x10
        b       1b
        .cfi_endproc
        .size   sl_ctx_switch_fp, . - sl_ctx_switch_fp

/* The return address of a forged first frame.  x0 is the transfer, x19 the
 * entry function.  Unwinding ends here: there is no caller. */
        .globl  sl_ctx_entry
        .hidden sl_ctx_entry
        .type   sl_ctx_entry, %function
        .p2align 4
sl_ctx_entry:
        .cfi_startproc
        .cfi_undefined x30
        nop                             /* SL_FRAME_ENTRY_SKIP */
        hint    #38                     /* bti jc */
        mov     x1, x19
        bl      sl_context_start
        brk     #1
        .cfi_endproc
        .size   sl_ctx_entry, . - sl_ctx_entry

        .section .note.gnu.property, "a", %note
        .p2align 3
        .long   4
        .long   16
        .long   5
        .asciz  "GNU"
        .long   0xc0000000      /* GNU_PROPERTY_AARCH64_FEATURE_1_AND */
        .long   4
        .long   1               /* BTI */
        .long   0

#endif

/* For every processor: an object without this asks for an executable stack. */
        .section .note.GNU-stack, "", %progbits
