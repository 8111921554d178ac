#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# serve: nbdkit crashes and is back on the same address, however often; where
# it can't be, serve fails and says why; our own death ends nbdkit.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires nbdinfo --version

# The sanitizers would make an exit of it.
export ASAN_OPTIONS=handle_segv=0

truncate -s 1M "$tmp/disk.img"
sock=$tmp/sock
uri="nbd+unix:///?socket=$sock"

start ()
{
    : >"$tmp/out"
    nbdimage serve -u "$sock" "$@" >"$tmp/out" 2>"$tmp/err" &
    serve_pid=$!
    cleanup_fn stop_pid "$serve_pid"
    for ((i = 0; i < 300; i++)); do
        if grep -q Ctrl-C "$tmp/out"; then return 0; fi
        sleep 0.1
    done
    fail "serve did not start"
}

# The child of serve that is nbdkit, and not the one given.
nbdkit_pid ()
{
    local i pid

    for ((i = 0; i < 100; i++)); do
        for pid in $(cat "/proc/$serve_pid/task/$serve_pid/children"); do
            if [ "$pid" != "${1:-}" ] &&
               [ "$(cat "/proc/$pid/comm")" = nbdkit ]; then
                echo "$pid"
                return 0
            fi
        done
        sleep 0.1
    done
    return 1
}

# fails_with STRING
fails_with ()
{
    local status=0

    wait "$serve_pid" || status=$?
    same "status" "$status" 1
    contains "$tmp/err" "$1"
    [ ! -e "$sock" ] || fail "the socket is left"
}

start "$tmp/disk.img"
pid=
for signal in KILL SEGV ABRT BUS KILL TERM INT KILL; do
    pid=$(nbdkit_pid "$pid")
    kill -"$signal" "$pid"
    # One that ends in an orderly way may still take a client, and drop it.
    for ((i = 0; i < 300; i++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    # The socket is there all the time: a client only waits.
    same "size" "$(nbdinfo --size "$uri")" 1048576
done
same "messages" "$(grep -c 'starting it again' "$tmp/err")" 8
contains "$tmp/err" "was ended by signal 9"
contains "$tmp/err" "was ended by signal 11"
contains "$tmp/err" "ended with status 0"

# That nobody reads its messages any more is no reason to end.
(
    exec 3> >(:)
    wait "$!"
    exec nbdimage serve -u "$tmp/unread" "$tmp/disk.img" >"$tmp/unread.out" 2>&3
) &
unread_pid=$!
cleanup_fn stop_pid "$unread_pid"
for ((i = 0; i < 300; i++)); do
    if grep -q Ctrl-C "$tmp/unread.out"; then break; fi
    sleep 0.1
done
old_pid=$(serve_pid=$unread_pid nbdkit_pid)
kill -KILL "$old_pid"
serve_pid=$unread_pid nbdkit_pid "$old_pid"
same "size" "$(nbdinfo --size "nbd+unix:///?socket=$tmp/unread")" 1048576
stop_pid "$unread_pid"
[ ! -e "$tmp/unread" ] || fail "the socket is left"

# A signal during the pause between two starts ends it.
pid=$(nbdkit_pid "$pid")
kill -KILL "$pid"
kill -TERM "$serve_pid"
status=0
wait "$serve_pid" || status=$?
same "status" "$status" 0
[ ! -e "$sock" ] || fail "the socket is left"

# What is served is gone.
cp "$tmp/disk.img" "$tmp/gone.img"
start "$tmp/gone.img"
rm "$tmp/gone.img"
kill -KILL "$(nbdkit_pid)"
fails_with "gone.img: "

# What clients wrote is gone, and they would go on with an older disk.
start --throw-away "$tmp/disk.img"
same "size" "$(nbdinfo --size "$uri")" 1048576
kill -KILL "$(nbdkit_pid)"
fails_with "was lost with it"
refuses grep -F 'starting it again' "$tmp/err"

# It writes, flushes, and nbdkit is killed in the midst of more: what was
# flushed is there, and the image is locked as before.
requires qemu-io --version
truncate -s 8M "$tmp/written.img"
start --write "$tmp/written.img"
pid=
for n in 1 2 3; do
    pid=$(nbdkit_pid "$pid")
    { printf 'write -P %d %dM 1M\nflush\n' "$n" "$n"
      for ((i = 0; i < 2000; i++)); do
          echo "write -P 255 7M 64k"
      done
    } | stdbuf -oL qemu-io -f raw "$uri" >"$tmp/qemu-io" 2>&1 &
    qemu_io=$!
    cleanup_fn stop_pid "$qemu_io"
    # The 1 MiB, the flush (which says nothing), and some of the others.
    for ((i = 0; i < 300; i++)); do
        [ "$(grep -c 'wrote [0-9]' "$tmp/qemu-io")" -lt 5 ] || break
        sleep 0.1
    done
    kill -KILL "$pid"
    wait "$qemu_io" || true
done
for n in 1 2 3; do
    qemu-io -f raw -r -c "read -P $n ${n}M 1M" "$uri" >"$tmp/qemu-io"
    refuses grep -i fail "$tmp/qemu-io"
done
# The image is held as long as a client has it.
mkfifo "$tmp/commands"
stdbuf -oL qemu-io -f raw "$uri" <"$tmp/commands" >"$tmp/written" &
qemu_io=$!
exec 9>"$tmp/commands"
echo 'write 0 512' >&9
for ((i = 0; i < 300; i++)); do
    ! grep -q 'wrote [0-9]' "$tmp/written" || break
    sleep 0.1
done
refuses timeout 60 nbdimage serve -p 0 --write "$tmp/written.img"
contains "$tmp/refused" "is in use by another process"
exec 9>&-
wait "$qemu_io"
kill -TERM "$serve_pid"
wait "$serve_pid"

# However we die, nbdkit does not stay.
start "$tmp/disk.img"
pid=$(nbdkit_pid)
kill -KILL "$serve_pid"
for ((i = 0; i < 100; i++)); do
    [ -e "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status" || break
    sleep 0.1
done
[ "$i" -lt 100 ] || fail "nbdkit lives on"
rm -f "$sock"
