#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A dynamic VHD of 2 TiB: the first read comes quickly, memory stays small.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-img
requires qemu-io --version
requires fio --enghelp=nbd
client=$abs_top_builddir/tests/plugin/client

# The largest that the format can say.
qemu-img create -q -f vpc -o force_size=on "$tmp/disk.vhd" 2040G
qemu-io -f vpc -c 'write -P 1 0 64M' -c 'write -P 2 1T 64M' \
    -c 'write -P 3 2190433320448 512' "$tmp/disk.vhd" >/dev/null

nbdinfo_size=$((2040 << 30))
start_nbdkit -r image "$tmp/disk.vhd"
now () { date +%s%N; }
for ((i = 0; i < 3; i++)); do
    start=$(now)
    "$client" connects "$uri" 1
    echo "connecting and the first read took $((($(now) - start) / 1000)) us"
done
same size "$(nbdinfo --size "$uri")" "$nbdinfo_size"
qemu-io -r -f raw -c 'read -P 1 0 64M' -c 'read -P 2 1T 64M' \
    -c 'read -P 0 64M 64M' -c 'read -P 3 2190433320448 512' "$uri" >"$tmp/log"
refuses grep -i -e failed -e error "$tmp/log"

nbdinfo --map "$uri" >"$tmp/map"
cat "$tmp/map"
same "allocated" "$(awk '$3 == 0 { n += $2 } END { print n }' "$tmp/map")" \
    $((64 * 1024 * 1024 * 2 + 2 * 1024 * 1024))

# nbdkit keeps a buffer of the largest request for each thread, so a new one.
stop_nbdkit
start_nbdkit -r image "$tmp/disk.vhd"
load ()
{
    fio --name=load --ioengine=nbd --uri="$uri" --size=128M --rw=randread \
        --bs=1M --iodepth=16 --numjobs="$1" --readonly --output="$tmp/fio.log" \
        --offset=0 --randrepeat=0 --ramp_time=0 || {
        cat "$tmp/fio.log" >&2
        fail "fio failed"
    }
}
peak ()
{
    awk '/VmHWM/ { print $2 }' "/proc/$nbdkit_pid/status"
}
load 1
kib=$(peak)
echo "peak memory, one connection with 16 requests of 1 MiB: $kib KiB"
if [ -z "${NBDIMAGE_ASAN:-}" ]; then
    [ "$kib" -lt $((64 * 1024)) ] || fail "nbdkit used $kib KiB"
fi
load 4
echo "the same with four connections: $(peak) KiB"
