#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# serve: the URIs work, and it ends cleanly, leaving nothing behind.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires nbdinfo --version
requires nbdcopy --version
requires qemu-img --version
requires qemu-io --version

# All of the JSON is there.  (To jq, nothing at all is true.)
is_ready ()
{
    [ -s "$tmp/serve.json" ] && jq -e .uri "$tmp/serve.json" >/dev/null 2>&1
}

# serve ARG...: $serve_pid, and $tmp/serve.json with the exports.
serve ()
{
    local i

    : >"$tmp/serve.json"
    nbdimage serve --json "$@" >"$tmp/serve.json" 2>"$tmp/serve.err" &
    serve_pid=$!
    cleanup_fn stop_pid "$serve_pid"
    for ((i = 0; i < 300; i++)); do
        ! is_ready || return 0
        kill -0 "$serve_pid" 2>/dev/null || break
        sleep 0.1
    done
    cat "$tmp/serve.err" >&2
    fail "serve did not start: $*"
}

# All below serve_pid, as "PID PID ...".
children ()
{
    cat "/proc/$serve_pid/task/$serve_pid/children"
}

# ended SIGNAL: it ends with status 0, with all its children.
ended ()
{
    local status=0 child list

    list=$(children)
    [ -n "$list" ] || fail "serve has no children"
    SECONDS=0
    kill -s "$1" "$serve_pid"
    wait "$serve_pid" || status=$?
    [ "$SECONDS" -lt 9 ] || fail "it took $SECONDS seconds to end"
    same "status after SIG$1" "$status" 0
    for child in $list; do
        [ ! -e "/proc/$child" ] || fail "process $child is left"
    done
}

uri_of ()
{
    jq -r ".exports[] | select (.name == \"$1\").uri" "$tmp/serve.json"
}

dd if=/dev/urandom of="$tmp/disk.img" bs=1M count=4 status=none
truncate -s 8M "$tmp/disk.img"
qemu-img convert -f raw -O vpc -o force_size=on "$tmp/disk.img" "$tmp/disk.vhd"
odd="$tmp/-o,dd=na me%.img"
cp "$tmp/disk.img" "$odd"

# One image, any port: the bytes of the disk, not of the file.
serve --port 0 "$tmp/disk.vhd"
uri=$(jq -r '.exports[0].uri' "$tmp/serve.json")
same "size" "$(nbdinfo --size "$uri")" 8388608
nbdcopy "$uri" "$tmp/copy"
same_bytes "$tmp/copy" "$tmp/disk.img"
same "its size" "$(jq '.exports[0].size' "$tmp/serve.json")" 8388608
same "can it be written" "$(jq '.exports[0]."read-only"' "$tmp/serve.json")" \
     true
nbdinfo --is readonly "$uri"
port=$(sed -E 's,.*:([0-9]+)/.*,\1,' <<<"$uri")

# The port is in use now: one sentence.
status=0
nbdimage serve --port "$port" "$tmp/disk.img" 2>"$tmp/err" || status=$?
same "status for a port in use" "$status" 1
same "the sentence" "$(cat "$tmp/err")" \
     "nbdimage: port $port on 127.0.0.1 is in use: some other server listens there"
ended TERM
refuses nbdinfo "$uri"

# Several on a Unix socket, with a name that needs care everywhere.
(cd "$tmp" && cp disk.vhd './=x.vhd')
sock=$tmp/so,ck=et
: >"$tmp/serve.json"            # not only in the background, some time
(cd "$tmp"; exec nbdimage serve --json -u "$sock" -- disk.vhd "=x.vhd" \
    "-o,dd=na me%.img") >"$tmp/serve.json" 2>"$tmp/serve.err" &
serve_pid=$!
cleanup_fn stop_pid "$serve_pid"
for ((i = 0; i < 300; i++)); do
    ! is_ready || break
    sleep 0.1
done
same "exports" "$(jq -c '[.exports[].name] | sort' "$tmp/serve.json")" \
     '["-o,dd=na me%.img","=x.vhd","disk.vhd"]'
same "mode of the socket" "$(stat -c %a "$sock")" 600
for name in "-o,dd=na me%.img" "=x.vhd" disk.vhd; do
    nbdcopy "$(uri_of "$name")" "$tmp/copy"
    same_bytes "$tmp/copy" "$tmp/disk.img"
done
refuses nbdimage serve -u "$sock" "$tmp/disk.img"
contains "$tmp/refused" "$sock: a file of that name exists"
[ -S "$sock" ] || fail "the second server took the socket of the first away"
ended INT
[ ! -e "$sock" ] || fail "the socket is left"

# A client in the midst of something does not keep it.
serve -p 0 --write "$tmp/disk.img"
uri=$(jq -r '.exports[0].uri' "$tmp/serve.json")
nbdinfo --can write "$uri"
exec 7<>"/dev/tcp/127.0.0.1/$(sed -E 's,.*:([0-9]+)/.*,\1,' <<<"$uri")"
read -r -N 8 -u 7 greeting
same "what a client hears first" "$greeting" NBDMAGIC
# And one that is connected and does nothing more.
qemu-io -f raw -c 'read 0 512' -c 'sleep 60000' "$uri" >"$tmp/qemu-io" &
qemu_io=$!
cleanup_fn stop_pid "$qemu_io"
for ((i = 0; i < 300; i++)); do
    if grep -q 'read 512' "$tmp/qemu-io"; then break; fi
    sleep 0.1
done
ended HUP
exec 7<&-
kill "$qemu_io"

