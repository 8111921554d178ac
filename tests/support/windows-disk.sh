#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Make a raw disk as Windows has it, small, and with a marker for who boots it.
#
#   windows-disk.sh mbr|gpt DISK
#
# mbr  96 MiB.  1: "System Reserved", NTFS, active, whose boot sector says
#      THE-VOLUME-MARKER on the first serial port and ends QEMU by
#      isa-debug-exit at 501h; 2: NTFS (C:); 3: NTFS (D:)
# gpt  112 MiB.  1: EFI system partition, FAT, with a loader that says
#      THE-LOADER-MARKER; 2: reserved by Microsoft; 3: NTFS (C:); 4: NTFS, for
#      recovery, with attributes
#
# Needs fdisk, ntfs-3g; for gpt, mtools and grub-efi-amd64-bin.

set -e
export LC_ALL=C.UTF-8
export PATH=$PATH:/usr/sbin:/sbin

work=$(mktemp -d "${TMPDIR:-/tmp}/nbdimage-disk.XXXXXX")
trap 'rm -rf "$work"' EXIT
disk=$2

# ntfs LABEL START SECTORS NAME: a file system with one file of that name.
ntfs ()
{
    truncate -s $(($3 * 512)) "$work/fs"
    mkntfs -qQF -s 512 -p "$2" -H 255 -S 63 -L "$1" "$work/fs" \
           >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    head -c 300000 /dev/urandom >"$work/file"
    ntfscp -q "$work/fs" "$work/file" "$4"
}

put ()
{
    dd if="$work/fs" of="$disk" bs=512 seek="$1" conv=notrunc,sparse \
       status=none
    rm "$work/fs"
}

# The program of the boot sector, at 7c54h: ds = 0, si = the text, out to
# 3f8h until NUL, out 501h.
boot_program ()
{
    printf '\x31\xc0\x8e\xd8\xbe\x70\x7c\xba\xf8\x03'
    printf '\xac\x84\xc0\x74\x03\xee\xeb\xf8'
    printf '\xba\x01\x05\xee\xf4\xeb\xfd'
    printf '\x90\x90\x90THE-VOLUME-MARKER\r\n\0'
}

case $1 in
    mbr)
        truncate -s 96M "$disk"
        sfdisk -q "$disk" <<END
label: dos
label-id: 0x8ae9dbe5
start=2048, size=40960, type=7, bootable
start=43008, size=81920, type=7
start=124928, size=71680, type=7
END
        ntfs "System Reserved" 2048 40960 bootmgr
        boot_program | dd of="$work/fs" bs=1 seek=84 conv=notrunc status=none
        put 2048
        ntfs "" 43008 81920 pagefile.sys
        put 43008
        ntfs Data 124928 71680 data.bin
        put 124928
        ;;
    gpt)
        truncate -s 112M "$disk"
        sfdisk -q "$disk" <<END
label: gpt
label-id: 0F0E0D0C-1122-4433-8844-5566778899AA
first-lba: 34
start=2048, size=81920, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=A1000000-0000-4000-8000-000000000001, name="EFI system partition", attrs="GUID:63"
start=83968, size=32768, type=E3C9E316-0B5C-4DB8-817D-F92DF00215AE, uuid=A2000000-0000-4000-8000-000000000002, name="Microsoft reserved partition", attrs="GUID:63"
start=116736, size=71680, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, uuid=A3000000-0000-4000-8000-000000000003, name="Basic data partition"
start=188416, size=38912, type=DE94BBA4-06D1-4D40-A16A-BFD50179D6AC, uuid=A4000000-0000-4000-8000-000000000004, name="Wiederherstellung äöü", attrs="RequiredPartition GUID:63"
END
        cat >"$work/grub.cfg" <<END
serial --unit=0 --speed=115200
terminal_output serial
echo THE-LOADER-MARKER
halt
END
        grub-mkimage -O x86_64-efi -o "$work/BOOTX64.EFI" \
                     -c "$work/grub.cfg" -p / serial terminal echo halt
        truncate -s $((81920 * 512)) "$work/fs"
        mformat -i "$work/fs" -T 81920 -h 64 -s 32 -v ESP ::
        mmd -i "$work/fs" ::/EFI ::/EFI/BOOT
        mcopy -i "$work/fs" "$work/BOOTX64.EFI" ::/EFI/BOOT/
        put 2048
        ntfs "" 116736 71680 pagefile.sys
        put 116736
        ntfs Recovery 188416 38912 winre.wim
        put 188416
        ;;
    *)
        echo "usage: $0 mbr|gpt DISK" >&2
        exit 2
        ;;
esac
