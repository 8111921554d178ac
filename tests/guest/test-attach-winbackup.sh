#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# attach with a backup of Windows: the disk with its partitions, and a volume.

. "$(dirname "$0")/../functions.sh"
. "$(dirname "$0")/guest.sh"
set -e

make_images ()
{
    "$support/windows-disk.sh" mbr "$images/disk.img"
    python3 "$support/make-windows-backup.py" --volume 2=C= \
        --volume 1==Reserved "$images/disk.img" "$images/WindowsImageBackup"
}

for program in jq python3 qemu-img sfdisk mkntfs ntfscp; do
    requires "$program"
done
in_guest 300

cd "$images"

step "the disk"
attach WindowsImageBackup
contains "$tmp/attached" Reserved
same partitions "$(nbdimage attached --json |
                   jq -r '.[0].source')" "$images/WindowsImageBackup"
for n in 1 2 3; do
    [ -b "${dev}p$n" ] || fail "there is no ${dev}p$n"
done
same_bytes <(tail -c +441 "$dev") <(tail -c +441 disk.img)
mkdir "$tmp/mnt"
mount -t ntfs-3g -o ro "${dev}p2" "$tmp/mnt"
same "size of its file" "$(stat -c %s "$tmp/mnt/pagefile.sys")" 300000
umount "$tmp/mnt"
detach WindowsImageBackup

step "a volume"
attach WindowsImageBackup/PC/C
same "size" "$(blockdev --getsize64 "$dev")" 41943040
mount -t ntfs-3g -o ro "$dev" "$tmp/mnt"
same "size of its file" "$(stat -c %s "$tmp/mnt/pagefile.sys")" 300000
umount "$tmp/mnt"
if dd if=/dev/zero of="$dev" bs=512 count=1 2>/dev/null; then
    fail "$dev can be written to"
fi
detach "$dev"
refused 1 "backups of Windows are read-only" \
    nbdimage attach --write WindowsImageBackup
nothing_left
