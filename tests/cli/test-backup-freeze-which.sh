#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# backup --freeze freezes the file systems of the device, wherever they can be
# seen, and no other.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires_root
requires losetup
requires fsfreeze
requires mkfs.ext4 -V
cd "$tmp"

# disk NAME: sets $device to one with an ext4
disk ()
{
    truncate -s 20M "$1.img"
    mkfs.ext4 -q "$1.img"
    loop "$1.img"
}

# unmount WHERE: at the end
unmount ()
{
    cleanup_fn sh -c "umount '$tmp/$1' 2>/dev/null || :"
}

save ()
{
    rm -f out.nbi
    nbdimage backup --freeze --single=out.nbi --name=x "$@"
}

disk other
other=$device
disk ours
mkdir here there
unmount there/file
unmount here
unmount here
mount "$device" here || skip "$device can't be mounted"
date >here/file

# --- another file system is mounted over it

mount "$other" here
refuses save "$device"
contains "$tmp/refused" "$tmp/here is hidden by another mount"
# The other is not frozen, nor is it needed.
fsfreeze -f here
cleanup_fn sh -c "fsfreeze -u '$tmp/here' 2>/dev/null || :"
refuses save "$device"
contains "$tmp/refused" "$tmp/here is hidden by another mount"
fsfreeze -u here
umount here

# --- a file of it is all that is mounted, or to be seen

date >there/file
mount --bind here/file there/file
save "$device"
mount "$other" here
save "$device"
umount here
umount here
save "$device"
date >there/file

# --- mounted while it is read: that was not frozen

umount there/file
# Larger than what a backup has in memory.
head -c 100M /dev/urandom >late.img
mkfs.ext4 -q -E nodiscard late.img
loop late.img
late=$device
mkfifo pipe
nbdimage backup --freeze --everything --codec=none --single=- --name=x \
         "$late" >pipe 2>err.txt & pid=$!
exec 8<pipe
head -c 100000 <&8 >/dev/null
mount "$late" here
cat <&8 >/dev/null
exec 8<&-
! wait $pid || fail "it was mounted, and its backup is said to be whole"
contains err.txt 'was not frozen'
umount here
eventually save "$late"
