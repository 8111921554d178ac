#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# commit: the parent becomes what the child was, to us and to other programs;
# the child is what it was all the time.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires qemu-img
requires qemu-io
cd "$tmp"

# bytes FILE OUT: the disk in it
bytes ()
{
    rm -f "$2"
    nbdkit -r -U - image "$1" --run "nbdcopy \"\$uri\" $2"
}

# Sectors of a differencing disk, as others write them: whole blocks, single
# sectors, and zeros.
cat >fill.py <<'END'
import struct
import sys
f = open(sys.argv[1], "r+b")
data = f.read()
footer = data[-512:]
table, = struct.unpack(">Q", data[512 + 16:512 + 24])
size, = struct.unpack(">I", data[512 + 32:512 + 36])
end = len(data) - 512
last = struct.unpack(">Q", footer[48:56])[0] // size - 1
for index, bits, byte in ((0, 0xFF, 0), (1, 0xA5, 7), (2, 0xFF, 9),
                          (last, 0xFF, 11), (5, 0x01, 13), (6, 0, 15)):
    f.seek(end)
    f.write(bytes([bits]) * (size // 4096) + bytes(512 - size // 4096))
    f.write(bytes([byte]) * size)
    f.seek(table + 4 * index)
    f.write(struct.pack(">I", end // 512))
    end += 512 + size + 3584
f.seek(end)
f.write(footer)
END

for kind in dynamic fixed; do
    options=()
    [ "$kind" != fixed ] || options=(--fixed)
    nbdimage create "${options[@]}" parent.vhd 20M
    qemu-io -f vpc -c 'write -P 1 0 6M' -c 'write -P 2 9M 4M' parent.vhd
    nbdimage create --parent=parent.vhd --block-size=512K child.vhd >out
    python3 fill.py child.vhd
    bytes child.vhd before
    nbdimage commit -n child.vhd >out
    contains out "that it has itself, into the parent"
    refuses nbdimage commit child.vhd </dev/null
    contains "$tmp/refused" '--yes confirms it'
    nbdimage commit -y --json child.vhd >out
    # Four whole blocks: one is zero, 0xA5 and 0x01 are a half and an eighth.
    same "json" "$(jq -c '[.name, .parent, .data, .deleted, .changed]' out)" \
        "[\"child.vhd\",\"./parent.vhd\",$((3 * 524288 + 262144 + 65536)),false,true]"
    bytes parent.vhd after
    same_bytes before after
    qemu-img convert -f vpc -O raw parent.vhd theirs
    same_bytes before theirs
    bytes child.vhd after
    same_bytes before after
    # No warning that the parent is of another time.
    [ -z "$(nbdimage info child.vhd 2>&1 >/dev/null)" ] || fail "it warns"
    nbdimage check child.vhd
    # Again: nothing is written.
    same "written" "$(nbdimage commit -y --json child.vhd | jq .written)" 0
    nbdimage commit -y --delete child.vhd >out
    contains out 'it is removed'
    [ ! -e child.vhd ] || fail "the child is there"
    bytes parent.vhd after
    same_bytes before after
    rm parent.vhd
done

# A larger child.
nbdimage create parent.vhd 20M
qemu-io -f vpc -c 'write -P 1 0 6M' parent.vhd
nbdimage create --parent=parent.vhd --block-size=512K child.vhd 600M >out
python3 fill.py child.vhd
bytes child.vhd before
nbdimage commit -y child.vhd >out 2>err
contains out "20 MiB becomes 600 MiB"
bytes parent.vhd after
same_bytes before after
bytes child.vhd after
same_bytes before after
[ -z "$(nbdimage info child.vhd 2>&1 >/dev/null)" ] || fail "it warns"

# A fixed parent that a power cut left half grown: its footer is at the new
# end already, and says the old size.
rm parent.vhd child.vhd
nbdimage create --fixed parent.vhd 1M
qemu-io -f raw -c 'write -P 1 0 300K' parent.vhd
nbdimage create --parent=parent.vhd --block-size=512K child.vhd 5M >out
python3 fill.py child.vhd
bytes child.vhd before
tail -c 512 parent.vhd >footer
cp parent.vhd other.vhd
for name in parent other; do
    truncate -s 5M "$name.vhd"
    cat footer >>"$name.vhd"
done
bytes child.vhd after
same_bytes before after
sha256sum child.vhd parent.vhd >sums
nbdimage commit -n child.vhd >out 2>err
contains out "1 MiB becomes 5 MiB"
sha256sum -c sums
nbdimage commit -y child.vhd 2>err
for name in parent child; do
    bytes "$name.vhd" after
    same_bytes before after
    nbdimage check "$name.vhd"
    [ -z "$(nbdimage info "$name.vhd" 2>&1 >/dev/null)" ] || fail "it warns"
done
# What it has there, and is no footer, nobody wrote who made it larger.
printf x | dd of=other.vhd bs=1 seek=1500000 conv=notrunc
mv other.vhd parent.vhd
sha256sum child.vhd parent.vhd >sums
refuses nbdimage commit -y child.vhd
contains "$tmp/refused" 'which is not zero'
sha256sum -c sums

# Killed, or interrupted, at any moment.
rm parent.vhd child.vhd
for ((i = 0; i < 8; i++)); do
    nbdimage create parent.vhd 64M
    qemu-io -f vpc -c 'write -P 1 0 30M' parent.vhd >io.log
    nbdimage create --parent=parent.vhd --block-size=512K child.vhd >out
    python3 fill.py child.vhd
    bytes child.vhd before
    signal=$((i % 2 ? 9 : 2))
    status=0
    nbdimage commit -y child.vhd >out 2>err &
    sleep "0.0$((i * i))"
    kill "-$signal" $! 2>/dev/null || true
    wait $! || status=$?
    case $status in
        0|1|137) ;;
        130) ;;                 # before anything was begun
        *) fail "it ended with $status" ;;
    esac
    bytes child.vhd after
    same_bytes before after
    nbdimage commit -y --delete child.vhd
    bytes parent.vhd after
    same_bytes before after
    nbdimage check parent.vhd
    rm parent.vhd
done

# Others over the same parent.
nbdimage create parent.vhd 20M
nbdimage create --parent=parent.vhd a.vhd >out
nbdimage create --parent=parent.vhd b.vhd >out
python3 fill.py a.vhd
refuses nbdimage commit -y a.vhd
contains "$tmp/refused" 'b.vhd is differencing over the same parent'
refuses nbdimage commit -n a.vhd
nbdimage commit -y --force a.vhd >out
contains out 'Damaged:       b.vhd'

# What can't be, or is in use.
refuses nbdimage commit -y parent.vhd
contains "$tmp/refused" 'is not differencing'
nbdimage create -f raw r.img 1M
refuses nbdimage commit -y r.img
contains "$tmp/refused" 'have no parents'
start_nbdkit -r image parent.vhd
# Refused while a commit has it.
until qemu-io -r -f raw "$uri" <<<'sleep 5000'; do
    sleep 0.1
done &
for ((i = 0; i < 50; i++)); do
    nbdimage commit -y --force a.vhd >out 2>err || break
    sleep 0.1
done
[ "$i" -lt 50 ] || fail "the parent is written while it is served"
contains err 'is in use by another process'
stop_nbdkit
wait

# Into a new file, of any format: neither is changed.
nbdimage create base.vhd 20M
qemu-io -f vpc -c 'write -P 1 0 6M' base.vhd
nbdimage create --parent=base.vhd --block-size=512K d.vhd >out
python3 fill.py d.vhd
bytes d.vhd before
sha256sum base.vhd d.vhd >sums
for name in new.vhd new.vhdx new.img; do
    nbdimage commit -n --into="$name" d.vhd >out
    [ ! -e "$name" ] || fail "$name is there"
    nbdimage commit --into="$name" d.vhd
    same "parents" "$(nbdimage info --json "$name" | jq '.chain | length')" 1
    nbdimage check "$name"
    bytes "$name" after
    same_bytes before after
done
qemu-img convert -f vhdx -O raw new.vhdx theirs
same_bytes before theirs
same "json" "$(nbdimage commit --json --into=more.vhdx d.vhd |
               jq -c '[.source, .name, .format, .changed]')" \
    '["d.vhd","more.vhdx","vhdx",true]'
