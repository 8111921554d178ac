#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Images that partclone itself made of file systems that their own programs
# made: what is read is what partclone restores, and on used blocks what the
# partition was.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

# partclone clones for root only.
requires_root
requires jq
requires python3
requires nbdcopy --version
requires partclone.restore

cd "$tmp"
mkdir files
cp "$abs_top_builddir/config.status" "$abs_top_builddir/config.h" files
head -c 2000000 /dev/urandom >files/noise

# make_fs KIND FILE: a file system with files in it, and some deleted again.
make_fs ()
{
    local kind=$1 file=$2

    case $kind in
        ext4)  truncate -s 24M "$file"
               mke2fs -q -t ext4 -d files "$file" ;;
        ext2)  truncate -s 24M "$file"
               mke2fs -q -t ext2 -b 1024 -d files "$file" ;;
        # Its last sector is in no cluster.
        ntfs)  truncate -s 24M "$file"
               mkfs.ntfs -q -F "$file"
               ntfscp -q "$file" files/noise noise ;;
        fat16) truncate -s 24M "$file"
               mkfs.vfat -F 16 "$file"
               mcopy -i "$file" files/* :: ;;
        fat32) truncate -s 40M "$file"
               mkfs.vfat -F 32 -s 1 "$file"
               mcopy -i "$file" files/* :: ;;
        exfat) truncate -s 24M "$file"
               mkfs.exfat "$file" ;;
        btrfs) truncate -s 120M "$file"
               mkfs.btrfs -q -r files "$file" ;;
        xfs)   truncate -s 300M "$file"
               mkfs.xfs -q "$file" ;;
    esac >mkfs.log
}

# clone KIND FILE IMAGE ARG...
clone ()
{
    local kind=$1 from=$2 to=$3

    shift 3
    case $kind in ext*) kind=extfs;; fat*) kind=vfat;; esac
    "partclone.$kind" -c -q -L partclone.log -s "$from" -O "$to" "$@" \
        >clone.log 2>&1
}

# used_is SOURCE IMAGE READ: where the image says it has data, what was read is
# what the source has; elsewhere zeros.  At least something is unallocated.
used_is ()
{
    nbdimage info --map --json "$2" >map.json
    python3 - "$1" map.json "$3" <<'END'
import json, sys
source, read = (open(sys.argv[i], "rb").read() for i in (1, 3))
map = json.load(open(sys.argv[2]))["map"]
assert sum(e["length"] for e in map) == len(read), (map, len(read))
used = 0
for e in map:
    here = slice(e["offset"], e["offset"] + e["length"])
    if e["kind"] == "data":
        used += e["length"]
        assert read[here] == source[here], e
    else:
        assert read[here].count(0) == e["length"], e
assert 0 < used < len(read), used
END
}

n=0
for kind in ext4 ext2 ntfs fat16 fat32 exfat btrfs xfs; do
    command -v "mkfs.$kind" || [[ $kind == fat* ]] || continue
    make_fs "$kind" "$kind.fs" || continue
    clone "$kind" "$kind.fs" "$kind.pcl"
    nbdimage info --json "$kind.pcl" >json
    same format "$(jq -r .format json)" partclone
    same 'saved as' "$(jq -r '.properties."saved-file-system"' json |
                           tr -d 0-9 | tr A-Z a-z)" \
         "$(echo "$kind" | sed 's/^ext.*/extfs/' | tr -d 0-9)"
    nbdimage convert --format=raw "$kind.pcl" back.img
    used_is "$kind.fs" "$kind.pcl" back.img
    partclone.restore -q -L partclone.log -W -s "$kind.pcl" -O theirs.img \
        >restore.log 2>&1
    # What is behind the last block partclone may leave out.
    truncate -s ">$(stat -c %s back.img)" theirs.img
    same_bytes theirs.img back.img
    nbdimage check --data "$kind.pcl"
    rm back.img theirs.img
    n=$((n + 1))
done
[ "$n" -ge 3 ]

# The file system in it is known, and is whole.
nbdimage info --json ext4.pcl >json
same uuid "$(jq -r '.. | .uuid? // empty' json | head -n 1)" \
     "$(blkid -p -s UUID -o value ext4.fs)"
nbdimage convert --format=raw ext4.pcl back.img
e2fsck -fn back.img
rm back.img

# Other checksums: none, of few blocks, going on from one to the next.
for arguments in -a0 -k1 -k7 '-K -k7' '-K -k1' '-k4096'; do
    # shellcheck disable=SC2086
    clone ext4 ext4.fs other.pcl $arguments
    nbdimage convert --format=raw other.pcl back.img
    used_is ext4.fs other.pcl back.img
    rm back.img
done

# Version 1, that partclone itself restores, and one that it refuses.
python3 "$support/partclone-v1.py" ext2.pcl v1.pcl 4
partclone.restore -q -L partclone.log -W -s v1.pcl -O theirs.img >restore.log 2>&1
nbdimage convert --format=raw v1.pcl back.img 2>warnings
contains warnings 'the first byte of each block only'
truncate -s ">$(stat -c %s back.img)" theirs.img
same_bytes theirs.img back.img
used_is ext2.fs v1.pcl back.img
python3 "$support/partclone-v1.py" ext2.pcl v1-long.pcl 8
nbdimage convert --format=raw v1-long.pcl long.img
same_bytes back.img long.img
gzip -1 v1.pcl
nbdimage convert --format=raw v1.pcl.gz gz.img 2>warnings
same_bytes back.img gz.img
[ ! -s warnings ]
python3 "$support/partclone-v1.py" ext2.pcl each.pcl 4 each
refuses partclone.restore -q -L partclone.log -W -s each.pcl -O no.img
refuses nbdimage convert --format=raw each.pcl never.img
rm back.img theirs.img long.img gz.img

