/* SPDX-License-Identifier: MIT
 *
 * How many processors this process may use: the CPUs it is allowed on (hwloc)
 * cut by the cgroup quotas along the whole visible path, rounded up.
 */
#ifndef SL_CORE_CPUS_H
#define SL_CORE_CPUS_H

#include <stdbool.h>

/* At least 1.  The first call loads the topology (milliseconds) and the
 * result is kept; call it lazily, never on import. */
int sl_cpu_count(void);

/* Around a fork: before it, and after it in parent and child. */
void sl_cpu_before_fork(void);
void sl_cpu_after_fork(bool child);

/* The parts it is made from, for diagnostics; quota is 0 when there is none. */
typedef struct sl_cpu_info {
    int allowed; /* CPUs in the affinity mask */
    int quota;   /* whole CPUs of the tightest cgroup limit, rounded up, or 0 */
} sl_cpu_info;

void sl_cpu_describe(sl_cpu_info *out);

#endif
