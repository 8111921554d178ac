#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# verify of one generation, of a backup in one file, and of samples: what is
# read is what is needed, each piece once, and what is said of it is true.
# test-backup.sh and test-encrypt.sh have whole vaults.

. "$(dirname "$0")/../functions.sh"
. "$(dirname "$0")/verify.sh"
set -e
set -x

requires jq
requires python3
cd "$tmp"

make_vault
first=$(nbdimage generations --json v | jq -r '.[0].time' | tr -d ':-')
nbdimage backup --single one.nbi one.img

# ask WHAT ARG...: that of the JSON.
ask ()
{
    local what=$1
    shift
    nbdimage verify --json "$@" >json || true
    jq -r "$what" json
}

# damage FILE OFFSET
damage ()
{
    python3 - "$1" "$2" <<'PYTHON'
import sys
f = open (sys.argv[1], "r+b")
f.seek (int (sys.argv[2]))
b = f.read (1)
f.seek (-1, 1)
f.write (bytes ([b[0] ^ 16]))
PYTHON
}

# 80 chunks and a page each, of which the second has 16 that are new.
all='[.pieces.stored, .pieces.read, .files, .generations, .data, .whole] |
     map (tostring) | join (" ")'
same "vault" "$(ask "$all" v)" '98 98 2 2 all true'
same "newest" "$(ask "$all" v/d)" '81 81 2 1 all true'
same "oldest" "$(ask "$all" "v/d@$first")" '81 81 1 1 all true'
same "file" "$(ask "$all" one.nbi)" '81 81 1 1 all true'
same "structure" "$(ask "$all" --structure v/d)" '81 0 2 1 none true'
same "which" "$(ask '.generation.disk + .generation.time' "v/d@$first" |
                tr -d ':-')" "d$first"
nbdimage verify v/d >out
contains out '81 pieces in 2 files'
contains out 'all read: whole'
# DISK is said with the time of what it is today.
newest=$(nbdimage generations --json v | jq -r '.[1].time' | tr -d ':-')
contains out "v/d ($newest)"

# What only the older generation needs: the chunks that changed, of which the
# last lies before the page.
cp -a v old
file=$(find "old/files/d.$first".* -name '*.nbi')
damage "$file" $((4096 + 50 * (65536 + 64) + 1000))
same "newest" "$(ask .whole old/d)" true
same "oldest" "$(ask .whole "old/d@$first")" false
same "vault" "$(ask '[.findings[].kind] | join (" ")' old)" nbi-data
same "the check" "$(nbdimage check "old/d@$first" | tail -1 |
                    grep -o 'nbdimage verify.*@')" "nbdimage verify old/d@"

# What both need.
cp -a v both
file=$(find "both/files/d.$first".* -name '*.nbi')
damage "$file" $((4096 + 10 * (65536 + 64) + 1000))
for what in both "both/d@$first" both/d; do
    status=0
    nbdimage verify "$what" >out || status=$?
    same "exit status" "$status" 3
    contains out '1 thing is wrong'
    same "times" "$(grep -c NBI-40 out)" 1
done
nbdimage verify --structure both/d

# What a later backup would refer to is saved anew by what verify says.
nbdimage backup --name=d two.img both
refuses nbdimage verify both/d
nbdimage verify both >out || true
same "times" "$(grep -c 'nbdimage backup --prove' out)" 1
nbdimage verify both/d >out || true
cure=$(grep 'nbdimage backup' out)
same "what heals" "$cure" '  nbdimage backup --prove --name=d SOURCE both'
${cure/SOURCE/two.img} --json >json 2>err
same "new" "$(jq .new json)" 65536
same "said" "$(grep -c ' chunk' err)" 1
contains err "both: 1 chunk of ${file#both/} is damaged and was saved anew"
nbdimage verify both/d
nbdimage restore both/d healed.img
cmp healed.img two.img
rm healed.img
# So the next one need not be told.
nbdimage backup --name=d --json two.img both >json
same "new" "$(jq .new json)" 0
nbdimage verify both/d

# heals WHAT NEW: backup --prove, not one without, makes v2/d whole; it writes
# NEW bytes, and says WHAT.
heals ()
{
    nbdimage backup $key --name=d twice.img v2 2>err
    refuses grep 'saved anew' err
    status=0
    nbdimage verify $key v2/d || status=$?
    same "exit status" "$status" 3
    nbdimage backup $key --prove --name=d --json twice.img v2 >json 2>err
    contains err "$1"
    same "new" "$(jq .new json)" "$2"
    nbdimage verify $key v2/d
    nbdimage convert $key v2/d -O raw healed.img
    cmp healed.img twice.img
    rm healed.img
    nbdimage backup $key --prove --name=d --json twice.img v2 >json 2>err
    refuses grep -e 'saved anew' -e 'written anew' err
    same "new" "$(jq .new json)" 0
}

