#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# convert from and to NBD servers of all kinds: the bytes, what is asked
# before they are overwritten, and what is said when they can't be read or
# written.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires nbdcopy
requires python3
cd "$tmp"

hash_of ()
{
    sha256sum "$1" | cut -d' ' -f1
}

size=$((21 * 1048576 + 512))
python3 -B "$support/make-holes.py" src.img "$size" 2
hash=$(hash_of src.img)
nbdimage convert src.img src.vhd

# is_copy URI: it begins with the disk.
is_copy ()
{
    nbdcopy "$1" - | head -c "$size" >back
    same "what is in $1" "$(hash_of back)" "$hash"
}

# ------------------------------------------------------------------ source

# Whatever the server can't do.
for filter in '' --filter=noextents --filter=noparallel \
              '--filter=blocksize-policy blocksize-minimum=512 blocksize-error-policy=error'
do
    # shellcheck disable=SC2086
    start_nbdkit -r ${filter%% *} file src.img ${filter#"${filter%% *}"}
    nbdimage convert --verify "$uri" out.vhd
    qemu-img compare -f raw -F vpc src.img out.vhd
    nbdimage convert --threads=16 "$uri" out.img
    same "its bytes" "$(hash_of out.img)" "$hash"
    rm out.vhd out.img
    stop_nbdkit
done

# What its plugin makes of a VHD, and a VHD of which the server knows nothing.
start_nbdkit -r image src.vhd
nbdimage convert "$uri" out.img
same "its bytes" "$(hash_of out.img)" "$hash"
stop_nbdkit
start_nbdkit -r file src.vhd
nbdimage convert "$uri" out2.img
same "its bytes" "$(hash_of out2.img)" "$hash"
nbdimage convert -f raw "$uri" as-is.img
same_bytes as-is.img src.vhd
rm out.img out2.img as-is.img
stop_nbdkit

# From one that fails to read, behind the beginning.
start_nbdkit -r --filter=error file src.img error-pread-rate=100% \
    error-file="$tmp/fails"
touch fails
refuses nbdimage convert -f raw "$uri" out.img
contains "$tmp/refused" "nbdimage: $uri: reading at offset "
[ ! -e out.img ] || fail "there is a file"
rm fails
nbdimage convert "$uri" out.img
same "its bytes" "$(hash_of out.img)" "$hash"
rm out.img
stop_nbdkit

# The place is right: the disk of a device with a bad sector.
cat >bad.sh <<END
case \$1 in
    get_size) echo 8388608 ;;
    thread_model) echo parallel ;;
    pread)
        if [ "\$4" -le 5000000 ] && [ "\$((\$4 + \$3))" -gt 5000000 ]; then
            echo EIO a bad sector >&2
            exit 1
        fi
        head -c "\$3" /dev/zero | tr '\\000' x ;;
    *) exit 2 ;;
esac
END
chmod +x bad.sh
start_nbdkit -r sh bad.sh
refuses nbdimage convert "$uri" out.img
contains "$tmp/refused" "reading at offset $((5000000 / 512 * 512)): "
[ ! -e out.img ] || fail "there is a file"
stop_nbdkit

# ------------------------------------------------------------------ target

# An empty one needs a yes.
for filter in '' --filter=nozero --filter=noparallel \
              '--filter=blocksize-policy blocksize-minimum=4096 blocksize-error-policy=error'
