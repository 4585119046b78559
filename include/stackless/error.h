/* SPDX-License-Identifier: MIT
 *
 * Error codes of the C library.  Every function that can fail returns 0 or one
 * of these negative codes; errno is never part of an interface, because it
 * belongs to the OS thread and a tasklet may change threads in any call that
 * switches.
 */
#ifndef STACKLESS_ERROR_H
#define STACKLESS_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#define SL_API __attribute__((visibility("default")))

enum sl_error {
    SL_OK = 0,
    SL_ENOMEM = -1,     /* memory or address space ran out */
    SL_ETHREAD = -2,    /* the system refused another OS thread */
    SL_EINVAL = -3,     /* an argument is outside its documented range */
    SL_ETIMEDOUT = -4,  /* the deadline passed first */
    SL_EINTR = -5,      /* a signal arrived while the thread waited */
    SL_ECLOSED = -6,    /* the channel is closed, or the descriptor was while it was waited for */
    SL_EPOLL = -7,      /* the kernel refused a descriptor or a poller */
    SL_ESHSTK = -8,     /* user shadow stacks are on; the switch cannot serve them */
    SL_ENOTSUP = -9,    /* this kernel or processor lacks what is needed */
    SL_ENOTASKLET = -10, /* only a tasklet may call this */
    SL_ECANCELLED = -11, /* the waiting tasklet was cancelled */
    SL_EDEADLK = -12,   /* the caller would wait for itself */
    SL_EAGAIN = -13,    /* it would have to wait */
    SL_EBUSY = -14      /* somebody still waits on it */
};

/* One English sentence for a code, never NULL; unknown codes say so.  Callable
 * from any thread, switches nothing, allocates nothing. */
SL_API const char *sl_strerror(int code);

#ifdef __cplusplus
}
#endif
#endif
