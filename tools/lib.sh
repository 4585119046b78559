# SPDX-License-Identifier: MIT
#
# What the commands in tools/ share: finding the root, installing Debian
# packages, virtual environments.  To be sourced by bash; not a command.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${STACKLESS_BUILD:-$root/build}
mkdir -p "$build"
build=$(cd "$build" && pwd)
chroot_dir=${STACKLESS_CHROOT:-$build/forky}

build_packages=(build-essential meson ninja-build pkgconf libatomic-ops-dev
                libhwloc-dev python3-dev python3-venv ca-certificates)

say() { printf '\n== %s\n' "$*" >&2; }

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# The packages among "$@" that are not installed.
missing_packages() {
    local package
    for package in "$@"; do
        dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null |
            grep -q ' installed$' || printf '%s\n' "$package"
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        return 126
    fi
}

# Installs what is missing of "$@"; does nothing, not even ask for rights, when
# nothing is.  Fails with the command to type when it may not install.
need_packages() {
    local missing
    if ! command -v dpkg-query >/dev/null; then
        say "not a Debian system: hoping that these are there: $*"
        return 0
    fi
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    { as_root apt-get update -q &&
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -q -y --no-install-recommends "${missing[@]}"; } >&2 ||
        die "cannot install packages. As root: apt-get install ${missing[*]}"
}

# need_venv DIR PYTHON PACKAGE...: a virtual environment of PYTHON with PACKAGEs
# from pip.  Made anew when the interpreter or the list has changed.
need_venv() {
    local dir=$1 python=$2 stamp
    shift 2
    stamp=$("$python" -c 'import sys; print(sys.version, sys.base_prefix)') || return
    stamp="$stamp | $*"
    if [ -e "$dir/stamp" ] && [ "$(cat "$dir/stamp")" = "$stamp" ] &&
        "$dir/bin/python" -c '' 2>/dev/null; then
        return 0
    fi
    rm -rf "$dir"
    mkdir -p "$(dirname "$dir")"
    "$python" -m venv "$dir" || return
    if [ -n "${PIP_OFFLINE_WHEELS:-}" ]; then
        "$dir/bin/python" -m pip install -q --no-index --find-links "$PIP_OFFLINE_WHEELS" "$@" || return
    else
        # Repeated --config-settings need pip 23.1.
        "$dir/bin/python" -m pip install -q --disable-pip-version-check --upgrade pip || return
        "$dir/bin/python" -m pip install -q --disable-pip-version-check "$@" || return
    fi
    printf '%s' "$stamp" >"$dir/stamp"
}

# install_package VENV BUILD_DIR [MESON_SETUP_ARG...]: pip-installs this source
# tree, compiling only what has changed.  VENV has meson-python and meson.
install_package() {
    local venv=$1 dir=$2 arg settings=()
    shift 2
    for arg in "$@"; do
        settings+=("--config-settings=setup-args=$arg")
    done
    mkdir -p "$(dirname "$dir")"
    PATH="$venv/bin:$PATH" "$venv/bin/python" -m pip install -q --disable-pip-version-check \
        --no-build-isolation --no-deps --no-index --force-reinstall \
        --config-settings=build-dir="$dir" "${settings[@]}" "$root"
}
