#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A vault on a file system that is full: the backup that fills it fails, what
# was there stays, and a prune makes room.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires_root
cd "$tmp"

# remains TIME...: these generations, and what they were
remains ()
{
    local time
    same "generations" \
        "$(nbdimage generations --json v/vault | jq -r '.[].generation')" \
        "$(printf '%s\n' "$@")"
    for time in "$@"; do
        nbdimage convert "v/vault/disk@$time" -O raw got.raw
        cmp got.raw "disk.$time.raw"
        rm got.raw
    done
    nbdimage verify v/vault
}

# To the last block.
fill ()
{
    cat /dev/zero >v/rest 2>err || :
    contains err 'No space left on device'
}

mkdir v
cleanup_fn sh -c "mountpoint -q '$tmp/v' && umount '$tmp/v' || :"
mount -t tmpfs -o size=12m none v

times=()
for i in 1 2; do
    head -c 3M /dev/urandom >disk.img
    nbdimage backup --init --everything --name=disk disk.img v/vault >out
    times+=("$(nbdimage generations --json v/vault |
        jq -r '.[-1].generation')")
    cp disk.img "disk.${times[-1]}.raw"
done
[ "$(stat -c %s v/vault/reserve)" -eq 1048576 ]

# --- the one that does not fit
# Of a disk without generations: those of one that is saved again and again are
# ahead of the clock, and of what is left nobody could tell which came later.

head -c 9M /dev/urandom >large.img
refuses nbdimage backup --everything --name=large large.img v/vault
contains "$tmp/refused" 'No space left on device'
contains "$tmp/refused" 'of 1 backup that did not end; the next one'
remains "${times[@]}"

# --- what is left of it is kept, as the next backup goes on from there, and can
# be dropped

nbdimage prune --keep-last=2 --yes v/vault >out
contains out '1 backup that did not end'
[ -n "$(ls v/vault/broken)" ]
refuses nbdimage backup --everything --name=large large.img v/vault
contains "$tmp/refused" 'nbdimage prune --drop-interrupted v/vault'
nbdimage prune --drop-interrupted --dry-run v/vault >out
contains out 'Also freed'
[ -n "$(ls v/vault/broken)" ]
refuses nbdimage prune --drop-interrupted v/vault </dev/null
[ -n "$(ls v/vault/broken)" ]
nbdimage prune --drop-interrupted --json --yes v/vault >out
[ "$(jq '."cleared-bytes" > 1000000' out)" = true ]
same "left in broken/" "$(ls v/vault/broken)" ""
remains "${times[@]}"

# --- prune, without a byte left

fill
refuses sh -c 'echo more >v/vault/broken/more'
rm -f v/vault/broken/more
nbdimage prune --keep-last=1 --yes v/vault >out
cat out
contains out 'Deleted'
[ "$(stat -c %s v/vault/reserve)" -eq 1048576 ]
remains "${times[1]}"
rm v/rest
nbdimage backup --everything --name=disk disk.img v/vault

# --- without the reserve it can't, and says so; nothing is lost

nbdimage backup --everything --name=disk disk.img v/vault
before=$(nbdimage generations --json v/vault)
rm v/vault/reserve
fill
refuses nbdimage prune --keep-last=1 --yes v/vault
contains "$tmp/refused" 'No space left on device'
same "generations" "$(nbdimage generations --json v/vault)" "$before"

# --- what somebody else put there is not deleted

rm v/rest
echo 'of mine' >v/vault/reserve
nbdimage prune --keep-last=1 --yes v/vault >out
same "reserve" "$(cat v/vault/reserve)" 'of mine'
