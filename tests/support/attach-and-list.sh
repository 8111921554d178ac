#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Attach an export, list the files in its file systems, detach: for ./demo.
#
#   attach-and-list.sh URI [FILE]
#
# A file of the name of FILE on one of them is compared with it.
#
# As root, on a kernel with nbd.  Whatever happens, nothing stays mounted or
# attached.

set -u
[ "$#" -eq 2 ] || set -- "$1" /nonexistent
export PATH=$PATH:/usr/sbin:/sbin
device=
mounted=
folder=$(mktemp -d /tmp/demo.XXXX) || exit 1

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

echo "\$ nbdimage attach $1"
device=$(nbdimage attach "$1") || exit 1
echo "$device"
device=$(echo "$device" | grep -o '/dev/nbd[0-9]*' | head -n 1)
[ -b "$device" ] || { echo "there is no device '$device'" >&2; exit 1; }

for partition in "$device"p*; do
    [ -b "$partition" ] || continue
    echo
    echo "\$ mount -o ro $partition $folder"
    mount -o ro "$partition" "$folder" || exit 1
    mounted=1
    echo "Its files:"
    find "$folder" -type f -printf '%9s  %TY-%Tm-%Td %TH:%TM  %P\n' | sort -k4
    # The bytes, and not only the names.
    if [ -e "$folder/${2##*/}" ]; then
        echo
        echo "\$ cmp $folder/${2##*/} $2"
        cmp "$folder/${2##*/}" "$2" || exit 1
        echo "the same bytes"
    fi
    umount "$folder" && mounted=
done
echo
echo "\$ nbdimage detach $device"
nbdimage detach "$device" && device=
