/* SPDX-License-Identifier: MIT
 *
 * Says what happened when a tasklet runs into the guard below its stack,
 * before the process dies of it.  Not a way to survive: the message is
 * written and the fault goes on to whoever handled it before.
 */
#ifndef SL_CORE_OVERFLOW_H
#define SL_CORE_OVERFLOW_H

#include <stddef.h>

/* Writes a name for the tasklet that `label` (sl_stack.label, may be NULL)
 * stands for into `text`, at most `size` bytes with the final NUL.
 * Runs in a signal handler on a small stack: it may only read memory. */
typedef void (*sl_overflow_describe)(const void *label, char *text, size_t size);

/* Installs the handler for SIGSEGV and SIGBUS, once per process; a later call
 * only changes `describe` (NULL: no name).  SL_ENOTSUP if the system refuses. */
int sl_overflow_install(sl_overflow_describe describe);

/* Gives the calling OS thread an alternate signal stack, without which nothing
 * can be said there.  One that somebody else installed is left alone.
 * 0 or SL_ENOMEM. */
int sl_overflow_thread_begin(void);

/* Takes it away again, before the thread ends. */
void sl_overflow_thread_end(void);

#endif
