#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# One image for all connections; other processes are kept out; a file that
# was replaced is noticed.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-io --version
client=$abs_top_builddir/tests/plugin/client

# hold URI: have a client connected, until let_go.
hold ()
{
    rm -f "$tmp/fifo" "$tmp/held"
    mkfifo "$tmp/fifo"
    "$client" hold "$1" <"$tmp/fifo" >"$tmp/held" &
    held=$!
    exec 9>"$tmp/fifo"
    for ((i = 0; i < 100; i++)); do
        [ ! -s "$tmp/held" ] || return 0
        sleep 0.1
    done
    fail "no connection"
}
let_go ()
{
    exec 9>&-
    wait "$held"
}

# becomes WHAT SIZE: when the server has noticed that the client before, which
# still held the image as it was, is gone.
becomes ()
{
    local size
    for ((i = 0; i < 300; i++)); do
        size=$(nbdinfo --size "$server")
        [ "$size" != "$2" ] || return 0
        sleep 0.1
    done
    fail "$1 is '$size', expected '$2'"
}

truncate -s 1M "$tmp/disk.img"
start_nbdkit image "$tmp/disk.img"
server=$uri
hold "$server"

# Another connection of this server shares the image.
qemu-io -f raw -c 'write -P 0x55 0 512' "$server"
qemu-io -f raw -c 'read -P 0x55 0 512' "$server" >"$tmp/log"
refuses grep failed "$tmp/log"

# Another server may not even read it while this one writes, and its client
# is told so, but it starts.
start_nbdkit image "$tmp/disk.img"
refuses nbdinfo --size "$uri"
contains "$nbdkit_log" "disk.img: is being written by another process"
stop_nbdkit
let_go

# Between two clients the image is free for others.  While one of them writes,
# no client gets it; then there is what that one wrote.
start_nbdkit image "$tmp/disk.img"
other=$uri
for ((i = 0; i < 300; i++)); do
    ! qemu-io -f raw -c 'write -P 0x66 0 512' "$other" 2>&1 |
        grep -q '^wrote' || break
    sleep 0.1
done
hold "$other"
refuses nbdinfo --size "$server"
let_go
for ((i = 0; i < 300; i++)); do
    ! nbdinfo --size "$server" || break
    sleep 0.1
done
qemu-io -f raw -c 'read -P 0x66 0 512' "$server" >"$tmp/log"
contains "$tmp/log" 'read 512/512'
refuses grep failed "$tmp/log"
stop_nbdkit

# Replace the file while nobody has it.
truncate -s 2M "$tmp/new.img"
mv "$tmp/new.img" "$tmp/disk.img"
becomes "size of the new file" 2097152
truncate -s 3M "$tmp/disk.img"
becomes "size after growing" 3145728

# Grow it while somebody has it: the next one, when nobody has, sees that.
hold "$server"
truncate -s 2560K "$tmp/disk.img"
let_go
becomes "size after growing in use" 2621440
truncate -s 3M "$tmp/disk.img"
becomes "size" 3145728

# While somebody has it, it stays what it was.
hold "$server"
truncate -s 4M "$tmp/new.img"
mv "$tmp/new.img" "$tmp/disk.img"
same "size while in use" "$(nbdinfo --size "$server")" 3145728
let_go
becomes "size afterwards" 4194304

# QEMU has locks of its own kind.  One that reads gets on with a server that
# reads; one that writes keeps readers out, and is kept out by them.
stop_nbdkit
truncate -s 1M "$tmp/vm.img"
qemu_holds ()
{
    local i

    rm -f "$tmp/qemu.in" "$tmp/qemu.out"
    mkfifo "$tmp/qemu.in"
    qemu-io "$@" -f raw "$tmp/vm.img" <"$tmp/qemu.in" >"$tmp/qemu.out" 2>&1 &
    held=$!
    exec 9>"$tmp/qemu.in"
    echo 'read 0 512' >&9
    for ((i = 0; i < 300; i++)); do
        ! grep -q 'read 512/512' "$tmp/qemu.out" || return 0
        sleep 0.1
    done
    cat "$tmp/qemu.out"
    fail "QEMU does not hold the image"
}
start_nbdkit -r image "$tmp/vm.img"
hold "$uri"
qemu-io -r -f raw -c 'read 0 512' "$tmp/vm.img" >"$tmp/log"
refuses grep -i lock "$tmp/log"
qemu-img info "$tmp/vm.img"
refuses qemu-io -f raw -c 'write 0 512' "$tmp/vm.img"
let_go

qemu_holds -r
[ "$(nbdinfo --size "$uri")" -eq 1048576 ]
let_go
stop_nbdkit
qemu_holds
start_nbdkit -r image "$tmp/vm.img" 9>&-
refuses nbdinfo --size "$uri"
contains "$nbdkit_log" "vm.img: is being written by another process"
let_go
[ "$(nbdinfo --size "$uri")" -eq 1048576 ]
