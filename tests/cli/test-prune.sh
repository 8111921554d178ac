#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# prune: what it says, asks, and deletes; what stays reads as it did.  And
# kill -9 at 30 points of it, or 300 if NBDIMAGE_LONG is set.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires qemu-io --version
requires python3
cd "$tmp"

# change FILE NUMBER: something else in three places of it
change ()
{
    python3 - "$1" "$2" <<'PYTHON'
import os, random, sys
random.seed (int (sys.argv[2]))
with open (sys.argv[1], "r+b") as f:
    size = os.path.getsize (sys.argv[1])
    for i in range (3):
        f.seek (random.randrange (0, size - 100000))
        f.write (random.randbytes (100000))
PYTHON
}

# Six generations of one disk, three of another, whose bytes are kept.
head -c 3M /dev/urandom >one.img
truncate -s 4M one.img
head -c 1M /dev/urandom >two.img
nbdimage backup --init --everything one.img vault >/dev/null
for i in 1 2 3 4 5; do
    change one.img $i
    nbdimage backup --everything one.img vault
    [ $i -gt 3 ] || nbdimage backup --everything two.img vault
done
nbdimage generations --json vault >list
same "generations" "$(jq length list)" 9
mapfile -t ones < <(jq -r '.[] | select (.disk == "one").generation' list)
for time in "${ones[@]}"; do
    nbdimage convert "vault/one@$time" -O raw "one.$time.raw"
done
cmp one.img "one.${ones[5]}.raw"

# whole VAULT TIME...: these generations of one are there, and what they were
whole ()
{
    local vault=$1 time
    shift
    for time in "$@"; do
        rm -f got.raw
        nbdimage convert "$vault/one@$time" -O raw got.raw
        cmp got.raw "one.$time.raw"
    done
    nbdimage verify "$vault"
}

# bytes VAULT [NAMES]
bytes ()
{
    find "$1/files" -name "${2:-*.nbi}" -printf '%s\n' |
        awk '{ n += $1 } END { print n }'
}

# A server, for later: who reads has a lease after some seconds.
cp -a vault held
cat >reader.sh <<'SH'
{
    echo read -v 0 4M
    sleep 13
    ls held/partial >leases
    nbdimage prune --keep-last=1 --yes held >out.held
    ls held/files >folders
    echo read -v 0 4M
} | qemu-io -r -f raw "$uri" | sed 's/^.*qemu-io> //' | grep '^[0-9a-f]*:' >dump
SH
nbdkit -U - image "held/one@${ones[0]}" --run 'export uri; bash -e reader.sh' &
reader=$!

# --- wrong usage

usage ()
{
    local status=0
    "$@" 2>err || status=$?
    same "exit status" "$status" 2
}
usage nbdimage prune
usage nbdimage prune vault
contains err 'nothing says what to keep'
usage nbdimage prune --keep-daily=0 vault
usage nbdimage prune --keep-last=x vault
refuses nbdimage prune --keep-last=1 .
contains "$tmp/refused" 'no vault'
refuses nbdimage prune --keep-last=1 vault none
contains "$tmp/refused" 'no generation of'

# --- the plan

find vault -printf '%p %s %T@\n' | sort >before
nbdimage prune --keep-last=2 --keep-daily=1 --dry-run vault one >plan
contains plan "${ones[0]}  one: goes"
contains plan "${ones[4]}  one: stays (last)"
contains plan "${ones[5]}  one: stays (last, daily)"
contains plan '4 of 9 go'
! grep two plan
nbdimage prune --keep-last=2 --dry-run --json vault >json
same "planned" "$(jq -r '[.dropped, .changed, .files] | join (" ")' json)" \
    '5 false 0'
same "rules" "$(jq -c '[.generations[].rules] | unique' json)" '[[],["last"]]'
refuses nbdimage prune --keep-last=2 vault </dev/null
contains "$tmp/refused" '--yes'
find vault -printf '%p %s %T@\n' | sort | diff before -

# --- done

cp -a vault all
before=$(bytes vault)
nbdimage prune --keep-last=2 --yes --json vault one >json
freed=$(jq .bytes json)
same "freed" "$(bytes vault '*.0.*nbi')" $((before - freed))
same "as planned" "$freed" "$(jq '."planned-bytes"' json)"
nbdimage generations --json vault >list
same "left" "$(jq -r '[.[].disk] | sort | join (" ")' list)" \
    'one one two two two'
whole vault "${ones[4]}" "${ones[5]}"
same "partial" "$(ls vault/partial vault/broken | grep -c -)" 0

# What is kept by what is dropped goes with it in the end.
head -c 4M /dev/urandom >one.img
nbdimage backup --everything one.img vault
nbdimage prune --keep-last=1 --yes vault >out
contains out 'Deleted'
same "left" "$(nbdimage generations --json vault | jq length)" 2
# All data of two are in the file that its first run wrote.
same "folders" "$(find vault/files -mindepth 1 -maxdepth 1 | wc -l)" 3
nbdimage verify vault
nbdimage prune --keep-last=1 vault >out
contains out '0 of 2 go'

