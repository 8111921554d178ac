#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# vault=VAULT: each generation is an export with the bytes and the extents of
# the disk it was made of; those that come, and those that go; what is damaged;
# names of what is none.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires nbdinfo
requires nbdcopy
requires qemu-io --version
requires jq
requires python3
cd "$tmp"

chunk=65536
# Chunks 0 to 9 and 100 are data, 20 is zeros that were written, and the disk
# does not end with a whole chunk.
truncate -s $((8 * 1024 * 1024 + 512)) one1.img
head -c $((10 * chunk)) /dev/urandom |
    dd of=one1.img conv=notrunc bs=1M status=none
dd if=/dev/zero of=one1.img conv=notrunc bs=$chunk seek=20 count=1 status=none
head -c $chunk /dev/urandom |
    dd of=one1.img conv=notrunc bs=$chunk seek=100 status=none
printf 'the end' | dd of=one1.img conv=notrunc bs=1M seek=8 status=none
cp one1.img one2.img
head -c $((2 * chunk)) /dev/urandom |
    dd of=one2.img conv=notrunc bs=$chunk seek=5 status=none
cp one2.img one3.img
dd if=/dev/zero of=one3.img conv=notrunc bs=$chunk seek=100 count=1 status=none
head -c 3000000 /dev/urandom >two1.img
truncate -s 3M two1.img

backup () # FILE NAME
{
    nbdimage backup --init --everything --name="$2" "$1" v
}
time_of () # NAME N: of its Nth generation
{
    nbdimage generations --json "${3:-v}" |
        jq -r --arg name "$1" --argjson n "$2" \
            '[.[] | select (.disk == $name)][$n - 1].generation'
}
names ()
{
    nbdinfo --list --json "$uri" | jq -r '.exports[]."export-name"' | xargs
}
same_disk () # EXPORT FILE
{
    rm -f got
    nbdcopy "$(export_uri "$1")" got
    cmp got "$2"
}

backup one1.img one
first=$(time_of one 1)
start_nbdkit -r image vault=v

# --- one disk is the default export

same list "$(names)" "one one@$first"
same "the default" \
    "$(nbdinfo --json "$uri" | jq -r '.exports[0]."export-name"')" one
rm -f got
nbdcopy "$uri" got
cmp got one1.img
nbdinfo --list --json "$uri" >info
same description "$(jq -r '.exports[1].description' info)" \
    "backup of $first, 8 MiB"

# --- what comes is there

backup one2.img one
backup two1.img two
second=$(time_of one 2)
only=$(time_of two 1)
same list "$(names)" "one two one@$second one@$first two@$only"
refuses nbdinfo "$uri"
contains "$nbdkit_log" "in the vault is not exactly one disk"
same_disk one one2.img
same_disk one@latest one2.img
same_disk "one@$second" one2.img
same_disk "one@$first" one1.img
same_disk two two1.img
id=$(nbdimage generations --json v |
     jq -r '[.[] | select (.disk == "one")][0].id')
same_disk "one@$id" one1.img
same_disk "one@${id:0:13}" one1.img

# Several connections of a client get the same disk: of a name that will be
# another generation's one day, there is to be one connection.
multi () # EXPORT
{
    nbdinfo --json "$(export_uri "$1")" | jq '.exports[0].can_multi_conn'
}
same "connections to a generation" "$(multi "one@$first")" true
same "connections to the newest" "$(multi one)" false

# --- extents, to the chunk

extents () # EXPORT FILE
{
    nbdinfo --map --json "$(export_uri "$1")" >map
    python3 - "$2" $chunk <<'PYTHON'
import json, sys
size = int (sys.argv[2])
expected = []
with open (sys.argv[1], "rb") as f:
    while data := f.read (size):
        kind = 3 if data == bytes (len (data)) else 0
        if expected and expected[-1][1] == kind:
            expected[-1][0] += len (data)
        else:
            expected.append ([len (data), kind])
found = [[e["length"], e["type"]] for e in json.load (open ("map"))]
if found != expected:
    sys.exit (f"extents are {found}, expected {expected}")
PYTHON
}
extents "one@$first" one1.img
extents one one2.img
extents two two1.img

# --- who has a disk keeps it, whatever comes and goes

