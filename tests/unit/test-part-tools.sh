#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Partition tables made by sfdisk and fdisk are read as those programs read
# them themselves.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires sfdisk
requires fdisk
requires jq

show=$abs_top_builddir/tests/unit/show
disk=$tmp/disk

# What sfdisk says, in the manner of `show part'.
by_sfdisk ()
{
    sfdisk --json "$disk" | jq -r '
        def hex: [(. / 16 | floor), . % 16] | map ("0123456789abcdef"[.:. + 1])
                 | add;
        .partitiontable | .id as $id | (.label == "dos") as $mbr |
        "\(if $mbr then "mbr" else "gpt" end) \($id | ascii_downcase) \(
           .sectorsize)",
        (.partitions // [] | .[] |
            (.node | capture ("(?<n>[0-9]+)$").n | tonumber) as $n |
            [ $n, .start, .size,
              if $mbr then "0x" + ("0" + .type)[-2:], "\($id[2:])-\($n | hex)"
              else (.type, .uuid | ascii_downcase) end,
              if .bootable or (.attrs // "" | contains ("LegacyBIOSBootable"))
              then "boot" else "-" end,
              "[\(.name // "")]" ] | map (tostring) | join (" "))'
}

compare ()
{
    by_sfdisk > "$tmp/theirs"
    "$show" part "$disk" "${1:-0}" > "$tmp/ours"
    diff -u "$tmp/theirs" "$tmp/ours"
}

fresh ()
{
    rm -f "$disk"
    truncate -s "$1" "$disk"
}

# MBR: as many partitions as sfdisk makes, 56 of them logical.
fresh 4G
{
    echo "label: dos"
    echo "label-id: 0xdeadbeef"
    echo "size=64M, type=7, bootable"
    echo "size=64M, type=83"
    echo "size=64M, type=82"
    echo "type=f"
    for i in {1..56}; do echo "size=$((i % 7 + 1))M, type=83"; done
} | sfdisk -q "$disk"
compare 512
test "$(wc -l < "$tmp/ours")" -eq 61

# Deleting a logical partition renumbers; a new one is last in the chain.
sfdisk -q --delete "$disk" 20
echo "start=$(sed -n 's/^20 \([0-9]*\) .*/\1/p' "$tmp/ours"), size=1M" |
    sfdisk -q --append "$disk" || :
compare

# An MBR without partitions.
fresh 1M
echo "label: dos" | sfdisk -q "$disk"
compare

# GPT: 128 partitions.
fresh 4G
{
    echo "label: gpt"
    for i in {1..128}; do
        echo "size=$((i % 7 + 1))M, name=\"part é $i\"$( ((i % 9)) || echo ', attrs=LegacyBIOSBootable')"
    done
} | sfdisk -q "$disk"
compare 512
test "$(wc -l < "$tmp/ours")" -eq 129
test ! -s <("$show" part "$disk" 512 2>&1 >/dev/null)

# GPT, a table for 1024 entries, with gaps in the numbers.
fresh 64M
sfdisk -q "$disk" <<'END'
label: gpt
table-length: 1024
disk1: size=1M, type=U
disk7: size=2M, type=L
disk900: size=3M, type=S
END
compare

# The backup alone gives the same, and the enlarged disk too.
cp "$tmp/ours" "$tmp/good"
dd if=/dev/zero of="$disk" bs=512 seek=1 count=1 conv=notrunc status=none
"$show" part "$disk" 512 2> "$tmp/said" | diff -u "$tmp/good" -
grep 'backup at sector 131071 is used' "$tmp/said"

# GPT in sectors of 4096 bytes.
fresh 256M
printf 'g\nn\n1\n\n+16M\nn\n5\n\n+32M\nt\n1\n1\nw\n' |
    fdisk -b 4096 "$disk" > /dev/null
"$show" part "$disk" 0 > "$tmp/ours"
{
    fdisk -b 4096 -l "$disk" |
        sed -n 's/^Disk identifier: \(.*\)$/gpt \L\1\E 4096/p'
    fdisk -b 4096 -l -o Device,Start,Sectors,Type-UUID,UUID "$disk" |
        sed -n "s,^$disk\([0-9]*\)  *\([0-9]*\)  *\([0-9]*\)  *\([^ ]*\)  *\([^ ]*\)\$,\1 \2 \3 \L\4 \5 - [],p"
} > "$tmp/theirs"
diff -u "$tmp/theirs" "$tmp/ours"
test "$(wc -l < "$tmp/ours")" -eq 3

# sgdisk's hybrid MBR.
if command -v sgdisk >/dev/null; then
    fresh 64M
    sgdisk -n 1:0:+8M -n 2:0:+8M -t 2:ef00 -c 2:Eins "$disk" > /dev/null
    compare
    cp "$tmp/ours" "$tmp/good"
    sgdisk -h 1 "$disk" > /dev/null
    "$show" part "$disk" 512 2> "$tmp/said" | diff -u "$tmp/good" -
    grep 'hybrid MBR' "$tmp/said"
fi
