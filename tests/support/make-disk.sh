#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Make a disk with partitions and file systems full of known files, by other
# programs, without root, mounting or loop devices.
#
#   make-disk.sh [-f FORMAT] LAYOUT IMAGE
#
# FORMAT   raw          (default)
#          vhd          dynamic VHD of exactly the disk's size
#          vhd-fixed    the same, fixed
#          vhd-chs      dynamic, size rounded up to cylinders, heads, sectors
# LAYOUT   mbr-ext4     96 MiB, MBR; 1: ext4 "nbdimage-ext4"
#          mbr-logical  96 MiB, MBR; 1: FAT "FAT-ONE", 2: extended with
#                       5: ext4 "logical-ext4", 6: FAT "FAT-SIX"
#          gpt-ntfs-fat 128 MiB, GPT; 1: FAT "EFI-FAT" (EFI system partition),
#                       2: NTFS "nbdimage-ntfs"
#          ext4         48 MiB, no partition table, ext4 "bare-ext4"
#
# Beside IMAGE: IMAGE.pN.sha256 for partition N (IMAGE.p0.sha256 for the whole
# disk): the files in it, for `sha256sum --check' (make-files.sh).  What FAT
# and NTFS hold is flat.
#
# Needs: fdisk e2fsprogs; dosfstools mtools for FAT; ntfs-3g for NTFS;
# qemu-utils for VHD.  A second or two each.

set -e
export LC_ALL=C.UTF-8
export PATH=$PATH:/usr/sbin:/sbin
support=$(cd "$(dirname "$0")" && pwd)

usage ()
{
    echo "usage: $0 [-f raw|vhd|vhd-fixed|vhd-chs] LAYOUT IMAGE" >&2
    exit 2
}

format=raw
if [ "$1" = -f ]; then
    format=$2
    shift 2
fi
[ "$#" -eq 2 ] || usage
layout=$1
image=$2

work=$(mktemp -d "${TMPDIR:-/tmp}/nbdimage-disk.XXXXXX")
trap 'rm -rf "$work"' EXIT
disk=$work/disk

# The programs below say much; it matters when one fails.
quietly ()
{
    "$@" </dev/null >"$work/log" 2>&1 || {
        echo "$0: failed: $*" >&2
        cat "$work/log" >&2
        exit 1
    }
}

# Partition tables, as sfdisk scripts.  Sizes and starts are in MiB.
partition ()
{
    sfdisk --quiet --no-reread --no-tell-kernel "$disk" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        exit 1
    }
}

# put START-MIB PARTITION-FILE: into the disk.
put ()
{
    dd if="$2" of="$disk" bs=1M seek="$1" conv=notrunc,sparse status=none
}

# make_ext4 START-MIB SIZE-MIB LABEL NUMBER
make_ext4 ()
{
    "$support/make-files.sh" "$work/files-$4" "$image.p$4.sha256"
    truncate -s "$2M" "$work/part"
    quietly mke2fs -q -F -t ext4 -L "$3" -E root_owner=0:0 \
        -U "6e626469-6d61-4765-8000-00000000000$4" \
        -d "$work/files-$4" "$work/part"
    put "$1" "$work/part"
    rm "$work/part"
}

# make_fat START-MIB SIZE-MIB LABEL NUMBER
make_fat ()
{
    "$support/make-files.sh" --flat "$work/files-$4" "$image.p$4.sha256"
    truncate -s "$2M" "$work/part"
    quietly mkfs.vfat -n "$3" -i "4E42444$4" -h $(($1 * 2048)) "$work/part"
    quietly mcopy -i "$work/part" "$work/files-$4"/* ::
    put "$1" "$work/part"
    rm "$work/part"
}

# make_ntfs START-MIB SIZE-MIB LABEL NUMBER
make_ntfs ()
{
    local file

    "$support/make-files.sh" --flat "$work/files-$4" "$image.p$4.sha256"
    truncate -s "$2M" "$work/part"
    quietly mkntfs -q -F -Q -s 512 -c 4096 -p $(($1 * 2048)) -H 255 -S 63 \
        -L "$3" "$work/part"
    for file in "$work/files-$4"/*; do
        quietly ntfscp -q -f "$work/part" "$file" "$(basename "$file")"
    done
    put "$1" "$work/part"
    rm "$work/part"
}

case $layout in
    mbr-ext4)
        truncate -s 96M "$disk"
        partition <<'END'
label: dos
label-id: 0x4e424401
start=1MiB, size=80MiB, type=83, bootable
END
        make_ext4 1 80 nbdimage-ext4 1
        ;;
    mbr-logical)
        truncate -s 96M "$disk"
        partition <<'END'
label: dos
label-id: 0x4e424402
1: start=1MiB, size=24MiB, type=c
2: start=25MiB, size=70MiB, type=5
5: start=26MiB, size=40MiB, type=83
6: start=67MiB, size=24MiB, type=c
END
        make_fat 1 24 FAT-ONE 1
        make_ext4 26 40 logical-ext4 5
        make_fat 67 24 FAT-SIX 6
        ;;
    gpt-ntfs-fat)
        truncate -s 128M "$disk"
        partition <<'END'
label: gpt
label-id: 4E424403-0000-4000-8000-000000000000
1: start=1MiB, size=34MiB, type=uefi, name="EFI system", uuid=4E424403-0000-4000-8000-000000000001
2: start=35MiB, size=80MiB, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, name="Données", uuid=4E424403-0000-4000-8000-000000000002
END
        make_fat 1 34 EFI-FAT 1
        make_ntfs 35 80 nbdimage-ntfs 2
        ;;
    ext4)
        truncate -s 48M "$disk"
        make_ext4 0 48 bare-ext4 0
        ;;
    *)
        usage
        ;;
esac

rm -f "$image"
case $format in
    raw)       mv "$disk" "$image" ;;
    vhd)       options=force_size=on ;;
    vhd-fixed) options=subformat=fixed,force_size=on ;;
    vhd-chs)   options=subformat=dynamic ;;
    *)         usage ;;
esac
if [ "$format" != raw ]; then
    quietly qemu-img convert -f raw -O vpc -o "$options" "$disk" "$image"
fi
