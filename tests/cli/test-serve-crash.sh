#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# serve: nbdkit crashes and is back on the same address; too often, and it
# fails; our own death ends nbdkit.

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
    nbdimage serve -u "$sock" "$tmp/disk.img" >"$tmp/out" 2>"$tmp/err" &
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

start
pid=
for n in 1 2 3 4 5; do
    pid=$(nbdkit_pid "$pid")
    kill -KILL "$pid"
    # The socket is there all the time: a client only waits.
    same "size" "$(nbdinfo --size "$uri")" 1048576
done
same "messages" "$(grep -c 'starting it again' "$tmp/err")" 5
contains "$tmp/err" "was ended by signal 9"

# The sixth within a minute is too much.
pid=$(nbdkit_pid "$pid")
kill -KILL "$pid"
status=0
wait "$serve_pid" || status=$?
same "status" "$status" 1
contains "$tmp/err" "started again 5 times"
[ ! -e "$sock" ] || fail "the socket is left"

# However we die, nbdkit does not stay.
start
pid=$(nbdkit_pid)
kill -KILL "$serve_pid"
for ((i = 0; i < 100; i++)); do
    [ -e "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status" || break
    sleep 0.1
done
[ "$i" -lt 100 ] || fail "nbdkit lives on"
rm -f "$sock"
