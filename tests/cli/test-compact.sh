#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# compact: the file becomes as small as it can be, the disk stays, to us and to
# other programs; and whatever ends it in between.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires qemu-img
requires qemu-io
cd "$tmp"

peers=$abs_top_srcdir/tests/peers

# bytes FILE OUT: the disk in it
bytes ()
{
    rm -f "$2"
    nbdkit -r -U - image "$1" --run "nbdcopy \"\$uri\" $2"
}

# is_whole FILE: nothing is wrong with it, and no space lost
is_whole ()
{
    nbdimage check --json "$1" >report
    same "findings in $1" "$(jq '[.findings[] | select (.severity != "note")] |
                                 length' report)" 0
}

# Blocks of zeros in between, and at the end.
scatter ()
{
    local args=() i
    for ((i = 0; i < 30; i++)); do
        args+=(-c "write -P $((i % 3 ? i + 1 : 0)) $((i * 2))M 2M")
    done
    qemu-io -f vpc "${args[@]}" "$1" >io.log
}

nbdimage create ours.vhd 80M
qemu-img create -q -f vpc -o force_size=on qemu.vhd 80M
for file in ours.vhd qemu.vhd; do
    scatter "$file"
    bytes "$file" before
    old=$(stat -c %s "$file")
    nbdimage compact -n "$file" >out
    contains out '20 MiB of 60 MiB are zeros and are dropped'
    contains out "($old bytes) becomes"
    same "file size" "$(stat -c %s "$file")" "$old"
    refuses nbdimage compact "$file" </dev/null
    contains "$tmp/refused" '--yes confirms it'
    same "file size" "$(stat -c %s "$file")" "$old"
    nbdimage compact --yes --json "$file" >out
    new=$(stat -c %s "$file")
    same "json" "$(jq -c '[.name, ."old-file-size", ."file-size", .dropped,
                           .changed]' out)" \
        "[\"$file\",$old,$new,20971520,true]"
    # 20 blocks, with a bitmap and its padding each, and what is in front.
    [ "$new" -le $((20 * (2097152 + 4096) + 8192)) ] || fail "it is large: $new"
    [ "$new" -lt $((old - 20000000)) ] || fail "it is large: $new"
    bytes "$file" after
    same_bytes before after
    qemu-img convert -f vpc -O raw "$file" theirs
    same_bytes before theirs
    is_whole "$file"
    nbdimage compact "$file" 2>err
    contains err 'nothing that it could do without'
    same "file size" "$(stat -c %s "$file")" "$new"
done

# Trimmed, and what is written afterwards.
nbdimage create t.vhd 80M
scatter t.vhd
qemu-io -f vpc -c 'write -P 0 10M 30M' t.vhd
nbdimage compact -y t.vhd
start_nbdkit image t.vhd
qemu-io -f raw -c 'write -P 77 10M 10M' "$uri"
stop_nbdkit
bytes t.vhd after
qemu-img convert -f vpc -O raw t.vhd theirs
same_bytes after theirs
mv after before
nbdimage compact -y t.vhd
is_whole t.vhd
bytes t.vhd after
same_bytes before after

# Differencing: zeros over the parent's data stay.
nbdimage create parent.vhd 20M
qemu-io -f vpc -c 'write -P 1 0 4M' parent.vhd
nbdimage create --parent=parent.vhd child.vhd >out
cat >fill.py <<'END'
# Blocks of zeros with all bits, as Windows writes them: 0 over data, 5 over
# nothing; and data in 7.
import struct
f = open("child.vhd", "r+b")
data = f.read()
footer = data[-512:]
table = struct.unpack(">Q", data[512 + 16:512 + 24])[0]
end = len(data) - 512
for index, byte in (5, 0), (0, 0), (7, 9):
    f.seek(end)
    f.write(b"\xff" * 512 + bytes([byte]) * 2097152)
    f.seek(table + 4 * index)
    f.write(struct.pack(">I", end // 512))
    end += 2097152 + 4096
f.seek(end)
f.write(footer)
END
python3 fill.py
bytes child.vhd before
cp child.vhd again.vhd
nbdimage compact -y child.vhd >out
contains out '2 MiB of 6 MiB are zeros and are dropped'
bytes child.vhd after
same_bytes before after
is_whole child.vhd
PYTHONPATH=$peers python3 - <<'END' || fail "libvhdi reads something else"
import libvhdi
if libvhdi.available():
    assert libvhdi.read(["child.vhd", "parent.vhd"]) == \
        open("before", "rb").read()
END

# Killed, or interrupted, at any moment; then again.
for ((i = 0; i < 8; i++)); do
    nbdimage create "k$i.vhd" 80M
    scatter "k$i.vhd"
    [ "$i" -gt 0 ] || bytes k0.vhd before
    signal=$((i % 2 ? 9 : 2))
    status=0
    nbdimage compact -y "k$i.vhd" >out 2>err &
    sleep "0.0$((i * i))"
    kill "-$signal" $! 2>/dev/null || true
    wait $! || status=$?
    case $status in
        0|1|137) ;;
        130) ;;                 # before anything was begun
        *) fail "it ended with $status" ;;
    esac
    bytes "k$i.vhd" after
    same_bytes before after
    nbdimage compact -y "k$i.vhd"
    bytes "k$i.vhd" after
    same_bytes before after
    is_whole "k$i.vhd"
    rm "k$i.vhd"
