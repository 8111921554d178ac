#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# verify --source: what differs of a disk from what was saved, and nothing else,
# by a comparison of the bytes.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires python3
requires nbdkit --version
requires mkfs.ext4 -V
cd "$tmp"

seed=${SEED:-$RANDOM}
echo "SEED=$seed"
cat >make.py <<'PYTHON'
import random, sys
random.seed (int (sys.argv[1]))
disk = bytearray (9 * 1024 * 1024 + 1536)
for i in range (12):
    at = random.randrange (len (disk))
    data = random.randbytes (random.randrange (1, 400000))
    disk[at:at + len (data)] = data[:len (disk) - at]
open ("disk.img", "wb").write (disk)
before = bytes (disk)
for i in range (8):
    at = random.randrange (len (disk))
    data = random.randbytes (random.randrange (1, 90000))
    disk[at:at + len (data)] = data[:len (disk) - at]
at = random.randrange (len (disk) - 300000)
disk[at:at + 300000] = bytes (300000)
disk[-1] ^= 1
open ("now.img", "wb").write (disk)

def differing (a, b):
    ranges = []
    for at in range (0, len (a), 4096):
        n = min (4096, len (a) - at)
        if a[at:at + n] != b[at:at + n]:
            if ranges and ranges[-1][0] + ranges[-1][1] == at:
                ranges[-1][1] += n
            else:
                ranges.append ([at, n])
    return ranges
for r in differing (before, disk):
    print (*r)
PYTHON
python3 make.py "$seed" >expected
nbdimage backup --init --everything --name=d disk.img v
nbdimage backup --everything --single one.nbi disk.img

# compare STATUS ARG...: the ranges, in `got'.
compare ()
{
    local status=0 expected=$1
    shift
    nbdimage verify --json "$@" >json 2>err || status=$?
    same "exit status" "$status" "$expected"
    jq -r '.source.extents[] | "\(.offset) \(.length)"' json >got
}

for what in v/d one.nbi; do
    compare 0 --source=disk.img $what
    same "same" "$(jq -c '[.whole, .source.same, .source.compared]' json)" \
         "[true,true,$(stat -c %s disk.img)]"
    [ ! -s got ] || fail "what differs from itself"
    compare 1 --source=now.img $what
    cmp got expected
    same "whole" "$(jq -c '[.whole, .source.same]' json)" '[true,false]'
done
nbdimage verify --source=now.img v/d >out || true
contains out 'differs from what was saved'
same "listed" "$(awk '/^ +[0-9]/ { print $1, $2 }' out)" "$(cat expected)"

# Of another format, and through a server.
nbdimage convert now.img now.vhdx
compare 1 --source=now.vhdx --structure v/d
cmp got expected
start_nbdkit -r file now.img
compare 1 --source="$uri" --structure v/d
cmp got expected

# One that is shorter lacks something, one that is longer has more.
head -c 5M disk.img >short.img
compare 1 --source=short.img --structure v/d
same "what it lacks" "$(cat got)" \
     "$((5 << 20)) $(($(stat -c %s disk.img) - (5 << 20)))"
cp disk.img long.img
truncate -s 20M long.img
compare 1 --source=long.img --structure v/d
[ ! -s got ] || fail "what differs"
nbdimage verify --source=long.img v/d >out || true
contains out 'it has 20971520 bytes'

# What no file system used is not compared, what it used is.
mkdir tree
head -c 2M /dev/urandom >tree/file
truncate -s 16M fs.img
mkfs.ext4 -q -d tree fs.img
nbdimage backup --name=fs fs.img v
python3 - <<'PYTHON'
disk = bytearray (open ("fs.img", "rb").read ())
data = open ("tree/file", "rb").read (4096)
disk[disk.find (data) + 5] ^= 1
disk[15 * 1024 * 1024] ^= 1
open ("used.img", "wb").write (disk)

PYTHON
compare 1 --source=used.img v/fs
same "differing" "$(jq -c '[.source.differing, .source["not-saved"] > 0]' \
                       json)" '[4096,true]'

# Of sectors that could not be read when it was saved nobody knows; the rest of
# their chunk is compared.
head -c 4M /dev/urandom >bad.img
start_nbdkit -r eval get_size='echo 4194304' pread='
    if [ $(($4)) -lt 1052672 ] && [ $(($4 + $3)) -gt 1050624 ]; then
        echo EIO bad >&2
        exit 1
    fi
    dd if="'"$tmp"'/bad.img" iflag=skip_bytes,count_bytes skip=$4 count=$3 \
       status=none'
refuses nbdimage backup --everything --name=bad "$uri" v
stop_nbdkit
compare 0 --source=bad.img v/bad
same "unreadable" "$(jq .source.unreadable json)" 2048
cp bad.img bad2.img
printf 'XXXXXXXXX' | dd of=bad2.img bs=1 seek=1050000 conv=notrunc status=none
printf 'XXXXXXXXX' | dd of=bad2.img bs=1 seek=1051000 conv=notrunc status=none
compare 1 --source=bad2.img v/bad
same "what differs" "$(cat got)" '1048576 2048'

# Where the backup is damaged is not known; the rest is compared.
cp one.nbi bad.nbi
printf 'XXXX' | dd of=bad.nbi bs=1 seek=5000 conv=notrunc status=none
compare 3 --source=disk.img bad.nbi
[ ! -s got ] || fail "the source differs"

for bad in --source=disk.img "--source-format=raw"; do
    refuses nbdimage verify $bad v
done
refuses nbdimage verify --source=nothing.img v/d
contains "$tmp/refused" 'nothing.img'
