/* SPDX-License-Identifier: MIT
 *
 * Assertions for the C tests of core/.  A failed check says where and ends the
 * program with 1; CHECK stays on in release builds.  Exit code 77 is a skip.
 */
#ifndef TESTS_CORE_CHECK_H
#define TESTS_CORE_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                     \
    do {                                                                                     \
        if (!(condition)) {                                                                  \
            fprintf(stderr, "%s:%d: %s: failed: %s\n", __FILE__, __LINE__, __func__, #condition); \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

#define CHECK_EQ(actual, wanted)                                                             \
    do {                                                                                     \
        long long actual_ = (long long)(actual), wanted_ = (long long)(wanted);              \
        if (actual_ != wanted_) {                                                            \
            fprintf(stderr, "%s:%d: %s: %s is %lld, not %lld\n", __FILE__, __LINE__, __func__, #actual, \
                    actual_, wanted_);                                                       \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

#define SKIP(why)                                 \
    do {                                          \
        fprintf(stderr, "skipped: %s\n", why);    \
        exit(77);                                 \
    } while (0)

/* How many: fewer where ThreadSanitizer looks on, to which each stack is a thread:
 * it takes milliseconds to make one, and 8128 is the most. */
#if defined(__SANITIZE_THREAD__)
#define MANY_OR(normal, under_tsan) (under_tsan)
#else
#define MANY_OR(normal, under_tsan) (normal)
#endif

#define RUN(test)                             \
    do {                                      \
        fprintf(stderr, "%s\n", #test);       \
        test();                               \
    } while (0)

#endif
