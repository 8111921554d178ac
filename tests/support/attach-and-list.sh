#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Attach an export, list the files in its file systems, detach: for ./demo.
#
#   attach-and-list.sh URI
#
# As root, on a kernel with nbd.  Whatever happens, nothing stays mounted or
# attached.

set -u
export PATH=$PATH:/usr/sbin:/sbin
device=
mounted=
folder=$(mktemp -d) || exit 1

the_end ()
{
    local status=$?
    trap '' INT TERM
    [ -z "$mounted" ] || umount "$folder" || status=1
    [ -z "$device" ] || nbdimage detach "$device" || status=1
    rmdir "$folder"
    exit "$status"
}
trap the_end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say ()
{
    echo "\$ $*"
    "$@"
}

echo "\$ nbdimage attach $1"
device=$(nbdimage attach "$1") || exit 1
echo "$device"
device=$(echo "$device" | grep -o '/dev/nbd[0-9]*' | head -n 1)
[ -b "$device" ] || { echo "there is no device '$device'" >&2; exit 1; }

say lsblk -o NAME,SIZE,RO,FSTYPE,LABEL "$device"
for partition in "$device"p*; do
    [ -b "$partition" ] || continue
    echo "\$ mount -o ro $partition $folder; ls -lR"
    mount -o ro "$partition" "$folder" || exit 1
    mounted=1
    (cd "$folder" && ls -lR --time-style=long-iso)
    umount "$folder" && mounted=
done
echo "\$ nbdimage detach $device"
nbdimage detach "$device" && device=
