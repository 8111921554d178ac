#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Backups of Windows that are damaged, or that somebody hostile wrote: the disk
# is refused with one sentence, and the volumes that are good can be had.
# (What the record of the layout may say wrong: tests/unit/test-asr.c.)

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires python3 --version
requires nbdinfo --version
requires nbdcopy --version
requires qemu-img --version
requires sfdisk --version
requires mkntfs --version

cd "$tmp"
"$support/windows-disk.sh" mbr disk.img
make_backup="python3 $support/make-windows-backup.py --volume 1==Boot \
  --volume 2=C= --volume 3=D=Data --encoding utf-8 --layout root"
$make_backup disk.img good
name="Backup 2019-02-22 124351"
writer=cd113385-65ff-4ea2-8ced-5630f6feca8f_Writer
writer=${writer}be000cbe-11fe-4426-9c58-531aa6355fc4.xml
components=cd113385-65ff-4ea2-8ced-5630f6feca8f_Components.xml
one=9b9cfbc1-369e-11e9-a17c-806e6f6e6963.vhd
two=9b9cfbc2-369e-11e9-a17c-806e6f6e6963.vhd
three=9b9cfbc3-369e-11e9-a17c-806e6f6e6963.vhd
guids="9b9cfbc1-369e-11e9-a17c-806e6f6e6963 9b9cfbc2-369e-11e9-a17c-806e6f6e6963"
guids="$guids 9b9cfbc3-369e-11e9-a17c-806e6f6e6963"
volumes="Boot C D"
nr=0

# case: a fresh copy; $b is its backup.
fresh ()
{
    rm -rf bad
    cp -r good bad
    b="bad/PC/$name"
    nr=$((nr + 1))
}

# no_disk STATUS SENTENCE: the disk is refused so, by info and by the server,
# which serves $volumes.
no_disk ()
{
    local status=0 list

    nbdimage info bad >out 2>err || status=$?
    cat err
    same "status" "$status" "$1"
    contains err "$2"
    same "sentences" "$(grep -c '^nbdimage: bad: ' err)" 1
    start_nbdkit -r image dir=bad
    contains "$nbdkit_log" "disk: can't be served: "
    list=$(nbdinfo --list --json "$uri" | jq -r '.exports[]."export-name"')
    same "exports" "${list//$'\n'/ }" "$volumes"
    refuses nbdinfo --size "$(export_uri disk)"
    stop_nbdkit
}

# edit DOCUMENT SED
edit ()
{
    sed -i "$2" "$b/$1"
    ! cmp -s "$b/$1" "good/PC/$name/$1" || fail "nothing was changed: $2"
}

# The good one is good.
nbdimage info good >out
start_nbdkit -r image good
nbdcopy "$uri" copy
same_bytes <(tail -c +441 copy) <(tail -c +441 disk.img)
stop_nbdkit

# --- files of volumes

fresh
rm "$b/$two"
volumes="Boot D" no_disk 3 "9b9cfbc2-369e-11e9-a17c-806e6f6e6963.vhd or .vhdx is \
missing, the volume of the partition with index 1, which is critical"
fresh
edit "$writer" 's/IsCritical="1"/IsCritical="0"/g'
rm "$b/$three"
volumes="Boot C" no_disk 3 "$three or .vhdx is missing, the volume of the \
partition with index 2"
fresh                           # swapped
mv "$b/$two" x; mv "$b/$one" "$b/$two"; mv x "$b/$one"
no_disk 3 "$one: it holds a volume of 41943040 bytes, but the partition has \
20971520"
fresh                           # too small
edit "$writer" 's/DiskSize="100663296"/DiskSize="201326592"/
                s/PartitionLength="36700160"/PartitionLength="73400320"/'
