#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# fio writes over four connections at a time, with requests of several sizes,
# and verifies: at once, and after nbdkit was started again.  Then others read
# the same disk from the image.  Each kind of image that can be written.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires fio --version
requires qemu-img --version
requires qemu-io --version
requires nbdcopy --version
fio --enghelp=nbd >/dev/null || skip "fio has no engine for NBD"

# jobs SEED: four jobs, each on its quarter of the disk of 96 MiB.
jobs ()
{
    cat <<END
[global]
ioengine=nbd
uri=$uri
size=24m
verify=crc32c
verify_fatal=1
randseed=$1
iodepth=16
[small]
rw=randwrite
bs=4k
offset=0
size=8m
[odd]
rw=randwrite
bs=10k
offset=24m
[large]
rw=randwrite
bs=64k
offset=48m
fsync=16
[trimmed]
rw=randtrimwrite
bs=256k
offset=72m
END
}

# What fio did in $tmp/fio.log: "issued rwts: total=READS,WRITES,TRIMS,SYNCS".
nr_requests=0
count_requests ()
{
    nr_requests=$((nr_requests + $(
        sed -n 's/.*issued rwts: total=\([0-9,]*\) .*/\1/p' "$tmp/fio.log" |
            tr , '\n' | paste -sd +)))
}

# fio_runs SEED ARG...
fio_runs ()
{
    local seed=$1
    shift
    jobs "$seed" >"$tmp/jobs"
    fio "$@" "$tmp/jobs" >"$tmp/fio.log" 2>&1 || {
        cat "$tmp/fio.log" >&2
        fail "fio failed on $name"
    }
    count_requests
    refuses grep -qiE 'verify: bad|error=|err=[^ ]*[1-9]' "$tmp/fio.log"
}

# verify NAME FORMAT-OF-QEMU FILE ARG...: create it that way
verify ()
{
    name=$1
    local qemu=$2 file=$tmp/$3
    shift 3

    [ -e "$file" ] || nbdimage create "$@" "$file" 96M
    # Written and verified, and verified again by another server.
    start_nbdkit image "$file"
    fio_runs 11 --do_verify=1
    stop_nbdkit
    start_nbdkit -r image "$file"
    fio_runs 11 --verify_only
    stop_nbdkit
    # Once more over what is there now.
    start_nbdkit image "$file"
    fio_runs 12 --do_verify=0
    stop_nbdkit
    start_nbdkit -r image "$file"
    fio_runs 12 --verify_only
    nbdcopy "$uri" "$tmp/$name.disk"
    stop_nbdkit
    nbdimage check "$file"
    [ -z "$qemu" ] || {
        qemu-img compare -f "$qemu" -F raw "$file" "$tmp/$name.disk"
        qemu-img check -f "$qemu" "$file" 2>&1 |
            grep -e "No errors" -e "does not support checks"
    }
    rm "$tmp/$name.disk" "$file"
}

verify raw raw disk.img --format=raw
verify vhd-fixed vpc fixed.vhd --fixed
for block_size in 512K 2M; do
    verify "vhd-dynamic-$block_size" vpc dynamic.vhd --block-size=$block_size
done
verify vhdx-fixed vhdx fixed.vhdx --format=vhdx --fixed
for block_size in 1M 32M; do
    verify "vhdx-dynamic-$block_size" vhdx dynamic.vhdx --format=vhdx \
           --block-size=$block_size
done

# Over two parents, in which there is something too.  QEMU knows no chains.
for format in vhd vhdx; do
    below=
    for layer in 0 1; do
        nbdimage create --format=$format $below "$tmp/$layer.$format" 96M
        start_nbdkit image "$tmp/$layer.$format"
        qemu-io -f raw -c "write -P 0x7$layer ${layer}0M 60M" "$uri"
        stop_nbdkit
        below="--parent=$tmp/$layer.$format"
    done
    nbdimage create --format=$format $below "$tmp/child.$format"
    verify "$format-differencing" "" child.$format
    rm "$tmp"/*.$format
done
echo "COUNTED: $nr_requests requests of fio, 0 bad, seed 11"
