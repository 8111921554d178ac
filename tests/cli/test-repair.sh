#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# repair: what it shows is what it does; nothing is done unasked, to what is in
# use, or to what can't be mended; and every repair can be taken back.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires qemu-img
requires qemu-io --version
cd "$tmp"

# status EXPECTED COMMAND…: its exit status, with the output in out and err
status ()
{
    local expected=$1 found=0
    shift
    "$@" >out 2>err </dev/null || found=$?
    cat out err
    same "exit status of $*" "$found" "$expected"
}

# poke FILE OFFSET BYTES: as printf has them
poke ()
{
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# mended FORMAT GOOD BAD: repair and compare the disks, go back and compare the
# files
mended ()
{
    rm -f "$3.undo"
    cp --sparse=always "$3" bad.before
    status 3 nbdimage repair --dry-run "$3"
    contains out "To be done:"
    same_bytes "$3" bad.before
    [ ! -e "$3.undo" ]
    status 0 nbdimage repair --yes "$3"
    contains out "$3: is whole"
    qemu-img compare -q -f "$1" -F "$1" "$2" "$3"
    status 0 nbdimage check --data "$3"
    status 0 nbdimage repair --revert "$3.undo" "$3"
    same_bytes "$3" bad.before
    status 0 nbdimage repair --yes --undo=other.undo "$3"
    status 0 nbdimage repair --revert=other.undo "$3"
    same_bytes "$3" bad.before
    rm other.undo
}

qemu-img create -q -f vpc dyn.vhd 64M
qemu-io -f vpc -c 'write -P 1 0 3M' -c 'write -P 2 40M 5M' dyn.vhd
qemu-img create -q -f vhdx dyn.vhdx 64M
qemu-io -f vhdx -c 'write -P 1 0 3M' -c 'write -P 2 40M 5M' dyn.vhdx
size=$(stat -c %s dyn.vhd)

# A footer that is lost, torn, damaged; its copy.
for cut in 512 100; do
    cp dyn.vhd bad.vhd
    truncate -s "-$cut" bad.vhd
    mended vpc dyn.vhd bad.vhd
done
cp dyn.vhd bad.vhd
poke bad.vhd $((size - 400)) X
mended vpc dyn.vhd bad.vhd
status 0 nbdimage repair --yes bad.vhd
same_bytes bad.vhd dyn.vhd
cp dyn.vhd bad.vhd
poke bad.vhd 0 '\0\0\0\0'
mended vpc dyn.vhd bad.vhd

# Header and region table of a VHDX.
for offset in $((64 * 1024)) $((128 * 1024)) $((192 * 1024)) $((256 * 1024)); do
    cp dyn.vhdx bad.vhdx
    poke bad.vhdx $((offset + 50)) '\377\376'
    mended vhdx dyn.vhdx bad.vhdx
done

# Space that nothing names: no damage, and it is given back.
cp --sparse=never dyn.vhd bad.vhd
truncate -s $((size - 512)) bad.vhd
head -c 4M /dev/urandom >>bad.vhd
tail -c 512 dyn.vhd >>bad.vhd
cp bad.vhd before
status 0 nbdimage repair --yes --keep-leaks bad.vhd
contains out "there is nothing to repair"
rm -f bad.vhd.undo
status 0 nbdimage repair --yes bad.vhd
same_bytes bad.vhd dyn.vhd
status 0 nbdimage repair --revert bad.vhd.undo bad.vhd
same_bytes bad.vhd before

# JSON.
rm bad.vhd.undo
poke bad.vhd 100 X
status 3 nbdimage repair --dry-run --json bad.vhd
same steps "$(jq -r '[.steps[] | .action] | join (" ")' out)" \
     "write resize write"
same done "$(jq .done out)" false
same before "$(jq -r .before.verdict out)" damaged
status 0 nbdimage repair --yes --json bad.vhd
same after "$(jq -r .after.verdict out)" whole
same undo "$(jq -r .undo out)" bad.vhd.undo
same_bytes bad.vhd dyn.vhd

# A second undo file, and none that is replaced.
poke bad.vhd 100 X
status 0 nbdimage repair --yes bad.vhd
[ -e bad.vhd.undo.2 ]
poke bad.vhd 100 X
cp bad.vhd before
status 1 nbdimage repair --yes --undo=bad.vhd.undo bad.vhd
contains err "exists already"
same_bytes bad.vhd before

# Who may not read the image may not read its undo file.
rm -f bad.vhd.undo*
chmod 600 bad.vhd
(umask 0; nbdimage repair --yes bad.vhd)
same mode "$(stat -c %a bad.vhd.undo)" 600

# Nothing is done unasked.
poke bad.vhd 100 X
cp bad.vhd before
status 1 nbdimage repair bad.vhd
contains err "nothing was changed"
same_bytes bad.vhd before
if [ "$(type -t script)" ]; then
    for answer in n y; do
        same_bytes bad.vhd before
        echo "$answer" | script -qefc "nbdimage repair bad.vhd" log >out || :
        contains out "Do it?"
    done
    status 0 nbdimage check bad.vhd
fi

# What was written in place since stays.
cp dyn.vhd bad.vhd
rm -f bad.vhd.undo*
poke bad.vhd $((size - 400)) X
cp bad.vhd before
status 0 nbdimage repair --yes bad.vhd
qemu-io -f vpc -c 'write -P 7 1M 64k' bad.vhd
status 0 nbdimage repair --revert bad.vhd.undo bad.vhd
contains out "what the repair changed is as it was before"
same "the end" "$(tail -c 512 bad.vhd | sha256sum)" \
    "$(tail -c 512 before | sha256sum)"
qemu-io -f vpc -c 'read -P 7 1M 64k' bad.vhd >log
! grep -F failed log || fail "what was written is gone"

# But where a block is new, nothing is taken back.
cp dyn.vhd bad.vhd
rm -f bad.vhd.undo*
poke bad.vhd $((size - 400)) X
status 0 nbdimage repair --yes bad.vhd
qemu-io -f vpc -c 'write -P 7 20M 1M' bad.vhd
cp bad.vhd before
status 1 nbdimage repair --revert bad.vhd.undo bad.vhd
contains err "it was changed since, or is another"
status 1 nbdimage repair --revert bad.vhd.undo dyn.vhdx
same_bytes bad.vhd before
poke bad.vhd.undo 600 X
status 3 nbdimage repair --revert bad.vhd.undo bad.vhd
contains err "undo file is damaged"
status 3 nbdimage repair --revert dyn.vhdx bad.vhd
contains err "it is no undo file"

# What can't be mended is told, and left alone.
cp dyn.vhd bad.vhd
poke bad.vhd $((1536 + 4 * 2)) '\x7f\xff\xff\xff'
poke bad.vhd 100 X
cp bad.vhd before
status 3 nbdimage repair --yes bad.vhd
contains out "costs 2 MiB of the disk from its offset 4194304 on"
contains err "nothing is changed"
same_bytes bad.vhd before
truncate -s 1M raw.img
status 1 nbdimage repair --yes raw.img
status 0 nbdimage repair --yes dyn.vhd
contains out "there is nothing to repair"

# check advises no repair that is refused then, and one that works: of a format
# that was said, too.
status 3 nbdimage check bad.vhd
contains out "repairable: the VHD footer"
for word in "can be repaired" "nbdimage repair"; do
    ! grep -F "$word" out || fail "a repair is advised that is refused"
done
status 3 nbdimage check --json bad.vhd
same repairable "$(jq -c '[.repairable, (.findings[] | .repairable)] | unique' \
                      out)" '[false]'
cp dyn.vhd bad.vhd
poke bad.vhd 100 X
start_nbdkit -r file bad.vhd
status 3 nbdimage check "$uri"
contains out "repairable: "
! grep -F "repair $uri" out || fail "no export is repaired"
stop_nbdkit
status 3 nbdimage check --format=vhd bad.vhd
contains out "‘nbdimage repair --format=vhd bad.vhd’ shows"
status 0 nbdimage repair --format=vhd --yes bad.vhd

# A child, whose parent lies elsewhere.
mkdir elsewhere
cp dyn.vhd elsewhere/base.vhd
nbdimage create --parent=elsewhere/base.vhd child.vhd >out 2>err
mv elsewhere away
poke child.vhd 100 X
cp child.vhd before
status 1 nbdimage repair --yes child.vhd
cp before child.vhd
status 1 nbdimage repair --parent-path=elsewhere --yes child.vhd
same_bytes child.vhd before
status 0 nbdimage repair --parent-path=away --yes --undo=child.undo child.vhd
contains out "child.vhd: is whole, with its parents (1)"
status 2 nbdimage repair --parent-path=away --revert=child.undo child.vhd
status 0 nbdimage repair --revert=child.undo child.vhd
same_bytes child.vhd before

# What is in use.
cp dyn.vhd bad.vhd
poke bad.vhd 100 X
start_nbdkit -r image bad.vhd
mkfifo commands
qemu-io -r -f raw "$uri" <commands >qemu-io.log &
client=$!
cleanup_fn stop_pid "$client"
exec 9>commands
echo "read -P 1 0 512" >&9
for ((i = 0; i < 100; i++)); do
    ! grep -q read qemu-io.log || break
    sleep 0.1
done
cp bad.vhd before
status 1 nbdimage repair --yes bad.vhd
contains err "is in use by another process"
same_bytes bad.vhd before
exec 9>&-
wait "$client" || :
stop_nbdkit
status 1 nbdimage repair --yes 'nbd+unix:///?socket=sock'

# Wrong usage.
status 2 nbdimage repair
status 2 nbdimage repair --revert=x --dry-run bad.vhd
status 2 nbdimage repair --format=qcow2 bad.vhd
