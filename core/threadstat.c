/* SPDX-License-Identifier: MIT
 * Reads /proc/self/task/TID/syscall and the thread's CPU clock. */
#include "threadstat.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

/* The file holds "running", "-1 SP PC" (asleep for want of memory), or the
 * number of the system call and its arguments. */
enum sl_thread_state sl_thread_look(unsigned tid, uintptr_t *futex)
{
    char path[64], text[256], *rest;
    *futex = 0;
    snprintf(path, sizeof path, "/proc/self/task/%u/syscall", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return SL_THREAD_UNKNOWN;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return SL_THREAD_UNKNOWN;
    text[n] = '\0';
    if (strncmp(text, "running", 7) == 0)
        return SL_THREAD_RUNS;
    long number = strtol(text, &rest, 10);
    if (number < 0 || rest == text)
        return SL_THREAD_RUNS;
    if (number == SYS_futex || number == SYS_futex_waitv)
        *futex = (uintptr_t)strtoull(rest, NULL, 16);
    return SL_THREAD_SLEEPS;
}

/* The kernel's number for the clock of a thread, as pthread_getcpuclockid()
 * makes it of a pthread_t: the complement of the id over three bits that mean
 * one thread's scheduler time. */
static clockid_t cpu_clock(unsigned tid)
{
    return (clockid_t)(~tid << 3 | 6);
}

int64_t sl_thread_computed(unsigned tid)
{
    struct timespec at;
    if (clock_gettime(cpu_clock(tid), &at) != 0)
        return -1;
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}
