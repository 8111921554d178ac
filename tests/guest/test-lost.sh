#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# The server is killed, stops, or is cut off: with nbdimage attach all I/O
# ends within --timeout, no task stays stuck, the device comes off, and can
# be attached again.

. "$(dirname "$0")/../functions.sh"
. "$(dirname "$0")/guest.sh"
set -e

make_images ()
{
    truncate -s 64M "$images/disk.raw"
}

in_guest 800

timeout=6

# This tells what ends from what hangs.  How long it took is printed, not
# judged: an emulated machine on a busy host may take any time to start and end
# the programs.
slack=25
cp "$images/disk.raw" "$tmp/disk.raw"
cd "$tmp"
cleanup_fn sh -c 'umount mnt 2>/dev/null || :'

# now: sets it to seconds, with hundredths
now ()
{
    read -r now _ </proc/uptime
}

# io NAME COMMAND ARG...: in the background; when it ended goes to io.log
io ()
{
    local name=$1
    shift
    (
        now
        start=$now
        status=0
        "$@" >/dev/null 2>"io.$name" || status=$?
        now
        echo "$name $status $start $now" >>io.log
    ) &
    io_pids+=($!)
}

start_io ()
{
    rm -f io.*
    io_pids=()
}

# Again and again, until it fails.
forever ()
{
    while "$@"; do
        :
    done
    return 1
}

io_before ()
{
    io direct-read forever dd if="$dev" bs=64k iflag=direct
    io direct-write forever dd if=/dev/zero of="$dev" bs=64k oflag=direct \
       count=200
    io cached-read forever sh -c "blockdev --flushbufs $dev &&
                                  dd if=$dev bs=1M skip=20 count=20"
    io cached-write forever dd if=/dev/zero of="$dev" bs=1M seek=40 count=16 \
       conv=fsync
}

io_after ()
{
    io later-read dd if="$dev" bs=64k iflag=direct skip=100
    io later-write dd if=/dev/zero of="$dev" bs=64k oflag=direct seek=500
    io later-sync sync "$dev"
}

# io_ended LOST-AT BOUND: each has failed, so many seconds at most after the
# server was lost or it began
io_ended ()
{
    local lost=$1 bound=$2 deadline p alive=1

    now
    deadline=$((${now%.*} + bound + 60))
    while [ -n "$alive" ] && [ "${now%.*}" -lt "$deadline" ]; do
        alive=
        for p in "${io_pids[@]}"; do
            ! kill -0 "$p" 2>/dev/null || alive=1
        done
        [ -z "$alive" ] || pause 0.1
        now
    done
    awk -v lost="$lost" -v bound="$bound" -v slack=$slack '
        {
            from = $3 > lost ? $3 : lost
            printf "   %-12s failed after %.1f s\n", $1, $4 - from
            if ($4 - from > bound + slack) { print "too late: " $1; bad = 1 }
            if ($2 == 0 && $1 != "later-sync") {
                print "did not fail: " $1; bad = 1
            }
        }
        END { exit bad }' io.log || fail "I/O did not end as it should"
    [ -z "$alive" ] || fail "I/O hangs: $(cat io.log)"
    same "commands that ended" "$(wc -l <io.log)" "${#io_pids[@]}"
    no_stuck_task
}

# lose HOW: the server goes away; sets $lost
lose ()
{
    case $1 in
        kill) kill -KILL "$(server_pid "$dev")" ;;
        stop) kill -STOP "$(server_pid "$dev")" ;;
        cut) ip netns exec far ip route add blackhole 10.9.9.1 ;;
    esac
    now
    lost=$now
}

gone ()
{
    state_is "$1"
    detach "$dev"
}

# --------------------------------------------------- a private server, local

for n in 1 4; do
    for how in kill stop; do
        step "$how, $n connections"
        attach --write --connections $n --timeout $timeout disk.raw /dev/nbd1
        start_io
        io_before
        pause 1
        lose $how
        pause 1
        io_after
        io_ended "$lost" $timeout
        gone dead
        attach disk.raw /dev/nbd1
        dd if="$dev" of=/dev/null bs=1M count=4 status=none
        detach "$dev"
        nothing_left
    done

    step "stop of an idle device, $n connections"
    attach --write --connections $n --timeout $timeout disk.raw /dev/nbd1
    start_io
    lose stop
    pause 1
    io_after
    io_ended "$lost" $timeout
    gone dead
    nothing_left
done

step "kill of an idle device: I/O fails at once"
attach disk.raw /dev/nbd1
lose kill
pause 1
start_io
io read dd if="$dev" bs=64k count=1
io_ended "$lost" 1
gone dead
nothing_left