do
    # shellcheck disable=SC2086
    start_nbdkit ${filter%% *} memory 24M ${filter#"${filter%% *}"}
    refuses nbdimage convert src.vhd "$uri"
    contains "$tmp/refused" 'nothing was written; --yes agrees to that'
    # Nor is the wrong size a yes, or does it become one.
    refuses nbdimage convert --yes --confirm=23M src.vhd "$uri"
    contains "$tmp/refused" 'its size is 25165824 bytes, and not 24117248'
    nbdcopy "$uri" - | cmp -n 24M - /dev/zero
    nbdimage convert --yes --verify src.vhd "$uri" >out
    contains out 'nothing, says its server'
    contains out "its first 21 MiB ($size bytes)"
    contains out "the $((25165824 - size)) bytes behind that"
    is_copy "$uri"
    if [ -z "$filter" ]; then
        # Holes are holes there, too.
        nbdinfo --json --map "$uri" >map
        jq -e '[.[] | select (.type == 3)] | length >= 3' map
    fi
    stop_nbdkit
done

# What lies behind the disk stays, also in the last block; and zeros are
# written where there is something.
for minimum in 1 512 4096 65536; do
    head -c 24M /dev/zero | tr '\000' y >full.img
    start_nbdkit --filter=blocksize-policy file full.img \
        blocksize-minimum=$minimum blocksize-preferred=65536 \
        blocksize-error-policy=error
    nbdimage convert --confirm=24M --verify src.img "$uri" >out
    contains out 'something that is not known'
    is_copy "$uri"
    stop_nbdkit
    same "what lies behind" \
         "$(tail -c "+$((size + 1))" full.img | tr -d y | wc -c)" 0
done

# It is asked about what it holds.
dirty ()
{
    truncate -s 0 dirty.img
    truncate -s 24M dirty.img
    "$@"
}
# needs_size WHAT: without a terminal; it has that
needs_size ()
{
    local before with
    before=$(hash_of dirty.img)
    start_nbdkit file dirty.img
    for with in '' --yes --confirm=24000000 "--yes --confirm=$size" \
                --dry-run '--dry-run --confirm=24M' '--dry-run --json'
    do
        case $with in
            *--dry-run*)
                # shellcheck disable=SC2086
                nbdimage convert $with src.img "$uri" >out
                contains out "$1" ;;
            *)
                # shellcheck disable=SC2086
                refuses nbdimage convert $with src.img "$uri" >out
                contains out "$1"
                contains "$tmp/refused" 'nothing was written; '
                contains "$tmp/refused" 25165824 ;;
        esac
        same "the export after ‘$with’" "$(hash_of dirty.img)" "$before"
    done
    nbdimage convert --dry-run --json src.img "$uri" >json
    jq -e '.changed == false and .size == 25165824 and .data == 0' json
    refuses nbdimage convert --yes src.img "$uri"
    contains "$tmp/refused" "it holds $1"
    contains "$tmp/refused" 'its size: --confirm=25165824'
    nbdimage convert --json --confirm=25165824 src.img "$uri" >json
    jq -e --arg held "$1" '.changed and .held == $held' json
    stop_nbdkit
    [ "$(hash_of dirty.img)" != "$before" ] || fail "nothing was written"
    cmp -n "$size" src.img dirty.img
}
if command -v sfdisk >/dev/null; then
    table ()
    {
        printf 'start=1M size=4M\nstart=8M\n' | sfdisk -q --label gpt dirty.img
    }
    dirty table
    needs_size 'a partition table (GPT) with 2 partitions'
fi
if command -v mke2fs >/dev/null; then
    dirty mke2fs -q -t ext4 -L the-root dirty.img
    needs_size 'ext4 ‘the-root’'
fi

image ()
{
    nbdimage create inner.vhd 100M
    dd if=inner.vhd of=dirty.img conv=notrunc status=none
}
dirty image
needs_size 'a disk image (vhd)'

# On a terminal.
cat >answer.py <<'END'
import os, pty, sys
answer, argv = sys.argv[1], sys.argv[2:]
pid, fd = pty.fork()
if pid == 0:
    os.execvp(argv[0], argv)
said = b""
while True:
    try:
        got = os.read(fd, 1000)
    except OSError:
        break
    said += got
    if answer and (b"overwrite it: " in said or b"[y/N] " in said):
        os.write(fd, answer.encode() + b"\n")
        answer = None
