#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# create --format=vhdx: what it makes is what was asked for, to us, to QEMU and
# to libvhdi; what can't be made is refused, with nothing left behind.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires qemu-img
requires qemu-io --version
requires vhdiinfo
cd "$tmp"

# fact FILE PATH EXPECTED: in info --json
fact ()
{
    same "$2 of $1" "$(nbdimage info --json "$1" | jq -r "$2")" "$3"
}

# agree FILE SIZE TYPE BLOCK_SIZE: to everyone
agree ()
{
    fact "$1" .size "$2"
    fact "$1" .type "${3,}"
    fact "$1" '.["allocation-size"]' "$4"
    qemu-img check -f vhdx "$1" >check
    contains check 'No errors were found'
    qemu-img info -f vhdx --output=json "$1" >theirs
    same "size for qemu" "$(jq '."virtual-size"' theirs)" "$2"
    same "blocks for qemu" "$(jq '."cluster-size"' theirs)" "$4"
    vhdiinfo "$1" >theirs
    contains theirs "Disk type		: $3"
    contains theirs "$2 bytes)"
    same "identity" "$(sed -n 's/.*Identifier\s*: //p' theirs)" \
        "$(nbdimage info --json "$1" | jq -r '.properties."data-id"')"
}

mib=$((1 << 20))

# Sizes and blocks.
for size in 1048576 104857600 2199023255040 $((64 << 40)); do
    nbdimage create -f vhdx --block-size=256M d.vhdx "$size" >out
    [ ! -s out ] || fail "it printed something"
    agree d.vhdx "$size" Dynamic $((256 * mib))
    same "extents" "$(nbdimage info --map --json d.vhdx |
                          jq -c '[.map[] | .kind] | unique')" '["hole"]'
    rm d.vhdx
done
nbdimage create -f vhdx usual.vhdx 3G
agree usual.vhdx $((3 << 30)) Dynamic $((32 * mib))
same "the file" "$(stat -c %s usual.vhdx)" $((4 * mib))
# Its table of blocks of 32 MiB would have 16 MiB and something.
nbdimage create -f vhdx large.vhdx 64T
agree large.vhdx $((64 << 40)) Dynamic $((64 * mib))
nbdimage create -f vhdx --block-size=1M small.vhdx 64T
agree small.vhdx $((64 << 40)) Dynamic $mib

# Sectors; QEMU has none of 4096.
fact usual.vhdx '.properties."physical-sector-size"' 4096
nbdimage create -f vhdx --physical-sector-size=512 p.vhdx 1G
fact p.vhdx '.properties."physical-sector-size"' 512
nbdimage create -f vhdx --sector-size=4K k.vhdx 1G
vhdiinfo k.vhdx | grep -F '4096 bytes'
fact k.vhdx .size $((1 << 30))

# A fixed one has all of its blocks, the last one whole; a chunk of them is
# 4 GiB.
nbdimage create -f vhdx --fixed --block-size=1M f.vhdx 4295M
agree f.vhdx $((4295 * mib)) Fixed $mib
same "the file" "$(stat -c %s f.vhdx)" $((4299 * mib))
nbdimage create -f vhdx --fixed --preallocate --block-size=2M g.vhdx 3145728
agree g.vhdx $((3 * mib)) Fixed $((2 * mib))
[ "$(stat -c %b g.vhdx)" -ge $((8 * mib / 512)) ] ||
    fail "the space is not taken"

# What QEMU writes is there, and reads as zeros elsewhere.
for kind in '' --fixed; do
    nbdimage create -f vhdx $kind --block-size=1M w.vhdx 4300M
    head -c 3M /dev/urandom >data
    qemu-io -f vhdx -c "write -s data 1500000 3M" \
        -c "write -s data 4294000000 3M" w.vhdx
    truncate -s 4300M expected
    dd if=data of=expected bs=1M oflag=seek_bytes seek=1500000 conv=notrunc
    dd if=data of=expected bs=1M oflag=seek_bytes seek=4294000000 conv=notrunc
    nbdkit -r -U - image w.vhdx --run \
        'qemu-img compare -f raw -F raw "$uri" expected'
    qemu-img check -f vhdx w.vhdx
    rm w.vhdx expected
