#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# convert --resume: interrupted at any moment by Ctrl-C or kill -9, the same
# command goes on, and what comes out is what would have come out at once.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires python3
requires qemu-img
cd "$tmp"

seed=${CONVERT_SEED:-$RANDOM}
echo "CONVERT_SEED=$seed"
RANDOM=$seed

hash_of ()
{
    sha256sum "$1" | cut -d' ' -f1
}

# Everything in the folder but what the test made.
mkdir out
left ()
{
    find out -mindepth 1 -printf '%f\n' | sort | xargs
}

size=$((48 * 1048576))
python3 -B "$support/make-holes.py" src.img "$size" 3
hash=$(hash_of src.img)
nbdimage convert src.img whole.img

# A server that takes so long for each read.
slow_source ()
{
    start_nbdkit -r --filter=delay file "${2:-src.img}" "rdelay=$1"
}

# seconds FROM TO: at random, in milliseconds
seconds ()
{
    local ms=$(($1 + RANDOM % ($2 - $1)))
    printf '%d.%03d' $((ms / 1000)) $((ms % 1000))
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

# same_disk FILE FORMAT
same_disk ()
{
    qemu-img compare -f raw -F "$2" src.img "$1"
    qemu-img convert -f "$2" -O raw "$1" back.img
    same "the disk of $1" "$(hash_of back.img)" "$hash"
    nbdimage info "$1" >/dev/null
}

# until_done SIGNAL FROM TO COMMAND...: end it after a time, until it ends by
# itself; $times is how often it did not.  It gets more time each time: how
# much it needs on a machine with much else to do, is not known.
until_done ()
{
    local signal=$1 from=$2 to=$3 status=0
    shift 3

    times=0
    while :; do
        status=0
        timeout -s "$signal" "$(seconds "$from" "$to")" "$@" 2>>err ||
            status=$?
        # What came just after its end, ended nothing.
        [ "$status" -ne 0 ] && [ ! -e "${*: -1}" ] || break
        times=$((times + 1))
        from=$((from + from / 10))
        to=$((to + to / 10))
        [ "$times" -lt 60 ] || { tail err; fail "it does not come to an end"; }
    done
}

# --------------------------------------------------------- Ctrl-C, resumed

slow_source 40ms
for to in img vhd fixed.vhd 512k.vhd 1m.vhdx; do
    fmt=vpc
    options=()
    case $to in
        img) fmt=raw ;;
        fixed.vhd) options=(--fixed) ;;
        512k.vhd) options=(--block-size=512K) ;;
        1m.vhdx) fmt=vhdx options=(--block-size=1M) ;;
    esac
    until_done INT 100 700 nbdimage convert --resume "${options[@]}" --threads=1 \
        -f raw "$uri" "out/to.$to"
    same "what there is" "$(left)" "to.$to"
    same_disk "out/to.$to" "$fmt"
    resumed=$((${resumed:-0} + times))
    if [ "$to" = img ]; then
        same "the space it takes" "$(stat -c %b out/to.img)" \
             "$(stat -c %b whole.img)"
    fi
    rm "out/to.$to"
done
[ "$resumed" -ge 2 ] || fail "nothing was interrupted"
contains err 'interrupted'
contains err 'the same command goes on'
contains err "going on behind "

# Not to be resumed: nothing is left at any time, or all of it.
for ((i = 0; i < 5; i++)); do
    for signal in INT KILL; do
        timeout -s $signal "$(seconds 50 250)" \
            nbdimage convert -f raw "$uri" out/to.vhd || true
        if [ -e out/to.vhd ]; then
            same_disk out/to.vhd vpc
            rm out/to.vhd
        fi
        same "what is left" "$(left)" ""
    done
done
stop_nbdkit

# ------------------------------------------------------- kill -9, resumed