print(said.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
END
head -c 24M /dev/urandom >dirty.img
before=$(hash_of dirty.img)
start_nbdkit file dirty.img
for no in no y yes "$size" ''; do
    refuses python3 answer.py "$no$(printf '\004')" \
        nbdimage convert src.img "$uri"
    contains "$tmp/refused" 'nothing was written'
    same "the export" "$(hash_of dirty.img)" "$before"
done
refuses python3 answer.py 24M nbdimage convert --yes src.img "$uri"
same "the export" "$(hash_of dirty.img)" "$before"
python3 answer.py 24M nbdimage convert src.img "$uri" >said
contains said 'Type its size to overwrite it: '
is_copy "$uri"
stop_nbdkit
start_nbdkit memory 24M
refuses python3 answer.py n nbdimage convert src.img "$uri"
nbdcopy "$uri" - | cmp -n 24M - /dev/zero
python3 answer.py y nbdimage convert src.img "$uri"
is_copy "$uri"
stop_nbdkit

# A file: the plan, and nothing else.  What is there is never replaced.
mkdir files
nbdimage convert --dry-run src.img files/new.vhd >out
contains out "src.img: raw, 21 MiB ($size bytes)"
contains out "vhd, 21 MiB ($size bytes)"
nbdimage convert --dry-run --azure --json src.img files/new.vhd >json
jq -e '.size == 23068672 and .changed == false and .held == null' json
nbdimage convert --dry-run --preallocate --resume src.img files/new.img >out
same "what there is" "$(ls -A files)" ''
for with in --dry-run --resume --verify; do
    status=0
    nbdimage convert $with --block-size=3M src.img files/new.vhd 2>err ||
        status=$?
    same "exit status of $with with blocks of 3M" "$status" 2
    contains err 'expected 512K, 1M or 2M'
done
same "what there is" "$(ls -A files)" ''
echo data >files/old.vhd
for with in --dry-run --yes --resume; do
    refuses nbdimage convert $with src.img files/old.vhd
    contains "$tmp/refused" 'exists already; it is not replaced'
done
same "what there was" "$(cat files/old.vhd)" data
status=0
nbdimage convert --confirm=5 src.img files/old.vhd 2>err || status=$?
same "exit status with --confirm for a file" "$status" 2
if [ "$(id -u)" -ne 0 ]; then
    chmod a-w files
    refuses nbdimage convert --dry-run src.img files/new.vhd
    chmod u+w files
fi

# ------------------------------------------------------------- refused

start_nbdkit memory 20M
refuses nbdimage convert src.img "$uri"
contains "$tmp/refused" "has 20971520 bytes, and the disk of src.img has $size"
refuses nbdimage convert "$uri" "$uri"
contains "$tmp/refused" 'is the source itself'
for options in --format=vhd --fixed --resume --azure --block-size=2M \
               --state=note; do
    status=0
    nbdimage convert $options src.img "$uri" 2>err || status=$?
    same "exit status with $options" "$status" 2
done
stop_nbdkit
start_nbdkit -r memory 30M
refuses nbdimage convert src.img "$uri"
contains "$tmp/refused" 'the server exports it for reading only'
stop_nbdkit
refuses nbdimage convert src.img "nbd+unix:///?socket=$tmp/none"

# Servers that fail to write, to zero, to flush.
for what in pwrite zero; do
    head -c 24M /dev/zero | tr '\000' z >full.img
    start_nbdkit --filter=error file full.img error-$what-rate=100%
    refuses nbdimage convert --confirm=24M src.img "$uri"
    contains "$tmp/refused" "nbdimage: $uri: writing "
    contains "$tmp/refused" ' at offset '
    stop_nbdkit
done
cat >no-flush.sh <<'END'
case $1 in
    get_size) echo 33554432 ;;
    can_write|can_flush) exit 0 ;;
    pread) head -c "$3" /dev/zero ;;
    pwrite) cat >/dev/null ;;
    flush) echo EIO the medium is gone >&2; exit 1 ;;
    *) exit 2 ;;
esac
END
chmod +x no-flush.sh
truncate -s 1M tiny.img
start_nbdkit sh no-flush.sh
refuses nbdimage convert --confirm=32M tiny.img "$uri"
contains "$tmp/refused" "nbdimage: $uri: flushing: "
stop_nbdkit

# One that loses what is written shows with --verify.
cat >forgets.sh <<'END'
case $1 in
    get_size) echo 33554432 ;;
    can_write|can_flush) exit 0 ;;
    pread) head -c "$3" /dev/zero ;;
    pwrite) cat >/dev/null ;;
    flush) ;;
    *) exit 2 ;;
esac
END
chmod +x forgets.sh
head -c 1M /dev/urandom >tiny.img
start_nbdkit sh forgets.sh
nbdimage convert --confirm=32M tiny.img "$uri"
refuses nbdimage convert --confirm=32M --verify tiny.img "$uri"
contains "$tmp/refused" 'has other bytes than the source at offset 0'
stop_nbdkit
