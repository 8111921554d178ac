#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# boot: a machine starts by BIOS from a dynamic VHD and tells so on its
# serial port; what it writes is forgotten or kept as asked; nothing is left.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-system-x86_64 --version
requires qemu-img --version
requires grub-mkimage --version
requires test -r /usr/lib/grub/i386-pc/boot.img

mkdir "$tmp/tmpdir"
export TMPDIR=$tmp/tmpdir

# boot ARG...: generous, since this is emulated on a machine that may be busy.
boot ()
{
    timeout -k 20 240 nbdimage boot --accel tcg "$@" </dev/null
}

nothing_left ()
{
    same "what is left in TMPDIR" "$(ls -A "$TMPDIR")" ""
}

# GRUB in the first sectors of a disk, with its commands built in.
grub_disk ()
{
    cat >"$tmp/grub.cfg"
    grub-mkimage -O i386-pc -o "$tmp/core.img" -c "$tmp/grub.cfg" -p / \
                 serial terminal echo halt biosdisk minicmd "$@"
    cat /usr/lib/grub/i386-pc/boot.img "$tmp/core.img" >"$tmp/disk.img"
    truncate -s 16M "$tmp/disk.img"
}

grub_disk <<END
serial --unit=0 --speed=115200
terminal_output serial
echo THE-BIOS-MARKER
halt
END
qemu-img convert -f raw -O vpc -o force_size=on "$tmp/disk.img" "$tmp/disk.vhd"
sum=$(sha256sum <"$tmp/disk.vhd")
boot --serial "$tmp/disk.vhd" >"$tmp/out"
contains "$tmp/out" THE-BIOS-MARKER
same "the image" "$(sha256sum <"$tmp/disk.vhd")" "$sum"
nothing_left

# From a backup of it, compressed.
nbdimage backup --init --everything "$tmp/disk.img" "$tmp/vault"
boot --serial "$tmp/vault/disk" >"$tmp/out"
contains "$tmp/out" THE-BIOS-MARKER
nothing_left

# The same through an NBD URI: a VHD in a foreign export goes through a server
# of ours, a plain disk does not need it.
for image in disk.vhd disk.img; do
    start_nbdkit -r file "$tmp/$image"
    boot --serial "$uri" >"$tmp/out"
    contains "$tmp/out" THE-BIOS-MARKER
    stop_nbdkit
done
nothing_left

# A boot sector that writes a sector behind itself (int 13h, extended write),
# says K on the serial port if that worked, or E, and ends QEMU with status 1.
boot_sector ()
{
    {
        # ds = es = ss = 0, sp = 7c00h
        printf '\x31\xc0\x8e\xd8\x8e\xc0\x8e\xd0\xbc\x00\x7c'
        # dl = 80h, si = 7d80h, ax = 4300h, int 13h
        printf '\xb2\x80\xbe\x80\x7d\xb8\x00\x43\xcd\x13'
        # dx = 3f8h, al = 'E', jc over al = 'K', out
        printf '\xba\xf8\x03\xb0E\x72\x02\xb0K\xee'
        # isa-debug-exit at 501h with 0; hlt
        printf '\xba\x01\x05\x30\xc0\xee\xf4\xeb\xfd'
    } >"$tmp/sector"
    truncate -s 384 "$tmp/sector"
    # The packet at 7d80: one sector from 0000:7d90 to LBA 1.
    printf '\x10\x00\x01\x00\x90\x7d\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00' \
           >>"$tmp/sector"
    printf 'WRITTEN BY THE GUEST' >>"$tmp/sector"
    truncate -s 510 "$tmp/sector"
    printf '\x55\xaa' >>"$tmp/sector"
    cp "$tmp/sector" "$tmp/$1"
    truncate -s 16M "$tmp/$1"
}

boot_sector write.img
cp "$tmp/write.img" "$tmp/before.img"
guest=(-- -device isa-debug-exit,iobase=0x501,iosize=2)
status=0
boot --serial "$tmp/write.img" "${guest[@]}" >"$tmp/out" || status=$?
same "QEMU's status" "$status" 1
contains "$tmp/out" K
same_bytes "$tmp/write.img" "$tmp/before.img"
status=0
boot --serial --write "$tmp/write.img" "${guest[@]}" >"$tmp/out" || status=$?
same "QEMU's status" "$status" 1
contains "$tmp/out" K
dd if="$tmp/write.img" bs=512 skip=1 count=1 status=none >"$tmp/second"
contains "$tmp/second" "WRITTEN BY THE GUEST"
nothing_left

# Refused before anything starts.
status=0
nbdimage create "$tmp/saved.vhd" 1M
make_saved_state "$tmp/saved.vhd"
boot --write "$tmp/saved.vhd" 2>"$tmp/err" || status=$?
same "status of --write on a saved state" "$status" 1
contains "$tmp/err" "saved state"
status=0
boot "$tmp/nothing" 2>"$tmp/err" || status=$?
same "status for a missing image" "$status" 1
status=0
boot --serial "$tmp/disk.vhd" -- -nonsense 2>"$tmp/err" || status=$?
same "QEMU's own refusal" "$status" 1
contains "$tmp/err" nonsense
nothing_left

# A signal to us ends QEMU and the server; killed outright, they end too.
printf '\xeb\xfe' | dd of="$tmp/write.img" conv=notrunc status=none
for signal in TERM INT KILL; do
    # In the background, bash lets children ignore SIGINT, and we take it.
    nbdimage boot --accel tcg --headless "$tmp/write.img" &
    pid=$!
    cleanup_fn stop_pid "$pid"
    for ((i = 0; i < 300; i++)); do
        children=$(cat "/proc/$pid/task/$pid/children")
        # nbdkit, the relay of its messages, QEMU.
        if [ "$(wc -w <<<"$children")" -eq 3 ]; then break; fi
        sleep 0.1
    done
    [ "$i" -lt 300 ] || fail "QEMU did not start"
    sleep 1
    kill -s "$signal" "$pid"
    wait "$pid" || true
    for ((i = 0; i < 100; i++)); do
        left=
        for child in $children; do
            if grep -qs '^State:.[^Z]' "/proc/$child/status"; then
                left="$left $child"
            fi
        done
        if [ -z "$left" ]; then break; fi
        sleep 0.1
    done
    same "processes after SIG$signal" "$left" ""
    [ "$signal" = KILL ] || nothing_left
done
