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
cd "$tmp"

# loop FILE: sets $device
loop ()
{
    device=$(losetup --find --show "$1") || skip "no loop devices"
    cleanup_fn losetup -d "$device"
    # Whoever had it before may have left it read-only.
    blockdev --setrw "$device"
}

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

# refused DEVICE
refused ()
{
    if save "$1" 2>err.txt; then
        fail "$1 was saved, though it is mounted for writing"
    fi
    grep -q 'mounted for writing' err.txt
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

truncate -s 20M ext4.img
mkfs.ext4 -q ext4.img
loop ext4.img
cleanup_fn sh -c "umount '$tmp/ext4' 2>/dev/null || :"
mounted "$device" rw "$tmp/ext4"
refused "$device"
umount "$tmp/ext4"
save "$device"
