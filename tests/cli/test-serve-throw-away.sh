#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# serve --throw-away: writes are seen and stay out of the image.  nbdkit's
# overlay is one for all exports, so that there must not be two.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-io --version
truncate -s 1M "$tmp/a.img" "$tmp/b.img"

for images in "$tmp/a.img $tmp/b.img" "$tmp"; do
    status=0
    timeout 60 nbdimage serve --throw-away --unix "$tmp/sock" $images \
        >"$tmp/log" 2>&1 || status=$?
    same "exit status" "$status" 2
    contains "$tmp/log" "--throw-away is for one image"
done

nbdimage serve --throw-away --unix "$tmp/sock" "$tmp/a.img" >"$tmp/uris" &
pid=$!
cleanup_fn stop_pid "$pid"
for ((i = 0; i < 100; i++)); do
    [ ! -s "$tmp/uris" ] || break
    sleep 0.1
done
uri="nbd+unix:///?socket=$tmp/sock"
qemu-io -f raw -c 'write -P 0x55 0 4096' "$uri"
qemu-io -f raw -c 'read -P 0x55 0 4096' "$uri" >"$tmp/log"
refuses grep failed "$tmp/log"
stop_pid "$pid"
same_bytes "$tmp/a.img" "$tmp/b.img"

# A client that asks for the status of 2^32 - 1 bytes at once does not end
# nbdkit and all that was written with it.
client=$abs_top_builddir/tests/plugin/client
truncate -s 8T "$tmp/huge.img" ||
    skip "the file system has no files of 8 TiB"
: >"$tmp/uris"
nbdimage serve --throw-away --unix "$tmp/sock" "$tmp/huge.img" >"$tmp/uris" &
pid=$!
cleanup_fn stop_pid "$pid"
for ((i = 0; i < 100; i++)); do
    [ ! -s "$tmp/uris" ] || break
    sleep 0.1
done
qemu-io -f raw -c 'write -P 0x55 1T 4096' "$uri"
for offset in 0 12345 65536 $((1 << 40)); do
    "$client" status "$uri" "$offset" 4294967295
done
qemu-io -f raw -c 'read -P 0x55 1T 4096' "$uri" >"$tmp/log"
refuses grep failed "$tmp/log"
stop_pid "$pid"
