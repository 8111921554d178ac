#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# The disk below an image that is written fails, or is full: the client gets
# EIO or ENOSPC, for that request and no other, what was flushed before is
# there, and once the disk is well again writing goes on.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-io --version
client=$abs_top_builddir/tests/plugin/client
[ -z "${NBDIMAGE_ASAN:-}" ] || skip "the sanitizer is preloaded itself"
preload=$abs_top_builddir/tests/plugin/.libs/bad-disk.so
[ -e "$preload" ] || fail "there is no $preload"
export NBDIMAGE_BAD_DISK=$tmp/bad-disk

start ()
{
    LD_PRELOAD=$preload start_nbdkit "$@"
}

# A client that has the image open, as some may not be opened meanwhile.
mkfifo "$tmp/hold"
hold ()
{
    local i

    : >"$tmp/held"
    "$client" hold "$uri" <"$tmp/hold" >"$tmp/held" &
    holder=$!
    exec 9>"$tmp/hold"
    for ((i = 0; i < 300; i++)); do
        ! grep -q connected "$tmp/held" || return 0
        sleep 0.1
    done
    fail "the client does not connect"
}

close_hold ()
{
    exec 9>&-
}

let_go ()
{
    close_hold
    wait "$holder"
}

# io COMMAND...: what qemu-io says of them
io ()
{
    local args=() command
    for command in "$@"; do
        args+=(-c "$command")
    done
    # Its own flush at the end fails too where flushes do.
    qemu-io -t writeback -f raw "${args[@]}" "$uri" >"$tmp/io.log" 2>&1 || true
    cat "$tmp/io.log"
}

# works COMMAND...
works ()
{
    io "$@"
    refuses grep -i -e error -e failed -e 'no space' "$tmp/io.log"
}

# all NAME [CREATE-ARG...]
all ()
{
    local file=$tmp/$1 kind how sentence command
    shift

    [ -e "$file" ] || nbdimage create "$@" "$file" 64M
    start image "$file"
    hold
    cleanup_fn close_hold
    works "write -P 0x11 0 3M" "write -P 0x12 20M 100k" flush
    for kind in "ENOSPC:No space left on device" "EIO:Input/output error" \
                    "half:No space left on device"; do
        how=${kind%%:*} sentence=${kind#*:}
        # Into what is there, and into what is not yet.
        for command in "write -P 0x21 1M 64k" "write -P 0x22 40M 64k"; do
            echo "$how" >"$NBDIMAGE_BAD_DISK"
            io "$command" "read -P 0x12 20M 100k"
            rm "$NBDIMAGE_BAD_DISK"
            contains "$tmp/io.log" "write failed: $sentence"
            refuses grep -i -e "read failed" -e "pattern" "$tmp/io.log"
        done
        works "read -P 0x11 512k 512k" "read -P 0x11 1114112 2031616" \
              "write -P 0x23 50M 64k" flush
    done
    # A flush that failed is not forgotten until the image is opened anew.
    echo sync >"$NBDIMAGE_BAD_DISK"
    for how in fua flush; do
        refuses "$client" write "$uri" $how
        contains "$tmp/refused" "Input/output error"
    done
    io "write -f -P 0x31 30M 64k"
    contains "$tmp/io.log" "write failed: Input/output error"
    rm "$NBDIMAGE_BAD_DISK"
    let_go
    stop_nbdkit
    nbdimage check "$file"
    start image "$file"
    works "read -P 0x11 512k 512k" "read -P 0x12 20M 100k" "read -P 0x23 50M 64k" \
          "write -P 0x41 1M 64k" "write -P 0x42 40M 64k" flush
    stop_nbdkit
    nbdimage check "$file"
    start -r image "$file"
    works "read -P 0x41 1M 64k" "read -P 0x42 40M 64k" "read -P 0x11 512k 512k"
    stop_nbdkit
    rm "$file"
}

all disk.img --format=raw
all fixed.vhd --fixed
all dynamic.vhd
all fixed.vhdx --format=vhdx --fixed
all dynamic.vhdx --format=vhdx
for format in vhd vhdx; do
    nbdimage create --format=$format "$tmp/parent.$format" 64M
    all child.$format --format=$format --parent "$tmp/parent.$format"
done
