#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Exports: the list, the default, names.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires nbdinfo
requires jq

truncate -s 1M "$tmp/one.img"
truncate -s 2M "$tmp/two.img"
mkdir "$tmp/sub"
truncate -s 3M "$tmp/sub/one.img" "$tmp/sub/with space ü=?&.img"

refused_uri ()
{
    refuses nbdinfo --size "$1"
}
names ()
{
    nbdinfo --list --json "$uri" |
        jq -r '.exports[] | ."export-name" + ": " + .description'
}

# One: by its name, and by no name.
start_nbdkit image "$tmp/one.img"
same list "$(names)" "one.img: raw, 1 MiB"
same size "$(nbdinfo --size "$uri")" 1048576
same size "$(nbdinfo --size "$(export_uri one.img)")" 1048576
for name in two.img one ONE.IMG ./one.img //one.img '*' ../one.img \
    "$(printf 'x%.0s' {1..4000})" one.img%0a %ff%fe %1b%5b2J; do
    refused_uri "$(export_uri "$name")"
done
contains "$nbdkit_log" \
    "the client asked for ‘two.img’; the exports are: one.img"
contains "$nbdkit_log" "the client asked for ‘?[2J’"
if grep -q $'\033' "$nbdkit_log"; then fail "an escape came into the log"; fi
same "size after that" "$(nbdinfo --size "$uri")" 1048576
stop_nbdkit

# Several: by name only.
start_nbdkit image "$tmp/two.img" file="$tmp/sub/with space ü=?&.img" \
    "$tmp/one.img"
same list "$(names)" "two.img: raw, 2 MiB
with space ü=?&.img: raw, 3 MiB
one.img: raw, 1 MiB"
same size "$(nbdinfo --size "$(export_uri two.img)")" 2097152
same size "$(nbdinfo --size "$(export_uri one.img)")" 1048576
same size \
    "$(nbdinfo --size "$(export_uri with%20space%20%C3%BC=%3F%26.img)")" \
    3145728
refused_uri "$uri"
contains "$nbdkit_log" "the client named no export; there are several: \
two.img, with space ü=?&.img, one.img"
stop_nbdkit

# nbdkit does not start, and says why.
will_not ()
{
    local sentence=$1
    shift
    refuses nbdkit -U - "$@" --run true
    contains "$tmp/refused" "$sentence"
}
cd "$tmp"
ln -s one.img link.img
will_not "‘one.img’ and ‘sub/one.img’ would both be the export ‘one.img’" \
    image one.img sub/one.img
will_not "‘one.img’ is given twice" image one.img two.img one.img
will_not "‘one.img’ and ‘./one.img’ are the same file" image one.img ./one.img
will_not "‘one.img’ and ‘link.img’ are the same file" image one.img link.img
will_not "missing.img: can't be opened: No such file" image missing.img
will_not "sub: is a folder; serve the images in it with dir=sub" image sub
will_not "/dev/null: not a regular file" image /dev/null
will_not "nothing to serve" image
will_not "FILE and dir= can't be used together" image one.img dir=sub
will_not "dir=missing: No such file" image dir=missing
will_not "dir=one.img: is not a folder" image dir=one.img
will_not "dir= is given twice" image dir=sub dir=sub
will_not "format= is for a FILE" image dir=sub format=raw
will_not "format=qcow9: is not a format we know" image one.img format=qcow9
will_not "‘big’ is not a rule for the size" image one.img size=big
will_not "parent-path=missing: No such file" image one.img \
    parent-path=sub:missing
will_not "boolean (perhaps)" image one.img ignore-checksums=perhaps
will_not "unknown parameter ‘sizes’" image one.img sizes=auto
will_not "file: is empty, expected the name of a file" image file=
will_not "sub/: is a folder; serve the images in it with dir=sub/" image sub/
will_not "/: is no name of a file" image /
will_not "a?b.img: the name of the export must be UTF-8 without control" \
    image $'a\nb.img'

# A name is quoted, but never as it is: it could steer the terminal, or look
# like another message.
odd=$'s\nnbdkit - all is well\033[2J'
clean='s?nbdkit - all is well?[2J'
mkdir "$odd" "$odd:colon"
cp one.img "$odd/one.img"
will_not_say_it_raw ()
{
    will_not "$@"
    if grep -qF $'\033' "$tmp/refused" ||
       grep -q '^nbdkit - all is well' "$tmp/refused"; then
        fail "a name came into the log as it is"
    fi
}
will_not_say_it_raw "‘one.img’ and ‘$clean/one.img’ would both be" \
    image one.img "$odd/one.img"
will_not_say_it_raw "$clean/.: is a folder; serve the images in it with \
dir=$clean/." image file="$odd/."
will_not_say_it_raw "dir=$clean/no: No such file" image dir="$odd/no"
will_not_say_it_raw "dir=$clean/one.img: is not a folder" \
    image dir="$odd/one.img"
will_not_say_it_raw "parent-path=$clean/no: No such file" \
    image one.img parent-path="$odd/no"
ln -s "$odd:colon" colon
will_not_say_it_raw "has a ‘:’ in it" image one.img parent-path=colon
will_not_say_it_raw "format=$clean: is not a format" \
    image one.img format="$odd"
will_not_say_it_raw "‘$clean’ is not a rule for the size" \
    image one.img size="$odd"
will_not_say_it_raw "ignore-checksums=$clean: expected true or false" \
    image one.img ignore-checksums="$odd"
