#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What ext2, ext3 and ext4 use, by others and by us.  Then everything else is
# overwritten, and its fsck and its files must not notice.

. "$(dirname "$0")/../functions.sh"
set -e
set -x
. "$support/used.sh"
requires mke2fs
requires debugfs
requires dumpe2fs

# ext SIZE OPTION...
ext ()
{
    local size=$1 i
    shift
    fresh "$size"
    mke2fs -q -F -d "$files" "$@" "$disk" 2>"$tmp/mke2fs.log"
    for i in 00 07 13 21 22 40; do echo "rm many/f$i"; done |
        debugfs -w -f - "$disk" >/dev/null 2>&1
    dump "ext[234]" exact
    dumpe2fs "$disk" >"$theirs" 2>/dev/null
    used dumpe2fs "$ours" "$theirs"
    # partclone does not know bigalloc.
    [[ "$*" == *bigalloc* ]] || by_partclone extfs exact
    rm -rf "$tmp/before" "$tmp/after"
    mkdir "$tmp/before" "$tmp/after"
    debugfs -R "rdump / $tmp/before" "$disk" 2>/dev/null
    spoil
    e2fsck -fn "$disk"
    debugfs -R "rdump / $tmp/after" "$disk" 2>/dev/null
    same "files" 55 "$(hashes "$tmp/before" | wc -l)"
    same "files" "$(hashes "$tmp/before")" "$(hashes "$tmp/after")"
}

ext 40M -t ext2 -b 1024
ext 64M -t ext3 -b 2048
ext 300M -t ext4 -b 1024
ext 300M -t ext4 -b 4096 -O ^flex_bg
ext 300M -t ext4 -b 1024 -O meta_bg,^resize_inode
ext 700M -t ext4 -b 4096 -O bigalloc -C 65536
ext 700M -t ext4 -b 4096 -O 64bit,^metadata_csum
ext 700M -t ext4 -b 4096 -O ^uninit_bg,^metadata_csum
ext 700M -t ext4 -b 4096 -O ^64bit -g 1024
ext 700M -t ext4 -b 4096 -O sparse_super2 -E packed_meta_blocks=1
ext 700M -t ext4 -b 1024 -O ^sparse_super,^resize_inode
# Smaller than the partition: the rest is used.
truncate -s +1M "$disk"
dump ext4 exact
same "the last run" "734003200 1048576" "$(tail -1 "$ours")"
truncate -s -2M "$disk"
refused ext4 "longer than the partition"
# With checksums nothing may get lost; without, it must just end.
fresh 300M
mke2fs -q -F -t ext4 -b 1024 -d "$files" "$disk"
damage 2000 0
mke2fs -q -F -t ext2 -b 1024 -d "$files" "$disk"
damage 1000

# A very big one.
fresh 15T
mke2fs -q -F -t ext4 -O 64bit -E lazy_itable_init=1,nodiscard -N 100000 \
    -J size=4 "$disk"
dump ext4 exact
dumpe2fs "$disk" >"$theirs" 2>/dev/null
used dumpe2fs "$ours" "$theirs"

fresh 64M
mke2fs -q -F -t ext4 "$disk"
debugfs -w -R "feature needs_recovery" "$disk" >/dev/null 2>&1
refused ext4 "journal was not played"
fresh 64M
mke2fs -q -F -t ext4 "$disk"
debugfs -w -R "ssv state 0" "$disk" >/dev/null 2>&1
refused ext4 "was not unmounted"
fresh 64M
mke2fs -q -F -t ext4 "$disk"
block=$(dumpe2fs "$disk" 2>/dev/null |
    sed -n 's/.*Block bitmap at \([0-9]*\).*/\1/p' | head -1)
cp --sparse=always "$disk" "$tmp/good"
poke $((block * $(dumpe2fs -h "$disk" 2>/dev/null |
    awk '/^Block size/ { print $3 }') + 700)) '\x55'
refused ext4 "checksum of the block bitmap of group 0"
# Without checksums the numbers do not fit.
fresh 64M
mke2fs -q -F -t ext2 -b 4096 "$disk"
block=$(dumpe2fs "$disk" 2>/dev/null |
    sed -n 's/.*Block bitmap at \([0-9]*\).*/\1/p' | head -1)
poke $((block * 4096)) '\xfe'
refused ext2 "group 0 says that"
