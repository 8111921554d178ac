#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Images that partclone made of random file systems, of any size, with any
# options, compressed and in pieces or not, read as partclone.restore restores
# them, and on used blocks as the partition was.  Three of them, or 150 if
# NBDIMAGE_LONG is set.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

# partclone clones for root only.
requires_root
requires jq
requires python3
requires partclone.restore

seed=${SEED:-$RANDOM}
wanted=${NBDIMAGE_LONG:+150}
: "${wanted:=3}"
echo "SEED=$seed"
RANDOM=$seed

cd "$tmp"

# pick WORD...: one of them, in $picked.  Not in a subshell, which would have
# the same random numbers again and again.
pick ()
{
    local all=("$@")

    picked=${all[RANDOM % $#]}
}

make_files ()
{
    local i nr=$((RANDOM % 40 + 1)) small=$((RANDOM % 150))

    rm -rf files
    mkdir -p files/folder
    for ((i = 0; i < nr; i++)); do
        head -c $((RANDOM * (RANDOM % 30))) /dev/urandom >"files/f$i"
    done
    for ((i = 0; i < small; i++)); do
        echo "$i $RANDOM" >"files/folder/$i"
    done
}

# size BYTES: about so many, in sectors.
size ()
{
    truncate -s $((($1 / 512 + RANDOM) * 512)) fs
}

# make_fs KIND: false if its programs are not here, or make no such one.
make_fs ()
{
    local f unit=$((RANDOM % 5))

    rm -f fs
    case $1 in
        extfs) size 50000000
               mke2fs -q -F -t "ext$((RANDOM % 3 + 2))" \
                   -b $((1024 << unit % 3)) -d files fs ;;
        ntfs)  size 60000000
               mkfs.ntfs -q -F -c $((512 << unit)) fs || return 1
               for f in files/f1*; do
                   ntfscp -q fs "$f" "${f##*/}" || return 1
               done ;;
        vfat)  pick 12 16 32
               case $picked in
                   12) truncate -s $((14000000 / 512 * 512)) fs
                       mkfs.vfat -F 12 -s $((8 << unit % 3)) fs ;;
                   16) size 40000000
                       mkfs.vfat -F 16 -s $((4 << unit % 4)) fs ;;
                   32) size 60000000
                       mkfs.vfat -F 32 -s 1 fs ;;
               esac || return 1
               mcopy -s -i fs files/f1* :: ;;
        exfat) size 40000000
               mkfs.exfat -c $((4096 << unit)) fs ;;
        btrfs) size 180000000
               mkfs.btrfs -q -f -r files fs ;;
        xfs)   size 320000000
               mkfs.xfs -q -f -b size=$((1024 << unit % 3)) fs ;;
        f2fs)  size 110000000
               mkfs.f2fs -q fs && sload.f2fs -f files fs ;;
    esac >mkfs.log 2>&1
}

# Compressed and cut, or not; the name is in $image.
pack ()
{
    image=image
    pick none 'gzip -1' 'lz4 -1' 'xz -0' 'zstd -1' none
    if [ "$picked" != none ] && command -v "${picked%% *}"; then
        $picked -c image >image.packed
        image=image.packed
    fi
    pick 500K 2M 10M none
    [ "$picked" != none ] || return 0
    split -b "$picked" "$image" pieces.
    image=pieces.aa
}

# Used blocks are the partition's, and all else is zeros.
used_is ()
{
    nbdimage info --map --json "$image" >map.json
    python3 - <<'END'
import json
source, read = (open(name, "rb").read() for name in ("fs", "back"))
map = json.load(open("map.json"))["map"]
assert sum(e["length"] for e in map) == len(read), (map, len(read))
for e in map:
    here = slice(e["offset"], e["offset"] + e["length"])
    if e["kind"] == "data":
        assert read[here] == source[here], e
    else:
        assert read[here].count(0) == e["length"], e
END
}

compared=0
for ((round = 0; compared < wanted && round < 10 * wanted; round++)); do
    rm -f image* pieces.* back theirs
    make_files
    pick extfs ntfs vfat exfat btrfs xfs f2fs
    kind=$picked
    make_fs "$kind" || continue
    pick '' -a0 -k1 "-k$((RANDOM % 50 + 2))" "-K -k$((RANDOM % 9 + 1))" \
        '-z 10485760' '-k 4000' '-z 65536' -K
    echo "round $round: $kind, $picked"
    # shellcheck disable=SC2086
    "partclone.$kind" -c -q -L log $picked -s fs -O image >clone.log 2>&1 ||
        continue
    # It does not survive all that it made itself.
    partclone.restore -q -L log -C -W -s image -O theirs >restore.log 2>&1 ||
        continue
    pack
    nbdimage convert --format=raw "$image" back
    # What is behind the last block partclone may leave out.
    truncate -s ">$(stat -c %s back)" theirs
    same_bytes theirs back
    used_is
    compared=$((compared + 1))
done
[ "$compared" -eq "$wanted" ] || fail "only $compared were compared"
echo "COUNTED: $compared images of partclone, 0 bad, seed $seed"
