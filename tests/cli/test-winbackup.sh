#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A WindowsImageBackup folder: its volumes have the bytes of the partitions
# it was made of, and the disk put together of them is that disk.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires python3 --version
requires nbdinfo --version
requires nbdcopy --version
requires qemu-img --version
requires sfdisk --version
requires mkntfs --version
requires mformat --version
requires grub-mkimage --version
requires test -d /usr/lib/grub/x86_64-efi

make_backup="python3 $support/make-windows-backup.py"
cd "$tmp"
"$support/windows-disk.sh" mbr mbr.img
"$support/windows-disk.sh" gpt gpt.img

# range DISK START SECTORS: the bytes of a partition.
range ()
{
    dd if="$1" bs=512 skip="$2" count="$3" iflag=fullblock status=none
}

# volume NAME DISK START SECTORS: what the server has under that name.
volume ()
{
    nbdcopy "$(export_uri "$1")" copy
    same "hash of $1" "$(sha256sum <copy)" "$(range "${@:2}" | sha256sum)"
}

# exports: the names in the server's list.
exports ()
{
    nbdinfo --list --json "$uri" | jq -c '[.exports[]."export-name"]'
}

# ------------------------------------------------------------------- MBR

$make_backup --volume 1=='System Reserved' --volume 2=C= --volume 3=D=Data \
             mbr.img WIB
backup="WIB/PC/Backup 2019-02-22 124351"
before=$(find WIB -type f -exec sha256sum {} + | sort)

start_nbdkit -r image dir=WIB
same "the exports" "$(exports)" '["disk","System Reserved","C","D"]'
volume 'System%20Reserved' mbr.img 2048 40960
volume C mbr.img 43008 81920
volume d mbr.img 124928 71680
volume 9B9CFBC2-369E-11E9-A17C-806E6F6E6963 mbr.img 43008 81920
# All but the boot program, of which backups have none, is what it was: the
# table with its signature, and the partitions.
nbdcopy "$(export_uri disk)" disk
same_bytes <(tail -c +441 disk) <(tail -c +441 mbr.img)
same "the table" "$(sfdisk -d disk | tail -n +4 | sed 's/disk/x/')" \
     "$(sfdisk -d mbr.img | tail -n +4 | sed 's/mbr.img/x/')"
same "size by default" "$(nbdinfo --size "$uri")" 100663296
nbdinfo --is readonly "$(export_uri disk)"
nbdinfo --json "$(export_uri C)" | jq -r '.exports[0].description' >said
contains said "Windows backup, volume, 40 MiB"
# No name leads to something else.
for name in nothing BackupSpecs.xml ..%2FMediaId E; do
    refuses nbdinfo --size "$(export_uri "$name")"
done
contains "$nbdkit_log" "the backup has no ‘BackupSpecs.xml’, but disk, System"
stop_nbdkit

# Each folder on the way is the backup too, and so is a name with a slash.
for folder in WIB/PC WIB/PC/ "$backup"; do
    start_nbdkit -r image dir="$folder"
    same "the exports" "$(exports)" '["disk","System Reserved","C","D"]'
    stop_nbdkit
done
for name in WIB WIB/ WIB/disk "$backup/disk"; do
    start_nbdkit -r image "$name"
    nbdcopy "$uri" copy
    same_bytes copy disk
    stop_nbdkit
done
start_nbdkit -r image "$backup/c:"
nbdcopy "$uri" copy
same_bytes copy <(range mbr.img 43008 81920)
stop_nbdkit
# With filters, too.
start_nbdkit --filter=cow image WIB
nbdcopy mbr.img "$uri"
nbdcopy "$uri" copy
same_bytes copy mbr.img
stop_nbdkit

# info, in all of them.
nbdimage info WIB >out
contains out "Format:            winbackup, disk"
contains out "Disk size:         96 MiB (100663296 bytes)"
contains out "Computer:          PC"
contains out "Volume:            System Reserved, 9b9cfbc1-369e-11e9-a17c"
contains out "Volume:            D ‘Data’, 9b9cfbc3-369e-11e9-a17c"
contains out "MBR 0x8ae9dbe5, sectors of 512 bytes"
contains out "ntfs ‘Data’"
nbdimage info --json "$backup" >json
same "format" "$(jq -r .format json)" winbackup
same "files" "$(jq -r '.chain | length' json)" 4
same "partitions" "$(jq -c '[.partitions.entries[].offset]' json)" \
     '[1048576,22020096,63963136]'
nbdimage info WIB/C >out
contains out "Format:            winbackup, volume"
contains out "File system:       ntfs"
nbdimage info --map WIB | awk '$3 == "data" { print $4 }' | sort -u >layers
same "layers" "$(tr '\n' ' ' <layers)" "0 1 2 3 "
refuses nbdimage info WIB/x
contains "$tmp/refused" "WIB/x: the backup has no ‘x’, but disk, System Reserved"
refuses nbdimage info --format=raw WIB
contains "$tmp/refused" "--format= is for files"
refuses nbdimage boot --write WIB
contains "$tmp/refused" "backups of Windows are read-only"

