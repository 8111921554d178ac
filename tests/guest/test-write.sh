#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A disk that grows is a disk: partitions and file systems are made in it, and
# filled, on /dev/nbdX; fsck finds nothing; fstrim gives space back; the server
# is killed while somebody writes, and what was synced before is there.  So is
# one of three levels, whose parents stay as they are.

. "$(dirname "$0")/../functions.sh"
. "$(dirname "$0")/guest.sh"
set -e

make_images ()
{
    :
}

for program in jq sfdisk mkfs.ext4 mkntfs ntfs-3g mkfs.vfat fstrim; do
    requires "$program"
done
in_guest 800

# In the guest's memory, where holes can be punched into files.
cd "$tmp"
mkdir mnt
cleanup_fn sh -c 'umount -l mnt 2>/dev/null || :'

# fill DIR MIB NAME: files there; their checksums are in the file NAME
fill ()
{
    local i

    for ((i = 0; i < $2; i++)); do
        head -c 1000000 /dev/urandom >"$1/$3.$i"
    done
    (cd "$1" && sha256sum "$3".*) >"$3"
}

# unchanged DIR NAME
unchanged ()
{
    (cd "$1" && sha256sum --quiet --strict --check "$tmp/$2") ||
        fail "the files of $2 have changed"
}

# no_errors COMMAND ARG...: of fsck
no_errors ()
{
    local status=0

    "$@" >fsck.log 2>&1 || status=$?
    [ "$status" -eq 0 ] || { cat fsck.log; fail "'$*' ended with $status"; }
}

allocated ()
{
    du -k --apparent-size "$1" >&2
    du -k "$1" | cut -f1
}

types=(ext4 vfat ntfs-3g)

make_file_systems ()
{
    sfdisk -q --no-tell-kernel --no-reread "$dev" <<END
label: gpt
size=80MiB
size=40MiB
size=40MiB
END
    blockdev --rereadpt "$dev"
    mkfs.ext4 -q -E nodiscard "${dev}p1"
    mkfs.vfat "${dev}p2" >/dev/null
    mkntfs -q -Q "${dev}p3"
}

fill_file_systems ()
{
    local n

    for n in 1 2 3; do
        mount -t "${types[n - 1]}" "${dev}p$n" mnt
        fill mnt 12 "$1.$n"
        umount mnt
    done
}

check_file_systems ()
{
    local n

    no_errors e2fsck -f -n "${dev}p1"
    no_errors fsck.vfat -n "${dev}p2"
    no_errors ntfsfix --no-action "${dev}p3"
    for n in 1 2 3; do
        mount -t "${types[n - 1]}" -o ro "${dev}p$n" mnt
        unchanged mnt "$1.$n"
        umount mnt
    done
}

# Half of the files go, and the space that they took.
give_back ()
{
    local before after

    before=$(allocated "$1")
    attach --write "$1"
    mount "${dev}p1" mnt
    rm mnt/*.[0-9]
    sync
    fstrim -v mnt
    umount mnt
    detach "$1"
    after=$(allocated "$1")
    echo "$1: $before KiB before fstrim, $after KiB after"
    [ "$after" -lt $((before - 6000)) ] || fail "no space came back"
    attach "$1"
    no_errors e2fsck -f -n "${dev}p1"
    mount -o ro "${dev}p1" mnt
    grep -E '\.[0-9]{2}$' "$2.1" >left
    unchanged mnt left
    umount mnt
    detach "$1"
}

# What was synced before the server is killed is there, and the journal mends
# the rest.
killed_while_written ()
{
    local writer

    attach --write "$1" --timeout 6
    mount "${dev}p1" mnt
    fill mnt 3 synced
    sync -f mnt
    (while head -c 3000000 /dev/urandom >"mnt/more.$RANDOM" && sync -f mnt; do
         :
     done) 2>/dev/null &
    writer=$!
    sleep 3
    kill -KILL "$(server_pid "$dev")"
    wait "$writer" || true
    umount -l mnt
    for ((i = 0; i < 300; i++)); do
        nbdimage detach "$1" >/dev/null 2>&1 || true
        [ -n "$(nbdimage attached)" ] || break
        sleep 0.2
    done
    # Over parents, the bits that wait are in a journal, for the next to write.
    [ -z "$(nbdimage attached)" ] || fail "it is attached"
    nbdimage check "$1"
    attach --write "$1"
    status=0
    e2fsck -f -p "${dev}p1" >fsck.log 2>&1 || status=$?
    cat fsck.log
    [ "$status" -le 1 ] || fail "e2fsck -p ended with $status"
    no_errors e2fsck -f -n "${dev}p1"
    mount "${dev}p1" mnt
    unchanged mnt synced
    unchanged mnt left
    umount mnt
    detach "$1"
}

# life IMAGE: which was created
life ()
{
    step "$1: partitions and file systems, filled"
    attach --write "$1"
    make_file_systems
    fill_file_systems "${1%.*}"
    detach "$1"
    nbdimage check "$1"
    attach "$1"
    check_file_systems "${1%.*}"
    detach "$1"

    step "$1: fstrim gives space back"
    give_back "$1" "${1%.*}"

    step "$1: the server is killed while somebody writes"
    killed_while_written "$1"
    nothing_left
    rm "${1%.*}".*
}

nbdimage create dynamic.vhd 200M
life dynamic.vhd

nbdimage create dynamic.vhdx 200M --block-size=2M
life dynamic.vhdx

# Three levels: what is below has file systems, and is the same after.
for kind in vhd vhdx; do
    nbdimage create "first.$kind" 200M
    attach --write "first.$kind"
    make_file_systems
    detach "first.$kind"
    nbdimage create --parent="first.$kind" "second.$kind"
    attach --write "second.$kind"
    mount "${dev}p1" mnt
    fill mnt 3 below
    umount mnt
    detach "second.$kind"
    sha256sum "first.$kind" "second.$kind" >parents
    nbdimage create --parent="second.$kind" "chain.$kind"
    attach "chain.$kind"
    no_errors e2fsck -f -n "${dev}p1"
    mount -o ro "${dev}p1" mnt
    unchanged mnt below
    umount mnt
    detach "chain.$kind"
    life "chain.$kind"
    sha256sum --quiet --strict --check parents || fail "a parent was changed"
    rm "first.$kind" "second.$kind"
done
