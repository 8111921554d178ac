#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Memory runs out in the plugin, at one allocation or another, while it is
# configured, opens images, serves and closes them: it refuses, or the client
# gets an error, or all is well; nbdkit does not crash, and what is read is
# right.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-img --version
[ -z "$NBDIMAGE_ASAN" ] || skip "the sanitizers have their own malloc"
preload=$abs_top_builddir/tests/plugin/.libs/no-memory.so
[ -e "$preload" ] || fail "there is no $preload"

mkdir "$tmp/shelf"
head -c 300K /dev/urandom >"$tmp/shelf/disk.img"
truncate -s 5M "$tmp/shelf/disk.img"
qemu-img convert -f raw -O vpc -o subformat=dynamic,force_size=on \
    "$tmp/shelf/disk.img" "$tmp/shelf/disk.vhd"
export NBDIMAGE_FAILED=$tmp/failed

# ended: nbdkit by itself, with what status?
ended ()
{
    status=0
    wait "$pid" || status=$?
    [ "$status" -le 1 ] || {
        cat "$tmp/log" >&2
        fail "allocation $n: nbdkit ended with status $status"
    }
}

uri="nbd+unix:///disk.vhd?socket=$tmp/sock"

copy ()
{
    nbdcopy "$uri" "$tmp/copy" 2>"$tmp/said" &&
        same_bytes "$tmp/copy" "$tmp/shelf/disk.img"
}

# with_fault ARG...: serve that, while allocation $n fails, to a client who
# asks for the extents and copies the disk.
with_fault ()
{
    local i

    rm -f "$tmp/failed" "$tmp/copy" "$tmp/pid" "$tmp/sock"
    LD_PRELOAD=$preload NBDIMAGE_FAIL_ALLOCATION=$n \
        nbdkit -f -t 2 -P "$tmp/pid" -U "$tmp/sock" image "$@" 2>"$tmp/log" &
    pid=$!
    for ((i = 0; i < 600; i++)); do
        [ ! -s "$tmp/pid" ] && kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    if [ ! -s "$tmp/pid" ]; then
        ended
        same "status of what did not start" "$status" 1
        grep -qi 'memory' "$tmp/log" || {
            cat "$tmp/log" >&2
            fail "allocation $n: it does not say that memory is out"
        }
        nr_refused=$((nr_refused + 1))
        return
    fi
    nbdinfo --map "$uri" >/dev/null 2>&1 || nr_errors=$((nr_errors + 1))
    copy || nr_errors=$((nr_errors + 1))
    # It was this client or one before; the next is served.
    copy || copy || {
        cat "$tmp/log" >&2
        fail "allocation $n: not served afterwards"
    }
    kill "$pid"
    ended
    same "status of what was ended" "$status" 0
}

set +x
for what in "dir=$tmp/shelf" "$tmp/shelf/disk.vhd"; do
    n=0 nr_refused=0 nr_errors=0
    # Every one at first, then fewer and fewer.
    while [ "$n" -eq 0 ] || [ -e "$tmp/failed" ]; do
        n=$((n + 1 + n / 12))
        with_fault "$what"
    done
    echo "$what: allocations up to $n, refused $nr_refused times," \
        "$nr_errors errors"
    [ "$n" -gt 20 ] || fail "only $n allocations were found"
    [ "$((nr_refused + nr_errors))" -gt 0 ] || fail "nothing ever failed"
done
