#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# nbdkit's filters on top of the plugin.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-io --version
requires sfdisk --version
requires nbdcopy
client=$abs_top_builddir/tests/plugin/client

requires_filter ()
{
    nbdkit --dump-plugin --filter="$1" null >/dev/null 2>&1 ||
        skip "nbdkit has no filter '$1'"
}

head -c 8M /dev/urandom >"$tmp/disk.img"
echo 'start=1MiB, size=3MiB' | sfdisk -q "$tmp/disk.img"
cp "$tmp/disk.img" "$tmp/original"
dd if="$tmp/disk.img" of="$tmp/part" bs=1M skip=1 count=3 status=none
dd if="$tmp/disk.img" of="$tmp/middle" bs=1M skip=2 count=2 status=none

# cow: writes are seen by clients and stay out of the file.
requires_filter cow
start_nbdkit --filter=cow image "$tmp/disk.img"
first=$nbdkit_pid
"$client" random "$uri" $RANDOM 300 "$tmp/model"
nbdcopy "$uri" "$tmp/copy"
same_bytes "$tmp/copy" "$tmp/model"
# The plugin is asked for reading only, so that two may do that.
start_nbdkit --filter=cow image "$tmp/disk.img"
nbdcopy "$uri" "$tmp/copy"
same_bytes "$tmp/copy" "$tmp/original"
stop_nbdkit
stop_pid "$first"
same_bytes "$tmp/disk.img" "$tmp/original"

filtered ()
{
    local filter=$1 expected=$2
    shift 2
    requires_filter "$filter"
    start_nbdkit -r --filter="$filter" image "$tmp/disk.img" "$@"
    nbdcopy "$uri" "$tmp/copy"
    stop_nbdkit
    same_bytes "$tmp/copy" "$expected"
}
filtered partition "$tmp/part" partition=1
filtered offset "$tmp/middle" offset=2M range=2M
filtered log "$tmp/original" logfile="$tmp/log"
grep -q 'Read id=' "$tmp/log"
filtered cache "$tmp/original"
filtered blocksize "$tmp/original" minblock=4096
filtered readahead "$tmp/original"
filtered noextents "$tmp/original"

# blocksize-policy: our sizes can be changed, and a policy set on them.
requires_filter blocksize-policy
start_nbdkit --filter=blocksize-policy image "$tmp/disk.img" \
    blocksize-minimum=4096 blocksize-error-policy=error
nbdinfo "$uri" | grep 'block_size_minimum: 4096'
qemu-io -f raw -c 'read 4096 4096' "$uri"
refuses "$client" write "$uri"          # 512 bytes
stop_nbdkit

# The cache filter writes back what it holds when it is flushed.
start_nbdkit --filter=cache image "$tmp/disk.img"
for file in "$tmp/original" "$uri"; do
    qemu-io -f raw -c 'write -P 1 1000 100000' -c 'write -z 50000 20000' \
        -c 'write -f -P 2 3M 1M' -c flush "$file"
done
stop_nbdkit
same_bytes "$tmp/disk.img" "$tmp/original"
