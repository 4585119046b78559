#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Installs the C library as a user would get it, moves it, and builds and runs
# examples/c against it with a plain compiler and pkg-config: shared and static, from C
# and from C++.  Not for: what the library does (the C tests).
#
#     test-c-install.sh [MESON-OPTION...]
#
# The last line counts.
set -eu

cd "$(dirname "$0")/.."
root=$PWD
cc=${CC:-cc} cxx=${CXX:-c++}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
passed=0 failed=0 skipped=0

try() {
    name=$1
    shift
    if "$@" >"$out/log" 2>&1; then
        echo "ok   $name"
        passed=$((passed + 1))
    else
        echo "FAIL $name: $*"
        cat "$out/log"
        failed=$((failed + 1))
    fi
}

meson setup "$out/build" "$root" -Dpython=disabled -Dtests=false -Dbench=disabled --prefix=/opt/some/where "$@" >"$out/log" ||
    { cat "$out/log"; exit 1; }
meson compile -C "$out/build" >"$out/log" || { cat "$out/log"; exit 1; }
DESTDIR=$out/dest meson install -C "$out/build" --no-rebuild >"$out/log" || { cat "$out/log"; exit 1; }
mv "$out/dest/opt/some/where" "$out/moved" # whatever still points to the old place is found out
rm -rf "$out/build" "$out/dest"

pc=$(find "$out/moved" -name stackless.pc)
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
libdir=$(pkg-config --variable=libdir stackless)
libdir=$(cd "$libdir" && pwd)
cflags=$(pkg-config --cflags stackless)
shared=$(pkg-config --libs stackless)
static="$libdir/libstackless.a $(pkg-config --static --libs stackless | tr ' ' '\n' | grep -v '^-lstackless$' | tr '\n' ' ')"
strict="-Wall -Wextra -Wpedantic -Werror"
LD_LIBRARY_PATH=$libdir
export LD_LIBRARY_PATH

# ---- what is there ----

expected="include/stackless/channel.h include/stackless/error.h include/stackless/pool.h
$(basename "$libdir")/libstackless.a $(basename "$libdir")/libstackless.so"
there() {
    for file in $expected; do
        [ -n "$(find "$out/moved" -path "*/$file")" ] || { echo "missing: $file"; return 1; }
    done
}
try "headers and libraries" there

# Every function of the headers, nothing else; and no other prefix in the archive.
exported() {
    nm -D --defined-only "$libdir/libstackless.so" | awk '{ print $3 }' | sort >"$out/exported"
    cat include/stackless/*.h | grep -v '^#' | tr '\n' ' ' | grep -o 'SL_API [^;]*;' |
        sed 's/(.*//; s/.*[ *]//' | sort -u >"$out/declared"
    [ -s "$out/declared" ] && diff "$out/declared" "$out/exported"
}
prefixed() {
    nm -g --defined-only "$libdir/libstackless.a" 2>/dev/null | awk 'NF == 3 && $3 !~ /^sl_/ { print; bad = 1 } END { exit bad }'
}
no_executable_stack() { readelf -lW "$libdir/libstackless.so" | grep GNU_STACK | grep -vq 'RWE'; }
soname() { readelf -d "$libdir/libstackless.so" | grep -q 'SONAME.*libstackless\.so\.[0-9]'; }
nothing_points_back() { ! grep -q "/opt/some/where" "$pc"; }
try "exported: the functions of the headers" exported
try "archive: no symbol without the prefix" prefixed
try "no executable stack" no_executable_stack
try "a soname" soname
try "pkg-config can be moved" nothing_points_back

# ---- the headers alone ----

for header in error pool channel; do
    echo "#include <stackless/$header.h>" >"$out/only.c"
    echo "#include <stackless/$header.h>" >"$out/only.cc"
    # shellcheck disable=SC2086
    try "$header.h in C99" "$cc" -std=c99 $strict $cflags -fsyntax-only "$out/only.c"
    # shellcheck disable=SC2086
    try "$header.h in C++11" "$cxx" -std=c++11 $strict $cflags -fsyntax-only "$out/only.cc"
done

# ---- the examples ----

gives() { # gives TEXT COMMAND...: the last line
    text=$1
    shift
    timeout 120 "$@" >"$out/stdout" || return
    tail -n 1 "$out/stdout" | grep -qxF -- "$text" || { echo "printed:"; cat "$out/stdout"; return 1; }
}
words=$(cat docs/*.md README.md | wc -w)
for kind in shared static; do
    if [ $kind = shared ]; then libs=$shared; else libs=$static; fi
    for name in echo sieve wordcount; do
        # shellcheck disable=SC2086
        try "$kind: cc $name.c" "$cc" -std=gnu11 -O2 $strict $cflags "examples/c/$name.c" -o "$out/$kind-$name" $libs
    done
    # shellcheck disable=SC2086
    try "$kind: c++ sum.cc" "$cxx" -std=c++11 -O2 $strict $cflags examples/c/sum.cc -o "$out/$kind-sum" $libs
    if [ $kind = static ]; then
        unset LD_LIBRARY_PATH
        none() { ! ldd "$out/static-sieve" | grep -q stackless; }
        try "static: needs no libstackless" none
    fi
    try "$kind: echo" gives "50 connections, 5000 messages echoed" "$out/$kind-echo" --self-test
    try "$kind: sieve" gives "2 3 5 7 11 13 17 19 23 29" "$out/$kind-sieve" 10
    try "$kind: wordcount" gives "$words total" "$out/$kind-wordcount" docs/*.md README.md
    try "$kind: sum" gives "49999995000000" "$out/$kind-sum"
done

echo "C library installed and used: $passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
