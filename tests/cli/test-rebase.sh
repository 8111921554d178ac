#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# rebase: a differencing disk has the parent that was asked for, to us and to
# libvhdi, and is the disk that it was.

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

nbdimage create golden.vhd 20M
qemu-io -f vpc -c 'write -P 1 0 6M' -c 'write -P 2 11M 1M' golden.vhd
nbdimage create --parent=golden.vhd child.vhd >out
bytes child.vhd before

# Moved: into a folder, out of it, renamed to a long name.
mkdir sub
mv golden.vhd sub
refuses nbdimage info child.vhd
refuses nbdimage rebase child.vhd --parent=sub/golden.vhd
contains "$tmp/refused" 'the parent ‘golden.vhd’'
refuses nbdimage rebase --unsafe child.vhd --parent=sub/golden.vhd </dev/null
contains "$tmp/refused" '--yes confirms it'
refuses nbdimage info child.vhd
nbdimage rebase --unsafe -n child.vhd --parent=sub/golden.vhd >out
contains out 'the same disk by its unique id'
refuses nbdimage info child.vhd
nbdimage rebase --unsafe -y child.vhd --parent=sub/golden.vhd
parent_is child.vhd sub/golden.vhd
bytes child.vhd after
same_bytes before after
libvhdi_reads child.vhd sub/golden.vhd before
name=$(printf 'x%.0s' {1..200}).vhd
mv sub/golden.vhd "$name"
nbdimage rebase --unsafe -y --json child.vhd --parent="$name" >out
same "json" "$(jq -c . out)" "$(jq -nc --arg n "$name" '{name: "child.vhd",
    "old-parent": "sub/golden.vhd", parent: $n, "same-id": true, copied: 0,
    changed: true}')"
parent_is child.vhd "$name"
nbdimage rebase --unsafe child.vhd --parent="$name" 2>err
contains err 'has this parent already'
mv "$name" golden.vhd
nbdimage rebase --unsafe -y child.vhd --parent=golden.vhd
parent_is child.vhd golden.vhd
bytes child.vhd after
same_bytes before after

# That it is no longer the same disk, only its time tells, until it is replaced.
cp -p golden.vhd written.vhd
cp child.vhd follows.vhd
nbdimage rebase --unsafe -y follows.vhd --parent=written.vhd 2>err
refuses grep -q 'another time' err
cp -p golden.vhd written.vhd
touch -d '2 hours' written.vhd
cp child.vhd follows.vhd
nbdimage rebase --unsafe -y follows.vhd --parent=written.vhd 2>err
contains err 'was made for another time of its parent'
rm follows.vhd written.vhd

# A copy, safely: nothing differs.  And back, which only its name says.
cp golden.vhd copy.vhd
nbdimage rebase -y child.vhd --parent=copy.vhd >out
contains out 'nothing: both read the same'
parent_is child.vhd copy.vhd
nbdimage rebase -y child.vhd --parent=golden.vhd
parent_is child.vhd golden.vhd

# Another disk.
nbdimage create other.vhd 20M
qemu-io -f vpc -c 'write -P 3 2M 6M' other.vhd
refuses nbdimage rebase --unsafe -y child.vhd --parent=other.vhd
contains "$tmp/refused" 'its unique id is another'
parent_is child.vhd golden.vhd
nbdimage rebase -n child.vhd --parent=other.vhd >out
# 0-2M, 2-6M, 6-8M and 11-12M.
contains out '9 MiB (9437184 bytes) that differ'
cp child.vhd forced.vhd
nbdimage rebase --unsafe --force -y forced.vhd --parent=other.vhd >out
contains out 'Lost'
parent_is forced.vhd other.vhd
bytes forced.vhd after
bytes other.vhd expected
same_bytes after expected

# Safely: it stays what it is, with blocks and sectors of its own in between.
nbdimage create --parent=golden.vhd --block-size=512K safe.vhd >out
start_nbdkit image safe.vhd
qemu-io -f raw -c 'write -P 9 512 512' -c 'write -P 8 3M 1M' \
    -c 'write -P 0 7M 4k' "$uri"
stop_nbdkit
bytes safe.vhd before
bytes other.vhd other
nbdimage rebase -y --json safe.vhd --parent=other.vhd >out
same "changed" "$(jq .changed out)" true
parent_is safe.vhd other.vhd
bytes safe.vhd after
same_bytes before after
libvhdi_reads safe.vhd other.vhd before
bytes other.vhd after
same_bytes other after
# Nothing is left to copy, and back to the first it goes, too.
same "copied" "$(nbdimage rebase -y --json safe.vhd | jq .copied)" 0
nbdimage rebase -y safe.vhd --parent=golden.vhd
parent_is safe.vhd golden.vhd
bytes safe.vhd after
same_bytes before after
libvhdi_reads safe.vhd golden.vhd before
# A level of the chain is left out.
nbdimage create --parent=safe.vhd top.vhd >out
nbdimage rebase -y top.vhd --parent=golden.vhd
parent_is top.vhd golden.vhd
bytes top.vhd after
same_bytes before after
# No space for what would be copied: it has its old parent.
nbdimage create --parent=golden.vhd full.vhd >out
bytes full.vhd before
(ulimit -f 6000
 trap '' XFSZ
 refuses nbdimage rebase -y full.vhd --parent=other.vhd)
