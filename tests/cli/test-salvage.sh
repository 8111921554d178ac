#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# salvage: of damaged files all that is whole becomes a new backup image, in a
# file or a vault; what is lost is said, with its partition, and is an error in
# it.  ../unit/test-salvage.c has all the ways in which files are damaged.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires nbdcopy
requires qemu-io
requires debugfs -V
requires mkfs.ext4 -V
requires sfdisk --version
requires ntfscat --version
requires mtype -V
cd "$tmp"

"$support/make-disk.sh" gpt-ntfs-fat win.img
"$support/make-disk.sh" mbr-ext4 ext4.img
size=$(stat -c %s win.img)

# status WANT COMMAND ARG...: what it says is in out and err
status ()
{
    local want=$1 found=0
    shift
    "$@" >out 2>err || found=$?
    cat out err
    same "status of $*" "$found" "$want"
}

# as_raw IMAGE OUT: the disk in it, as any client of NBD gets it
as_raw ()
{
    rm -f "$2"
    nbdkit -r -U - image "$1" --run "nbdcopy \"\$uri\" $2"
}

# right IMAGE DISK OUT: but for what OUT (of --json) says is lost, IMAGE is as
# DISK, and there it can't be read
right ()
{
    rm -f got.img
    status "$(jq 'if .["lost-bytes"] > 0 then 1 else 0 end' "$3")" \
        nbdimage restore --allow-unreadable "$1" got.img
    python3 - "$3" "$2" got.img <<'PYTHON'
import json, sys
with open (sys.argv[1]) as f:
    lost = json.load (f)["lost"]
with open (sys.argv[2], "rb") as f:
    disk = bytearray (f.read ())
with open (sys.argv[3], "rb") as f:
    got = f.read ()
for r in lost:
    disk[r["offset"] : r["offset"] + r["length"]] = bytes (r["length"])
if disk != got:
    sys.exit ("bytes are wrong")
PYTHON
}

# hurt FILE OFFSET LEN: zeros there
hurt ()
{
    dd if=/dev/zero of="$1" bs=4096 oflag=seek_bytes iflag=count_bytes \
        seek="$2" count="$3" conv=notrunc status=none
}

# --- a file that is whole is what it was

nbdimage backup --everything --single=win.nbi --name=win win.img
status 0 nbdimage salvage --dry-run win.nbi
contains out 'of which 0 B are lost'
contains out 'Partition 2:  ntfs ‘nbdimage-ntfs’, whole'
nbdimage salvage --output=same.nbi win.nbi
as_raw same.nbi same.img
cmp same.img win.img
same "disk" "$(nbdimage info --json same.nbi | jq -r .size)" "$size"
nbdimage check --data same.nbi
status 1 nbdimage salvage --output=same.nbi win.nbi
contains err 'same.nbi'

# --- damaged in its middle

len=$(stat -c %s win.nbi)
cp win.nbi hurt.nbi
hurt hurt.nbi $((len / 2)) 100000
sha256sum hurt.nbi >before
refuses nbdimage convert hurt.nbi -O raw got.img
status 1 nbdimage salvage --json --output=saved.nbi hurt.nbi
cp out report
sha256sum --check --quiet before
same "all of what is lost is in a partition" \
    "$(jq '[.lost[] | .partition] | unique' -c report)" '[2]'
[ "$(jq '.["lost-bytes"]' report)" -ge 65536 ]
same "partitions" "$(jq -c '[.partitions[] | [.number, .fs, .lost > 0]]' \
    report)" '[[1,"vfat",false],[2,"ntfs",true]]'
nbdimage check --data saved.nbi
right saved.nbi win.img report
status 1 nbdimage restore saved.nbi refused.img
contains err '--allow-unreadable'
status 1 nbdimage salvage --dry-run hurt.nbi
contains out 'Partition 1:  vfat ‘EFI-FAT’, whole'
contains out 'Lost:         bytes'
contains err 'of the disk are lost; all else can be had'

# --- which files are hit: those that are others when what is lost is garbage

# garbled DISK REPORT PARTITION: a file with that partition, so garbled
garbled ()
{
    python3 - "$@" <<'PYTHON'
import json, random, sys
with open (sys.argv[2]) as f:
    report = json.load (f)
with open (sys.argv[1], "rb") as f:
    disk = bytearray (f.read ())
for r in report["lost"]:
    disk[r["offset"] : r["offset"] + r["length"]] = \
        random.randbytes (r["length"])
p, = [p for p in report["partitions"] if p["number"] == int (sys.argv[3])]
with open ("garbled.img", "wb") as f:
    f.write (disk[p["offset"] : p["offset"] + p["length"]])
PYTHON
}

# read_file KIND NAME: its bytes, of garbled.img
read_file ()
{
    case $1 in
        vfat) mtype -i garbled.img "::$2" ;;
        ntfs) ntfscat -f garbled.img "$2" ;;
        ext4)
            rm -f dumped
            debugfs -R "dump \"/$2\" dumped" garbled.img >&2
            cat dumped ;;
    esac
}

