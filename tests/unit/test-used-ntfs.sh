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

# As Windows leaves its log: two restart pages, of which one is newer.
fresh 100M
mkntfs -F -Q -q "$disk" >/dev/null 2>&1
used ntfs-log "$disk" clean clean
dump ntfs exact
# The boot sector has no checksum.
damage 1000 512
used ntfs-log "$disk" flag dirty
dump ntfs exact
used ntfs-log "$disk" dirty clean newer
dump ntfs exact
used ntfs-log "$disk" dirty clean
refused ntfs "not unmounted"
used ntfs-log "$disk" clean dirty newer
refused ntfs "not unmounted"
used ntfs-log "$disk" fast fast
refused ntfs "fast startup"
used ntfs-log "$disk" clean torn-clean
refused ntfs "second restart page"
used ntfs-log "$disk" clean zeros
refused ntfs "second restart page"
used ntfs-log "$disk" torn-clean clean
refused ntfs "can't be read"
used ntfs-log "$disk" zeros zeros
refused ntfs "can't be read"

# A check is due: ntfsfix says so.
fresh 100M
mkntfs -F -Q -q "$disk" >/dev/null 2>&1
dump ntfs exact
ntfsfix "$disk"
refused ntfs "a check by Windows is due"
ntfsfix -d "$disk"
dump ntfs exact

# Many pieces: of a file of which every other cluster is free, the bitmap
# itself, and the $MFT with a list of attributes, by the driver if it can be
# mounted.
fresh 40M
mkntfs -F -Q -q -c 512 "$disk" >/dev/null 2>&1
mkdir "$tmp/mnt"
if [ -w /dev/fuse ] && ntfs-3g "$disk" "$tmp/mnt" 2>/dev/null; then
    cleanup_fn umount -q "$tmp/mnt"
    python3 - "$tmp/mnt" <<'END'
import os, sys
for i in range(9000):
    with open(f"{sys.argv[1]}/{i}", "wb") as f:
        f.write(b"x" * 1500)
for i in range(0, 9000, 2):
    os.unlink(f"{sys.argv[1]}/{i}")
END
    umount "$tmp/mnt"
    dump ntfs exact
    [ "$(wc -l <"$ours")" -gt 1000 ]
    by_partclone ntfs exact
    damage 500 512
    spoil
    ntfs-3g -o ro "$disk" "$tmp/mnt"
    python3 - "$tmp/mnt" <<'END'
import os, sys
names = sorted(os.listdir(sys.argv[1]), key=int)
assert names == [str(i) for i in range(1, 9000, 2)]
for name in names:
    with open(f"{sys.argv[1]}/{name}", "rb") as f:
        assert f.read() == b"x" * 1500, name
END
    umount "$tmp/mnt"
else
    echo "without FUSE: no NTFS in pieces"
fi
