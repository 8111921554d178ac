#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Clients come and go, and leave nothing behind.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires nbdinfo
client=$abs_top_builddir/tests/plugin/client

fds ()
{
    ls "/proc/$nbdkit_pid/fd" | wc -l
}

# nbdkit takes a moment to notice that a client has gone.
settles_at ()
{
    local i

    for ((i = 0; i < 50; i++)); do
        [ "$(fds)" -ne "$1" ] || return 0
        sleep 0.1
    done
    ls -l "/proc/$nbdkit_pid/fd" >&2
    fail "$(fds) descriptors are open, expected $1"
}

images ()
{
    ls -l "/proc/$nbdkit_pid/fd" | grep -cF "$tmp/images" || true
}
[ -d /proc/self/fd ] || skip "there is no /proc"

mkdir "$tmp/images"
truncate -s 1M "$tmp/images/a.img" "$tmp/images/b.img"

come_and_go ()
{
    nbdinfo --list "$uri" >/dev/null    # connects to each export
    sleep 1
    before=$(fds)
    "$client" connects "$(export_uri a.img)" 200
    for i in {1..20}; do
        nbdinfo --list "$uri" >/dev/null
        refuses nbdinfo --size "$(export_uri missing.img)"
    done
    settles_at "$before"
}

# The image of a FILE that is only read stays open for the next client.
start_nbdkit -r image "$tmp/images/a.img" "$tmp/images/b.img"
same "open images before the first client" "$(images)" 0
come_and_go
same "open images with no client" "$(images)" 2
stop_nbdkit

# One that can be written is closed, and with it what it holds.
start_nbdkit image "$tmp/images/a.img" "$tmp/images/b.img"
come_and_go
same "open images with no client" "$(images)" 0
stop_nbdkit

# Those in a folder are closed.
start_nbdkit image dir="$tmp/images"
come_and_go
same "open images with no client" "$(images)" 0
stop_nbdkit