cat >hold.py <<'PYTHON'
# Open an export, wait for a line, and read all of it, and its block status.
import os, sys
sys.path.insert (0, os.environ["abs_top_srcdir"] + "/tests/plugin")
import rawnbd
with rawnbd.Conn (sys.argv[1]) as c:
    c.greet ().go (sys.argv[2].encode ())
    open (sys.argv[3] + ".open", "w").close ()
    sys.stdin.readline ()
    with open (sys.argv[3], "wb") as out:
        for off in range (0, c.size, 1 << 20):
            length = min (1 << 20, c.size - off)
            c.send (rawnbd.request (rawnbd.CMD_READ, off, length))
            error, _, data = c.reply (length)
            if error:
                sys.exit (f"error {error} at {off}")
            out.write (data)
    c.send (rawnbd.request (rawnbd.CMD_STATUS, 0, c.size))
    error, _, data = c.reply ()
    if error or not data:
        sys.exit (f"error {error} of block status")
PYTHON
hold () # EXPORT OUT: in the background; a line into the fifo OUT.go lets it go
{
    local i

    rm -f "$2" "$2.open" "$2.go"
    mkfifo "$2.go"
    python3 hold.py "$sock" "$1" "$2" <"$2.go" &
    held_pid=$!
    # The end that is held here keeps the fifo open.
    eval "exec $3>$2.go"
    for ((i = 0; i < 100; i++)); do
        [ ! -e "$2.open" ] || return 0
        sleep 0.1
    done
    fail "the client of $1 did not connect"
}
hold "one@$second" held1 7
pid1=$held_pid
hold one held2 8
pid2=$held_pid
backup one3.img one
third=$(time_of one 3)
same_disk one one3.img
# As a prune takes it away: first the mark, then the files.
gone=$(find v/files -name "one.$second.*")
touch "$gone/dropped"
same list "$(names)" "one two one@$third one@$first two@$only"
mv v/files/one.* "$tmp"
same list "$(names)" "two two@$only"
echo >&7
echo >&8
wait $pid1
wait $pid2
cmp held1 one2.img
cmp held2 one2.img
refuses nbdinfo "$(export_uri one)"
mv one.* v/files
refuses nbdinfo "$(export_uri "one@$second")"
rm "v/files/${gone##*/}/dropped"
same_disk "one@$second" one2.img
stop_nbdkit

# --- the same by a prune, which deletes what only that generation has

# Of three files that the third generation needs, the second is not read when
# it is opened: chunk 20 is all that is in it.
head -c 3000000 /dev/urandom >three1.img
truncate -s 3M three1.img
for pair in "1 2 20" "2 3 30"; do
    read -r from to at <<<"$pair"
    cp three$from.img three$to.img
    head -c $chunk /dev/urandom |
        dd of=three$to.img conv=notrunc bs=$chunk seek="$at" status=none
done
for file in three1.img three2.img three3.img two1.img; do
    nbdimage backup --init --everything --name=three $file pruned
done
old=$(time_of three 3 pruned)
start_nbdkit -r image vault=pruned
hold "three@$old" held3 7
pid1=$held_pid
# Its extents, from a map that is not needed by anything else any more.
hold "three@$old..$(time_of three 4 pruned)" held4 8
pid2=$held_pid
nbdimage prune --yes --keep-last=1 pruned
same folders "$(find pruned/files -mindepth 1 -maxdepth 1 | wc -l)" 1
same list "$(names)" "three three@$(time_of three 1 pruned)"
echo >&7
echo >&8
wait $pid1
wait $pid2
cmp held3 three3.img
cmp held4 two1.img
refuses nbdinfo "$(export_uri "three@$old")"
stop_nbdkit

# --- two of one time are listed by their UUIDs

cp -a v same
time=$(find same/files -name "one.$second.*")
mv "$time" "${time/.$second./.$first.}"
nbdkit -r -U - image vault=same --run 'nbdinfo --list --json "$uri"' |
    jq -r '.exports[]."export-name"' | grep '^one@' | sort >found
nbdimage generations --json v | jq -r --arg third "$third" '.[] |
    select (.disk == "one") | if .generation == $third then "one@" + $third
                              else "one@" + .id end' | sort | diff - found
while read -r name; do
    nbdkit -r -U - image vault=same \
        --run "nbdinfo \"nbd+unix:///$name?socket=\$unixsocket\""
done <found

# --- names of what is none, and ways around

start_nbdkit -r image vault=v
for name in three one@2 two@2000 one@ "one@$first@" "one@$first/.." \
            "one@../files" one/ ./one ../one ..%2fone one%2f..%2ftwo files \
            vault . .. / /etc/passwd "files/${gone##*/}" "${gone##*/}" \
            one@%0a %ff @ "@$first" one@.. one@- \
            "one@$(printf '2%.0s' {1..4000})" "$(printf 'x%.0s' {1..300})"; do
    # The list begins with the right answer to "newest", which is no error.
    [ "$name" != one@ ] || continue
    refuses nbdinfo "$(export_uri "$name")"
