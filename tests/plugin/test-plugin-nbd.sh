#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A FILE may be an NBD URI whose bytes are an image.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires nbdcopy
requires jq
client=$abs_top_builddir/tests/plugin/client

head -c 3M /dev/urandom >"$tmp/disk.img"
cp "$tmp/disk.img" "$tmp/original"
start_nbdkit -r file dir="$tmp"
source=$(export_uri disk.img)
source_pid=$nbdkit_pid

start_nbdkit -v image "$source"
nbdcopy "$uri" "$tmp/copy"
same_bytes "$tmp/copy" "$tmp/original"
nbdinfo --json "$uri" >"$tmp/info.json"
same name "$(jq -r '.exports[0]."export-name"' "$tmp/info.json")" disk.img
same read-only "$(jq -r '.exports[0].is_read_only' "$tmp/info.json")" true
contains "$nbdkit_log" "is served read-only"

# The source goes away: an error, not zeros; a server that is not there is
# refused at the start.
stop_pid "$source_pid"
refuses nbdcopy "$uri" "$tmp/copy"
stop_nbdkit
refuses nbdkit -U - image "$source" --run true
contains "$tmp/refused" "$source: "

# Writing through.
start_nbdkit file "$tmp/disk.img"
source=$uri
start_nbdkit image "$source"
same name "$(nbdinfo --json "$uri" | jq -r '.exports[0]."export-name"')" nbd
"$client" random "$uri" $RANDOM 300 "$tmp/model"
stop_nbdkit
same_bytes "$tmp/disk.img" "$tmp/model"

# A source that takes whole blocks only: whoever writes is told.  The disk in
# a fixed VHD may end in the middle of one, and all of it is to be read.
requires qemu-img --version
whole_blocks ()
{
    start_nbdkit --filter=blocksize-policy file "$1" blocksize-minimum=4096 \
        blocksize-preferred=4096 blocksize-maximum=65536 \
        blocksize-error-policy=error
    start_nbdkit image "$uri"
}
whole_blocks "$tmp/disk.img"
same minimum "$(nbdinfo --json "$uri" |
    jq '.exports[0].block_size_minimum')" 4096
head -c 8388096 /dev/urandom >"$tmp/original"
qemu-img convert -f raw -O vpc -o subformat=fixed,force_size=on \
    "$tmp/original" "$tmp/disk.vhd"
whole_blocks "$tmp/disk.vhd"
nbdcopy "$uri" "$tmp/copy"
same_bytes "$tmp/copy" "$tmp/original"
qemu-img compare -f raw -F raw "$uri" "$tmp/original"
nbdinfo --map "$uri"
