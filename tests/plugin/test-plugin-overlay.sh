#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# overlay= and overlay-dir=: clients write, the image stays as it is, and what
# was written is there the next time.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-io --version
requires nbdcopy
requires xorriso

sum ()
{
    nbdcopy "$1" - | sha256sum
}

# The same again, without a flush, and killed while the client is there: when
# it goes, it flushes, and so does the server.
write_and_kill ()
{
    local i writer

    : >"$tmp/killed.log"
    stdbuf -oL qemu-io -t writeback -f raw -c 'write -P 0x55 1M 64k' \
        -c 'write -P 0x66 3000 1000' -c 'sleep 60000' "$uri" \
        >"$tmp/killed.log" 2>&1 &
    writer=$!
    for ((i = 0; i < 300; i++)); do
        [ "$(grep -c 'wrote [0-9]' "$tmp/killed.log")" -lt 2 ] || break
        sleep 0.1
    done
    same "what was written" "$(grep -c 'wrote [0-9]' "$tmp/killed.log")" 2
    kill -9 "$nbdkit_pid"
    kill -9 "$writer"
    wait "$writer" || true
}

mkdir "$tmp/tree" "$tmp/desks"
head -c 3000000 /dev/urandom >"$tmp/tree/file"
xorriso -as mkisofs -quiet -r -V OVERLAY -o "$tmp/cd.iso" "$tmp/tree"
truncate -s 40M "$tmp/disk.img"
head -c 1000000 /dev/urandom | dd of="$tmp/disk.img" conv=notrunc bs=1M \
    seek=3 status=none

# Over each kind of disk, and over an export.
start_nbdkit -r image "$tmp/disk.img"
export_of_disk=$uri
qemu-img create -q -f vpc -o force_size=on "$tmp/dynamic.vhd" 64M
for image in "$tmp/disk.img" "$tmp/cd.iso" "$tmp/dynamic.vhd" \
             "$export_of_disk"; do
    overlay=$tmp/overlay.vhd
    rm -f "$overlay"
    start_nbdkit image "$image" overlay="$overlay"
    qemu-io -f raw -c 'write -P 0x55 1M 64k' -c 'write -P 0x66 3000 1000' \
        "$uri"
    written=$(sum "$uri")
    stop_nbdkit
    rm "$overlay"
    start_nbdkit image "$image" overlay="$overlay"
    write_and_kill
    start_nbdkit image "$image" overlay="$overlay"
    same "after kill -9 over $image" "$(sum "$uri")" "$written"
    qemu-io -r -f raw -c 'read -P 0x55 1M 64k' -c 'read -P 0x66 3000 1000' \
        "$uri" >"$tmp/log"
    refuses grep failed "$tmp/log"
    stop_nbdkit
    start_nbdkit -r image "$image" overlay="$overlay"
    same "read-only over $image" "$(sum "$uri")" "$written"
    stop_nbdkit
    # Below nothing changed.
    start_nbdkit -r image "$image"
    refuses test "$(sum "$uri")" = "$written"
    stop_nbdkit
done

# A client has its own.
sum_of_disk=$(sha256sum <"$tmp/disk.img")
start_nbdkit image "$tmp/disk.img" overlay-dir="$tmp/desks"
desk ()
{
    export_uri "disk.img@$1"
}
same "what is below" "$(sum "$(export_uri disk.img)")" "$sum_of_disk"
same "what is below, unnamed" "$(sum "$uri")" "$sum_of_disk"
refuses qemu-io -f raw -c 'write 0 512' "$(export_uri disk.img)"
clients=
for i in 1 2 3; do
    qemu-io -f raw -c "write -P $i 0 4k" "$(desk "desk-$i")" &
    clients="$clients $!"
done
for pid in $clients; do
    wait "$pid"
done
for i in 1 2 3; do
    qemu-io -f raw -c "read -P $i 0 4k" "$(desk "desk-$i")" >"$tmp/log"
    refuses grep failed "$tmp/log"
    test -f "$tmp/desks/disk.img@desk-$i.vhd"
done
same "what is below, afterwards" "$(sha256sum <"$tmp/disk.img")" \
    "$sum_of_disk"
nbdinfo --list "$uri" >"$tmp/log"
for name in disk.img disk.img@desk-1 disk.img@desk-2 disk.img@desk-3; do
    contains "$tmp/log" "export=\"$name\":"
done

# Only what knows its parent by an identity of its own can be put into it.
refuses "$abs_top_builddir/nbdimage" commit --yes --parent-path="$tmp" \
    "$tmp/desks/disk.img@desk-1.vhd"
contains "$tmp/refused" "make a new image of both: nbdimage convert"
same "what is below, after commit" "$(sha256sum <"$tmp/disk.img")" \
    "$sum_of_disk"

# Names that are none.
for name in .x -x '' 'a/b' '..' 'a%20b' "$(printf '%65s' '' | tr ' ' a)"; do
    refuses nbdinfo --size "$(desk "$name")"
done
refuses nbdinfo --size "$(export_uri other.img@x)"
same "files" "$(ls "$tmp/desks" | wc -l)" 3
stop_nbdkit

# In the order of their names, whatever the folder's is.
mkdir "$tmp/shuffled"
for i in 7 2 9 4 1 8 3 6 5; do
    cp "$tmp/desks/disk.img@desk-1.vhd" "$tmp/shuffled/disk.img@desk-$i.vhd"
done
start_nbdkit image "$tmp/disk.img" overlay-dir="$tmp/shuffled"
nbdinfo --list "$uri" | sed -n 's/^export="\(.*@.*\)":$/\1/p' >"$tmp/log"
same "how many are listed" "$(wc -l <"$tmp/log")" 9
sort -c "$tmp/log"
stop_nbdkit

# They are there with the next server.
start_nbdkit image "$tmp/disk.img" overlay-dir="$tmp/desks"
qemu-io -f raw -c 'read -P 2 0 4k' "$(desk desk-2)" >"$tmp/log"
refuses grep failed "$tmp/log"
stop_nbdkit

# What can't be.
not_started ()
{
    local words=$1
    shift
    refuses nbdkit -U - image "$@" --run true >"$tmp/log" 2>&1
    contains "$tmp/log" "$words"
}
not_started 'overlay= is for one FILE' "$tmp/disk.img" "$tmp/cd.iso" \
    overlay="$tmp/x.vhd"
not_started "can't be used together" "$tmp/disk.img" overlay="$tmp/x.vhd" \
    overlay-dir="$tmp/desks"
not_started 'is not a folder' "$tmp/disk.img" overlay-dir="$tmp/disk.img"
not_started 'but its identity is' "$tmp/cd.iso" \
    overlay="$tmp/desks/disk.img@desk-1.vhd"
