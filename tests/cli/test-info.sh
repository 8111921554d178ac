#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# info: formats, partitions, file systems and what boots, of images that
# other programs made.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires sfdisk --version
requires mke2fs -V
requires mkfs.vfat --help
requires mformat --version
requires qemu-img --version
requires mkswap --version
requires genisoimage --version

# fact JQ-FILTER EXPECTED, of $tmp/json
fact ()
{
    same "$1" "$(jq -r "$1" "$tmp/json")" "$2"
}

json_of ()
{
    nbdimage info --json "$@" >"$tmp/json"
    jq . "$tmp/json" >"$tmp/text"
    # The keys that are promised are there, whatever the image.
    for key in name format type creator created label size file-size data \
               allocation-size sector-size optical can-be-written \
               not-written-because properties chain partitions file-system \
               boot warnings; do
        jq -e "has (\"$key\")" "$tmp/json" >/dev/null || fail "no key $key"
    done
}

# MBR with logical partitions; the UUIDs and labels are what blkid says.
"$support/make-disk.sh" mbr-logical "$tmp/mbr.img"
json_of "$tmp/mbr.img"
fact .format raw
fact .size "$(stat -c %s "$tmp/mbr.img")"
fact .partitions.scheme mbr
fact '.partitions.id' \
     "$(sfdisk --json "$tmp/mbr.img" | jq -r .partitiontable.id)"
sfdisk --json "$tmp/mbr.img" |
    jq -c '.partitiontable.partitions[] | [.start * 512, .size * 512]' \
       >"$tmp/sfdisk"
# How much of an extended partition counts, is a matter of taste: compare
# the others.
jq -c '.partitions.entries[] | select (.extended | not) | [.offset, .length]' \
   "$tmp/json" >"$tmp/ours"
[ "$(wc -l <"$tmp/ours")" -eq 3 ]
while read -r line; do
    grep -qxF "$line" "$tmp/sfdisk" || fail "sfdisk has no partition $line"
done <"$tmp/ours"
fact '[.partitions.entries[].number] | tostring' '[1,2,5,6]'
fact '.partitions.entries[] | select (.number == 1)."file-system".type' vfat
fact '.partitions.entries[] | select (.number == 1)."file-system".label' \
     FAT-ONE
fact '.partitions.entries[] | select (.number == 5)."file-system".type' ext4
fact '.partitions.entries[] | select (.number == 5)."file-system".label' \
     logical-ext4
fact '.partitions.entries[] | select (.number == 5).logical' true
fact .boot.bios false
nbdimage info "$tmp/mbr.img" >"$tmp/out"
contains "$tmp/out" 'MBR 0x'
contains "$tmp/out" 'ext4 ‘logical-ext4’'

# GPT with an EFI system partition, in a dynamic VHD.
truncate -s 64M "$tmp/gpt.img"
sfdisk -q "$tmp/gpt.img" <<END
label: gpt
size=40M, type=U, name="boot here"
type=L
END
mformat -i "$tmp/gpt.img@@1M" -T 81920 -h 64 -s 32 -v EFIDISK ::
json_of "$tmp/gpt.img"
fact '.partitions.entries[0]."efi-loaders"' null
mmd -i "$tmp/gpt.img@@1M" ::/EFI ::/EFI/BOOT
echo 'a loader' >"$tmp/loader"
mcopy -i "$tmp/gpt.img@@1M" "$tmp/loader" ::/EFI/BOOT/BOOTX64.EFI
mcopy -i "$tmp/gpt.img@@1M" "$tmp/loader" ::/EFI/BOOT/bootaa64.efi
mcopy -i "$tmp/gpt.img@@1M" "$tmp/loader" ::/EFI/BOOT/grubx64.efi
qemu-img convert -f raw -O vpc -o force_size=on "$tmp/gpt.img" "$tmp/gpt.vhd"
json_of "$tmp/gpt.vhd"
fact .format vhd
fact .type dynamic
fact .size $((64 * 1024 * 1024))
fact '."file-size"' "$(stat -c %s "$tmp/gpt.vhd")"
fact '."allocation-size"' 2097152
fact .partitions.scheme gpt
fact '.partitions.entries[0].name' 'boot here'
fact '.partitions.entries[0].offset' 1048576
fact '.partitions.entries[0].length' 41943040
fact '.partitions.entries[0]."efi-loaders"' 'BOOTX64.EFI BOOTAA64.EFI'
fact '.partitions.entries[0]."file-system".label' EFIDISK
fact '.partitions.entries[0].uuid | ascii_upcase' "$(sfdisk --json \
    "$tmp/gpt.img" | jq -r '.partitiontable.partitions[0].uuid')"
fact '.partitions.entries[1]."file-system"' null
fact '."can-be-written"' true
fact '.chain | length' 1

# Without a table: the file system of the whole disk.
"$support/make-disk.sh" ext4 "$tmp/ext4.img"
json_of "$tmp/ext4.img"
fact .partitions null
fact '."file-system".type' ext4
fact '."file-system".label' bare-ext4
fact '."file-system".usage' filesystem

# Boot code in sector 0, with GRUB's name in it and without.
cp "$tmp/mbr.img" "$tmp/boot.img"
printf '\xeb\xfe' | dd of="$tmp/boot.img" conv=notrunc status=none
json_of "$tmp/boot.img"
fact .boot.bios true
fact '.boot."bios-loader"' null
if [ -r /usr/lib/grub/i386-pc/boot.img ]; then
    dd if=/usr/lib/grub/i386-pc/boot.img of="$tmp/boot.img" bs=440 count=1 \
       conv=notrunc status=none
    json_of "$tmp/boot.img"
    fact '.boot."bios-loader"' GRUB