# hit_are_those DISK REPORT PARTITION KIND
hit_are_those ()
{
    local sum name
    garbled "$1" "$2" "$3"
    : >expected
    while read -r sum name; do
        name=${name#\*}
        name=${name#./}
        [ "$(read_file "$4" "$name" | sha256sum | cut -d' ' -f1)" = "$sum" ] ||
            echo "/$name" >>expected
    done <"$1.p$3.sha256"
    jq -r --argjson n "$3" '.partitions[] | select (.number == $n) |
        .["files-hit"][].path' "$2" | sort >found
    sort expected | diff - found
    [ -s expected ] || fail "no file is hit"
    same "note" "$(jq -r --argjson n "$3" '.partitions[] |
        select (.number == $n) | .["files-hit-note"]' "$2")" null
}
for what in '30 1 vfat' '80 2 ntfs'; do
    read -r percent number kind <<<"$what"
    cp win.nbi files.nbi
    hurt files.nbi $((len * percent / 100)) 20000
    status 1 nbdimage salvage --json --dry-run files.nbi
    cp out report
    hit_are_those win.img report "$number" "$kind"
    name=$(head -1 expected)
    status 1 nbdimage salvage --dry-run files.nbi
    contains out "    $name: "
done

nbdimage backup --everything --single=ext4.nbi ext4.img
len4=$(stat -c %s ext4.nbi)
cp ext4.nbi hurt4.nbi
hurt hurt4.nbi $((len4 / 2)) 20000
status 1 nbdimage salvage --json --dry-run hurt4.nbi
cp out report
hit_are_those ext4.img report 1 ext4

# A byte in the middle of one file: it is named, and no other one may be hit,
# wherever the library looks for file systems, or reads ahead.
mkdir -p files/folder
for name in folder/a folder/b folder/c folder/d e f g h; do
    head -c 300000 /dev/urandom >files/$name
done
mkfs.ext4 -q -b 1024 -d files fs.img 16M
truncate -s 17M parted.img
echo 'start=2048,size=32768,type=83' | sfdisk -q parted.img
dd if=fs.img of=parted.img bs=1M seek=1 conv=notrunc status=none
nbdimage backup --single=parted.nbi parted.img
for name in folder/a folder/b folder/c folder/d e f g h; do
    python3 - files/$name <<'PYTHON'
import sys
with open (sys.argv[1], "rb") as f:
    middle = f.read ()[150000:150050]
with open ("parted.nbi", "rb") as f:
    image = bytearray (f.read ())
image[image.index (middle)] ^= 1
with open ("flipped.nbi", "wb") as f:
    f.write (image)
PYTHON
    status 1 nbdimage salvage --json --dry-run flipped.nbi
    same "hit" "$(jq -c '.partitions[0] | [.["files-hit"][].path,
        .["files-hit-note"]]' out)" "[\"/$name\",null]"
done

# Cut off, manifest and end of the file system are lost: what its beginning says
# is shown, and info says what helps.
head -c $(($(stat -c %s parted.nbi) * 6 / 10)) parted.nbi >cut.nbi
status 1 nbdimage salvage --json --dry-run cut.nbi
same "file system" "$(jq -r '.partitions[0].fs' out)" ext4
[ "$(jq '.partitions[0]["files-hit"] | length' out)" -gt 0 ]
status 3 nbdimage info cut.nbi
contains err 'is what is left of a backup of ‘parted’ of '
contains err 'nbdimage salvage --dry-run'

# Without the file system's beginning nobody can tell, and that is said.
cp ext4.nbi hurt4.nbi
hurt hurt4.nbi 4096 $((len4 / 2))
status 1 nbdimage salvage --dry-run hurt4.nbi
contains out 'not known: what the file system begins with is lost'

# --- without header, trailer, or both; cut off

for what in head tail both; do
    cp win.nbi "$what.nbi"
    [ "$what" = tail ] || hurt "$what.nbi" 0 4096
    [ "$what" = head ] || hurt "$what.nbi" $((len - 12288)) 12288
    found=0
    nbdimage salvage --json --output="$what.saved.nbi" "$what.nbi" >report \
        2>err || found=$?
    right "$what.saved.nbi" win.img report
done
same "head lost" "$(jq '.["lost-bytes"]' < <(nbdimage salvage --json \
    --dry-run head.nbi 2>/dev/null))" 0
for part in 4 2; do
    head -c $((len * part / 5)) win.nbi >cut.nbi
    status 1 nbdimage salvage --json --output="cut$part.nbi" cut.nbi
    cp out report
    contains err 'the manifest is lost'
    same "map" "$(jq -c '[.root, .manifest]' report)" '[false,false]'
    right "cut$part.nbi" win.img report
done

# --- a partition that was left out, and the manifest that says so is lost

# hurt_records FILE KIND NUMBER: all records of the kind, with that number (-1:
# any)
hurt_records ()
{
    python3 - "$@" <<'PYTHON'
import struct, sys
name, kind, number = sys.argv[1], int (sys.argv[2]), int (sys.argv[3])
with open (name, "r+b") as f:
    data = f.read ()
    hurt = 0
    for off in range (4096, len (data) - 64, 64):
        if data[off:off + 5] == b"NBIr" + bytes ([kind]) and \
           struct.unpack_from ("<Q", data, off + 16)[0] == off and \
           number in (-1, struct.unpack_from ("<I", data, off + 28)[0]):
            f.seek (off)
            f.write (bytes (128))
            hurt += 1
if hurt == 0:
    sys.exit ("there is no such record")
PYTHON
}

# absent IMAGE: reading partition 2 is an error, and of 1 it is what it was
absent ()
{
    local start off len
    start=$(jq '.partitions[1].offset' report)
    off=$(jq '.partitions[0].offset' report)
    len=$(jq '.partitions[0].length' report)
    nbdkit -r -U - image "$1" --run \
        "qemu-io -r -f raw -c 'read $((start + 1048576)) 512' \"\$uri\"" \
        >io 2>&1 || :
    contains io 'Input/output error'
    rm -f got.img
    refuses nbdimage convert "$1" -O raw got.img
    rm -f got.img
    nbdkit -r -U - --filter=offset image "$1" offset="$off" range="$len" \
        --run 'nbdcopy "$uri" got.img'
    cmp -n "$len" --ignore-initial="0:$off" got.img win.img
}

nbdimage backup --everything --partition=1 --chunk-size=16K --name=win \
    --single=some.nbi win.img
status 0 nbdimage salvage --dry-run some.nbi
contains out 'Partition 1:  vfat ‘EFI-FAT’, whole'
contains out 'Partition 2:  ntfs ‘nbdimage-ntfs’, left out of the backup'
cp some.nbi silent.nbi
hurt_records silent.nbi 3 -1
status 0 nbdimage salvage --json --output=silent.saved.nbi silent.nbi
cp out report
contains err 'partition 2 was left out of the backup'
same "absent" "$(jq -c '[.partitions[].absent]' report)" '[false,true]'
absent silent.saved.nbi

# A page of it is lost too.
hurt_records silent.nbi 2 1
status 1 nbdimage salvage --json --output=page.saved.nbi silent.nbi
contains err 'partition 2: nobody knows whether it was left out'
absent page.saved.nbi

# And the table.
hurt_records silent.nbi 1 0
status 1 nbdimage salvage --json --output=table.saved.nbi silent.nbi
cp out report
contains err 'the partition table is lost as well'
same "not allocated" "$(jq -c '[.unallocated, .partitions]' report)" '[0,[]]'
rm -f got.img
refuses nbdimage convert table.saved.nbi -O raw got.img
contains "$tmp/refused" 'could not be read'

# --- a vault: of several disks one has to be named, and it is its newest

nbdimage backup --everything --init --name=win win.img vault
first=$(nbdimage generations --json vault | jq -r '.. | .time? // empty' |
        head -1)
cp win.img changed.img
dd if=/dev/urandom of=changed.img bs=1M seek=60 count=2 conv=notrunc \
    status=none
sleep 1
nbdimage backup --everything --name=win changed.img vault
nbdimage backup --name=ext4 ext4.img vault
status 1 nbdimage salvage --dry-run vault
contains err '--name says of which'
status 0 nbdimage salvage --name=win --output=newest.nbi vault
as_raw newest.nbi got.img
cmp got.img changed.img
stamp=$(date -u -d "$first" +%Y%m%dT%H%M%SZ)
status 0 nbdimage salvage --name=win --generation="$stamp" --output=first.nbi \
    vault
as_raw first.nbi got.img
cmp got.img win.img
status 1 nbdimage salvage --name=other --dry-run vault
status 1 nbdimage salvage --name=win --generation=1999 --dry-run vault

# The files of the first generation are gone: what the second has of its own
# is had, and nothing else.
rm -r "$(ls -d vault/files/win.* | head -1)"
status 1 nbdimage salvage --name=win --json --output=half.nbi vault
cp out report
right half.nbi changed.img report
[ "$(jq '.["lost-bytes"]' report)" -lt "$size" ]
dd if=got.img bs=1M skip=60 count=2 status=none >a
dd if=changed.img bs=1M skip=60 count=2 status=none >b
cmp a b

# --- into a vault

nbdimage salvage --into=new --init saved.nbi || [ $? -eq 1 ]
contains <(nbdimage generations new) win
nbdimage verify new
status 1 nbdimage salvage --into=nowhere saved.nbi
contains err 'nowhere'

# --- what can't be

status 2 nbdimage salvage win.nbi
status 2 nbdimage salvage --dry-run --output=x.nbi win.nbi
status 2 nbdimage salvage --dry-run
status 2 nbdimage salvage --init --output=x.nbi win.nbi
status 1 nbdimage salvage --output=x.nbi win.img
contains err 'win.img: is left out'
contains err 'nothing of a backup image was found'
status 1 nbdimage salvage --output=x.nbi nothing.nbi
[ ! -e x.nbi ]
# Of several, those that are none are passed over.
status 0 nbdimage salvage --dry-run win.nbi ext4.img
contains err 'ext4.img: is left out'
