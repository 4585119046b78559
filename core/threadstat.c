/* SPDX-License-Identifier: MIT
 * Reads /proc/self/task/TID/status. */
#include "threadstat.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *after(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    return at ? at + strlen(key) : NULL;
}

long long sl_thread_asleep(unsigned tid)
{
    char path[64], text[4096]; /* the whole is under 1,500 bytes on ordinary machines */
    snprintf(path, sizeof path, "/proc/self/task/%u/status", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return -1;
    text[n] = '\0';
    const char *state = after(text, "\nState:\t"), *sleeps = after(text, "\nvoluntary_ctxt_switches:\t");
    if (!state || !sleeps || (*state != 'S' && *state != 'D'))
        return -1;
    return strtoll(sleeps, NULL, 10);
}
