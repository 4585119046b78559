/* SPDX-License-Identifier: MIT
 *
 * Context switch for x86-64, System V ABI.  The contract is in context.h, the
 * frame in frame.h.
 *
 * Both variants push the same frame, so that either can resume what the other
 * suspended, and so that one CFI description holds before and after the stack
 * pointer changes hands: at each instruction an unwinder finds the registers
 * of whichever context the stack pointer belongs to.
 *
 * Of MXCSR only the control bits are compared: its status flags are volatile
 * across calls, and half of all arithmetic sets one.  Loads from a slot have
 * the width of the stores that filled it, else store forwarding would stall.
 *
 * The far side is entered by a jump and not by a return: the processor's
 * return predictor knows the near side's callers only.  `notrack` because the
 * address was pushed by a call and has no ENDBR.
 */
#if defined(__x86_64__)

#include "frame.h"

/* MXCSR without the six status flags. */
#define MXCSR_CONTROL 0xffc0

        .text

        .macro  save_registers
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 0
        pushq   %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r12, 0
        pushq   %r13
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r13, 0
        pushq   %r14
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r14, 0
        pushq   %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r15, 0
        .endm

        /* From the slot on.  Leaves by jumping to the return address. */
        .macro  restore_registers_and_leave
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        popq    %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r15
        popq    %r14
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r14
        popq    %r13
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r13
        popq    %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r12
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbx
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbp
        popq    %rcx
        .cfi_adjust_cfa_offset -8
        .cfi_register %rip, %rcx
        notrack jmp *%rcx
        .endm

/* void *sl_ctx_switch(void **save_sp, void *to_sp, void *transfer) */
        .globl  sl_ctx_switch
        .hidden sl_ctx_switch
        .type   sl_ctx_switch, @function
        .p2align 5
sl_ctx_switch:
        .cfi_startproc
        endbr64
        save_registers
        pushq   $0
        .cfi_adjust_cfa_offset 8
        movq    %rsp, (%rdi)
        movq    %rsi, %rsp
        movq    %rdx, %rax
        cmpw    $0, SL_FRAME_FP_MARK(%rsp)
        jne     2f
1:
        .cfi_remember_state
        restore_registers_and_leave
        .cfi_restore_state

        /* The target keeps its words; ours are read into the red zone. */
2:      stmxcsr -8(%rsp)
        fnstcw  -4(%rsp)
        movl    -8(%rsp), %ecx
        xorl    SL_FRAME_FP(%rsp), %ecx
        testl   $MXCSR_CONTROL, %ecx
        je      3f
        ldmxcsr SL_FRAME_FP(%rsp)
3:      movzwl  -4(%rsp), %ecx
        cmpw    SL_FRAME_FP_CW(%rsp), %cx
        je      1b
        fldcw   SL_FRAME_FP_CW(%rsp)
        jmp     1b
        .cfi_endproc
        .size   sl_ctx_switch, . - sl_ctx_switch

/* void *sl_ctx_switch_fp(void **save_sp, void *to_sp, void *transfer) */
        .globl  sl_ctx_switch_fp
        .hidden sl_ctx_switch_fp
        .type   sl_ctx_switch_fp, @function
        .p2align 5
sl_ctx_switch_fp:
        .cfi_startproc
        endbr64
        save_registers
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        stmxcsr SL_FRAME_FP(%rsp)
        fnstcw  SL_FRAME_FP_CW(%rsp)
        movw    $1, SL_FRAME_FP_MARK(%rsp)
        movq    %rsp, (%rdi)
        movl    SL_FRAME_FP(%rsp), %ecx
        movzwl  SL_FRAME_FP_CW(%rsp), %r8d
        movq    %rsi, %rsp
        movq    %rdx, %rax
        cmpw    $0, SL_FRAME_FP_MARK(%rsp)
        je      1f
        xorl    SL_FRAME_FP(%rsp), %ecx
        testl   $MXCSR_CONTROL, %ecx
        jne     2f
3:      cmpw    SL_FRAME_FP_CW(%rsp), %r8w
        jne     4f
1:
        .cfi_remember_state
        restore_registers_and_leave
        .cfi_restore_state

2:      ldmxcsr SL_FRAME_FP(%rsp)
        jmp     3b
4:      fldcw   SL_FRAME_FP_CW(%rsp)
        jmp     1b
        .cfi_endproc
        .size   sl_ctx_switch_fp, . - sl_ctx_switch_fp

/* The return address of a forged first frame.  %rax is the transfer, %r13 the
 * entry function.  Unwinding ends here: there is no caller. */
        .globl  sl_ctx_entry
        .hidden sl_ctx_entry
        .type   sl_ctx_entry, @function
        .p2align 4
sl_ctx_entry:
        .cfi_startproc
        .cfi_undefined %rip
        nop                             /* SL_FRAME_ENTRY_SKIP */
        endbr64
        movq    %rax, %rdi
        movq    %r13, %rsi
        call    sl_context_start
        ud2
        .cfi_endproc
        .size   sl_ctx_entry, . - sl_ctx_entry

/* This object allows IBT; it does not claim SHSTK, whose stacks it does not switch. */
        .section .note.gnu.property, "a", @note
        .p2align 3
        .long   4
        .long   16
        .long   5
        .asciz  "GNU"
        .long   0xc0000002      /* GNU_PROPERTY_X86_FEATURE_1_AND */
        .long   4
        .long   1               /* IBT */
        .long   0

#endif

/* For every processor: an object without this asks for an executable stack. */
        .section .note.GNU-stack, "", %progbits
