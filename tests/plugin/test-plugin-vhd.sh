#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# VHDs made by qemu-img: size, bytes, allocation; writing to fixed ones.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-img
requires qemu-io --version
requires jq
requires nbdcopy
client=$abs_top_builddir/tests/plugin/client

info () { nbdinfo --json "$uri" | jq -r ".exports[0].\"$1\""; }

# map FORMAT FILE: what reads as zeros without looking, and what does not.
map ()
{
    qemu-img map --output=json -f "$1" "$2" |
        jq -r '.[] | "\(.start) \(.length) \(.zero and (.data | not))"' |
        awk '$3 == kind { len += $2; next }
             NR > 1 { print start, len, kind }
             { start = $1; len = $2; kind = $3 }
             END { print start, len, kind }'
}

# A disk with holes of all sizes, the last sector in use.
"$support/make-disk.sh" mbr-ext4 "$tmp/disk"
printf end | dd of="$tmp/disk" bs=1 seek=$((96 * 1024 * 1024 - 3)) \
    conv=notrunc status=none
for type in dynamic fixed; do
    qemu-img convert -f raw -O vpc -o force_size=on,subformat=$type \
        "$tmp/disk" "$tmp/$type.vhd"
    map vpc "$tmp/$type.vhd" >"$tmp/$type.map"
done

for type in dynamic fixed; do
    start_nbdkit -v image "$tmp/$type.vhd"
    same size "$(info export-size)" $((96 * 1024 * 1024))
    case $(info description) in
        "VHD $type, 96 MiB, created by qemu"*) ;;
        *) fail "description: $(info description)" ;;
    esac
    nbdcopy "$uri" "$tmp/copy"
    same_bytes "$tmp/copy" "$tmp/disk"
    qemu-img compare -f raw -F raw "$tmp/disk" "$uri"
    map raw "$uri" >"$tmp/map"
    cat "$tmp/map"
    if [ $type = dynamic ]; then
        diff -u "$tmp/$type.map" "$tmp/map"
    fi
    same read-only "$(info is_read_only)" false
    "$client" nonsense "$uri"
    stop_nbdkit
done

# Two servers may serve a disk that neither writes.
start_nbdkit -r image "$tmp/dynamic.vhd"
first=$nbdkit_pid
same size "$(info export-size)" $((96 * 1024 * 1024))
start_nbdkit -r image "$tmp/dynamic.vhd"
same size "$(info export-size)" $((96 * 1024 * 1024))
stop_nbdkit
stop_pid "$first"

# Writing to a fixed VHD: the disk changes, the footer does not, and what
# reads VHDs sees it.
qemu-img create -q -f vpc -o subformat=fixed,force_size=on "$tmp/write.vhd" 8M
tail -c 512 "$tmp/write.vhd" >"$tmp/footer"
start_nbdkit image "$tmp/write.vhd"
"$client" random "$uri" $RANDOM 600 "$tmp/model"
"$client" nonsense "$uri"
qemu-io -f raw -c 'write -f -P 7 8388096 512' "$uri"
stop_nbdkit
printf '\7%.0s' {1..512} |
    dd of="$tmp/model" bs=512 seek=16383 conv=notrunc status=none
same size "$(stat -c %s "$tmp/write.vhd")" $((8 * 1024 * 1024 + 512))
tail -c 512 "$tmp/write.vhd" | cmp - "$tmp/footer"
qemu-img compare -f vpc -F raw "$tmp/write.vhd" "$tmp/model"

# format=: a VHD can be looked at as the file that it is; a file that is no
# VHD is not made one.
start_nbdkit -r image "$tmp/write.vhd" format=raw
same "size as raw" "$(info export-size)" $((8 * 1024 * 1024 + 512))
stop_nbdkit
refuses nbdkit -U - image "$tmp/disk" format=vhd --run true
contains "$tmp/refused" "$tmp/disk: "

# A damaged one is refused before nbdkit serves.
cp "$tmp/dynamic.vhd" "$tmp/damaged.vhd"
printf X | dd of="$tmp/damaged.vhd" bs=1 seek=$((512 + 20)) conv=notrunc \
    status=none
refuses nbdkit -U - image "$tmp/damaged.vhd" --run true
contains "$tmp/refused" "$tmp/damaged.vhd: "
contains "$tmp/refused" "checksum"

# In a folder it is left out, and the reason said; the others are served.
mkdir "$tmp/folder"
mv "$tmp/damaged.vhd" "$tmp/dynamic.vhd" "$tmp/fixed.vhd" "$tmp/folder"
start_nbdkit image dir="$tmp/folder"
grep -q "^nbdkit: image: warning: damaged.vhd: can't be served: the " \
    "$nbdkit_log" || fail "nbdkit's log has no such warning"
if grep -q 'error: warning' "$nbdkit_log"; then
    fail "a warning is called an error"
fi
nbdinfo --list --json "$uri" >"$tmp/list.json"
same list "$(jq -r '.exports[]."export-name"' "$tmp/list.json" | xargs)" \
    "dynamic.vhd fixed.vhd"
refuses nbdinfo --size "$(export_uri damaged.vhd)"
contains "$nbdkit_log" "]: error: damaged.vhd: the "
nbdcopy "$(export_uri dynamic.vhd)" "$tmp/copy"
same_bytes "$tmp/copy" "$tmp/disk"
