#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# resize: the disk has the size that was asked for, to us and to other
# programs, and all bytes that it had; what may be needed is not cut off.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires qemu-img
requires qemu-io
requires vhdiinfo
requires sgdisk
requires sfdisk
cd "$tmp"

dump=$abs_top_builddir/tests/support/image-dump
peers=$abs_top_srcdir/tests/peers

# bytes FILE OUT: the disk in it
bytes ()
{
    rm -f "$2"
    nbdkit -r -U - image "$1" --run "nbdcopy \"\$uri\" $2"
}

# resized FILE SIZE: the disk in FILE has that size, for everybody, begins as
# `before' does, and goes on with zeros.
resized ()
{
    local old
    old=$(stat -c %s before)
    same "size" "$(nbdimage info --json "$1" | jq .size)" "$2"
    [ -z "$(nbdimage info "$1" 2>&1 >/dev/null)" ] || fail "there are warnings"
    case $1 in
        *.vhd)
            same "size for qemu" "$(qemu-img info -f vpc --output=json "$1" |
                                        jq '."virtual-size"')" "$2"
            vhdiinfo "$1" >theirs
            contains theirs "($2 bytes)"
            ;;
    esac
    bytes "$1" after
    if [ "$2" -ge "$old" ]; then
        cmp -n "$old" before after
        truncate -s "$2" before
    else
        truncate -s "$2" before
    fi
    same_bytes before after
    # Not of a child: qemu does not know parents.
    case $1 in
        child*) ;;
        *.vhd) qemu-img convert -f vpc -O raw "$1" theirs.img
               same_bytes before theirs.img ;;
    esac
}

# fill FILE FORMAT: with something, here and there
fill ()
{
    qemu-io -f "$2" -c 'write -P 1 0 1M' -c 'write -P 2 5M 300k' \
        -c 'write -P 3 19M 512k' "$1"
    bytes "$1" before
}

# Grown and shrunk, made by us and by qemu, of which each size in cylinders was
# the disk's before.
nbdimage create dynamic.vhd 20M
nbdimage create --block-size=512K small-blocks.vhd 20M
nbdimage create --fixed fixed.vhd 20M
nbdimage create -f raw raw.img 20M
qemu-img create -q -f vpc qemu.vhd 20M
qemu-img create -q -f vpc -o subformat=fixed qemu-fixed.vhd 20M
for file in dynamic.vhd small-blocks.vhd fixed.vhd raw.img qemu.vhd \
            qemu-fixed.vhd; do
    case $file in *.vhd) format=vpc ;; *) format=raw ;; esac
    fill "$file" "$format"
    nbdimage resize "$file" 100M >out
    contains out "becomes 100 MiB (104857600 bytes)"
    resized "$file" $((100 << 20))
    nbdimage resize "$file" +512 --json >out
    same "json" "$(jq -c . out)" "$(jq -nc --arg n "$file" '{name: $n,
        "old-size": 104857600, size: 104858112, changed: true, advice: null}')"
    resized "$file" $(((100 << 20) + 512))
    nbdimage resize --azure "$file" +1
    resized "$file" $((101 << 20))
    nbdimage resize -y "$file" -81M
    resized "$file" $((20 << 20))
    refuses nbdimage resize -y "$file" 19M
    contains "$tmp/refused" 'there is something at offset 19922944'
    resized "$file" $((20 << 20))
    # Nothing to do.
    before=$(stat -c %Y,%s,%Z "$file")
    nbdimage resize "$file" 20M 2>err
    contains err 'has this size already'
    same "$file" "$(stat -c %Y,%s,%Z "$file")" "$before"
done
same "Azure's file" "$(stat -c %s fixed.vhd)" $(((20 << 20) + 512))

# So large that the table of blocks grows over the blocks, and back.
nbdimage create large.vhd 4G
qemu-io -f vpc -c 'write -P 1 0 1M' -c 'write -P 2 4M 3M' large.vhd
nbdimage info --map --json large.vhd | jq -c .map >map
nbdimage resize large.vhd 2040G >out
contains out 'move, to make room'
same "size" "$(nbdimage info --json large.vhd | jq .size)" $((2040 << 30))
same "for qemu" "$(qemu-img info -f vpc --output=json large.vhd |
                       jq '."virtual-size"')" $((2040 << 30))
qemu-io -f vpc -r -c 'read -P 1 0 1M' -c 'read -P 0 1M 3M' \
    -c 'read -P 2 4M 3M' -c 'read -P 0 2039G 2M' large.vhd >out
