#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Folders as Clonezilla makes them, with the programs that it runs: dd,
# partclone, a compressor, split.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

# partclone clones for root only.
requires_root
requires jq
requires python3
requires sfdisk
requires sgdisk
requires partclone.restore
requires mkfs.vfat -C "$tmp/try" 1024

cd "$tmp"
mkdir files
cp "$abs_top_builddir/config.status" "$abs_top_builddir/config.h" files
head -c 1000000 /dev/urandom >files/noise

# Disks of 96 MiB: FAT at 1 MiB, swap at 21 MiB, ext4 at 31 MiB, and something
# between the table and the first partition.
truncate -s 20M p1
mkfs.vfat p1 >mkfs.log
mcopy -i p1 files/* ::
truncate -s 10M p2
mkswap -U 11111111-2222-3333-4444-555555555555 p2
truncate -s 40M p3
mke2fs -q -t ext4 -d files p3
make_disk ()
{
    truncate -s 96M "$1"
    sfdisk -q "$1"
    dd if=p1 of="$1" bs=1M seek=1 conv=notrunc status=none
    dd if=p2 of="$1" bs=1M seek=21 conv=notrunc status=none
    dd if=p3 of="$1" bs=1M seek=31 conv=notrunc status=none
    head -c 5000 /dev/urandom | dd of="$1" bs=512 seek=60 conv=notrunc \
                                   status=none
}
make_disk gpt.img <<'END'
label: gpt
start=2048, size=40960, type=U
start=43008, size=20480, type=S
start=63488, size=81920, type=L
END
make_disk mbr.img <<'END'
label: dos
start=2048, size=40960, type=c, bootable
start=43008, size=20480, type=82
start=63488, size=81920, type=83
END

# save SOURCE FOLDER DISK P: what ocs-sr does.
save ()
{
    local to=$2 disk=$3 p=$3$4
    mkdir "$to"
    echo "$disk" >"$to/disk"
    echo "${p}1 ${p}3" >"$to/parts"
    : >"$to/clonezilla-img"
    dd if="$1" of="$to/$disk-mbr" bs=512 count=1 status=none
    dd if="$1" of="$to/$disk-hidden-data-after-mbr" bs=512 skip=1 count=2047 \
       status=none
    if [ "$1" = gpt.img ]; then
        dd if="$1" of="$to/$disk-gpt-1st" bs=512 count=34 status=none
        dd if="$1" of="$to/$disk-gpt-2nd" bs=512 skip=$((96 * 2048 - 32)) \
           status=none
    fi
    cat >"$to/$disk-pt.parted" <<END
Model: ATA DISK (scsi)
Disk /dev/$disk: $((96 * 2048))s
Sector size (logical/physical): 512B/512B
END
    echo 'UUID="11111111-2222-3333-4444-555555555555"' >"$to/swappt-${p}2.info"
    partclone.vfat -c -q -L partclone.log -s p1 -o - 2>clone.log | gzip -1 |
        split -b 200K - "$to/${p}1.vfat-ptcl-img.gz."
    partclone.extfs -c -q -L partclone.log -s p3 -o - 2>clone.log |
        zstd -q -1 >"$to/${p}3.ext4-ptcl-img.zst"
}

# same_disk SOURCE READ MAP: where there is data, it is the source's, and
# elsewhere zeros; the swap space is not there, all else that is used is.
same_disk ()
{
    python3 - "$@" <<'END'
import json, sys
source, read = (open(sys.argv[i], "rb").read() for i in (1, 2))
map = json.load(open(sys.argv[3]))["map"]
assert len(source) == len(read) == sum(e["length"] for e in map)
for e in map:
    here = slice(e["offset"], e["offset"] + e["length"])
    if e["kind"] == "data":
        assert read[here] == source[here], e
    else:
        assert read[here].count(0) == e["length"], e
M = 1 << 20
assert read[:M] == source[:M]
assert read[95 * M:] == source[95 * M:]
assert read[21 * M:31 * M].count(0) == 10 * M
END
}

for kind in gpt mbr; do
    if [ "$kind" = gpt ]; then disk=nvme0n1 p=p; else disk=sda p=; fi
    save "$kind.img" "$kind" "$disk" "$p"
    for name in "$kind" "$kind/$disk"; do
        nbdimage info --json "$name" >json 2>warnings || { cat warnings; exit 1; }
        same format "$(jq -r .format json)" clonezilla
        same size "$(jq .size json)" $((96 << 20))
        contains warnings "$disk${p}2 is not in the backup"
        nbdimage info --map --json "$name" >map
        nbdimage convert --format=raw "$name" back.img
        same_disk "$kind.img" back.img map
        # The table in it is whole, and its partitions are.
        sfdisk -d "$kind.img" | grep -v '^device' | sed 's/.*: start/start/' >1
        sfdisk -d back.img | grep -v '^device' | sed 's/.*: start/start/' >2
        diff 1 2
        [ "$kind" = mbr ] || sgdisk -v back.img | grep 'No problems found'
        dd if=back.img of=part bs=1M skip=31 count=40 status=none
        e2fsck -fn part
        dd if=back.img of=part bs=1M skip=1 count=20 status=none
        fsck.vfat -n part
        rm back.img part
    done
    # A partition alone.
    nbdimage info --json "$kind/$disk${p}3" >json
    same format "$(jq -r .format json)" partclone
    same size "$(jq .size json)" $((40 << 20))
    refuses nbdimage info "$kind/$disk${p}2"
    refuses nbdimage info "$kind/sdx"
    refuses timeout 20 nbdimage serve --write "$kind/$disk"
    contains refused 'read-only'
done

# By dd and by partclone.dd, compressed or not, in pieces or not; not compressed
# by partclone; a disk whose name has a dash.
same_parts ()
{
    nbdimage convert --format=raw other/cciss-c0d0 back.img 2>warnings
    dd if=back.img bs=1M skip=1 count=20 status=none | cmp - p1
    dd if=back.img of=part bs=1M skip=31 count=40 status=none
    e2fsck -fn part
    rm back.img part
}
save mbr.img other cciss-c0d0 p
rm other/*-img*
partclone.extfs -c -q -L partclone.log -s p3 \
    -O other/cciss-c0d0p3.ext4-ptcl-img.uncomp 2>clone.log
cp p1 other/cciss-c0d0p1.dd-img
same_parts
same format "$(nbdimage info --json other | jq -r .format)" clonezilla
split -b 3M other/cciss-c0d0p1.dd-img other/cciss-c0d0p1.dd-img.
rm other/cciss-c0d0p1.dd-img
same_parts
rm other/cciss-c0d0p1.*
# Only one piece, as ocs-sr makes of all that is small.
gzip -1 <p1 >other/cciss-c0d0p1.dd-ptcl-img.gz.aa
split -b 7M other/cciss-c0d0p3.*.uncomp \
    other/cciss-c0d0p3.ext4-ptcl-img.uncomp.
rm other/*.uncomp
same_parts

# It is served by those names.
for name in gpt gpt/nvme0n1; do
    start_nbdkit image "$name"
    same size "$(nbdinfo --size "$uri")" $((96 << 20))
    stop_nbdkit
done
timeout 60 nbdimage serve --listen=127.0.0.1:0 gpt/nvme0n1 >serve.log 2>&1 &
serve_pid=$!
cleanup_fn stop_pid "$serve_pid"
for ((i = 0; i < 100; i++)); do
    served=$(grep -o 'nbd://[^ ]*' serve.log | head -n 1) || true
    [ -z "$served" ] || break
    sleep 0.1
done
same size "$(nbdinfo --size "$served")" $((96 << 20))
stop_pid "$serve_pid"

# bad WHAT SENTENCE: what was done to a copy is refused so.
bad ()
{
    refuses nbdimage info bad
    contains refused "$1"
    rm -r bad
}

cp -r gpt bad
rm bad/nvme0n1p3.*
bad 'there is no image of nvme0n1p3'
cp -r gpt bad
rm bad/nvme0n1p1.vfat-ptcl-img.gz.ab
bad 'a piece is missing'
cp -r gpt bad
truncate -s -9 bad/nvme0n1p3.*
bad 'nvme0n1p3.ext4-ptcl-img.zst'
cp -r gpt bad
truncate -s 17000 bad/nvme0n1-gpt-1st
bad 'nvme0n1-gpt-1st is cut off: it has 17000 bytes'
for at in 530 600 1030 1300; do
    cp -r gpt bad
    printf '\xA5' | dd of=bad/nvme0n1-gpt-1st bs=1 seek=$at conv=notrunc \
                       status=none
    bad 'nvme0n1-gpt-1st'
done
cp -r mbr bad
printf x | dd of=bad/sda-mbr bs=1 seek=511 conv=notrunc status=none
bad 'sda-mbr is no boot sector'
cp -r mbr bad
printf '\5' | dd of=bad/sda-mbr bs=1 seek=$((446 + 16 + 4)) conv=notrunc \
                 status=none
bad 'partition 2 of sda is an extended one'
cp -r mbr bad
rm bad/sda-pt.parted
bad 'sda-pt.parted'
cp -r mbr bad
echo '/dev/vg0 /dev/sda2 x1y2' >bad/lvm_vg_dev.list
bad 'sda2 is of LVM'
cp -r mbr bad
cp bad/sda3.ext4-ptcl-img.zst bad/sda3.xfs-ptcl-img.zst
bad 'there are two images of sda3'
cp -r mbr bad
rm bad/sda3.*
: >bad/sda3.aa
bad 'sda3.aa: was made by another program'
cp -r mbr bad
echo '/dev/sda2 11111111-2222-3333-4444-555555555555 ocs_luks_x' \
    >bad/luks-dev.list
bad 'sda2 is encrypted'
# One that is larger than its place.
cp -r mbr bad
cp bad/sda3.ext4-ptcl-img.zst x
rm bad/sda1.*
cp x bad/sda1.ext4-ptcl-img.zst
bad 'and the partition sda1 only 20971520'
# Names that say something else than the file.
cp -r mbr bad
zstd -q -d bad/sda3.ext4-ptcl-img.zst -o bad/sda3.ext4-ptcl-img.uncomp
rm bad/sda3.*.zst
printf x | dd of=bad/sda3.ext4-ptcl-img.uncomp bs=1 conv=notrunc status=none
bad 'sda3.ext4-ptcl-img.uncomp: there is no ‘partclone-image’ at offset 0'
cp -r mbr bad
mv bad/sda3.ext4-ptcl-img.zst bad/sda3.dd-img
bad 'sda3.dd-img: has the name of a partition that was copied by dd'
# What dd copied has to be all of it.
cp -r mbr bad
rm bad/sda3.*
head -c -512 p3 >bad/sda3.dd-img
bad 'has 41942528 bytes, and the partition sda3 41943040'
# All files are encrypted.
mkdir bad
echo '# This image was saved with ecryptfs' >bad/ecryptfs.info
bad 'the backup of Clonezilla is encrypted (ecryptfs.info)'
# Two disks: which?
cp -r mbr bad
cp bad/sda-mbr bad/sdb-mbr
bad 'several disks'
