#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Sessions written by genisoimage and xorriso are found, where xorriso says
# that they are, and the bytes stay as they are.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires xorriso -version
requires genisoimage -version

show=$abs_top_builddir/tests/unit/show
dump=$abs_top_builddir/tests/support/image-dump

for i in 1 2 3 4; do
    mkdir "$tmp/files$i"
    head -c $((i * 123456)) /dev/urandom > "$tmp/files$i/file$i"
done

shown ()
{
    "$show" image "$1" > "$tmp/shown" 2> "$tmp/said"
    cat "$tmp/shown" "$tmp/said"
    "$dump" "$1" > "$tmp/dumped"
    same_bytes "$tmp/dumped" "$1"
}

# A growing file: xorriso's table of contents, "1: ‘X1’ at sector 32, …".
for i in 1 2 3; do
    xorriso -dev "$tmp/grown.iso" -volid "GROWN$i" -map "$tmp/files$i" "/d$i" \
        -commit > "$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
    shown "$tmp/grown.iso"
    test ! -s "$tmp/said"
    grep "^label=GROWN$i\$" "$tmp/shown"
    toc=$(xorriso -indev "$tmp/grown.iso" -toc 2>/dev/null |
        sed -n -E 's/^ISO session  : +[0-9]+ , +([0-9]+) , +[0-9]+s , (.*)$/‘\2’ at sector \1/p' |
        paste -sd, | sed 's/,/, /g')
    test -n "$toc"
    if [ $i -eq 1 ]; then
        test "$(grep -c '^session' "$tmp/shown")" -eq 0
    else
        grep -F "sessions=$i: $toc" "$tmp/shown"
        grep "^session-seen=$i\$" "$tmp/shown"
    fi
done

# One after the other: sector 16 describes the first.
genisoimage -quiet -r -J -V ONE -o "$tmp/multi.iso" "$tmp/files1"
expected="‘ONE’ at sector 0"
for i in 2 3 4; do
    end=$(stat -c %s "$tmp/multi.iso")
    start=$(((end / 2048 + 15 + 160 * i) / 16 * 16))
    genisoimage -quiet -r -J -V "NUMBER$i" -C "${last:-0},$start" \
        -M "$tmp/multi.iso" -o "$tmp/part" "$tmp/files$i"
    truncate -s $((start * 2048)) "$tmp/multi.iso"
    cat "$tmp/part" >> "$tmp/multi.iso"
    last=$start
    expected="$expected, ‘NUMBER$i’ at sector $start"
    shown "$tmp/multi.iso"
    grep '^label=ONE$' "$tmp/shown"
    grep -F "sessions=$i: $expected" "$tmp/shown"
    grep '^session-seen=1$' "$tmp/shown"
    grep -F "mount with -o sbsector=$start for the last" "$tmp/said"
done
# The last session has what all of them brought.
xorriso -load sbsector "$last" -indev "$tmp/multi.iso" -find / -type f \
    > "$tmp/list" 2> "$tmp/log"
for i in 1 2 3 4; do
    grep "^'/file$i'\$" "$tmp/list"
done

# Its end is missing.
size=$(stat -c %s "$tmp/multi.iso")
truncate -s $((size - 400000)) "$tmp/multi.iso"
shown "$tmp/multi.iso"
grep 'bytes are missing at the end' "$tmp/said"
grep '^missing=' "$tmp/shown"

# An image behind an image, and one in an image, is no session.
genisoimage -quiet -r -V INNER -o "$tmp/files2/inner.iso" "$tmp/files1"
genisoimage -quiet -r -V OUTER -o "$tmp/outer.iso" "$tmp/files2"
end=$(stat -c %s "$tmp/outer.iso")
truncate -s $(((end + 32767) / 32768 * 32768)) "$tmp/outer.iso"
cat "$tmp/files2/inner.iso" >> "$tmp/outer.iso"
shown "$tmp/outer.iso"
test "$(grep -c '^session' "$tmp/shown")" -eq 0
test ! -s "$tmp/said"
