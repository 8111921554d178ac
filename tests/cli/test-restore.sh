#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# restore: onto new files, files that are there and exports, all of a disk and
# partitions; what is shown, agreed to and refused; what is left of what fails
# or is interrupted.  Devices: ../guest/test-restore.sh.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires sfdisk
requires sgdisk
requires nbdcopy
requires qemu-img
cd "$tmp"

"$support/make-disk.sh" gpt-ntfs-fat win.img
"$support/make-disk.sh" mbr-ext4 ext4.img
size=$(stat -c %s win.img)
nbdimage backup --everything --init --name=win win.img vault
nbdimage backup --name=ext4 ext4.img vault

# as_raw IMAGE OUT: the disk in it, as any client of NBD gets it
as_raw ()
{
    rm -f "$2"
    nbdkit -r -U - image "$1" --run "nbdcopy \"\$uri\" $2"
}

# is_table FILE: no program finds anything wrong with its GPT
is_table ()
{
    sgdisk -v "$1" >table.log
    contains table.log 'No problems found'
    sfdisk -V "$1" >table.log 2>&1
    contains table.log 'No errors detected'
    sfdisk -J "$1" | jq -c '.partitiontable |
        {id, parts: [.partitions[] | {start, size, type, uuid, name, attrs}]}'
}

# status WANT COMMAND ARG...: what it says is in err
status ()
{
    local want=$1 found=0
    shift
    "$@" >out 2>err || found=$?
    cat out err
    same "status of $*" "$found" "$want"
}

# --- new files: nobody is asked, and nothing is there before it is whole

nbdimage restore vault/win new.img >out
cmp new.img win.img
contains out 'read again, and the same as the image'
for kind in vhd vhdx; do
    nbdimage restore --json vault/win "new.$kind" >out
    same "kind" "$(jq -r '.kind, .format, .done, .verified' out | tr '\n' ' ')" \
        "new file $kind true true "
    as_raw "new.$kind" got.img
    cmp got.img win.img
    nbdimage check "new.$kind"
done
nbdimage restore --target-format=vhd vault/win strange >out
same "format" "$(nbdimage info --json strange | jq -r .format)" vhd
status 2 nbdimage restore vault/win nothing
contains err '--target-format'
[ ! -e nothing ]
status 0 nbdimage restore --dry-run vault/win other.img
[ ! -e other.img ]
status 2 nbdimage restore --partition=1 vault/win other.img
# What no file system used is a hole.
nbdimage restore vault/ext4 ext4.new.img >out
contains out 'no file system uses: reads as zeros'
e2fsck -fn "ext4.new.img?offset=1048576"
# An image that is no backup, and no vault.
nbdimage restore new.vhd again.img >out
cmp again.img win.img

# --- a file that is there: what it holds is named, and its size asked for

cp ext4.img used.img
truncate -s "$size" used.img
sha256sum used.img >before
status 0 nbdimage restore --dry-run vault/win used.img
contains out 'an MBR table with 1 partition: ext4 ‘nbdimage-ext4’'
contains out 'ntfs ‘nbdimage-ntfs’'
status 1 nbdimage restore vault/win used.img </dev/null
contains err "nothing was written"
contains err "--confirm=$size"
status 1 nbdimage restore --yes vault/win used.img
contains err "--confirm=$size"
status 1 nbdimage restore --confirm=1M vault/win used.img
contains err "--confirm is not its size: --confirm=$size"
sha256sum --check --quiet before
nbdimage restore --confirm="$size" vault/win used.img >out
cmp used.img win.img
# On a terminal the size is what has to be typed.
if command -v script >/dev/null; then
    head -c "$size" /dev/urandom >typed.img
    cp typed.img kept.img
    echo yes | script -qec "nbdimage restore vault/win typed.img" log >out || :
    contains out 'Type its size'
    cmp typed.img kept.img
    echo "$size" | script -qec "nbdimage restore vault/win typed.img" log >out
    cmp typed.img win.img
