#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# diff, and the export DISK@A..B: what they say changed is what did, by a
# comparison of the bytes; a client that copies only what is allocated makes the
# newer disk out of the older one.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires python3
requires nbdinfo --version
requires nbdcopy --version
requires qemu-img --version
cd "$tmp"

# Disks of one name, each made of the one before by changes of all kinds: data,
# zeros, what was moved, what was taken back, a size that is another.  The
# pieces are not those of a backup.
seed=${SEED:-$RANDOM}
echo "SEED=$seed"
cat >make.py <<'PYTHON'
import random, sys
random.seed (int (sys.argv[1]))
disk = bytearray (12 * 1024 * 1024 + 512)
for _ in range (20):
    at = random.randrange (len (disk))
    data = random.randbytes (random.randrange (1, 400000))
    disk[at:at + len (data)] = data[:len (disk) - at]
older = [bytes (disk)]
for i in range (1, 6):
    for _ in range (random.randrange (1, 6)):
        at = random.randrange (len (disk))
        n = min (random.randrange (1, 300000), len (disk) - at)
        what = random.randrange (4)
        if what == 0:
            data = random.randbytes (n)
        elif what == 1:
            data = bytes (n)
        elif what == 2:                 # what is elsewhere, by whole chunks
            at -= at % 65536
            n = min (65536 * 2, len (disk) - at)
            data = (bytes (disk) * 2)[at + 65536 * 7:][:n]
        else:                           # as it was
            data = random.choice (older)[at:at + n]
        disk[at:at + len (data)] = data
    if i == 3:
        disk += random.randbytes (100000) + bytes (200000)
        disk = disk[:len (disk) // 512 * 512]
    if i == 5:
        del disk[9 * 1024 * 1024:]
    older.append (bytes (disk))
for i, d in enumerate (older):
    with open (f"d{i}.img", "wb") as f:
        f.write (d)
PYTHON
python3 make.py "$seed"
for i in 0 1 2 3 4 5; do
    nbdimage backup --init --everything --name=d --json d$i.img v >report
done
mapfile -t times < <(nbdimage generations --json v | jq -r '.[].generation')
same "generations" "${#times[@]}" 6

# expected FROM TO UNIT: what differs, as diff --json has it
cat >expected.py <<'PYTHON'
import json, sys
a, b = (open (n, "rb").read () for n in sys.argv[1:3])
unit = int (sys.argv[3])
found = []
for at in range (0, len (b), unit):
    x, y = a[at:at + unit], b[at:at + unit]
    pieces = []
    if x != y:
        zeros = y == bytes (len (y))
        # Both zeros, and one is shorter: only what is behind its end.
        if zeros and x == bytes (len (x)):
            pieces = [(at + len (x), len (y) - len (x), True)]
        else:
            pieces = [(at, len (y), zeros)]
        # Where bytes are read, what is behind the end is a piece of its own.
        if sys.argv[4:] == ["bytes"] and len (x) < len (y):
            pieces = [(at, len (x), y[:len (x)] == bytes (len (x)))] \
                if x != y[:len (x)] else []
            rest = y[len (x):]
            pieces.append ((at + len (x), len (rest),
                            rest == bytes (len (rest))))
    for off, n, z in pieces:
        if n <= 0:
            continue
        last = found[-1] if found else None
        if last and last["offset"] + last["length"] == off \
           and last["zeros"] == z:
            last["length"] += n
        else:
            found.append ({"offset": off, "length": n, "zeros": z})
json.dump (found, sys.stdout)
PYTHON
check_diff () # FROM TO
{
    nbdimage diff --json "v/d@${times[$1]}" "v/d@${times[$2]}" >out.json
    python3 expected.py d$1.img d$2.img 65536 >expected.json
    jq -S .extents out.json >found
    jq -S . expected.json | diff -u - found
    same compared "$(jq -r .compared out.json)" maps
    same unit "$(jq .unit out.json)" 65536
    same changed "$(jq .changed out.json)" \
        "$(jq '[.[].length] | add // 0' expected.json)"
    same zeros "$(jq .zeros out.json)" \
        "$(jq '[.[] | select (.zeros).length] | add // 0' expected.json)"
}
for pair in 01 12 23 34 45 05 50 31 53 22; do
    check_diff ${pair:0:1} ${pair:1:1}
done

# No data is read: that it is all damaged does not matter.
cp -a v damaged
python3 - damaged/files/*/*.nbi <<'PYTHON'
import sys
for name in sys.argv[1:]:
    with open (name, "r+b") as f:
        f.seek (4096)
        # A chunk; what only has what others have begins with the map.
        if f.read (5) == b"NBIr\x01":
            f.seek (4096 + 64)
            f.write (b"nothing")
PYTHON
refuses nbdimage convert damaged/d@"${times[0]}" x.vhd
nbdimage diff --json damaged/d@"${times[0]}" damaged/d@"${times[4]}" >out.json
python3 expected.py d0.img d4.img 65536 | jq -S . >expected.json
jq -S .extents out.json | diff -u expected.json -
rm -r damaged

# For people.
nbdimage diff v/d@"${times[1]}" v/d@"${times[1]}" >out
same "no change" "$(cat out)" "0 B of 12 MiB changed, 0 B of it to zeros, \
in 0 places (by their maps, in units of 65536 bytes)"
nbdimage diff v/d@"${times[2]}" v/d@"${times[3]}" >out
contains out 'The size changed from'
same "lines" "$(grep -cE '^ +[0-9]+ +[0-9]+  (data|zeros)$' out)" \
    "$(python3 expected.py d2.img d3.img 65536 | jq length)"

# Other images are read.
nbdimage convert d1.img d1.vhdx
for pair in "d0.img d1.vhdx d1.img" "v/d@${times[0]} d1.img d1.img" \
            "d0.img v/d@${times[3]} d3.img" \
            "d0.img v/d@${times[5]} d5.img"; do
    read -r from to file <<<"$pair"
    nbdimage diff --json "$from" "$to" >out.json
    python3 expected.py d0.img "$file" 4096 bytes | jq -S . >expected.json
    jq -S .extents out.json | diff -u expected.json -
    same compared "$(jq -r .compared out.json)" bytes
done
# So are chunks of another size.
nbdimage backup --everything --chunk-size=16K --single=d1.nbi d1.img
nbdimage diff --json "v/d@${times[0]}" d1.nbi >out.json
python3 expected.py d0.img d1.img 4096 bytes | jq -S . >expected.json
jq -S .extents out.json | diff -u expected.json -
same compared "$(jq -r .compared out.json)" bytes

refuses nbdimage diff v/d
refuses nbdimage diff v/d none.img
refuses nbdimage diff v/d@1999 v/d

# --- the export

start_nbdkit -r image vault=v
for pair in "0 1" "2 3" "4 5" "4 0" "2 2"; do
    read -r from to <<<"$pair"
    link=$(export_uri "d@${times[from]}..${times[to]}")
    rm -f got
    nbdcopy "$link" got
    cmp got d$to.img
    nbdinfo --map --json "$link" >map
    python3 expected.py d$from.img d$to.img 65536 |
        jq -c 'map ([.offset, .length, (if .zeros then 2 else 0 end)])' >expected
    jq -c 'map (select (.type != 1) | [.offset, .length, .type])' map |
        diff -u expected -
    # What did not change is a hole that is not said to be zeros.
    same "the rest" "$(jq -c 'map (select (.type == 1).length) | add // 0' map)" \
        $(($(stat -c %s d$to.img) - $(jq 'map (.[1]) | add // 0' expected)))
done

# A client that copies what is allocated onto the older disk gets the newer.
cp d1.img patched.img
nbdinfo --map --json "$(export_uri "d@${times[1]}..${times[2]}")" >map
python3 - map d2.img patched.img <<'PYTHON'
import json, sys
with open (sys.argv[2], "rb") as source, open (sys.argv[3], "r+b") as target:
    for e in json.load (open (sys.argv[1])):
        if not e["type"] & 1:
            source.seek (e["offset"])
            target.seek (e["offset"])
            target.write (source.read (e["length"]))
PYTHON
cmp patched.img d2.img
# So does QEMU, which takes for the file below what is a hole and not zeros.
qemu-img convert -f raw -O qcow2 d1.img d1.qcow2
qemu-img convert -f raw -O qcow2 -B d1.qcow2 -F qcow2 \
    "$(export_uri "d@${times[1]}..${times[2]}")" d2.qcow2
qemu-img compare -f qcow2 -F raw d2.qcow2 d2.img
qemu-img map --output=json d2.qcow2 >map
changed=$(python3 expected.py d1.img d2.img 65536 | jq '[.[].length] | add // 0')
same "what QEMU copied" \
    "$(jq '[.[] | select (.depth == 0).length] | add // 0' map)" "$changed"

# Names: B may be left out, and is the newest then; A may not.
nbdcopy "$(export_uri "d@${times[0]}..")" got
cmp got d5.img
same "connections" "$(nbdinfo --json "$(export_uri "d@${times[0]}..")" |
    jq '.exports[0].can_multi_conn')" false
same "connections" \
    "$(nbdinfo --json "$(export_uri "d@${times[0]}..${times[1]}")" |
       jq '.exports[0].can_multi_conn')" true
for name in "d@..${times[1]}" "d@.." "d@${times[0]}...." "x@${times[0]}.." \
            "d@1999..${times[0]}" "d@${times[0]}..1999" \
            "d@${times[0]}..${times[1]}..${times[2]}" "d..d"; do
    refuses nbdinfo "$(export_uri "$name")"
done
stop_nbdkit