sha256sum -c sums
refuses nbdimage commit --into=new.vhd d.vhd
refuses nbdimage commit --into=base.vhd d.vhd
refuses nbdimage commit --into=other.vhd base.vhd
contains "$tmp/refused" 'is not differencing'
[ ! -e other.vhd ] || fail "other.vhd is there"
refuses nbdimage commit --into=x.vhd --delete d.vhd
contains "$tmp/refused" '--delete and --force have no place there'
refuses nbdimage commit --into=x d.vhd
contains "$tmp/refused" 'say --into-format'
for option in -Oiso --into-format=ext4; do
    refuses nbdimage commit --into=x.vhd "$option" d.vhd
    [ ! -e x.vhd ] || fail "x.vhd is there"
done
for option in -Ovhd --resume; do
    refuses nbdimage commit "$option" d.vhd
    contains "$tmp/refused" 'are for the new file of --into'
done
sha256sum -c sums

# The format that is said counts, and not the name.
for format in vhd vhdx raw; do
    nbdimage commit --into=said "-O$format" d.vhd
    same "format" "$(nbdimage info --json said | jq -r .format)" "$format"
    nbdimage info -f "$format" said >out
    rm -f after
    nbdimage convert -f "$format" said -O raw after
    same_bytes before after
    rm said
