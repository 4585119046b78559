/* SPDX-License-Identifier: MIT
 *
 * The search of lin.h: depth first over what could have come next (Wing and
 * Gong), with a table of the situations that led nowhere (Lowe).
 */
#include "lin.h"

#include <stdio.h>
#include <string.h>

#include "stackless/error.h"

typedef struct book {
    uint32_t queue[LIN_CAPACITY];
    unsigned count;
    bool closed;
} book;

typedef struct state {
    uint64_t done; /* operations in the order so far, as bits */
    book channel[LIN_CHANNELS];
} state;

enum { TABLE = 1 << 16 };

/* A situation is known by 64 bits of hash; that two collide and hide an order
 * would be a false alarm, never a miss. */
static _Thread_local uint64_t seen[TABLE];
static _Thread_local uint64_t salt;

static uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static uint64_t hash(const state *s)
{
    uint64_t h = mix(salt, s->done);
    for (int c = 0; c < LIN_CHANNELS; c++) {
        const book *b = &s->channel[c];
        h = mix(h, b->count * 2 + b->closed);
        for (unsigned i = 0; i < b->count; i++)
            h = mix(h, b->queue[i] + 1);
    }
    return h | 1;
}

/* Open, and nothing to be had (sent) now? */
static bool blocked(const lin_history *h, const state *s, int channel, bool send)
{
    const book *b = &s->channel[channel];
    unsigned capacity = h->capacity[channel];
    return !b->closed && (capacity == 0 || (send ? b->count == capacity : b->count == 0));
}

/* One operation alone, other than half of a pair, if the book allows it now. */
static bool apply(const lin_history *h, state *s, const lin_op *o)
{
    book *b = &s->channel[o->channel];
    unsigned capacity = h->capacity[o->channel];
    switch (o->kind) {
    case LIN_CLOSE:
        if (b->closed != (o->result == SL_ECLOSED))
            return false;
        b->closed = true;
        return true;
    case LIN_LENGTH:
        return (unsigned)o->result == b->count;
    case LIN_NEITHER:
        for (int i = 0; i < 2 * LIN_CHANNELS; i++)
            if (o->blocked >> i & 1 && !blocked(h, s, i / 2, i % 2 != 0))
                return false;
        return true;
    }
    bool send = o->kind == LIN_SEND;
    if (o->result == SL_ECLOSED)
        return b->closed && (send || b->count == 0);
    if (o->result != 0)
        return blocked(h, s, o->channel, send);
    if (capacity == 0)
        return false;
    if (send) {
        if (b->closed || b->count == capacity)
            return false;
        b->queue[b->count++] = o->value;
        return true;
    }
    if (b->count == 0 || b->queue[0] != o->value)
        return false;
    memmove(b->queue, b->queue + 1, --b->count * sizeof *b->queue);
    return true;
}

static bool half_of_pair(const lin_history *h, const lin_op *o)
{
    return o->kind <= LIN_RECEIVE && o->result == 0 && h->capacity[o->channel] == 0;
}

/* The receive of the value that `o` sends, among those that may come next. */
static int partner(const lin_history *h, const state *s, const lin_op *o, uint64_t limit)
{
    for (unsigned i = 0; i < h->n; i++) {
        const lin_op *p = &h->op[i];
        if (!(s->done >> i & 1) && p->begin < limit && p->kind == LIN_RECEIVE && p->result == 0 &&
            p->channel == o->channel && p->value == o->value)
            return (int)i;
    }
    return -1;
}

static bool search(const lin_history *h, const state *s)
{
    uint64_t limit = UINT64_MAX;
    for (unsigned i = 0; i < h->n; i++)
        if (!(s->done >> i & 1) && h->op[i].end < limit)
            limit = h->op[i].end;
    if (limit == UINT64_MAX)
        return true;
    uint64_t key = hash(s), *known = &seen[key >> 20 & (TABLE - 1)];
    if (*known == key)
        return false;
    for (unsigned i = 0; i < h->n; i++) {
        const lin_op *o = &h->op[i];
        if (s->done >> i & 1 || o->begin >= limit)
            continue;
        state next = *s;
        next.done |= (uint64_t)1 << i;
        if (half_of_pair(h, o)) {
            int p = o->kind == LIN_SEND && !s->channel[o->channel].closed ? partner(h, s, o, limit) : -1;
            if (p < 0)
                continue;
            next.done |= (uint64_t)1 << p;
        } else if (!apply(h, &next, o)) {
            continue;
        }
        if (search(h, &next))
            return true;
    }
    *known = key;
    return false;
}

bool lin_check(const lin_history *h)
{
    state s = {0};
    salt += 0x632be59bd9b4e019u; /* forgets the table */
    return search(h, &s);
}

void lin_print(const lin_history *h)
{
    static const char *const names[] = {"send", "receive", "close", "length", "neither"};
    fprintf(stderr, "capacities %u %u\n", h->capacity[0], h->capacity[1]);
    for (unsigned i = 0; i < h->n; i++) {
        const lin_op *o = &h->op[i];
        fprintf(stderr, "%6llu..%-6llu actor %2u %-14s %-7s channel %u  value %3u  result %d\n",
                (unsigned long long)o->begin, (unsigned long long)o->end, o->actor, o->call, names[o->kind],
                o->channel, o->value, o->result);
    }
}