[ "$(grep -c failed out)" = 0 ] || fail "qemu reads something else"
# Written at the end, by qemu, and read by us.
qemu-io -f vpc -c 'write -P 9 2039G 64k' large.vhd
nbdkit -r -U - image large.vhd --run 'qemu-io -r -f raw \
    -c "read -P 9 2039G 64k" -c "read -P 1 0 1M" "$uri"' >out
[ "$(grep -c failed out)" = 0 ] || fail "we read something else than qemu"
refuses nbdimage resize -y large.vhd 4G
contains "$tmp/refused" "there is something at offset $((2039 << 30))"
qemu-io -f vpc -c 'write -P 0 2039G 64k' large.vhd
nbdimage resize -y large.vhd 4G
nbdimage info --map --json large.vhd | jq -c .map | diff map -
[ "$(stat -c %s large.vhd)" -lt $((16 << 20)) ] || fail "the file is large"
refuses nbdimage resize large.vhd 2041G
contains "$tmp/refused" 'the largest VHD that grows is of 2040 GiB'

# Differencing: as libvhdi has it, too.
nbdimage create parent.vhd 20M
fill parent.vhd vpc
nbdimage create --parent=parent.vhd --block-size=512K child.vhd >out
# So large that the table grows over the locators.
nbdimage resize child.vhd 300M 2>err
nbdimage info child.vhd 2>err
contains err 'its parent ./parent.vhd one of'
bytes child.vhd after
truncate -s 300M before
same_bytes before after
vhdiinfo child.vhd >theirs
contains theirs "($((300 << 20)) bytes)"
contains theirs parent.vhd
# libvhdi can't read behind the end of a parent.
nbdimage resize -y child.vhd 20M 2>err
truncate -s 20M before
bytes child.vhd after
same_bytes before after
[ -z "$(nbdimage info child.vhd 2>&1 >/dev/null)" ] || fail "there are warnings"
PYTHONPATH=$peers python3 - <<'END' || fail "libvhdi reads something else"
import libvhdi
if libvhdi.available():
    assert libvhdi.read(["child.vhd", "parent.vhd"]) == \
        open("before", "rb").read()
END
nbdimage resize -n parent.vhd 50M 2>err
contains err 'child.vhd is differencing over this disk'
# Growing, too, is not for --yes to agree to.
cp parent.vhd kept.vhd
refuses nbdimage resize --yes parent.vhd 50M
contains "$tmp/refused" '--force does it although'
cmp parent.vhd kept.vhd
nbdimage resize --force parent.vhd 50M 2>err
contains err 'child.vhd is differencing over this disk'
nbdimage info --json parent.vhd >out
contains out '52428800'

# VHDX, made by us and by qemu; qemu and we read and write what comes out.
nbdimage create ours.vhdx 20M
qemu-img create -q -f vhdx -o block_size=1M theirs.vhdx 20M
nbdimage create --fixed fixed.vhdx 20M
for file in ours.vhdx theirs.vhdx fixed.vhdx; do
    qemu-io -f vhdx -c 'write -P 1 0 3M' -c 'write -P 2 18M 2M' "$file"
    bytes "$file" before
    for size in 31M 9M 20M; do
        bytes=$(numfmt --from=iec "$size")
        if [ "$size" = 9M ]; then
            refuses nbdimage resize --shrink -y "$file" 9M
            contains "$tmp/refused" "there is something at offset $((18 << 20))"
            qemu-io -f vhdx -c 'write -P 0 18M 2M' "$file"
        fi
        nbdimage resize -y "$file" "$size"
        truncate -s "$bytes" before
        same "size" "$(nbdimage info --json "$file" | jq .size)" "$bytes"
        same "size for qemu" \
            "$(qemu-img info -f vhdx --output=json "$file" |
                   jq '."virtual-size"')" "$bytes"
        bytes "$file" after
        same_bytes before after
        qemu-img check -q -f vhdx "$file"
        qemu-img compare -f vhdx -F raw "$file" before
        nbdimage check "$file"
    done
    qemu-io -f vhdx -c 'write -P 7 10M 1M' "$file"
    nbdkit -r -U - image "$file" --run \
        'qemu-io -r -f raw -c "read -P 7 10M 1M" "$uri"'