done
contains "$nbdkit_log" "the client asked for ‘../one’, which can't be a \
generation"
contains "$nbdkit_log" "3 generations of ‘one’ begin with ‘2’"
contains "$nbdkit_log" "the vault has no generation of ‘three’"
stop_nbdkit

# --- a link and a generation that is damaged: said, and not in the way

cp -a v bad
mkdir elsewhere
mv "bad/files/${gone##*/}" elsewhere
ln -s "../../elsewhere/${gone##*/}" bad/files
truncate -s 100 bad/files/two.*/*.root.nbi
start_nbdkit -r image vault=bad
contains "$nbdkit_log" "bad: files/${gone##*/} is called like a generation"
contains "$nbdkit_log" "bad: can't be served: files/two."
# The third generation needs what the second had.
contains "$nbdkit_log" "NBI-131"
same list "$(names)" "one@$first"
same_disk "one@$first" one1.img
stop_nbdkit

# --- a damaged chunk is EIO, and said; the rest can be read

rm -r bad
cp -a v bad
run=$(find bad/files -name "one.$second.*")
python3 - "$run"/*.root.nbi <<'PYTHON'
import sys
with open (sys.argv[1], "r+b") as f:    # chunk 5, the first of its records
    f.seek (4096 + 64 + 5)
    byte = f.read (1)[0]
    f.seek (-1, 1)
    f.write (bytes ([byte ^ 1]))
PYTHON
start_nbdkit -r image vault=bad
same list "$(names)" "one two one@$third one@$second one@$first two@$only"
for export in one "one@$second"; do
    qemu-io -r -f raw -c "read $((5 * chunk)) 512" "$(export_uri "$export")" \
        >io 2>&1 || :
    contains io "Input/output error"
    contains "$nbdkit_log" "$export: chunk 5: "
done
contains "$nbdkit_log" NBI-40
# range FILE FIRST END: of the disk, in chunks
range ()
{
    rm -f got
    nbdkit -r -U - --filter=offset nbd "uri=$(export_uri "one@$second")" \
        offset=$(($2 * chunk)) range=$((($3 - $2) * chunk)) \
        --run 'nbdcopy "$uri" got'
    cmp -n $((($3 - $2) * chunk)) --ignore-initial=0:$(($2 * chunk)) got "$1"
}
range one2.img 0 5
range one2.img 6 128
same_disk "one@$first" one1.img
same_disk two two1.img
stop_nbdkit

# --- parameters that make no sense

for more in v/vault "dir=$tmp" "overlay=x.vhd" "overlay-dir=$tmp" format=nbi \
            vault=v; do
    refuses nbdkit -U - image vault=v "$more" --run 'nbdinfo "$uri"'
done
refuses nbdkit -U - image vault=elsewhere --run 'nbdinfo "$uri"'
contains "$tmp/refused" "there is no vault here"
refuses nbdkit -U - image v --run 'nbdinfo "$uri"'
contains "$tmp/refused" "vault=v"
refuses nbdkit -U - image vault=v --run "qemu-io -f raw -c 'write 0 512' \
    \"nbd+unix:///one?socket=\$unixsocket\""

# --- written to through an overlay of one generation

for format in vhd vhdx; do
    for i in 1 2; do
        nbdkit -U - image "v/one@$second" overlay="over.$format" --run "
            [ $i = 2 ] || qemu-io -f raw -c 'write -P 7 1M 64k' \"\$uri\"
            qemu-io -r -f raw -c 'read -P 7 1M 64k' \"\$uri\"
            rm -f got; nbdcopy \"\$uri\" got"
    done
    cp one2.img expected
    tr '\0' '\a' </dev/zero | head -c 64k |
        dd of=expected conv=notrunc bs=64k seek=16 status=none
    cmp got expected
    # It belongs to that generation.
    refuses nbdkit -r -U - image "v/one@$first" overlay="over.$format" \
        --run 'nbdinfo "$uri"'
    refuses nbdkit -r -U - image v/one overlay="over.$format" \
        --run 'nbdinfo "$uri"'
done
# One for each client.
mkdir desks
start_nbdkit image "v/one@$second" overlay-dir=desks
for desk in a b; do
    qemu-io -f raw -c "write -P 0x5$desk 1M 64k" \
        "$(export_uri "one@$second@$desk")"
done
for desk in a b; do
    qemu-io -r -f raw -c "read -P 0x5$desk 1M 64k" \
        "$(export_uri "one@$second@$desk")"
done
same_disk "one@$second" one2.img
same overlays "$(ls desks | xargs)" \
    "one@$second@a.vhd one@$second@b.vhd"
stop_nbdkit
nbdimage verify v
