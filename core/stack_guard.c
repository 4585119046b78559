/* SPDX-License-Identifier: MIT
 *
 * Guards below stacks.  The kernel refuses to split mappings beyond
 * vm.max_map_count, and then refuses mmap to everybody in the process as well,
 * so guards made by mprotect stop at half of it.
 */
#include "stack_guard.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "atomic.h"
#include "stack_notes.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

#define MAPPINGS_PER_GUARD 2
#define DEFAULT_MAX_MAP_COUNT 65530

/* Set once from NONE (or by a test); relaxed, since it guards no data. */
static sl_atomic32 kind;

/* Mappings spent and the limit; the limit is 0 until read.  Both relaxed or
 * full, whichever is at hand: they are counts and nothing hangs on them. */
static sl_atomic spent, limit;

static uintptr_t read_limit(void)
{
    long count = DEFAULT_MAX_MAP_COUNT;
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
    if (f) {
        if (fscanf(f, "%ld", &count) != 1 || count < 2)
            count = DEFAULT_MAX_MAP_COUNT;
        fclose(f);
    }
    return (uintptr_t)count / 2;
}

static enum sl_guard_kind by_mprotect(void *at, size_t size)
{
    if (sl_load_relaxed(&limit) == 0)
        sl_cas(&limit, 0, read_limit());
    if (sl_add(&spent, MAPPINGS_PER_GUARD) + MAPPINGS_PER_GUARD > sl_load_relaxed(&limit)
        || mprotect(at, size, PROT_NONE) != 0) {
        sl_guard_forget(1);
        return SL_GUARD_NONE;
    }
    return SL_GUARD_MPROTECT;
}

/* Emulated kernels accept advice they do not know.  So the first guard is
 * tried: the kernel must fail to read a file name from it. */
static bool really_guarded(const void *at)
{
    return access(at, F_OK) != 0 && errno == EFAULT;
}

enum sl_guard_kind sl_guard_install(void *at, size_t size)
{
    unsigned known = sl_load_relaxed32(&kind);
    if (known != SL_GUARD_MPROTECT && !sl_note_valgrind()) {
        bool advised = madvise(at, size, MADV_GUARD_INSTALL) == 0;
        if (advised && (known == SL_GUARD_MADVISE || really_guarded(at))) {
            sl_cas32(&kind, SL_GUARD_NONE, SL_GUARD_MADVISE);
            return SL_GUARD_MADVISE;
        }
        if (!advised && errno == ENOMEM)
            return SL_GUARD_NONE; /* no page table; mprotect would need more */
        /* Unknown to this kernel, or the process locks its memory.
         * Whichever it is, the next call would fail as well. */
        sl_store_relaxed32(&kind, SL_GUARD_MPROTECT);
    }
    return by_mprotect(at, size);
}

void sl_guard_forget(size_t count)
{
    sl_add(&spent, (uintptr_t)0 - count * MAPPINGS_PER_GUARD);
}

enum sl_guard_kind sl_guard_kind(void)
{
    return (enum sl_guard_kind)sl_load_relaxed32(&kind);
}

void sl_guard_force(enum sl_guard_kind forced, size_t mappings)
{
    sl_store_relaxed32(&kind, (unsigned)forced);
    sl_store_relaxed(&limit, mappings);
}
