/* SPDX-License-Identifier: MIT
 *
 * Running into a guard: the message, the death by signal, the previous handler
 * and faults that are nobody's guard.  Each case dies in a child.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "context.h"
#include "overflow.h"
#include "stack.h"
#include "stackless/error.h"

static sl_stack_pool *pool;
static sl_context home, guest;

static void describe(const void *label, char *text, size_t size)
{
    snprintf(text, size, "tasklet \"%s\"", (const char *)label);
}

/* Never set; compilers refuse a recursion that they can see has no end. */
static volatile bool enough;

/* Visible and not static, so that it has a name at run time. */
__attribute__((visibility("default"))) int eat_the_stack(volatile char *above);

__attribute__((noinline)) int eat_the_stack(volatile char *above)
{
    volatile char frame[1000];
    if (enough)
        return 0;
    frame[0] = above ? above[0] : 1;
    int below = eat_the_stack(frame);
    return below + frame[0];
}

static void overflow_entry(void *payload)
{
    (void)payload;
    eat_the_stack(NULL);
    sl_switch_to(&guest, &home, NULL, NULL, NULL);
}

static void overflow_now(void)
{
    sl_stack *s;
    CHECK_EQ(sl_stack_pool_create(&pool, SL_STACK_DEFAULT), 0);
    CHECK_EQ(sl_stack_get(pool, &s), 0);
    CHECK(s->guarded);
    s->label = "glutton";
    sl_context_native(&home, false);
    sl_context_make(&guest, s, overflow_entry, false);
    sl_switch_to(&home, &guest, NULL, NULL, NULL);
    CHECK(!"no overflow happened");
}

/* ---- what the children do ------------------------------------------------------ */

static void die_plainly(void)
{
    CHECK_EQ(sl_overflow_install(describe), 0);
    CHECK_EQ(sl_overflow_thread_begin(), 0);
    overflow_now();
}

static void *in_thread(void *arg)
{
    (void)arg;
    CHECK_EQ(sl_overflow_thread_begin(), 0);
    overflow_now();
    return NULL;
}

static void die_in_a_thread(void)
{
    pthread_t thread;
    CHECK_EQ(sl_overflow_install(describe), 0);
    CHECK_EQ(pthread_create(&thread, NULL, in_thread, NULL), 0);
    pthread_join(thread, NULL);
}

static void previous_handler(int sig)
{
    static const char said[] = "the previous handler ran\n";
    ssize_t n = write(STDERR_FILENO, said, sizeof said - 1);
    _exit(n > 0 && sig == SIGSEGV ? 42 : 43);
}

static void with_previous_handler(void)
{
    struct sigaction action = {.sa_handler = previous_handler, .sa_flags = SA_ONSTACK};
    CHECK_EQ(sigaction(SIGSEGV, &action, NULL), 0);
    die_plainly();
}

static void fault_elsewhere(void)
{
    CHECK_EQ(sl_overflow_install(describe), 0);
    CHECK_EQ(sl_overflow_thread_begin(), 0);
    char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *(volatile char *)page = 1;
}

static void fault_elsewhere_with_previous(void)
{
    struct sigaction action = {.sa_handler = previous_handler};
    CHECK_EQ(sigaction(SIGSEGV, &action, NULL), 0);
    fault_elsewhere();
}

static void signal_is_sent(void)
{
    CHECK_EQ(sl_overflow_install(describe), 0);
    CHECK_EQ(sl_overflow_thread_begin(), 0);
    raise(SIGSEGV);
    fprintf(stderr, "survived\n");
}

/* ---- running them ------------------------------------------------------------------ */

static char output[65536];

static int run_child(void (*body)(void))
{
    int fds[2], status;
    CHECK_EQ(pipe(fds), 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        signal(SIGALRM, SIG_DFL);
        alarm(60);
        body();
        _exit(0);
    }
    close(fds[1]);
    size_t length = 0;
    ssize_t n;
    while ((n = read(fds[0], output + length, sizeof output - 1 - length)) > 0)
        length += (size_t)n;
    output[length] = '\0';
    close(fds[0]);
    CHECK(waitpid(pid, &status, 0) == pid);
    return status;
}

