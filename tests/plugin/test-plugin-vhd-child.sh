#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Writing into differencing VHDs through nbdkit: others read what was written,
# and everything that was answered is there after nbdkit was killed.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires nbdcopy --version
client=$abs_top_builddir/tests/plugin/client
cd "$tmp"

# same_disk VHD RAW
same_disk ()
{
    nbdkit -r -U - image "$1" --run "nbdcopy \"\$uri\" read.img"
    same_bytes read.img "$2"
    rm read.img
}

# by_7zip VHD RAW: 7-Zip finds the parents by itself.
by_7zip ()
{
    command -v 7z >/dev/null || return 0
    7z e -so -bd -tvhd "$1" >theirs.img
    same_bytes theirs.img "$2"
    rm theirs.img
}

# by_libvhdi RAW VHD PARENT...
by_libvhdi ()
{
    python3 - "$@" <<END
import sys
sys.path.insert(0, "$abs_top_srcdir/tests/peers")
import libvhdi
if libvhdi.available():
    disk = libvhdi.read(sys.argv[2:])
    sys.exit(disk != open(sys.argv[1], "rb").read())
END
}

# random_writes VHD RAW
random_writes ()
{
    start_nbdkit image "$1"
    "$client" random "$uri" $RANDOM 1200 "$2"
    stop_nbdkit
}

# A chain of three, each with blocks of another size, and what is in a parent
# stays as it was.
nbdimage create --block-size=2M base.vhd 40M
random_writes base.vhd base.img
nbdimage create --parent=base.vhd --block-size=512K child.vhd
same_disk child.vhd base.img
random_writes child.vhd child.img
nbdimage create --parent=child.vhd grandchild.vhd
random_writes grandchild.vhd grandchild.img
for name in base child grandchild; do
    same_disk $name.vhd $name.img
    by_7zip $name.vhd $name.img
done

# libvhdi reads children of whole blocks as they are (docs/PEERS.md).
head -c 16M /dev/urandom >whole.img
truncate -s 40M whole.img
nbdimage create base2.vhd 40M
nbdimage create --parent=base2.vhd whole.vhd
start_nbdkit image whole.vhd
nbdcopy --connections=4 --flush whole.img "$uri"
stop_nbdkit
same_disk whole.vhd whole.img
by_7zip whole.vhd whole.img
by_libvhdi whole.img whole.vhd base2.vhd
# The zeros of the copy were nothing to write down.
[ "$(stat -c %s whole.vhd)" -lt $((20 * 1024 * 1024)) ]

# Killed while it is written.  First somebody reads it, then it is written.
nbdimage create --parent=grandchild.vhd killed.vhd
for round in 1 2 3 4 5 6; do
    start_nbdkit image killed.vhd
    : >answered                 # not what the last round left
    "$client" until "$uri" $round >answered &
    writer=$!
    for ((i = 0; i < 500; i++)); do
        [ ! -s answered ] || break
        sleep 0.02
    done
    sleep "0.$((RANDOM % 4))$((1 + RANDOM % 9))"
    kill -KILL "$(cat "nbdkit$_nr_nbdkit.pid")"
    wait "$writer"
    answered=$(tail -n 1 answered)
    nbdkit -r -U - image killed.vhd \
           --run "$client after \"\$uri\" $round $answered"
    nbdkit -U - image killed.vhd \
           --run "$client after \"\$uri\" $round $answered"
done
nbdkit -r -U - image killed.vhd --run 'nbdcopy "$uri" killed.img'
by_7zip killed.vhd killed.img
same_disk grandchild.vhd grandchild.img
nbdimage check killed.vhd
