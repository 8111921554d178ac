#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# When an image can't be written it is served read-only, and why is in the
# debug log.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-io --version
requires jq
client=$abs_top_builddir/tests/plugin/client

read_only ()
{
    nbdinfo --json "$uri" | jq -r '.exports[0].is_read_only'
}

truncate -s 1M "$tmp/disk.img"
before=$(sha256sum <"$tmp/disk.img")

# nbdkit -r
start_nbdkit -r image "$tmp/disk.img"
same read-only "$(read_only)" true
"$client" nonsense "$uri"
refuses qemu-io -f raw -c 'write -P 1 0 512' "$uri"
stop_nbdkit

# -r takes no lock for writing: two servers may.
start_nbdkit -r image "$tmp/disk.img"
same size "$(nbdinfo --size "$uri")" 1048576
first=$nbdkit_pid
start_nbdkit -r image "$tmp/disk.img"
same size "$(nbdinfo --size "$uri")" 1048576
stop_nbdkit
stop_pid "$first"

# A checksum that was not looked at is no ground to write on.
start_nbdkit -v image "$tmp/disk.img" ignore-checksums=true
same read-only "$(read_only)" true
contains "$nbdkit_log" "disk.img: is served read-only: an image whose \
checksums are ignored can't be opened for writing"
stop_nbdkit

# A file that nbdkit's user may not write.  Root may, so become another.
chmod 444 "$tmp/disk.img"
user=()
if [ "$(id -u)" -eq 0 ]; then
    requires getent passwd nobody
    chmod 777 "$tmp"
    user=(-u nobody)
fi
start_nbdkit -v "${user[@]}" image "$tmp/disk.img"
same read-only "$(read_only)" true
contains "$nbdkit_log" "disk.img: is served read-only: can't be opened for \
writing: Permission denied"
"$client" nonsense "$uri"

# It may be written as soon as that changes, without a new server.
chmod 666 "$tmp/disk.img"
same read-only "$(read_only)" false
stop_nbdkit
same contents "$(sha256sum <"$tmp/disk.img")" "$before"
