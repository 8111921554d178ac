#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What XFS uses, by others and by us.  Then everything else is overwritten,
# and its fsck and its files must not notice.

. "$(dirname "$0")/../functions.sh"
set -e
set -x
. "$support/used.sh"
requires mkfs.xfs
requires xfs_db
requires xfs_repair

# xfs SIZE OPTION...
xfs ()
{
    local size=$1 i free list groups
    shift
    {
        echo /dev/null
        echo 0 0
        echo d--755 0 0
        echo many d--755 0 0
        for i in "$files"/many/*; do
            echo "$(basename "$i") ---644 0 0 $i"
        done
        echo '$'
        echo "large ---644 0 0 $files/large"
        echo '$'
    } >"$tmp/proto"
    fresh "$size"
    mkfs.xfs -q -p "$tmp/proto" "$@" "$disk" 2>"$tmp/mkfs.log"
    dump xfs exact
    by_partclone xfs more
    # xfs_db counts the blocks that are kept for the trees.
    free=$(xfs_db -r -c 'freesp -s' "$disk" |
        awk '/^total free blocks/ { print $4 }')
    groups=$(xfs_db -r -c 'sb 0' -c 'p agcount' "$disk" | cut -d' ' -f3)
    list=$(for ((i = 0; i < groups; i++)); do
        printf 'agf %d\np flcount\n' "$i"
    done | xfs_db -r "$disk" | awk '/flcount/ { n += $NF } END { print n }')
    used freesp "$ours" $((free - list)) "$(stat -c %s "$disk")"
    used xfs-list "$ours" "$disk" >"$tmp/before.list"
    same "files" 60 "$(wc -l <"$tmp/before.list")"
    spoil
    xfs_repair -n "$disk"
    used xfs-list "$ours" "$disk" >"$tmp/after.list"
    cmp "$tmp/before.list" "$tmp/after.list"
    (cd "$files/many" && sha256sum ./* | sed 's,\([^ ]*\)  ./\(.*\),\2 \1,') |
        sort | cmp - <(sort "$tmp/after.list")
}

xfs 400M
xfs 400M -m crc=0
xfs 400M -b size=1024 -m rmapbt=1,reflink=1
xfs 600M -m crc=0 -b size=512 -d agcount=5 -l version=1
xfs 3G -s size=4096 -d su=64k,sw=4 -l su=256k
fresh 15T
mkfs.xfs -q "$disk"
dump xfs exact

fresh 400M
mkfs.xfs -q "$disk"
damage 2000 0
mkfs.xfs -q -f -m crc=0 "$disk"
damage 1000

# The unmount record is not one.
fresh 400M
mkfs.xfs -q "$disk"
eval "$(xfs_db -r -c 'sb 0' -c 'p logstart agblklog agblocks blocksize' \
    "$disk" | sed 's/ = /=/')"
log_off=$(((logstart >> agblklog) * agblocks * blocksize +
    (logstart & ((1 << agblklog) - 1)) * blocksize))
poke $((log_off + 512 + 9)) '\0'
refused xfs "log was not played"
fresh 400M
mkfs.xfs -q "$disk"
poke 900000 'not in use'
dump xfs exact
poke $((512 + 52)) '\x12'
refused xfs "checksum of the header of group 0"
# A tree of which one record says too much.
fresh 400M
mkfs.xfs -q -m crc=0 "$disk"
root=$(xfs_db -r -c 'agf 0' -c 'p bnoroot' "$disk" | awk '{ print $3 }')
poke $((root * 4096 + 16 + 6)) '\x11'
refused xfs "blocks are free, its tree"
