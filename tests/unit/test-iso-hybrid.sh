#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Images that are a CD and a disk: the tables are those that xorriso and
# sfdisk see, and the bytes stay as they are.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires xorriso -version
requires genisoimage -version
requires sfdisk --version
requires jq --version

show=$abs_top_builddir/tests/unit/show
dump=$abs_top_builddir/tests/support/image-dump

mkdir "$tmp/files"
head -c 500000 /dev/urandom > "$tmp/files/data"
head -c 2048 /dev/urandom > "$tmp/files/bios.img"
truncate -s 2M "$tmp/files/efi.img"
# What xorriso takes for isolinux' code: it begins with a jump over the block
# of an Apple partition map.
{
    printf '\x33\xed'
    printf '\x90%.0s' {1..30}
    head -c 400 /dev/urandom
} > "$tmp/mbr"

# Apple's entries, as xorriso reports them, without that of the map itself.
by_xorriso ()
{
    xorriso -indev "$1" -report_system_area plain 2>/dev/null | awk '
        /^APM block size/ { unit = $NF }
        /^APM partition name/ { name[$5] = $6 }
        /^APM partition type/ { type[$5] = $6 }
        /^APM start and size/ {
            printf "%s ‘%s’, %d bytes at offset %d\n", type[$6], name[$6],
                $8 * unit, $7 * unit
        }'
}

# check IMAGE HYBRID
check ()
{
    "$show" image "$1" > "$tmp/shown" 2> "$tmp/said"
    cat "$tmp/shown" "$tmp/said"
    test ! -s "$tmp/said"
    "$dump" "$1" > "$tmp/dumped"
    same_bytes "$tmp/dumped" "$1"
    grep "^format=iso\$" "$tmp/shown"
    test "$(sed -n 's/^hybrid=//p' "$tmp/shown")" = "$2"
    sed -n -E 's/^apple-partition-[0-9]+=//p' "$tmp/shown" |
        { grep -v '^Apple_partition_map ' || :; } > "$tmp/ours"
    by_xorriso "$1" > "$tmp/theirs"
    diff -u "$tmp/theirs" "$tmp/ours"
}

# The partitions of MBR or GPT.
check_partitions ()
{
    "$show" part "$1" | tail -n +2 | cut -d' ' -f1-3 > "$tmp/ours"
    test -s "$tmp/ours"
    sfdisk --json "$1" | jq -r '.partitiontable.partitions[] |
        "\(.node | capture("(?<n>[0-9]+)$").n) \(.start) \(.size)"' \
        > "$tmp/theirs"
    diff -u "$tmp/theirs" "$tmp/ours"
}

make ()
{
    xorriso -as mkisofs -quiet -r -V HYBRID -o "$tmp/h.iso" "$@" "$tmp/files"
}

make
check "$tmp/h.iso" ''

make -c boot.cat -b bios.img -no-emul-boot -boot-load-size 4 \
    -isohybrid-mbr "$tmp/mbr"
check "$tmp/h.iso" MBR
check_partitions "$tmp/h.iso"

make -c boot.cat -b bios.img -no-emul-boot -boot-load-size 4 \
    -isohybrid-mbr "$tmp/mbr" -eltorito-alt-boot -e efi.img -no-emul-boot \
    -isohybrid-gpt-basdat
check "$tmp/h.iso" 'MBR, GPT'

make -c boot.cat -b bios.img -no-emul-boot -boot-load-size 4 \
    -isohybrid-mbr "$tmp/mbr" -eltorito-alt-boot -e efi.img -no-emul-boot \
    -isohybrid-gpt-basdat -isohybrid-apm-hfsplus
check "$tmp/h.iso" 'MBR, GPT, APM'

make -partition_offset 16 -append_partition 2 0x83 "$tmp/files/efi.img"
check "$tmp/h.iso" MBR
check_partitions "$tmp/h.iso"

for size in 512 2048; do
    make -hfsplus -apm-block-size $size
    check "$tmp/h.iso" APM
    grep 'Apple_HFS ‘HFSPLUS_Hybrid’' "$tmp/ours"
done

genisoimage -quiet -hfs -V HYBRID -o "$tmp/h.iso" "$tmp/files"
"$show" image "$tmp/h.iso" | grep '^hybrid=HFS$'

if command -v grub-mkrescue > /dev/null; then
    grub-mkrescue -o "$tmp/h.iso" "$tmp/files" > "$tmp/log" 2>&1 ||
        { cat "$tmp/log"; exit 1; }
    check "$tmp/h.iso" 'MBR, GPT, APM'
    check_partitions "$tmp/h.iso"
fi
