#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What F2FS uses, by others and by us.  Then everything else is overwritten,
# and its fsck and its files must not notice.

. "$(dirname "$0")/../functions.sh"
set -e
set -x
. "$support/used.sh"
requires mkfs.f2fs
requires sload.f2fs
requires fsck.f2fs

# fill SIZE OPTION...: sload makes more logs than mkfs, and no compact summaries
fill ()
{
    local size=$1
    shift
    fresh "$size"
    mkfs.f2fs -q "$@" "$disk" >"$tmp/mkfs.log"
    sload.f2fs -f "$files" "$disk" >"$tmp/sload.log"
}

fsck () { fsck.f2fs --dry-run "$disk" >"$tmp/fsck.log"; }

# f2fs SIZE OPTION...
f2fs ()
{
    fill "$@"
    dump f2fs exact
    # It reads no large bitmaps.
    case " $* " in *" -i "*) ;; *) by_partclone f2fs more;; esac
    used f2fs-list "$ours" "$disk" | sort >"$tmp/before.list"
    (cd "$files" && find . -type f -exec sha256sum {} + |
        sed 's,\([^ ]*\)  .*/\(.*\),\2 \1,') | sort |
        cmp - "$tmp/before.list"
    spoil
    used f2fs-list "$ours" "$disk" | sort | cmp - "$tmp/before.list"
    fsck
    ! grep '\[Fail\]' "$tmp/fsck.log"
}

# crc FILE: of a checkpoint, made right
crc ()
{
    python3 - "$1" <<'END'
import struct, sys, zlib
with open(sys.argv[1], "r+b") as f:
    data = f.read(4092)
    # Not inverted, and with a start that is.
    sum = zlib.crc32(data, 0xf2f52010 ^ 0xffffffff) ^ 0xffffffff
    f.write(struct.pack("<I", sum))
END
}

# checkpoint OFFSET BYTES: changed in the first, at its beginning and its end.
checkpoint ()
{
    local total

    dd if="$disk" of="$tmp/cp" bs=4096 skip=512 count=1 status=none
    total=$(od -An -tu4 -j 136 -N 4 "$tmp/cp" | tr -d ' ')
    printf "$2" | dd of="$tmp/cp" bs=1 seek="$1" conv=notrunc status=none
    crc "$tmp/cp"
    for at in 512 $((512 + total - 1)); do
        dd if="$tmp/cp" of="$disk" bs=4096 seek="$at" conv=notrunc status=none
    done
}

f2fs 100M
damage 1000
f2fs 100M -i
damage 1000
f2fs 300M -s 4 -z 2 -w 4096
f2fs 1G -O extra_attr,inode_checksum,sb_checksum,inode_crtime,quota,lost_found
# mkfs makes compact summaries.
fresh 100M
mkfs.f2fs -q "$disk" >"$tmp/mkfs.log"
dump f2fs exact
damage 1000
cp "$disk" "$tmp/empty"

fresh 100M
mkfs.f2fs -q -O extra_attr,ro "$disk" >"$tmp/mkfs.log"
refused f2fs "features that are not known: 0x4008"
fresh 100M
truncate -s 100M "$tmp/second"
mkfs.f2fs -q -c "$tmp/second" "$disk" >"$tmp/mkfs.log"
refused f2fs "on several devices"

# Made by Linux: frozen, with a second copy of the SIT and few blocks of many
# segments; and after an unmount, a mount, and an fsync.
kernel ()
{
    rm -f "$disk"
    "$abs_top_builddir/tests/fuzz/encode" -d \
        "$abs_top_srcdir/tests/fuzz/corpus/used/f2fs-$1" "$disk"
}
kernel frozen
dump f2fs exact
used f2fs-list "$ours" "$disk" | sort >"$tmp/before.list"
same "files" 20 "$(wc -l <"$tmp/before.list")"
grep -qx "letter $(printf 'L%.0s' {1..4096} | sha256sum | cut -d' ' -f1)" \
    "$tmp/before.list"
damage 1000 0
spoil
used f2fs-list "$ours" "$disk" | sort | cmp - "$tmp/before.list"
fsck
! grep '\[Fail\]' "$tmp/fsck.log"
kernel fsynced
refused f2fs "written to after its last checkpoint"

same_disk () { cp "$tmp/empty" "$disk"; }
same_disk
poke $((4096 + 1024 + 110)) 'uuid'
refused f2fs "two superblocks of the F2FS differ"
same_disk
poke $((1024 + 2794)) '\1'
poke $((4096 + 1024 + 2794)) '\1'
refused f2fs "notes of errors"
same_disk
poke $((1024 * 4096 + 200)) '\1'
refused f2fs "checksum of the checkpoint at block 1024"
same_disk
poke $((517 * 4096 + 4000)) '\1'
refused f2fs "block 512 was not written to its end"
same_disk
truncate -s 99M "$disk"
refused f2fs "longer than the partition"
# With errors; with one node that the SIT does not have.
same_disk
checkpoint 132 '\x8d'
refused f2fs "has errors, needs its fsck"
same_disk
checkpoint 144 '\2'
refused f2fs "its checkpoint 2, 2, 36"
same_disk
checkpoint 144 '\1'
dump f2fs exact
# The log of warm nodes is in segment 1.  Of the other version in the same
# place nothing is to be played, not even with the flag of an unmount.
version=$(dd if="$disk" bs=4096 skip=512 count=1 status=none |
    od -An -tx1 -N 4 | sed 's/ /\\x/g')
poke $(((4096 + 512) * 4096 + 4084)) "$version"
refused f2fs "written to after its last checkpoint"
poke $(((4096 + 512) * 4096 + 4084)) '\0\0\0\0'
dump f2fs exact
grep -qx "$(((4096 + 512) * 4096)) 4096" "$ours"
# In the journal: a segment whose map has another block; none of them.
journal=$((513 * 4096 + 507))
poke $((journal + 2 + 4 + 2)) '\xf0'
refused f2fs "says that 1 blocks are used, its map 4"
same_disk
poke "$journal" '\0'
refused f2fs "has 0 blocks, 0 nodes, 36 free segments, its checkpoint 2, 1, 36"
