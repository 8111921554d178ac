#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Writing into VHDXs through nbdkit: others read what was written, we go on
# where others wrote, and what was acknowledged is there after nbdkit was
# killed.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-img --version
requires qemu-io --version
requires nbdcopy --version
requires jq --version
requires python3 --version
client=$abs_top_builddir/tests/plugin/client

# theirs FILE...: the disk in a chain, as libvhdi has it
theirs ()
{
    python3 -c '
import sys
sys.path.insert(0, sys.argv[1])
import libvhdi
sys.stdout.buffer.write(libvhdi.read(sys.argv[2:]))' \
        "$abs_top_srcdir/tests/peers" "$@"
}
have_libvhdi=
! (cd "$abs_top_srcdir/tests/peers" &&
       python3 -B -c 'import libvhdi, sys; sys.exit(not libvhdi.available())') ||
    have_libvhdi=1
export PYTHONDONTWRITEBYTECODE=1

# same_disk VHDX RAW: what others and we read of it
same_disk ()
{
    qemu-img check -f vhdx "$1"
    qemu-img compare -f vhdx -F raw "$1" "$2"
    if [ -n "$have_libvhdi" ]; then
        theirs "$1" >"$tmp/read.img"
        same_bytes "$tmp/read.img" "$2"
    fi
    nbdkit -r -U - image "$1" --run "nbdcopy \"\$uri\" '$tmp/read.img'"
    same_bytes "$tmp/read.img" "$2"
    rm "$tmp/read.img"
}

# Random requests of any alignment, to blocks of each size.
for how in --block-size=1M --block-size=8M --fixed; do
    nbdimage create -f vhdx $how "$tmp/random.vhdx" 40M
    start_nbdkit image "$tmp/random.vhdx"
    "$client" random "$uri" $RANDOM 1000 "$tmp/model"
    stop_nbdkit
    same_disk "$tmp/random.vhdx" "$tmp/model"
    rm "$tmp/random.vhdx"
done

# An image that qemu made and wrote to, in turns.
cat >"$tmp/commands" <<'END'
write -P 0x11 0 1M
write -f -P 0x22 3500000 512
write -z 4M 64k
write -z -u 2M 2M
write -P 0x33 20M 4M
discard 22M 2M
flush
write -P 0x55 22M 512
write -P 0x44 41942528 512
END
for options in block_size=1M subformat=fixed,block_size=1M \
               block_size=2M,block_state_zero=off; do
    qemu-img create -q -f vhdx -o $options "$tmp/qemu.vhdx" 40M
    truncate -s 0 "$tmp/local.img"
    truncate -s 40M "$tmp/local.img"
    for turn in 1 2; do
        for file in -fvhdx:qemu.vhdx -fraw:local.img; do
            qemu-io ${file%:*} -c "write -P $turn 3M 1M" \
                -c "write -P 2 21M 100k" -c "write -P $turn ${turn}4M 99" \
                "$tmp/${file#*:}" >/dev/null
        done
        start_nbdkit image "$tmp/qemu.vhdx"
        qemu-io -f raw "$uri" <"$tmp/commands" >"$tmp/qemu-io.log"
        refuses grep -i -e error -e failed "$tmp/qemu-io.log"
        stop_nbdkit
        qemu-io -f raw "$tmp/local.img" <"$tmp/commands" >/dev/null
        same_disk "$tmp/qemu.vhdx" "$tmp/local.img"
    done
    rm "$tmp/qemu.vhdx"
done

# A disk with data and holes, over four connections, takes no more space than
# it must.
head -c 9M /dev/urandom >"$tmp/copy.img"
truncate -s 30M "$tmp/copy.img"
head -c 3M /dev/urandom >>"$tmp/copy.img"
truncate -s 64M "$tmp/copy.img"
nbdimage create -f vhdx --block-size=1M "$tmp/copy.vhdx" 64M
start_nbdkit image "$tmp/copy.vhdx"
nbdcopy --connections=4 --flush "$tmp/copy.img" "$uri"
stop_nbdkit
same_disk "$tmp/copy.vhdx" "$tmp/copy.img"
[ "$(stat -c %s "$tmp/copy.vhdx")" -le $((17 * 1024 * 1024)) ]

# A child over it.
nbdimage create -f vhdx --block-size=1M --parent="$tmp/copy.vhdx" \
    "$tmp/child.vhdx"
cp "$tmp/copy.vhdx" "$tmp/before.vhdx"
start_nbdkit image "$tmp/child.vhdx"
nbdcopy "$uri" "$tmp/read.img"
same_bytes "$tmp/read.img" "$tmp/copy.img"
"$client" random "$uri" $RANDOM 1000 "$tmp/model"
stop_nbdkit
nbdkit -r -U - image "$tmp/child.vhdx" --run "nbdcopy \"\$uri\" '$tmp/read.img'"
same_bytes "$tmp/read.img" "$tmp/model"
if [ -n "$have_libvhdi" ]; then
    theirs "$tmp/child.vhdx" "$tmp/copy.vhdx" >"$tmp/read.img"
    same_bytes "$tmp/read.img" "$tmp/model"
fi
same_bytes "$tmp/copy.vhdx" "$tmp/before.vhdx"

