#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# bench/backups measures backups and reading on a tiny disk, and its report has
# it all.  How fast anything was is not judged.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires python3
requires fio
requires jq
requires nbdcopy
requires qemu-img
requires qemu-nbd
requires sfdisk --version
requires mkfs.ext4 -V
requires debugfs -V
requires dumpe2fs -V
requires zstd --version
requires lz4 --version
requires openssl version

bench=$abs_top_srcdir/bench/backups

mkdir "$tmp/files"
for i in 1 2 3 4 5 6 7 8; do
    seq "$i" 9 1200000 >"$tmp/files/$i"
done
python3 -B "$bench" --plugin "$NBDIMAGE_PLUGIN" --nbdimage nbdimage \
    --dir "$tmp/images" --files "$tmp/files" --size 40 --used 8 --slice 4 \
    --repeats 1 --seconds 0.05 --only nbdimage --only 'image nbi' \
    --output "$tmp/out.tsv" >"$tmp/table"
cat "$tmp/table"

# figures WORKLOAD SUBJECT...: it took time.
figures ()
{
    local workload=$1 subject
    shift

    for subject in "$@"; do
        awk -F '\t' -v w="$workload" -v s="$subject" '
            $1 == w && $2 == s && $4 > 0 { ++n }
            END { exit n != 1 }' "$tmp/out.tsv" ||
            fail "no figures of $subject, $workload"
    done
}
for change in first clustered scattered upgrade; do
    figures "$change, zstd" nbdimage qemu-img 'qemu-img again'
    figures "$change, lz4" nbdimage
done
figures 'first, zstd' 'codec and SHA-256 alone'
figures 'first, lz4' 'codec and SHA-256 alone'
for workload in sequential 4k-depth-1 4k-depth-32 4k-depth-32-hot; do
    figures "reading, $workload" 'file raw' 'file raw again' \
        'image nbi lz4' 'image nbi zstd'
done

# A backup of what changed is a small part of the first.
awk -F '\t' '$2 == "nbdimage" { added[$1] = $8 }
    END { exit !(added["clustered, lz4"] > 0 &&
                 added["clustered, lz4"] < added["first, lz4"] / 2) }' \
    "$tmp/out.tsv"

# The disks that are measured differ where they should, and are sound.
for disk in disk disk-clustered disk-scattered disk-upgrade; do
    path=$tmp/images/backups/$disk
    dd if="$path" of="$tmp/fs" bs=1M skip=1 count=38 status=none
    e2fsck -fn "$tmp/fs"
    nbdimage info --json "$path" >"$tmp/info"
    same "the partition of $disk" \
         "$(jq -r '.partitions.entries[0]["file-system"].type' "$tmp/info")" \
         ext4
done

# The page is the same figures; so is the one in docs/.
python3 -B "$bench" --report "$tmp/out.tsv" >"$tmp/page"
for title in 'first, zstd' 'upgrade, lz4' 'reading, sequential'; do
    grep -x "## $title" "$tmp/page"
done
python3 -B "$bench" --report "$abs_top_srcdir/bench/backups.tsv" |
    diff "$abs_top_srcdir/docs/BENCH-BACKUP.md" -
