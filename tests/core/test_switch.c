/* SPDX-License-Identifier: MIT
 *
 * The context switch: order, payload, `after`, control words, depth, migration
 * between OS threads, and the end of the stack as an unwinder sees it.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <string.h>
#include <unwind.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "check.h"
#include "context.h"
#include "stack.h"
#include "stackless/error.h"

static sl_stack_pool *pool;

static sl_stack *new_stack(void)
{
    sl_stack *s;
    CHECK_EQ(sl_stack_get(pool, &s), 0);
    return s;
}

static void free_stack(void *s)
{
    sl_stack_put(pool, s);
}

/* ---- order, payload, after ---------------------------------------------- */

static sl_context home, guest, third;
static char journal[64];

/* A literal as an argument that nobody writes to. */
#define S(literal) ((char[]){literal})

static void note(const char *what)
{
    CHECK(strlen(journal) + strlen(what) < sizeof journal);
    strcat(journal, what);
}

static void note_after(void *what)
{
    note(what);
}

static void journal_entry(void *payload)
{
    note(payload);
    note(sl_switch_to(&guest, &home, note_after, S("[c]"), S("d")));
    sl_switch_final(&guest, &home, note_after, S("[f]"), S("g"));
}

static void order_and_payload(void)
{
    sl_stack *s = new_stack();
    journal[0] = '\0';
    sl_context_native(&home, false);
    sl_context_make(&guest, s, journal_entry, false);
    note(sl_switch_to(&home, &guest, note_after, S("[a]"), S("b")));
    note(sl_switch_to(&home, &guest, NULL, NULL, S("e")));
    CHECK(strcmp(journal, "[a]b[c]de[f]g") == 0);
    free_stack(s);
}

/* `after` must run on the far stack, with the near context complete: the
 * callback itself resumes it, which can only work once it has been left. */
static const char *after_stack;

static void resume_the_one_that_left(void *left)
{
    char here;
    after_stack = &here;
    sl_context *self = &third;
    sl_switch_to(self, left, NULL, NULL, S("resumed by after"));
}

static void after_entry(void *payload)
{
    (void)payload;
    CHECK(!"only `after` runs here");
}

static void after_runs_on_the_far_side(void)
{
    sl_stack *s = new_stack();
    sl_context_native(&home, false);
    sl_context_make(&third, s, after_entry, false);
    const char *got = sl_switch_to(&home, &third, resume_the_one_that_left, &home, NULL);
    CHECK(strcmp(got, "resumed by after") == 0);
#if !SL_ASAN /* whose locals may live elsewhere */
    CHECK(after_stack >= s->base && after_stack < s->base + s->size);
#endif
    free_stack(s);
}

/* A finished context gives its own stack away, and the next one takes it. */
static sl_stack *own_stack;

static void one_shot(void *counter)
{
    ++*(int *)counter;
    sl_switch_final(&guest, &home, free_stack, own_stack, counter);
}

static void stack_given_away_by_after(void)
{
    int runs = 0;
    sl_stack *first = NULL;
    sl_context_native(&home, false);
    for (int i = 0; i < 1000; i++) {
        own_stack = new_stack();
        if (!first)
            first = own_stack;
        CHECK(own_stack == first); /* LIFO */
        sl_context_make(&guest, own_stack, one_shot, i % 2);
        CHECK(sl_switch_to(&home, &guest, NULL, NULL, &runs) == &runs);
    }
    CHECK_EQ(runs, 1000);
}

/* ---- registers ----------------------------------------------------------- */

/* Keeps many values alive over a switch, so that some sit in each of the
 * callee-saved registers; returns a sum that any lost one would change. */
__attribute__((noinline)) static uint64_t work_over_switches(sl_context *self, sl_context *other, uint64_t seed)
{
    uint64_t a = seed, b = seed * 3, c = seed * 5, d = seed * 7, e = seed * 11, f = seed * 13, g = seed * 17;
    double x = (double)seed, y = x * 3, z = x * 5;
    for (int i = 0; i < 1000; i++) {
        sl_switch_to(self, other, NULL, NULL, NULL);
        a += b, b ^= c, c += d, d ^= e, e += f, f ^= g, g += a;
        x += y * 0.5, y += z * 0.25, z += 1;
    }
    return a + b + c + d + e + f + g + (uint64_t)(x + y + z);
}

static uint64_t guest_sum;

static void register_entry(void *payload)
{
    (void)payload;
    guest_sum = work_over_switches(&guest, &home, 12345);
    sl_switch_final(&guest, &home, NULL, NULL, NULL);
}

static void nothing_entry(void *payload)
{
    (void)payload;
    for (;;)
        sl_switch_to(&third, &home, NULL, NULL, NULL);
}

