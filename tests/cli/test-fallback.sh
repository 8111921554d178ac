#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# What nobody recognises is a raw disk, but not without a word when its name
# says that it was something else; what others made is refused with advice.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-img --version
requires jq

# refused STATUS SENTENCE COMMAND ARG...
refused ()
{
    local want=$1 sentence=$2 status=0

    shift 2
    "$@" >"$tmp/out" 2>"$tmp/err" || status=$?
    same "status of $*" "$status" "$want"
    contains "$tmp/err" "$sentence"
}

# exits STATUS COMMAND ARG...
exits ()
{
    local want=$1 status=0

    shift
    "$@" >"$tmp/out" 2>"$tmp/err" || status=$?
    same "status of $*" "$status" "$want"
}

# A fixed VHD without its footer, and with its footer cut in two.
truncate -s 4M "$tmp/zero"
qemu-img convert -f raw -O vpc -o subformat=fixed,force_size=on "$tmp/zero" \
         "$tmp/whole.vhd"
nbdimage info "$tmp/whole.vhd" 2>"$tmp/err"
[ ! -s "$tmp/err" ] || fail "a whole VHD is warned about"
head -c 4194304 "$tmp/whole.vhd" >"$tmp/cut.vhd"
head -c 1000000 /dev/zero | tr '\0' x >"$tmp/junk"
cp "$tmp/junk" "$tmp/junk.VHDX"
cp "$tmp/junk" "$tmp/junk.avhdx"
cp "$tmp/junk" "$tmp/junk.iso"
cp "$tmp/junk" "$tmp/junk.img"

for image in cut.vhd junk.VHDX junk.avhdx junk.iso; do
    for command in 'info --json' 'info --map' info check repair; do
        # shellcheck disable=SC2086
        exits 3 nbdimage $command "$tmp/$image"
    done
    nbdimage check --format=raw "$tmp/$image"
    exits 1 nbdimage repair --format=raw "$tmp/$image"
    nbdimage info --json "$tmp/$image" >"$tmp/json" 2>"$tmp/err" || :
    same "format of $image" "$(jq -r .format "$tmp/json")" raw
    same "warnings about $image" \
         "$(jq -r '.warnings[]' "$tmp/json" | grep -c 'its name ends in')" 1
    nbdimage info "$tmp/$image" >"$tmp/out" 2>"$tmp/err" || :
    contains "$tmp/err" "nbdimage: warning: $tmp/$image: its name ends in "
    refused 1 "can't be opened for writing: its name ends in .${image##*.}" \
            nbdimage serve -u "$tmp/sock" --write "$tmp/$image"
    contains "$tmp/err" "use --format=raw if it is a raw disk"
    # A copy would look whole.
    refused 3 "$tmp/$image: its name ends in .${image##*.}, but " \
            nbdimage convert "$tmp/$image" "$tmp/copy.vhd"
    contains "$tmp/err" "with --source-format=raw its bytes are copied"
    [ ! -e "$tmp/copy.vhd" ] || fail "a copy of $image"
    nbdimage convert -f raw "$tmp/$image" "$tmp/copy.img"
    same_bytes "$tmp/copy.img" "$tmp/$image"
    rm "$tmp/copy.img"
    nbdimage info --format=raw "$tmp/$image" >"$tmp/out" 2>"$tmp/err"
    [ ! -s "$tmp/err" ] || fail "a warning in spite of --format=raw"
done
# How the disk comes back, in words that a shell understands.
cp "$tmp/cut.vhd" "$tmp/it's cut.vhd"
for command in check repair; do
    exits 3 nbdimage $command "$tmp/it's cut.vhd"
    contains "$tmp/out" "nothing but the footer was cut off"
    line=$(sed -n 's/.*‘nbdimage \(convert .*\) NEW.vhd’.*/\1/p' "$tmp/out")
    eval "nbdimage $line \"\$tmp/new.vhd\""
    nbdimage convert "$tmp/new.vhd" "$tmp/new.img"
    cmp "$tmp/new.img" "$tmp/zero"
    rm "$tmp/new.vhd" "$tmp/new.img"
