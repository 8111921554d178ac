#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# info --map is what qemu-img map says, and the picture is made of it.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires qemu-img --version
requires sfdisk --version

# disk IMAGE: [offset, length] of data, neighbours merged.
merge='reduce .[] as $e ([];
    if length > 0 and .[-1][0] + .[-1][1] == $e[0]
    then .[-1][1] += $e[1] else . + [$e] end)'

compare ()
{
    nbdimage info --map --json "$1" |
        jq -c "[.map[] | select (.kind == \"data\") | [.offset, .length]] |
               $merge" >"$tmp/ours"
    qemu-img map -f "$2" --output=json "$1" |
        jq -c "[.[] | select (.data) | [.start, .length]] | $merge" \
           >"$tmp/theirs"
    [ "$(cat "$tmp/ours")" != "[]" ]
    diff "$tmp/ours" "$tmp/theirs" || fail "--map and qemu-img differ on $1"
    # The list for people is the same list.
    nbdimage info --map "$1" |
        awk 'NR > 1 && $3 == "data" { print "[" $1 "," $2 "]" }' |
        jq -c -s "$merge" | diff "$tmp/ours" - ||
        fail "--map and --map --json differ on $1"
    # It covers the disk without gaps.
    nbdimage info --map --json "$1" |
        jq -e '. as $a | reduce .map[] as $e (0;
               if . == $e.offset then . + $e.length else -1 end) == $a.size'
}

truncate -s 100M "$tmp/disk.img"
for mib in 0 7 8 9 40 99; do
    dd if=/dev/urandom of="$tmp/disk.img" bs=64K seek=$((mib * 16)) \
       count=$((mib % 5 + 1)) conv=notrunc status=none
done
qemu-img convert -f raw -O vpc -o force_size=on "$tmp/disk.img" "$tmp/disk.vhd"
compare "$tmp/disk.vhd" vpc
compare "$tmp/disk.img" raw
same "the sum of data" \
     "$(nbdimage info --json "$tmp/disk.vhd" | jq .data)" \
     "$(nbdimage info --map --json "$tmp/disk.vhd" |
        jq '[.map[] | select (.kind == "data").length] | add')"

# A disk of 100 MiB in 50 cells, each 2 MiB as the blocks of the VHD are:
# full at 0, 6 (7 MiB), 8, 40 and 98, which is cell 0, 3, 4, 20, 49.
COLUMNS=54 nbdimage info --picture "$tmp/disk.vhd" >"$tmp/out"
bar=$(grep '▕' "$tmp/out")
same "the picture" "$bar" \
     "  ▕█  ██               █                            █▏"
LC_ALL=C COLUMNS=54 nbdimage info --picture "$tmp/disk.vhd" >"$tmp/out"
contains "$tmp/out" "  [#  ##               #                            #]"

# Not on a terminal, no picture; below it, the partitions.
nbdimage info "$tmp/disk.vhd" >"$tmp/out"
! grep -q '▕' "$tmp/out"
truncate -s 100M "$tmp/parts.img"
printf '%s\n' 'label: dos' '2048,20480' '40960,61440' | sfdisk -q "$tmp/parts.img"
LC_ALL=C COLUMNS=54 nbdimage info --picture "$tmp/parts.img" >"$tmp/out"
contains "$tmp/out" '   \_1__/    \______2______/ '
