#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# File systems are named as blkid names them in the file itself.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires blkid

show=$abs_top_builddir/tests/unit/show
disk=$tmp/disk
offset=$((5 * 1024 * 1024 + 512))

# What blkid says, in the manner of `show fs'.
by_blkid ()
{
    local name value status
    for name in LABEL TYPE USAGE UUID VERSION; do
        status=0
        value=$(blkid -p -o value -s "$name" "$@") || status=$?
        [ "$status" -ne 8 ] || { echo USAGE=ambivalent; return 0; }
        [ "$status" -eq 0 ] || [ "$status" -eq 2 ]
        [ -z "$value" ] || echo "$name=$value"
    done
}

compare ()
{
    by_blkid "$disk" > "$tmp/theirs"
    "$show" fs "$disk" | sort > "$tmp/ours"
    diff -u "$tmp/theirs" "$tmp/ours"
    grep "^TYPE=$1\$" "$tmp/ours"
    [ -z "$2" ] || grep "^LABEL=$2\$" "$tmp/ours"
}

# mkfs SIZE TYPE LABEL COMMAND...: a file system, named whole and as a part.
mkfs ()
{
    local size=$1 type=$2 label=$3
    shift 3
    if ! command -v "$1" > /dev/null; then
        echo "without $1: $type is not tested" >&2
        return 0
    fi
    rm -f "$disk"
    truncate -s "$size" "$disk"
    "$@" > "$tmp/mkfs.log" 2>&1 || { cat "$tmp/mkfs.log"; exit 1; }
    compare "$type" "$label"
}

mkfs 64M ext4 Vier mkfs.ext4 -F -q -L Vier "$disk"
mkfs 64M ext2 "" mkfs.ext2 -F -q "$disk"
mkfs 64M ntfs "Wörter" mkntfs -F -Q -q -L "Wörter" "$disk"
mkfs 2880K vfat FLOPPY mkfs.vfat -F 12 -n FLOPPY "$disk"
mkfs 64M vfat SIXTEEN mkfs.vfat -F 16 -n SIXTEEN "$disk"
mkfs 64M vfat THIRTYTWO mkfs.vfat -F 32 -n THIRTYTWO "$disk"
mkfs 200G vfat FAR mkfs.vfat -F 32 -s 128 -n FAR "$disk"
mkfs 64M exfat Extended mkfs.exfat -L Extended "$disk"
mkfs 1T exfat Far mkfs.exfat -L Far "$disk"
mkfs 400M xfs Journal mkfs.xfs -q -f -L Journal "$disk"
mkfs 400M btrfs Butter mkfs.btrfs -q -L Butter "$disk"
mkfs 64M f2fs Flash mkfs.f2fs -q -f -l Flash "$disk"
mkfs 64M swap Tausch mkswap -L Tausch "$disk"
mkfs 64M udf Universal mkudffs -b 2048 -l Universal "$disk"
mkfs 64M udf Blocks512 mkudffs -b 512 -l Blocks512 "$disk"
mkfs 8G udf "" mkudffs -b 4096 "$disk"
if command -v genisoimage > /dev/null; then
    mkdir -p "$tmp/files"
    echo hello > "$tmp/files/hello.txt"
    genisoimage -quiet -J -r -V PLAIN -o "$disk" "$tmp/files"
    compare iso9660 PLAIN
    genisoimage -quiet -udf -J -r -V BRIDGE -o "$disk" "$tmp/files"
    compare udf BRIDGE
fi

