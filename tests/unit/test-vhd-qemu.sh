#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# VHDs that qemu-img makes read as what was put into them.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-img
requires cmp
requires truncate

dump=$abs_top_builddir/tests/support/image-dump

# Data, zeros and an end that is not on a block: 5 MiB and a bit.
{
    head -c 1500000 /dev/urandom
    head -c 2000000 /dev/zero
    head -c 1750000 /dev/urandom
    head -c 1536 /dev/zero
} >"$tmp/raw"
truncate -s %512 "$tmp/raw"

for subformat in fixed dynamic; do
    for force in on off; do
        qemu-img convert -f raw -O vpc \
            -o subformat=$subformat,force_size=$force \
            "$tmp/raw" "$tmp/disk.vhd"
        # Without force_size qemu makes the disk longer.
        qemu-img convert -f vpc -O raw "$tmp/disk.vhd" "$tmp/theirs"
        "$dump" "$tmp/disk.vhd" >"$tmp/ours"
        cmp "$tmp/theirs" "$tmp/ours"
        cmp -n "$(stat -c %s "$tmp/raw")" "$tmp/raw" "$tmp/ours"
        "$dump" --info "$tmp/disk.vhd" | grep -x "type: $subformat"
        "$dump" --info "$tmp/disk.vhd" | grep '^creator: qemu '
    done
done

# As large as qemu goes, and empty.
qemu-img create -f vpc -o force_size=on "$tmp/big.vhd" 2040G
[ "$("$dump" --extents "$tmp/big.vhd")" = "0 $((2040 << 30)) hole 0" ]

# Fixed, larger than a dynamic one can be.
if truncate -s 3T "$tmp/sparse" 2>/dev/null; then
    rm "$tmp/sparse"
    qemu-img create -f vpc -o subformat=fixed,force_size=on \
        "$tmp/fixed.vhd" 2040G
    [ "$("$dump" --size "$tmp/fixed.vhd")" = "$((2040 << 30))" ]
fi
