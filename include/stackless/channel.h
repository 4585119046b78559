/* SPDX-License-Identifier: MIT
 *
 * Channels: typed by element size, capacity 0 (rendezvous) or n.
 *
 * Senders and receivers are tasklets, of one pool or of several.  Messages of one
 * sender arrive in their order; waiters are served first come, first served.
 * After sl_channel_close() senders get SL_ECLOSED, receivers first get what is
 * buffered, then SL_ECLOSED.  All calls may be made by any tasklet at any
 * time; those marked (any) by any OS thread too.
 */
#ifndef STACKLESS_CHANNEL_H
#define STACKLESS_CHANNEL_H

#include <stackless/pool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sl_channel sl_channel;

/* `size`: bytes of an element, 0 to 65536.  `capacity`: elements that a send may
 * leave behind without a receiver, 0 to 2^24.  SL_EINVAL, SL_ENOMEM.  `where` is
 * shown in reports, and not copied; the macro sl_channel_create() fills in file
 * and line.  (any) */
SL_API int sl_channel_create_at(sl_channel **out, size_t size, size_t capacity, const char *where);
SL_API int sl_channel_create(sl_channel **out, size_t size, size_t capacity);
#define sl_channel_create(out, size, capacity) sl_channel_create_at(out, size, capacity, SL_HERE)
/* Nobody may use it any more; SL_EBUSY while tasklets wait on it.  (any) */
SL_API int sl_channel_destroy(sl_channel *c);
/* Wakes all waiters with SL_ECLOSED.  SL_ECLOSED when it was closed.  (any) */
SL_API int sl_channel_close(sl_channel *c);

/* Blocking forms; may switch.  `value` is copied in or out before they return.
 * 0, SL_ECLOSED, SL_ETIMEDOUT, SL_ECANCELLED, SL_ENOTASKLET. */
SL_API int sl_send(sl_channel *c, const void *value);
SL_API int sl_receive(sl_channel *c, void *value);
SL_API int sl_send_until(sl_channel *c, const void *value, int64_t deadline);
SL_API int sl_receive_until(sl_channel *c, void *value, int64_t deadline);
/* Now or SL_EAGAIN.  (any) */
SL_API int sl_try_send(sl_channel *c, const void *value);
SL_API int sl_try_receive(sl_channel *c, void *value);
/* `n` elements side by side; wait for the first, then take what can be had
 * without waiting: how many (1..n), or a code. */
SL_API ptrdiff_t sl_send_many(sl_channel *c, const void *values, size_t n, int64_t deadline);
SL_API ptrdiff_t sl_receive_many(sl_channel *c, void *values, size_t n, int64_t deadline);

/* Elements buffered; tasklets that wait to send or to receive.  Exact when
 * nothing runs.  (any) */
SL_API size_t sl_channel_length(sl_channel *c);
SL_API size_t sl_channel_waiting(sl_channel *c, bool senders);
SL_API size_t sl_channel_capacity(sl_channel *c);
SL_API bool sl_channel_closed(sl_channel *c);

/* One arm of a select.  A NULL channel is never ready. */
typedef struct sl_case {
    sl_channel *channel;
    void *value;    /* sent from, or received to */
    bool send;
    int status;     /* out, of the chosen case: 0 or SL_ECLOSED */
} sl_case;

/* Does exactly one of `n` (1 to 65535) cases: its index, or SL_ETIMEDOUT,
 * SL_ECANCELLED, SL_EINVAL, SL_ENOTASKLET, SL_ENOMEM (only above 8 cases).
 * Among several ready ones the choice is random.
 * A closed channel makes its case ready with SL_ECLOSED.  May switch.
 * Deadline 0 is the default case: SL_EAGAIN when none is ready. */
SL_API int sl_select(sl_case *cases, size_t n, int64_t deadline);

#ifdef __cplusplus
}
#endif
#endif
