#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Very large disks, and requests for the status of 2^32 - 1 bytes.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires nbdinfo
client=$abs_top_builddir/tests/plugin/client

size=$((8 << 40))
truncate -s "$size" "$tmp/disk.img" ||
    skip "the file system has no files of 8 TiB"
printf boot | dd of="$tmp/disk.img" conv=notrunc status=none
printf tail | dd of="$tmp/disk.img" bs=1 seek=$((size - 4)) conv=notrunc \
    status=none
start_nbdkit image "$tmp/disk.img"
same size "$(nbdinfo --size "$uri")" "$size"

# Nothing is said about what lies behind the request, and nbdkit lives.
"$client" status "$uri" $((1 << 40)) 4294967295 >"$tmp/status"
same status "$(cat "$tmp/status")" "$((1 << 40)) 4294967295 3"
"$client" status "$uri" $((size - 4294967295)) 4294967295 >"$tmp/status"
same "end of the status" \
    "$(awk 'END { print $1 + $2 }' OFMT=%.0f CONVFMT=%.0f "$tmp/status")" \
    "$size"
same size "$(nbdinfo --size "$uri")" "$size"

# All of it is asked about in no time.
requires timeout 5 true
timeout 60 nbdinfo --map --totals "$uri" >"$tmp/totals"
cat "$tmp/totals"
grep -q 'hole,zero' "$tmp/totals"

"$client" nonsense "$uri"
