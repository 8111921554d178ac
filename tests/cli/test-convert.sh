#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# convert: from every format to every other, the disk is the same, what was a
# hole or zero takes no space, and nothing is left of what failed.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires python3
requires qemu-img
cd "$tmp"

hash_of ()
{
    sha256sum "$1" | cut -d' ' -f1
}

no_leftovers ()
{
    find . -name '.?*' ! -name . | grep . && fail "something is left" || true
}

# space FILE: KiB that it takes
space ()
{
    echo $(($(stat -c '%b * %B' "$1") / 1024))
}

size=$((43 * 1048576 + 512))
python3 -B "$support/make-holes.py" src.img "$size" 1
hash=$(hash_of src.img)
# What is not zero, in units of 64 KiB: no copy of it needs more.
data=$(python3 - src.img <<'END'
import sys
data = open(sys.argv[1], "rb").read()
print(sum(64 for i in range(0, len(data), 65536)
          if data[i:i + 65536].strip(b"\0")))
END
)
[ "$data" -lt $((size / 1024 * 2 / 3)) ] || fail "the source has no holes"

# ------------------------------------------------ every pair, against QEMU's

cp --sparse=never src.img src-raw.img
qemu-img convert -f raw -O vpc -o force_size=on src.img src-dyn.vhd
qemu-img convert -f raw -O vpc -o subformat=fixed,force_size=on src.img \
    src-fixed.vhd
qemu-img convert -f raw -O vhdx src.img src-dyn.vhdx
nbdimage create --block-size=512K src-own.vhd "$size"
qemu-img convert -n -f raw -O vpc src.img src-own.vhd

# convert SOURCE TARGET QEMU'S-FORMAT OPTION...: and what came out of it.
# Data of a VHD's blocks lies elsewhere than on the disk, but the file is made
# of holes of 64 KiB as well.
convert ()
{
    local from=$1 to=$2 fmt=$3 more=256
    shift 3
    # A VHDX has a log, and tables of 1 MiB.
    [ "$fmt" != vhdx ] || more=4096

    nbdimage convert "$@" "$from" "$to" >out
    [ ! -s out ] || fail "it printed something"
    qemu-img compare -f raw -F "$fmt" src.img "$to"
    qemu-img convert -f "$fmt" -O raw "$to" back.img
    same "the disk of $to" "$(hash_of back.img)" "$hash"
    [ "$(space "$to")" -le $((data + more)) ] ||
        fail "$to takes $(space "$to") KiB, expected $data"
    no_leftovers
    rm "$to"
}

for from in src.img src-raw.img src-dyn.vhd src-fixed.vhd src-own.vhd \
            src-dyn.vhdx; do
    convert "$from" to.img raw
    convert "$from" to.vhd vpc
    convert "$from" to.vhd vpc --fixed --verify
    convert "$from" to.vhd vpc --block-size=512K --threads=16
    convert "$from" to raw -O raw --threads=1
done

for from in src.img src-dyn.vhd src-dyn.vhdx; do
    convert "$from" to.vhdx vhdx
    convert "$from" to.vhdx vhdx --block-size=1M --verify
    convert "$from" to.vhdx vhdx --fixed
done

# A differencing disk becomes one without parents.
cp src-own.vhd parent.vhd
nbdimage create --parent=parent.vhd child.vhd >out
convert child.vhd to.vhd vpc --verify
same "the chain" "$(nbdimage convert --json child.vhd flat.vhd | jq -r .name; \
    nbdimage info --json flat.vhd | jq '.chain | length')" $'flat.vhd\n1'
rm parent.vhd child.vhd flat.vhd

# What programs get.
nbdimage convert --json --verify src-dyn.vhd out.img >json
jq -e --argjson size "$size" '.source == "src-dyn.vhd" and
    .name == "out.img" and .format == "raw" and .size == $size and
    ."source-size" == $size and ."resumed-at" == null and
    .verified == true' json
same "bytes that were data" "$(jq .data json)" $((data * 1024))
rm out.img

# Sizes that are rounded up.
nbdimage convert --azure src.img az.vhd >out
contains out "az.vhd: a disk of 44 MiB ($((44 << 20)) bytes, 1048064 more"
same "Azure's file" "$(stat -c %s az.vhd)" $(((44 << 20) + 512))
cmp -n "$size" az.vhd src.img
nbdimage convert --json --geometry=chs --verify src.img chs.vhd >json
same "its size" "$(jq .size json)" \
     "$(nbdimage info --json chs.vhd | jq .size)"
[ "$(jq .size json)" -gt "$size" ] || fail "it was not rounded up"
rm az.vhd chs.vhd

