/* SPDX-License-Identifier: MIT
 *
 * Cgroup quotas from made-up trees of both versions, and the real CPU count.
 */
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup.h"
#include "check.h"
#include "cpus.h"

static char root[64];

static void fresh_root(void)
{
    strcpy(root, "/tmp/sl-cgroup-XXXXXX");
    CHECK(mkdtemp(root));
}

/* Writes root/path, making the directories on the way. */
static void put(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        CHECK(mkdir(full, 0755) == 0 || errno == EEXIST);
        *p = '/';
    }
    FILE *f = fopen(full, "w");
    CHECK(f && fputs(text, f) >= 0);
    CHECK_EQ(fclose(f), 0);
}

static int quota(void)
{
    int n = sl_cgroup_quota(root);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    CHECK_EQ(system(command), 0);
    return n;
}

static void v2_tree(const char *group, const char *part)
{
    char line[512];
    fresh_root();
    snprintf(line, sizeof line, "0::%s\n", group);
    put("/proc/self/cgroup", line);
    snprintf(line, sizeof line,
             "22 1 0:20 / /proc rw - proc proc rw\n"
             "30 22 0:26 %s /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
             part);
    put("/proc/self/mountinfo", line);
}

static void no_files_no_quota(void)
{
    fresh_root();
    CHECK_EQ(quota(), 0);
}

static void v2_rounds_up(void)
{
    v2_tree("/a", "/");
    put("/sys/fs/cgroup/a/cpu.max", "250000 100000\n");
    CHECK_EQ(quota(), 3);
    v2_tree("/a", "/");
    put("/sys/fs/cgroup/a/cpu.max", "200000 100000\n");
    CHECK_EQ(quota(), 2);
    v2_tree("/a", "/");
    put("/sys/fs/cgroup/a/cpu.max", "1000 100000\n");
    CHECK_EQ(quota(), 1);
    v2_tree("/a", "/");
    put("/sys/fs/cgroup/a/cpu.max", "75000 50000\n");
    CHECK_EQ(quota(), 2);
}

static void v2_unlimited(void)
{
    v2_tree("/a", "/");
    put("/sys/fs/cgroup/a/cpu.max", "max 100000\n");
    CHECK_EQ(quota(), 0);
}

/* The tightest of the path counts, wherever it is; siblings do not. */
static void v2_whole_path(void)
{
    v2_tree("/a/b/c", "/");
    put("/sys/fs/cgroup/a/cpu.max", "200000 100000\n");
    put("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/a/b/c/cpu.max", "800000 100000\n");
    put("/sys/fs/cgroup/a/d/cpu.max", "100000 100000\n");
    CHECK_EQ(quota(), 2);
    v2_tree("/a/b", "/");
    put("/sys/fs/cgroup/a/cpu.max", "800000 100000\n");
    put("/sys/fs/cgroup/a/b/cpu.max", "300000 100000\n");
    CHECK_EQ(quota(), 3);
}

/* A container without a cgroup namespace: its own group is what is mounted. */
static void v2_container(void)
{
    v2_tree("/docker/123/sub", "/docker/123");
    put("/sys/fs/cgroup/cpu.max", "400000 100000\n");
    put("/sys/fs/cgroup/sub/cpu.max", "500000 100000\n");
    CHECK_EQ(quota(), 4);
    /* With one, and the process moved out of its root. */
    v2_tree("/../other", "/");
    put("/sys/fs/cgroup/cpu.max", "600000 100000\n");
    CHECK_EQ(quota(), 6);
    /* /docker/12 is not a parent of /docker/123. */
    v2_tree("/docker/123", "/docker/12");
    put("/sys/fs/cgroup/cpu.max", "500000 100000\n");
    put("/sys/fs/cgroup/3/cpu.max", "100000 100000\n");
    CHECK_EQ(quota(), 5);
}

static void v1_tree(const char *controllers)
{
    char line[512];
    fresh_root();
    snprintf(line, sizeof line, "9:memory:/m\n4:%s:/a b/c\n3:cpuset:/s\n", controllers);
    put("/proc/self/cgroup", line);
    snprintf(line, sizeof line,
             "30 22 0:26 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
             "31 22 0:27 / /sys/fs/cgroup/cpu\\040x rw - cgroup cgroup rw,%s\n",
             controllers);
    put("/proc/self/mountinfo", line);
}

static void v1_whole_path(void)
{
    const char *names[] = {"cpu", "cpu,cpuacct", "cpuacct,cpu"};
    for (int i = 0; i < 3; i++) {
        v1_tree(names[i]);
        put("/sys/fs/cgroup/cpu x/a b/c/cpu.cfs_quota_us", "-1\n");
        put("/sys/fs/cgroup/cpu x/a b/c/cpu.cfs_period_us", "100000\n");
        put("/sys/fs/cgroup/cpu x/a b/cpu.cfs_quota_us", "150000\n");
        put("/sys/fs/cgroup/cpu x/a b/cpu.cfs_period_us", "50000\n");
        put("/sys/fs/cgroup/cpu x/cpu.cfs_quota_us", "900000\n");
        CHECK_EQ(quota(), 3);
    }
    v1_tree("cpuacct"); /* accounts, limits nothing */
    put("/sys/fs/cgroup/cpu x/a b/cpu.cfs_quota_us", "100000\n");
    CHECK_EQ(quota(), 0);
}

static void nonsense_is_no_limit(void)
{
    v2_tree("/a", "/");
    put("/sys/fs/cgroup/a/cpu.max", "");
    CHECK_EQ(quota(), 0);
    v2_tree("/a", "/");
    put("/sys/fs/cgroup/a/cpu.max", "100000 0\n");
    CHECK_EQ(quota(), 0);
    fresh_root();
    put("/proc/self/cgroup", "x\n0:\n\n");
    put("/proc/self/mountinfo", "1 2\n - \n - cgroup2\n1 2 3 - cgroup2 a b\n");
    CHECK_EQ(quota(), 0);
    fresh_root();
    put("/proc/self/cgroup", "0::/\n");
    put("/proc/self/mountinfo", "1 2\n - \n - cgroup2\n1 2 3 - cgroup2 a b\n");
    CHECK_EQ(quota(), 0);
}

/* The real count obeys the affinity of the calling thread, and is kept. */
static void real_count(void)
{
    cpu_set_t mask, one;
    CHECK_EQ(sched_getaffinity(0, sizeof mask, &mask), 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &mask))
            CPU_SET(i, &one);
    CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    sl_cpu_info info;
    sl_cpu_describe(&info);
    CHECK_EQ(info.allowed, 1);
    CHECK_EQ(sl_cpu_count(), 1);
    CHECK_EQ(sched_setaffinity(0, sizeof mask, &mask), 0);
    CHECK_EQ(sl_cpu_count(), 1);
    CHECK_EQ(info.quota, sl_cgroup_quota(""));
}

int main(void)
{
    RUN(no_files_no_quota);
    RUN(v2_rounds_up);
    RUN(v2_unlimited);
    RUN(v2_whole_path);
    RUN(v2_container);
    RUN(v1_whole_path);
    RUN(nonsense_is_no_limit);
    RUN(real_count);
    return 0;
}
