/* SPDX-License-Identifier: MIT
 *
 * Guards below stacks: how they are made on this kernel and how many more may
 * be made.  For stack.c; tests use sl_guard_force().
 */
#ifndef SL_CORE_STACK_GUARD_H
#define SL_CORE_STACK_GUARD_H

#include <stddef.h>

enum sl_guard_kind {
    SL_GUARD_NONE,     /* no guard; of the process: not known yet */
    SL_GUARD_MADVISE,  /* MADV_GUARD_INSTALL: costs no mapping */
    SL_GUARD_MPROTECT, /* PROT_NONE: costs two mappings each, so a budget applies */
};

/* Makes `size` bytes at `at` untouchable and says how; NONE if it could not be
 * done or the budget is spent.  Any thread. */
enum sl_guard_kind sl_guard_install(void *at, size_t size);

/* `count` guards made by mprotect are gone with their memory. */
void sl_guard_forget(size_t count);

/* How guards are made here; NONE until the first one. */
enum sl_guard_kind sl_guard_kind(void);

/* For tests: use this kind from now on, with this many mappings to spend
 * (0: the default budget). */
void sl_guard_force(enum sl_guard_kind kind, size_t mappings);

#endif
