#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Cross-compiles core/ for AArch64 and runs its tests under user-mode emulation.
# Not for: timing, and cpus.c (which needs an AArch64 hwloc).
# Prints SKIP and why, and exits with 77, where the tools are missing.
set -eu

cd "$(dirname "$0")/.."
cross=${CROSS_CC:-aarch64-linux-gnu-gcc}
sysroot=${CROSS_SYSROOT:-/usr/aarch64-linux-gnu}

skip()
{
    echo "SKIP: $1 (Debian: apt-get install $2)"
    exit 77
}

command -v "$cross" >/dev/null || skip "no $cross" gcc-aarch64-linux-gnu
[ -e "$sysroot/lib/libc.so.6" ] || skip "no C library in $sysroot" libc6-dev-arm64-cross
qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64) || skip "no qemu-aarch64" qemu-user-static
[ -e /usr/include/atomic_ops.h ] || skip "no atomic_ops.h" libatomic-ops-dev

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# Only headers of libatomic_ops are used, and they know all processors.
mkdir "$out/include"
cp -r /usr/include/atomic_ops.h /usr/include/atomic_ops "$out/include/"

flags="-std=gnu11 -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -D_GNU_SOURCE -DSL_TEST_EMULATED
       -mbranch-protection=standard -Icore -Iinclude -isystem $out/include -pthread"
sources="core/arch/aarch64.S core/arch/x86_64.S core/context.c core/error.c core/lock.c
         core/overflow.c core/park.c core/slab.c core/stack.c core/stack_guard.c"

# The assembly and everything linked with it keep the mark for landing pads.
"$cross" -c -Icore core/arch/aarch64.S -o "$out/aarch64.o"
"${cross%gcc}readelf" -n "$out/aarch64.o" | grep -q BTI || { echo "FAIL: aarch64.S lost its BTI note"; exit 1; }

failed=0
for name in switch park error stack overflow; do
    # shellcheck disable=SC2086
    "$cross" $flags "tests/core/test_$name.c" $sources -o "$out/test_$name" -ldl -rdynamic
    rc=0
    timeout 600 "$qemu" -L "$sysroot" "$out/test_$name" >"$out/log" 2>&1 || rc=$?
    case $rc in
        0) echo "ok   aarch64 $name" ;;
        77) echo "skip aarch64 $name: $(tail -n 1 "$out/log")" ;;
        *) echo "FAIL aarch64 $name (exit code $rc)"; cat "$out/log"; failed=1 ;;
    esac
done
exit $failed
