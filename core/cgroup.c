/* SPDX-License-Identifier: MIT
 *
 * Finding the CPU quota of control groups.
 *
 * /proc/self/cgroup says which group the process is in, per hierarchy, and
 * /proc/self/mountinfo where that hierarchy is mounted and which part of it.
 * A container usually sees only its own group, mounted as if it were the root;
 * a group it cannot see cannot be read, and then the mount point must do.
 */
#include "cgroup.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The hierarchy that limits CPU time: version 2's only one, or version 1's
 * with the "cpu" controller. */
typedef struct hierarchy {
    bool v2;
    char group[PATH_MAX]; /* the process's group in it */
    char part[PATH_MAX];  /* which group is mounted */
    char mount[PATH_MAX]; /* where */
} hierarchy;

/* Opens root + dir + "/" + file. */
static FILE *open_under(const char *root, const char *dir, const char *file)
{
    char full[3 * PATH_MAX];
    int n = snprintf(full, sizeof full, "%s%s/%s", root, dir, file);
    return n < 0 || (size_t)n >= sizeof full ? NULL : fopen(full, "re");
}

/* Whether the comma-separated `list` has `word`. */
static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; (p = strstr(p, word)) != NULL; p += n)
        if ((p == list || p[-1] == ',') && (p[n] == ',' || p[n] == '\0'))
            return true;
    return false;
}

/* mountinfo writes space, tab, newline and backslash as three octal digits. */
static void copy_unescaped(char *to, size_t size, const char *from)
{
    size_t n = 0;
    for (; *from && n + 1 < size; from++) {
        if (from[0] == '\\' && from[1] && from[2] && from[3]) {
            to[n++] = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 3;
        } else {
            to[n++] = *from;
        }
    }
    to[n] = '\0';
}

static bool find_group(const char *root, hierarchy *h)
{
    FILE *f = open_under(root, "/proc/self", "cgroup");
    char *line = NULL;
    size_t size = 0;
    bool found = false;
    while (f && !found && getline(&line, &size, f) > 0) {
        /* number:controllers:path */
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        found = h->v2 ? strcmp(line, "0:") == 0 : has_word(controllers + 1, "cpu");
        if (found)
            snprintf(h->group, sizeof h->group, "%s", path);
    }
    free(line);
    if (f)
        fclose(f);
    return found;
}

/* id parent major:minor part mount options [optional]* - type source options */
static bool parse_mount(char *line, hierarchy *h)
{
    char *tail = strstr(line, " - "), *save = NULL;
    if (!tail)
        return false;
    *tail = '\0';
    const char *type = strtok_r(tail + 3, " \n", &save);
    strtok_r(NULL, " \n", &save);
    const char *options = strtok_r(NULL, " \n", &save);
    if (!type || strcmp(type, h->v2 ? "cgroup2" : "cgroup") != 0)
        return false;
    if (!h->v2 && (!options || !has_word(options, "cpu")))
        return false;
    const char *field = strtok_r(line, " ", &save);
    for (int i = 0; field && i < 3; i++)
        field = strtok_r(NULL, " ", &save);
    const char *mount = strtok_r(NULL, " ", &save);
    if (!field || !mount)
        return false;
    copy_unescaped(h->part, sizeof h->part, field);
    copy_unescaped(h->mount, sizeof h->mount, mount);
    return true;
}

static bool find_mount(const char *root, hierarchy *h)
{
    FILE *f = open_under(root, "/proc/self", "mountinfo");
    char *line = NULL;
    size_t size = 0;
    bool found = false;
    while (f && !found && getline(&line, &size, f) > 0)
        found = parse_mount(line, h);
    free(line);
    if (f)
        fclose(f);
    return found;
}

static int round_up(long long quota, long long period)
{
    if (quota <= 0 || period <= 0)
        return 0;
    long long cpus = quota / period + (quota % period != 0);
    return cpus > INT_MAX ? INT_MAX : (int)cpus;
}

static bool read_number(const char *root, const char *dir, const char *file, long long *out)
{
    FILE *f = open_under(root, dir, file);
    if (!f)
        return false;
    bool ok = fscanf(f, "%lld", out) == 1;
    fclose(f);
    return ok;
}

/* The limit of one group, 0 if it has none. */
static int limit_of(const char *root, const char *dir, bool v2)
{
    long long quota = 0, period = 100000;
    if (!v2) {
        if (!read_number(root, dir, "cpu.cfs_quota_us", &quota))
            return 0;
        read_number(root, dir, "cpu.cfs_period_us", &period);
        return round_up(quota, period); /* -1: none */
    }
    FILE *f = open_under(root, dir, "cpu.max");
    if (!f)
        return 0;
    /* "max 100000" has no number first */
    int n = fscanf(f, "%lld %lld", &quota, &period);
    fclose(f);
    return n >= 1 ? round_up(quota, period) : 0;
}

/* The group's path below the mount point, "" if it is not below it. */
static const char *below_mount(const hierarchy *h)
{
    const char *group = h->group;
    size_t n = strcmp(h->part, "/") == 0 ? 0 : strlen(h->part);
    if (strncmp(group, h->part, n) != 0 || (group[n] != '/' && group[n] != '\0'))
        return "";
    group += n;
    if (strstr(group, "/..") || strcmp(group, "/") == 0)
        return "";
    return group;
}

static int tighter(int a, int b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static int quota_of(const char *root, bool v2)
{
    hierarchy h = {.v2 = v2};
    if (!find_group(root, &h) || !find_mount(root, &h))
        return 0;
    char dir[2 * PATH_MAX];
    size_t top = strlen(h.mount);
    snprintf(dir, sizeof dir, "%s%s", h.mount, below_mount(&h));
    int quota = 0;
    for (;;) {
        quota = tighter(quota, limit_of(root, dir, v2));
        char *slash = strrchr(dir, '/');
        if (!slash || (size_t)(slash - dir) < top)
            return quota;
        *slash = '\0';
    }
}

int sl_cgroup_quota(const char *root)
{
    return tighter(quota_of(root, true), quota_of(root, false));
}
