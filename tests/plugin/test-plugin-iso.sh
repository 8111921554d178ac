#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# ISO images made by xorriso and others: the same bytes, read-only.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires nbdcopy
requires jq
requires xorriso --version
client=$abs_top_builddir/tests/plugin/client

mkdir "$tmp/folder"
# kind, description, program
while IFS='|' read -r kind description program; do
    command -v "$program" >/dev/null || continue
    iso=$tmp/folder/$kind
    "$support/make-iso.sh" "$kind" "$iso"
    start_nbdkit -v image "$iso"
    nbdinfo --json "$uri" >"$tmp/info.json"
    found=$(jq -r '.exports[0].description' "$tmp/info.json")
    case $found in
        $description) ;;
        *) fail "the description is '$found', expected '$description'" ;;
    esac
    same size "$(jq '.exports[0]."export-size"' "$tmp/info.json")" \
        "$(stat -c %s "$iso")"
    same read-only "$(jq '.exports[0].is_read_only' "$tmp/info.json")" true
    contains "$nbdkit_log" "$kind: is served read-only: "
    nbdcopy "$uri" "$tmp/copy"
    same_bytes "$tmp/copy" "$iso"
    "$client" nonsense "$uri"
    stop_nbdkit
done <<'END'
rockridge|ISO 9660*Rock Ridge*, * [KM]iB, ‘NBDIMAGE_TEST’|xorriso
joliet|ISO 9660*Joliet*, * [KM]iB, ‘NBDIMAGE_TEST’|genisoimage
udf|*UDF*, * [KM]iB, ‘NBDIMAGE_TEST’|genisoimage
pure-udf|*UDF*, * [KM]iB, ‘NBDIMAGE_TEST’|mkudffs
END

# In a folder they are recognised without a name's help.
start_nbdkit image dir="$tmp/folder"
nbdinfo --list --json "$uri" >"$tmp/list.json"
same "number of images" "$(jq '.exports | length' "$tmp/list.json")" \
    "$(ls "$tmp/folder" | grep -vc sha256)"
nbdcopy "$(export_uri rockridge)" "$tmp/copy"
same_bytes "$tmp/copy" "$tmp/folder/rockridge"
stop_nbdkit

# The file system in it is there for who reads the disk over NBD.
start_nbdkit -r image "$tmp/folder/rockridge"
nbdcopy "$uri" "$tmp/copy"
xorriso -indev "$tmp/copy" -osirrox on -extract / "$tmp/files" 2>/dev/null
(cd "$tmp/files" && sha256sum --quiet --check "$tmp/folder/rockridge.sha256")
stop_nbdkit

# The end is missing, or there is more: the bytes of the file, and a warning
# only where something is missing.
size=$(stat -c %s "$tmp/folder/rockridge")
head -c $((size / 2 + 100)) "$tmp/folder/rockridge" >"$tmp/half"
start_nbdkit image "$tmp/half"
contains "$nbdkit_log" 'bytes are missing at the end'
same size "$(nbdinfo --size "$uri")" $((size / 2 + 100))
nbdcopy "$uri" "$tmp/copy"
same_bytes "$tmp/copy" "$tmp/half"
stop_nbdkit
{ cat "$tmp/folder/rockridge"; head -c 1003520 /dev/urandom; } >"$tmp/more"
start_nbdkit image "$tmp/more"
nbdcopy "$uri" "$tmp/copy"
same_bytes "$tmp/copy" "$tmp/more"
same warnings "$(grep -c warning "$nbdkit_log")" 0
stop_nbdkit

# A raw dump: the data in its sectors, and no data where one is damaged.
requires python3 --version
PYTHONPATH=$abs_top_srcdir/tests/peers python3 -B - "$tmp/folder/joliet" \
    "$tmp/disc.bin" <<'END'
import random, sys
from discs import raw_sector
data = open(sys.argv[1], "rb").read()
with open(sys.argv[2], "wb") as f:
    for i in range(len(data) // 2048):
        f.write(raw_sector(random, i, 1, data[2048 * i:2048 * i + 2048]))
END
start_nbdkit image "$tmp/disc.bin"
nbdcopy "$uri" "$tmp/copy"
same_bytes "$tmp/copy" "$tmp/folder/joliet"
stop_nbdkit
printf '\1\2\3\4' | dd of="$tmp/disc.bin" bs=1 seek=$((50 * 2352 + 1000)) \
    conv=notrunc status=none
start_nbdkit image "$tmp/disc.bin"
refuses nbdcopy "$uri" "$tmp/copy"
contains "$nbdkit_log" 'disc.bin: CD sector 50: checksum of its data is'
stop_nbdkit