no_disk 3 "$three: it holds a volume of 36700160 bytes, but the partition has \
73400320"
fresh                           # its file system is larger than it is
edit "$writer" 's/PartitionLength="41943040"/PartitionLength="37748736"/'
no_disk 3 "$two: its file system has 41943040 bytes, but the partition has \
37748736"
fresh                           # cut off
truncate -s 1M "$b/$two"
volumes="Boot D" no_disk 3 "$two: BAT entry 0"
fresh
: >"$b/$two"
volumes="Boot D" no_disk 3 "$two: is empty"
fresh
head -c 1048576 /dev/urandom >"$b/$two"
volumes="Boot D" no_disk 3 "$two"
fresh                           # a raw disk, and another container
qemu-img convert -O raw "good/PC/$name/$two" "$b/${two%.vhd}.vhdx"
rm "$b/$two"
volumes="Boot D" no_disk 3 "is neither a VHD nor a VHDX"
fresh
qemu-img convert -O qcow2 "good/PC/$name/$two" "$b/$two"
volumes="Boot D" no_disk 1 "$two: it is a qcow2 file"
fresh                           # twice
cp "$b/$two" "$b/${two%.vhd}.VHDX"
volumes="Boot D" no_disk 3 "the volume is there twice, as ${two%.vhd}."
fresh                           # two partitions, none, nothing
truncate -s 40M raw
printf 'label: dos\n128,2048\n4096,2048\n' | sfdisk -q raw
qemu-img convert -O vpc -o force_size=on raw "$b/$two"
volumes="Boot D" no_disk 3 "$two: its disk has 2 partitions, expected one"
printf 'label: dos\n' | sfdisk -q --wipe always raw
qemu-img convert -O vpc -o force_size=on raw "$b/$two"
volumes="Boot D" no_disk 3 "$two: its disk has 0 partitions, expected one"
qemu-img create -q -f vpc -o force_size=on "$b/$two" 40M
volumes="Boot D" no_disk 3 "$two: its disk begins neither with a partition table"
fresh                           # a path out of the folder
mv "$b/$two" "$tmp/outside.vhd"
ln -s "$tmp/outside.vhd" "$b/$two"
volumes="Boot D" no_disk 1 "‘$two’ can't be opened"
fresh
ln -s ../../../../outside.vhd "$b/x"
rm "$b/$two"
ln -s x "$b/$two"
volumes="Boot D" no_disk 1 "‘$two’ can't be opened"
fresh
rm "$b/$two"
mkfifo "$b/$two"
volumes="Boot D" no_disk 1 "is not a regular file"
fresh                           # no volume at all
rm "$b"/*.vhd
refuses nbdimage info bad
contains refused "bad: the backup has no volume"
refuses nbdkit -U - -r image dir=bad --run true
contains refused "the backup has no volume"

# --- the record of the layout

fresh
: >"$b/$writer"
volumes=$guids
no_disk 3 "$writer: line 1: is not XML: no element found"
fresh
echo '<WRITER_METADATA/>' >"$b/$writer"
no_disk 1 "the layout of the disk is not recorded: there is no AsrSif in the 2"
fresh
truncate -s 300 "$b/$writer"
no_disk 3 "$writer: line 1: is not XML"
fresh                           # a billion laughs
{
    echo '<!DOCTYPE AsrSif ['
    echo '<!ENTITY a0 "laugh">'
    for ((i = 1; i < 30; i++)); do
        echo "<!ENTITY a$i \"&a$((i - 1));&a$((i - 1));&a$((i - 1));\">"
    done
    echo ']><AsrSif>&a29;</AsrSif>'
} >"$b/$writer"
no_disk 3 "$writer: it declares a document type, which is not accepted"
fresh
{
    echo '<!DOCTYPE AsrSif [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    echo '<AsrSif>&a;</AsrSif>'
} >"$b/$writer"
no_disk 3 "it declares a document type"
fresh                           # deep, and long
printf '<a>%.0s' {1..100000} >"$b/$writer"
no_disk 3 "$writer: elements nest deeper than 32"
fresh
truncate -s 5M "$b/$writer"
no_disk 3 "$writer: it has 5242880 bytes, expected at most 4194304"
fresh
rm "$b/$writer"
ln -s /etc/passwd "$b/$writer"
no_disk 1 "$writer’ can't be opened"
fresh                           # two that differ
sed 's/0x8ae9dbe5/0x8ae9dbe6/' "$b/$writer" >"$b/$components"
volumes="Boot C D"
no_disk 3 "two AsrSif differ"
fresh                           # and two that do not
cp "$b/$writer" "$b/$components"
nbdimage info bad >out
contains out "MBR 0x8ae9dbe5"
fresh
edit "$writer" 's/PartitionOffset="22020096"/PartitionOffset="12582912"/'
no_disk 3 "MbrPartition with index 1: it overlaps the partition with index 0"
fresh
edit "$writer" 's/DiskSize="100663296"/DiskSize="83886080"/'
no_disk 3 "are not within the disk of 83886080 bytes"
fresh
edit "$writer" 's/PartitionType="0x7"/PartitionType="0x42"/'
no_disk 1 "it is of a dynamic disk, which is not put together"
fresh                           # a critical partition without a volume
edit "$writer" 's/<VolumeMountPoint SymbolicName="[^"]*9b9cfbc2[^"]*"\/>//'
no_disk 3 "the partition with index 1 is critical, but has no volume"
fresh                           # of other volumes
edit "$writer" 's/Volume{9b/Volume{9c/g'
volumes=$guids
no_disk 3 "AsrSif records no disk with the volumes of this backup"
volumes="Boot C D"

# --- odd, and no reason to refuse

fresh                           # a file system from somewhere else
edit "$writer" 's/DiskSize="100663296"/DiskSize="101711872"/
                s/PartitionOffset="63963136"/PartitionOffset="65011712"/'
nbdimage info bad >out 2>err
contains err "$three: its file system says that it begins at sector 124928, \
its partition does at 126976"
fresh                           # names that are no names
edit "$writer" 's/Label="Boot"/Label="disk"/; s/Label="Data"/Label="..\/x"/
                s/DosPath="[^"]*D:"/DosPath=""/'
start_nbdkit -r image dir=bad
same "exports" "$(nbdinfo --list --json "$uri" |
                  jq -r '.exports[]."export-name"' | tr '\n' ' ')" \
     "disk 9b9cfbc1-369e-11e9-a17c-806e6f6e6963 C \
9b9cfbc3-369e-11e9-a17c-806e6f6e6963 "
stop_nbdkit

# --- which folder

fresh                           # the newest of two, or the one that is named
$make_backup --computer PC --backup "Backup 2020-01-01 000000" disk.img bad
sed -i 's/0x8ae9dbe5/0x20200101/' "bad/PC/Backup 2020-01-01 000000/$writer"
nbdimage info bad >out
contains out "MBR 0x20200101"
nbdimage info "bad/PC/$name" >out
contains out "MBR 0x8ae9dbe5"
rm "bad/PC/Backup 2020-01-01 000000"/*.xml
nbdimage info bad >out          # what is no backup does not count
contains out "MBR 0x8ae9dbe5"
fresh                           # two computers
cp -r bad/PC bad/PC2
refuses nbdimage info bad
contains refused "bad: holds the backups of several computers: name the folder"
refuses nbdkit -U - -r image dir=bad --run true
contains refused "holds the backups of several computers"
nbdimage info bad/PC2 >out
fresh                           # among images it is a folder like others
cp disk.img bad/disk.img
start_nbdkit -r image dir=bad
same "exports" "$(nbdinfo --list --json "$uri" |
                  jq -r '.exports[]."export-name"')" disk.img
stop_nbdkit
refuses nbdimage info bad
contains refused "bad: is a folder, not an image"
mkdir empty
refuses nbdimage info empty
contains refused "empty: is a folder, not an image"
refuses nbdimage info empty/C
contains refused "empty/C: can't be opened: No such file or directory"

[ "$nr" -ge 33 ] || fail "only $nr cases"
