#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# VHDs that other programs wrote read as it is known that they must.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

[ -r "$samples/MANIFEST.tsv" ] ||
    skip "no samples in $samples (set NBDIMAGE_SAMPLES)"
requires xz
requires sha256sum

dump=$abs_top_builddir/tests/support/image-dump

# truth NAME COLUMN: of MANIFEST.tsv.
truth ()
{
    awk -F '\t' -v name="vhd/$1.vhd.xz" -v column="$2" '
        NR == 1 { for (i = 1; i <= NF; i++) if ($i == column) c = i }
        $1 == name { print $c; found = 1 }
        END { exit !(c && found) }' "$samples/MANIFEST.tsv"
}

# unpack NAME: $tmp/NAME.vhd, and look whether it is what it should be.
unpack ()
{
    mkdir -p "$(dirname "$tmp/$1")"
    xz -dc "$samples/vhd/$1.vhd.xz" | cp --sparse=always /dev/stdin \
        "$tmp/$1.vhd"
    [ "$(sha256sum <"$tmp/$1.vhd" | cut -d ' ' -f 1)" = \
      "$(truth "$1" original_sha256)" ] || fail "$1 is another file"
}

# reads_right NAME OPTION...
reads_right ()
{
    local name=$1
    shift
    [ "$("$dump" --size "$@" "$tmp/$name.vhd")" = \
      "$(truth "$name" disk_size)" ] || fail "the size of $name"
    [ "$("$dump" "$@" "$tmp/$name.vhd" | sha256sum | cut -d ' ' -f 1)" = \
      "$(truth "$name" disk_sha256)" ] || fail "the bytes of $name"
}

names="d2v-zerofilled win10-dynamic ext2 qemu-dyn-force qemu-fixed-chs
       tap2/parent tap2/child"
for name in $names; do
    unpack "$name"
    reads_right "$name"
done

# Wrong checksums.
unpack image
unpack image-differential
for name in image image-differential; do
    if "$dump" "$tmp/$name.vhd" >"$tmp/out" 2>"$tmp/err"; then
        fail "$name has wrong checksums and was opened"
    fi
    [ ! -s "$tmp/out" ] || fail "$name gave bytes"
    grep 'footer at offset .* has checksum .*, computed ' "$tmp/err"
    reads_right "$name" --ignore-checksums
done

# Virtual PC's guests saw the geometry; the stated size is the current one.
# All of it is a hole: nobody has to read 127 GiB of zeros.
name=virtualpc-dynamic
unpack $name
[ "$("$dump" --size $tmp/$name.vhd)" = 136363130880 ]
[ "$("$dump" --size --size-rule=chs $tmp/$name.vhd)" = 136363130880 ]
[ "$("$dump" --size --size-rule=current $tmp/$name.vhd)" = \
  "$(truth $name disk_size)" ]
[ "$("$dump" --extents --size-rule=current $tmp/$name.vhd)" = \
  "0 $(truth $name disk_size) hole 0" ]

# A child does not open without its parent.
mkdir "$tmp/alone"
mv "$tmp/tap2/child.vhd" "$tmp/alone"
if "$dump" "$tmp/alone/child.vhd" >"$tmp/out" 2>"$tmp/err"; then
    fail "the child opened without its parent"
fi
grep "the parent ‘parent.vhd’ with identity .* is not in $tmp/alone" "$tmp/err"
[ ! -s "$tmp/out" ]
[ "$("$dump" --parent-path="$tmp/tap2" "$tmp/alone/child.vhd" |
     sha256sum | cut -d ' ' -f 1)" = "$(truth tap2/child disk_sha256)" ]
