/* SPDX-License-Identifier: MIT
 *
 * The fault handler of overflow.h.
 *
 * A fault that is not in a guard belongs to the previous handler, which is
 * called directly and may well recover.  After a fault in a guard the previous
 * action is put back and the handler returns: the instruction faults again,
 * and the process dies (or reports) as if this file were not there.
 */
#include "overflow.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "atomic.h"
#include "stack.h"
#include "stackless/error.h"

/* Enough for AVX-512 and AMX signal frames and for other people's handlers. */
#define ALTERNATE_SIZE ((size_t)64 << 10)

/* 0 no, 1 being installed, 2 yes; `previous` is constant from 2 on. */
static sl_atomic32 installed;
static struct sigaction previous_segv, previous_bus;

static sl_atomic describe_fn; /* sl_overflow_describe; any thread, single word */

/* This thread's alternate stack if it is ours. */
static __thread void *alternate;

/* ---- the message: no stdio and no allocation in a signal handler -------- */

typedef struct text {
    size_t length;
    char bytes[640];
} text;

static void add_bytes(text *t, const char *s, size_t n)
{
    size_t room = sizeof t->bytes - t->length;
    if (n > room)
        n = room;
    memcpy(t->bytes + t->length, s, n);
    t->length += n;
}

static void add(text *t, const char *s)
{
    add_bytes(t, s, strlen(s));
}

static void add_number(text *t, uintptr_t n, unsigned base)
{
    char digits[24], *p = digits + sizeof digits;
    do
        *--p = "0123456789abcdef"[n % base];
    while (n /= base);
    add_bytes(t, p, (size_t)(digits + sizeof digits - p));
}

static void add_tasklet(text *t, const sl_stack *s)
{
    sl_overflow_describe describe = (sl_overflow_describe)sl_load_acquire(&describe_fn);
    char name[200] = "";
    if (describe)
        describe(s->label, name, sizeof name);
    name[sizeof name - 1] = '\0';
    if (name[0]) {
        add(t, " in ");
        add(t, name);
    } else {
        add(t, " in tasklet 0x");
        add_number(t, (uintptr_t)s->label, 16);
    }
}

static uintptr_t program_counter(const ucontext_t *uc)
{
#if defined(__x86_64__)
    return (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (uintptr_t)uc->uc_mcontext.pc;
#endif
}

/* dladdr() is not on the list of safe functions: it takes the loader's lock,
 * which is recursive.  The process is dying and a name is worth that. */
static void add_function(text *t, uintptr_t pc)
{
    Dl_info info;
    add(t, ", in ");
    if (!dladdr((void *)pc, &info)) {
        add(t, "code at 0x");
        add_number(t, pc, 16);
        return;
    }
    if (info.dli_sname) {
        add(t, info.dli_sname);
        add(t, "() of ");
    }
    add(t, info.dli_fname ? info.dli_fname : "?");
    add(t, "+0x");
    add_number(t, pc - (uintptr_t)info.dli_fbase, 16);
}

static void report(const sl_stack *s, const ucontext_t *uc)
{
    text t = {0};
    add(&t, "stackless: stack overflow");
    add_tasklet(&t, s);
    add_function(&t, program_counter(uc));
    add(&t, ": its stack of ");
    add_number(&t, s->size, 10);
    add(&t, " bytes is used up; STACKLESS_STACK_SIZE sets a larger one\n");
    if (t.length == sizeof t.bytes)
        t.bytes[t.length - 1] = '\n';
    ssize_t ignored = write(STDERR_FILENO, t.bytes, t.length);
    (void)ignored;
}

/* ---- the handler -------------------------------------------------------- */

static void pass_on(int sig, siginfo_t *info, void *uc, const struct sigaction *previous)
{
    if (previous->sa_flags & SA_SIGINFO) {
        previous->sa_sigaction(sig, info, uc);
    } else if (previous->sa_handler != SIG_DFL && previous->sa_handler != SIG_IGN) {
        previous->sa_handler(sig);
    } else {
        sigaction(sig, previous, NULL);
        if (info->si_code <= 0)
            raise(sig); /* somebody sent it: no instruction will fault again */
    }
}

static void on_fault(int sig, siginfo_t *info, void *uc)
{
    const struct sigaction *previous = sig == SIGBUS ? &previous_bus : &previous_segv;
    const sl_stack *s = info->si_code > 0 ? sl_stack_of_guard(info->si_addr) : NULL;
    if (!s) {
        pass_on(sig, info, uc, previous);
        return;
    }
    report(s, uc);
    sigaction(sig, previous, NULL);
}

int sl_overflow_install(sl_overflow_describe describe)
{
    sl_store_release(&describe_fn, (uintptr_t)describe);
    if (!sl_cas32(&installed, 0, 1))
        return 0;
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGSEGV, NULL, &previous_segv) != 0 || sigaction(SIGBUS, NULL, &previous_bus) != 0
        || sigaction(SIGSEGV, &action, NULL) != 0)
        goto refused;
    if (sigaction(SIGBUS, &action, NULL) != 0) {
        sigaction(SIGSEGV, &previous_segv, NULL);
        goto refused;
    }
    sl_store_release32(&installed, 2);
    return 0;
refused:
    sl_store_release32(&installed, 0);
    return SL_ENOTSUP;
}

int sl_overflow_thread_begin(void)
{
    stack_t now;
    if (alternate || sigaltstack(NULL, &now) != 0 || !(now.ss_flags & SS_DISABLE))
        return 0;
    void *at = mmap(NULL, ALTERNATE_SIZE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (at == MAP_FAILED)
        return SL_ENOMEM;
    stack_t ours = {.ss_sp = at, .ss_size = ALTERNATE_SIZE};
    if (sigaltstack(&ours, NULL) != 0) {
        munmap(at, ALTERNATE_SIZE);
        return SL_ENOMEM;
    }
    alternate = at;
    return 0;
}

void sl_overflow_thread_end(void)
{
    stack_t now, none = {.ss_flags = SS_DISABLE};
    if (!alternate)
        return;
    if (sigaltstack(NULL, &now) == 0 && now.ss_sp == alternate && sigaltstack(&none, NULL) != 0)
        return; /* standing on it: keep it mapped */
    munmap(alternate, ALTERNATE_SIZE);
    alternate = NULL;
}
