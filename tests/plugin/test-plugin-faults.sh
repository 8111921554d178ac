#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# The medium of an image fails now and then: the client gets EIO for what
# could not be read, right bytes for everything else, and right bytes for
# everything once the medium is well again.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-img --version
requires genisoimage --version
client=$abs_top_builddir/tests/plugin/client
flag=$tmp/flag

# behind FILTER-ARGUMENT...: our plugin on a server of the file $tmp/image
# whose reads fail.
behind ()
{
    start_nbdkit -r --filter=error file "$tmp/image" "$@"
    source=$uri
    source_pid=$nbdkit_pid
}

# all FORMAT: the disk in $tmp/image is that in $tmp/disk.
all ()
{
    # While the file is there every read fails.
    behind error=EIO error-pread-rate=100% error-file="$flag"
    start_nbdkit image "$source"
    "$client" faults "$uri" "$tmp/disk" "$flag"
    contains "$nbdkit_log" "Input/output error"
    stop_nbdkit

    # It is there when the image is opened: not now, and then it is.
    touch "$flag"
    refuses nbdkit -U - image "$source" --run 'nbdinfo --size "$uri"'
    contains "$tmp/refused" "Input/output error"
    rm "$flag"
    start_nbdkit image "$source"
    "$client" faults "$uri" "$tmp/disk" "$flag"
    stop_nbdkit
    stop_pid "$source_pid"

    # While the file is there any read may fail.
    behind error=EIO error-pread-rate=30% error-file="$flag"
    start_nbdkit image "$source"
    "$client" faults "$uri" "$tmp/disk" "$flag"
    stop_nbdkit
    stop_pid "$source_pid"
}

# Data in places, and nothing between them.
head -c 3M /dev/urandom >"$tmp/disk"
truncate -s 11M "$tmp/disk"
head -c 1000K /dev/urandom >>"$tmp/disk"
truncate -s 16M "$tmp/disk"
ln -f "$tmp/disk" "$tmp/image"
all

for type in dynamic fixed; do
    qemu-img convert -f raw -O vpc -o subformat=$type,force_size=on \
        "$tmp/disk" "$tmp/new"
    mv -f "$tmp/new" "$tmp/image"
    all
done

qemu-img convert -f raw -O vhdx "$tmp/disk" "$tmp/new"
mv -f "$tmp/new" "$tmp/image"
all

# The bytes of an ISO are the disk.
mkdir "$tmp/files"
head -c 2M /dev/urandom >"$tmp/files/data"
genisoimage -quiet -J -R -udf -o "$tmp/image" "$tmp/files"
ln -f "$tmp/image" "$tmp/disk"
all

# A slow medium: nothing fails.
start_nbdkit -r --filter=delay file "$tmp/image" rdelay=30ms
start_nbdkit image "$uri"
nbdcopy "$uri" "$tmp/copy"
same_bytes "$tmp/copy" "$tmp/disk"
