/* SPDX-License-Identifier: MIT
 *
 * The sentences behind the error codes: one table, in the order of the enum.
 */
#include "stackless/error.h"

#define SENTENCE(code) [-(code)]

static const char *const sentences[] = {
    SENTENCE(SL_OK) = "no error",
    SENTENCE(SL_ENOMEM) = "memory or address space ran out",
    SENTENCE(SL_ETHREAD) = "the system refused to start another thread",
    SENTENCE(SL_EINVAL) = "an argument is outside its documented range",
    SENTENCE(SL_ETIMEDOUT) = "the deadline passed first",
    SENTENCE(SL_EINTR) = "a signal arrived while the thread waited",
    SENTENCE(SL_ECLOSED) = "the channel is closed, or the descriptor was closed while it was waited for",
    SENTENCE(SL_EPOLL) = "the kernel refused a descriptor or a poller",
    SENTENCE(SL_ESHSTK) = "user shadow stacks are switched on, and stack switching does not support them",
    SENTENCE(SL_ENOTSUP) = "this kernel or processor lacks something that is needed",
    SENTENCE(SL_ENOTASKLET) = "only a tasklet may call this",
    SENTENCE(SL_ECANCELLED) = "the waiting tasklet was cancelled",
    SENTENCE(SL_EDEADLK) = "the caller would wait for itself",
    SENTENCE(SL_EAGAIN) = "it would have to wait",
    SENTENCE(SL_EBUSY) = "somebody still waits on it",
};

const char *sl_strerror(int code)
{
    int count = (int)(sizeof sentences / sizeof *sentences);
    if (code > 0 || code <= -count || !sentences[-code])
        return "unknown error code";
    return sentences[-code];
}
