#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# backup --bitmap and --checkpoint, of exports of a real QEMU: what was not
# written is not read, and the generation is what the disk is; a bitmap of which
# it is not certain that it began with the generation before is not believed.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires python3
requires qemu-io
requires qemu-img
requires qemu-storage-daemon
cd "$tmp"

size=$((64 * 1024 * 1024))
truncate -s $size disk.img
head -c 40M /dev/urandom | dd of=disk.img conv=notrunc status=none

# The disk with one sector that can't be read while it is not written: who reads
# all of it notices.  Chunk 300, in the middle of the data.
sector=$((300 * 128 + 5))
qemu-storage-daemon \
    --chardev socket,id=qmp,path="$tmp/qmp.sock",server=on,wait=off \
    --monitor chardev=qmp \
    --blockdev driver=file,node-name=file,filename="$tmp/disk.img" \
    --blockdev driver=raw,node-name=clean,file=file,read-only=on \
    --blockdev '{"driver": "blkdebug", "node-name": "disk", "image": "file",
                 "inject-error": [{"event": "none", "iotype": "read",
                                   "sector": '$sector', "errno": 5}]}' \
    --nbd-server addr.type=unix,addr.path="$tmp/nbd.sock" \
    --export type=nbd,id=live,node-name=disk,name=live,writable=on \
    --export type=nbd,id=c,node-name=clean,name=c \
    --pidfile "$tmp/qsd.pid" & daemon=$!
cleanup_fn stop_pid $daemon
for ((i = 0; i < 100; i++)); do
    [ ! -S nbd.sock ] || [ ! -e qsd.pid ] || break
    sleep 0.1
done

cat >qmp.py <<'PYTHON'
import json, socket, sys
s = socket.socket (socket.AF_UNIX)
s.connect (sys.argv[1])
f = s.makefile ("rw")
f.readline ()
for command in ['{"execute": "qmp_capabilities"}'] + sys.argv[2:]:
    f.write (command + "\n")
    f.flush ()
    while True:
        answer = json.loads (f.readline ())
        if "error" in answer:
            sys.exit (answer["error"]["desc"])
        if "return" in answer:
            break
PYTHON

