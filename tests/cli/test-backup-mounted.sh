#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# backup of a device that is in use: mounted for writing it is refused, whatever
# numbers the kernel lists its file system under; mounted for reading, or not at
# all, it is saved.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires_root
requires losetup
requires mkfs.btrfs --version
requires mkfs.ext4 -V
requires sfdisk
requires unshare
cd "$tmp"

# mounted DEVICE OPTIONS FOLDER
mounted ()
{
    mkdir -p "$3"
    mount -o "$2" "$1" "$3" || skip "$1 can't be mounted"
}

# save DEVICE
save ()
{
    rm -f out.nbi
    nbdimage backup "$1" --single=out.nbi --name=x
}

# refused DEVICE [WHY]
refused ()
{
    if save "$1" 2>err.txt; then
        fail "$1 was saved, though it is mounted for writing"
    fi
    contains err.txt "${2:-mounted for writing}"
    [ ! -e out.nbi ]
}

# --- a whole device: of btrfs mountinfo has no device's numbers

truncate -s 200M btrfs.img
mkfs.btrfs -q btrfs.img
loop btrfs.img
cleanup_fn sh -c "umount '$tmp/a folder' 2>/dev/null || :"
mounted "$device" rw "$tmp/a folder"
refused "$device"
nbdimage backup "$device" --single=live.nbi --name=x --live
mount -o remount,ro "$tmp/a folder"
save "$device"
umount "$tmp/a folder"
save "$device"

# --- ext4, which has them

# Larger than what a backup has in memory.
head -c 100M /dev/urandom >ext4.img
mkfs.ext4 -q -E nodiscard ext4.img
loop ext4.img
cleanup_fn sh -c "umount '$tmp/ext4' 2>/dev/null || :"
mounted "$device" rw "$tmp/ext4"
refused "$device"
umount "$tmp/ext4"
save "$device"

# --- mounted while it is read

mkfifo pipe
nbdimage backup --everything --codec=none --single=- --name=x "$device" \
    >pipe 2>err.txt & pid=$!
exec 8<pipe
head -c 100000 <&8 >/dev/null
mounted "$device" rw "$tmp/ext4"
cat <&8 >/dev/null
exec 8<&-
! wait $pid || fail "it was mounted, and its backup is said to be whole"
contains err.txt 'mounted for writing'
umount "$tmp/ext4"
eventually save "$device"

# --- where it can't be seen from here: by another process; by none, but by a
# --- file that is open; for reading only

unshare --mount sh -c "mount '$device' '$tmp/ext4' && echo >ready &&
    exec sleep 300" & sleeper=$!
cleanup_fn sh -c "kill $sleeper 2>/dev/null || :"
for ((i = 0; i < 100; i++)); do
    [ ! -e ready ] || break
    sleep 0.1
done
refused "$device" "mounted for writing at /proc/"
nbdimage backup "$device" --single=live2.nbi --name=x --live
nbdimage backup "$device" --single=frozen.nbi --name=x --freeze
kill "$sleeper"
wait "$sleeper" || :
eventually save "$device"

mount "$device" "$tmp/ext4"
date >"$tmp/ext4/file"
exec 9<"$tmp/ext4/file"
umount -l "$tmp/ext4"
refused "$device" 'is in use'
refuses nbdimage backup "$device" --single=out.nbi --name=x --freeze
contains "$tmp/refused" 'is in use'
exec 9<&-
eventually save "$device"
mount -o ro "$device" "$tmp/ext4"
save "$device"
umount "$tmp/ext4"

# --- a partition, and the disk that has it

truncate -s 40M disk.img
printf 'label: gpt\nsize=10M\nsize=10M\n' | sfdisk -q disk.img
loop disk.img --partscan
if [ -b "${device}p2" ]; then
    mkfs.ext4 -q "${device}p2"
    mounted "${device}p2" rw "$tmp/ext4"
    refused "$device"
    save "${device}p1"
    mount -o remount,ro "$tmp/ext4"
    save "$device"
    save "${device}p2"
    umount "$tmp/ext4"
    mkswap "${device}p1" >/dev/null
    if swapon "${device}p1"; then
        cleanup_fn sh -c "swapoff '${device}p1' 2>/dev/null || :"
        refused "$device" 'is swapped to'
        save "${device}p2"
        swapoff "${device}p1"
    fi
fi

# --- a file below a loop device that is mounted

truncate -s 40M file.img
mkfs.ext4 -q file.img
loop file.img
mounted "$device" rw "$tmp/file"
refused file.img 'is below /dev/loop'
rm -f live.nbi
nbdimage backup --live --single=live.nbi file.img
mount -o remount,ro "$tmp/file"
save file.img
umount "$tmp/file"
save file.img

# --- a btrfs of two devices, of which mountinfo names one

truncate -s 150M two.img three.img
loop two.img
two=$device
loop three.img
mkfs.btrfs -q "$two" "$device"
btrfs device scan "$two" "$device" || :
mounted "$two" rw "$tmp/a folder"
for either in "$two" "$device"; do
    refused "$either"
    rm -f frozen.nbi
    nbdimage backup "$either" --single=frozen.nbi --name=x --freeze
done
mount -o remount,ro "$tmp/a folder"
save "$two"
save "$device"
umount "$tmp/a folder"