done
# So large that the table of blocks moves: for a fixed one, too.
for file in ours.vhdx fixed.vhdx; do
    nbdimage resize "$file" 5T
    qemu-img info -f vhdx --output=json "$file" | jq -e \
        '."virtual-size" == 5497558138880'
    qemu-io -f vhdx -c 'read -P 1 0 3M' -c 'read -P 0 18M 1M' \
        -c 'write -P 5 5000G 64k' "$file" >out
    [ "$(grep -c failed out)" = 0 ] || fail "qemu reads something else"
    nbdkit -r -U - image "$file" --run 'qemu-io -r -f raw \
        -c "read -P 5 5000G 64k" -c "read -P 1 0 3M" "$uri"' >out
    [ "$(grep -c failed out)" = 0 ] || fail "we read something else"
    nbdimage check "$file"
    refuses nbdimage resize -y "$file" 20M
    contains "$tmp/refused" "there is something at offset $((5000 << 30))"
done
rm fixed.vhdx
refuses nbdimage resize ours.vhdx 65T
contains "$tmp/refused" 'the largest VHDX is of 64 TiB'

# A partition table.
nbdimage create -f raw gpt.img 64M
sfdisk -q gpt.img <<'END'
label: gpt
size=20M
size=8M
END
nbdimage create --fixed gpt.vhd 64M
dd if=gpt.img of=gpt.vhd conv=notrunc status=none
refuses nbdimage resize -y gpt.vhd 20M
contains "$tmp/refused" 'partition 1 ends at offset 22020096'
refuses nbdimage resize -y --shrink gpt.vhd 25M
contains "$tmp/refused" 'partition 2 ends at offset'
refuses nbdimage resize -y gpt.vhd 40M
contains "$tmp/refused" 'the second copy of its GPT'
nbdimage resize -y --shrink gpt.vhd 40M >out
contains out 'until sgdisk -e writes it anew'
refuses nbdimage resize -y --shrink gpt.vhd 20M
contains "$tmp/refused" "where its partitions are can't be known"
bytes gpt.vhd after
same "size" "$(stat -c %s after)" $((40 << 20))
sgdisk -e after
sgdisk -v after | grep 'No problems found'
dd if=after of=gpt.vhd conv=notrunc status=none
same "partitions" "$(nbdimage info --json gpt.vhd | jq '.partitions.entries | length')" 2
nbdimage resize gpt.vhd 80M >out
contains out 'sgdisk -e moves it to the new end'
bytes gpt.vhd after
sgdisk -e after
sgdisk -v after | grep 'No problems found'
# Something in the free space.
qemu-io -f raw -c 'write -P 7 50M 4k' gpt.img
refuses nbdimage resize -y gpt.img 40M
contains "$tmp/refused" 'there is something at offset 52428800, behind the last'
nbdimage resize -y --shrink gpt.img 40M >out
contains out 'Lost'
same "size" "$(stat -c %s gpt.img)" $((40 << 20))
# MBR, and a file system without a table.
sfdisk -q --wipe=always gpt.img <<<'label: dos
start=2048, size=20M'
refuses nbdimage resize -y --shrink gpt.img 20M
nbdimage resize gpt.img 50M >out
contains out 'Partitions and file systems keep their sizes'
requires mkfs.ext4
truncate -s 64M fs.img
mkfs.ext4 -q fs.img 32M
refuses nbdimage resize -y fs.img 40M
contains "$tmp/refused" 'the disk is a file system (ext4)'
nbdimage resize -y --shrink fs.img 40M
same "size" "$(stat -c %s fs.img)" $((40 << 20))

# Nothing is changed unasked, nor while somebody uses it.
cp dynamic.vhd same.vhd
nbdimage resize --dry-run dynamic.vhd 1G >out
contains out 'becomes 1 GiB'
same "json" "$(nbdimage resize -n --json dynamic.vhd 1G | jq .changed)" false
refuses nbdimage resize dynamic.vhd 19M+
refuses nbdimage resize dynamic.vhd -5G
contains "$tmp/refused" 'has only'
refuses nbdimage resize raw.img -1M </dev/null
nbdimage resize raw.img +1M
refuses nbdimage resize raw.img -1M </dev/null
contains "$tmp/refused" '--yes confirms it'
same_bytes dynamic.vhd same.vhd
start_nbdkit image dynamic.vhd
# A client that stays until it is told to go.
mkfifo commands
stdbuf -oL qemu-io -f raw "$uri" <commands >answers &
client=$!
exec 3>commands
echo 'read 0 512' >&3
for ((i = 0; i < 600; i++)); do
    ! grep -q 'read 512/512' answers || break
    sleep 0.1
done
contains answers 'read 512/512'
refuses nbdimage resize dynamic.vhd 50M
contains "$tmp/refused" 'dynamic.vhd'
same_bytes dynamic.vhd same.vhd
exec 3>&-
wait "$client"
stop_nbdkit
refuses nbdimage resize nbd://localhost/x 1G
contains "$tmp/refused" 'only files can be changed'
refuses nbdimage resize none.vhd 1G