# killed COMMAND...: with -9, when something is done and noted; false when it
# came to its end before that was seen.
killed ()
{
    local pid before
    before=$(state_done "out/.to.$to.partial.state")

    "$@" 2>>err &
    pid=$!
    while [ -e "/proc/$pid" ] &&
              [ "$(state_done "out/.to.$to.partial.state")" -le "$before" ]; do
        sleep 0.02
    done
    kill -KILL "$pid" || true
    ! wait "$pid" && [ -e "out/.to.$to.partial.state" ]
}

# A note is made each second, and much is to be done in between.
for to in img vhd vhdx; do
    was_killed=
    for delay in 300 900 2700; do
        : >err
        slow_source "${delay}ms"
        convert=(nbdimage convert --resume --threads=1 -f raw "$uri"
                 "out/to.$to")
        if killed "${convert[@]}"; then
            was_killed=yes
            break
        fi
        stop_nbdkit
        rm -f "out/to.$to"
    done
    [ -n "$was_killed" ] || fail "it was not killed"
    # A second time, where it is not at its end by then.
    if killed "${convert[@]}" || [ ! -e "out/to.$to" ]; then
        "${convert[@]}" 2>>err
    fi
    stop_nbdkit
    contains err "nbdimage: out/to.$to: going on behind "
    same "what there is" "$(left)" "to.$to"
    case $to in
        img) same_disk out/to.img raw ;;
        vhd) same_disk out/to.vhd vpc ;;
        vhdx) same_disk out/to.vhdx vhdx ;;
    esac
    if [ "$to" = img ]; then
        same "the space it takes" "$(stat -c %b out/to.img)" \
             "$(stat -c %b whole.img)"
    fi
    rm "out/to.$to"
done

# --------------------------------------------- what is there to go on with