# Served, by many connections, to clients that see what is allocated.
start_nbdkit image ext4.pcl
nbdcopy --connections=4 --requests=16 "$uri" copy.img
stop_nbdkit
used_is ext4.fs ext4.pcl copy.img

# Each byte that is damaged is found, and costs what its checksum covers; one
# of the header or of the bitmap costs all.
size=$(stat -c %s ext4.pcl)
for at in 20 60 108 112 300 $((size / 2)) $((size - 3)) $((size - 5000)); do
    cp ext4.pcl bad.pcl
    byte=$(od -An -tu1 -j "$at" -N 1 bad.pcl)
    # shellcheck disable=SC2059
    printf "\\x$(printf %x $((byte ^ 16)))" |
        dd of=bad.pcl bs=1 seek="$at" conv=notrunc status=none
    status=0
    nbdimage check --data bad.pcl >out 2>&1 || status=$?
    same "status of a byte at $at" "$status" 3
    contains out bad.pcl
    contains out 'at offset'
    refuses nbdimage convert --format=raw bad.pcl never.img
done

# Cut off.
for len in 15 100 115 $((size / 2)) $((size - 1)); do
    head -c "$len" ext4.pcl >bad.pcl
    status=0
    nbdimage info bad.pcl >out 2>&1 || status=$?
    same "status when cut off at $len" "$status" 3
    contains out "the file is cut off: it ends at $len"
done

# Compressed, and cut into pieces as Clonezilla does.
nbdimage convert --format=raw ext4.pcl plain.img
for command in 'bzip2 -1' 'gzip -1' 'lz4 -1' 'xz -0' 'zstd -1'; do
    program=${command%% *}
    command -v "$program" || continue
    $command -c ext4.pcl >"ext4.pcl.$program"
    mkdir pieces
    split -b 300K "ext4.pcl.$program" "pieces/sda1.ext4-ptcl-img.$program."
    first=pieces/sda1.ext4-ptcl-img.$program.aa
    for image in "ext4.pcl.$program" "$first"; do
        nbdimage info --json "$image" >json
        same format "$(jq -r .format json)" partclone
        same compression "$(jq -r .properties.compression json)" "$program"
        nbdimage convert --format=raw "$image" back.img
        same_bytes plain.img back.img
        rm back.img
    done
    same pieces "$(jq -r .properties.pieces json)" "$(ls pieces | wc -l)"

    # What was learnt of the pieces is kept.
    indexes=$(ls "$XDG_CACHE_HOME/nbdimage" | wc -l)
    nbdimage info "$first"
    same indexes "$(ls "$XDG_CACHE_HOME/nbdimage" | wc -l)" "$indexes"

    # One that is damaged, missing, or cut off.
    cp -r pieces whole
    second=${first%a}b
    printf 'XXXX' | dd of="$second" bs=1 seek=150000 conv=notrunc status=none
    refuses nbdimage check --data "$first"
    cp whole/* pieces
    rm "$second"
    refuses nbdimage info "$first"
    contains refused 'a piece is missing'
    cp whole/* pieces
    truncate -s -1 "$second"
    refuses nbdimage info "$first"
    contains refused "$second has"
    cp whole/* pieces
    rm "pieces/$(ls pieces | tail -n 1)"
    refuses nbdimage info "$first"
    contains refused "what comes after pieces/$(ls pieces | tail -n 1) is missing"
    rm -r pieces whole
done
split -b 300K ext4.pcl ext4.pcl.
nbdimage convert --format=raw ext4.pcl.aa back.img
same_bytes plain.img back.img
start_nbdkit image ext4.pcl.aa
nbdcopy --connections=4 --requests=16 "$uri" copy.img
stop_nbdkit
same_bytes plain.img copy.img
refuses nbdimage serve --write ext4.pcl.aa
rm "$(ls ext4.pcl.a? | tail -n 1)"
refuses nbdimage info ext4.pcl.aa
contains refused 'the file is cut off'

# Raw disks, too.
split -b 7M plain.img plain.img.
nbdimage convert --format=raw plain.img.aa raw.img
same_bytes plain.img raw.img
same 'can be written' "$(nbdimage info --json plain.img.aa |
                             jq '."can-be-written"')" false

# Not to be written.
refuses nbdimage serve --write ext4.pcl
contains refused 'read-only'

# The samples.
if [ -d "$samples/backup" ]; then
    for f in ext4-v2 fat32-v2 ntfs-v2; do
        nbdimage convert --format=raw "$(sample "backup/$f.pcl")" sample.img
        same "sum of $f" "$(sha256sum <sample.img | cut -d' ' -f1)" \
             "$(awk -F'\t' -v f="backup/$f.pcl.xz" '$1 == f { print $7 }' \
                    "$samples/MANIFEST.tsv")"
        rm sample.img
    done
fi
