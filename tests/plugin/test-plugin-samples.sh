#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# VHDs that other programs made hold the disks that they are known to hold.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires nbdcopy
requires xz --version
requires sha256sum --version

# known NAME PARAMETER...: what the manifest says of it, and what is served.
known ()
{
    local file line size hash
    file=$(sample "$1")
    line=$(grep "^$1\.xz"$'\t' "$samples/MANIFEST.tsv")
    size=$(cut -f6 <<<"$line")
    hash=$(cut -f7 <<<"$line")
    shift
    start_nbdkit -r image "$file" "$@"
    same "size of $file" "$(nbdinfo --size "$uri")" "$size"
    same "hash of $file" "$(nbdcopy "$uri" - | sha256sum)" "$hash  -"
    stop_nbdkit
}

for name in win10-dynamic ext2 d2v-zerofilled qemu-dyn-force qemu-fixed-chs \
    tap2/parent; do
    known "vhd/$name.vhd"
done
known vhd/tap2/child.vhd

# By cylinders, heads and sectors, or as the footer says.
start_nbdkit image "$(sample vhd/virtualpc-dynamic.vhd)"
same "size by creator" "$(nbdinfo --size "$uri")" 136363130880
stop_nbdkit
start_nbdkit image "$(sample vhd/virtualpc-dynamic.vhd)" size=current
same "current size" "$(nbdinfo --size "$uri")" 136365211648
stop_nbdkit
start_nbdkit image "$(sample vhd/win10-dynamic.vhd)" size=chs
same "size by geometry" "$(nbdinfo --size "$uri")" 10479616
stop_nbdkit

# Bad checksums are refused, unless they are to be ignored.
for name in image image-differential; do
    sample "vhd/$name.vhd" >/dev/null
    refuses nbdkit -U - image "$(sample "vhd/$name.vhd")" --run true
    contains "$tmp/refused" "$name.vhd: the VHD footer at offset 2099712 has "
done
for name in image image-differential; do
    known "vhd/$name.vhd" ignore-checksums=true
done

# A parent in another folder is found where it is allowed to be.
mkdir "$tmp/parents" "$tmp/child"
cp "$(sample vhd/tap2/child.vhd)" "$tmp/child"
cp "$(sample vhd/tap2/parent.vhd)" "$tmp/parents"
refuses nbdkit -U - image "$tmp/child/child.vhd" --run true
contains "$tmp/refused" "the parent ‘"
cd "$tmp"
start_nbdkit image child/child.vhd parent-path=child:parents
nbdcopy "$uri" "$tmp/copy"
stop_nbdkit
same "hash of the child" "$(sha256sum <"$tmp/copy")" \
    "$(grep ^vhd/tap2/child "$samples/MANIFEST.tsv" | cut -f7)  -"

# A folder with a chain in it, from which the parent vanishes and comes back.
mv parents/parent.vhd child
start_nbdkit image dir=child
same "size of the child" "$(nbdinfo --size "$(export_uri child.vhd)")" 8388608
mv child/parent.vhd parents
refuses nbdinfo --size "$(export_uri child.vhd)"
contains "$nbdkit_log" "child.vhd: the parent ‘"
mv parents/parent.vhd child
same "size of the child" "$(nbdinfo --size "$(export_uri child.vhd)")" 8388608
