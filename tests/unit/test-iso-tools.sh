#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What is said of ISO images is what xorriso, isoinfo, blkid and udfinfo say.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires xorriso
requires genisoimage
requires isoinfo
requires blkid
requires jq

show=$abs_top_builddir/tests/unit/show

# What isoinfo says of the primary volume descriptor and the extensions.
by_isoinfo ()
{
    isoinfo -d -i "$1" 2>/dev/null | sed -n -E '
        s/^Volume id: (.+)$/label=\1/p
        s/^System id: (.+)$/system-id=\1/p
        s/^Volume set id: (.+)$/volume-set=\1/p
        s/^Publisher id: (.+)$/publisher=\1/p
        s/^Data preparer id: (.+)$/preparer=\1/p
        s/^Application id: (.+)$/application=\1/p
        s/^Joliet with UCS.*$/Joliet/p
        s/^Rock Ridge signatures.*$/Rock Ridge/p' | sort
}

# What xorriso says of El Torito.
by_xorriso ()
{
    xorriso -indev "$1" -report_el_torito plain 2>/dev/null |
        sed -n 's/^El Torito boot img ://p' |
        while read -r _ platform bootable media _ _ sectors lba; do
            case $media in
                none) media='no emulation' ;;
                fd1.2) media='1.2M floppy'; sectors=2400 ;;
                fd1.4) media='1.44M floppy'; sectors=2880 ;;
                fd2.8) media='2.88M floppy'; sectors=5760 ;;
                hd) media='hard disk' ;;
            esac
            echo "boot=$platform, $bootable, $media, $((lba * 2048))," \
                "$((sectors * 512))"
        done
}

# compare IMAGE: it is an ISO whose plain name is not a stub.
compare ()
{
    "$show" image "$1" > "$tmp/shown" 2> "$tmp/said"
    grep '^format=iso$' "$tmp/shown"
    grep "^size=$(stat -c %s "$1")\$" "$tmp/shown"
    by_isoinfo "$1" > "$tmp/theirs"
    {
        grep -E '^(label|system-id|volume-set|publisher|preparer|application)=' \
            "$tmp/shown" || :
        sed -n 's/^extensions=//p' "$tmp/shown" | tr ',' '\n' |
            sed -n -E 's/^ ?(Joliet|Rock Ridge)$/\1/p'
    } | sort > "$tmp/ours"
    diff -u "$tmp/theirs" "$tmp/ours"
    by_xorriso "$1" > "$tmp/theirs"
    grep '^boot=' "$tmp/shown" > "$tmp/ours" || :
    diff -u "$tmp/theirs" "$tmp/ours"
    blocks=$(isoinfo -d -i "$1" | sed -n 's/^Volume size is: //p')
    volume=$(sed -n 's/^volume-size=.* (\([0-9]*\) bytes)$/\1/p' "$tmp/shown")
    test "$volume" -eq $((blocks * 2048)) ||
        grep '^type=UDF bridge$' "$tmp/shown"
    created=$(sed -n 's/^created=//p' "$tmp/shown")
    test "$created" -gt 0
}

silent ()
{
    test ! -s "$tmp/said" || { cat "$tmp/said"; exit 1; }
}

# Made now.
now=$(date +%s)
for kind in rockridge joliet udf; do
    "$support/make-iso.sh" "$kind" "$tmp/$kind.iso"
    compare "$tmp/$kind.iso"
    silent
    grep '^label=NBDIMAGE_TEST$' "$tmp/shown"
    test "$created" -ge $((now - 5)) -a "$created" -le $((now + 600))
done
grep '^type=UDF bridge$' "$tmp/shown"
grep "^udf-revision=$(blkid -p -o value -s VERSION "$tmp/udf.iso")\$" \
    "$tmp/shown"

# One half of it, as when a download broke off.
size=$(stat -c %s "$tmp/udf.iso")
head -c $((size / 2)) "$tmp/udf.iso" > "$tmp/half.iso"
"$show" image "$tmp/half.iso" > "$tmp/shown" 2> "$tmp/said"
grep 'bytes are missing at the end' "$tmp/said"
grep "^size=$((size / 2))\$" "$tmp/shown"