# qmp COMMAND JSON...
qmp ()
{
    local commands=()
    while (($# > 0)); do
        commands+=("{\"execute\": \"$1\", \"arguments\": $2}")
        shift 2
    done
    python3 qmp.py "$tmp/qmp.sock" "${commands[@]}"
}

# begin NAME: a bitmap; nothing is written meanwhile, so that this is a moment
begin ()
{
    qmp block-dirty-bitmap-add "{\"node\": \"disk\", \"name\": \"$1\"}"
}

# offer BITMAP: an export for a backup, with what was written since; it begins
# to count anew elsewhere
offer ()
{
    qmp block-dirty-bitmap-disable "{\"node\": \"disk\", \"name\": \"$1\"}" \
        block-export-add "{\"type\": \"nbd\", \"id\": \"b\", \"name\": \"b\",
            \"node-name\": \"disk\", \"bitmaps\": [\"$1\"]}"
}

# offer_clean: the same name for the disk behind the fault
offer_clean ()
{
    qmp block-export-add '{"type": "nbd", "id": "b", "name": "b",
                           "node-name": "clean"}'
}

withdraw ()
{
    qmp block-export-del '{"id": "b", "mode": "hard"}'
    # Its name is free when the last client has gone.
    for ((i = 0; i < 100; i++)); do
        ! nbdinfo --list "nbd+unix:///?socket=$tmp/nbd.sock" >exports ||
            grep -q 'export="b"' exports || return 0
        sleep 0.1
    done
}

live="nbd+unix:///live?socket=$tmp/nbd.sock"
export_b="nbd+unix:///b?socket=$tmp/nbd.sock"
export_c="nbd+unix:///c?socket=$tmp/nbd.sock"

write ()
{
    qemu-io -f raw -c "$1" "$live" >io
    contains io wrote
}

new_name ()
{
    echo "nbdimage-$(cat /proc/sys/kernel/random/uuid)"
}

# same_disk: what the newest generation reads as, but for the bad sector
same_disk ()
{
    rm -f got.raw
    nbdimage convert vault/vm -O raw got.raw ||
        { nbdkit -r -U - image vault/vm --run 'nbdinfo --map "$uri"'
          return 1; }
    cmp got.raw disk.img
}

# --- the first one: without a fault, so that the disk is all there

status=0
one=$(new_name)
begin "$one"
# The fault is not in the way of who writes; for now it is of who reads.
nbdimage backup --init --name=vm --checkpoint="$one" --json "$live" vault \
    >report 2>err || status=$?
same "status" "$status" 1
same "unreadable" "$(jq .unreadable report)" 512
same "changes" "$(jq -r .changes report)" none
# What could not be read is read again, written or not.  So there is a
# generation without it first, of the disk behind the fault, at the same moment.
rm -r vault
offer_clean
nbdimage backup --init --name=vm "$export_b" vault
nbdimage backup --name=vm --checkpoint="$one" --json "$export_b" vault >report
withdraw
same "changes" "$(jq -r .changes report)" identity
same "read" "$(jq '.read >= 40 * 1024 * 1024' report)" true
same "unreadable" "$(jq .unreadable report)" 0

# --- what was written, and only that

write 'write -P 17 1M 64k'
write 'write -P 18 20000k 4k'
write 'write -z 30M 1M'
write 'write -P 19 67104768 4k'
two=$(new_name)
begin "$two"
offer "$one"
nbdimage backup --name=vm --bitmap="$one" --checkpoint="$two" --json \
    "$export_b" vault >report 2>err
! grep compared err || fail "the bitmap is not believed"
withdraw
same "changes" "$(jq -r .changes report)" bitmap
# 64 KiB, a chunk, another one; of 1 MiB of zeros QEMU knows that they are.
[ "$(jq .read report)" -le $((3 * 65536 + 1048576)) ] ||
    fail "more was read than was written"
[ "$(jq .read report)" -ge $((3 * 65536)) ]
# The bad sector was not touched, though it is among the data.
same "unreadable" "$(jq .unreadable report)" 0
same_disk
nbdimage verify vault

# Nothing was written: nothing is read.
three=$(new_name)
begin "$three"
offer "$two"
nbdimage backup --name=vm --bitmap="$two" --checkpoint="$three" --json \
    "$export_b" vault >report
withdraw
same "read" "$(jq .read report)" 0
same "new" "$(jq .new report)" 0
same_disk

# --- what is not believed: all is read then, which finds the bad sector

# compares WHY OPTION...: the reason, and what it leads to
compares ()
{
    local why=$1 status=0
    shift
    nbdimage backup --name=vm --json "$@" vault >report 2>err || status=$?
    cat report err
    contains err 'all of the disk is read and compared'
    contains err "$why"
    same "changes" "$(jq -r .changes report)" identity
    [ "$(jq .read report)" -ge $((39 * 1024 * 1024)) ] ||
        fail "it was not read"
    same "status" "$status" 1
    same "unreadable" "$(jq .unreadable report)" 512
}

# Of another generation, an older one: it would have all that changed, but
# who could tell.
write 'write -P 20 5M 64k'
four=$(new_name)
begin "$four"
offer "$three"
compares 'the server has no bitmap' --bitmap="$one" --checkpoint="$four" \
    "$export_b"
# A generation whose checkpoint is another, or that has none.
compares "began the bitmap ‘$four’" --bitmap="$three" "$export_b"
compares 'made without --checkpoint' --bitmap="$three" "$export_b"
withdraw

# One with the right name that began too late: somebody made it anew.
five=$(new_name)
begin "$five"
offer_clean
nbdimage backup --name=vm --checkpoint="$five" --json "$export_b" vault >report
withdraw
same "unreadable" "$(jq .unreadable report)" 0
write 'write -P 21 0 30M'
qmp block-dirty-bitmap-clear "{\"node\": \"disk\", \"name\": \"$five\"}"
offer "$five"
six=$(new_name)
compares 'it did not begin with that' --bitmap="$five" --checkpoint="$six" \
    "$export_b"
withdraw

# Of another export, or another machine: bitmaps of all disks of a machine may
# have one name.
begin "$six"
offer "$six"
nbdimage backup --name=vm --checkpoint="$six" --json "$export_c" vault >report
same "unreadable" "$(jq .unreadable report)" 0
compares "is of the source ‘$export_c’" --bitmap="$six" "$export_b"
withdraw
if unshare --uts true; then
    six=$(new_name)
    begin "$six"
    offer "$six"
    unshare --uts bash -c 'hostname elsewhere; exec "$@"' - \
        nbdimage backup --name=vm --checkpoint="$six" "$export_b" vault ||
        [ $? -eq 1 ]
    compares 'is of the host ‘elsewhere’' --bitmap="$six" "$export_b"
    withdraw
fi

# Another size.
six=$(new_name)
begin "$six"
offer "$six"
truncate -s $((size + 65536)) larger.img
nbdkit -U "$tmp/larger.sock" file larger.img --run "
    nbdimage backup --name=vm --checkpoint=$six \
        'nbd+unix:///?socket=$tmp/larger.sock' vault"
compares 'and the generation before of 67174400' --bitmap="$six" "$export_b"
withdraw

# --- encrypted: identities are others

head -c 64 /dev/urandom >key
seven=$(new_name)
begin "$seven"
offer_clean
nbdimage backup --init --encrypt --key-file=key --name=vm \
    --checkpoint="$seven" "$export_b" secret
withdraw
write 'write -P 22 7M 64k'
eight=$(new_name)
begin "$eight"
offer "$seven"
nbdimage backup --key-file=key --name=vm --bitmap="$seven" \
    --checkpoint="$eight" --json "$export_b" secret >report
withdraw
same "changes" "$(jq -r .changes report)" bitmap
same "read" "$(jq .read report)" 65536
rm -f got.raw
nbdimage convert --key-file=key secret/vm -O raw got.raw
cmp got.raw disk.img

# --- proven: what is damaged is read, written or not, and nothing else

file=$(find secret/files -name '*.nbi' -size +1M)
python3 - "$file" <<'PYTHON'
import sys
f = open (sys.argv[1], "r+b")
f.seek (0, 2)
f.seek (f.tell () // 2)
b = f.read (1)
f.seek (-1, 1)
f.write (bytes ([b[0] ^ 1]))
PYTHON
offer "$eight"
nbdimage backup --key-file=key --name=vm --bitmap="$eight" --prove --json \
    "$export_b" secret >report 2>err
withdraw
contains err '1 chunk of files/vm.'
same "changes" "$(jq -r .changes report)" bitmap
same "read" "$(jq .read report)" 65536
same "new" "$(jq .new report)" 65536
nbdimage verify --key-file=key secret/vm
rm -f got.raw
nbdimage convert --key-file=key secret/vm -O raw got.raw
cmp got.raw disk.img

# --- refused

for wrong in "--bitmap=$one --single=x.nbi $export_b" \
             "--checkpoint=$one --single=x.nbi $export_b" \
             "--prove --single=x.nbi $export_b" \
             "--checkpoint=tuesday $export_b vault" \
             "--checkpoint=$one --bitmap=$one $export_b vault" \
             "--bitmap=$one disk.img vault"; do
    status=0
    nbdimage backup $wrong 2>err || status=$?
    same "status of $wrong" "$status" 2
done
