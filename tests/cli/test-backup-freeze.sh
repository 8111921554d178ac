#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# backup --freeze: what is mounted is saved as of one moment, and nothing stays
# frozen, however the command ends.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires_root
requires losetup
requires fsfreeze
requires jq
requires mkfs.ext4 -V
cd "$tmp"

truncate -s 300M disk.img
mkfs.ext4 -q disk.img
device=$(losetup --find --show disk.img) || skip "no loop devices"
cleanup_fn losetup -d "$device"
blockdev --setrw "$device"
mkdir "a folder"
cleanup_fn sh -c "fsfreeze -u '$tmp/a folder' 2>/dev/null
    umount '$tmp/a folder' 2>/dev/null || :"
mount "$device" "a folder" || skip "$device can't be mounted"
head -c 200M /dev/urandom >"a folder/data"

# is_free: can it be written?
is_free ()
{
    timeout 10 touch "a folder/free"
}

# wait_frozen: until nobody can write
wait_frozen ()
{
    for ((i = 0; i < 300; i++)); do
        if ! timeout -s KILL 0.3 sh -c "date >'$tmp/a folder/now'"; then
            return 0
        fi
        sleep 0.05
    done
    fail "it was never frozen"
}

# --- one moment, with somebody writing all the time

refuses nbdimage backup --single=x.nbi "$device"
contains "$tmp/refused" '--freeze'
(set +x
 while :; do
     date +%N >"a folder/one"
     cp "a folder/one" "a folder/two"
     rm "a folder/one"
 done) & writer=$!
cleanup_fn sh -c "kill $writer 2>/dev/null || :"
nbdimage backup --freeze --single=frozen.nbi "$device"
is_free
kill $writer
wait $writer || :
rm -f frozen.raw
nbdimage convert frozen.nbi -O raw frozen.raw
e2fsck -fn frozen.raw
debugfs -R 'dump data got' frozen.raw
cmp got "a folder/data"

# What was read before it was frozen is not what counts: a file that is written
# past the pages that the kernel has of the device.
head -c 1M /dev/urandom >"a folder/fresh"
sync
cat "$device" >/dev/null
head -c 1M /dev/urandom >fresh
cp fresh "a folder/fresh"
nbdimage backup --freeze --everything --single=fresh.nbi "$device"
rm -f fresh.raw got
nbdimage convert fresh.nbi -O raw fresh.raw
debugfs -R 'dump fresh got' fresh.raw
cmp got fresh
rm frozen.raw fresh.raw

# --- however it ends

# begin: a backup that takes its time
begin ()
{
    rm -f slow.nbi
    nbdimage backup --freeze --everything --codec=zstd:19 --threads=1 \
        --single=slow.nbi "$@" "$device" 2>err & pid=$!
    wait_frozen
}

for signal in INT TERM KILL; do
    begin
    kill -$signal $pid
    status=0
    wait $pid || status=$?
    [ "$status" -ne 0 ]
    is_free
    [ ! -e slow.nbi ]
done

# The guardian is killed: the other thaws, and is no backup of one moment.
begin
guardian=$(pgrep -P $pid)
[ -n "$guardian" ]
kill -KILL "$guardian"
status=0
wait $pid || status=$?
same "status" "$status" 1
contains err 'may not have been frozen all the time'
is_free
[ ! -e slow.nbi ]

# It gets SIGTERM, as all of a service does: it thaws at once.
begin
kill -TERM "$(pgrep -P $pid)"
is_free
status=0
wait $pid || status=$?
same "status" "$status" 1
contains err 'thawed before all of the disk was read'
[ ! -e slow.nbi ]

# It takes too long.
begin --freeze-limit=1
is_free
status=0
wait $pid || status=$?
same "status" "$status" 1
contains err '--freeze-limit'
[ ! -e slow.nbi ]

# --- refused

refuses nbdimage backup --freeze --single="a folder/x.nbi" "$device"
contains "$tmp/refused" 'would wait for itself'
refuses nbdimage backup --freeze --init "$device" "a folder/vault"
contains "$tmp/refused" 'would wait for itself'
status=0
nbdimage backup --freeze --single=- "$device" >"a folder/x" 2>err || status=$?
same "status" "$status" 1
contains err 'standard output'
fsfreeze -f "a folder"
refuses nbdimage backup --freeze --single=x.nbi "$device"
contains "$tmp/refused" 'frozen already'
# Somebody else's: it is as it was.
! timeout -s KILL 1 touch "a folder/x" || fail "it was thawed"
fsfreeze -u "a folder"
is_free
[ ! -e x.nbi ]
for wrong in "--freeze --live" "--freeze --freeze-limit=0"; do
    status=0
    nbdimage backup $wrong --single=x.nbi "$device" 2>err || status=$?
    same "status of $wrong" "$status" 2
done

# Nothing is mounted: there is nothing to freeze.
umount "a folder"
nbdimage backup --freeze --single=x.nbi "$device"
