/* SPDX-License-Identifier: MIT
 *
 * A linearizability checker for channels: is there an order of the recorded
 * operations, each at a point between its begin and its end, that a channel
 * of the book could have done?  Not for liveness: what hangs is found by the
 * caller's patience.
 *
 * The channel of the book, for each of up to LIN_CHANNELS in one history:
 *   a queue of at most `capacity` values and a closed flag;
 *   capacity 0: a send and the receive of its value happen at one point;
 *   SL_ECLOSED: a send finds it closed, a receive closed and empty;
 *   SL_EAGAIN and also SL_ETIMEDOUT, SL_ECANCELLED: open and full (empty) at
 *   some point.  With capacity 0: open; whether a partner was already waiting
 *   is not to be seen from outside.
 */
#ifndef TESTS_SCHED_NATIVE_LIN_H
#define TESTS_SCHED_NATIVE_LIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LIN_CHANNELS = 2, LIN_CAPACITY = 4, LIN_OPS = 64 };

enum lin_kind { LIN_SEND, LIN_RECEIVE, LIN_CLOSE, LIN_LENGTH, LIN_NEITHER };

typedef struct lin_op {
    uint8_t kind;      /* NEITHER: a select that did nothing */
    uint8_t channel;
    uint8_t actor;     /* for reports */
    const char *call;  /* for reports */
    int result;        /* 0 or a code; LENGTH: the length */
    uint32_t value;    /* sent or received */
    /* NEITHER: the cases that were not ready at one point, as bits: 1 << 2 * channel to
     * receive, twice that to send. */
    uint8_t blocked;
    uint64_t begin, end; /* of one clock, all different */
} lin_op;

typedef struct lin_history {
    unsigned n;
    unsigned capacity[LIN_CHANNELS];
    lin_op op[LIN_OPS];
} lin_history;

bool lin_check(const lin_history *h);
void lin_print(const lin_history *h);

#endif
