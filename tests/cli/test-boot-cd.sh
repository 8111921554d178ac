#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# boot: a CD is found to be one and started from: the GRUB rescue image, whose
# prompt is then on the screen.  As it is, and from a backup of it in a vault.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-system-x86_64 --version
iso=/usr/lib/grub-rescue/grub-rescue-cdrom.iso
requires test -r "$iso"

mkdir "$tmp/tmpdir"
export TMPDIR=$tmp/tmpdir

# Save the screen of the text mode each second, until GRUB is there.
monitor ()
{
    local i

    for ((i = 0; i < 240; i++)); do
        sleep 1
        echo "pmemsave 0xb8000 4000 \"$tmp/screen\""
        # Each character is followed by its colours, which are no letters.
        if tr -cd ' -~' <"$tmp/screen" 2>/dev/null |
           grep -q 'GNU GRUB  version'; then
            touch "$tmp/seen"
            break
        fi
    done
    # This image would start as a disk, too: see what it is.
    echo 'info block'
    sleep 1
    echo quit
}

# boot_cd IMAGE
boot_cd ()
{
    rm -f "$tmp/seen" "$tmp/screen"
    monitor 2>"$tmp/monitor.err" |
        timeout -k 20 300 nbdimage boot --accel tcg --headless "$1" \
                -- -monitor stdio >"$tmp/out" 2>"$tmp/err"
    cat "$tmp/err"
    [ -e "$tmp/seen" ] || fail "GRUB did not appear on the screen"
    grep -A3 '^image ' "$tmp/out" >"$tmp/drive"
    contains "$tmp/drive" 'Removable device'
    same "what is left in TMPDIR" "$(ls -A "$TMPDIR")" ""
}
boot_cd "$iso"

nbdimage backup --init --everything --name=rescue --codec=zstd --json "$iso" \
    "$tmp/vault" >"$tmp/report"
[ "$(du -sb "$tmp/vault/files" | cut -f 1)" -lt "$(stat -c %s "$iso")" ] ||
    fail "it is not compressed"
nbdimage info "$tmp/vault/rescue" >"$tmp/info"
contains "$tmp/info" "ISO 9660"
same "the bytes" "$(nbdkit -r -U - image "$tmp/vault/rescue" \
    --run 'nbdcopy "$uri" -' | sha256sum)" "$(sha256sum <"$iso")"
boot_cd "$tmp/vault/rescue"
