#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# make install puts everything in its place and nothing else; make uninstall
# takes all of it away and leaves alone what is not ours.

. "$(dirname "$0")/functions.sh"
set -e
set -x

requires make --version
requires nbdkit --version

# Not with the flags and the jobs of the make that runs the tests.
root=$tmp/root
make_in_root ()
{
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL \
        make -s -C "$abs_top_builddir" "$@" DESTDIR="$root" \
        >"$tmp/make.log" 2>&1 || { cat "$tmp/make.log" >&2; fail "make $*"; }
}

make_in_root install
(cd "$root" && find . ! -type d -printf '%f\n' | sort) >"$tmp/found"
{
    echo README
    echo nbdimage               # the program
    echo nbdimage               # its completion
    echo nbdimage.1
    for command in $(nbdimage --complete); do
        echo "nbdimage-$command.1"
    done
    echo backup.conf
    for unit in nbdimage-backup{,-check,-failed}@.service \
                nbdimage-backup{,-check}@.timer; do
        echo "$unit"
    done
    echo nbdimage-files         # finds files for salvage
    [ -n "${NBDIMAGE_ASAN:-}" ] || echo nbdkit-hangup.so
    echo nbdkit-image-plugin.1
    echo nbdkit-image-plugin.so
} | sort >"$tmp/expected"
diff -u "$tmp/expected" "$tmp/found" || fail "something else is installed"

# It works from there.
program=$(find "$root" -name nbdimage -type f -perm -100)
plugins=$(dirname "$(find "$root" -name nbdkit-image-plugin.so)")
same "version" "$("$program" --version)" "$(nbdimage --version)"
[ -n "${NBDIMAGE_ASAN:-}" ] ||
    nbdkit "$plugins/nbdkit-image-plugin.so" --version

# Somebody else's, in a folder that we share.
touch "$plugins/nbdkit-other-plugin.so"
make_in_root uninstall
same "the files that are left" "$(find "$root" ! -type d)" \
     "$plugins/nbdkit-other-plugin.so"
same "the folders of ours that are left" \
     "$(find "$root" -type d -name '*nbdimage*')" ""

# A second time there is nothing to do, which is no failure.
make_in_root uninstall
