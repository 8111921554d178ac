#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Clients that misbehave in all ways, and images that change under them:
# nbdkit with our plugin goes on, others get the right bytes, and nothing is
# left behind.  What ends nbdkit by its own fault is in test-serve-abuse.sh.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires python3 --version
requires qemu-img --version

# Without it, going away is enough to end nbdkit (docs/NBDKIT.md).
hangup=$(dirname "$NBDIMAGE_PLUGIN")/nbdkit-hangup.so
memory=
hangups=hangups
if [ -n "${NBDIMAGE_ASAN:-}" ]; then
    memory=--any-memory
    hangups=
fi

# abuse EXPORT MODEL ARG...
abuse ()
{
    timeout --kill-after=5 300 "$abs_top_srcdir/tests/plugin/abuse.py" \
        --unix "$sock" --pid "$nbdkit_pid" $memory \
        --export "$1" --model "$2" "${@:3}" || {
        tail -n 30 "$nbdkit_log" >&2
        fail "abuse of $1: ${*:3}"
    }
}

start ()
{
    [ -z "$hangups" ] || export LD_PRELOAD="$hangup"
    start_nbdkit "$@"
    unset LD_PRELOAD
}

head -c 64M /dev/urandom >"$tmp/disk.img"
truncate -s 8T "$tmp/huge.img" ||
    skip "the file system has no files of 8 TiB"
mkdir "$tmp/folder" "$tmp/folder/sub"
qemu-img convert -f raw -O vpc -o subformat=dynamic,force_size=on \
    "$tmp/disk.img" "$tmp/disk.vhd"

# What it does not take, from images of several kinds.
start -r image "$tmp/disk.img" "$tmp/disk.vhd" "$tmp/huge.img"
abuse disk.img "$tmp/disk.img" --huge huge.img options requests many $hangups
abuse disk.vhd "$tmp/disk.img" requests $hangups
stop_nbdkit

# Writing.  The file itself is the model.
truncate -s 16M "$tmp/written.img"
start image "$tmp/written.img"
abuse written.img "$tmp/written.img" writes \
    ${hangups:+hangups-writing}
stop_nbdkit

# Hundreds of exports, whose names are asked for in all ways.
for ((i = 0; i < 300; i++)); do
    truncate -s 1M "$tmp/folder/$i.img"
done
truncate -s 1M "$tmp/folder/$(printf 'x%.0s' {1..251}).img"
truncate -s 1M "$tmp/folder/sub/inner.img"
truncate -s 4M "$tmp/folder/change.img" "$tmp/folder/change.vhd"
head -c 4M /dev/urandom >"$tmp/folder/change.img"
cp "$tmp/folder/change.img" "$tmp/model"
qemu-img convert -f raw -O vpc -o subformat=dynamic,force_size=on \
    "$tmp/model" "$tmp/folder/change.vhd"
start image dir="$tmp/folder"
abuse change.img "$tmp/model" options $hangups
for name in change.img change.vhd; do
    abuse "$name" "$tmp/model" --image "$tmp/folder/$name" changing
done
stop_nbdkit

# Files that change while they are served by name.
start -r image "$tmp/folder/change.img" "$tmp/folder/change.vhd"
for name in change.img change.vhd; do
    abuse "$name" "$tmp/model" --image "$tmp/folder/$name" changing
done
stop_nbdkit
