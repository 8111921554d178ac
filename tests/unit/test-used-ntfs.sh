#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What NTFS uses, by others and by us.  Then everything else is overwritten,
# and its fsck and its files must not notice.

. "$(dirname "$0")/../functions.sh"
set -e
set -x
. "$support/used.sh"
requires mkntfs
requires ntfscp

# ntfs SIZE OPTION...
ntfs ()
{
    local size=$1 i
    shift
    fresh "$size"
    mkntfs -F -Q -q "$@" "$disk" >"$tmp/mkntfs.log" 2>&1
    for i in "$files"/many/*; do
        ntfscp "$disk" "$i" "$(basename "$i")"
    done
    ntfscp "$disk" "$files/large" large
    # Shorter ones in their places leave gaps.
    for i in 00 07 13 21 22 40; do
        ntfscp -q -f "$disk" "$files/many/f01" "f$i"
    done
    dump ntfs exact
    by_partclone ntfs exact
    spoil
    ntfsfix -n "$disk"
    for i in "$files"/many/* "$files/large"; do
        case $i in
        */f00 | */f07 | */f13 | */f21 | */f22 | */f40) i=$files/many/f01 ;;
        esac
        ntfscat -q "$disk" "$(basename "$i")" | cmp - "$i"
    done
}

ntfs 20M -c 512
ntfs 100M
ntfs 100M -c 65536
ntfs 3000000000 -c 4096
fresh 10T
mkntfs -F -Q -q -c 65536 "$disk" >/dev/null 2>&1
dump ntfs exact

fresh 100M
mkntfs -F -Q -q "$disk" >/dev/null 2>&1
ntfscp "$disk" "$files/large" hiberfil.sys
dump ntfs exact
printf hibr >"$tmp/hibr"
cat "$files/large" >>"$tmp/hibr"
ntfscp -f "$disk" "$tmp/hibr" hiberfil.sys
refused ntfs hibernates
# In a folder with many names they are not in its record.
fresh 100M
mkntfs -F -Q -q "$disk" >/dev/null 2>&1
for i in "$files"/many/*; do
    ntfscp "$disk" "$i" "A file with quite a long name $(basename "$i")"
done
ntfscp "$disk" "$tmp/hibr" HiberFil.sys
refused ntfs hibernates
truncate -s -2M "$disk"
refused ntfs "longer than the partition"
