/* SPDX-License-Identifier: MIT
 *
 * The frame a suspended context leaves at its stack pointer: shared by the
 * assembly that pushes and pops it and by context.c, which forges the first
 * one.  Byte offsets from the saved stack pointer.
 *
 * FP is the control-word slot.  All zero means "restore nothing"; otherwise
 * SL_FRAME_FP_MARK says that the words in it are to be in force again.
 */
#ifndef SL_CORE_ARCH_FRAME_H
#define SL_CORE_ARCH_FRAME_H

#if defined(__x86_64__)

#define SL_FRAME_FP 0       /* MXCSR 4 bytes, x87 control word 2, mark 2 */
#define SL_FRAME_FP_CW 4
#define SL_FRAME_FP_MARK 6
#define SL_FRAME_R15 8
#define SL_FRAME_R14 16
#define SL_FRAME_R13 24
#define SL_FRAME_R12 32
#define SL_FRAME_RBX 40
#define SL_FRAME_RBP 48
#define SL_FRAME_RETURN 56
#define SL_FRAME_SIZE 64

/* Where sl_ctx_entry looks for the entry function. */
#define SL_FRAME_ENTRY SL_FRAME_R13

/* Bytes into sl_ctx_entry at which a fresh context starts.  Not 0: unwinders
 * look up the byte before a return address, which must be sl_ctx_entry's too. */
#define SL_FRAME_ENTRY_SKIP 1

/* The words that the ABI prescribes at the start of a process. */
#define SL_FP_INITIAL 0x0001037f00001f80

#elif defined(__aarch64__)

#define SL_FRAME_FP 0       /* FPCR; bit 63 is the mark (FPCR has none so high) */
#define SL_FRAME_D8 16      /* d8 to d15 */
#define SL_FRAME_X19 80     /* x19 to x28 */
#define SL_FRAME_X29 160
#define SL_FRAME_RETURN 168 /* x30 */
#define SL_FRAME_SIZE 176

#define SL_FRAME_ENTRY SL_FRAME_X19

/* See above. */
#define SL_FRAME_ENTRY_SKIP 4

#define SL_FP_INITIAL 0x8000000000000000

#else
#error "stackless: no context switch for this processor (x86-64 and AArch64 have one)"
#endif

#endif
