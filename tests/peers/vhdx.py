# SPDX-License-Identifier: GPL-2.0-or-later
"""VHDX: QEMU writes them, and QEMU, libvhdi and 7-Zip read them with us.
Chains, which QEMU neither writes nor reads, are written here after the
specification.
"""

import libvhdi
import peers
import vhdxfile
from disks import (MB, qemu_convert, qemu_create, qemu_writes, random_disk,
                   random_range, random_size)


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


def us_writes(rng, disk, path, nr, plain):
    """By a client of a server of its own."""
    commands = ["write -P 119 4608 512"]
    disk[4608:5120] = b"w" * 512
    for _ in range(nr):
        off, length = random_range(rng, len(disk))
        byte = 0 if not plain and rng.randrange(4) == 0 else \
            rng.randrange(1, 256)
        commands.append("write %s %d %d" % (
            "-P %d" % byte if byte else "-z", off, length))
        disk[off:off + length] = bytes([byte]) * length
        if rng.randrange(4) == 0:
            commands.append("flush")
    peers.run("nbdkit", "-U", "-", "image", path, "--run",
              "qemu-io -f raw $uri " +
              " ".join("-c '%s'" % c for c in commands))


def chain(rng, us, base):
    """libvhdi goes wrong where a child has no bitmap, or says what a block of
    its parent's is now; 7-Zip reads no odd number of sectors.
    """
    plain = rng.randrange(2) == 0
    states = [vhdxfile.PRESENT, vhdxfile.PARTIAL, vhdxfile.PARTIAL]
    if not plain:
        states += [vhdxfile.UNDEFINED, vhdxfile.ZERO, vhdxfile.UNMAPPED]
    paths, disk, sector = vhdxfile.random_chain(rng, base, states, plain)
    if peers.has("7z") and len(disk) % (2 * sector) == 0:
        peers.same_bytes("7-Zip", peers.sevenzip_bytes(paths[0], "vhdx"), disk)
    if libvhdi.available() and plain:
        peers.same_bytes("libvhdi", libvhdi.read(paths), disk)
    peers.same("our chain", len(us.info(paths[0])["chain"]), len(paths))
    peers.same_bytes("image-dump", us.dump(paths[0]), disk)
    peers.same_bytes("nbdcopy", us.served(paths[0]), disk)
    us.check_zeros(paths[0], disk)
    return "chain of %d%s" % (len(paths), " (for libvhdi)" if plain else "")


def child_by_us(rng, us, base):
    """libvhdi wants a bitmap where a block is absent, too: the first write is
    to a part of a block that the parent has.  What becomes zero as a whole it
    reads wrongly, so that nothing does when it is asked.
    """
    paths = [base + "-child.vhdx", base + "-parent.vhdx"]
    disk = random_disk(rng, max(random_size(rng), 2 * MB))
    disk[4096:8192] = rng.randbytes(4096)
    qemu_convert(rng, disk, paths[1], "vhdx",
                 "subformat=dynamic,block_size=%d" % (rng.choice([1, 8]) * MB))
    peers.run("nbdimage", "create", paths[0], "--parent=" + paths[1],
              "--block-size=%dM" % rng.choice([1, 2, 32]))
    plain = rng.randrange(2) == 0
    us_writes(rng, disk, paths[0], rng.randrange(1, 16), plain)
    if libvhdi.available() and plain:
        peers.same_bytes("libvhdi", libvhdi.read(paths), disk)
    if peers.has("7z") and len(disk) % 1024 == 0:
        peers.same_bytes("7-Zip", peers.sevenzip_bytes(paths[0], "vhdx"), disk)
    peers.same_bytes("image-dump", us.dump(paths[0]), disk)
    peers.same_bytes("nbdcopy", us.served(paths[0]), disk)
    us.check_zeros(paths[0], disk)
    return "child by us%s" % (" (for libvhdi)" if plain else "")


if __name__ == "__main__":
    peers.main(__doc__, [by_qemu, chain, child_by_us])
