#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# VHDXs that other programs wrote read as it is known that they must.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

[ -r "$samples/MANIFEST.tsv" ] ||
    skip "no samples in $samples (set NBDIMAGE_SAMPLES)"
requires xz --version
requires sha256sum --version

dump=$abs_top_builddir/tests/support/image-dump

# truth NAME COLUMN: of MANIFEST.tsv.
truth ()
{
    awk -F '\t' -v name="vhdx/$1.vhdx.xz" -v column="$2" '
        NR == 1 { for (i = 1; i <= NF; i++) if ($i == column) c = i }
        $1 == name { print $c; found = 1 }
        END { exit !(c && found) }' "$samples/MANIFEST.tsv"
}

sha () { sha256sum | cut -d ' ' -f 1; }

names=$(awk -F '\t' '$1 ~ /^vhdx\// { print $1 }' "$samples/MANIFEST.tsv")
[ -n "$names" ] || skip "no VHDX in $samples"
for name in $names; do
    name=${name#vhdx/}
    name=${name%.vhdx.xz}
    xz -dc "$samples/vhdx/$name.vhdx.xz" |
        cp --sparse=always /dev/stdin "$tmp/disk.vhdx"
    same "sum of $name" "$(sha <"$tmp/disk.vhdx")" \
        "$(truth "$name" original_sha256)"

    "$dump" --info "$tmp/disk.vhdx" >"$tmp/info" 2>"$tmp/warnings"
    case $(truth "$name" format_details) in
    *"DIRTY LOG"*)
        grep 'log: replayed in memory: [1-9]' "$tmp/info"
        grep 'its log was replayed in memory' "$tmp/warnings" ;;
    *)
        grep -x 'log: empty' "$tmp/info"
        [ ! -s "$tmp/warnings" ] ;;
    esac
    type=$(truth "$name" format_details | sed 's/^VHDX \([a-z]*\).*/\1/')
    grep -x "type: $type" "$tmp/info"
    creator=$(truth "$name" format_details |
              sed -n 's/.*creator "\([^"]*\)".*/\1/p')
    [ -z "$creator" ] || grep -xF "creator: $creator" "$tmp/info"
    same "size of $name" "$("$dump" --size "$tmp/disk.vhdx")" \
        "$(truth "$name" disk_size)"

    # Hashing 10 GiB takes longer than having them compared by qemu-img, which
    # puts what is in the log into the file first.
    size=$(truth "$name" disk_size)
    if [ "$size" -le $((2 << 30)) ] || [ -n "${NBDIMAGE_LONG:-}" ]; then
        same "bytes of $name" "$("$dump" "$tmp/disk.vhdx" | sha)" \
            "$(truth "$name" disk_sha256)"
        compare=
    else
        "$dump" "$tmp/disk.vhdx" | cp --sparse=always /dev/stdin "$tmp/raw"
        compare=$(type -p qemu-img || true)
    fi
    same "sum of $name" "$(sha <"$tmp/disk.vhdx")" \
        "$(truth "$name" original_sha256)"
    if [ -n "$compare" ]; then
        qemu-img check -q -r all -f vhdx "$tmp/disk.vhdx"
        qemu-img compare -f raw -F vhdx "$tmp/raw" "$tmp/disk.vhdx"
    fi
done
