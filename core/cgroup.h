/* SPDX-License-Identifier: MIT
 *
 * The CPU quota that control groups put on this process.  For cpus.c and its
 * tests.
 */
#ifndef SL_CORE_CGROUP_H
#define SL_CORE_CGROUP_H

/* Whole CPUs, rounded up, of the tightest limit from this process's group to
 * the topmost one visible, versions 1 and 2; 0 when there is none.  `root` is
 * put before each path that is read ("" for the real ones). */
int sl_cgroup_quota(const char *root);

#endif
