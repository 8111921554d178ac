#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# boot --uefi: a machine starts a loader from the EFI system partition.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-system-x86_64 --version
requires qemu-img --version
requires grub-mkimage --version
requires sfdisk --version
requires mformat --version
requires test -d /usr/lib/grub/x86_64-efi
if [ ! -r /usr/share/OVMF/OVMF_CODE_4M.fd ] &&
   [ ! -r /usr/share/OVMF/OVMF_CODE.fd ]; then
    skip "the package ovmf is not installed"
fi

mkdir "$tmp/tmpdir"
export TMPDIR=$tmp/tmpdir

cat >"$tmp/grub.cfg" <<END
serial --unit=0 --speed=115200
terminal_output serial
echo THE-UEFI-MARKER
halt
END
grub-mkimage -O x86_64-efi -o "$tmp/BOOTX64.EFI" -c "$tmp/grub.cfg" -p / \
             serial terminal echo halt
truncate -s 48M "$tmp/disk.img"
printf 'label: gpt\nsize=40M, type=U\n' | sfdisk -q "$tmp/disk.img"
mformat -i "$tmp/disk.img@@1M" -T 81920 -h 64 -s 32 ::
mmd -i "$tmp/disk.img@@1M" ::/EFI ::/EFI/BOOT
mcopy -i "$tmp/disk.img@@1M" "$tmp/BOOTX64.EFI" ::/EFI/BOOT/
qemu-img convert -f raw -O vpc -o force_size=on "$tmp/disk.img" "$tmp/disk.vhd"
sum=$(sha256sum <"$tmp/disk.vhd")

timeout -k 20 400 nbdimage boot --accel tcg --uefi --serial "$tmp/disk.vhd" \
        </dev/null >"$tmp/out"
contains "$tmp/out" THE-UEFI-MARKER
same "the image" "$(sha256sum <"$tmp/disk.vhd")" "$sum"
same "what is left in TMPDIR" "$(ls -A "$TMPDIR")" ""
