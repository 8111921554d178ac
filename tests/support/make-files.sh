#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Make a folder of known files to fill file systems with, and their checksums.
#
#   make-files.sh [--flat] DIR MANIFEST
#
# MANIFEST is what sha256sum prints, so after mounting
#
#   cd MOUNTED && sha256sum --quiet --check MANIFEST
#
# compares them.  --flat leaves out what some tools that fill file systems
# without root cannot do: folders.  The contents differ at every place, so
# that bytes from the wrong block are noticed, and are the same each time.

set -e
export LC_ALL=C.UTF-8

flat=
if [ "$1" = --flat ]; then
    flat=1
    shift
fi
[ "$#" -eq 2 ] || { echo "usage: $0 [--flat] DIR MANIFEST" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
manifest=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
cd "$dir"

echo 'Every disk image a real disk.' >hello.txt
: >empty
# Larger than the 2 MiB blocks of a VHD, wherever it begins.
seq 1 760000 >numbers.txt
# Whole clusters of zeros between data.
truncate -s 6M sparse.bin
seq 1 3000 | dd of=sparse.bin bs=4k seek=512 conv=notrunc status=none
echo end | dd of=sparse.bin bs=1 seek=$((6 * 1024 * 1024 - 4)) conv=notrunc \
    status=none
echo 'Grüße' >'Grüße, 日本 und Ω.txt'

if [ -z "$flat" ]; then
    mkdir -p 'a folder/with/more folders' many
    seq 5 3 90000 >'a folder/with/more folders/threes.txt'
    echo 'файл' >'a folder/файл'
    for i in $(seq 1 120); do
        seq "$i" $((i * 12)) >"many/file-$i.txt"
    done
fi

# One process for all of them.
find . -type f -print0 | sort -z | xargs -0 sha256sum >"$manifest"
