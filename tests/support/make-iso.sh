#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Make an ISO image full of known files, by other programs.
#
#   make-iso.sh KIND IMAGE
#
# KIND     rockridge    xorriso: ISO 9660, Rock Ridge and Joliet
#          joliet       genisoimage: ISO 9660 and Joliet
#          udf          genisoimage: ISO 9660, Joliet and UDF (a bridge)
#          pure-udf     mkudffs: UDF 2.01, 2048-byte blocks, and nothing in it
#
# The volume is "NBDIMAGE_TEST".  Beside IMAGE: IMAGE.sha256, the files in it
# (make-files.sh; none for pure-udf).
#
# Needs: xorriso, genisoimage, udftools, each for its own.

set -e
export LC_ALL=C.UTF-8
export PATH=$PATH:/usr/sbin:/sbin
support=$(cd "$(dirname "$0")" && pwd)

[ "$#" -eq 2 ] || { echo "usage: $0 KIND IMAGE" >&2; exit 2; }
kind=$1
image=$2

work=$(mktemp -d "${TMPDIR:-/tmp}/nbdimage-iso.XXXXXX")
trap 'rm -rf "$work"' EXIT

quietly ()
{
    "$@" </dev/null >"$work/log" 2>&1 || {
        echo "$0: failed: $*" >&2
        cat "$work/log" >&2
        exit 1
    }
}

rm -f "$image"
made=$work/image
[ "$kind" = pure-udf ] || "$support/make-files.sh" "$work/files" "$image.sha256"
case $kind in
    rockridge)
        quietly xorriso -as mkisofs -quiet -r -J -V NBDIMAGE_TEST \
            -o "$made" "$work/files"
        ;;
    joliet)
        quietly genisoimage -quiet -input-charset utf-8 -J -joliet-long \
            -V NBDIMAGE_TEST -o "$made" "$work/files"
        ;;
    udf)
        quietly genisoimage -quiet -input-charset utf-8 -J -joliet-long -udf \
            -V NBDIMAGE_TEST -o "$made" "$work/files"
        ;;
    pure-udf)
        truncate -s 16M "$made"
        quietly mkudffs --utf8 --blocksize=2048 --media-type=hd \
            --udfrev=0x0201 --label=NBDIMAGE_TEST "$made"
        ;;
    *)
        echo "$0: unknown kind '$kind'" >&2
        exit 2
        ;;
esac
mv "$made" "$image"
