/* SPDX-License-Identifier: MIT
 *
 * The CPU count of cpus.h.  hwloc answers which CPUs this process may be
 * scheduled on (machine, cpuset and affinity of the calling thread, which the
 * threads it starts inherit); cgroup.c answers for how much of their time.
 */
#include "cpus.h"

#include <hwloc.h>
#include <unistd.h>

#include "atomic.h"
#include "cgroup.h"
#include "lock.h"

/* `allowed` is 0 until known and published by a release store after `quota`. */
static sl_atomic32 allowed, quota;

/* Held while hwloc works, and across a fork: hwloc has locks of its own, which
 * the child of a fork in the middle would find taken for ever. */
static sl_lock asking;

/* Only processing units are of interest, and asking for nothing else makes
 * loading cheaper.  0 when hwloc fails. */
static int count_allowed(void)
{
    hwloc_topology_t topology;
    int count = 0;
    if (hwloc_topology_init(&topology) != 0)
        return 0;
    hwloc_topology_set_all_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    if (set && hwloc_topology_load(topology) == 0) {
        if (hwloc_get_cpubind(topology, set, HWLOC_CPUBIND_THREAD) != 0)
            hwloc_bitmap_fill(set);
        hwloc_bitmap_and(set, set, hwloc_topology_get_allowed_cpuset(topology));
        count = hwloc_bitmap_weight(set);
    }
    hwloc_bitmap_free(set);
    hwloc_topology_destroy(topology);
    return count;
}

static void find_out(void)
{
    int n = count_allowed();
    if (n < 1)
        n = (int)sysconf(_SC_NPROCESSORS_ONLN);
    sl_store_relaxed32(&quota, (unsigned)sl_cgroup_quota(""));
    sl_store_release32(&allowed, n < 1 ? 1 : (unsigned)n);
}

void sl_cpu_describe(sl_cpu_info *out)
{
    if (sl_load_acquire32(&allowed) == 0) {
        sl_lock_take(&asking);
        if (sl_load_acquire32(&allowed) == 0)
            find_out();
        sl_lock_drop(&asking);
    }
    out->allowed = (int)sl_load_acquire32(&allowed);
    out->quota = (int)sl_load_relaxed32(&quota);
}

void sl_cpu_before_fork(void)
{
    sl_lock_take(&asking);
}

void sl_cpu_after_fork(bool child)
{
    if (child)
        sl_lock_init(&asking);
    else
        sl_lock_drop(&asking);
}

int sl_cpu_count(void)
{
    sl_cpu_info info;
    sl_cpu_describe(&info);
    return info.quota > 0 && info.quota < info.allowed ? info.quota : info.allowed;
}