# Bootable in two ways, and a disk with a GPT too.
mkdir "$tmp/files"
head -c 2048 /dev/urandom > "$tmp/files/bios.img"
head -c 1474560 /dev/zero > "$tmp/files/floppy.img"
truncate -s 3M "$tmp/efi.img"
cp "$tmp/efi.img" "$tmp/files"
xorriso -as mkisofs -quiet -r -V TWO_WAYS -o "$tmp/two.iso" \
    -c boot.cat -b bios.img -no-emul-boot -boot-load-size 4 \
    -eltorito-alt-boot -e efi.img -no-emul-boot \
    -append_partition 2 0xef "$tmp/efi.img" -appended_part_as_gpt \
    "$tmp/files"
compare "$tmp/two.iso"
silent
test "$(grep -c '^boot=' "$tmp/shown")" -eq 2
grep '^hybrid=MBR, GPT$' "$tmp/shown"
"$show" part "$tmp/two.iso" > "$tmp/ours"
test "$(tail -n +2 "$tmp/ours" | cut -d' ' -f1-4)" = "$(sfdisk --json \
    "$tmp/two.iso" | jq -r '.partitiontable.partitions[] |
    "\(.node[-1:]) \(.start) \(.size) \(.type | ascii_downcase)"')"

# A floppy.
genisoimage -quiet -r -V FLOPPY -c boot.cat -b floppy.img \
    -o "$tmp/floppy.iso" "$tmp/files"
compare "$tmp/floppy.iso"
silent
grep '1.44M floppy' "$tmp/shown"

# ISO 9660:1999.
genisoimage -quiet -iso-level 4 -V LEVEL4 -o "$tmp/level4.iso" "$tmp/files"
compare "$tmp/level4.iso"
grep '^type=ISO 9660:1999' "$tmp/shown"

# UDF alone, in several revisions.
if command -v mkudffs > /dev/null; then
    for rev in 0x0102 0x0150 0x0201; do
        rm -f "$tmp/pure.iso"
        truncate -s 16M "$tmp/pure.iso"
        mkudffs -b 2048 --udfrev=$rev --label="Größe €" "$tmp/pure.iso" \
            > /dev/null
        "$show" image "$tmp/pure.iso" > "$tmp/shown" 2> "$tmp/said"
        silent
        grep '^format=iso$' "$tmp/shown"
        grep '^type=UDF$' "$tmp/shown"
        grep '^label=Größe €$' "$tmp/shown"
        grep '^creator=Linux UDFFS' "$tmp/shown"
        grep "^udf-revision=${rev:3:1}.${rev:4:2}\$" "$tmp/shown"
    done
    # In blocks of a hard disk it is no disc.
    truncate -s 0 "$tmp/pure.iso"
    truncate -s 16M "$tmp/pure.iso"
    mkudffs -b 512 "$tmp/pure.iso" > /dev/null
    "$show" image "$tmp/pure.iso" | grep '^format=raw$'
fi

# Real images, where they are.
[ -d "$samples/iso" ] || exit 0
while IFS=$'\t' read -r name _ _ _ details _; do
    case $name in
        iso/UdfTest.iso.xz)             # UDF without ISO 9660
            image=$(sample "${name%.xz}")
            "$show" image "$image" > "$tmp/shown" 2> "$tmp/said"
            silent
            grep "^label=$(blkid -p -o value -s LABEL "$image")\$" \
                "$tmp/shown"
            ;;
        iso/*.xz)
            image=$(sample "${name%.xz}")
            compare "$image"
            silent
            id=$(sed -n "s/.*volume id '\([^']*\)'.*/\1/p" <<< "$details")
            [ -z "$id" ] || grep "^label=$id\$" "$tmp/shown"
            test "$(grep -c 'MBR partition' <<< "$details")" -eq \
                "$(grep -c '^hybrid=MBR' "$tmp/shown")"
            test "$(grep -o 'boot img :' <<< "$details" | wc -l)" -eq \
                "$(grep -c '^boot=' "$tmp/shown" || :)"
            ;;
    esac
done < "$samples/MANIFEST.tsv"
