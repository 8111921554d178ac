#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# dir=FOLDER: each image in it, and nothing that is not one or not in it.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires nbdinfo
requires jq
requires mke2fs -V
requires sfdisk --version

d=$tmp/folder
mkdir -p "$d/sub"
truncate -s 3M "$d/table" "$d/fs" "$d/plain.img" "$d/plain.raw" "$d/blank"
mke2fs -q -F "$d/fs"
echo 'start=1MiB' | sfdisk -q "$d/table"
echo "Read me." >"$d/README"
echo "Not of whole sectors." >"$d/text.img"
: >"$d/empty.img"
cp "$d/table" "$d/.hidden.img"
cp "$d/table" "$d/sub/inner.img"
cp "$d/table" "$tmp/outside.img"
ln -s ../outside.img "$d/out.img"
ln -s table "$d/in.img"
mkfifo "$d/fifo.img"
cp "$d/table" "$d/"$'new\nline.img'
cp "$d/table" "$d/"$'latin\xe4.img'

names ()
{
    nbdinfo --list --json "$uri" | jq -r '.exports[]."export-name"' | xargs
}
size_of ()
{
    nbdinfo --size "$(export_uri "$1")"
}

cp "$tmp/outside.img" "$d/cut.vhd"
start_nbdkit image dir="$d"

# What is left out, and might have been meant to be served, is said.
grep '^nbdkit: image: ' "$nbdkit_log" | sort >"$tmp/said"
sort >"$tmp/expected" <<END
nbdkit: image: warning: cut.vhd: can't be served: its name ends in .vhd, but \
there is no VHD footer at its end (was it cut off?)
nbdkit: image: warning: empty.img: is not served: it is empty
nbdkit: image: warning: fifo.img: is not served: it is not a regular file
nbdkit: image: warning: in.img: is not served: it is a symbolic link, and \
these are not followed; move the file here, or make a hard link
nbdkit: image: warning: latin?.img: is not served: its name is not UTF-8 \
without control characters
nbdkit: image: warning: new?line.img: is not served: its name is not UTF-8 \
without control characters
nbdkit: image: warning: out.img: is not served: it is a symbolic link, and \
these are not followed; move the file here, or make a hard link
nbdkit: image: warning: text.img: is not served: it is not recognised as an \
image
nbdkit: image: 3 other files in the folder are not served: no images, or hidden
END
diff -u "$tmp/expected" "$tmp/said"
rm "$d/cut.vhd"
same list "$(names)" "fs plain.img plain.raw table"
same size "$(size_of table)" 3145728
refuses nbdinfo --size "$uri"
contains "$nbdkit_log" "the client named no export"

# Every name of what is there and is not served, and ways around.
for name in README text.img empty.img blank .hidden.img sub sub/inner.img \
    out.img in.img fifo.img new%0aline.img latin%e4.img ../outside.img \
    ..%2foutside.img . .. / /etc/passwd "/$d/table" ./table table/ missing \
    "$(printf 'x%.0s' {1..300})"; do
    refuses size_of "$name"
done
contains "$nbdkit_log" "README: is not recognised as an image"
contains "$nbdkit_log" "out.img: is a symbolic link"
contains "$nbdkit_log" \
    "the client asked for ‘../outside.img’, which can't be the name"

# Images come and go.
truncate -s 5M "$d/new.img"
same "list with one more" "$(names)" "fs new.img plain.img plain.raw table"
same "size of the new one" "$(size_of new.img)" 5242880
truncate -s 6M "$d/new.img"
same "size after growing" "$(size_of new.img)" 6291456
rm "$d/fs" "$d/plain.img" "$d/plain.raw" "$d/table"
same "list with less" "$(names)" "new.img"
refuses size_of table

# The only one is the default.
same "size of the only one" "$(nbdinfo --size "$uri")" 6291456
same "its name" \
    "$(nbdinfo --json "$uri" | jq -r '.exports[0]."export-name"')" new.img
rm "$d/new.img"
same "empty list" "$(names)" ""
refuses nbdinfo --size "$uri"
stop_nbdkit

# None that can be served.
for i in 1 2; do
    cp "$tmp/outside.img" "$d/cut$i.vhd"
done
start_nbdkit image dir="$d"
contains "$nbdkit_log" \
    "warning: none of the images in the folder (2) can be served"