fi
# One that is empty.
truncate -s "$size" empty.img
status 1 nbdimage restore vault/win empty.img </dev/null
contains err '--yes agrees'
nbdimage restore --yes --no-verify vault/win empty.img >out
cmp empty.img win.img
contains out 'not compared with the image'

# --- images that are there

nbdimage create there.vhdx "$size"
nbdimage restore --yes vault/win there.vhdx >out
as_raw there.vhdx got.img
cmp got.img win.img
nbdimage check there.vhdx
qemu-img convert -O vpc -o force_size=on ext4.img there.vhd
status 1 nbdimage restore --confirm=100663296 vault/win there.vhd
contains err "it has 96 MiB (100663296 bytes), and the disk of the image has"
contains err "$((size - 100663296)) bytes are missing"
nbdimage restore --confirm=96M vault/ext4 there.vhd >out
as_raw there.vhd got.img
cmp got.img ext4.new.img

# --- larger: nothing grown, the GPT's second copy at the new end, and nothing
# --- of what was at the end before

is_table win.img >table.before
for more in 512 4096 1M 300M; do
    extra=$(numfmt --from=iec "$more")
    rm -f large.img
    head -c "$((size + (extra > 2000000 ? 2000000 : extra)))" /dev/urandom \
        >large.img
    truncate -s "$((size + extra))" large.img
    head -c 4096 /dev/urandom |
        dd of=large.img bs=512 seek=$(((size + extra) / 512 - 8)) \
            conv=notrunc status=none
    nbdimage restore --confirm="$((size + extra))" vault/win large.img >out
    contains out 'GPT’s second copy goes to the new end'
    is_table large.img >table.after
    diff table.before table.after
    cmp -n $((size - 16896 - 1048576)) -i 1048576 large.img win.img
done
truncate -s 200M large.img
head -c 1M /dev/urandom | dd of=large.img bs=1M seek=199 conv=notrunc \
    status=none
nbdimage restore --confirm=200M vault/ext4 large.img >out
cmp -n "$(stat -c %s ext4.img)" large.img ext4.new.img
tail -c 1M large.img | cmp -n 1048576 - /dev/zero

# --- too small

truncate -s $((size - 512)) small.img
status 1 nbdimage restore --yes vault/win small.img
contains err '512 bytes are missing'
cmp -n $((size - 512)) small.img /dev/zero

# --- partitions onto partitions; all else is as it was

truncate -s 300M parts.img
sfdisk -q parts.img <<'END'
label: gpt
start=2048, size=20MiB
size=100MiB
size=150MiB
END
dd if=/dev/urandom of=parts.img bs=1M seek=1 count=270 conv=notrunc status=none
is_table parts.img >table.before
cp parts.img parts.before
part ()
{
    sfdisk -J "$1" | jq -r ".partitiontable.partitions[$2 - 1] |
        \"\(.start * 512) \(.size * 512)\""
}
read -r from len < <(part win.img 2)
read -r to room < <(part parts.img 3)
status 0 nbdimage restore --partition=2:3 --confirm=300M --json vault/win \
    parts.img
same "step" "$(jq -c '.steps[0] | [.from, .to, .length, .size]' out)" \
    "[2,3,$len,$room]"
cmp -n "$len" -i "$to:$from" parts.img win.img
cmp -n "$to" parts.img parts.before
cmp -i $((to + room)) parts.img parts.before
is_table parts.img | diff table.before -
# Its files are there, by somebody else's reading.
dd if=parts.img of=ntfs.img bs=1M iflag=skip_bytes,count_bytes skip="$to" \
    count="$len" status=none
if command -v ntfscat >/dev/null; then
    while read -r sum name; do
        same "$name" "$(ntfscat -f ntfs.img "${name#\*}" | sha256sum |
                        cut -d' ' -f1)" "$sum"
    done < <(head -5 win.img.p2.sha256)
