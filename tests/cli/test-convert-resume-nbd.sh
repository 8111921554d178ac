#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# convert --resume onto an NBD export: interrupted at any moment the same
# command goes on, and refuses where the note, the source and the export do not
# belong together.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires python3
cd "$tmp"

hash_of ()
{
    sha256sum "$1" | cut -d' ' -f1
}

mkdir out
size=$((24 * 1048576))
python3 -B "$support/make-holes.py" src.img "$size" 3
hash=$(hash_of src.img)

# A server that takes so long for each read.
slow_source ()
{
    start_nbdkit -r --filter=delay file "${2:-src.img}" "rdelay=$1"
}

# state_done FILE: the number in the state of a partial file; 0 without one
state_done ()
{
    python3 - "$1" <<'END'
import struct, sys
try:
    data = open(sys.argv[1], "rb").read()
except OSError:
    data = b""
slots = [struct.unpack_from("<QQQ", data, o) for o in (0, 4096)
         if len(data) > 8192]
print(max((slot[1:] for slot in slots), default=(0, 0))[1])
END
}


# Of 64M, all of which holds something, in a file that counts what is written.
note=out/note
to_export=(nbdimage convert --resume --state=$note --threads=1 --confirm=64M
           -f raw)
new_target ()
{
    head -c 64M /dev/zero | tr '\000' z >target.img
}
# The servers: of the source (slow) and of the target.
slow_source 250ms
from=$uri
new_target
# Always with the same URI.
start_target ()
{
    target_args=("$@")
    start_nbdkit "$@"
    target=$nbdkit_pid
    to_uri="nbd+unix:///?socket=$tmp/target.sock"
    ln -sf "$sock" target.sock
}
stop_target ()
{
    stop_pid "$target"
}
# The disk is there, and nothing behind it was touched.
is_complete ()
{
    cmp -n "$size" src.img target.img
    same "what lies behind" \
         "$(tail -c "+$((size + 1))" target.img | tr -d z | wc -c)" 0
    [ ! -e "$note" ] || fail "the note is left"
}
# stopped SIGNAL [COMMAND...]: in the midst, with something noted
stopped ()
{
    local pid i signal=$1

    for ((i = 0; i < 20; i++)); do
        rm -f "$note"
        new_target
        "${to_export[@]}" "$from" "$to_uri" >/dev/null 2>err &
        pid=$!
        while [ -e "/proc/$pid" ] && [ "$(state_done "$note")" -eq 0 ]; do
            sleep 0.02
        done
        kill "-$signal" "$pid" || true
        if ! wait "$pid" && [ "$(state_done "$note")" -gt 0 ]; then
            # nbdkit 1.32 may refuse requests for a while when a client
            # was killed.
            stop_target
            start_target "${target_args[@]}"
            return 0
        fi
    done
    fail "it could not be interrupted"
}
# stays_so MESSAGE COMMAND...: it refuses; export and note are as they were
stays_so ()
{
    local message=$1 before
    shift
    before=$(hash_of target.img)
    [ ! -f "$note" ] || cp "$note" saved.note
    refuses "$@"
    contains "$tmp/refused" "$message"
    same "the export" "$(hash_of target.img)" "$before"
    [ ! -f "$note" ] || same_bytes "$note" saved.note
}

start_target file target.img
for signal in TERM KILL; do
    stopped $signal
    [ "$signal" = KILL ] || contains err "$note says how far it is"
    # What lies behind the number may be anything.
    done=$(state_done "$note")
    head -c $((size - done)) /dev/urandom |
        dd of=target.img bs=64K seek="$done" oflag=seek_bytes conv=notrunc
    before=$(hash_of target.img)
    nbdimage convert --resume --state=$note --dry-run -f raw "$from" "$to_uri" \
        >plan
    contains plan "behind the first "
    same "the export" "$(hash_of target.img)" "$before"
    # It is agreed to each time; but that data was there was agreed to already.
    stays_so 'nothing was written; --yes agrees to that' nbdimage convert \
        --resume --state=$note -f raw "$from" "$to_uri"
    nbdimage convert --resume --state=$note --yes -f raw --verify --json \
        "$from" "$to_uri" >json
    jq -e --argjson done "$done" '."resumed-at" == $done and .verified' json
    is_complete
done

# Whatever does not belong to it.
stopped KILL
stays_so 'was begun with another source, other options' \
    nbdimage convert --resume --state=$note --confirm=64M src.img "$to_uri"
stays_so 'was begun with another source, other options, or another export' \
    "${to_export[@]}" "$from" "$to_uri&x"
# The export's bytes are others; it is not begun anew.
cp target.img aside.img
head -c 64K /dev/urandom | dd of=target.img conv=notrunc
stays_so 'the source or the export was changed since' \
    "${to_export[@]}" "$from" "$to_uri"
cp aside.img target.img
# Another export of that URI.
stop_target
truncate -s 65M target.img
start_target file target.img
stays_so 'or another export, perhaps of that name' nbdimage convert --resume \
    --state=$note --threads=1 --confirm=65M -f raw "$from" "$to_uri"
stop_target
truncate -s 64M target.img
# One that can't be flushed.
cat >never-flushed.sh <<'END'
case $1 in
    get_size) echo 67108864 ;;
    can_write) exit 0 ;;
    pread) head -c "$3" /dev/zero ;;
    pwrite) cat >/dev/null ;;
    *) exit 2 ;;
esac
END
chmod +x never-flushed.sh
start_target sh never-flushed.sh
stays_so "its server can't flush" "${to_export[@]}" "$from" "$to_uri"
stop_target
start_target file target.img
# Another process is at it.
"${to_export[@]}" "$from" "$to_uri" >plan 2>err &
first=$!
for ((i = 0; i < 300; i++)); do
    ! grep -q 'Going on' plan || break
    sleep 0.05
done
refuses "${to_export[@]}" "$from" "$to_uri"
contains "$tmp/refused" 'another process works with out/note'
wait "$first"
is_complete

# A note that is torn, or something else; or that would be a device.
stopped KILL
for off in 0 4096 8192; do
    printf 'garbage' | dd of=$note bs=1 seek=$off conv=notrunc
done
stays_so 'holds something that does not say how far it is' \
    "${to_export[@]}" "$from" "$to_uri"
rm $note
echo precious >$note
stays_so 'holds something that does not say how far it is' \
    "${to_export[@]}" "$from" "$to_uri"
rm $note
ln -s ../src.img $note
stays_so 'is not a regular file' "${to_export[@]}" "$from" "$to_uri"
same "the source" "$(hash_of src.img)" "$hash"
rm $note
nbdimage convert --resume --state=$note --dry-run -f raw "$from" "$to_uri"
[ ! -e $note ] || fail "--dry-run makes a note"
# Nobody agreed: no note either.
stays_so '--confirm=67108864' nbdimage convert --resume --state=$note -f raw \
    "$from" "$to_uri"
[ ! -e $note ] || fail "a note was made of nothing"

# A changed source, which is a file; now the target takes its time.
stop_target
start_target --filter=delay file target.img wdelay=150ms
cp src.img other.img
from=other.img
stopped TERM
touch other.img
stays_so "the source was changed since $note was begun" \
    "${to_export[@]}" other.img "$to_uri"
stop_target
