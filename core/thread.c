/* SPDX-License-Identifier: MIT
 *
 * The start of thread.h.  A thread inherits the mask of who makes it, so that is changed
 * meanwhile: a signal that comes then waits.
 */
#include "thread.h"

#include <stddef.h>

#include "stackless/error.h"

int sl_thread_start(pthread_t *out, void *(*body)(void *), void *arg, const sigset_t *mask)
{
    sigset_t all, own;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, mask ? mask : &all, &own);
    int rc = pthread_create(out, NULL, body, arg);
    pthread_sigmask(SIG_SETMASK, &own, NULL);
    return rc ? SL_ETHREAD : 0;
}