done

# Differencing: the names and the identity that Windows looks for.
mkdir sub
qemu-io -f vhdx -c "write -P 7 5M 1M" usual.vhdx
nbdimage create -f vhdx --parent usual.vhdx child.vhdx >out
contains out 'child.vhdx: a disk of 3 GiB'
fact child.vhdx .type differencing
fact child.vhdx '.["allocation-size"]' $((2 * mib))
fact child.vhdx '.properties."disk-id"' \
    "$(nbdimage info --json usual.vhdx | jq -r '.properties."disk-id"')"
fact child.vhdx '.chain | length' 2
vhdiinfo child.vhdx >theirs
contains theirs 'Disk type		: Differential'
contains theirs "\\usual.vhdx"
same "the parent" "$(sed -n 's/.*Parent identifier\s*: //p' theirs)" \
    "$(nbdimage info --json usual.vhdx | jq -r '.properties."data-id"')"
tr -d '\0' <child.vhdx | grep -a -q 'parent_linkage{[0-9a-f-]*}relative_path\.\\usual.vhdxabsolute_win32_path\\'
nbdkit -r -U - image child.vhdx --run \
    'qemu-io -r -f raw -c "read -P 7 5M 1M" -c "read -P 0 6M 9M" "$uri"' >log
refuses grep -i -e failed -e error log
nbdimage create -f vhdx --parent child.vhdx sub/grandchild.vhdx 4G 2>err
contains err 'the parent is not in the folder'
refuses nbdimage info sub/grandchild.vhdx
nbdimage info --parent-path=. sub/grandchild.vhdx
nbdimage create -f vhdx --parent k.vhdx --block-size=1M k2.vhdx
fact k2.vhdx '.["allocation-size"]' $mib
vhdiinfo k2.vhdx | grep -F '4096 bytes'
# The parent was written to.
qemu-io -f vhdx -c "write 0 512" usual.vhdx
refuses nbdimage info child.vhdx
contains "$tmp/refused" 'identity of its data'

# Refused, with nothing left behind.
refused ()
{
    local message=$1 want=2 status=0
    case $message in
        'exists already'|parent*|'its folder'*|'a file of'*|'is being written'*) want=1 ;;
    esac
    shift
    nbdimage create -f vhdx "$@" 2>"$tmp/refused" || status=$?
    same "exit status of create $*" "$status" "$want"
    contains "$tmp/refused" "$message"
    [ ! -e new ] || fail "there is a file"
}
nbdimage create v.vhd 1M
nbdimage create -f raw r.img 1M
refused 'exists already' f.vhdx 1M
refused 'whole sectors of 512 bytes' new 1000
refused 'whole sectors of 4096 bytes' --sector-size=4K new 512
refused 'the largest VHDX is of 64 TiB' new 65T
refused 'expected 512 or 4096' --sector-size=1K new 1G
refused 'expected 512 or 4096' --physical-sector-size=8K new 1G
refused 'can'\''t be smaller than logical ones' --sector-size=4K \
    --physical-sector-size=512 new 1G
refused 'expected a power of 2 from 1M to 256M' --block-size=512K new 1G
refused 'expected a power of 2 from 1M to 256M' --block-size=3M new 1G
refused 'expected a power of 2 from 1M to 256M' --block-size=512M new 1G
refused 'that is too large' --sector-size=4G new 1G
refused 'for fixed VHDXs only' --preallocate new 1G
refused 'a VHDX has no geometry' --geometry=chs new 1G
refused 'a VHDX has no geometry' --azure new 1G
refused 'a fixed VHDX can'\''t have a parent' --fixed --parent=f.vhdx new
refused 'smaller (512 bytes) than that of its parent' --parent=f.vhdx new 512
refused 'the parent of a differencing VHDX is a VHDX' --parent=v.vhd new
refused 'those of the parent have 4096' --sector-size=512 --parent=k.vhdx new
refuses nbdimage create --sector-size=4K new 1G
contains "$tmp/refused" 'sectors of a VHD have 512 bytes'
refuses nbdimage create -f raw --sector-size=4K new 1G
contains "$tmp/refused" 'does not say what size'
find . -name '*.partial' | grep . && fail "a partial file is left"
true