static void registers_survive(bool fp)
{
    sl_stack *s = new_stack(), *t = new_stack();
    sl_context_native(&home, fp);
    sl_context_make(&third, t, nothing_entry, fp);
    uint64_t expected_guest = work_over_switches(&home, &third, 12345);
    uint64_t expected_home = work_over_switches(&home, &third, 999);
    sl_context_make(&guest, s, register_entry, fp);
    CHECK(work_over_switches(&home, &guest, 999) == expected_home);
    sl_switch_to(&home, &guest, NULL, NULL, NULL);
    CHECK(guest_sum == expected_guest && expected_guest != expected_home);
    free_stack(t);
    free_stack(s);
}

static void registers_survive_plain(void)
{
    registers_survive(false);
}

static void registers_survive_fp(void)
{
    registers_survive(true);
}

/* ---- control words -------------------------------------------------------- */

#if defined(__x86_64__)
typedef struct words {
    unsigned mxcsr;
    unsigned short cw;
} words;

static words get_words(void)
{
    words w = {.mxcsr = _mm_getcsr() & 0xffc0};
    __asm__ __volatile__("fnstcw %0" : "=m"(w.cw));
    return w;
}

static void set_words(unsigned rounding)
{
    unsigned short cw = (unsigned short)(0x037f | rounding << 10);
    _mm_setcsr(0x1f80 | rounding << 13);
    __asm__ __volatile__("fldcw %0" : : "m"(cw));
}
#else
typedef struct words {
    uint64_t fpcr;
} words;

static words get_words(void)
{
    words w;
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(w.fpcr));
    return w;
}

static void set_words(unsigned rounding)
{
    uint64_t fpcr = (uint64_t)rounding << 22;
    __asm__ __volatile__("msr fpcr, %0" : : "r"(fpcr));
}
#endif

static bool same(words a, words b)
{
#if defined(__x86_64__)
    return a.mxcsr == b.mxcsr && a.cw == b.cw;
#else
    return a.fpcr == b.fpcr;
#endif
}

static words seen_by_guest[2];

static void fp_entry(void *payload)
{
    (void)payload;
    seen_by_guest[0] = get_words();
    set_words(2);
    words mine = get_words();
    sl_switch_to(&guest, &home, NULL, NULL, NULL);
    seen_by_guest[1] = get_words();
    CHECK(same(seen_by_guest[1], mine));
    sl_switch_final(&guest, &home, NULL, NULL, NULL);
}

static void fp_words_travel_with_their_context(void)
{
    words initial = get_words();
    sl_stack *s = new_stack();
    sl_context_native(&home, true);
    set_words(1);
    words mine = get_words();
    CHECK(!same(initial, mine));
    sl_context_make(&guest, s, fp_entry, true);
    sl_switch_to(&home, &guest, NULL, NULL, NULL);
    CHECK(same(get_words(), mine));
    CHECK(same(seen_by_guest[0], initial)); /* a fresh context starts with the ABI's */
    set_words(3);
    mine = get_words();
    sl_switch_to(&home, &guest, NULL, NULL, NULL);
    CHECK(same(get_words(), mine)); /* also after the plain switch of switch_final */
    set_words(0);
    CHECK(same(get_words(), initial));
    free_stack(s);
}

static void loose_entry(void *payload)
{
    (void)payload;
    seen_by_guest[0] = get_words();
    sl_switch_to(&guest, &home, NULL, NULL, NULL);
    seen_by_guest[1] = get_words();
    sl_switch_final(&guest, &home, NULL, NULL, NULL);
}

static void plain_contexts_take_the_words_they_find(void)
{
    sl_stack *s = new_stack();
    sl_context_native(&home, true);
    set_words(1);
    words first = get_words();
    sl_context_make(&guest, s, loose_entry, false);
    sl_switch_to(&home, &guest, NULL, NULL, NULL);
    CHECK(same(seen_by_guest[0], first));
    set_words(2);
    words second = get_words();
    sl_switch_to(&home, &guest, NULL, NULL, NULL);
    CHECK(same(seen_by_guest[1], second));
    set_words(0);
    free_stack(s);
}

/* ---- a chain of contexts --------------------------------------------------- */

#define DEPTH 1000

typedef struct link {
    sl_context context, *back;
    sl_stack *stack;
    struct link *links;
    int index;
} link_t;

/* Each starts the next; the last turns round; each adds itself on the way. */
static void link_entry(void *payload)
{
    link_t *self = payload;
    intptr_t below = 0;
    if (self->index + 1 < DEPTH)
        below = (intptr_t)sl_switch_to(&self->context, &self->links[self->index + 1].context, NULL, NULL,
                                       &self->links[self->index + 1]);
    sl_switch_final(&self->context, self->back, free_stack, self->stack, (void *)(below + self->index));
}

