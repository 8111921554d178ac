#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# backup --partition: what is chosen is there, with table and gaps; what is not
# is an error, and never zeros, however it is asked for; restore puts back what
# is there.  And several disks in one call.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires sfdisk
requires mke2fs
requires nbdcopy
requires qemu-img
requires qemu-io
cd "$tmp"

# Three partitions, and bytes in the gaps: behind the table, where boot loaders
# lie, and between the second and the third.
truncate -s 64M disk.img
sfdisk -q disk.img <<'SFDISK'
label: gpt
start=2048, size=32768
start=36864, size=32768
start=71680, size=32768
SFDISK
for start in 2048 36864 71680; do
    mke2fs -q -t ext4 -E offset=$((start * 512)) disk.img 16M
done
head -c 1M /dev/urandom >random
# put SECTOR BYTES
put ()
{
    dd if=random of=disk.img bs=512 seek="$1" count=$(($2 / 512)) \
        conv=notrunc status=none
}
put 40 512
put 2000 4096
put 70000 8192
# Each partition has something that only a whole copy has.
put 60000 65536

# part IMAGE OUT FIRST END: sectors, as any client gets them
part ()
{
    rm -f "$2"
    nbdkit -r -U - --filter=offset image "$1" offset=$(($3 * 512)) \
        range=$((($4 - $3) * 512)) --run "nbdcopy \"\$uri\" $2"
}

# fails_at IMAGE SECTOR: reading it is an error
fails_at ()
{
    nbdkit -r -U - image "$1" \
        --run "qemu-io -r -f raw -c 'read $(($2 * 512)) 512' \"\$uri\"" \
        >io 2>&1 || :
    contains io 'Input/output error'
}

same_part ()
{
    part "$1" got "$2" "$3"
    cmp -n $((($3 - $2) * 512)) --ignore-initial=0:$(($2 * 512)) got disk.img
}

# --- what is there

nbdimage backup --everything --partition 1,3 --single=some.nbi --json \
    disk.img >report
same "partitions" \
    "$(jq -c '[.partitions[] | [.number, .saved]]' report)" \
    '[[1,"all"],[2,"none"],[3,"all"]]'
same "fs that was left out" "$(jq -r '.partitions[1].fs' report)" ext4
same_part some.nbi 0 36864
same_part some.nbi 69632 131072

# The same, one by one.
nbdimage backup --everything --partition 3 --partition=1 --single=two.nbi \
    disk.img >out
contains out 'with partitions 1 and 3, without partition 2'
same "left out" "$(nbdimage info --json two.nbi |
    jq -r '.. | .absent? // empty' | head -1)" "partition 2"

# --- what is not

fails_at some.nbi 36864
fails_at some.nbi 60000
fails_at some.nbi 69631
fails_at some.nbi 50000
# (A client that ends at once may make nbdkit crash: docs/NBDKIT.md.)
! part some.nbi got 0 131072 || fail "a disk with a part missing was read"
refuses nbdimage convert some.nbi some.raw
contains "$tmp/refused" 'partition 2 was left out of it'
[ ! -e some.raw ]
# No client is told that it is a hole.
nbdkit -r -U - image some.nbi --run 'nbdinfo --map "$uri"' >map
if awk '$1 < 69632 * 512 && $1 + $2 > 36864 * 512 && $3 != 0' map | grep .
then
    fail "an absent range is said to be a hole or zeros"
fi
nbdimage info some.nbi >out
contains out 'partition 2'
nbdimage check some.nbi

# Chunks of 1 MiB have bytes of a neighbour: these are as they were.
nbdimage backup --everything --partition 2 --chunk-size=1M --single=one.nbi \
    disk.img
same_part one.nbi 36864 69632
same_part one.nbi 69632 71680
fails_at one.nbi 4096

# --- only what file systems use, and in a vault

nbdimage backup --init --partition 2 --name=d disk.img vault
part vault/d got 36864 69632
e2fsck -fn got
fails_at vault/d 71680
nbdimage generations --json vault >list
same "absent" "$(jq -c '.[0].absent' list)" '[1,3]'
nbdimage generations vault >out
contains out 'without partitions 1 and 3'

# The next one may have others: what it has is all there.
nbdimage backup --everything --name=d disk.img vault
same "absent" "$(nbdimage generations --json vault | jq -c '.[1].absent')" '[]'
rm -f got
nbdimage convert vault/d -O raw got
cmp got disk.img
first=$(jq -r '.[0].generation' list)
fails_at "vault/d@$first" 71680
refuses nbdimage diff "vault/d@$first" vault/d
second=$(nbdimage generations --json vault | jq -r '.[1].generation')
start_nbdkit image vault=vault
refuses nbdinfo --map "nbd+unix:///d@$first..$second?socket=${uri#*socket=}"
refuses nbdinfo --map "nbd+unix:///d@$second..$first?socket=${uri#*socket=}"
nbdinfo --map "nbd+unix:///d@$second..$second?socket=${uri#*socket=}"
stop_nbdkit
nbdimage verify vault