step "a mounted disk loses its server"
attach --write --timeout $timeout disk.raw /dev/nbd1
mkfs.ext4 -q "$dev"
mkdir -p mnt
mount "$dev" mnt
echo hello >mnt/file
sync mnt/file
lose stop
start_io
io write sh -c 'echo x >mnt/other && sync mnt/other'
io_ended "$lost" $timeout
refused 1 "is mounted at $tmp/mnt" nbdimage detach "$dev"
umount mnt
gone dead
attach --write disk.raw /dev/nbd1
mount "$dev" mnt                # the file may be in the journal
same "the file" "$(cat mnt/file)" hello
umount mnt
detach "$dev"
nothing_left

# ---------------------------------------------------------- without supervisor

# Then the kernel's timeouts remain: twice --timeout for each connection at
# the most (the manual says so).
for n in 1 4; do
    step "supervisor killed, then the server of a URI stopped, $n connections"
    start_nbdkit file disk.raw
    attach --write --connections $n --timeout 4 "$uri" /dev/nbd1
    kill -KILL "$(supervisor_pid "$dev")"
    dd if="$dev" of=/dev/null bs=1M count=4 status=none
    state_is unsupervised
    start_io
    io_before
    pause 1
    kill -STOP "$nbdkit_pid"
    now
    lost=$now
    io_ended "$lost" $((2 * 4 * n))
    nbdimage detach "$dev" || true
    kill -KILL "$nbdkit_pid"
    nothing_left
done

step "supervisor killed, the server of a URI is well: detach"
start_nbdkit file disk.raw
attach --write "$uri" /dev/nbd1
kill -KILL "$(supervisor_pid "$dev")"
detach "$uri"
stop_nbdkit
nothing_left

step "supervisor of a local image killed: dead, I/O fails, detach cleans"
attach --write disk.raw /dev/nbd1
kill -KILL "$(supervisor_pid "$dev")"
pause 1
start_io
now
lost=$now
io read dd if="$dev" bs=64k count=1 iflag=direct
io_ended "$lost" 1
state_is dead
nbdimage detach "$dev" || true
nothing_left

# ---------------------------------------------------------------- slow servers

step "a server that is only slow is not cut off"
start_nbdkit -r eval get_size='echo 16M' thread_model='echo parallel' \
             pread='[ $4 -lt 4194304 ] || [ $4 -ge 8388608 ] || sleep 6
                    head -c $3 /dev/zero'
attach --timeout 12 "$uri"
dd if="$dev" of=/dev/null bs=64k count=2 skip=80 iflag=direct status=none
state_is live
detach "$dev"
stop_nbdkit

step "a server that is lost while the disk is looked at"
start_nbdkit -r --filter=delay --filter=noparallel memory 1M rdelay=3
refused 1 "" nbdimage attach --timeout 4 "$uri"
kill -KILL "$nbdkit_pid"
nothing_left

for n in 1 4; do
    # It answers reads, so it is not gone: the kernel tries each connection.
    step "a flush that never ends, $n connections"
    start_nbdkit --threads=4 eval get_size='echo 1M' \
                 can_write='exit 0' can_flush='exit 0' \
                 can_multi_conn='exit 0' thread_model='echo parallel' \
                 pread='head -c $3 /dev/zero' pwrite='cat >/dev/null' \
                 flush='sleep 60'
    attach --write --connections $n --timeout $timeout "$uri"
    start_io
    now
    lost=$now
    io flush sync "$dev"
    io_ended "$lost" $((timeout * n))
    nbdimage detach "$dev" || true
    kill -KILL "$nbdkit_pid"
    nothing_left
done

# ------------------------------------------------------------------- a network

if command -v ip >/dev/null && modprobe veth 2>/dev/null; then
    for n in 1 4; do
        step "a network that is cut, $n connections"
        ip netns add far
        ip link add to-server type veth peer name to-client netns far
        ip addr add 10.9.9.1/24 dev to-server
        ip link set to-server up
        ip netns exec far ip addr add 10.9.9.2/24 dev to-client
        ip netns exec far ip link set to-client up
        ip netns exec far nbdkit -P far.pid -p 10809 file disk.raw
        for ((i = 0; i < 100; i++)); do
            [ ! -s far.pid ] || break
            pause 0.1
        done
        attach --write --connections $n --timeout $timeout \
               nbd://10.9.9.2 /dev/nbd1
        start_io
        io_before
        pause 1
        lose cut
        pause 1
        io_after
        io_ended "$lost" $timeout
        gone dead
        kill -KILL "$(cat far.pid)"
        ip link del to-server
        ip netns del far
        nothing_left
    done
fi
echo "passed"
