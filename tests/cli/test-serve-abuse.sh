#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# serve: clients that hang up do not end nbdkit; what does end nbdkit 1.32
# (docs/NBDKIT.md) only disconnects its clients, who can come back at once;
# what was written and flushed is there.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires python3 --version
requires jq

memory=
may_end=
if [ -n "${NBDIMAGE_ASAN:-}" ]; then
    memory=--any-memory
    may_end=--may-end           # they have no nbdkit-hangup.so
fi

# start ARG...: on a free TCP port, where a connection can be reset.
start ()
{
    local i

    : >"$tmp/serve.json"
    (
        ulimit -S -n "${files:-$(ulimit -S -n)}"
        exec nbdimage serve --json -p 0 "$@"
    ) >"$tmp/serve.json" 2>"$tmp/serve.err" &
    serve_pid=$!
    cleanup_fn stop_pid "$serve_pid"
    for ((i = 0; i < 300; i++)); do
        if [ -s "$tmp/serve.json" ] &&
           port=$(jq -e -r '.uri | capture(":(?<port>[0-9]+)/").port' \
                     "$tmp/serve.json"); then
            return 0
        fi
        sleep 0.1
    done
    cat "$tmp/serve.err" >&2
    fail "serve did not start"
}

# abuse EXPORT MODEL ARG...
abuse ()
{
    timeout --kill-after=5 300 "$abs_top_srcdir/tests/plugin/abuse.py" \
        --port "$port" --serve --pid "$serve_pid" $memory $may_end \
        --export "$1" --model "$2" "${@:3}" || {
        tail -n 30 "$tmp/serve.err" >&2
        fail "abuse of $1: ${*:3}"
    }
}

stop ()
{
    kill "$serve_pid"
    wait "$serve_pid"
}

head -c 64M /dev/urandom >"$tmp/disk.img"
start "$tmp/disk.img"
abuse disk.img "$tmp/disk.img" hangups
[ -n "$may_end" ] || refuses grep -F 'starting it again' "$tmp/serve.err"
abuse disk.img "$tmp/disk.img" options requests many fatal
crashes=$(grep -cF 'starting it again' "$tmp/serve.err" || true)
echo "nbdkit was started again $crashes times"
stop

# More connections than a shell usually gives descriptors for.
files=100
start "$tmp/disk.img"
files=
abuse disk.img "$tmp/disk.img" --case idle --case quick-connects many
refuses grep -F 'Too many open files' "$tmp/serve.err"
stop

truncate -s 16M "$tmp/written.img"
start --write "$tmp/written.img"
abuse written.img "$tmp/written.img" writes hangups \
    hangups-writing fatal
stop
