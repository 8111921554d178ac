#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Writing to a raw image: what is written is there, and nothing else.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-io --version
client=$abs_top_builddir/tests/plugin/client

# qemu-io does the same to the export and to a plain file.
cat >"$tmp/commands" <<'END'
write -P 0x11 0 1M
write -f -P 0x22 12345 6789
write -z 65536 4096
write -z -u 131072 65536
write -P 0x33 1048575 2
discard 262144 65536
flush
write -z -f 300000 100001
write -P 0x44 10485759 1
END
head -c 10M /dev/urandom >"$tmp/local.img"
cp "$tmp/local.img" "$tmp/served.img"
start_nbdkit image "$tmp/served.img"
qemu-io -f raw "$tmp/local.img" <"$tmp/commands" >/dev/null
qemu-io -f raw "$uri" <"$tmp/commands" >"$tmp/qemu-io.log"
refuses grep -i -e error -e failed "$tmp/qemu-io.log"
stop_nbdkit
same_bytes "$tmp/served.img" "$tmp/local.img"

# Random requests of any alignment.
truncate -s 5000001 "$tmp/random.img"
start_nbdkit image "$tmp/random.img"
"$client" random "$uri" $RANDOM 1500 "$tmp/model"
"$client" nonsense "$uri"
stop_nbdkit
same_bytes "$tmp/random.img" "$tmp/model"

# A flush and a write with FUA reach the disk before they are answered.
# (The sanitizers can't be traced.)
if [ -n "${NBDIMAGE_ASAN:-}" ]; then
    exit 0
fi
requires strace
requires strace -o "$tmp/true.log" true
rm "$tmp/true.log"
truncate -s 1M "$tmp/sync.img"
# calls ''|fua|flush NUMBER
# So many system calls from the write to the image on, in their order; a
# sendto is a reply (the client's own ones have MSG_NOSIGNAL).
calls ()
{
    strace -f -o "$tmp/strace.log" \
        -e trace=fdatasync,fsync,pwrite64,sendto \
        nbdkit -f -U - image "$tmp/sync.img" \
        --run "'$client' write \$uri $1"
    sed -nE -e '/MSG_NOSIGNAL/d' \
        -e 's/^[0-9]+ +(fdatasync|fsync|pwrite64|sendto)\(.*/\1/p' \
        "$tmp/strace.log" | sed -n '/pwrite64/,$p' | head -n "$2" | xargs
}
same "calls without flush" "$(calls '' 2)" "pwrite64 sendto"
same "calls with FUA" "$(calls fua 3)" "pwrite64 fdatasync sendto"
same "calls with a flush" "$(calls flush 4)" \
    "pwrite64 sendto fdatasync sendto"
