#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A disk that changes is backed up again and again with any options, some
# generations are pruned, and each that is left is restored to a file and copied
# by a client of NBD: both are the disk as it was then, but for partitions that
# were left out, which can't be read.  One vault, or 60 if NBDIMAGE_LONG is
# set.  What the formats and the options can be is for
# tests/model/test-vault-trips.c; this is about the commands.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires sfdisk
requires python3
requires nbdcopy
requires qemu-io

seed=${SEED:-$RANDOM}
wanted=${NBDIMAGE_LONG:+60}
: "${wanted:=1}"
echo "SEED=$seed"
RANDOM=$seed

cd "$tmp"
echo 'a passphrase' >pass
chmod 600 pass

# pick WORD...: one of them, in $picked.  Not in a subshell, which would have
# the same random numbers again and again.
pick ()
{
    picked=${!#}
    shift $((RANDOM % $#))
    picked=$1
}

# change NUMBER: disk.img by that random number
change ()
{
    python3 - "$1" <<'PYTHON'
import random, sys

r = random.Random (int (sys.argv[1]))
with open ("disk.img", "r+b") as f:
    size = f.seek (0, 2)
    def piece (n):
        at = r.randrange (64, (size - n) // 512) * 512
        f.seek (at)
        how = r.randrange (4)
        if how == 0:
            data = bytes (n)
        elif how == 1:
            data = r.randbytes (n)
        elif how == 2:
            data = (b"some text %d " % r.randrange (9)) * n
        else:
            f.seek (r.randrange (size - n))
            data = f.read (n)
        f.seek (at)
        f.write (data[:n])
    for i in range (r.choice ([1, 3, 40])):
        piece (r.choice ([512, 4096, 4096, 70000, 300000]))
PYTHON
}

# same_but FILE1 FILE2 FROM TO: the same, and of the bytes between, those in
# FILE1 are zeros or the same
same_but ()
{
    python3 - "$@" <<'PYTHON'
import sys

a, b = (open (name, "rb").read () for name in sys.argv[1:3])
start, end = map (int, sys.argv[3:5])
assert len (a) == len (b)
assert a[:start] == b[:start], "in front"
assert a[end:] == b[end:], "behind"
for at in range (start, end, 512):
    s = a[at : min (at + 512, end)]
    assert s in (bytes (len (s)), b[at : at + len (s)]), at
PYTHON
}

# partition SIZE: two of them, in MiB of 512-byte sectors
partition ()
{
    pick dos gpt
    printf '%s\n' "label: $picked" 'start=2048, size=4096' \
           "start=6144, size=$(($1 / 512 - 6144 - 100))" |
        sfdisk -q --no-tell-kernel disk.img
}

# back_up VAULT OPTION...: notes the generation in the file `made'
back_up ()
{
    local vault=$1 options=() left=
    shift
    pick lz4 zstd zstd:9 none
    options+=("--codec=$picked")
    pick 1 2 3
    options+=("--threads=$picked")
    pick '' '' 1 2
    if [ -n "$picked" ]; then
        options+=("--partition=$picked")
        left=$((3 - picked))
    fi
    nbdimage backup "$@" "${options[@]}" --json --init --name=d disk.img \
             "$vault" >out
    id=$(jq -r .generation out)
    cp disk.img "$id.img"
    if [ -z "$left" ]; then
        echo "$id" >>made
    else
        jq -r --arg id "$id" --argjson left "$left" '.partitions[] |
            select(.number == $left) |
            [$id, .offset, .offset + .length] | join(" ")' out >>made
    fi
}

# check VAULT ID [FROM TO] -- OPTION...
check ()
{
    local vault=$1 id=$2 from= to= middle
    shift 2
    [ "$1" = -- ] || { from=$1; to=$2; shift 2; }
    shift
    rm -f got.img
    if [ -z "$from" ]; then
        nbdimage restore "$@" "$vault/d@$id" got.img >restored
        cmp got.img "$id.img"
        rm got.img
        nbdkit -r -U - image "$vault/d@$id" ${key:+"$key"} \
               --run 'nbdcopy "$uri" got.img'
        cmp got.img "$id.img"
        return
    fi
    if nbdimage restore "$@" "$vault/d@$id" got.img; then
        fail "what was left out is restored"
    fi
    nbdimage restore "$@" --allow-absent "$vault/d@$id" got.img >restored
    same_but got.img "$id.img" "$from" "$to"
    middle=$(((from + to) / 2 / 512 * 512))
    nbdkit -r -U - image "$vault/d@$id" ${key:+"$key"} --run \
           "qemu-io -r -f raw -c 'read $middle 512' \"\$uri\"" >read 2>&1 || :
    contains read 'Input/output error'
}

for ((round = 0; round < wanted; round++)); do
    rm -rf vault ./*.img made
    options=()
    key=
    if [ $((RANDOM % 3)) = 0 ]; then
        options=(--passphrase-file=pass)
        key=passphrase=+pass
    fi
    size=$(((6 * 1024 * 1024 / 512 + RANDOM % 9000) * 512))
    truncate -s "$size" disk.img
    partition "$size"
    for generation in 1 2 3 4; do
        change "$((RANDOM * 32768 + RANDOM))"
        if [ "$generation" = 3 ]; then
            pick -700 0 5000
            size=$((size + picked * 512))
            truncate -s "$size" disk.img
            partition "$size"
        fi
        if [ "$generation" = 1 ]; then
            back_up vault "${options[@]}" ${key:+--encrypt}
        else
            back_up vault "${options[@]}"
        fi
    done
    pick 1 2 3 4
    nbdimage prune --yes "${options[@]}" --keep-last="$picked" vault >pruned
    nbdimage generations --json "${options[@]}" vault | jq -r '.[].id' >left
    [ "$(wc -l <left)" = "$picked" ] || fail "$(wc -l <left) are left"
    tail -n "$picked" made >expected
    cut -d ' ' -f 1 expected | cmp - left
    while read -r id from to; do
        # shellcheck disable=SC2086
        check vault "$id" $from $to -- "${options[@]}"
    done <expected
    nbdimage verify "${options[@]}" vault
done
echo "COUNTED: $((wanted * 4)) generations by commands, 0 bad, seed $seed"
