#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# create: what it makes is what was asked for, to us and to other programs; it
# replaces nothing and leaves nothing half-made.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires qemu-img
requires vhdiinfo
cd "$tmp"

# fact FILE PATH EXPECTED: in info --json
fact ()
{
    same "$2 of $1" "$(nbdimage info --json "$1" | jq -r "$2")" "$3"
}

# their_size FORMAT FILE: in bytes, as qemu has it
their_size ()
{
    qemu-img info -f "$1" --output=json "$2" | jq '."virtual-size"'
}

# Exact sizes, for every reader.
for size in 512 1536 1048576 1048064 104857600 136899993600 2190433320960; do
    nbdimage create "d$size.vhd" "$size" >out
    [ ! -s out ] || fail "it printed something"
    fact "d$size.vhd" .size "$size"
    fact "d$size.vhd" .type dynamic
    same "size for qemu" "$(their_size vpc "d$size.vhd")" "$size"
    vhdiinfo "d$size.vhd" >theirs
    contains theirs Dynamic
    same "extents" "$(nbdimage info --map --json "d$size.vhd" |
                          jq -c '[.map[] | .kind] | unique')" '["hole"]'
done
contains theirs '(2190433320960 bytes)'

# A fixed one of any size, and what Azure takes.
nbdimage create --fixed f.vhd 1536
same "fixed file" "$(stat -c %s f.vhd)" 2048
same "size for qemu" "$(their_size vpc f.vhd)" 1536
fact f.vhd .type fixed
nbdimage create --fixed --preallocate p.vhd 1M
[ "$(stat -c %b p.vhd)" -ge 2048 ] || fail "the space is not taken"
if nbdimage create --fixed large.vhd 3T; then
    fact large.vhd .size $((3 << 40))
    vhdiinfo large.vhd | grep -F "($((3 << 40)) bytes)"
    rm large.vhd
else
    truncate -s 3T sparse && fail "it could have been made"
fi
nbdimage create --azure az.vhd 1048577 >out
contains out 'az.vhd: a disk of 2 MiB (2097152 bytes)'
same "Azure's file" "$(stat -c %s az.vhd)" $((2097152 + 512))

# A geometry: the size, and the numbers, of qemu.
for size in 512 1M 32M 100M 504M 1G 8G 31G 32G 100G 127G; do
    nbdimage create --json --geometry=chs chs.vhd "$size" >out
    qemu-img create -q -f vpc theirs.vhd "$size"
    same "size" "$(jq .size out)" "$(their_size vpc theirs.vhd)"
    fact chs.vhd .properties.geometry \
        "$(nbdimage info --json theirs.vhd | jq -r .properties.geometry)"
    rm chs.vhd theirs.vhd
done

# Raw.
nbdimage create -f raw r.img 1M
same "raw" "$(stat -c %s,%b r.img)" 1048576,0

# What other programs write into it is there.
nbdimage create --block-size=512K w.vhd 8M
head -c 3M /dev/urandom >data
qemu-io -f vpc -c "write -s data 1M 3M" w.vhd
nbdkit -r -U - image w.vhd --run 'nbdcopy "$uri" w.img'
cmp -i 1M:0 -n 3M w.img data
fact w.vhd .size 8388608

# Differencing: over any VHD, beside it, below it and elsewhere.
mkdir sub other
for parent in w.vhd f.vhd; do
    nbdimage create --parent "$parent" child.vhd >out
    size=$(nbdimage info --json "$parent" | jq .size)
    contains out "child.vhd: a disk of "
    fact child.vhd .size "$size"
    fact child.vhd .type differencing
    nbdkit -r -U - image "$parent" --run 'nbdcopy "$uri" parent.img'
    nbdkit -r -U - image child.vhd --run 'nbdcopy "$uri" child.img'
    cmp parent.img child.img
    vhdiinfo child.vhd >theirs
    contains theirs "$parent"
    rm child.vhd child.img
