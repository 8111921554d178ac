#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# check: what others made is whole; what is damaged is found, counted, placed,
# and told by the exit status; nothing is written, and nobody who writes is
# disturbed.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires qemu-img
requires qemu-io --version
cd "$tmp"

# status EXPECTED COMMAND…: its exit status, with the output in out and err
status ()
{
    local expected=$1 found=0
    shift
    "$@" >out 2>err || found=$?
    cat out err
    same "exit status of $*" "$found" "$expected"
}

# value EXPECTED PATH: in the JSON of out
value ()
{
    same "$2" "$(jq -r "$2" out)" "$1"
}

# poke FILE OFFSET BYTES: as printf has them
poke ()
{
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

qemu-img create -q -f vpc dyn.vhd 64M
qemu-io -f vpc -c 'write -P 1 0 3M' -c 'write -P 2 40M 5M' dyn.vhd
qemu-img create -q -f vpc -o subformat=fixed fixed.vhd 8M
qemu-img create -q -f vhdx dyn.vhdx 64M
qemu-io -f vhdx -c 'write -P 1 0 3M' -c 'write -P 2 40M 5M' dyn.vhdx
qemu-img create -q -f vhdx -o subformat=fixed fixed.vhdx 8M
nbdimage create --parent dyn.vhd child.vhd
truncate -s 1M raw.img

# Whole, and left alone.
for image in dyn.vhd fixed.vhd dyn.vhdx fixed.vhdx child.vhd raw.img; do
    cp --sparse=always "$image" before
    status 0 nbdimage check --data --progress=none "$image"
    contains out "$image: is whole"
    same_bytes "$image" before
    status 0 nbdimage check --json "$image"
    value whole .verdict
    value 0 .counts.repairable
    value 0 .counts.damage
done
value raw .format
value raw '.findings[0].kind'
status 0 nbdimage check --json child.vhd
value 2 .files

# Footers: each of them, and both.
size=$(stat -c %s dyn.vhd)
cp dyn.vhd bad.vhd
poke bad.vhd $((size - 512 + 100)) X
status 3 nbdimage check bad.vhd
contains out "repairable: the VHD footer at offset $((size - 512)) has checksum"
contains out "nbdimage repair bad.vhd"
status 3 nbdimage check --json bad.vhd
value damaged .verdict
value true .repairable
value vhd-footer-end '.findings[0].kind'
value $((size - 512)) '.findings[0].offset'
value true '.findings[0].repairable'
poke bad.vhd 100 X
status 3 nbdimage check --json bad.vhd
value 2 .counts.damage
value false .repairable

# Several entries of the BAT: all of them are told, with what they cost.
cp dyn.vhd bad.vhd
poke bad.vhd $((1536 + 4 * 2)) '\x7f\xff\xff\xff'
poke bad.vhd $((1536 + 4 * 3)) '\0\0\0\0'
dd if=dyn.vhd of=bad.vhd bs=4 count=1 skip=384 seek=405 conv=notrunc status=none
status 3 nbdimage check --json bad.vhd
value 3 .counts.damage
value '4194304 6291456 44040192' \
      '[.findings[] | select (.severity == "damage")."disk-offset"] |
       sort | map (tostring) | join (" ")'
value 2097152 '.findings[0]."disk-length"'
value vhd-bat-overlap '[.kinds[].kind | select (. == "vhd-bat-overlap")][0]'
status 3 nbdimage check bad.vhd
contains out "BAT entry 2 (at offset 1544) is sector 2147483647"
contains out "costs 2 MiB of the disk from its offset 4194304 on"

# More than a hundred are counted.
nbdimage create --block-size=512K many.vhd 200M
for i in 0 1; do
    head -c 1200 /dev/zero | tr '\0' '\1' |
        dd of=many.vhd bs=1 seek=1536 conv=notrunc status=none
done
status 3 nbdimage check --json many.vhd
value 300 .counts.damage
value 100 '.findings | length'
value 300 '.kinds[0].count'
status 3 nbdimage check many.vhd
contains out "200 more of this kind"

# Space that nothing names.
cp dyn.vhd bad.vhd
truncate -s $((size - 512)) bad.vhd
head -c 4M /dev/urandom >>bad.vhd
tail -c 512 dyn.vhd >>bad.vhd
status 0 nbdimage check --json bad.vhd
value 4194304 .leaked
value 1 .counts.leak
value $((size - 512)) '.findings[0].offset'
value 4194304 '.findings[0].length'

# VHDX: one header, one region table, both.
cp dyn.vhdx bad.vhdx
poke bad.vhdx $((64 * 1024 + 200)) X
poke bad.vhdx $((256 * 1024 + 200)) X
status 3 nbdimage check --json bad.vhdx
value 2 .counts.repairable
value 0 .counts.damage
poke bad.vhdx $((128 * 1024 + 200)) X
status 3 nbdimage check --json bad.vhdx
value 1 .counts.damage

# The chain: a parent that is not there, and one that is damaged.
mkdir alone
cp child.vhd alone
status 1 nbdimage check --json alone/child.vhd
value unexamined .verdict
value parent '.findings[0].kind'
status 0 nbdimage check --parent-path=. --json alone/child.vhd
value 2 .files
cp dyn.vhd good
poke dyn.vhd 100 X
status 3 nbdimage check --json child.vhd
value vhd-footer-copy '.findings[0].kind'
value true '.findings[0].file | endswith ("dyn.vhd")'
value false '.findings[0].repairable'
mv good dyn.vhd

# Cut off.
cp dyn.vhd bad.vhd
truncate -s 4M bad.vhd
status 3 nbdimage check bad.vhd
if [ "$(type -t xorriso)" ]; then
    mkdir tree
    head -c 1M /dev/zero >tree/file
    xorriso -as mkisofs -quiet -o disc.iso tree
    status 0 nbdimage check --data disc.iso
    truncate -s 600K disc.iso
    status 3 nbdimage check --json disc.iso
    value iso-cut '.findings[0].kind'
fi

# A footer that is lost leaves nothing to go by but the name.
cp fixed.vhd bad.vhd
truncate -s -512 bad.vhd
status 3 nbdimage check bad.vhd
contains out "its name ends in .vhd"

# What somebody writes to can't be examined; what somebody reads can.
start_nbdkit image dyn.vhd
mkfifo commands
qemu-io -f raw "$uri" <commands >qemu-io.log &
client=$!
cleanup_fn stop_pid "$client"
exec 9>commands
echo "write -P 3 0 512" >&9
for ((i = 0; i < 100; i++)); do
    ! grep -q wrote qemu-io.log || break
    sleep 0.1
done
status 1 nbdimage check dyn.vhd
contains err "is being written by another process"
exec 9>&-
wait "$client" || :
stop_nbdkit
start_nbdkit -r image dyn.vhd
qemu-io -r -f raw -c 'read -P 3 0 512' "$uri"
status 0 nbdimage check dyn.vhd

# A base that was changed since is noted, also if it was made in a second: the
# time in its footer is then the one that its child has.
truncate -s 2M base.raw
hours=0
for above in over.vhd over.vhdx; do
    for base in base.raw base-fast.vhd; do
        rm -f "$above" base-fast.vhd
        nbdimage convert base.raw base-fast.vhd
        created=$(nbdimage info --json base-fast.vhd | jq -r .created)
        touch -d "$created" base-fast.vhd
        nbdkit -U - image "$base" overlay="$above" --run \
            'qemu-io -f raw -c "write -P 3 0 64k" "$uri"'
        status 0 nbdimage check --json "$above"
        value 0 .counts.note
        # Another one each time: it is compared in seconds.
        touch -d "$((++hours)) hours" "$base"
        status 0 nbdimage check --json "$above"
        value whole .verdict
        value 1 .counts.note
        value "$above" '.findings[0].file'
        contains out 'another time'
        nbdimage info "$above" >/dev/null 2>err
        contains err 'another time'
    done
done

# What is no image, and wrong usage.
status 1 nbdimage check nothing.vhd
status 2 nbdimage check
status 2 nbdimage check a b
status 2 nbdimage check --format=qcow2 dyn.vhd
qemu-img create -q -f qcow2 x.qcow2 1M
status 1 nbdimage check x.qcow2