fi
status 1 nbdimage restore --partition=2:1 --confirm=300M vault/win parts.img
contains err 'partition 1 has 20 MiB (20971520 bytes), and partition 2'
status 1 nbdimage restore --partition=2:7 --confirm=300M vault/win parts.img
contains err 'has no partition 7'
status 1 nbdimage restore --partition=9 --confirm=300M vault/win parts.img
contains err 'the image has no partition 9'
status 2 nbdimage restore --partition=two --confirm=300M vault/win parts.img
status 1 nbdimage restore --partition=1:2 vault/win parts.img </dev/null
contains err 'nothing was written'

# --- an NBD URI; and any client, from the vault

cp used.img exported.img
dd if=/dev/urandom of=exported.img bs=1M count=8 conv=notrunc status=none
start_nbdkit file exported.img
status 1 nbdimage restore vault/win "$uri" </dev/null
nbdimage restore --confirm="$size" vault/win "$uri" >out
stop_nbdkit
cmp exported.img win.img
start_nbdkit -r image vault/win
status 1 nbdimage restore --confirm="$size" used.img "$uri"
nbdcopy "$uri" copied.img
stop_nbdkit
cmp copied.img win.img

# From another server, and onto one.
start_nbdkit -r image vault/win
nbdimage restore "$uri" remote.img >out
stop_nbdkit
cmp remote.img win.img
# Of which reading fails, nobody knows what it holds; it is written all the same.
head -c "$size" /dev/urandom >exported.img
start_nbdkit --filter=error file exported.img error-pread=EIO \
    error-pread-rate=100% \
    "error-pread-file=$tmp/fail"
touch fail
status 1 nbdimage restore --yes vault/win "$uri"
contains err 'what it holds is not known'
contains err "--confirm=$size"
status 1 nbdimage restore --confirm="$size" vault/win "$uri"
contains err 'unfinished'
nbdimage restore --no-verify --confirm="$size" vault/win "$uri" >out
rm fail
stop_nbdkit
cmp exported.img win.img

# --- an ISO image onto a stick is as it was

if command -v xorriso >/dev/null; then
    "$support/make-iso.sh" rockridge cd.iso
    truncate -s 64M stick.img
    nbdimage restore --yes cd.iso stick.img >out
    cmp -n "$(stat -c %s cd.iso)" stick.img cd.iso

    # One for sticks, whose table is of a disk of sectors of 512 bytes; on a
    # stick, and out of a backup, which has all of it.
    mkdir tree
    head -c 3M /dev/urandom >tree/file
    xorriso -as mkisofs -quiet -r -partition_offset 16 -o hybrid.iso tree
    nbdimage backup --single=hybrid.nbi hybrid.iso 2>err
    refuses grep 'left out' err
    for image in hybrid.iso hybrid.nbi; do
        truncate -s 0 stick.img
        truncate -s 64M stick.img
        loop stick.img
        nbdimage restore --yes $image "$device" >out
        losetup -d "$device"
        cmp -n "$(stat -c %s hybrid.iso)" stick.img hybrid.iso
    done
fi

# --- what the image is made of

status 1 nbdimage restore --confirm="$size" used.img used.img
contains err 'is the image itself'
ln used.img hard.img
ln -s used.img soft.img
for name in hard.img soft.img "$tmp/used.img"; do
    status 1 nbdimage restore --confirm="$size" used.img "$name"
    contains err 'is a file of the image'
done
cmp used.img win.img
rm hard.img soft.img
nbdimage create --parent=new.vhd child.vhd
status 1 nbdimage restore --confirm="$size" child.vhd new.vhd
contains err 'is a file of the image: '
nbi=$(find "$tmp/vault/files" -name '*.nbi' | head -1)
sha256sum "$nbi" >before
status 1 nbdimage restore --target-format=raw --confirm="$(stat -c %s "$nbi")" \
    vault/win "$nbi"
