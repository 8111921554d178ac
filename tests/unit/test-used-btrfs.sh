#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What btrfs uses, by others and by us.  Then everything else is overwritten,
# and its fsck and its files must not notice.

. "$(dirname "$0")/../functions.sh"
set -e
set -x
. "$support/used.sh"
requires mkfs.btrfs
requires btrfs

# btrfs_fs SIZE OPTION...
btrfs_fs ()
{
    local size=$1
    shift
    fresh "$size"
    mkfs.btrfs -q --rootdir "$files" "$@" "$disk" >"$tmp/mkfs.log" 2>&1
    dump btrfs more
    by_partclone btrfs more
    spoil
    btrfs check --check-data-csum "$disk"
    rm -rf "$tmp/restored"
    mkdir "$tmp/restored"
    btrfs restore "$disk" "$tmp/restored" >/dev/null
    same "files" "$(hashes "$files")" "$(hashes "$tmp/restored")"
}

btrfs_fs 400M
btrfs_fs 400M -M -n 4096
btrfs_fs 3G -m single -n 65536
damage 2000 0
same "checksums of another kind" 0 "$(fresh 400M
    mkfs.btrfs -q --csum xxhash "$disk" >/dev/null 2>&1; echo $?)"
refused btrfs "checksums of kind 1"
fresh 15T
mkfs.btrfs -q "$disk" >/dev/null 2>&1
dump btrfs more
# Two devices.
fresh 400M
truncate -s 400M "$tmp/second"
mkfs.btrfs -q "$disk" "$tmp/second" >/dev/null 2>&1
refused btrfs "2 devices"
