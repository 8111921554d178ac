#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What exFAT uses, by others and by us.  Then everything else is overwritten,
# and its fsck and its files must not notice.

. "$(dirname "$0")/../functions.sh"
set -e
set -x
. "$support/used.sh"
requires mkfs.exfat
requires fsck.exfat

# exfat SIZE OPTION...
exfat ()
{
    local size=$1
    shift
    fresh "$size"
    mkfs.exfat "$@" "$disk" >/dev/null
    used exfat-fill "$disk" 5
    fsck.exfat -n "$disk"
    dump exfat exact
    used exfat "$ours" "$disk"
    by_partclone exfat exact
    used exfat-list "$disk" >"$tmp/before.list"
    same "files" 12 "$(wc -l <"$tmp/before.list")"
    spoil
    fsck.exfat -n "$disk"
    used exfat-list "$disk" >"$tmp/after.list"
    cmp "$tmp/before.list" "$tmp/after.list"
}

exfat 20M -c 4096
exfat 300M
damage 1000
# A bitmap of several clusters.
exfat 600M -c 4096
fresh 4T
mkfs.exfat "$disk" >/dev/null
dump exfat exact
poke 106 '\2'
refused exfat "not unmounted"
poke 106 '\0'
poke 100 '\1\1\1\1'
refused exfat "checksum of the exFAT's boot region"
