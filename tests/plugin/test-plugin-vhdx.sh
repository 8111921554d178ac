#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# VHDXs made by qemu-img: size, bytes, allocation, sectors of 4096 bytes, one
# of 64 TiB, and one whose log was not replayed.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-img --version
requires qemu-io --version
requires jq --version
requires nbdcopy --version
client=$abs_top_builddir/tests/plugin/client

info () { nbdinfo --json "$uri" | jq -r ".exports[0].\"$1\""; }

# A disk with holes of all sizes, the last sector in use.
"$support/make-disk.sh" mbr-ext4 "$tmp/disk"
printf end | dd of="$tmp/disk" bs=1 seek=$((96 * 1024 * 1024 - 3)) \
    conv=notrunc status=none
for type in dynamic fixed; do
    qemu-img convert -f raw -O vhdx -o subformat=$type,block_size=1M \
        "$tmp/disk" "$tmp/$type.vhdx"
    cp "$tmp/$type.vhdx" "$tmp/before"
    start_nbdkit -r image "$tmp/$type.vhdx"
    same size "$(info export-size)" $((96 * 1024 * 1024))
    case $(info description) in
        "VHDX $type, 96 MiB, created by QEMU v"*) ;;
        *) fail "description: $(info description)" ;;
    esac
    same read-only "$(info is_read_only)" true
    nbdcopy "$uri" "$tmp/copy"
    same_bytes "$tmp/copy" "$tmp/disk"
    qemu-img compare -f raw -F raw "$tmp/disk" "$uri"
    "$client" nonsense "$uri"
    stop_nbdkit
    # Whatever was asked for, the file is as it was.
    same_bytes "$tmp/$type.vhdx" "$tmp/before"
done

# What is not allocated is a hole.
qemu-img create -q -f vhdx -o block_size=1M "$tmp/sparse.vhdx" 1G
qemu-io -f vhdx -c 'write -P 1 5M 2M' -c 'write -P 2 1023M 1M' \
    "$tmp/sparse.vhdx" >/dev/null
start_nbdkit image "$tmp/sparse.vhdx"
nbdinfo --map "$uri" | awk '{ print $1, $2, $3 }' >"$tmp/map"
same map "$(xargs <"$tmp/map")" "0 5242880 3 5242880 2097152 0 7340032 \
1065353216 3 1072693248 1048576 0"
stop_nbdkit

# The same disk in sectors of 4096 bytes: in QEMU's layout the item with their
# size is at 0x310020.  Clients are told, for a partition table depends on it.
same "logical sector size" \
    "$(od -A n -t u4 -j $((0x310020)) -N 4 "$tmp/dynamic.vhdx" | xargs)" 512
cp "$tmp/dynamic.vhdx" "$tmp/4096.vhdx"
printf '\0\20\0\0' | dd of="$tmp/4096.vhdx" bs=1 seek=$((0x310020)) \
    conv=notrunc status=none
start_nbdkit image "$tmp/dynamic.vhdx" "$tmp/4096.vhdx"
uri=$(export_uri dynamic.vhdx)
same "minimum of 512" "$(info block_size_minimum)" 1
uri=$(export_uri 4096.vhdx)
same "minimum of 4096" "$(info block_size_minimum)" 4096
nbdcopy "$uri" "$tmp/copy"
same_bytes "$tmp/copy" "$tmp/disk"
stop_nbdkit

# A damaged one is refused before nbdkit serves, and left out of a folder.
mkdir "$tmp/folder"
mv "$tmp/dynamic.vhdx" "$tmp/folder"
printf X | dd of="$tmp/fixed.vhdx" bs=1 seek=$((0x300000)) conv=notrunc \
    status=none
refuses nbdkit -U - image "$tmp/fixed.vhdx" --run true
contains "$tmp/refused" "fixed.vhdx: there is no metadata table"
mv "$tmp/fixed.vhdx" "$tmp/folder"
start_nbdkit image dir="$tmp/folder"
contains "$nbdkit_log" "fixed.vhdx: can't be served: there is no metadata"
nbdcopy "$(export_uri dynamic.vhdx)" "$tmp/copy"
same_bytes "$tmp/copy" "$tmp/disk"
stop_nbdkit

# The largest disk, in the smallest blocks, in the usual ones and in blocks
# whose table is just small enough to be held.  Opening it takes no more
# memory than others.
now () { date +%s%N; }
for block in 1M 32M 64M; do
    qemu-img create -q -f vhdx -o "block_size=$block,block_state_zero=off" \
        "$tmp/huge.vhdx" 64T
    qemu-io -f vhdx -c 'write -P 1 0 64k' -c 'write -P 2 40T 64k' \
        -c 'write -P 3 70368744177152 512' "$tmp/huge.vhdx" >/dev/null
    start_nbdkit -r image "$tmp/huge.vhdx"
    start=$(now)
    "$client" connects "$uri" 1
    echo "connecting and the first read took $((($(now) - start) / 1000)) us"
    same size "$(nbdinfo --size "$uri")" $((64 << 40))
    qemu-io -r -f raw -c 'read -P 1 0 64k' -c 'read -P 2 40T 64k' \
        -c 'read -P 0 64k 10M' -c 'read -P 0 20T 1M' \
        -c 'read -P 3 70368744177152 512' "$uri" >"$tmp/log"
    refuses grep -i -e failed -e error "$tmp/log"
    kib=$(awk '/VmHWM/ { print $2 }' "/proc/$nbdkit_pid/status")
    echo "peak memory with blocks of $block: $kib KiB"
    if [ -z "${NBDIMAGE_ASAN:-}" ]; then
        [ "$kib" -lt $((64 * 1024)) ] || fail "nbdkit used $kib KiB"
    fi
    stop_nbdkit
    rm "$tmp/huge.vhdx"
done

# A log that was not replayed is, in memory: with what qemu-img makes of the
# file it is the same disk, and the file was left as it was.
[ -d "$samples" ] || exit 0
file=$(sample vhdx/dirtylog-10G.vhdx)
cp --sparse=always "$file" "$tmp/repaired.vhdx"
start_nbdkit -v -r image "$file"
contains "$nbdkit_log" "its log was replayed in memory (entries: 1)"
same_bytes "$file" "$tmp/repaired.vhdx"
qemu-img check -q -r all -f vhdx "$tmp/repaired.vhdx"
qemu-img compare -f raw -F vhdx "$uri" "$tmp/repaired.vhdx"
