#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# VHDXs that qemu-img makes read as what was put into them, and as libvhdi
# reads them.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-img --version
requires qemu-io --version

dump=$abs_top_builddir/tests/support/image-dump

# Data, zeros and an end that is not on a block: 5 MiB and a bit.
{
    head -c 1500000 /dev/urandom
    head -c 2000000 /dev/zero
    head -c 1750000 /dev/urandom
    head -c 1536 /dev/zero
} >"$tmp/raw"
truncate -s %512 "$tmp/raw"

# reads_right FILE
reads_right ()
{
    local size
    qemu-img convert -f vhdx -O raw "$1" "$tmp/theirs"
    "$dump" "$1" >"$tmp/ours" 2>"$tmp/warnings"
    cmp "$tmp/theirs" "$tmp/ours"
    [ ! -s "$tmp/warnings" ]
    size=$(stat -c %s "$tmp/theirs")
    same "size of $1" "$("$dump" --size "$1")" "$size"
}

for options in block_size=1M block_size=2M block_size=16M block_size=256M \
    log_size=16M block_state_zero=off,block_size=1M; do
    for subformat in dynamic fixed; do
        # Four blocks of 256 MiB would be written out.
        [ "$subformat $options" = "fixed block_size=256M" ] && continue
        qemu-img convert -f raw -O vhdx -o "subformat=$subformat,$options" \
            "$tmp/raw" "$tmp/disk.vhdx"
        reads_right "$tmp/disk.vhdx"
        cmp -n "$(stat -c %s "$tmp/raw")" "$tmp/raw" "$tmp/ours"
        "$dump" --info "$tmp/disk.vhdx" >"$tmp/info"
        grep -x "type: $subformat" "$tmp/info"
        grep '^creator: QEMU v' "$tmp/info"
        if type vhdiinfo >/dev/null; then
            # Another implementation agrees on what it is.
            vhdiinfo "$tmp/disk.vhdx" >"$tmp/libvhdi"
            same identifier \
                "$(sed -n 's/.*Identifier\s*: //p' "$tmp/libvhdi")" \
                "$(sed -n 's/^data-id: //p' "$tmp/info")"
        fi
    done
done

# More than one chunk, written here and there, and rewritten.
for block in 1M 32M; do
    qemu-img create -q -f vhdx -o "block_size=$block" "$tmp/disk.vhdx" 4100M
    qemu-io -f vhdx -c 'write -P 1 4294966784 1k' -c 'write -P 2 3G 3M' \
        -c 'write -P 3 0 512' -c 'write -P 4 4299161088 512' \
        -c 'write -P 5 4G 512' "$tmp/disk.vhdx" >"$tmp/log"
    refuses grep -i -e failed -e error "$tmp/log"
    reads_right "$tmp/disk.vhdx"
    rm "$tmp/theirs" "$tmp/ours"
done

# Of all sizes, and empty.
for size in 0 512 1M 2047M 3T 64T; do
    qemu-img create -q -f vhdx "$tmp/empty.vhdx" "$size"
    bytes=$(qemu-img info --output=json "$tmp/empty.vhdx" |
            sed -n 's/.*"virtual-size": \([0-9]*\),.*/\1/p')
    same size "$("$dump" --size "$tmp/empty.vhdx")" "$bytes"
    case $size in
    0) expected= ;;
    *) expected="0 $bytes hole 0" ;;
    esac
    same extents "$("$dump" --extents "$tmp/empty.vhdx")" "$expected"
done

# As large as it goes in the smallest blocks: 512 MiB of BAT are not read.
qemu-img create -q -f vhdx -o block_size=1M,block_state_zero=off \
    "$tmp/empty.vhdx" 64T
same size "$("$dump" --size "$tmp/empty.vhdx")" "$((64 << 40))"