partial=out/.to.vhd.partial
slowly=()
# interrupted SOURCE...: when something is done, and not all
interrupted ()
{
    local i j pid

    for ((i = 0; i < 20; i++)); do
        rm -f out/.to* out/*
        "${slowly[@]}" nbdimage convert --resume --threads=1 "$@" out/to.vhd \
            2>err &
        pid=$!
        for ((j = 0; j < 1000; j++)); do
            [ ! -e "$partial.state" ] || break
            sleep 0.02
        done
        sleep "$(seconds 250 700)"
        kill "$pid" || true
        if ! wait "$pid" && [ "$(state_done "$partial.state")" -gt 0 ]; then
            contains err 'the same command goes on'
            same "what is left" "$(left)" \
                 '.to.vhd.partial .to.vhd.partial.state'
            return 0
        fi
    done
    fail "it could not be interrupted"
}
# begins_anew SENTENCE COMMAND...: but does it
begins_anew ()
{
    local message=$1
    shift
    nbdimage convert --json --resume "$@" out/to.vhd >json 2>err
    contains err "nbdimage: out/to.vhd: begun anew: $message"
    jq -e '."resumed-at" == null' json
    same "what there is" "$(left)" to.vhd
}

slow_source 100ms
interrupted -f raw "$uri"
nbdimage convert --json --resume --verify -f raw "$uri" out/to.vhd >json 2>err
jq -e --argjson size "$size" '."resumed-at" > 0 and ."resumed-at" < $size and
    .verified' json
same_disk out/to.vhd vpc

# Other options, another source: not without being told.
interrupted -f raw "$uri"
cp -a out saved
for other in "--block-size=1M -f raw $uri" "--azure -f raw $uri" "$uri" \
             "src.img" "-f raw $uri?x"; do
    # shellcheck disable=SC2086
    refuses nbdimage convert --resume $other out/to.vhd
    diff -r out saved
done
refuses nbdimage convert --resume --fixed -f raw "$uri" out/to.vhd
contains "$tmp/refused" 'was begun with other options or from another source'

# Another process is at it.
nbdimage convert --resume --threads=1 -f raw "$uri" out/to.vhd 2>err &
first=$!
for ((i = 0; i < 300; i++)); do
    ! grep -q 'going on' err || break
    sleep 0.05
done
refuses nbdimage convert --resume --threads=1 -f raw "$uri" out/to.vhd
contains "$tmp/refused" 'another process is making this file'
wait "$first"
same_disk out/to.vhd vpc

# Without --resume what is there does not count, and stays.
interrupted -f raw "$uri"
nbdimage convert -f raw "$uri" out/to.vhd
same "what there is" "$(left)" '.to.vhd.partial .to.vhd.partial.state to.vhd'

# A state that is no more, or is torn, and a file that is not its.
interrupted -f raw "$uri"
rm "$partial.state"
refuses nbdimage convert --resume -f raw "$uri" out/to.vhd
contains "$tmp/refused" 'holds something, of which nothing is known'
same "what is left" "$(left)" .to.vhd.partial
interrupted -f raw "$uri"
for off in 0 4096 8192; do
    printf 'garbage' | dd of="$partial.state" bs=1 seek=$off conv=notrunc
done
refuses nbdimage convert --resume -f raw "$uri" out/to.vhd
contains "$tmp/refused" 'holds something, of which nothing is known'
# One slot of two: the older one counts.
interrupted -f raw "$uri"
nbdimage convert --resume -f raw "$uri" out/to.vhd 2>err
contains err 'going on'
interrupted -f raw "$uri"
truncate -s 100K "$partial"
begins_anew '' -f raw "$uri"
same_disk out/to.vhd vpc
interrupted -f raw "$uri"
rm "$partial"
begins_anew '' -f raw "$uri"
interrupted -f raw "$uri"
python3 - "$partial" <<'END'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(0, 2)
    end = f.tell() - 512
    for off in range(8192, end, 4096):      # each page of the blocks
        f.seek(off + 2048)
        f.write(b"damage")
END
begins_anew 'the source was changed meanwhile, at offset ' -f raw "$uri"
same_disk out/to.vhd vpc
stop_nbdkit

# --------------------------------------------------------- a changed source

# An export: its contents, near the beginning.
cp src.img other.img
slow_source 100ms other.img
interrupted -f raw "$uri"
head -c 64K /dev/urandom | dd of=other.img conv=notrunc
begins_anew 'the source was changed meanwhile, at offset ' -f raw "$uri"
stop_nbdkit

# A file: its times, and another one of that name.
cp src.img other.img
slowly=(strace -D -f -o /dev/null -e trace=pread64
        -e inject=pread64:delay_enter=80000)
if "${slowly[@]}" true; then
    interrupted other.img
    touch other.img
    begins_anew 'the source was changed meanwhile' other.img
    same_disk out/to.vhd vpc
    interrupted other.img
    cp -a other.img new.img
    mv new.img other.img
    begins_anew 'the source was changed meanwhile' other.img
    interrupted other.img
    # From another folder it is the same file.
    (cd out && nbdimage convert --resume "../other.img" to.vhd 2>../err)
    contains err 'going on behind'
    same_disk out/to.vhd vpc
    # A parent is of the source, too.
    qemu-img convert -f raw -O vpc -o force_size=on src.img parent.vhd
    nbdimage create --parent=parent.vhd child.vhd >/dev/null
    interrupted child.vhd
    touch parent.vhd
    begins_anew 'the source was changed meanwhile' child.vhd
    same_disk out/to.vhd vpc
fi
slowly=()

# ---------------------------------------------------- a source that fails

# It is kept, and goes on when the source is back.
start_nbdkit -r --filter=error --filter=delay file src.img rdelay=20ms \
    error-pread-rate=100% error-file="$tmp/fails"
rm -f out/.to* out/*
nbdimage convert --resume --threads=1 -f raw "$uri" out/to.vhd 2>err &
first=$!
for ((i = 0; i < 300; i++)); do
    [ ! -e "$partial.state" ] || break
    sleep 0.02
done
touch fails
refuses wait "$first"
contains err 'reading at offset'
contains err 'the same command goes on'
rm fails
nbdimage convert --resume -f raw "$uri" out/to.vhd
same_disk out/to.vhd vpc
stop_nbdkit
