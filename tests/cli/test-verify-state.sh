#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# verify --state: after an interruption it goes on, each piece is read once, and
# what changed is read again.

. "$(dirname "$0")/../functions.sh"
. "$(dirname "$0")/verify.sh"
set -e
set -x

requires jq
requires python3
requires nbdkit --version
cd "$tmp"

make_vault
newest=$(nbdimage generations --json v | jq -r '.[1].time')
while [ "$(date +%s)" -le "$(date -d "$newest" +%s)" ]; do
    sleep 0.1
done
head -c 64 /dev/urandom >key
nbdimage backup --init --encrypt --key-file=key --name=e one.img e

# A run that can't be opened without its key, and is the last, ends a verify of
# the others.
interrupt ()
{
    local status=0

    cp -a e/files/e.* v/files
    nbdimage verify --state=state v 2>err || status=$?
    same "exit status" "$status" 1
    rm -r v/files/e.*
    jq .files state
}

# resume ARG...: "READ EARLIER WHOLE"
resume ()
{
    nbdimage verify --json "$@" >json 2>err || true
    jq -r '[.pieces.read, .pieces.earlier, .whole] | map (tostring) |
           join (" ")' json
}

interrupt
same "all is verified" "$(resume --state=state v)" '0 98 true'
[ ! -e state ] || fail "the state is left"
same "without one" "$(resume v)" '98 0 true'

# A file that changed is read again, here just its time.
interrupt
file=$(find v/files -name '*.nbi' -size +2M)
touch -d '2001-02-03' "$file"
same "one changed" "$(resume --state=state v)" '81 17 true'
contains err 'files that changed since'

# What is damaged since, where it was verified: only if the file shows it.
interrupt
cp -a v bad
for keep in true false; do
    cp -p state bad.state
    bad=$(find bad/files -name '*.nbi' -size +2M)
    touch -r "$bad" time
    printf 'XXXX' | dd of="$bad" bs=1 seek=5000 conv=notrunc status=none
    $keep || touch -d '2002-02-03' time
    touch -r time "$bad"
    same "$keep" "$(resume --state=bad.state bad)" \
         "$($keep && echo '0 98 true' || echo '81 17 false')"
done
same "a full one" "$(resume bad)" '98 0 false'

# A file in which something is wrong is not verified behind that.
cp -a bad/. v2
mv v v.good
mv v2 v
interrupt
same "damage is told again" "$(resume --state=state v)" '81 17 false'
[ ! -e state ] || fail "the state is left"
rm -r v
mv v.good v

# States that are not its own are refused, and stay.
interrupt
cp state mine
status=0
nbdimage verify --state=state v/d 2>err || status=$?
same "exit status" "$status" 1
contains err 'of another verify'
status=0
nbdimage verify --state=state --key-file=key e 2>err || status=$?
same "exit status" "$status" 1
contains err 'of another verify'
cmp state mine
echo '{}' >other
head -c 100 mine >cut
for file in one.img other cut e; do
    status=0
    nbdimage verify --state=$file v 2>err || status=$?
    same "exit status" "$status" 1
    contains err 'no state of a verify'
done
same "other" "$(cat other)" '{}'
for bad in --structure --sample=5%; do
    status=0
    nbdimage verify --state=state $bad v 2>err || status=$?
    same "exit status" "$status" 2
done
rm state

# Ctrl-C, of a file that comes slowly, and damage behind the place meanwhile.
head -c 40M /dev/urandom >big.img
nbdimage backup --single big.nbi big.img
start_nbdkit -r --filter=rate file big.nbi rate=30M
nbdimage verify --state=state --progress=json "$uri" >out 2>progress &
pid=$!
cleanup_fn stop_pid "$pid"
for ((i = 0; i < 1200; i++)); do
    jq 'select (.phase == "checking" and .done >= 0.45 * .total)' \
       progress >found || true
    [ ! -s found ] || break
    kill -0 "$pid" || break
    sleep 0.1
done
[ -s found ] || fail "it never came so far"
kill -INT "$pid"
status=0
wait "$pid" || status=$?
same "exit status" "$status" 1
contains progress 'the same command goes on'
stop_nbdkit
noted=$(jq '.files[0].end' state)
[ "$noted" -gt 0 ] && [ "$noted" -lt 640 ] || fail "$noted are noted"
start_nbdkit file big.nbi
cp state again
same "together" "$(resume --state=state "$uri")" "$((641 - noted)) $noted true"
printf 'XXXX' | dd of=big.nbi bs=1 seek=35M conv=notrunc status=none
same "damage" "$(resume --state=again "$uri")" "$((641 - noted)) $noted false"
