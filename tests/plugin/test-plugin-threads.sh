#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Sixteen threads of nbdkit at once, in one image of each kind: some clients
# read all of it, over several connections each, and get the right bytes;
# others write, and read what they wrote.  In a build with the thread
# sanitizer (make check-tsan) it looks at the plugin meanwhile.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires fio --enghelp=nbd
requires nbdcopy --version
requires qemu-img --version
requires xorriso -version

# Where the sanitizer is not there, it can't see anything.
sanitized ()
{
    [ -z "${NBDIMAGE_TSAN:-}" ] || grep -q libtsan "/proc/$nbdkit_pid/maps" ||
        fail "the thread sanitizer is not loaded"
}

# copies DISK: by three clients with four connections each.  With requests of
# two sizes, so that they come across blocks in different places.
copies ()
{
    local n pids=()

    for n in 1 2 3; do
        nbdcopy --connections=4 --threads=4 --requests=8 \
            --request-size=$((n == 3 ? 262144 : 65536)) "$uri" \
            "$tmp/copy$n" &
        pids+=($!)
    done
    for n in 1 2 3; do
        wait "${pids[n - 1]}"
        same_bytes "$tmp/copy$n" "$1"
    done
}

# reads DISK NBDKIT-ARG...
reads ()
{
    local disk=$1
    shift

    start_nbdkit -t 16 -r "$@"
    sanitized
    copies "$disk"
    stop_nbdkit
}

# Eight that write and verify in the first 32 MiB; eight more that only read.
fio_runs ()
{
    fio --ioengine=nbd --uri="$uri" --iodepth=4 --randrepeat=1 \
        --randseed="$1" --output="$tmp/fio.log" \
        --name=write --numjobs=8 --size=4M --offset_increment=4M --rw=randrw \
        --bsrange=512-64k --blockalign=512 --verify=crc32c --do_verify=1 \
        --verify_fatal=1 --fsync=64 \
        --name=read --numjobs=8 --size=32M --io_size=4M --rw=randread \
        --bsrange=4k-64k || {
        cat "$tmp/fio.log" >&2
        fail "fio found something else than it wrote"
    }
    refuses grep -qiE 'verify: bad|error=|err=[^ ]*[1-9]' "$tmp/fio.log"
}

# writes FILE NBDKIT-ARG...: and then all who read it agree.
writes ()
{
    local file=$1
    shift

    start_nbdkit -t 16 "$@"
    sanitized
    fio_runs 1
    nbdcopy "$uri" "$tmp/disk"
    fio_runs 2
    nbdcopy "$uri" "$tmp/disk"
    copies "$tmp/disk"
    stop_nbdkit
    nbdimage check "$file"
    reads "$tmp/disk" "$@"
}

mkdir "$tmp/files"
head -c 20M /dev/urandom >"$tmp/files/data"
xorriso -as mkisofs -quiet -r -V THREADS -o "$tmp/cd.iso" "$tmp/files"
cp "$tmp/cd.iso" "$tmp/cd"
truncate -s %2048 "$tmp/cd"
reads "$tmp/cd" image "$tmp/cd.iso"

# Every second megabyte, so that there are blocks and holes.
for ((i = 0; i < 40; i += 2)); do
    head -c 1M /dev/urandom |
        dd of="$tmp/raw" bs=1M seek=$i conv=notrunc status=none
done
truncate -s 48M "$tmp/raw"
for format in vpc vhdx; do
    options=
    [ "$format" = vhdx ] || options=force_size=on
    qemu-img convert -f raw -O "$format" ${options:+-o $options} \
        "$tmp/raw" "$tmp/image.$format"
    reads "$tmp/raw" image "$tmp/image.$format"
done

writes "$tmp/image.vpc" image "$tmp/image.vpc"
writes "$tmp/image.vhdx" image "$tmp/image.vhdx"
writes "$tmp/over.vhd" image "$tmp/raw" overlay="$tmp/over.vhd"
for format in vhd vhdx; do
    nbdimage create --format=$format "$tmp/parent.$format" 48M
    start_nbdkit image "$tmp/parent.$format"
    nbdcopy "$tmp/raw" "$uri"
    stop_nbdkit
    nbdimage create --format=$format --parent="$tmp/parent.$format" \
        "$tmp/child.$format"
    reads "$tmp/raw" image "$tmp/child.$format"
    writes "$tmp/child.$format" image "$tmp/child.$format"
done
