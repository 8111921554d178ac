#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# restore onto real block devices: what is written, what the kernel sees of it,
# what agrees to it, and all the devices that are refused because somebody uses
# them.  And backup of devices that are in use.

. "$(dirname "$0")/../functions.sh"
. "$(dirname "$0")/guest.sh"
set -e

for program in jq sfdisk sgdisk mkfs.vfat mkfs.ext4 mkswap losetup blockdev; do
    requires "$program"
done

make_images ()
{
    "$support/make-disk.sh" gpt-ntfs-fat "$images/win.img"
    (cd "$images" && nbdimage backup --everything --init --name=win win.img \
        vault)
    head -c 300M /dev/urandom >"$images/target.img"
    truncate -s 200M "$images/other.img"
    guest_qemu=(
        -drive "file=$images/target.img,if=none,id=a,format=raw"
        -device virtio-blk-pci,drive=a,serial=TARGET-1
        -drive "file=$images/other.img,if=none,id=b,format=raw"
        -device virtio-blk-pci,drive=b
    )
}

in_guest 800

modprobe virtio_blk
cd "$tmp"
mkdir mnt
cleanup_fn sh -c 'umount -l mnt 2>/dev/null || :'
disk=
other=
for ((i = 0; i < 100; i++)); do
    for d in /sys/block/vd*; do
        [ -e "$d/serial" ] || continue
        if [ "$(cat "$d/serial")" = TARGET-1 ]; then
            disk=/dev/${d##*/}
        else
            other=/dev/${d##*/}
        fi
    done
    [ -z "$disk" ] || [ -z "$other" ] || break
    sleep 0.1
done
[ -b "$disk" ] && [ -b "$other" ] || fail "the guest has no disks"
win=$images/win.img
size=$(stat -c %s "$win")
image=$images/vault/win

# restored: the disk is the image; but for the GPT, which has another end
restored ()
{
    cmp -n $((size - 16896 - 1048576)) -i 1048576 "$disk" "$win" ||
        fail "the disk has other bytes"
    sgdisk -v "$disk" >sgdisk.log
    grep -q 'No problems found' sgdisk.log || { cat sgdisk.log; fail "GPT"; }
}

step "what agrees"
nbdimage restore --dry-run "$image" "$disk" >plan
cat plan
contains plan 'serial TARGET-1'
contains plan 'something that is not known'
head -c 1M "$disk" >before
refused 1 "--confirm='TARGET-1'" nbdimage restore "$image" "$disk"
refused 1 "--confirm='TARGET-1'" nbdimage restore --yes "$image" "$disk"
refused 1 "--confirm is not its serial number" \
    nbdimage restore --confirm=TARGET-2 "$image" "$disk"
refused 1 "--confirm is not its serial number" \
    nbdimage restore --confirm=300M "$image" "$disk"
cmp -n 1048576 before "$disk"

step "all of a disk; and over itself"
for i in 1 2; do
    nbdimage restore --confirm=TARGET-1 --json "$image" "$disk" >result
    same "result" "$(jq -c '[.kind, .serial, .done, .verified]' result)" \
        '["device","TARGET-1",true,true]'
    restored
    [ -b "${disk}1" ] && [ -b "${disk}2" ] || {
        ls -l /dev/vd*
        [ -d "/sys/class/block/${disk##*/}2" ] ||
            fail "the kernel does not know the partitions"
    }
done
contains <(nbdimage restore -n "$image" "$disk") 'ntfs ‘nbdimage-ntfs’'

# A disk without a serial number: its size.
refused 1 'agrees to that' nbdimage restore "$image" "$other"
nbdimage restore --yes "$image" "$other" >/dev/null
refused 1 '--confirm=209715200' nbdimage restore --yes "$image" "$other"
nbdimage restore --confirm=200M "$image" "$other" >/dev/null

step "who uses it"
refuses_it ()
{
    refused 1 "$1" nbdimage restore --confirm=TARGET-1 "$image" "$disk"
    refused 1 "$1" nbdimage restore --dry-run "$image" "$disk"
    restored
}
# Read-only, as otherwise the file system writes that it is mounted.
mount -t vfat -o ro "${disk}1" mnt
refuses_it "${disk##*/}1 is mounted at $tmp/mnt"
nbdimage backup --single=part.nbi "$disk" >/dev/null
umount mnt
# In another mount namespace, where this one does not see it.
unshare -m sh -c "mount -t vfat -o ro ${disk}1 $tmp/mnt && echo >ready &&
    exec sleep 60" & sleeper=$!
for ((i = 0; i < 100; i++)); do
    [ ! -e ready ] || break
    sleep 0.1
done
refuses_it "${disk##*/}1 is mounted at $tmp/mnt"
kill "$sleeper"
wait "$sleeper" || true
modprobe loop 2>/dev/null || true
if loop=$(losetup -f --show "${disk}1" 2>/dev/null); then
    refuses_it "${disk}1 is below $loop"
    losetup -d "$loop"
else
    echo "no loop devices here"
fi
exec 9<"$disk"
sleep 60 & sleeper=$!
exec 9<&-
refuses_it "is open in process $sleeper (sleep)"
kill "$sleeper"
wait "$sleeper" || true
blockdev --setro "$disk"
refuses_it 'is read-only'
blockdev --setrw "$disk"
if command -v dmsetup >/dev/null && modprobe dm_mod 2>/dev/null &&
    dmsetup create --noudevsync held --table "0 2048 linear ${disk}1 0"; then
    refuses_it "is held by the device mapper (/dev/mapper/held)"
    rm part.nbi
    nbdimage backup --single=part.nbi "$disk" >/dev/null
    dmsetup remove --noudevsync held
else
    echo "no device mapper here"
fi

step "partitions"
refused 1 'is partition 1 of a disk' \
    nbdimage restore --confirm=TARGET-1 "$image" "${disk}1"
start=$(sfdisk -J "$win" | jq '.partitiontable.partitions[1].start * 512')
len=$(sfdisk -J "$win" | jq '.partitiontable.partitions[1].size * 512')
dd if=/dev/zero of="${disk}2" bs=1M count=8 status=none
nbdimage restore --confirm=TARGET-1 --partition=2 "$image" "${disk}2" >/dev/null
restored
dd if=/dev/zero of="${disk}2" bs=1M count=8 status=none
nbdimage restore --confirm=TARGET-1 --partition=2 "$image" "$disk" >/dev/null
restored
cmp -n "$len" -i "0:$start" "${disk}2" "$win"
# Another one of the disk may be in use meanwhile, for one that is a device.
mount -t vfat -o ro "${disk}1" mnt
nbdimage restore --confirm=TARGET-1 --partition=2 "$image" "${disk}2" >/dev/null
umount mnt

step "swap"
mkswap "${disk}2" >/dev/null
if swapon "${disk}2"; then
    refused 1 "${disk}2 is swapped to" \
        nbdimage restore --confirm=TARGET-1 "$image" "$disk"
    refused 1 "${disk}2 of it is swapped to" \
        nbdimage backup --single=swap.nbi "$disk"
    swapoff "${disk}2"
else
    echo "no swap here"
fi

step "where the image lies"
sgdisk -Z "$other" >/dev/null 2>&1 || true
mkfs.ext4 -q -F "$other"
mount "$other" mnt
cp -r "$images/vault" mnt/
refused 1 'is the disk that the image lies on' \
    nbdimage restore --confirm=200M "$tmp/mnt/vault/win" "$other"
umount mnt
refused 1 'is, or has a part of, what the image is' \
    nbdimage restore --confirm=TARGET-1 "${disk}1" "$disk"
refused 1 'is the image itself' \
    nbdimage restore --confirm=TARGET-1 "$disk" "$disk"

step "from a device onto another"
nbdimage restore --confirm=TARGET-1 "$image" "$disk" >/dev/null
refused 1 'bytes are missing' nbdimage restore --confirm=200M "$disk" "$other"

step "an attachment"
nbdimage create target.vhdx "$size"
attach --write target.vhdx
nbdimage restore --yes "$image" "$dev" >/dev/null
detach target.vhdx
nbdimage check target.vhdx
nbdkit -r -U - image target.vhdx --run 'nbdcopy "$uri" got.img'
cmp got.img "$win"
nothing_left

. "$(dirname "$0")/backup-lvm.sh"
. "$(dirname "$0")/backup-units.sh"