static void chain_of_1000(void)
{
    link_t *links = calloc(DEPTH, sizeof *links);
    CHECK(links);
    sl_context_native(&home, false);
    for (int i = 0; i < DEPTH; i++) {
        links[i].index = i;
        links[i].links = links;
        links[i].stack = new_stack();
        links[i].back = i ? &links[i - 1].context : &home;
        sl_context_make(&links[i].context, links[i].stack, link_entry, i % 3 == 0);
    }
    intptr_t sum = (intptr_t)sl_switch_to(&home, &links[0].context, NULL, NULL, &links[0]);
    CHECK_EQ(sum, DEPTH * (DEPTH - 1) / 2);
    free(links);
}

/* ---- migration between OS threads ------------------------------------------ */

#define HOPS 2000

static sem_t turn[2];
static sl_context host[2], traveller;
static __thread int thread_number;
static int wrong_thread, hops_done;

/* noinline: the address of a thread-local variable is stale after a switch. */
__attribute__((noinline)) static int current_thread(void)
{
    int n = *(volatile int *)&thread_number;
    __asm__ __volatile__("" ::: "memory");
    return n;
}

static void pass_turn(void *other)
{
    sem_post(other);
}

static void traveller_entry(void *payload)
{
    (void)payload;
    for (int i = 0; i < HOPS; i++) {
        int here = i % 2;
        wrong_thread += current_thread() != here;
        hops_done++;
        /* Back to the host of this thread; only then may the other resume us. */
        sl_switch_to(&traveller, &host[here], pass_turn, &turn[!here], NULL);
    }
    sl_switch_final(&traveller, &host[HOPS % 2], pass_turn, &turn[!(HOPS % 2)], NULL);
}

static void *host_thread(void *arg)
{
    int me = (int)(intptr_t)arg;
    thread_number = me;
    sl_context_native(&host[me], false);
    for (int i = 0; i < HOPS / 2 + (me == 0); i++) {
        while (sem_wait(&turn[me]) != 0)
            ;
        sl_switch_to(&host[me], &traveller, NULL, NULL, NULL);
    }
    return NULL;
}

static void migration(void)
{
    pthread_t threads[2];
    sl_stack *s = new_stack();
    sem_init(&turn[0], 0, 1);
    sem_init(&turn[1], 0, 0);
    sl_context_make(&traveller, s, traveller_entry, true);
    for (intptr_t i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, host_thread, (void *)i), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(hops_done, HOPS);
    CHECK_EQ(wrong_thread, 0);
    free_stack(s);
}

/* ---- unwinding --------------------------------------------------------------- */

static _Unwind_Reason_Code count_frame(struct _Unwind_Context *uc, void *arg)
{
    (void)uc;
    return ++*(int *)arg > 1000 ? _URC_NORMAL_STOP : _URC_NO_REASON;
}

static int frames, unwind_result;

__attribute__((noinline)) static void unwind_here(int depth)
{
    if (depth > 0) {
        unwind_here(depth - 1);
        __asm__ __volatile__(""); /* no tail call */
        return;
    }
    frames = 0;
    unwind_result = _Unwind_Backtrace(count_frame, &frames);
    __asm__ __volatile__("");
}

static void unwind_entry(void *payload)
{
    (void)payload;
    unwind_here(5);
    sl_switch_to(&guest, &home, NULL, NULL, NULL);
    unwind_here(5);
    sl_switch_final(&guest, &home, NULL, NULL, NULL);
}

static void backtrace_ends_at_the_entry(void)
{
    sl_stack *s = new_stack();
    sl_context_native(&home, false);
    sl_context_make(&guest, s, unwind_entry, false);
    for (int i = 0; i < 2; i++) {
        sl_switch_to(&home, &guest, NULL, NULL, NULL);
        CHECK_EQ(unwind_result, _URC_END_OF_STACK);
        /* 6 of unwind_here, entry, sl_context_start, sl_ctx_entry; inlining
         * may hide some and never adds any. */
        CHECK(frames >= 3 && frames <= 10);
    }
    free_stack(s);
}

int main(void)
{
    int rc = sl_context_supported();
    if (rc == SL_ESHSTK)
        SKIP(sl_strerror(rc));
    CHECK_EQ(rc, 0);
    CHECK_EQ(sl_stack_pool_create(&pool, SL_STACK_DEFAULT), 0);
    RUN(order_and_payload);
    RUN(after_runs_on_the_far_side);
    RUN(stack_given_away_by_after);
    RUN(registers_survive_plain);
    RUN(registers_survive_fp);
    RUN(fp_words_travel_with_their_context);
    RUN(plain_contexts_take_the_words_they_find);
    RUN(chain_of_1000);
    RUN(migration);
    RUN(backtrace_ends_at_the_entry);
    sl_stack_pool_destroy(pool);
    return 0;
}