fi

# Nothing at all, and a file that is empty.
truncate -s 1M "$tmp/empty"
json_of "$tmp/empty"
fact .partitions null
fact '."file-system"' null
fact .data 0
truncate -s 0 "$tmp/nothing"
json_of --format=raw "$tmp/nothing"
fact .size 0
nbdimage info --format=raw --picture "$tmp/nothing"

# The status of failures.
status=0
nbdimage info "$tmp/no such file" 2>"$tmp/err" || status=$?
same "status of a file that is not there" "$status" 1
contains "$tmp/err" "nbdimage: $tmp/no such file: "
cp "$tmp/gpt.vhd" "$tmp/bad.vhd"
# Both copies of the footer: the disk's type.
size=$(stat -c %s "$tmp/bad.vhd")
for off in 63 $((size - 512 + 63)); do
    printf '\x7f' | dd of="$tmp/bad.vhd" bs=1 seek="$off" conv=notrunc \
                       status=none
done
status=0
nbdimage info "$tmp/bad.vhd" >"$tmp/out" 2>"$tmp/err" || status=$?
same "status of a damaged image" "$status" 3
contains "$tmp/err" checksum
same "stdout for a damaged image" "$(cat "$tmp/out")" ""
nbdimage info --ignore-checksums --size=current "$tmp/bad.vhd" || true

# Sentences for names that are none: not files, not URIs that we understand.
says ()
{
    local expected=$1 sentence=$2 status=0
    shift 2
    nbdimage info "$@" >"$tmp/out" 2>"$tmp/err" || status=$?
    same "status of info $*" "$status" "$expected"
    same "what it says" "$(cat "$tmp/err")" "nbdimage: $sentence"
    same "stdout" "$(cat "$tmp/out")" ""
}
schemes='nbd://, nbds://, nbd+unix://, nbds+unix://, nbd+vsock://, nbds+vsock://'
says 1 "the name of the image is empty" ""
says 1 "http://example.com/x.vhd: there is no such file, and of URIs only \
those of NBD servers are understood: $schemes" http://example.com/x.vhd
says 1 "--parent-path: /no such folder: No such file or directory" \
     --parent-path="$tmp:/no such folder" "$tmp/mbr.img"
says 1 "--parent-path: $tmp/mbr.img is not a folder" \
     --parent-path="$tmp/mbr.img" "$tmp/mbr.img"
nbdimage info --parent-path="$tmp" "$tmp/mbr.img"

# More partitions than are looked into; what is in the others is not said.
truncate -s 400M "$tmp/many.img"
{
    echo 'label: gpt'
    echo 'table-length: 304'
    for ((i = 1; i <= 300; i++)); do echo 'size=64K, type=L'; done
} | sfdisk -q "$tmp/many.img"
for n in 256 257; do
    start=$(sfdisk --json "$tmp/many.img" |
                jq ".partitiontable.partitions[$((n - 1))].start")
    truncate -s 64K "$tmp/swap$n"
    mkswap -q -L "swap$n" "$tmp/swap$n"
    dd if="$tmp/swap$n" of="$tmp/many.img" bs=512 seek="$start" \
       conv=notrunc status=none
done
json_of "$tmp/many.img"
fact '.partitions.entries | length' 300
fact .partitions.identified 256
fact '.partitions.entries[255]."file-system".label' swap256
fact '.partitions.entries[256]."file-system"' null
nbdimage info "$tmp/many.img" >"$tmp/out"
contains "$tmp/out" \
    'File systems were looked for in the first 256 of 300 partitions only.'
contains "$tmp/out" 'swap256'
if grep -q 'swap257' "$tmp/out"; then fail "it looked into partition 257"; fi
json_of "$tmp/mbr.img"
fact .partitions.identified 4

# An ISO says its creator twice; people are told once, programs all of it.
genisoimage -quiet -o "$tmp/cd.iso" -A 'THE PROGRAM' -p 'THE PROGRAM' "$tmp/err"
nbdimage info "$tmp/cd.iso" >"$tmp/out"
same "lines with the creator" "$(grep 'THE PROGRAM' "$tmp/out")" \
     '  Creator:           THE PROGRAM'
json_of "$tmp/cd.iso"
fact .creator 'THE PROGRAM'
fact .properties.application 'THE PROGRAM'
fact .properties.preparer 'THE PROGRAM'

# A label that would steer the terminal does not.
e2label "$tmp/ext4.img" "$(printf 'a\033[2Jb')"
nbdimage info "$tmp/ext4.img" >"$tmp/out"
contains "$tmp/out" 'a?[2Jb'

# Neither does a name, on stdout or stderr: C1 control characters, a byte that
# is no UTF-8, a change of direction.
for odd in $'\u009b2J' $'\x9b2J' $'\u202e2J'; do
    cp "$tmp/ext4.img" "$tmp/a${odd}b"
    nbdimage info "$tmp/a${odd}b" >"$tmp/out"
    nbdimage info "$tmp/no${odd}b" 2>"$tmp/err" && fail "there is no such file"
    for f in out err; do
        contains "$tmp/$f" '?2Jb'
        if LC_ALL=C grep -qF "$odd" "$tmp/$f"; then
            fail "$f has the name as it is"
        fi
    done
done
json_of "$tmp/ext4.img"