# Space that is taken.
nbdimage convert --preallocate src.img pre.img
[ "$(space pre.img)" -ge $((size / 1024)) ] || fail "the space is not taken"
same "its bytes" "$(hash_of pre.img)" "$hash"
rm pre.img

# Sectors of 4096 bytes.
truncate -s 8M 4k.img
if qemu-img create -q -f vhdx 4k.vhdx 8M; then
    nbdimage create --format=vhdx --sector-size=4096 4kn.vhdx 8M
    nbdimage convert 4kn.vhdx 4k.vhd 2>err
    contains err 'sectors of 4096 bytes, and a VHD has sectors of 512'
    rm 4k.vhd
fi

# -------------------------------------------------------------- refused

# refused SENTENCE ARG...
refused ()
{
    local message=$1
    shift
    refuses nbdimage convert "$@"
    contains "$tmp/refused" "$message"
    [ ! -e new.vhd ] || fail "there is a file"
    [ ! -e new.img ] || fail "there is a file"
    no_leftovers
}
# The same, as wrong usage.
wrong ()
{
    local status=0
    nbdimage convert "${@:2}" 2>err || status=$?
    contains err "$1"
    same "exit status" "$status" 2
}

cp src.img there.img
ln there.img link.img
ln -s there.img symlink.img
refused 'there.img: is the source itself' there.img there.img
refused 'is the source itself, there.img' there.img ./there.img
refused 'is the source itself, there.img' there.img link.img
refused 'is the source itself, there.img' there.img symlink.img
refused 'exists already; it is not replaced' src.img there.img
refused 'exists already; it is not replaced' --resume src.img there.img
same "what was there" "$(hash_of there.img)" "$hash"
nbdimage create base.vhd 1M
nbdimage create --parent=base.vhd over.vhd >out
refused 'is a parent of the source, ' over.vhd base.vhd
ln -s nowhere new.link
refused 'exists already' -O raw src.img new.link
refused 'is a folder' -O raw src.img .
refused "its folder can't be opened" src.img none/new.img
refused 'none.img: ' none.img new.img
refused 'whole sectors of 512 bytes' -f raw "$abs_top_srcdir/tests/functions.sh" new.vhd
: >empty.img
refused 'is empty' empty.img new.img
if [ -b /dev/nbd0 ]; then
    refused 'is a device; convert makes files' -O raw src.img /dev/nbd0
elif [ -b /dev/loop0 ]; then
    refused 'is a device; convert makes files' -O raw src.img /dev/loop0
fi
truncate -s 2041G large.img
refused 'the largest VHD that grows is of 2040 GiB' large.img new.vhd
refused "a fixed VHD has no blocks" --fixed --block-size=2M src.img new.vhd
wrong 'say --format' src.img new
wrong 'can'\''t be made' -O iso src.img new.img
wrong 'can'\''t be made' src.img new.iso
wrong 'expected a source and a target' src.img
wrong 'at most 64' --threads=65 src.img new.img
wrong 'expected none or chs' --geometry=x src.img new.vhd
wrong 'is not auto, line, json or none' --progress=x src.img new.img
wrong '--source-format: ' -f qcow9 src.img new.img
wrong '--size: ' --size=big src.img new.img

wrong "can't be written to standard output; a file of that name is ./-" \
    -O raw src.img -
wrong "‘1.5M’ is not a whole number; say it in a smaller unit" \
    --block-size=1.5M src.img new.vhd
refused 'is a device; convert makes files' -O raw src.img /dev/null

# The format of the source was meant, perhaps.
nbdimage convert --format=raw src-fixed.vhd odd.vhd 2>err
contains err 'odd.vhd: becomes a raw image, and its name ends as that of a vhd'
rm odd.vhd
nbdimage convert -f raw src.img odd.vhd 2>err
[ ! -s err ] || fail "a warning"
rm odd.vhd

# Damaged: the third exit status.
cp src-dyn.vhd bad.vhd
printf 'x' | dd of=bad.vhd bs=1 seek=600 conv=notrunc
status=0
nbdimage convert bad.vhd new.img 2>err || status=$?
same "exit status" "$status" 3
nbdimage convert --ignore-checksums bad.vhd new.img 2>err
same "its bytes" "$(hash_of new.img)" "$hash"
rm new.img

