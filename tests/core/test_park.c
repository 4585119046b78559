/* SPDX-License-Identifier: MIT
 *
 * Parking: the permit before and after the sleep, deadlines, signals, and that
 * no wake is lost however the two sides interleave.  Also the lock.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "lock.h"
#include "park.h"
#include "stackless/error.h"

#define SECOND ((int64_t)1000000000)

/* Long enough that reaching it means the wake was lost. */
static int64_t hopeless(void)
{
    return sl_deadline_after(sl_now(), 120 * SECOND);
}

static void permit_before(void)
{
    sl_parker p;
    sl_parker_init(&p);
    sl_unpark(&p);
    sl_unpark(&p); /* one permit, not two */
    CHECK_EQ(sl_park(&p, hopeless()), 0);
    CHECK_EQ(sl_park(&p, sl_now()), SL_ETIMEDOUT);
}

static void timeout(void)
{
    sl_parker p;
    sl_parker_init(&p);
    int64_t deadline = sl_deadline_after(sl_now(), SECOND / 50);
    CHECK_EQ(sl_park(&p, deadline), SL_ETIMEDOUT);
    CHECK(sl_now() >= deadline);
    CHECK_EQ(sl_park(&p, 0), SL_ETIMEDOUT);
    CHECK_EQ(sl_park(&p, -5), SL_ETIMEDOUT);
    sl_unpark(&p); /* a permit is taken even when the deadline has passed */
    CHECK_EQ(sl_park(&p, 0), 0);
}

static void deadlines_do_not_overflow(void)
{
    CHECK(sl_deadline_after(5, -1) == 5);
    CHECK(sl_deadline_after(5, 10) == 15);
    CHECK(sl_deadline_after(5, SL_NEVER) == SL_NEVER);
    CHECK(sl_deadline_after(SL_NEVER - 1, 2) == SL_NEVER);
}

/* ---- a sleeper in another thread --------------------------------------------- */

typedef struct sleeper {
    sl_parker parker;
    pthread_t thread;
    int64_t deadline;
    int result;
    int data; /* plain: ordered by the permit */
    int seen;
} sleeper;

static void *sleep_once(void *arg)
{
    sleeper *s = arg;
    s->result = sl_park(&s->parker, s->deadline);
    s->seen = s->data;
    return NULL;
}

static void start(sleeper *s, int64_t deadline)
{
    memset(s, 0, sizeof *s);
    sl_parker_init(&s->parker);
    s->deadline = deadline;
    CHECK_EQ(pthread_create(&s->thread, NULL, sleep_once, s), 0);
}

/* Until the sleeper is about to sleep or does. */
static void wait_until_parked(sleeper *s)
{
    int64_t deadline = hopeless();
    while (sl_load_relaxed32(&s->parker.word) != 1) {
        CHECK(sl_now() < deadline);
        usleep(100);
    }
}

static void permit_after(void)
{
    sleeper s;
    start(&s, SL_NEVER);
    wait_until_parked(&s);
    usleep(1000); /* most likely in the kernel by now; either way it must wake */
    s.data = 7;
    sl_unpark(&s.parker);
    pthread_join(s.thread, NULL);
    CHECK_EQ(s.result, 0);
    CHECK_EQ(s.seen, 7);
    CHECK_EQ(sl_load_relaxed32(&s.parker.word), 0);
}

static void on_signal(int sig)
{
    (void)sig;
}

static void signal_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    sleeper s;
    start(&s, hopeless());
    /* A signal that comes before the sleep interrupts nothing: repeat it. */
    wait_until_parked(&s);
    int64_t deadline = hopeless();
    while (sl_load_relaxed32(&s.parker.word) == 1) {
        CHECK(sl_now() < deadline);
        pthread_kill(s.thread, SIGUSR1);
        usleep(1000);
    }
    pthread_join(s.thread, NULL);
    CHECK_EQ(s.result, SL_EINTR);
    CHECK_EQ(sl_park(&s.parker, 0), SL_ETIMEDOUT); /* no permit was made up */
}

/* ---- no wake is lost ------------------------------------------------------------- */

#define MESSAGES 100000

typedef struct pair {
    sl_parker parker[2];
    int ball; /* plain: whoever holds the permit may touch it */
} pair;

static pair table;
static char lost[] = "a wake was lost", out_of_turn[] = "out of turn";

static void *play(void *arg)
{
    int me = (int)(intptr_t)arg;
    for (int i = 0; i < MESSAGES; i++) {
        if (sl_park(&table.parker[me], hopeless()) != 0)
            return lost;
        if (table.ball++ != 2 * i + me)
            return out_of_turn;
        sl_unpark(&table.parker[!me]);
    }
    return NULL;
}

static void ping_pong(void)
{
    pthread_t threads[2];
    void *error[2];
    sl_parker_init(&table.parker[0]);
    sl_parker_init(&table.parker[1]);
    for (intptr_t i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, play, (void *)i), 0);
    sl_unpark(&table.parker[0]);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], &error[i]);
    for (int i = 0; i < 2; i++)
        if (error[i])
            fprintf(stderr, "%s\n", (char *)error[i]);
    CHECK(!error[0] && !error[1]);
    CHECK_EQ(table.ball, 2 * MESSAGES);
}

/* Publish, then unpark, against look, then park, with deadlines that expire at
 * any moment: the sleeper must see each number in the end. */
static sl_parker lone;
static sl_atomic32 published, consumed;

static void *publisher(void *arg)
{
    (void)arg;
    for (unsigned i = 1; i <= MESSAGES; i++) {
        sl_store_release32(&published, i);
        sl_unpark(&lone);
        if (i % 64 == 0) /* let the sleeper run dry */
            while (sl_load_acquire32(&consumed) != i)
                sl_cpu_pause();
    }
    return NULL;
}

static void short_deadlines_lose_nothing(void)
{
    pthread_t thread;
    sl_parker_init(&lone);
    CHECK_EQ(pthread_create(&thread, NULL, publisher, NULL), 0);
    int64_t give_up = hopeless();
    unsigned seen = 0, rounds = 0;
    while (seen < MESSAGES) {
        unsigned now = sl_load_acquire32(&published);
        if (now != seen) {
            seen = now;
            sl_store_release32(&consumed, seen);
            continue;
        }
        int rc = sl_park(&lone, rounds++ % 2 ? sl_now() + rounds % 20000 : SL_NEVER);
        CHECK(rc == 0 || rc == SL_ETIMEDOUT);
        CHECK(sl_now() < give_up);
    }
    pthread_join(thread, NULL);
}

/* ---- the lock ----------------------------------------------------------------------- */

static sl_lock lock = SL_LOCK_INIT;
static long counter; /* plain: the lock's */

static void *add_up(void *arg)
{
    (void)arg;
    for (int i = 0; i < MESSAGES; i++) {
        sl_lock_take(&lock);
        counter++;
        sl_lock_drop(&lock);
    }
    return NULL;
}

static void lock_excludes(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, add_up, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(counter, 4L * MESSAGES);
    CHECK(sl_trylock(&lock) && !sl_trylock(&lock));
    sl_lock_drop(&lock);
}

int main(void)
{
    RUN(permit_before);
    RUN(timeout);
    RUN(deadlines_do_not_overflow);
    RUN(permit_after);
    RUN(signal_interrupts);
    RUN(ping_pong);
    RUN(short_deadlines_lose_nothing);
    RUN(lock_excludes);
    return 0;
}
