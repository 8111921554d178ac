#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Overlays over generations in a vault, also such as lie in several files: what
# info says, and how to go on with them, as nothing can be written into a backup.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-io --version
requires jq
cd "$tmp"

head -c 8M /dev/urandom >one.img
cp one.img two.img
dd if=/dev/urandom of=two.img bs=64k seek=50 count=3 conv=notrunc status=none
nbdimage backup --init --everything --name=d one.img vault
nbdimage backup --everything --name=d two.img vault
mapfile -t times < <(nbdimage generations --json vault |
    jq -r '.[].generation')
one=vault/d@${times[0]} two=vault/d@${times[1]}

# overlay FILE IMAGE: with something written to it
overlay ()
{
    nbdkit -U - image "$2" overlay="$1" --run \
        'qemu-io -f raw -c "write -P 7 1M 64k" "$uri"' >io
    contains io wrote
}
overlay over.vhd "$two"
overlay over.vhdx "$two"
overlay first.vhd "$one"
python3 - two.img over.img <<'PYTHON'
import sys
with open (sys.argv[1], "rb") as f:
    disk = bytearray (f.read ())
disk[1 << 20 : (1 << 20) + 65536] = b"\7" * 65536
with open (sys.argv[2], "wb") as f:
    f.write (disk)
PYTHON

# --- alone, they find what they lie over: by its last file, and through that

for format in vhd vhdx; do
    nbdimage info over.$format >out 2>err
    contains out "./$two  nbi"
    rm -f got.img
    nbdimage convert over.$format -O raw got.img
    cmp got.img over.img
    nbdimage check over.$format
done
nbdimage info first.vhd >out
contains out "./$one  nbi"
# A backup never changes, whatever times its files have.
touch -d 2001-01-01 vault/files/*/*.nbi
nbdimage info over.vhd >out 2>err
refuses grep 'another time' err
nbdimage info over.vhdx >out 2>err
refuses grep 'another time' err

# --- nothing is written into a backup, and what to do instead is said

for format in vhd vhdx; do
    refuses nbdimage commit --yes over.$format
    contains "$tmp/refused" "lies over ./$two, a backup, which never changes"
    contains "$tmp/refused" 'nbdimage backup'
    refuses nbdimage rebase --yes over.$format
    contains "$tmp/refused" "./$two: is a backup"
    contains "$tmp/refused" '--no-parent'
done
nbdimage commit --yes --into=into.raw over.vhd
cmp into.raw over.img
cp over.vhd whole.vhd
nbdimage rebase --yes --no-parent whole.vhd
mv vault elsewhere
rm -f got.img
nbdimage convert whole.vhd -O raw got.img
cmp got.img over.img
refuses nbdimage info over.vhd
mv elsewhere vault

# --- another generation than that it was made over

refuses nbdimage info --overlay=over.vhd "$one"
contains "$tmp/refused" "lies over $two, not over $one: name $two with it"
nbdimage backup --everything --name=d over.vhd vault
rm -f got.img
nbdimage convert vault/d -O raw got.img
cmp got.img over.img
refuses nbdimage info --overlay=over.vhd vault/d
contains "$tmp/refused" "lies over $two, not over vault/d@"
contains "$tmp/refused" ": name $two with it"
nbdimage info --overlay=over.vhd "$two"

# One that lies in a single file is named in the same way.
head -c 8M /dev/urandom >other.img
nbdimage backup --everything --name=d other.img vault
refuses nbdimage info --overlay=over.vhd vault/d
contains "$tmp/refused" "lies over $two, not over vault/d@"

# --- a prune wrote the file anew, which has another name then

root=$(echo vault/files/*"${times[0]}"*/*.0.root.nbi)
mv "$root" "${root%.0.root.nbi}.1.root.nbi"
rm -f got.img
nbdimage convert first.vhd -O raw got.img
cmp -n 1048576 got.img one.img
cmp --ignore-initial=1114112 got.img one.img