# --- a file of which little is needed is written anew, and goes a day later

rm -r vault
cp -a all vault
head -c 4M /dev/urandom >new.img
dd if=one.img of=new.img bs=64k count=3 conv=notrunc status=none
nbdimage backup --everything --name=one one.img vault
nbdimage backup --everything --name=one new.img vault
nbdimage prune --keep-last=1 --yes vault one >out
contains out 'A day later'
contains out 'Written anew'
[ -n "$(find vault/files -name '*.1.nbi')" ]
nbdimage verify vault
before=$(bytes vault)
find vault/files -name '*.1.nbi' -exec touch -d '2 days ago' {} +
nbdimage prune --keep-last=1 --yes --json vault one >json
same "files" "$(jq '.files > 0' json)" true
same "bytes" "$(bytes vault)" $((before - $(jq .bytes json)))
nbdimage verify vault
rm -f got.raw
nbdimage convert vault/one -O raw got.raw
cmp got.raw new.img

# --- what somebody reads for long stays until he ends

wait "$reader"
# It read the same twice, and that is what it was.
same "lines" "$(wc -l <dump)" $((2 * 4194304 / 16))
cmp <(head -n 262144 dump) <(tail -n 262144 dump)
head -n 262144 dump | sed 's/^.*:  //; s/  .*//' | python3 -c \
    'import sys; sys.stdout.buffer.write (bytes.fromhex (sys.stdin.read ()))' \
    >first.raw
cmp first.raw "one.${ones[0]}.raw"
contains leases read-
contains folders "one.${ones[0]}"
contains out.held 'Deleted'
same "left" "$(ls held/partial held/broken | grep -c -)" 0
nbdimage prune --keep-last=1 --yes held
[ -z "$(find held/files -name "one.${ones[0]}.*")" ] ||
    [ -n "$(find held/files -path "*one.${ones[0]}.*/dropped")" ]

# --- a generation that is damaged is in the way, and says so

rm -r vault
cp -a all vault
bad=$(find vault/files -path "*one.${ones[5]}*" -name '*.root.nbi')
truncate -s -4096 "$bad"
before=$(bytes vault)
status=0
nbdimage prune --keep-last=2 --yes vault 2>err >out || status=$?
same "exit status" "$status" 3
contains err 'drop-damaged'
same "bytes" "$(bytes vault)" "$before"
same "marks" "$(find vault -name dropped | wc -l)" 0
nbdimage prune --keep-last=3 --drop-damaged --yes vault >out
contains out 'as it is damaged'
whole vault "${ones[2]}" "${ones[3]}" "${ones[4]}"

# --- Ctrl-C, and kill -9

# Kills it in its N-th millisecond; what stays is whole, and the next one does
# the rest.
cat >kill.py <<'PYTHON'
import random, signal, subprocess, sys, time
after, how, command = float (sys.argv[1]), sys.argv[2], sys.argv[3:]
p = subprocess.Popen (command, stdout = subprocess.DEVNULL,
                      stderr = subprocess.DEVNULL)
time.sleep (after)
p.send_signal (signal.SIGKILL if how == "kill" else signal.SIGINT)
print (p.wait ())
PYTHON

rm -r vault
cp -a all vault
start=$(date +%s%N)
nbdimage prune --keep-last=2 --yes vault >/dev/null
took=$(($(date +%s%N) - start))
cp -a vault pruned
(cd pruned/files && find . -name '*.nbi' | sort) >expected

points=30
[ -z "${NBDIMAGE_LONG:-}" ] || points=300
{ set +x; } 2>/dev/null
killed=0 marked=0
for ((i = 0; i < points; i++)); do
    rm -rf vault
    cp -a all vault
    how=kill
    [ $((i % 10)) -ne 9 ] || how=int
    after=$(awk -v ns="$took" -v i="$i" -v n="$points" \
        'BEGIN { printf "%.6f", ns / 1e9 * i / n }')
    status=$(python3 kill.py "$after" $how nbdimage prune --keep-last=2 --yes \
        vault)
    [ "$status" -eq 0 ] || killed=$((killed + 1))
    left=$(nbdimage generations --json vault | jq length)
    [ "$left" -eq 9 ] || marked=$((marked + 1))
    whole vault "${ones[4]}" "${ones[5]}" >/dev/null ||
        fail "killed after $after s: not whole"
    nbdimage prune --keep-last=2 --yes vault >/dev/null ||
        fail "killed after $after s: the next one fails"
    (cd vault/files && find . -name '*.nbi' | sort) | diff expected - ||
        fail "killed after $after s: the next one leaves something"
    # These go when they are a day old.
    [ -z "$(find vault/partial vault/broken -mindepth 1 -maxdepth 1 \
        -not -name '.trial-*' -not -name '*.new')" ] ||
        fail "killed after $after s: something is left"
done
set -x
echo "COUNTED: $points kills of prune, 0 bad, seed 0"
echo "$killed were killed, $marked had dropped something"
[ "$killed" -ge 5 ]
