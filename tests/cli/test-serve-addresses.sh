#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# serve on all addresses: the URIs are ones that clients can use.  In a network
# namespace of its own, so that nobody else reaches it.

. "$(dirname "$0")/../functions.sh"
set -e

if [ "${1-}" != in-namespace ]; then
    [ "$(id -u)" -eq 0 ] || unshare -rn true 2>/dev/null || requires_root
    requires ip -V
    requires jq
    requires nbdinfo --version
    if [ "$(id -u)" -eq 0 ]; then
        unshare -n "$0" in-namespace
    else
        unshare -rn "$0" in-namespace
    fi
    exit
fi

set -x

# serve ARG...: until its output is complete.
serve ()
{
    local i

    : >"$tmp/out"
    nbdimage serve --port 0 --no-tls "$@" >"$tmp/out" 2>"$tmp/err" &
    serve_pid=$!
    cleanup_fn stop_pid "$serve_pid"
    for ((i = 0; i < 300; i++)); do
        if grep -qE 'Ctrl-C|^}' "$tmp/out"; then
            return 0
        fi
        kill -0 "$serve_pid" 2>/dev/null || break
        sleep 0.1
    done
    cat "$tmp/err" >&2
    fail "serve did not start: $*"
}

hosts ()
{
    jq -r '.uris[]' "$tmp/out" | sed -E 's,^nbd://(.*):[0-9]+/$,\1,' | xargs
}

truncate -s 1M "$tmp/disk.img"
ip link set lo up

# Without a network there is the loopback.
serve --json --listen 0.0.0.0 "$tmp/disk.img"
same "hosts without a network" "$(hosts)" 127.0.0.1
stop_pid "$serve_pid"

# Any interface will do, and this one needs no module.
ip addr add 192.0.2.1/24 dev lo
ip addr add 198.51.100.7/24 dev lo
ip -6 addr add 2001:db8::1/64 dev lo nodad

serve --json --listen 0.0.0.0 "$tmp/disk.img"
same "hosts of 0.0.0.0" "$(hosts)" "192.0.2.1 198.51.100.7"
same "the first" "$(jq -r .uri "$tmp/out")" "$(jq -r '.uris[0]' "$tmp/out")"
same "the export" "$(jq -r '.exports[0].uri' "$tmp/out")" \
     "$(jq -r .uri "$tmp/out")disk.img"
for uri in $(jq -r '.uris[]' "$tmp/out"); do
    same "size by $uri" "$(nbdinfo --size "$uri")" 1048576
done
stop_pid "$serve_pid"

serve --json --listen :: "$tmp/disk.img"
same "hosts of ::" "$(hosts)" "192.0.2.1 198.51.100.7 [2001:db8::1]"
for uri in $(jq -r '.uris[]' "$tmp/out"); do
    same "size by $uri" "$(nbdinfo --size "$uri")" 1048576
done
stop_pid "$serve_pid"

# One address is that one; for people the others are on a line of their own.
serve --json --listen 198.51.100.7 "$tmp/disk.img"
same "hosts of one address" "$(hosts)" 198.51.100.7
stop_pid "$serve_pid"
serve --listen 0.0.0.0 "$tmp/disk.img"
port=$(sed -nE 's,^nbd://192.0.2.1:([0-9]+)/disk.img .*,\1,p' "$tmp/out")
[ -n "$port" ] || fail "no URI with the first address"
contains "$tmp/out" "The same at nbd://198.51.100.7:$port/"
stop_pid "$serve_pid"
serve "$tmp/disk.img"
if grep "The same at" "$tmp/out"; then fail "127.0.0.1 is one address"; fi