done

# VHDX, of ours and of others.
# vhdx_is FILE RAW: others find nothing wrong with it, and read the same
vhdx_is ()
{
    is_whole "$1"
    qemu-img check -q -f vhdx "$1"
    bytes "$1" after
    same_bytes "$2" after
    qemu-img compare -q -f vhdx -F raw "$1" "$2"
}

nbdimage create ours.vhdx 80M
qemu-img create -q -f vhdx -o block_size=1M qemu.vhdx 80M
for file in ours.vhdx qemu.vhdx; do
    args=()
    for ((i = 0; i < 30; i++)); do
        args+=(-c "write -P $((i + 1)) $((i * 2))M 2M")
    done
    qemu-io -f vhdx "${args[@]}" "$file" >io.log
    args=(-c "write -P 0 0 32M")
    for ((i = 18; i < 30; i += 3)); do
        args+=(-c "write -P 0 $((i * 2))M 2M")
    done
    qemu-io -f vhdx "${args[@]}" "$file" >io.log
    bytes "$file" before
    cp "$file" "again-$file"
    old=$(stat -c %s "$file")
    nbdimage compact -n "$file" >out
    contains out "($old bytes) becomes"
    same "file size" "$(stat -c %s "$file")" "$old"
    nbdimage compact --yes --json "$file" >out
    new=$(stat -c %s "$file")
    same "json" "$(jq -c '[."old-file-size", ."file-size", .changed]' out)" \
        "[$old,$new,true]"
    [ "$new" -le $((old - (32 << 20))) ] || fail "it is large: $new"
    vhdx_is "$file" before
    nbdimage compact "$file" 2>err
    contains err 'nothing that it could do without'
    same "file size" "$(stat -c %s "$file")" "$new"
done
# Of blocks of 1 MiB, 20; and what is in front.
[ "$new" -le $((28 << 20)) ] || fail "it is large: $new"

# Killed, or interrupted, at any moment; then again.
bytes again-qemu.vhdx before
for ((i = 0; i < 6; i++)); do
    cp again-qemu.vhdx k.vhdx
    status=0
    nbdimage compact -y k.vhdx >out 2>err &
    sleep "0.0$((i * i))"
    kill "-$((i % 2 ? 9 : 2))" $! 2>/dev/null || true
    wait $! || status=$?
    case $status in
        0|1|130|137) ;;
        *) fail "it ended with $status" ;;
    esac
    bytes k.vhdx after
    same_bytes before after
    nbdimage compact -y k.vhdx
    vhdx_is k.vhdx before
done

# Not for these.
nbdimage create --fixed f.vhd 1M
refuses nbdimage compact -y f.vhd
contains "$tmp/refused" 'a fixed VHD has no blocks'
nbdimage create --fixed f.vhdx 1M
refuses nbdimage compact -y f.vhdx
contains "$tmp/refused" 'a fixed VHDX has no blocks'
nbdimage create -f raw r.img 1M
refuses nbdimage compact -y r.img
contains "$tmp/refused" "can't be compacted"

# ------------------------------------------------------------- free space

# Two file systems that had more files once than they have now, and a
# partition of which nobody knows what is in it.
requires mke2fs
requires debugfs
requires e2fsck
requires mkfs.vfat
requires mcopy
requires sfdisk