done
exits 3 nbdimage check "$tmp/junk.VHDX"
! grep -F 'convert -f raw' "$tmp/out" || fail "that brings no VHDX back"

exits 3 nbdimage info "$tmp/cut.vhd"
contains "$tmp/err" "there is no VHD footer at its end (was it cut off?)"
for image in junk junk.img; do
    nbdimage info "$tmp/$image" 2>"$tmp/err"
    [ ! -s "$tmp/err" ] || fail "a warning about $image"
done

# The plugin serves it read-only, and says it, too.
start_nbdkit image "$tmp/cut.vhd"
contains "$nbdkit_log" "nbdkit: image: warning: $tmp/cut.vhd: its name ends in"
contains "$nbdkit_log" " with format=raw only"
nbdinfo --is readonly "$uri"
# To a client, the name of an export is not that of a file.
nbdimage info --json "$uri" | jq -e '.warnings == []'
stop_nbdkit
start_nbdkit image format=raw "$tmp/cut.vhd"
refuses nbdinfo --is readonly "$uri"
[ ! -s "$nbdkit_log" ] || fail "a warning in spite of format=raw"
stop_nbdkit

# What is left of a child is none.
nbdimage create "$tmp/base.vhd" 4M
nbdimage create --parent="$tmp/base.vhd" "$tmp/above.vhd" >"$tmp/out"
head -c 1000 /dev/zero |
    dd of="$tmp/above.vhd" conv=notrunc oflag=append status=none
dd if=/dev/zero of="$tmp/above.vhd" bs=512 count=3 conv=notrunc status=none
refused 3 "there is no VHD footer at its end" \
        nbdimage commit --into="$tmp/into.vhd" "$tmp/above.vhd"
[ ! -e "$tmp/into.vhd" ] || fail "a copy of what is left of a child"

# A file that looks like a URI.
cp "$tmp/zero" "$tmp/nbd:x.img"
(cd "$tmp" && refused 1 "is ./nbd:x.img" nbdimage info nbd:x.img &&
    nbdimage info ./nbd:x.img)

# Nothing at all.
: >"$tmp/empty.img"
refused 3 "nbdimage: $tmp/empty.img: is empty, so there is no disk in it; \
--format=raw takes" nbdimage info "$tmp/empty.img"
for command in 'info --json' 'info --map' check repair; do
    # shellcheck disable=SC2086
    exits 3 nbdimage $command "$tmp/empty.img"
done
exits 3 nbdimage convert "$tmp/empty.img" "$tmp/empty.vhd"
same "size of nothing" \
     "$(nbdimage info --json --format=raw "$tmp/empty.img" | jq .size)" 0

# Others' formats, in the words of who is asked.
qemu-img create -q -f qcow2 "$tmp/x.vhd" 1M
refused 1 "it is a qcow2 file, which can't be read; convert it (qemu-img \
convert -O raw), or use --format=raw for its bytes as they are" \
        nbdimage info "$tmp/x.vhd"
printf '\x02\x21\x4C\x18' | cat - "$tmp/junk" >"$tmp/x.lz4"
refused 1 "unpack it (lz4 -d), or use --format=raw" nbdimage info "$tmp/x.lz4"
refused 1 "unpack it (lz4 -d), or use format=raw" \
        nbdkit -f -U "$tmp/sock" image "$tmp/x.lz4"

# The parent, too, is looked for where options say.
mkdir "$tmp/a" "$tmp/b"
nbdimage create "$tmp/b/parent.vhd" 4M
nbdimage create --parent="$tmp/b/parent.vhd" "$tmp/a/child.vhd" \
         2>"$tmp/err"
contains "$tmp/err" "name its folder with --parent-path"
refused 1 "name its folder in --parent-path" nbdimage info "$tmp/a/child.vhd"
refused 1 "name its folder in parent-path" \
        nbdkit -f -U "$tmp/sock" image "$tmp/a/child.vhd"