# Of those that are differencing over what is written, it is said.
nbdimage create "$tmp/below.vhd" 4M
nbdimage create "$tmp/above.vhd" --parent "$tmp/below.vhd"
serve -u "$sock" --write "$tmp/below.vhd"
contains "$tmp/serve.err" "above.vhd is differencing over this disk"
ended TERM
serve -u "$sock" "$tmp/below.vhd"
refuses grep -q 'is differencing over' "$tmp/serve.err"
ended TERM

# --write writes; --throw-away does not, but clients see it; else nobody may.
cp "$tmp/disk.img" "$tmp/written.img"
head -c 8388608 /dev/urandom >"$tmp/new.img"
serve -u "$sock" --write "$tmp/written.img"
nbdcopy "$tmp/new.img" "$(jq -r '.exports[0].uri' "$tmp/serve.json")"
ended TERM
same_bytes "$tmp/written.img" "$tmp/new.img"
sum=$(sha256sum <"$tmp/disk.vhd")
serve -u "$sock" --throw-away "$tmp/disk.vhd"
uri=$(jq -r '.exports[0].uri' "$tmp/serve.json")
nbdcopy "$tmp/new.img" "$uri"
nbdcopy "$uri" "$tmp/copy"
same_bytes "$tmp/copy" "$tmp/new.img"
ended TERM
same "the image after --throw-away" "$(sha256sum <"$tmp/disk.vhd")" "$sum"

# A folder.
mkdir "$tmp/folder"
cp "$tmp/disk.vhd" "$tmp/folder/one.vhd"
serve -u "$sock" "$tmp/folder"
nbdcopy "$(uri_of one.vhd)" "$tmp/copy"
same_bytes "$tmp/copy" "$tmp/disk.img"
ended TERM

# For people: a line that begins with the URI.
nbdimage serve -u "$sock" "$tmp/disk.vhd" >"$tmp/out" &
serve_pid=$!
cleanup_fn stop_pid "$serve_pid"
for ((i = 0; i < 300; i++)); do
    if grep -q Ctrl-C "$tmp/out"; then break; fi
    sleep 0.1
done
nbdinfo "$(awk '/^nbd/ { print $1 }' "$tmp/out")"
ended TERM

# A warning comes once, in our words.
head -c 8388608 "$tmp/disk.img" >"$tmp/cut.vhd"
serve -u "$sock" "$tmp/cut.vhd"
same "warnings" "$(grep -c 'its name ends in' "$tmp/serve.err")" 1
contains "$tmp/serve.err" "nbdimage: warning: $tmp/cut.vhd: its name ends in"
ended TERM

# Of a folder in which nothing can be served, it does not say "empty"; advice
# is in our words.
mkdir "$tmp/orphan"
cp "$tmp/cut.vhd" "$tmp/orphan"
nbdimage create "$tmp/gone.vhd" 4M
nbdimage create --parent="$tmp/gone.vhd" "$tmp/orphan/child.vhd"
rm "$tmp/gone.vhd"
: >"$tmp/out"
nbdimage serve -u "$sock" "$tmp/orphan" >"$tmp/out" 2>"$tmp/serve.err" &
serve_pid=$!
cleanup_fn stop_pid "$serve_pid"
for ((i = 0; i < 300; i++)); do
    if grep -q Ctrl-C "$tmp/out"; then break; fi
    sleep 0.1
done
contains "$tmp/out" "No image in $tmp/orphan can be served yet."
contains "$tmp/serve.err" "none of the images in the folder (1) can be served"
contains "$tmp/serve.err" "name its folder in --parent-path"
refuses grep -E '[^-](parent-path|format=)' "$tmp/serve.err"
ended TERM
refuses nbdimage serve -u "$sock" --format=raw "$tmp/orphan"
contains "$tmp/refused" "--format= is for a FILE"

# Nor is there a use for a server of what another process is writing.
our_sock=$sock
start_nbdkit image "$tmp/disk.img"
: >"$tmp/qemu-io"
qemu-io -f raw -c 'read 0 512' -c 'sleep 60000' "$uri" >"$tmp/qemu-io" &
qemu_io=$!
cleanup_fn stop_pid "$qemu_io"
for ((i = 0; i < 300; i++)); do
    if grep -q 'read 512' "$tmp/qemu-io"; then break; fi
    sleep 0.1
done
status=0
nbdimage serve -u "$sock.2" "$tmp/disk.img" 2>"$tmp/err" || status=$?
same "status for an image that is being written" "$status" 1
contains "$tmp/err" "disk.img: is being written by another process"
kill "$qemu_io"
stop_nbdkit
sock=$our_sock

# What can't be served is refused before anything listens.
status=0
nbdimage serve -u "$sock" "$tmp/disk.vhd" "$tmp/nothing" 2>"$tmp/err" ||
    status=$?
same "status for a missing image" "$status" 1
contains "$tmp/err" "nbdimage: $tmp/nothing: "
nbdimage create "$tmp/saved.vhd" 1M
make_saved_state "$tmp/saved.vhd"
status=0
nbdimage serve -u "$sock" --write "$tmp/saved.vhd" 2>"$tmp/err" || status=$?
same "status for --write on a saved state" "$status" 1
contains "$tmp/err" "saved state"
printf '\x7f' | dd of="$tmp/disk.vhd" bs=1 seek=63 conv=notrunc status=none
printf '\x7f' | dd of="$tmp/disk.vhd" bs=1 conv=notrunc status=none \
                   seek=$(($(stat -c %s "$tmp/disk.vhd") - 512 + 63))
status=0
nbdimage serve -u "$sock" "$tmp/disk.vhd" 2>"$tmp/err" || status=$?
same "status for a damaged image" "$status" 3
[ ! -e "$sock" ] || fail "the socket is left"
