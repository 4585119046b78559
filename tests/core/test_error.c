/* SPDX-License-Identifier: MIT
 *
 * Every error code has its own sentence; everything else says it is unknown.
 */
#include <limits.h>
#include <string.h>

#include "check.h"
#include "stackless/error.h"

/* A switch without default: a code added to the enum and not here is a
 * compiler warning, which is an error in CI. */
static int is_code(int code)
{
    switch ((enum sl_error)code) {
    case SL_OK:
    case SL_ENOMEM:
    case SL_ETHREAD:
    case SL_EINVAL:
    case SL_ETIMEDOUT:
    case SL_EINTR:
    case SL_ECLOSED:
    case SL_EPOLL:
    case SL_ESHSTK:
    case SL_ENOTSUP:
    case SL_ENOTASKLET:
    case SL_ECANCELLED:
    case SL_EDEADLK:
    case SL_EAGAIN:
    case SL_EBUSY:
        return 1;
    }
    return 0;
}

int main(void)
{
    const char *unknown = sl_strerror(1);
    int codes = 0;
    CHECK(unknown && unknown[0]);
    for (int code = -100; code <= 100; code++) {
        const char *s = sl_strerror(code);
        CHECK(s && s[0]);
        CHECK((strcmp(s, unknown) != 0) == is_code(code));
        codes += is_code(code);
        for (int other = -100; is_code(code) && other < code; other++)
            CHECK(!is_code(other) || strcmp(s, sl_strerror(other)) != 0);
    }
    CHECK_EQ(codes, 15);
    CHECK(strcmp(sl_strerror(INT_MIN), unknown) == 0);
    CHECK(strcmp(sl_strerror(INT_MAX), unknown) == 0);
    return 0;
}