sha256sum --check --quiet before
status 1 nbdimage restore --yes vault/win vault
contains err 'is a folder'
mkfifo fifo
status 1 nbdimage restore --yes vault/win fifo
contains err 'neither a disk nor a file'
status 1 nbdimage restore --yes vault/win /dev/null
status 1 nbdimage restore --yes vault/nothing used.img
status 1 nbdimage restore --yes vault/win no/such/folder.img
status 2 nbdimage restore vault/win
status 2 nbdimage restore vault/win ''
contains err 'the name of the target is empty'
chmod a-w used.img
if [ "$(id -u)" -ne 0 ]; then
    status 1 nbdimage restore --confirm="$size" vault/win used.img
fi
chmod u+w used.img

# --- a target that fails

# An export of which some writes fail: nothing takes it for whole.
for what in pwrite zero; do
    rm -f failing.img fail
    head -c "$size" /dev/urandom >failing.img
    start_nbdkit --filter=error file failing.img "error-$what=ENOSPC" \
        "error-$what-file=$tmp/fail" "error-$what-rate=20%"
    touch fail
    status 1 nbdimage restore --confirm="$size" --json vault/win "$uri"
    contains err 'No space left on device'
    contains err 'unfinished'
    same "done" "$(jq -c '[.done, .verified]' out)" '[false,false]'
    rm fail
    stop_nbdkit
    refuses cmp -n 1048576 failing.img win.img
    start_nbdkit file failing.img
    nbdimage restore --confirm="$size" vault/win "$uri" >out
    stop_nbdkit
    cmp failing.img win.img
done

# --- Ctrl-C: said, and the same command begins again

head -c "$size" /dev/urandom >slow.img
start_nbdkit --filter=delay file slow.img wdelay=5
nbdimage restore --confirm="$size" vault/win "$uri" >out 2>err & pid=$!
# It is in the middle when its first sectors are gone.
for ((i = 0; i < 600; i++)); do
    if cmp -s -n 1048576 slow.img /dev/zero; then break; fi
    sleep 0.1
done
kill -INT "$pid"
found=0
wait "$pid" || found=$?
same "status after Ctrl-C" "$found" 1
contains err 'unfinished'
stop_nbdkit
cmp -n 1048576 slow.img /dev/zero
nbdimage restore --confirm="$size" vault/win slow.img >out
cmp slow.img win.img

# --- an image that can't be read

# Of a disk with bad sectors, by what the backup lists.
cat >bad.sh <<'SH'
case "$1" in
get_size) stat -c %s "$IMAGE" ;;
pread)
    if [ "$4" -lt 2563072 ] && [ "$(($4 + $3))" -gt 2560000 ]; then
        echo EIO bad sector >&2
        exit 1
    fi
    dd if="$IMAGE" bs=65536 iflag=skip_bytes,count_bytes skip="$4" count="$3" \
        status=none ;;
can_write) exit 3 ;;
*) exit 2 ;;
esac
SH
chmod +x bad.sh
export IMAGE=$tmp/ext4.img
start_nbdkit sh bad.sh
nbdimage backup --everything --single=bad.nbi --name=dying "$uri" || :
stop_nbdkit
status 1 nbdimage restore bad.nbi bad.img
contains err 'bytes 2560000 to 2563071 (in partition 1)'
contains err '--allow-unreadable'
[ ! -e bad.img ]
status 1 nbdimage restore --allow-unreadable --json bad.nbi bad.img
same "unreadable" "$(jq -c '[.done, .unreadable]' out)" \
    '[true,[{"offset":2560000,"length":3072,"partition":1}]]'
cp ext4.img expected.img
dd if=/dev/zero of=expected.img bs=512 seek=5000 count=6 conv=notrunc \
    status=none
cmp bad.img expected.img

# Damaged: what is restored before it is found does not look whole.
nbdimage backup --everything --single=whole.nbi win.img
python3 - whole.nbi <<'PYTHON'
import sys
with open (sys.argv[1], "r+b") as f:
    f.seek (0, 2)
    at = f.tell () // 2
    f.seek (at)
    old = f.read (1)
    f.seek (at)
    f.write (bytes ([old[0] ^ 1]))