# convert: one image of it.
nbdimage convert --verify WIB whole.vhd
qemu-img convert -f vpc -O raw whole.vhd copy
same_bytes <(tail -c +441 copy) <(tail -c +441 mbr.img)
nbdimage convert WIB/D data.img
same_bytes data.img <(range mbr.img 124928 71680)
rm whole.vhd data.img

# serve: a folder or its members.
nbdimage serve --json -u sock WIB >serve.json 2>serve.err &
serve_pid=$!
cleanup_fn stop_pid "$serve_pid"
for ((i = 0; i < 300; i++)); do
    [ ! -s serve.json ] || break
    sleep 0.1
done
same "exports of serve" "$(jq -c '[.exports[].name]' serve.json)" \
     '["disk","System Reserved","C","D"]'
nbdcopy "nbd+unix:///C?socket=$tmp/sock" copy
same_bytes copy <(range mbr.img 43008 81920)
stop_pid "$serve_pid"

# Volumes of two disks: D: is alone on the second.
cp -r WIB two
python3 - "two/PC/${backup##*/}"/*_Components.xml <<'END'
import sys
name = sys.argv[1]
text = open(name, encoding="utf-16-le").read()
at = text.index("&lt;MbrPartition PartitionIndex=\"2\"")
end = text.index("&lt;/MbrDisk")
first = text[text.index("&lt;MbrDisk "):at]
disk = first[:first.index("&gt;") + 4]
second = disk.replace("DeviceNumber=\"0", "DeviceNumber=\"5") \
    .replace("NumPartitions=\"3", "NumPartitions=\"1") \
    .replace("0x8ae9dbe5", "0x12345678")
text = text[:at] + "&lt;/MbrDisk&gt;" + second + text[at:end] + text[end:]
text = text.replace("NumPartitions=\"3", "NumPartitions=\"2", 1) \
    .replace("NumMbrDisks=\"1", "NumMbrDisks=\"2")
open(name, "w", encoding="utf-16-le").write(text)
END
start_nbdkit -r image dir=two
same "the exports" "$(exports)" '["disk-0","disk-5","System Reserved","C","D"]'
nbdcopy "$(export_uri disk-5)" copy
same "its table" "$(sfdisk -d copy | grep -E '^label-id|start')" \
     "label-id: 0x12345678
copy3 : start=      124928, size=       71680, type=7"
same_bytes <(tail -c +$((124928 * 512 + 1)) copy) <(range mbr.img 124928 71680)
nbdcopy "$(export_uri disk-0)" copy
same_bytes <(head -c $((124928 * 512)) copy | tail -c +512) \
           <({ head -c 494 mbr.img; head -c 16 /dev/zero; tail -c +511 mbr.img
             } | head -c $((124928 * 512)) | tail -c +512)
refuses nbdinfo "$uri"
stop_nbdkit
refuses nbdimage info two
contains "$tmp/refused" "the backup has several disks: add the name of one, or \
of a volume, behind a slash: disk-0, disk-5, System"
nbdimage info two/DISK-5 >out
contains out "MBR 0x12345678"

# Nothing of it was written to.
same "the files" "$(find WIB -type f -exec sha256sum {} + | sort)" "$before"

# ------------------------------------------------------------------- GPT

# All of the disk is what it was.
$make_backup --vhdx --volume 1==ESP --volume 3=C= --volume 4== \
             --encoding utf-8 --layout root gpt.img WIG
start_nbdkit -r image dir=WIG
same "the exports" "$(exports)" \
     '["disk","ESP","C","9b9cfbc4-369e-11e9-a17c-806e6f6e6963"]'
volume ESP gpt.img 2048 81920
volume C gpt.img 116736 71680
volume 9b9cfbc4-369e-11e9-a17c-806e6f6e6963 gpt.img 188416 38912
nbdcopy "$(export_uri disk)" disk
same_bytes disk gpt.img
sfdisk --verify disk >/dev/null
stop_nbdkit

# Files that are the volume without a table, and one not backed up: empty.
# (Its neighbours' rounding in a VHD of qemu-img is none of the volume's.)
rm -rf WIG
$make_backup --bare 1,4 --leave-out 3 --not-critical 3 gpt.img WIG
cp gpt.img expected
dd if=/dev/zero of=expected bs=512 seek=116736 count=71680 conv=notrunc \
   status=none
nbdimage info WIG >out 2>err
contains err "the partition with index 2, volume 9b9cfbc3-369e-11e9-a17c-\
806e6f6e6963, is not in the backup and is empty on the disk"
start_nbdkit -r image WIG
nbdcopy "$uri" copy
same_bytes copy expected
stop_nbdkit

# ----------------------------------------------------------------- booting

requires qemu-system-x86_64 --version
status=0
timeout -k 20 240 nbdimage boot --accel tcg --serial WIB -- \
        -device isa-debug-exit,iobase=0x501,iosize=2 </dev/null >out ||
    status=$?
contains out THE-VOLUME-MARKER
[ -r /usr/share/OVMF/OVMF_CODE_4M.fd ] || [ -r /usr/share/OVMF/OVMF_CODE.fd ] ||
    skip "the package ovmf is not installed"
timeout -k 20 400 nbdimage boot --accel tcg --uefi --serial WIG </dev/null >out
contains out THE-LOADER-MARKER
