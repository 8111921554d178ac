#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# rebase of VHDXs: a differencing disk has the parent that was asked for, to us
# and to libvhdi, and is the disk that it was.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires qemu-img
requires qemu-io
requires vhdiinfo
cd "$tmp"

peers=$abs_top_srcdir/tests/peers

# bytes FILE OUT: the disk in it
bytes ()
{
    rm -f "$2"
    nbdkit -r -U - image "$1" --run "nbdcopy \"\$uri\" $2"
}

# parent_is FILE PARENT
parent_is ()
{
    same "parent" "$(nbdimage info --json "$1" | jq -r '.chain[1].name' |
                         sed 's,^\./,,')" "$2"
    vhdiinfo "$1" >theirs
    contains theirs "$(basename "$2")"
    nbdimage check "$1"
}

# libvhdi_reads FILE... EXPECTED
libvhdi_reads ()
{
    PYTHONPATH=$peers python3 - "$@" <<'END' || fail "libvhdi reads something else"
import sys
import libvhdi
if libvhdi.available():
    assert libvhdi.read(sys.argv[1:-1]) == open(sys.argv[-1], "rb").read()
END
}

# fill FILE COMMAND...: write into the disk
fill ()
{
    local name=$1 command args=()

    shift
    for command; do
        args+=(-c "$command")
    done
    start_nbdkit image "$name"
    qemu-io -f raw "${args[@]}" "$uri" >io.log
    stop_nbdkit
}

nbdimage create golden.vhdx 20M --block-size=1M
fill golden.vhdx 'write -P 1 0 6M' 'write -P 2 11M 1M'
nbdimage create --parent=golden.vhdx child.vhdx --block-size=1M >out
fill child.vhdx 'write -P 9 512 512' 'write -P 8 3M 1M' 'write -P 0 7M 4k'
bytes child.vhdx before

# Moved, and renamed to a long name.
mkdir sub
mv golden.vhdx sub
refuses nbdimage info child.vhdx
refuses nbdimage rebase --unsafe child.vhdx --parent=sub/golden.vhdx </dev/null
contains "$tmp/refused" '--yes confirms it'
nbdimage rebase --unsafe -n child.vhdx --parent=sub/golden.vhdx >out
contains out 'the same disk by its unique id'
refuses nbdimage info child.vhdx
nbdimage rebase --unsafe -y child.vhdx --parent=sub/golden.vhdx
parent_is child.vhdx sub/golden.vhdx
bytes child.vhdx after
same_bytes before after
libvhdi_reads child.vhdx sub/golden.vhdx before
name=$(printf 'x%.0s' {1..200}).vhdx
mv sub/golden.vhdx "$name"
nbdimage rebase --unsafe -y --json child.vhdx --parent="$name" >out
same "json" "$(jq -c . out)" "$(jq -nc --arg n "$name" '{name: "child.vhdx",
    "old-parent": "sub/golden.vhdx", parent: $n, "same-id": true, copied: 0,
    changed: true}')"
parent_is child.vhdx "$name"
nbdimage rebase --unsafe child.vhdx --parent="$name" 2>err
contains err 'has this parent already'
mv "$name" golden.vhdx
nbdimage rebase --unsafe -y child.vhdx --parent=golden.vhdx
parent_is child.vhdx golden.vhdx
bytes child.vhdx after
same_bytes before after

# Another disk, unsafely.
nbdimage create other.vhdx 20M
fill other.vhdx 'write -P 3 2M 6M'
refuses nbdimage rebase --unsafe -y child.vhdx --parent=other.vhdx
contains "$tmp/refused" 'its unique id is another'
cp child.vhdx forced.vhdx
nbdimage create --parent=forced.vhdx over-forced.vhdx >out
nbdimage rebase --unsafe --force -y forced.vhdx --parent=other.vhdx >out
contains out 'Lost'
parent_is forced.vhdx other.vhdx
# It is another disk, and nobody's parent.
refuses nbdimage info over-forced.vhdx

# Safely: it stays what it is, with a disk over it that does not notice.
nbdimage create --parent=child.vhdx over.vhdx >out
bytes over.vhdx over-before
bytes other.vhdx other
nbdimage rebase -n child.vhdx --parent=other.vhdx >out
contains out 'that differ'
nbdimage rebase -y --json child.vhdx --parent=other.vhdx >out
same "changed" "$(jq .changed out)" true
parent_is child.vhdx other.vhdx
bytes child.vhdx after
same_bytes before after
bytes over.vhdx after
same_bytes over-before after
libvhdi_reads child.vhdx other.vhdx before
bytes other.vhdx after
same_bytes other after
same "copied" "$(nbdimage rebase -y --json child.vhdx | jq .copied)" 0
# A level of the chain is left out.
nbdimage rebase -y over.vhdx --parent=golden.vhdx
parent_is over.vhdx golden.vhdx
bytes over.vhdx after
same_bytes before after
libvhdi_reads over.vhdx golden.vhdx before

