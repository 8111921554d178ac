#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What is said of UDF volumes is what udfinfo and blkid say: all revisions,
# kinds of media and block sizes that mkudffs makes, and labels of all
# characters.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires mkudffs
requires udfinfo
requires blkid --version

show=$abs_top_builddir/tests/unit/show
dump=$abs_top_builddir/tests/support/image-dump
udf=$tmp/udf
labels=(PLAIN 'Größe' '€uro' '漢字' 'with spaces' '😀 wide' "$(printf 'x%.0s' {1..120})")

# make MEDIA REVISION BLOCKSIZE LABEL: false if mkudffs has no such.
make ()
{
    rm -f "$udf"
    truncate -s 12M "$udf"
    mkudffs --utf8 -m "$1" -r "$2" -b "$3" -l "$4" "$udf" > "$tmp/log" 2>&1
}

field ()
{
    sed -n "s/^$1=//p" "$2"
}

n=0
made=0
for media in hd dvd dvdram dvdrw dvdr cdrw cdr cd bdr; do
    for revision in 1.01 1.02 1.50 2.00 2.01 2.50; do
        label=${labels[n++ % ${#labels[@]}]}
        make $media $revision 2048 "$label" || continue
        made=$((made + 1))
        "$show" image "$udf" > "$tmp/shown" 2> "$tmp/said"
        cat "$tmp/shown" "$tmp/said"
        udfinfo --utf8 "$udf" > "$tmp/theirs" 2> "$tmp/log" || :
        same format "$(field format "$tmp/shown")" iso
        same type "$(field type "$tmp/shown")" UDF
        same label "$(field label "$tmp/shown")" "$(field label "$tmp/theirs")"
        same label "$(field label "$tmp/shown")" "$label"
        same 'label of blkid' "$(field label "$tmp/shown")" \
            "$(blkid -p -o value -s LABEL "$udf")"
        same revision "$(field udf-revision "$tmp/shown")" \
            "$(field udfrev "$tmp/theirs")"
        same closed "$(grep -c '^udf-integrity=open' "$tmp/shown")" \
            "$(grep -c '^integrity=opened' "$tmp/theirs" || :)"
        same sparable "$(grep -c '^udf-partition-maps=.*sparable' \
            "$tmp/shown")" "$(grep -c type=SSPACE "$tmp/theirs" || :)"
        same 'without VAT' "$(grep -c 'table of virtual blocks is not in' \
            "$tmp/said")" "$(grep -c 'Virtual Allocation Table not found' \
            "$tmp/log" || :)"
        [ -s "$tmp/log" ] || test ! -s "$tmp/said"
        "$dump" "$udf" > "$tmp/dumped"
        same_bytes "$tmp/dumped" "$udf"
        rm "$tmp/dumped"
    done
done
test $made -ge 30           # mkudffs has not all of them

# A disc that is written bit by bit, to where it was written.
make cdr 2.01 2048 VIRTUAL
vat=$(od -A n -v -t x1 -w2048 "$udf" |
    awk '$1 == "0a" && $2 == "01" && $28 == "f8" { print NR }')
truncate -s $((vat * 2048)) "$udf"
udfinfo "$udf" > "$tmp/theirs" 2> "$tmp/log"
same 'without VAT' "$(grep -c 'Virtual Allocation Table not found' \
    "$tmp/log")" 0
"$show" image "$udf" > "$tmp/shown" 2> "$tmp/said"
grep '^udf-partition-maps=physical, virtual$' "$tmp/shown"
test ! -s "$tmp/said"

# In blocks of a hard disk it is a disk, which can be written to.
for size in 512 1024 4096; do
    make hd 2.01 $size DISK
    "$show" image "$udf" > "$tmp/shown"
    grep '^format=raw$' "$tmp/shown"
    "$show" fs "$udf" > "$tmp/shown"
    grep '^TYPE=udf$' "$tmp/shown"
done

# The end is missing, and with it the second anchor: also the copy of the
# descriptors.
make hd 2.01 2048 SHORT
truncate -s 11M "$udf"
"$show" image "$udf" > "$tmp/shown" 2> "$tmp/said"
grep '^missing=' "$tmp/shown"
grep '^label=SHORT$' "$tmp/shown"

# The first anchor is gone.
make hd 2.01 2048 ANCHOR
dd if=/dev/zero of="$udf" bs=2048 seek=256 count=1 conv=notrunc status=none
"$show" image "$udf" > "$tmp/shown" 2> "$tmp/said"
grep '^label=ANCHOR$' "$tmp/shown"
grep 'no anchor at block 256; the anchor at block 6143 is used' "$tmp/said"
