#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Many connections at once that write, read back and verify.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires fio --enghelp=nbd

truncate -s 64M "$tmp/disk.img"
start_nbdkit -t 16 image "$tmp/disk.img"
fio --name=parallel --ioengine=nbd --uri="$uri" --numjobs=16 --size=4M \
    --offset_increment=4M --rw=randrw --bsrange=512-64k --blockalign=512 \
    --iodepth=4 --verify=crc32c --do_verify=1 --randrepeat=0 \
    --group_reporting --output="$tmp/fio.log" || {
    cat "$tmp/fio.log" >&2
    fail "fio found something else than it wrote"
}
grep -E 'err= *0' "$tmp/fio.log"
stop_nbdkit
