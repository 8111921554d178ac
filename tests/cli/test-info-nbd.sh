#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# info of NBD URIs: any server, several exports, an image in an export.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires qemu-img --version
requires sfdisk --version

truncate -s 8M "$tmp/a.img"
printf 'label: dos\n2048,4096,c\n' | sfdisk -q "$tmp/a.img"
qemu-img convert -f raw -O vpc -o force_size=on "$tmp/a.img" "$tmp/b.vhd"

# A plain disk behind another plugin is a raw image, with its partitions.
start_nbdkit file "$tmp/a.img"
nbdimage info --json "$uri" >"$tmp/json"
same format "$(jq -r .format "$tmp/json")" raw
same size "$(jq .size "$tmp/json")" 8388608
same offset "$(jq '.partitions.entries[0].offset' "$tmp/json")" 1048576
same name "$(jq -r .name "$tmp/json")" "$uri"
stop_nbdkit

# The bytes of a VHD behind another plugin are a VHD.
start_nbdkit file "$tmp/b.vhd"
same format "$(nbdimage info --json "$uri" | jq -r .format)" vhd
same size "$(nbdimage info --json "$uri" | jq .size)" 8388608
stop_nbdkit

# A server with several: they are listed, by URIs that work.
mkdir "$tmp/folder"
cp "$tmp/a.img" "$tmp/folder/a b&c.img"
cp "$tmp/b.vhd" "$tmp/folder/b.vhd"
start_nbdkit file dir="$tmp/folder"
nbdimage info --json "$uri" >"$tmp/json"
same exports "$(jq -c '[.exports[].name] | sort' "$tmp/json")" \
     '["a b&c.img","b.vhd"]'
one=$(jq -r '.exports[] | select (.name == "a b&c.img").uri' "$tmp/json")
same "size of $one" "$(nbdimage info --json "$one" | jq .size)" 8388608
nbdimage info "$uri" >"$tmp/out"
contains "$tmp/out" "$one"
same "lines" "$(wc -l <"$tmp/out")" 2
rm "$tmp/folder/b.vhd"
same "the only one" "$(nbdimage info --json "$uri" | jq .size)" 8388608
stop_nbdkit

# Nobody there.
refuses nbdimage info "$uri"
contains "$tmp/refused" "nbdimage: $uri: "

# Where one export is needed and several are there, which: in `boot', and in
# `attach', which looks at what it is given before it needs to be root.
truncate -s 1M "$tmp/several1.img" "$tmp/several2.img"
start_nbdkit image "$tmp/several1.img" "$tmp/several2.img"
for command in boot attach; do
    refuses nbdimage "$command" "$uri"
    contains "$tmp/refused" "the URI names no export, and the server has 2: \
several1.img, several2.img"
done
