#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# The backups in tests/data/nbi, as earlier versions wrote them, are read, told
# and proven as stated.json says.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
cd "$tmp"

# Of our own: nothing is to be written beside the source.
cp -r "$abs_top_srcdir/tests/data/nbi" data
chmod -R u+w data
cd data
echo 'correct horse battery staple' >pass
chmod 600 pass

key_of () # NAME
{
    [ "$1" != encrypted.nbi ] || echo --passphrase-file=pass
}

# Whatever is stated is so; that more is told is no matter.
other='
    $stated[0][$i | tonumber][$part] as $want |
    [($want | paths(scalars)) as $p |
     select(($want | getpath($p)) != ($got[0] | getpath($p))) | $p]'

nr=$(jq length stated.json)
[ "$nr" -ge 9 ] || fail "only $nr backups are stated"
for ((i = 0; i < nr; i++)); do
    name=$(jq -r ".[$i].name" stated.json)
    sum=$(jq -r ".[$i].sha256" stated.json)
    # One that is not there as a whole: then some of it can't be looked at.
    whole=0
    [ "$sum" != null ] || whole=1
    status=0
    # shellcheck disable=SC2046
    nbdimage info --json $(key_of "$name") "$name" >info.json || status=$?
    [ "$status" = "$whole" ] || fail "$name: status $status"
    # shellcheck disable=SC2046
    nbdimage info --map --json $(key_of "$name") "$name" |
        jq '.map | map([.offset, .length, .kind])' >map.json
    for part in info map; do
        differ=$(jq -nc --arg i "$i" --arg part "$part" \
                    --slurpfile stated stated.json \
                    --slurpfile got "$part.json" "$other")
        [ "$differ" = '[]' ] ||
            fail "$name: $part: other than stated: $differ"
    done
    [ "$(jq length map.json)" = "$(jq ".[$i].map | length" stated.json)" ] ||
        fail "$name: another map"

    rm -f got.img
    status=0
    # shellcheck disable=SC2046
    nbdimage convert $(key_of "$name") "$name" got.img || status=$?
    [ "$status" = "$whole" ] || fail "$name: status $status"
    [ "$whole" = 1 ] || echo "$sum  got.img" | sha256sum --check
done

# Nothing is found to be wrong.
for file in *.nbi; do
    # shellcheck disable=SC2046
    nbdimage check --data $(key_of "$file") "$file" >out
    contains out "$file: is whole"
done
for vault in vault pruned; do
    nbdimage verify "$vault" >out
    contains out 'all read: whole'
done
[ "$(nbdimage generations --json vault | jq -c 'map(.generation)')" = \
  '["20261123T155200Z","20261124T155200Z","20261125T155200Z"]' ]
[ "$(nbdimage generations --json pruned | jq -c 'map(.generation)')" = \
  '["20261125T155200Z"]' ]

# A byte that is not as it was is noticed, so that this test notices.
printf X | dd of=stored.nbi bs=1 seek=5000 conv=notrunc status=none
status=0
nbdimage check --data stored.nbi || status=$?
[ "$status" != 0 ] || fail "a byte that was changed is not found"

# And a vault of then takes a generation of today, which refers to it: of the
# same disk nothing is written again.
rm -f got.img
nbdimage convert vault/golden@20261125 got.img
nbdimage backup --json --name=golden got.img vault >out
[ "$(jq '.new' out)" = 0 ] || fail "a vault of then is not a base of today"
nbdimage verify vault
