#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# repair: the log of a VHDX that was not closed, as Windows left it.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-img
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

# A log: replayed, and it does what qemu-img does.
log=$(sample vhdx/dirtylog-10G.vhdx)
cp --sparse=always "$log" log.vhdx
cp --sparse=always "$log" theirs.vhdx
status 0 nbdimage repair --yes log.vhdx
contains out "what the log holds"
qemu-img check -q -r all -f vhdx theirs.vhdx
qemu-img compare -q -f vhdx -F vhdx theirs.vhdx log.vhdx
qemu-img check -q -f vhdx log.vhdx
status 0 nbdimage repair --revert log.vhdx.undo log.vhdx
same_bytes log.vhdx "$log"
# What leaks, at the same time.
head -c 3M /dev/urandom >>log.vhdx
cp --sparse=always log.vhdx leaks.vhdx
rm -f log.vhdx.undo
status 0 nbdimage repair --yes log.vhdx
contains out "what the log holds"
contains out "nothing names the "
status 0 nbdimage repair --yes log.vhdx
contains out "there is nothing to repair"
qemu-img compare -q -f vhdx -F vhdx theirs.vhdx log.vhdx
status 0 nbdimage repair --revert log.vhdx.undo log.vhdx
same_bytes log.vhdx leaks.vhdx
cp --sparse=always "$log" log.vhdx

# One that can't be replayed is given up on demand only.
head -c 2M log.vhdx | grep -abo loge | cut -d : -f 1 >entries
[ -s entries ]
while read -r offset; do
    poke log.vhdx $((offset + 70)) X
done <entries
cp --sparse=always log.vhdx before
status 3 nbdimage repair --yes log.vhdx
contains err "--discard-log, loses what is in there: entries: "
same_bytes log.vhdx before
rm -f log.vhdx.undo
status 0 nbdimage repair --yes --discard-log log.vhdx
contains out "gives the log up"
status 0 nbdimage check log.vhdx
status 0 nbdimage repair --revert log.vhdx.undo log.vhdx
same_bytes log.vhdx before