# Opened and closed without writing it stays what it was.
start_nbdkit image "$tmp/copy.vhdx"
qemu-io -f raw -c "read 0 4k" "$uri"
stop_nbdkit
same_bytes "$tmp/copy.vhdx" "$tmp/before.vhdx"

# Killed while it was written, without a flush: what was acknowledged is there,
# for who only reads and for QEMU, which replays the log as we do.
nbdimage create -f vhdx --block-size=1M "$tmp/killed.vhdx" 256M
start_nbdkit image "$tmp/killed.vhdx"
mkfifo "$tmp/fifo"
stdbuf -oL qemu-io -t writeback -f raw "$uri" <"$tmp/fifo" \
    >"$tmp/killed.log" 2>&1 &
writer=$!
exec 9>"$tmp/fifo"
# One at a time: qemu-io waits for its input, not for what is in its buffer.
nr=0
for command in 'write -P 0x61 1M 9M' 'write -z 4M 1M' 'write -P 0x62 32M 4k'; do
    echo "$command" >&9
    nr=$((nr + 1))
    for ((i = 0; i < 300; i++)); do
        [ "$(grep -c 'wrote [0-9]' "$tmp/killed.log")" -lt $nr ] || break
        sleep 0.1
    done
done
contains "$tmp/killed.log" 'wrote 4096/4096'
kill -KILL "$(cat "$tmp/nbdkit$_nr_nbdkit.pid")"
exec 9>&-
wait "$writer" || true
cp "$tmp/killed.vhdx" "$tmp/theirs.vhdx"
nbdimage info "$tmp/killed.vhdx" 2>"$tmp/killed.err"
contains "$tmp/killed.err" "its log was replayed in memory"
nbdkit -r -U - image "$tmp/killed.vhdx" --run \
    'qemu-io -r -f raw -c "read -P 0x61 1M 3M" -c "read -P 0 4M 1M" \
     -c "read -P 0x61 5M 5M" -c "read -P 0x62 32M 4k" "$uri"' >"$tmp/read.log"
refuses grep -i -e error -e failed "$tmp/read.log"
qemu-img check -r all -f vhdx "$tmp/theirs.vhdx"
start_nbdkit image "$tmp/killed.vhdx"
qemu-img compare -f raw -F vhdx "$uri" "$tmp/theirs.vhdx"
qemu-io -f raw -c "write -P 0x63 250M 1M" -c flush "$uri"
stop_nbdkit
qemu-img check -f vhdx "$tmp/killed.vhdx"
qemu-io -r -f vhdx -c "read -P 0x61 5M 5M" -c "read -P 0x63 250M 1M" \
    "$tmp/killed.vhdx" >"$tmp/read.log"
refuses grep -i -e error -e failed "$tmp/read.log"

# Killed while it grows: what was flushed is there, and nothing is damaged.
nbdimage create -f vhdx --block-size=1M "$tmp/killed2.vhdx" 256M
start_nbdkit image "$tmp/killed2.vhdx"
qemu-io -f raw -c "write -P 0x61 1M 9M" -c "flush" "$uri"
qemu-io -t writeback -f raw -c "write -P 0x62 32M 200M" "$uri" \
    >"$tmp/killed.log" 2>&1 &
writer=$!
for ((i = 0; i < 500; i++)); do
    [ "$(stat -c %s "$tmp/killed2.vhdx")" -lt $((60 * 1024 * 1024)) ] || break
    sleep 0.01
done
kill -KILL "$(cat "$tmp/nbdkit$_nr_nbdkit.pid")"
wait "$writer" || true
nbdimage check "$tmp/killed2.vhdx"
for turn in 1 2; do
    nbdkit -r -U - image "$tmp/killed2.vhdx" --run \
        'qemu-io -r -f raw -c "read -P 0x61 1M 9M" -c "read -P 0 10M 22M" \
         "$uri"' >"$tmp/read.log"
    refuses grep -i -e error -e failed "$tmp/read.log"
    [ "$turn" -eq 2 ] || qemu-img check -r all -f vhdx "$tmp/killed2.vhdx"
done

# What Windows and others wrote, with blocks of 1 to 32 MiB and with a log that
# waits to be replayed: we write into it, and QEMU reads that.
[ -r "$samples/MANIFEST.tsv" ] || exit 0
for name in ms6.2-dynamic-1G win10-fixed btrfs swap qemu-dyn-8M-nozero \
            dirtylog-10G; do
    file=$(sample "vhdx/$name.vhdx")
    cp --sparse=always "$file" "$tmp/theirs.vhdx"
    qemu-img check -q -r all -f vhdx "$tmp/theirs.vhdx"
    size=$(nbdimage info --json "$file" 2>/dev/null | jq .size)
    commands=(-c "write -P 0x71 0 512" -c "write -P 0x72 $((size - 512)) 512"
              -c "write -P 0x73 $((size / 2 - 3000)) 6000" -c flush)
    start_nbdkit image "$file"
    qemu-io -f raw "${commands[@]}" "$uri" >"$tmp/qemu-io.log"
    stop_nbdkit
    qemu-io -f vhdx "${commands[@]}" "$tmp/theirs.vhdx" >/dev/null
    nbdimage info "$file" >"$tmp/info" 2>&1
    grep 'Log: *empty' "$tmp/info"
    qemu-img check -f vhdx "$file"
    qemu-img compare -f vhdx -F vhdx "$file" "$tmp/theirs.vhdx"
    rm "$file"
done
