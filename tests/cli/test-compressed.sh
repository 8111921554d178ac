#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Images that the compressing programs themselves compressed: info, convert,
# check, serve and the plugin read what the programs unpack.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires nbdcopy --version
for program in bzip2 gzip lz4 xz zstd; do
    requires "$program"
done

# A disk with partitions, and one whose size is no multiple of anything.
"$support/make-disk.sh" mbr-ext4 "$tmp/disk.img"
head -c 3000001 "$0" >"$tmp/odd.img"
for ((i = 0; i < 40; i++)); do
    cat "$0" "$abs_top_builddir/config.status" >>"$tmp/odd.img"
done
head -c 700000 /dev/urandom >>"$tmp/odd.img"

# squeeze COMMAND... : stdin to stdout, each of these that is installed.
commands=(
    'bzip2 -1' 'bzip2 -9'
    'gzip -1' 'gzip -9'
    'lz4 -1' 'lz4 -9 -B4' 'lz4 -1 -BD -B4' 'lz4 -BX --content-size'
    'lz4 --no-frame-crc'
    'xz -0' 'xz -6' 'xz -9' 'xz -1 --block-size=300KiB' 'xz -1 -T2 -C sha256'
    'xz -0 -C none' 'xz --delta=dist=4 --lzma2=preset=1'
    'zstd -1' 'zstd -19' 'zstd -3 -T2' 'zstd --no-check' 'zstd --fast=5'
    'zstd -3 --long=26'
)
for more in 'pbzip2 -1 -p2' 'lbzip2 -1 -n2' 'pigz -1' 'pigz -i -b 128' \
            'pixz -1 -t' 'pzstd -1' 'bgzip'; do
    if command -v "${more%% *}" >/dev/null; then
        commands+=("$more")
    fi
done

n=0
for command in "${commands[@]}"; do
    n=$((n + 1))
    file=$tmp/odd$n
    $command -c <"$tmp/odd.img" >"$file" ||
        $command <"$tmp/odd.img" >"$file"
    nbdimage info --json "$file" >"$tmp/json"
    same "size ($command)" "$(jq .size "$tmp/json")" \
         "$(stat -c %s "$tmp/odd.img")"
    same "format ($command)" "$(jq -r .format "$tmp/json")" raw
    same "compression ($command)" "$(jq -r .properties.compression \
                                        "$tmp/json")" \
         "$(case $command in
              *bzip2*) echo bzip2;; *gz*) echo gzip;; lz4*) echo lz4;;
              *xz*) echo xz;; *zstd*) echo zstd;; esac)"
    nbdimage convert --format=raw "$file" "$tmp/back.img"
    same_bytes "$tmp/odd.img" "$tmp/back.img"
    rm "$tmp/back.img"
    [ "$n" -eq 1 ] || rm "$file"
done
[ "$(ls "$XDG_CACHE_HOME/nbdimage" | wc -l)" -eq "$n" ]

# In a frame of zstd decoding can begin at more places than its front.
cat "$tmp/odd.img"{,,,,,} >"$tmp/long.img"
zstd -q -1 --zstd=wlog=17 "$tmp/long.img" -o "$tmp/long.zst"
nbdimage info --json "$tmp/long.zst" >"$tmp/json"
places=$(jq -r '.properties."decoding-points"' "$tmp/json" | grep -o '[0-9]*')
[ "$places" -ge 3 ]
rm "$tmp"/long.*

# Concatenated files count as one.
gzip -1c "$tmp/odd.img" >"$tmp/two.gz"
gzip -9c "$tmp/odd.img" >>"$tmp/two.gz"
cat "$tmp/odd.img" "$tmp/odd.img" >"$tmp/two.img"
nbdimage convert --format=raw "$tmp/two.gz" "$tmp/back.img"
same_bytes "$tmp/two.img" "$tmp/back.img"
rm "$tmp/back.img" "$tmp"/two.*

# A disk is known in it, and so is another format.
xz -0 --block-size=1MiB -kc "$tmp/disk.img" >"$tmp/disk.img.xz"
nbdimage info --json "$tmp/disk.img" >"$tmp/plain.json"
nbdimage info --json "$tmp/disk.img.xz" >"$tmp/json"
same partitions "$(jq -c .partitions "$tmp/json")" \
     "$(jq -c .partitions "$tmp/plain.json")"
same 'can be written' "$(jq '."can-be-written"' "$tmp/json")" false
nbdimage convert "$tmp/disk.img" "$tmp/disk.vhd"
zstd -q "$tmp/disk.vhd"
nbdimage info --json "$tmp/disk.vhd.zst" >"$tmp/json"
same format "$(jq -r .format "$tmp/json")" vhd
nbdimage convert --format=raw "$tmp/disk.vhd.zst" "$tmp/back.img"
same_bytes "$tmp/disk.img" "$tmp/back.img"

# Served, by many connections.
start_nbdkit image "$tmp/disk.img.xz"
nbdcopy --connections=4 --requests=16 "$uri" "$tmp/copy.img"
cmp "$tmp/disk.img" "$tmp/copy.img"
stop_nbdkit

