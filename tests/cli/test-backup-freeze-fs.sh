#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# backup --freeze of other file systems than ext4: what is saved, the kernel
# and their own checks take for whole.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires_root
requires losetup
requires mkfs.xfs -V
requires mkfs.btrfs --version
requires btrfs --version
cd "$tmp"
for fs in xfs btrfs; do
    grep -qw $fs /proc/filesystems || modprobe $fs 2>/dev/null ||
        skip "this kernel has no file system $fs"
done

mkdir mnt
cleanup_fn sh -c "umount '$tmp/mnt' 2>/dev/null || :"

# attach FILE: $device, mounted
attach ()
{
    loop "$1"
    mount "$device" mnt
}

detach ()
{
    umount mnt
    losetup -d "$device"
}

for fs in xfs btrfs; do
    truncate -s 320M disk.img
    mkfs.$fs -q disk.img
    attach disk.img
    head -c 8M /dev/urandom >data
    cp data mnt
    change_files mnt
    nbdimage backup --freeze --single=$fs.nbi "$device"
    timeout 60 touch mnt/free
    end_changes
    detach
    rm disk.img
    nbdimage convert $fs.nbi -O raw got.raw
    [ $fs = xfs ] || btrfs check --readonly got.raw
    # Of XFS the log is played now, which the check wants.
    attach got.raw
    cmp mnt/data data
    detach
    [ $fs != xfs ] || xfs_repair -n got.raw
    rm got.raw
done
