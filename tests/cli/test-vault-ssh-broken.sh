#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A vault on another machine whose server dies, stops, or stays away in the
# middle of a backup: it goes on, or ends with an error in time, and the next
# one adopts what was written.

. "$(dirname "$0")/../functions.sh"
. "$support/sshd.sh"
set -e
set -x

requires test -x "$sshd_program"
requires ssh-keygen
requires ps
grep -q 'HAVE_LIBSSH 1' "$abs_top_builddir/config.h" ||
    skip "built without libssh"
cd "$tmp"

size=96
head -c ${size}M /dev/urandom >disk.img
sshd_start

# in_the_middle VAULT: a backup has written some megabytes, and has not ended
in_the_middle ()
{
    local written
    for _ in {1..3000}; do
        written=$(find "$1/partial" -name '*.part' -size +8M 2>/dev/null || :)
        [ -z "$written" ] || return 0
        kill -0 "$backup" 2>/dev/null || return 1
        sleep 0.01
    done
    return 1
}

# begin VAULT OPTION...: a backup in the background
begin ()
{
    local vault
    vault=$(sshd_uri "$tmp/$1" lag=0 "${@:2}")
    nbdimage backup --init --everything --name=disk disk.img "$vault" \
             >said 2>&1 &
    backup=$!
    in_the_middle "$1" || { cat said; fail "it was too fast, or failed"; }
}

# ended STATUS SECONDS: it ends so, and not later
ended ()
{
    local status=0
    for ((i = 0; i < $2 * 10; i++)); do
        kill -0 "$backup" 2>/dev/null || break
        sleep 0.1
    done
    ! kill -0 "$backup" 2>/dev/null || {
        kill -KILL "$backup"
        fail "it has not ended after $2 seconds"
    }
    wait "$backup" || status=$?
    cat said
    same "status" "$status" "$1"
}

# The process that serves it is killed: it goes on with another.
begin killed
for pid in $(sshd_sessions); do kill -KILL "$pid"; done
ended 0 60
nbdimage verify killed
rm -f got.raw
nbdimage convert killed/disk -O raw got.raw
cmp disk.img got.raw
[ -z "$(ls killed/partial killed/broken | grep -v :)" ]

# The whole server is gone, and does not come again in time.
begin gone retry=1 timeout=5
sshd_stop
ended 1 30
[ "$(nbdimage generations --json gone)" = "[]" ]
sshd_start
# As it would be taken for dead after ten minutes.
mv gone/partial/backup-* gone/broken/
nbdimage backup --everything --name=disk disk.img \
         "$(sshd_uri "$tmp/gone" lag=0)" >said
cat said
contains said "adopted from a backup that was interrupted"
nbdimage verify gone
rm -f got.raw
nbdimage convert gone/disk -O raw got.raw
cmp disk.img got.raw

# It stops, as one whose disk hangs: an error that says so, no hang.
begin stopped timeout=2 retry=1
for pid in "$sshd_pid" $(sshd_sessions); do kill -STOP "$pid"; done
ended 1 30
grep -q 'nothing for 2 seconds\|did not answer within 2 seconds' said
sshd_stop
sshd_start

# Ctrl-C does not wait for it.
begin canceled timeout=600
for pid in "$sshd_pid" $(sshd_sessions); do kill -STOP "$pid"; done
kill -INT "$backup"
ended 1 10
contains said interrupted
