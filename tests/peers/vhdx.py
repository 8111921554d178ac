# SPDX-License-Identifier: GPL-2.0-or-later
"""VHDX: QEMU writes them, and QEMU, libvhdi and 7-Zip read them with us."""

import libvhdi
import peers
from disks import (MB, qemu_convert, qemu_create, qemu_writes, random_disk,
                   random_size)


def options(rng):
    """As qemu-img takes them, and whether 7-Zip does not like them."""
    subformat = rng.choice(["fixed", "dynamic", "dynamic"])
    zero = rng.choice(["on", "off"])
    opts = "subformat=%s,block_state_zero=%s,block_size=%d,log_size=%d" % (
        subformat, zero, rng.choice([1, 2, 8, 32]) * MB,
        rng.choice([1, 1, 2]) * MB)
    return subformat, opts, subformat == "fixed" and zero == "off"


def by_qemu(rng, us, base):
    path = base + ".vhdx"
    subformat, opts, cut_off = options(rng)
    size = random_size(rng)
    how = rng.choice(["convert", "create", "both"])
    if how == "create":
        qemu_create(path, "vhdx", opts, size)
        disk = bytearray(size)
    else:
        disk = random_disk(rng, size)
        qemu_convert(rng, disk, path, "vhdx", opts)
    if how != "convert":
        qemu_writes(rng, disk, path, "vhdx", rng.randrange(1, 16))
    peers.same_bytes("QEMU", peers.qemu_bytes(path, "vhdx"), disk)
    if libvhdi.available():
        peers.same_bytes("libvhdi", libvhdi.read([path]), disk)
    if peers.has("7z") and size % 1024 == 0 and not cut_off:
        peers.same_bytes("7-Zip", peers.sevenzip_bytes(path, "vhdx"), disk)
    peers.same("our format", us.info(path)["format"], "vhdx")
    peers.same_bytes("image-dump", us.dump(path), disk)
    peers.same_bytes("nbdcopy", us.served(path), disk)
    us.check_zeros(path, disk)
    return "%s by %s" % (subformat, how)


if __name__ == "__main__":
    peers.main(__doc__, [by_qemu])