PYTHON
head -c "$size" /dev/urandom >target.img
found=0
nbdimage restore --confirm="$size" whole.nbi target.img >out 2>err || found=$?
[ "$found" -eq 1 ] || [ "$found" -eq 3 ] || fail "it ended with $found"
contains err 'unfinished'
cmp -n 1048576 target.img /dev/zero
status 1 nbdimage restore --confirm="$size" --allow-unreadable --json \
    whole.nbi target.img
[ "$(jq '[.unreadable[].length] | add' out)" -le 65536 ]
python3 - out win.img target.img <<'PYTHON'
import json, sys
with open (sys.argv[1]) as f:
    lost = json.load (f)["unreadable"]
with open (sys.argv[2], "rb") as f:
    image = bytearray (f.read ())
with open (sys.argv[3], "rb") as f:
    target = f.read ()
if not lost:
    sys.exit ("nothing was lost")
for r in lost:
    image[r["offset"] : r["offset"] + r["length"]] = bytes (r["length"])
if image != target:
    sys.exit ("other bytes than those that are listed differ")
PYTHON

# A backup of which a file is missing: what the target holds stays.
head -c 4M /dev/urandom >many.img
nbdimage backup --everything --init --name=many many.img gone
head -c 64K /dev/urandom | dd of=many.img conv=notrunc status=none
nbdimage backup --everything --name=many many.img gone
nbdimage restore gone/many many.new.img
cmp many.new.img many.img
rm "$(find gone/files -name '*.nbi' -size +1M)"
head -c 4M /dev/urandom >target.img
cp target.img expected.img
status 3 nbdimage restore --confirm=4M gone/many target.img
contains err 'NBI-131'
cmp target.img expected.img

# Partitions of a damaged table that lie in each other, or in the table.
cp win.img overlap.img
python3 - overlap.img <<'PYTHON'
import struct, sys
table = bytearray (512)
table[446:462] = bytes ([0, 0, 2, 0, 0x83, 0, 0, 0]) + \
    struct.pack ("<II", 0, 1024)
for i, start in (1, 2048), (2, 20480):
    table[446 + 16 * i : 462 + 16 * i] = bytes ([0, 0, 2, 0, 0x83, 0, 0, 0]) + \
        struct.pack ("<II", start, 40960)
table[510:512] = b"\x55\xaa"
with open (sys.argv[1], "r+b") as f:
    f.write (table)
PYTHON
cp overlap.img expected.img
status 1 nbdimage restore --partition=1 --confirm="$size" vault/ext4 overlap.img
contains err 'begins where its table is'
status 1 nbdimage restore --partition=1:2 --confirm="$size" vault/ext4 \
    overlap.img
contains err 'overlap'
cmp overlap.img expected.img
rm overlap.img

# Data in a place of a sparse file where nobody would look for it.
truncate -s 1G far.img
printf x | dd of=far.img bs=1M seek=101 conv=notrunc status=none
status 1 nbdimage restore --yes vault/win far.img
contains err 'it holds data'
rm far.img

# A parent is not empty, whatever is in it: its children would be damaged.
nbdimage create parent.vhd "$size"
nbdimage create above.vhd --parent parent.vhd
cp parent.vhd expected.vhd
status 1 nbdimage restore --yes vault/win parent.vhd
contains err 'above.vhd is differencing over this disk'
cmp parent.vhd expected.vhd
nbdimage restore --yes vault/win above.vhd >out
as_raw above.vhd got.img
cmp got.img win.img
cmp parent.vhd expected.vhd

# --- the image itself, by the name that a server gives it

cp win.img self.img
start_nbdkit file self.img
status 1 nbdimage restore --confirm="$size" "$uri" self.img
contains err 'is the image itself'
cmp self.img win.img
status 1 nbdimage restore --confirm="$size" self.img "$uri"
contains err 'is the image itself'
cmp self.img win.img
stop_nbdkit
