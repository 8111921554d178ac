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

truncate -s 80M disk.img
mkfs.ext4 -q disk.img
loop disk.img
mkdir "a folder"
cleanup_fn sh -c "fsfreeze -u '$tmp/a folder' 2>/dev/null
    umount '$tmp/a folder' 2>/dev/null || :"
mount "$device" "a folder" || skip "$device can't be mounted"
head -c 40M /dev/urandom >"a folder/data"

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
change_files "a folder"
nbdimage backup --freeze --single=frozen.nbi "$device"
is_free
end_changes
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

mkfifo pipe
# begin: a backup that goes on only when its pipe is read
begin ()
{
    nbdimage backup --freeze --everything --codec=none --threads=1 --single=- \
        "$@" "$device" >pipe 2>err & pid=$!
    exec 8<pipe
    guardian=
    for ((i = 0; i < 300; i++)); do
        guardian=$(pgrep -P $pid) || :
        [ -z "$guardian" ] || return 0
        sleep 0.1
    done
    fail "there is no guardian"
}

# end STATUS: read the rest
end ()
{
    status=0
    cat <&8 >/dev/null
    exec 8<&-
    wait $pid || status=$?
    same "status" "$status" "$1"
    is_free
}

for signal in INT TERM; do
    begin
    wait_frozen
    kill -$signal $pid
    end 1
    contains err 'interrupted'
done
begin
wait_frozen
kill -KILL $pid
is_free
end 137

# The guardian is killed: the other thaws, though it can't go on, and is no
# backup of one moment.
begin
wait_frozen
kill -KILL "$guardian"
is_free
end 1
contains err 'may not have been frozen all the time'

# It gets SIGTERM, as all of a service does: it thaws at once.
begin
wait_frozen
kill -TERM "$guardian"
is_free
end 1
contains err 'thawed before all of the disk was read'

# It takes too long: the guardian ends.
begin --freeze-limit=1
for ((i = 0; i < 300; i++)); do
    case $(ps -o stat= -p "$guardian") in Z* | '') break ;; esac
    sleep 0.1
done
end 1
contains err '--freeze-limit'

# --- no sooner than need be

fsfreeze -f "a folder"
refuses nbdimage backup --freeze "$device" vault
contains "$tmp/refused" 'there is no vault'
fsfreeze -u "a folder"

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
! timeout -s KILL 0.5 touch "a folder/x" || fail "it was thawed"
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