parent_is full.vhd golden.vhd
bytes full.vhd after
same_bytes before after
nbdimage rebase -y full.vhd --parent=other.vhd
parent_is full.vhd other.vhd
bytes full.vhd after
same_bytes before after
# Killed, at any moment.
for ((i = 0; i < 6; i++)); do
    nbdimage create --parent=golden.vhd k.vhd >out
    nbdimage rebase -y k.vhd --parent=other.vhd >out 2>err &
    sleep "0.0$((i * i))"
    kill -9 $! 2>/dev/null || true
    wait $! || true
    bytes k.vhd after
    same_bytes before after
    nbdimage rebase -y k.vhd --parent=other.vhd
    parent_is k.vhd other.vhd
    bytes k.vhd after
    same_bytes before after
    rm k.vhd
done
bytes child.vhd before

# None: it is a disk of its own, also to QEMU, and who lies over it reads what
# it read.
nbdimage create --parent=golden.vhd alone.vhd >out
start_nbdkit image alone.vhd
qemu-io -f raw -c 'write -P 9 512 512' -c 'write -P 8 3M 1M' \
    -c 'write -P 0 7M 4k' "$uri"
stop_nbdkit
nbdimage create --parent=alone.vhd over-alone.vhd >out
bytes alone.vhd before
nbdimage rebase -n --no-parent alone.vhd >out
contains out 'New parent:    none'
nbdimage rebase -y --json --no-parent alone.vhd >out
same "json" "$(jq -c '[."old-parent", .parent, .changed]' out)" \
    '["./golden.vhd",null,true]'
same "type" "$(nbdimage info --json alone.vhd |
               jq -c '[.type, (.chain | length)]')" '["dynamic",1]'
mkdir elsewhere
cp alone.vhd elsewhere
bytes elsewhere/alone.vhd after
same_bytes before after
qemu-img convert -f vpc -O raw elsewhere/alone.vhd theirs
same_bytes before theirs
nbdimage check elsewhere/alone.vhd
bytes over-alone.vhd after
same_bytes before after
nbdimage rebase --no-parent alone.vhd 2>err
contains err 'has no parent already'
# As a power cut leaves it: the copy of the footer is gone, and its disk is what
# it was; repair, or the same again, writes the copy.
nbdimage create empty.vhd 20M
nbdimage create --parent=empty.vhd cut.vhd >out
start_nbdkit image cut.vhd
qemu-io -f raw -c 'write -P 8 2M 2M' "$uri"
stop_nbdkit
bytes cut.vhd before
dd if=/dev/zero of=cut.vhd bs=512 count=1 conv=notrunc status=none
bytes cut.vhd after
same_bytes before after
nbdimage info cut.vhd >out 2>err
contains out 'nbdimage repair writes it again'
contains err 'is missing'
cp cut.vhd repaired.vhd
nbdimage repair -y repaired.vhd
nbdimage check repaired.vhd
same "parent" "$(nbdimage info --json repaired.vhd |
                 jq -r '.chain[1].name')" ./empty.vhd
nbdimage rebase -y --no-parent cut.vhd
nbdimage check cut.vhd
same "type" "$(nbdimage info --json cut.vhd | jq -r .type)" dynamic
bytes cut.vhd after
same_bytes before after
# Killed, at any moment.
for ((i = 0; i < 6; i++)); do
    nbdimage create --parent=golden.vhd k.vhd >out
    bytes k.vhd before
    nbdimage rebase -y --no-parent k.vhd >out 2>err &
    sleep "0.0$((i * i))"
    kill -9 $! 2>/dev/null || true
    wait $! || true
    bytes k.vhd after
    same_bytes before after
    nbdimage rebase -y --no-parent k.vhd
    same "type" "$(nbdimage info --json k.vhd | jq -r .type)" dynamic
    bytes k.vhd after
    same_bytes before after
    rm k.vhd
done

# What can't be.
refuses nbdimage rebase -y golden.vhd --parent=other.vhd
contains "$tmp/refused" 'is not differencing'
refuses nbdimage rebase -y child.vhd --parent=child.vhd
contains "$tmp/refused" "is the image itself, which can't be its own parent"
nbdimage create --parent=child.vhd grandchild.vhd >out
for options in "" "--unsafe --force"; do
    refuses nbdimage rebase -y $options child.vhd --parent=grandchild.vhd
    contains "$tmp/refused" "lies over the image itself, which can't be its own"
done
refuses nbdimage rebase -y child.vhd --parent=none.vhd
contains "$tmp/refused" 'parent none.vhd'
nbdimage create -f raw r.img 20M
status=0
nbdimage rebase -y child.vhd --parent=r.img 2>err || status=$?
same "status" "$status" 1
contains err 'parent r.img: is a raw image'
refuses nbdimage rebase -y r.img --parent=golden.vhd
contains "$tmp/refused" 'have no parents'
refuses nbdimage rebase --unsafe child.vhd
contains "$tmp/refused" '--unsafe needs --parent'
refuses nbdimage rebase --no-parent child.vhd --parent=golden.vhd
contains "$tmp/refused" '--no-parent goes with neither'
bytes child.vhd before
parent_is child.vhd golden.vhd
# A parent that was moved: the old one can't be read, and need not be.
mkdir moved
nbdimage create moves.vhd 1M
nbdimage create --parent=moves.vhd stays.vhd >out
mv moves.vhd moved
refuses nbdimage rebase -y stays.vhd --parent=moved/moves.vhd
contains "$tmp/refused" '--unsafe takes the new one'
# Both have one name, from where somebody is.
here=$(realpath .)
contains "$tmp/refused" "is not in $here; name its folder in --parent-path"
(cd moved && nbdimage rebase -n --unsafe ../stays.vhd --parent=moves.vhd) >out
contains out "Old parent:    $here/moves.vhd"
contains out "New parent:    $here/moved/moves.vhd, the same disk"
nbdimage rebase -y --unsafe stays.vhd --parent=moved/moves.vhd
nbdimage check stays.vhd
bytes child.vhd after
same_bytes before after
