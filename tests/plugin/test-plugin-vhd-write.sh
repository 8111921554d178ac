#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Writing into dynamic VHDs through nbdkit: others read what was written, and
# what was flushed is there after nbdkit was killed.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-img --version
requires qemu-io --version
requires nbdcopy --version
client=$abs_top_builddir/tests/plugin/client

# same_disk VHD RAW: what others and we read of it
same_disk ()
{
    qemu-img compare -f vpc -F raw "$1" "$2"
    nbdkit -r -U - image "$1" --run "nbdcopy \"\$uri\" '$tmp/read.img'"
    same_bytes "$tmp/read.img" "$2"
    rm "$tmp/read.img"
}

# Random requests of any alignment, to blocks of each size.
for block_size in 512K 1M 2M; do
    nbdimage create --block-size=$block_size "$tmp/random.vhd" 40M
    start_nbdkit image "$tmp/random.vhd"
    "$client" random "$uri" $RANDOM 1500 "$tmp/model"
    stop_nbdkit
    same_disk "$tmp/random.vhd" "$tmp/model"
    rm "$tmp/random.vhd"
done

# An image that qemu made, with blocks and without.
qemu-img create -q -f vpc -o force_size=on "$tmp/qemu.vhd" 40M
qemu-io -f vpc -c "write -P 1 3M 1M" -c "write -P 2 21M 100k" "$tmp/qemu.vhd"
qemu-img convert -f vpc -O raw "$tmp/qemu.vhd" "$tmp/local.img"
cat >"$tmp/commands" <<'END'
write -P 0x11 0 1M
write -f -P 0x22 3500000 512
write -z 4M 64k
write -z -u 2M 2M
write -P 0x33 20M 4M
discard 22M 2M
flush
write -P 0x55 22M 512
write -P 0x44 41942528 512
END
start_nbdkit image "$tmp/qemu.vhd"
qemu-io -f raw "$uri" <"$tmp/commands" >"$tmp/qemu-io.log"
refuses grep -i -e error -e failed "$tmp/qemu-io.log"
qemu-io -f raw "$tmp/local.img" <"$tmp/commands" >/dev/null
stop_nbdkit
same_disk "$tmp/qemu.vhd" "$tmp/local.img"
qemu-img check -f vpc "$tmp/qemu.vhd" 2>&1 | grep -e "No errors" \
    -e "does not support checks"

# A disk with data and holes, over four connections; libvhdi reads it too.
head -c 9M /dev/urandom >"$tmp/copy.img"
truncate -s 30M "$tmp/copy.img"
head -c 3M /dev/urandom >>"$tmp/copy.img"
truncate -s 64M "$tmp/copy.img"
nbdimage create "$tmp/copy.vhd" 64M
start_nbdkit image "$tmp/copy.vhd"
nbdcopy --connections=4 --flush "$tmp/copy.img" "$uri"
stop_nbdkit
same_disk "$tmp/copy.vhd" "$tmp/copy.img"
[ "$(stat -c %s "$tmp/copy.vhd")" -lt $((18 * 1024 * 1024)) ]
if command -v vhdiinfo >/dev/null; then
    vhdiinfo "$tmp/copy.vhd" >"$tmp/vhdiinfo"
    contains "$tmp/vhdiinfo" "64 MiB"
fi

# Opened and closed without writing it stays what it was.
cp "$tmp/copy.vhd" "$tmp/before.vhd"
start_nbdkit image "$tmp/copy.vhd"
qemu-io -f raw -c "read 0 4k" "$uri"
stop_nbdkit
same_bytes "$tmp/copy.vhd" "$tmp/before.vhd"

# Killed after a flush, while more is written.
nbdimage create "$tmp/killed.vhd" 256M
start_nbdkit image "$tmp/killed.vhd"
qemu-io -f raw -c "write -P 0x61 1M 9M" -c "flush" "$uri"
qemu-io -t writeback -f raw -c "write -P 0x62 32M 200M" "$uri" \
    >"$tmp/killed.log" 2>&1 &
writer=$!
for ((i = 0; i < 500; i++)); do
    [ "$(stat -c %s "$tmp/killed.vhd")" -lt $((40 * 1024 * 1024)) ] || break
    sleep 0.01
done
kill -KILL "$(cat "$tmp/nbdkit$_nr_nbdkit.pid")"
wait "$writer" || true
nbdimage info "$tmp/killed.vhd" 2>"$tmp/killed.err"
same "warnings" "$(cat "$tmp/killed.err")" ""
qemu-io -r -f vpc -c "read -P 0x61 1M 9M" -c "read -P 0 12M 20M" \
    "$tmp/killed.vhd" >"$tmp/read.log"
refuses grep -i -e error -e failed "$tmp/read.log"
start_nbdkit image "$tmp/killed.vhd"
qemu-io -f raw -c "write -P 0x63 250M 1M" -c flush "$uri"
stop_nbdkit
qemu-io -r -f vpc -c "read -P 0x61 1M 9M" -c "read -P 0x63 250M 1M" \
    "$tmp/killed.vhd" >"$tmp/read.log"
refuses grep -i -e error -e failed "$tmp/read.log"

# When its last client has gone nothing is left to be done to the file, which
# may be replaced in place.
nbdimage create "$tmp/replaced.vhd" 64M
start_nbdkit image "$tmp/replaced.vhd"
qemu-io -f raw -c "write 3M 4k" -c "write 9M 4k" -c "write 30M 4k" -c flush \
    "$uri"
for ((i = 0; i < 500; i++)); do
    [ "$(stat -c %s "$tmp/replaced.vhd")" -gt $((7 * 1024 * 1024)) ] || break
    sleep 0.01
done
cp "$tmp/copy.vhd" "$tmp/replaced.vhd"
qemu-io -f raw -c "read 0 4k" "$uri"
stop_nbdkit
same_bytes "$tmp/replaced.vhd" "$tmp/copy.vhd"
