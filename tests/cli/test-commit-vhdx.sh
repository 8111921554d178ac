#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# commit of VHDXs: the parent becomes what the child was, to us and to other
# programs; the child is what it was all the time.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires qemu-img
requires qemu-io
cd "$tmp"

# bytes FILE OUT: the disk in it
bytes ()
{
    rm -f "$2"
    nbdkit -r -U - image "$1" --run "nbdcopy \"\$uri\" $2"
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

# fill_child FILE: whole blocks, single sectors, and zeros
fill_child ()
{
    fill "$1" 'write -P 3 0 1M' 'write -P 4 2560k 8k' 'write -z 4M 1M' \
        'write -P 0 10M 12k' 'write -P 5 18M 2M'
}

for kind in dynamic fixed 4k; do
    options=(--block-size=1M)
    [ "$kind" != fixed ] || options+=(--fixed)
    [ "$kind" != 4k ] || options+=(--sector-size=4096)
    nbdimage create "${options[@]}" parent.vhdx 20M
    fill parent.vhdx 'write -P 1 0 6M' 'write -P 2 9M 4M'
    nbdimage create --parent=parent.vhdx --block-size=1M child.vhdx >out
    fill_child child.vhdx
    nbdimage create --parent=child.vhdx over.vhdx >out
    bytes child.vhdx before
    nbdimage commit -n child.vhdx >out
    contains out "that it has itself, into the parent"
    refuses nbdimage commit child.vhdx </dev/null
    contains "$tmp/refused" '--yes confirms it'
    nbdimage commit -y --json child.vhdx >out
    same "json" "$(jq -c '[.name, .parent, .deleted, .changed]' out)" \
        "[\"child.vhdx\",\"./parent.vhdx\",false,true]"
    bytes parent.vhdx after
    same_bytes before after
    if [ "$kind" != 4k ]; then
        qemu-img convert -f vhdx -O raw parent.vhdx theirs
        same_bytes before theirs
    fi
    # The child, and who lies over it, read as they did.
    for name in child.vhdx over.vhdx; do
        bytes "$name" after
        same_bytes before after
        [ -z "$(nbdimage info "$name" 2>&1 >/dev/null)" ] || fail "it warns"
        nbdimage check "$name"
    done
    # Again: nothing is written.
    same "written" "$(nbdimage commit -y --json child.vhdx | jq .written)" 0
    rm over.vhdx
    nbdimage commit -y --delete child.vhdx >out
    [ ! -e child.vhdx ] || fail "the child is there"
    bytes parent.vhdx after
    same_bytes before after
    rm parent.vhdx
done

# Three levels: the one in the middle into the lowest, then the last.
nbdimage create low.vhdx 20M
fill low.vhdx 'write -P 1 0 6M'
nbdimage create --parent=low.vhdx mid.vhdx >out
fill mid.vhdx 'write -P 2 4M 4M'
nbdimage create --parent=mid.vhdx top.vhdx >out
fill_child top.vhdx
bytes top.vhdx before
nbdimage commit -y mid.vhdx
bytes top.vhdx after
same_bytes before after
nbdimage rebase -y top.vhdx --parent=low.vhdx
rm mid.vhdx
nbdimage commit -y --delete top.vhdx
bytes low.vhdx after
same_bytes before after
nbdimage check low.vhdx
rm -- *.vhdx

# A larger child: the parent grows, or it is said that it can't.
nbdimage create parent.vhdx 20M
fill parent.vhdx 'write -P 1 0 6M'
nbdimage create --parent=parent.vhdx child.vhdx 600M >out
fill_child child.vhdx
bytes child.vhdx before
if nbdimage commit -y child.vhdx >out 2>err; then
    bytes parent.vhdx after
    same_bytes before after
else
    contains err "can't grow"
fi
bytes child.vhdx after
same_bytes before after
rm -- *.vhdx

# Killed, or interrupted, at any moment.
for ((i = 0; i < 8; i++)); do
    nbdimage create parent.vhdx 64M
    fill parent.vhdx 'write -P 1 0 30M'
    nbdimage create --parent=parent.vhdx child.vhdx >out
    fill_child child.vhdx
    bytes child.vhdx before
    signal=$((i % 2 ? 9 : 2))
    status=0
    nbdimage commit -y child.vhdx >out 2>err &
    sleep "0.0$((i * i))"
    kill "-$signal" $! 2>/dev/null || true
    wait $! || status=$?
    case $status in
        0|1|137) ;;
        130) ;;                 # before anything was begun
        *) fail "it ended with $status" ;;
    esac
    bytes child.vhdx after
    same_bytes before after
    nbdimage commit -y --delete child.vhdx
    bytes parent.vhdx after
    same_bytes before after
    nbdimage check parent.vhdx
    rm parent.vhdx
done

# Others over the same parent: named before, refused after.
nbdimage create parent.vhdx 20M
nbdimage create --parent=parent.vhdx a.vhdx >out
nbdimage create --parent=parent.vhdx b.vhdx >out
fill_child a.vhdx
refuses nbdimage commit -y a.vhdx
contains "$tmp/refused" 'b.vhdx is differencing over the same parent'
nbdimage check b.vhdx
nbdimage commit -y --force a.vhdx >out
contains out 'Damaged:       b.vhdx'
refuses nbdimage info b.vhdx

# What can't be.
refuses nbdimage commit -y parent.vhdx
contains "$tmp/refused" 'is not differencing'
nbdimage create -f raw r.img 20M
nbdkit -U - image r.img overlay=r.vhdx --run 'qemu-io -f raw \
    -c "write -P 6 2M 4k" "$uri"' >io.log
refuses nbdimage commit -y r.vhdx
contains "$tmp/refused" 'a raw image'
nbdimage create grand.vhdx 20M
nbdimage create --parent=grand.vhdx middle.vhdx >out
fill_child middle.vhdx
nbdimage create --parent=middle.vhdx leaf.vhdx >out
refuses nbdimage commit -y --delete middle.vhdx
contains "$tmp/refused" 'leaf.vhdx is differencing over it'
test -f middle.vhdx