# Sectors of 4096 bytes.
for name in a b; do
    nbdimage create "$name.vhdx" 20M --sector-size=4096
done
fill a.vhdx 'write -P 1 4k 6M'
fill b.vhdx 'write -P 2 1M 8k'
nbdimage create --parent=a.vhdx 4k.vhdx >out
fill 4k.vhdx 'write -P 7 8k 4k'
bytes 4k.vhdx before
nbdimage rebase -y 4k.vhdx --parent=b.vhdx
parent_is 4k.vhdx b.vhdx
bytes 4k.vhdx after
same_bytes before after
refuses nbdimage rebase -y 4k.vhdx --parent=golden.vhdx
contains "$tmp/refused" 'has sectors of 512 bytes'

# Over a disk of another kind, and onto a VHDX with the same bytes.
nbdimage create -f raw r.img 20M
qemu-io -f raw -c 'write -P 5 1M 1M' r.img >io.log
nbdkit -U - image r.img overlay=r.vhdx --run 'qemu-io -f raw \
    -c "write -P 6 2M 4k" "$uri"' >io.log
nbdimage convert r.img r-base.vhdx
bytes r.vhdx before
nbdimage rebase -y --json r.vhdx --parent=r-base.vhdx >out
same "copied" "$(jq .copied out)" 0
parent_is r.vhdx r-base.vhdx
bytes r.vhdx after
same_bytes before after

# An overlay over a disk of another kind becomes a disk of its own.
nbdkit -U - image r.img overlay=o.vhdx --run 'qemu-io -f raw \
    -c "write -P 6 2M 4k" "$uri"' >io.log
bytes o.vhdx before
nbdimage rebase -y --no-parent o.vhdx
rm r.img
bytes o.vhdx after
same_bytes before after
nbdimage create -f raw r.img 20M

# Killed, at any moment.
for ((i = 0; i < 6; i++)); do
    nbdimage create --parent=golden.vhdx k.vhdx >out
    bytes k.vhdx before
    nbdimage rebase -y k.vhdx --parent=other.vhdx >out 2>err &
    sleep "0.0$((i * i))"
    kill -9 $! 2>/dev/null || true
    wait $! || true
    bytes k.vhdx after
    same_bytes before after
    nbdimage rebase -y k.vhdx --parent=other.vhdx
    parent_is k.vhdx other.vhdx
    bytes k.vhdx after
    same_bytes before after
    rm k.vhdx
done

# None: it is a disk of its own, also to QEMU, and who lies over it reads what
# it read.
nbdimage create --parent=golden.vhdx alone.vhdx >out
fill alone.vhdx 'write -P 9 512 512' 'write -P 8 3M 1M' 'write -P 0 7M 4k'
nbdimage create --parent=alone.vhdx over-alone.vhdx >out
bytes alone.vhdx before
nbdimage rebase -n --no-parent alone.vhdx >out
contains out 'New parent:    none'
nbdimage rebase -y --json --no-parent alone.vhdx >out
same "json" "$(jq -c '[."old-parent", .parent, .changed]' out)" \
    '["./golden.vhdx",null,true]'
same "type" "$(nbdimage info --json alone.vhdx |
               jq -c '[.type, (.chain | length)]')" '["dynamic",1]'
mkdir elsewhere
cp alone.vhdx elsewhere
bytes elsewhere/alone.vhdx after
same_bytes before after
qemu-img convert -f vhdx -O raw elsewhere/alone.vhdx theirs
same_bytes before theirs
nbdimage check elsewhere/alone.vhdx
bytes over-alone.vhdx after
same_bytes before after
nbdimage rebase --no-parent alone.vhdx 2>err
contains err 'has no parent already'
# Killed, at any moment.
for ((i = 0; i < 6; i++)); do
    nbdimage create --parent=golden.vhdx k.vhdx >out
    bytes k.vhdx before
    nbdimage rebase -y --no-parent k.vhdx >out 2>err &
    sleep "0.0$((i * i))"
    kill -9 $! 2>/dev/null || true
    wait $! || true
    bytes k.vhdx after
    same_bytes before after
    nbdimage rebase -y --no-parent k.vhdx
    same "type" "$(nbdimage info --json k.vhdx | jq -r .type)" dynamic
    bytes k.vhdx after
    same_bytes before after
    rm k.vhdx
done

# What can't be.
refuses nbdimage rebase -y golden.vhdx --parent=other.vhdx
contains "$tmp/refused" 'is not differencing'
refuses nbdimage rebase -y child.vhdx --parent=child.vhdx
refuses nbdimage rebase -y child.vhdx --parent=r.img
contains "$tmp/refused" 'parent r.img: is a raw image'
nbdimage create other.vhd 20M
refuses nbdimage rebase -y child.vhdx --parent=other.vhd
contains "$tmp/refused" 'parent other.vhd: is a vhd image'
