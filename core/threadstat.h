/* SPDX-License-Identifier: MIT
 *
 * What the kernel knows of another thread of this process: whether it sleeps,
 * and whether it has woken since an earlier look.  Not for timing anything.
 */
#ifndef SL_CORE_THREADSTAT_H
#define SL_CORE_THREADSTAT_H

/* How often the thread has gone to sleep so far, if it is asleep now; -1 if it
 * is not, or the kernel does not say.  `tid` is a kernel thread id.  A look
 * takes some 20 us. */
long long sl_thread_asleep(unsigned tid);

#endif