head -c 20M /dev/urandom >large
mkdir tree
head -c 3M /dev/urandom >tree/kept
cp large tree/gone
mke2fs -q -t ext4 -d tree ext.img 60M
debugfs -w -R 'rm gone' ext.img 2>/dev/null
truncate -s 40M fat.img
mkfs.vfat -F 32 fat.img >/dev/null
mcopy -i fat.img tree/kept large ::
mdel -i fat.img ::large
truncate -s 120M free.raw
sfdisk -q free.raw <<'END'
label: dos
start=2048, size=122880, type=83
start=124928, size=81920, type=c
start=206848, size=20480, type=83
END
dd if=ext.img of=free.raw bs=1M seek=1 conv=notrunc,sparse status=none
dd if=fat.img of=free.raw bs=1M seek=61 conv=notrunc,sparse status=none
dd if=large of=free.raw bs=1M count=10 seek=101 conv=notrunc status=none
nbdimage convert -O vhd free.raw free.vhd
qemu-img convert -f raw -O vhdx -o block_size=1M free.raw free.vhdx
old=$(stat -c %s free.vhd)
nbdimage compact --free --yes --json free.vhd >out 2>err
contains err 'partition 3 is kept as a whole'
refuses grep 'partition [12] is kept' err
freed=$(jq .free out)
[ "$freed" -ge $((30 << 20)) ] || fail "only $freed bytes were free"
[ $((old - $(stat -c %s free.vhd))) -ge "$freed" ] ||
    fail "the file is not so much smaller"
bytes free.vhd after
is_whole free.vhd
part ()
{
    dd if=after of="$3" bs=1M skip="$1" count="$2" status=none
}
part 1 60 ext.after
e2fsck -fn ext.after
debugfs -R 'dump kept kept.ext' ext.after 2>/dev/null
same_bytes kept.ext tree/kept
part 61 40 fat.after
fsck.fat -n fat.after
mcopy -i fat.after ::kept kept.fat
same_bytes kept.fat tree/kept
part 101 10 third.after
cmp -n $((10 << 20)) third.after large
cmp -n $((1 << 20)) after free.raw
nbdimage compact --free --yes --json free.vhd >out 2>err
same "once more" "$(jq .changed out)" false

# The same of a VHDX.
old=$(stat -c %s free.vhdx)
nbdimage compact --free --yes --json free.vhdx >out 2>err
freed=$(jq .free out)
[ "$freed" -ge $((30 << 20)) ] || fail "only $freed bytes were free"
[ $((old - $(stat -c %s free.vhdx))) -ge "$freed" ] ||
    fail "the file is not so much smaller"
bytes free.vhdx after
cmp -n $((1 << 20)) after free.raw
part 1 60 ext.after
e2fsck -fn ext.after
debugfs -R 'dump kept kept.ext' ext.after 2>/dev/null
same_bytes kept.ext tree/kept
qemu-img check -q -f vhdx free.vhdx

# What is free here may be what a child needs: without --free nothing changes
# for it, with it --yes is not enough.
dd if=ext.img of=free.raw bs=1M seek=1 conv=notrunc status=none
for type in vhd vhdx; do
    case $type in
        vhd) nbdimage convert -O vhd free.raw below.vhd ;;
        vhdx) qemu-img convert -f raw -O vhdx -o block_size=1M free.raw \
                       below.vhdx ;;
    esac
    nbdimage create "above.$type" --parent "below.$type"
    bytes "above.$type" before
    nbdimage compact --yes "below.$type" 2>err
    refuses grep -q child err
    refuses nbdimage compact --free --yes "below.$type"
    contains "$tmp/refused" "above.$type is differencing over this disk"
    contains "$tmp/refused" '--force does it although'
    rm -f after
    bytes "above.$type" after
    same_bytes before after
    nbdimage compact --free --dry-run "below.$type" >out 2>err
    contains err "above.$type is differencing over this disk"
    nbdimage compact --free --yes --force "below.$type" >out 2>err
    contains out 'Saved'
done

# A file system that was not unmounted is kept.
debugfs -w -R 'set_super_value state 0' ext.img 2>/dev/null
dd if=ext.img of=free.raw bs=1M seek=1 conv=notrunc status=none
nbdimage convert -O vhd free.raw dirty.vhd
nbdimage compact --free --dry-run dirty.vhd >out 2>err
contains err 'partition 1 is kept as a whole'