# One that the disk has three times, in a vault that is encrypted, too: it is
# written once.  The header of another one; and that of a page of the map.
python3 - <<'PYTHON'
disk = bytearray (open ("two.img", "rb").read ())
for i in 50, 90:
    disk[i << 16:(i + 1) << 16] = disk[10 << 16:11 << 16]
open ("twice.img", "wb").write (disk)
PYTHON
head -c 64 /dev/urandom >key
chmod 600 key
for key in "" --key-file=key; do
    step=$((65536 + 64))
    [ -z "$key" ] || step=$((step + 64))        # the tag
    nbdimage backup --init ${key:+--encrypt} $key --name=d twice.img v2
    file=$(find v2/files -name '*.nbi')
    damage "$file" $((4096 + 10 * step + 1000))
    heals '3 chunks of files/d.' 65536
    damage "$file" $((4096 + 12 * step + 8))
    heals '1 chunk of files/d.' 65536
    # Of what the disk has no more nothing is said.
    damage "$file" $((4096 + 14 * step + 1000))
    cp twice.img other.img
    dd if=/dev/urandom of=other.img bs=64K seek=14 count=1 conv=notrunc
    nbdimage backup $key --prove --name=d other.img v2 2>err
    refuses grep 'saved anew' err
    nbdimage verify $key v2/d
    rm -r v2
done
key=
nbdimage backup --init --name=d twice.img v2
file=$(find v2/files -name '*.nbi')
records=$(nbdimage verify --json v2 | jq .pieces.stored)
damage "$file" $((4096 + (records - 1) * (65536 + 64) + 8))
heals '1 page of the map' 0
# What whoever needs the file needs, the tables: here the first sheet, of 63
# chunks of 78, which a backup without --prove saves anew.
sheet=$(python3 -c 'import sys
f = open (sys.argv[1], "rb").read ()
print (next (i for i in range (0, len (f), 4096) if f[i:i + 4] == b"NBIs"))' \
                "$file")
damage "$file" $((sheet + 100))
heals 'is damaged, not only its chunks; 15 of them were saved anew' 983040
rm -r v2 twice.img other.img
cp one.nbi bad.nbi
damage bad.nbi 5000
same "file" "$(ask .whole bad.nbi)" false
nbdimage check bad.nbi >out
contains out 'nbdimage verify bad.nbi'
# With all of them the sample is not whole either.
same "sample" "$(ask '[.whole, (.findings | length)] | join (" ")' \
                     --sample=100% bad.nbi)" 'false 1'
rm -r old both

# A file that is missing.
cp -a v lost
rm -r "lost/files/d.$first".*/*.nbi
status=0
nbdimage verify lost/d >out || status=$?
same "exit status" "$status" 3
contains out 'NBI-131'
rm -r lost

# Samples: as many as was said, others by another seed, the same by the same.
sample='[.pieces.read, .data, .whole, .sample.seed] | map (tostring) |
        join (" ")'
same "10 %" "$(ask "$sample" --sample=10% --seed=1 v)" '10 sample null 1'
same "size" "$(ask "$sample" --sample=600K --seed=1 v/d)" '10 sample null 1'
ask .findings --sample=100% v
same "all" "$(jq '[.pieces.read, .sample.chances[].chance] | map (tostring) |
                  join (" ")' -r json)" '98 1 1 1'
nbdimage verify --sample=1% v >out
contains out '1 of 98 pieces read (1.0 %'
contains out '1 in 100, of 1.0 %'
refuses grep -w whole out
# By seed the damaged piece is in a sample of half of them, or is not.
seen=0
for seed in 5 6 7 8; do
    found=$(ask '.findings | length' --sample=50% --seed=$seed bad.nbi)
    seen=$((seen + found))
done
[ "$seen" -gt 0 ] && [ "$seen" -lt 4 ] || fail "seen $seen times of 4"
same "again" "$(ask '.findings | length' --sample=50% --seed=8 bad.nbi)" \
     "$found"

for bad in --sample=0% --sample=x --sample=101% --seed=1 \
           "--structure --sample=1%"; do
    status=0
    nbdimage verify $bad v 2>err || status=$?
    same "exit status of $bad" "$status" 2
done

# What is a vault, and is looked at by another command.
refuses nbdimage check v
contains "$tmp/refused" 'nbdimage verify'
