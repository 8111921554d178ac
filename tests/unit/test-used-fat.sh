#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What FAT uses, by others and by us.  Then everything else is overwritten,
# and its fsck and its files must not notice.

. "$(dirname "$0")/../functions.sh"
set -e
set -x
. "$support/used.sh"
requires mkfs.fat
requires mcopy

# fat BITS SIZE OPTION...
fat ()
{
    local bits=$1 size=$2
    shift 2
    fresh "$size"
    mkfs.fat -F "$bits" "$@" "$disk" >/dev/null
    mcopy -i "$disk" "$files"/many/f[0123]* "$files/many/f40" ::
    mdel -i "$disk" ::f00 ::f07 ::f13 ::f21 ::f22
    mcopy -i "$disk" "$files/large" ::
    dump vfat exact
    used fat "$ours" "$disk"
    # partclone takes some free clusters of FAT12 for used ones.
    [ "$bits" = 12 ] || by_partclone vfat exact
    spoil
    fsck.fat -n "$disk"
    mkdir -p "$tmp/fat"
    rm -f "$tmp"/fat/*
    mcopy -i "$disk" '::*' "$tmp/fat"
    for i in "$tmp"/fat/f*; do
        cmp "$i" "$files/many/$(basename "$i")"
    done
    cmp "$tmp/fat/large" "$files/large"
}

fat 12 8M -s 8
fat 12 6M -f 1 -S 512 -s 4
fat 16 30M
fat 16 300M -s 32 -f 2
fat 32 60M -s 1
fat 32 300M -S 4096
fat 32 5G
# The boot sector has neither a checksum nor always a copy.
fat 32 60M -s 1
damage 1000 512
fat 12 8M -s 8
damage 1000 512

# The tables differ in one entry, the second says that it is free.
fat 16 30M
poke $((512 * (1 + $(od -An -tu2 -j22 -N2 "$disk")) + 200)) '\0'
fat16=$(od -An -tu2 -j22 -N2 "$disk")
reserved=$(od -An -tu2 -j14 -N2 "$disk")
poke $((512 * (reserved + fat16) + 200)) '\x12\x34'
refused vfat "copies 1 and 2"
fat 32 60M -s 1
poke 65 '\1'
refused vfat "not unmounted"
truncate -s -2M "$disk"
poke 65 '\0'
refused vfat "longer than the partition"