# The label of a FAT is in a code page, not in UTF-8.
if command -v mkfs.vfat > /dev/null; then
    rm -f "$disk"; truncate -s 64M "$disk"
    mkfs.vfat -F 32 -n UMLAUT "$disk" > /dev/null
    LC_ALL=C sed -i 's/UMLAUT/\x9aMLAUT/g' "$disk"
    "$show" fs "$disk" | grep $'^LABEL=\xef\xbf\xbdMLAUT$'

    # Deep in a long root directory.
    if command -v mmd > /dev/null; then
        rm -f "$disk"; truncate -s 64M "$disk"
        mkfs.vfat -F 32 -s 1 "$disk" > /dev/null
        export MTOOLS_SKIP_CHECK=1
        head -c 30000000 /dev/zero | mcopy -i "$disk" - ::/big
        mmd -i "$disk" $(printf '::/dir%03d ' {1..150})
        mlabel -i "$disk" ::Deep
        compare vfat DEEP
    fi
fi

# As a partition.
if command -v mkntfs > /dev/null; then
    rm -f "$disk" "$tmp/part"
    truncate -s 32M "$disk" "$tmp/part"
    mkntfs -F -Q -q -L Inside "$tmp/part"
    dd if="$tmp/part" of="$disk" bs=4M seek="$offset" oflag=seek_bytes \
        conv=notrunc status=none
    by_blkid -O "$offset" -S 33554432 "$disk" > "$tmp/theirs"
    "$show" fs "$disk" "$offset" 33554432 | sort > "$tmp/ours"
    diff -u "$tmp/theirs" "$tmp/ours"
    grep '^LABEL=Inside$' "$tmp/ours"
fi

# $MFT at 3 GiB: moved there, with nothing left in its old place.
if command -v mkntfs > /dev/null; then
    rm -f "$disk"; truncate -s 8G "$disk"
    mkntfs -F -Q -q -s 512 -c 4096 -L "Far away" "$disk"
    compare ntfs "Far away"
    mft=$(od -An -t u8 -j 48 -N 8 "$disk" | tr -d ' ')
    dd if="$disk" of="$disk" bs=4096 skip="$mft" count=16 \
        seek=786432 conv=notrunc status=none
    dd if=/dev/zero of="$disk" bs=4096 seek="$mft" count=16 \
        conv=notrunc status=none
    printf '\x00\x00\x0c\x00\x00\x00\x00\x00' |
        dd of="$disk" bs=1 seek=48 conv=notrunc status=none
    compare ntfs "Far away"
fi

# The volume descriptors of UDF at 32 MiB, with nothing left in their place.
if command -v mkudffs > /dev/null; then
    put_le32 ()
    {
        printf "$(printf '\\x%02x' $(($2 & 255)) $(($2 >> 8 & 255)) \
                         $(($2 >> 16 & 255)) $(($2 >> 24 & 255)))" |
            dd of="$disk" bs=1 seek="$1" conv=notrunc status=none
    }
    rm -f "$disk"; truncate -s 64M "$disk"
    mkudffs -b 2048 -l Moved "$disk" > /dev/null
    anchor=$((256 * 2048))
    from=$(od -An -t u4 -j $((anchor + 20)) -N 4 "$disk")
    dd if="$disk" of="$disk" bs=2048 skip=$((from)) seek=16384 count=16 \
        conv=notrunc status=none
    dd if=/dev/zero of="$disk" bs=2048 seek=$((from)) count=16 \
        conv=notrunc status=none
    for i in {0..15}; do
        put_le32 $(((16384 + i) * 2048 + 12)) $((16384 + i))
    done
    put_le32 $((anchor + 20)) 16384
    compare udf Moved
fi

# Two at once.
if command -v mkfs.xfs > /dev/null && command -v mkfs.ext4 > /dev/null; then
    rm -f "$disk"; truncate -s 400M "$disk"
    mkfs.xfs -q -f "$disk"
    head -c 1024 "$disk" > "$tmp/xfs"
    rm "$disk"; truncate -s 400M "$disk"
    mkfs.ext4 -q -F "$disk"
    dd if="$tmp/xfs" of="$disk" conv=notrunc status=none
    test "$("$show" fs "$disk")" = USAGE=ambivalent
    test "$(by_blkid "$disk")" = USAGE=ambivalent
fi

# Nothing.
rm -f "$disk"; truncate -s 1M "$disk"
test -z "$("$show" fs "$disk")"