# In a folder, those whose names say that they are images; nothing else is read
# as a whole to find out.  (nbdinfo opens what is listed.)
mkdir "$tmp/folder"
cp "$tmp/disk.img.xz" "$tmp/disk.vhd.zst" "$tmp/folder"
cp "$tmp/disk.img.xz" "$tmp/folder/archive.tar.xz"
before=$(ls "$XDG_CACHE_HOME/nbdimage" | wc -l)
start_nbdkit image dir="$tmp/folder"
nbdinfo --list "$uri" >"$tmp/list"
same indexes "$(ls "$XDG_CACHE_HOME/nbdimage" | wc -l)" $((before + 2))
same exports "$(grep -c '^export=' "$tmp/list")" 2
contains "$tmp/list" 'read as a whole when it is first opened'
same size "$(nbdinfo --size "$(export_uri disk.vhd.zst)")" \
     "$(stat -c %s "$tmp/disk.img")"
refuses nbdinfo --size "$(export_uri archive.tar.xz)"
stop_nbdkit

# The index is kept, and made anew when it is not right.
touch -d '2020-01-01 UTC' "$tmp/disk.img.xz"
open_again ()
{
    nbdimage info --json "$tmp/disk.img.xz" >"$tmp/json"
    same size "$(jq .size "$tmp/json")" "$(stat -c %s "$tmp/disk.img")"
}
rm -rf "$XDG_CACHE_HOME"
open_again
index=$(echo "$XDG_CACHE_HOME"/nbdimage/*.idx)
[ -f "$index" ]
sum=$(sha256sum <"$index")
inode=$(stat -c %i "$index")
open_again
same 'inode of the index' "$(stat -c %i "$index")" "$inode"
for at in 0 40 200 "$(($(stat -c %s "$index") - 1))"; do
    printf '\xA5' | dd of="$index" bs=1 seek="$at" conv=notrunc status=none
    open_again
    same "index broken at $at" "$(sha256sum <"$index")" "$sum"
done
truncate -s 100 "$index"
open_again
same 'index cut off' "$(sha256sum <"$index")" "$sum"
: >"$index"
open_again
same 'empty index' "$(sha256sum <"$index")" "$sum"

# Where it can't be kept, the image is read all the same.
rm -rf "$XDG_CACHE_HOME"
: >"$XDG_CACHE_HOME"
nbdimage info "$tmp/disk.img.xz" 2>"$tmp/err"
contains "$tmp/err" 'is not kept'
rm "$XDG_CACHE_HOME"

# Damaged ones are refused, with file, structure and place; status 3.
head -c 20000 "$tmp/disk.img.xz" >"$tmp/cut.xz"
status=0
nbdimage info "$tmp/cut.xz" 2>"$tmp/err" || status=$?
same status "$status" 3
contains "$tmp/err" cut.xz
contains "$tmp/err" 'the file ends at 20000, inside of the xz block at'
refuses nbdimage check "$tmp/cut.xz"
refuses nbdimage convert --format=raw "$tmp/cut.xz" "$tmp/never.img"
[ ! -e "$tmp/never.img" ]
nbdimage check --data "$tmp/disk.img.xz"

# A file that changes under its index gives errors.
bytes=$(stat -c %s "$tmp/disk.img.xz")
nbdimage info "$tmp/disk.img.xz" >/dev/null
cp -p "$tmp/disk.img.xz" "$tmp/changing.xz"
nbdimage info "$tmp/changing.xz" >/dev/null
printf '\xA5' | dd of="$tmp/changing.xz" bs=1 seek=$((bytes / 2)) \
                   conv=notrunc status=none
touch -d '2020-01-01 UTC' "$tmp/changing.xz"
refuses nbdimage convert --format=raw "$tmp/changing.xz" "$tmp/never.img"
contains "$tmp/refused" 'changed since its index was made'

# Too much memory.
if zstd -q --long=30 --zstd=wlog=30 -c "$tmp/odd.img" "$tmp/odd.img" \
        >"$tmp/long.zst" 2>/dev/null; then
    zstd -q --ultra --long=30 -c <"$tmp/odd.img" >"$tmp/long.zst"
    refuses nbdimage info "$tmp/long.zst"
    contains "$tmp/refused" 'takes too much memory'
fi

# Much that is made of little: reading it takes less than 64 MiB of memory,
# all of the program included.  The sanitizers need as much for themselves.
requires python3
head -c 256M /dev/zero >"$tmp/zeros"
for command in 'bzip2 -9' 'gzip -9' 'lz4 -1' 'xz -0' 'zstd -1'; do
    $command -c "$tmp/zeros" >"$tmp/bomb"
    python3 - "$tmp/bomb" "${NBDIMAGE_ASAN:+128}" <<'END'
import resource, subprocess, sys
subprocess.run(["nbdimage", "info", sys.argv[1]], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
print("memory:", used, "MiB")
sys.exit(used >= int(sys.argv[2] or 64))
END
    nbdimage info --map --json "$tmp/bomb" >"$tmp/json"
    same map "$(jq -c '[.map[] | .kind // .type]' "$tmp/json")" '["hole"]'
done

# The samples.
if [ -d "$samples/backup" ]; then
    for f in S.img.gz S-multimember.img.gz S.img.bz2 S.img.zst \
             S-1MiB-blocks.img.xz; do
        nbdimage convert --format=raw "$samples/backup/$f" "$tmp/sample.img"
        same "sum of $f" "$(sha256sum <"$tmp/sample.img" | cut -d' ' -f1)" \
             "$(awk -F'\t' -v f="backup/$f" '$1 == f { print $7 }' \
                    "$samples/MANIFEST.tsv")"
        rm "$tmp/sample.img"
    done
fi