/* ASan has a handler of its own, which reports and exits with 1, or aborts if
 * its options say so. */
static void check_killed(int status)
{
#if SL_ASAN || SL_TSAN
    CHECK(WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) != 0));
#else
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGSEGV);
#endif
}

static void check_message(void)
{
    fprintf(stderr, "  %.*s\n", (int)strcspn(output, "\n"), output);
    CHECK(strstr(output, "stackless: stack overflow in tasklet \"glutton\""));
    CHECK(strstr(output, "eat_the_stack"));
    CHECK(strstr(output, "262144 bytes"));
    CHECK(strstr(output, "STACKLESS_STACK_SIZE"));
    CHECK(strstr(strstr(output, "stackless: ") + 1, "stackless: ") == NULL); /* once */
}

static void message_and_death(void)
{
    check_killed(run_child(die_plainly));
    check_message();
}

static void also_in_other_threads(void)
{
    check_killed(run_child(die_in_a_thread));
    check_message();
}

static void the_previous_handler_gets_it(void)
{
    int status = run_child(with_previous_handler);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 42);
    check_message();
    CHECK(strstr(output, "the previous handler ran"));
}

static void other_faults_are_not_ours(void)
{
    check_killed(run_child(fault_elsewhere));
    CHECK(!strstr(output, "stackless: "));
    int status = run_child(fault_elsewhere_with_previous);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 42);
    CHECK(!strstr(output, "stackless: "));
    check_killed(run_child(signal_is_sent));
    CHECK(!strstr(output, "survived"));
}

/* ---- the alternate stack -------------------------------------------------------------- */

static void *alternate_stack_of_a_thread(void *arg)
{
    (void)arg;
    stack_t before, now;
    CHECK_EQ(sigaltstack(NULL, &before), 0);
    CHECK_EQ(sl_overflow_thread_begin(), 0);
    CHECK_EQ(sl_overflow_thread_begin(), 0); /* twice is once */
    CHECK_EQ(sigaltstack(NULL, &now), 0);
    CHECK(!(now.ss_flags & SS_DISABLE));
    CHECK((before.ss_flags & SS_DISABLE) || now.ss_sp == before.ss_sp);
    sl_overflow_thread_end();
    sl_overflow_thread_end();
    CHECK_EQ(sigaltstack(NULL, &now), 0);
    CHECK_EQ(now.ss_flags & SS_DISABLE, before.ss_flags & SS_DISABLE);

    /* One that is there already stays. */
    if (before.ss_flags & SS_DISABLE) {
        static char theirs[65536];
        stack_t st = {.ss_sp = theirs, .ss_size = sizeof theirs};
        CHECK_EQ(sigaltstack(&st, NULL), 0);
        CHECK_EQ(sl_overflow_thread_begin(), 0);
        CHECK_EQ(sigaltstack(NULL, &now), 0);
        CHECK(now.ss_sp == theirs);
        sl_overflow_thread_end();
        CHECK_EQ(sigaltstack(NULL, &now), 0);
        CHECK(now.ss_sp == theirs);
        st.ss_flags = SS_DISABLE;
        CHECK_EQ(sigaltstack(&st, NULL), 0);
    }
    return NULL;
}

static void alternate_stacks(void)
{
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, alternate_stack_of_a_thread, NULL), 0);
    pthread_join(thread, NULL);
}

int main(void)
{
    int rc = sl_context_supported();
    if (rc != 0)
        SKIP(sl_strerror(rc));
    RUN(message_and_death);
    RUN(also_in_other_threads);
    RUN(the_previous_handler_gets_it);
    RUN(other_faults_are_not_ours);
    RUN(alternate_stacks);
    return 0;
}