# A source that somebody writes to is none.
exec 8<>there.img
python3 - <<'END' 8<&8 >ready &
import fcntl, os, struct, time
fcntl.fcntl(8, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
print("locked", flush=True)
time.sleep(60)
END
locker=$!
cleanup_fn stop_pid "$locker"
for ((i = 0; i < 300; i++)); do
    ! grep -q locked ready || break
    sleep 0.1
done
refused 'is being written by another process' there.img new.img
exec 8>&-
stop_pid "$locker"

# No space: nothing is left.
if unshare -m true 2>/dev/null; then
    cat >small <<'END'
set -e
mount -t tmpfs -o size=4m none mnt
status=0
nbdimage convert --progress=none "$@" src.img mnt/new.vhd 2>err || status=$?
ls -A mnt >left
exit $status
END
    mkdir mnt
    refuses unshare -m bash small
    contains err 'mnt/new.vhd: writing at offset '
    contains err 'No space left on device'
    [ ! -s left ] || fail "something is left: $(cat left)"
    refuses unshare -m bash small --fixed
    contains err 'No space left on device'
    [ ! -s left ] || fail "something is left: $(cat left)"
    refuses unshare -m bash small --fixed --preallocate
    contains err "can't be reserved"
    refuses unshare -m bash small --resume
    contains err 'the same command goes on'
    same "what is left" "$(sort left | xargs)" \
         ".new.vhd.partial .new.vhd.partial.state"
    # With more space the same command goes on behind what was noted, although
    # there was none for another page of the note.
    cat >grow <<'END'
set -e
mount -t tmpfs -o size=4m none mnt
nbdimage convert --progress=none "$@" --resume src.img mnt/new.img 2>err1 &&
    exit 9
mount -o remount,size=100m mnt
nbdimage convert --progress=none "$@" --resume src.img mnt/new.img 2>err2
cmp src.img mnt/new.img
END
    unshare -m bash grow --threads=1
    contains err1 'has what is done; the same command goes on'
    contains err2 'going on behind '
fi

# ------------------------------------------------------------- real images

if [ -e "$samples/MANIFEST.tsv" ]; then
    nr=0
    while IFS=$'\t' read -r file _ _ _ _ disk_size disk_hash _; do
        case $file in
            vhd/*.vhd.xz|vhdx/*.vhdx.xz) ;;
            *) continue ;;
        esac
        # Hashing a hundred GiB of zeros says little for its time.
        [ "$disk_size" -le $((1 << 30)) ] || continue
        # A child finds its parent.
        [[ $file != */child* ]] || sample "${file%/*}/parent.vhd" >/dev/null
        [[ $file != */image-diff* ]] || sample vhd/image.vhd >/dev/null
        path=$(sample "${file%.xz}")
        rm -f out.img out.vhd
        nbdimage convert "$path" out.img 2>err ||
            nbdimage convert --ignore-checksums "$path" out.img
        same "the disk of $file" "$(hash_of out.img)" "$disk_hash"
        nbdimage convert --verify out.img out.vhd
        rm out.img
        nr=$((nr + 1))
    done <"$samples/MANIFEST.tsv"
    [ "$nr" -ge 10 ] || fail "only $nr samples found"
fi

# A disk with what was written to it into an overlay, and the overlay alone.
truncate -s 6M "$tmp/below.img"
head -c 1M /dev/urandom | dd of="$tmp/below.img" conv=notrunc status=none
cp "$tmp/below.img" "$tmp/expected.img"
head -c 100k /dev/urandom >"$tmp/change"
dd if="$tmp/change" of="$tmp/expected.img" bs=1k seek=900 conv=notrunc \
    status=none
start_nbdkit image "$tmp/below.img" overlay="$tmp/lies-over.vhd"
qemu-io -f raw -c "write -s $tmp/change 900k 100k" "$uri"
stop_nbdkit
nbdimage convert --overlay="$tmp/lies-over.vhd" "$tmp/below.img" "$tmp/flat1.raw"
nbdimage convert "$tmp/lies-over.vhd" "$tmp/flat2.raw"
same_bytes "$tmp/flat1.raw" "$tmp/expected.img"
same_bytes "$tmp/flat2.raw" "$tmp/expected.img"
# Not over itself, nor over what lies over it.
refuses nbdimage info --overlay=./below.img below.img
contains "$tmp/refused" "is the image itself, which can't be its own overlay"
refuses nbdimage info --overlay=below.img lies-over.vhd
contains "$tmp/refused" "is a parent of the image, which can't be its own"
# A mistake in its name does not give the disk without it.
for command in "convert" "convert --dry-run"; do
    refuses nbdimage $command --overlay=lies-ovre.vhd below.img flat3.raw
    contains "$tmp/refused" 'the overlay lies-ovre.vhd is not there'
    [ ! -e flat3.raw ] || fail "there is a copy"
done
refuses nbdimage info --overlay=lies-ovre.vhd below.img
contains "$tmp/refused" 'the overlay lies-ovre.vhd is not there'
[ ! -e lies-ovre.vhd ] || fail "the overlay was made"
