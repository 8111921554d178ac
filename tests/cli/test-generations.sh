#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# generations: how old the newest one is, also after a clock was wrong, and what
# it says of keeps where there is not much to be read.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
cd "$tmp"

head -c 1M /dev/urandom >disk.img
nbdimage backup --init --everything disk.img vault
folder=$(echo vault/files/*)

# status WANT COMMAND ARG...: what it says is in out and err
status ()
{
    local want=$1 found=0
    shift
    "$@" >out 2>err || found=$?
    cat out err
    same "status of $*" "$found" "$want"
}

# --- of one disk, as images are named

status 0 nbdimage generations vault disk
cp out want
status 0 nbdimage generations vault/disk
cmp out want
status 1 nbdimage generations vault/other
contains err 'vault: the vault has no generation of ‘other’'
status 1 nbdimage generations nowhere/disk
contains err 'nowhere/disk: the folder can'
status 0 nbdimage prune --dry-run --keep-last=1 vault/disk
cp out want
status 0 nbdimage prune --dry-run --keep-last=1 vault disk
cmp out want

# --- it was made by a clock that was ten days ahead

if [ -z "${NBDIMAGE_ASAN:-}${NBDIMAGE_TSAN:-}" ] && command -v cc; then
    cat >before.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
time_t
time (time_t *to)
{
  time_t (*real) (time_t *) = (time_t (*) (time_t *)) dlsym (RTLD_NEXT,
                                                             "time");
  time_t t = real (NULL) - 10 * 86400;
  if (to)
    *to = t;
  return t;
}
C
    cc -shared -fPIC -o before.so before.c -ldl
    status 1 env LD_PRELOAD="$PWD/before.so" nbdimage generations \
        --max-age=1w vault
    contains err 'more than a day later than it is now'
    contains err '‘disk’'
fi
status 0 nbdimage generations --max-age=1w vault

# --- dropped, and there because it is kept: no backup that somebody counts on

cat >"$folder/0123456789abcdef0123456789abcdef.keep" <<'JSON'
{"nbi-keep": 1, "kind": "overlay", "host": "nowhere", "path": "/srv/over.vhd",
 "created": "2026-11-22T15:52:00Z"}
JSON
status 0 nbdimage generations --max-age=1w vault
: >"$folder/dropped"
status 1 nbdimage generations --max-age=1w vault
contains out 'kept for the overlay /srv/over.vhd on nowhere (01234567)'
contains out 'dropped, and there as long as it is kept'
contains err 'there is no generation'

# --- what can't be read is kept for somebody all the same

root=$(echo "$folder"/*.root.nbi)
truncate -s 5000 "$root"
status 3 nbdimage generations vault
contains out "can't be read  disk"
contains out 'kept for the overlay /srv/over.vhd on nowhere (01234567)'
status 3 nbdimage generations --json vault
same "keeps" "$(jq -r '.[0].keeps[0].overlay' out)" /srv/over.vhd
same "disk" "$(jq -r '.[0].disk' out)" null
same "folder" "$(jq -r '.[0].folder' out)" "${folder#vault/files/}"
status 0 nbdimage generations --release=01234567 vault
[ ! -e "$folder/0123456789abcdef0123456789abcdef.keep" ] || fail "it is there"
