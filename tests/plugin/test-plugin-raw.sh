#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A raw image: size, bytes, allocation, what the client is told.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-img
requires jq
requires nbdcopy
requires mke2fs -V

map ()
{
    qemu-img map --output=json -f raw "$1" |
        jq -c '.[] | [.start, .length, .zero, .data]'
}

truncate -s 20M "$tmp/fs"
mke2fs -q -F -d "$support" "$tmp/fs"
# Reserved but unwritten space becomes "data" when it is only read.
cp --sparse=always "$tmp/fs" "$tmp/disk.img"

# Before the plugin has it, because then qemu-img can't lock it; and when the
# file system has decided where the data go.
sync "$tmp/disk.img"
map "$tmp/disk.img" >"$tmp/map.file"
cp "$tmp/disk.img" "$tmp/original"

start_nbdkit image "$tmp/disk.img"

nbdinfo --json "$uri" >"$tmp/info.json"
info () { jq -r ".exports[0].\"$1\"" "$tmp/info.json"; }
same size "$(info export-size)" 20971520
same description "$(info description)" "raw, 20 MiB"
same name "$(info export-name)" disk.img
same read-only "$(info is_read_only)" false
same rotational "$(info is_rotational)" false
for can in cache fast_zero flush fua multi_conn trim zero; do
    same "can_$can" "$(info can_$can)" true
done
same minimum "$(info block_size_minimum)" 1
same preferred "$(info block_size_preferred)" 4096
same maximum "$(info block_size_maximum)" $((32 * 1024 * 1024))

nbdcopy "$uri" "$tmp/copy"
same_bytes "$tmp/copy" "$tmp/disk.img"
qemu-img compare -f raw -F raw "$tmp/original" "$uri"

# What the file system of the file says about it is what clients are told.
map "$uri" >"$tmp/map.nbd"
diff -u "$tmp/map.file" "$tmp/map.nbd"

# A size that no sector divides, and no size at all.
stop_nbdkit
printf 1234567 >"$tmp/odd.img"
: >"$tmp/empty.img"
start_nbdkit image format=raw "$tmp/odd.img" "$tmp/empty.img"
same "odd size" "$(nbdinfo --size "$(export_uri odd.img)")" 7
nbdcopy "$(export_uri odd.img)" "$tmp/copy-odd"
same_bytes "$tmp/copy-odd" "$tmp/odd.img"
same "no size" "$(nbdinfo --size "$(export_uri empty.img)")" 0