done
nbdimage create --parent w.vhd child.vhd 16M
fact child.vhd .size 16777216
nbdimage create --parent=sub/../child.vhd 'ä 𝄞.vhd'
fact 'ä 𝄞.vhd' '.chain | length' 3
nbdimage create --parent=child.vhd sub/grandchild.vhd 2>err
contains err 'sub/grandchild.vhd: the parent is not in the folder'
refuses nbdimage info sub/grandchild.vhd
contains "$tmp/refused" '../child.vhd'
nbdimage info --parent-path=. sub/grandchild.vhd
nbdimage create --parent="$tmp/sub/grandchild.vhd" --parent-path=. other/x.vhd
nbdimage info --parent-path=.:sub other/x.vhd
# Moved together, they find each other.
mkdir moved
mv child.vhd w.vhd 'ä 𝄞.vhd' moved
fact 'moved/ä 𝄞.vhd' '.chain | length' 3
# A name that Windows can't have is found by its URL.
mkdir odd
nbdimage create 'odd/a\b.vhd' 1M
nbdimage create --parent='odd/a\b.vhd' odd/c.vhd
fact odd/c.vhd '.chain | length' 2
# 64 files are the most.
nbdimage create chain1.vhd 1M
for ((i = 2; i <= 64; i++)); do
    nbdimage create --parent="chain$((i - 1)).vhd" "chain$i.vhd" >out
done
refuses nbdimage create --parent=chain64.vhd chain65.vhd
contains "$tmp/refused" 'has 64 files in its chain already'

# Refused, with nothing left behind.
refused ()
{
    local message=$1 want=2 status=0
    case $message in
        'exists already'|parent*|'its folder'*|'a file of'*|'is being written'*) want=1 ;;
    esac
    shift
    nbdimage create "$@" 2>"$tmp/refused" || status=$?
    same "exit status of create $*" "$status" "$want"
    contains "$tmp/refused" "$message"
    [ ! -e new ] || fail "there is a file"
}
refused 'exists already' f.vhd 1M
same "the file that was there" "$(stat -c %s f.vhd)" 2048
refused 'whole sectors of 512 bytes' new 1000
refused 'a disk of 0 bytes' new 0
refused 'the largest VHD that grows is of 2040 GiB' new 2041G
refused 'a geometry describes at most' --geometry=chs new 128G
refused 'expected 512K, 1M or 2M' --block-size=3M new 1G
refused 'expected 512K, 1M or 2M' --block-size=4M new 1G
refused 'a fixed VHD has no blocks' --fixed --block-size=2M new 1G
refused 'for fixed VHDs only' --preallocate new 1G
refused 'a fixed VHD can'\''t have a parent' --fixed --parent=f.vhd new
refused 'smaller (512 bytes) than that of its parent' --parent=f.vhd new 512
refused 'the parent of a differencing VHD is a VHD' --parent=r.img new
refused 'parent none.vhd: ' --parent=none.vhd new
refused 'a raw image can'\''t have a parent' -f raw --parent=f.vhd new
refused 'neither blocks nor' -f raw --block-size=2M new 1G
refused 'can'\''t be made' -f iso new 1G
refused 'expected a size' new
refused 'expected none or chs' --geometry=x new 1G
refused 'its folder can'\''t be opened' none/new 1G
refused 'a file of 9223372036854775808 bytes can'\''t be made' --fixed new 9223372036854775296
find . -name '*.partial' | grep . && fail "a partial file is left"

# A parent that somebody writes to is none.
start_nbdkit image f.vhd
mkfifo commands
stdbuf -oL qemu-io -f raw "$uri" <commands >written &
exec 9>commands
echo 'write 0 512' >&9
for ((i = 0; i < 300; i++)); do
    ! grep -q 'wrote [0-9]' written || break
    sleep 0.1
done
contains written 'wrote 512/512'
refused 'is being written by another process' --parent=f.vhd new
exec 9>&-
wait $!
# The server sees that the client left, and lets go.
for ((i = 0; i < 300; i++)); do
    ! nbdimage create --parent=f.vhd new || break
    sleep 0.1
done
[ -e new ] || fail "the parent is still being written"
stop_nbdkit

# The name says the format, if nothing else does.
for name in named.vhd:vhd named.vhdx:vhdx named.img:raw named.disk:vhd; do
    nbdimage create "${name%:*}" 8M
    same "format of ${name%:*}" \
        "$(nbdimage info --json "${name%:*}" | jq -r .format)" "${name#*:}"
done
refuses nbdimage create named.iso 8M
contains "$tmp/refused" "images of the format ‘iso’ can't be made"
[ ! -e named.iso ] || fail "a file that is no ISO is called one"