# A copy has what it had.
nbdimage copy "vault/d@$first" copied.nbi
fails_at copied.nbi 71680
part copied.nbi got 36864 69632
e2fsck -fn got

# --- restore

refuses nbdimage restore --yes some.nbi new.img
contains "$tmp/refused" 'partition 2 was left out of this backup'
contains "$tmp/refused" '--allow-absent'
[ ! -e new.img ]
refuses nbdimage restore --yes --partition 2 some.nbi new.img
contains "$tmp/refused" 'partition 2 was left out'
truncate -s 16M third.img
nbdimage restore --yes --partition 3 some.nbi third.img
cmp -n 16777216 --ignore-initial=0:$((71680 * 512)) third.img disk.img

# All but that: the table and the others are as they were.
nbdimage restore --yes --allow-absent some.nbi new.img >out
contains out 'not in the image'
cmp -n $((36864 * 512)) new.img disk.img
cmp -n $(((131072 - 69632) * 512)) --ignore-initial=$((69632 * 512)) \
    new.img disk.img
sfdisk -V new.img

# Partitions of it onto a disk that has others: those are left alone.
cp disk.img target.img
dd if=random of=target.img bs=512 seek=4096 count=100 conv=notrunc status=none
dd if=random of=target.img bs=512 seek=40000 count=100 conv=notrunc status=none
nbdimage restore --confirm "$(stat -c %s target.img)" --partition 1,3 \
    some.nbi target.img
cmp -n $((36864 * 512)) target.img disk.img
cmp -n 51200 --ignore-initial=0:$((40000 * 512)) random target.img

# --- refused

for n in 4 1,9; do
    refuses nbdimage backup --partition $n --single=no.nbi disk.img
    contains "$tmp/refused" 'there is no partition'
done
for n in '' 0 x 1, ,1 1-2 1,,2 -1; do
    status=0
    nbdimage backup --partition="$n" --single=no.nbi disk.img 2>err || status=$?
    same "status of ‘$n’" "$status" 2
done
truncate -s 8M plain.img
mke2fs -q -t ext4 plain.img
refuses nbdimage backup --partition 1 --single=no.nbi plain.img
contains "$tmp/refused" 'no partitions to choose from'
# Where no table can be read, it is not all of it either.
cp disk.img lost.img
for at in 512 $((64 * 1024 * 1024 - 512)); do
    head -c 512 random |
        dd of=lost.img bs=1 seek=$at conv=notrunc status=none
done
refuses nbdimage backup --partition 1 --single=no.nbi lost.img
# An MBR's extended partition is none, and two may overlap.
truncate -s 64M mbr.img
sfdisk -q mbr.img <<'SFDISK'
label: dos
start=2048, size=32768, type=83
start=36864, size=60000, type=5
start=40960, size=20480, type=83
SFDISK
refuses nbdimage backup --partition 2 --single=no.nbi mbr.img
contains "$tmp/refused" 'an extended one'
dd if=random of=mbr.img bs=512 seek=40960 count=1000 conv=notrunc status=none
nbdimage backup --partition 5 --single=logical.nbi mbr.img
part logical.nbi got 40960 61440
cmp -n $((20480 * 512)) --ignore-initial=0:$((40960 * 512)) got mbr.img
# The second table, which leads to it, is there.
part logical.nbi got 36864 36865
cmp -n 512 --ignore-initial=0:$((36864 * 512)) got mbr.img
printf '\x00\x90\x00\x00' |
    dd of=mbr.img bs=1 seek=$((446 + 8)) conv=notrunc status=none
refuses nbdimage backup --partition 5 --single=no.nbi mbr.img
contains "$tmp/refused" 'overlap'
[ ! -e no.nbi ]

# --- several disks at once

nbdimage backup --init --json disk.img plain.img many >report
same "disks" "$(jq -r '[.[].disk] | join (" ")' report)" 'disk plain'
same "generations" "$(nbdimage generations --json many | jq length)" 2
# One that fails does not keep the others from it.
status=0
nbdimage backup --json disk.img nothing.img plain.img many >report || status=$?
same "status" "$status" 1
same "results" "$(jq -c '[.[] | has ("error")]' report)" '[false,true,false]'
same "generations" "$(nbdimage generations --json many | jq length)" 4
# Two files of one name are not generations of one disk.
mkdir other
cp plain.img other/disk.img
status=0
nbdimage backup disk.img other/disk.img many 2>err || status=$?
same "status" "$status" 1
contains err 'with --name'
same "generations" "$(nbdimage generations --json many | jq length)" 5
for wrong in --name=x --partition=1 --single=no.nbi; do
    status=0
    nbdimage backup $wrong disk.img plain.img many 2>err || status=$?
    same "status of $wrong" "$status" 2
done

# - is standard output.
nbdimage backup --everything plain.img - | cat >piped.nbi
rm -f got
nbdimage convert piped.nbi -O raw got
cmp got plain.img
