#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A read that the file can't answer is an error with its reason, not zeros.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-io --version

head -c 1M /dev/urandom >"$tmp/disk.img"
start_nbdkit image "$tmp/disk.img"
qemu-io -f raw -c 'read 0 1M' "$uri"
qemu-io -f raw -c 'read 0 512' -c "sleep 1500" -c 'read 524288 512' \
    -c 'read 0 512' "$uri" >"$tmp/log" 2>&1 &
reader=$!
sleep 0.7
truncate -s 512K "$tmp/disk.img"
wait "$reader" || true
cat "$tmp/log"
contains "$tmp/log" "read failed: Input/output error"
same "reads that worked" "$(grep -c '^read 512/512' "$tmp/log")" 2
contains "$nbdkit_log" "disk.img: the file ends at offset 524288"