done
nbdimage commit --into=named.img --into-format=vhdx d.vhd
same "format" "$(nbdimage info --json named.img | jq -r .format)" vhdx

# What is interrupted goes on, unless a file of the chain was changed: here it
# finds no room, when half of it is there.
nbdimage create large.vhd 80M >out
qemu-io -f vpc -c 'write -P 5 0 64M' large.vhd >io.log
nbdimage create --parent=large.vhd child.vhd >out
nbdkit -U - image child.vhd \
    --run 'qemu-io -f raw -c "write -P 6 1M 3M" -c flush "$uri"' >io.log
bytes child.vhd large.before
sha256sum large.vhd child.vhd >large.sums
left ()
{
    find . -name '.far.vhd*' -printf '%f\n' | sort | xargs
}
short ()
{
    refuses bash -c 'trap "" XFSZ; ulimit -f 32768; exec "$@"' - \
        nbdimage commit --into=far.vhd "$@" child.vhd
}
# It may end before the first piece is there, when there is nothing to note.
short_with_note ()
{
    local i
    for ((i = 0; i < 50; i++)); do
        short --resume
        contains "$tmp/refused" 'has what is done; the same command'
        ! grep -q 'the same command goes on' "$tmp/refused" || return 0
    done
    fail "nothing was ever noted"
}
short
same "what is left" "$(left)" ""
short_with_note
same "what is left" "$(left)" ".far.vhd.partial .far.vhd.partial.state"
[ ! -e far.vhd ] || fail "far.vhd is there"
at=$(nbdimage commit --json --resume --into=far.vhd child.vhd |
     jq '.["resumed-at"]')
[ "$at" -gt 0 ] || fail "it did not go on"
same "what is left" "$(left)" ""
bytes far.vhd after
same_bytes large.before after
sha256sum -c large.sums
rm far.vhd

short_with_note
touch large.vhd
nbdimage commit --resume --into=far.vhd child.vhd 2>err
contains err 'begun anew: the source was changed meanwhile'
bytes far.vhd after
same_bytes large.before after
sha256sum -c large.sums

# Who is needed by another is not removed.
nbdimage create grand.vhd 20M
nbdimage create --parent=grand.vhd middle.vhd >out
nbdimage create --parent=middle.vhd leaf.vhd >out
python3 fill.py middle.vhd
refuses nbdimage commit -y --delete middle.vhd
contains "$tmp/refused" 'leaf.vhd is differencing over it'
test -f middle.vhd
nbdimage commit -y middle.vhd >out
nbdimage check leaf.vhd
