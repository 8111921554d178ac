# SPDX-License-Identifier: GPL-2.0-or-later
"""VHDs: QEMU writes them, and QEMU, libvhdi and 7-Zip read them with us.
Chains, which none of these can write, are written here after the
specification.
"""

import libvhdi
import peers
import vhdfile
from disks import (GB, KB, MB, qemu_convert, qemu_create, qemu_writes,
                   random_disk, random_size)


def options(rng):
    """As qemu-img takes them, and the type for us."""
    subformat = rng.choice(["fixed", "dynamic", "dynamic"])
    force = rng.choice(["on", "off"])
    return subformat, "subformat=%s,force_size=%s" % (subformat, force)


def make_with_qemu(rng, path):
    """Returns what it holds, and its type."""
    subformat, opts = options(rng)
    size = random_size(rng)
    how = rng.choice(["convert", "create", "both"])
    if how == "create":
        qemu_create(path, "vpc", opts, size)
        disk = bytearray()
    else:
        disk = random_disk(rng, size)
        qemu_convert(rng, disk, path, "vpc", opts)
    # QEMU rounds up to what its geometry can say.
    disk.extend(bytes(peers.qemu_size(path, "vpc") - len(disk)))
    if len(disk) < size:
        raise peers.Disagreement("qemu-img made a disk of %d bytes, not %d" % (
            len(disk), size))
    if how != "convert":
        qemu_writes(rng, disk, path, "vpc", rng.randrange(1, 16))
    return disk, "%s by %s" % (subformat, how)


def others_agree(path, disk):
    peers.same_bytes("QEMU", peers.qemu_bytes(path, "vpc"), disk)
    if libvhdi.available():
        peers.same_bytes("libvhdi", libvhdi.read([path]), disk)
    if peers.has("7z"):
        peers.same_bytes("7-Zip", peers.sevenzip_bytes(path, "vhd"), disk)


def by_qemu(rng, us, base):
    path = base + ".vhd"
    disk, word = make_with_qemu(rng, path)
    others_agree(path, disk)
    peers.same_bytes("image-dump", us.dump(path), disk)
    peers.same_bytes("nbdcopy", us.served(path), disk)
    us.check_zeros(path, disk)
    # Of a fixed VHD QEMU says that all is data; we ask the file system.
    peers.same("where data is", peers.data_of(us.map(path)),
               peers.qemu_file_data(path, len(disk))
               if word.startswith("fixed") else peers.qemu_data(path, "vpc"))
    return word


def large_by_qemu(rng, us, base):
    """Up to the largest, with a little in it; QEMU as our client reads it."""
    path = base + ".vhd"
    size = rng.choice([rng.randrange(1, 2041) * GB,
                       rng.randrange(32 * MB, 2040 * GB) // 512 * 512])
    qemu_create(path, "vpc", "force_size=" + rng.choice(["on", "off"]), size)
    size = peers.qemu_size(path, "vpc")
    places = sorted(rng.sample(range(size // (4 * MB)), 6))
    writes, reads = [], []
    for place in places:
        off = place * 4 * MB + rng.randrange(8 * KB) * 512
        length = min(rng.randrange(1, 8 * KB) * 512,
                     size - off, (place + 1) * 4 * MB - off)
        byte = rng.randrange(1, 256)
        writes += ["-c", "write -P %d %d %d" % (byte, off, length)]
        reads += ["-c", "read -P %d %d %d" % (byte, off, length)]
    peers.run("qemu-io", "-f", "vpc", *writes, path)
    for who, fmt, name in (("QEMU", "vpc", path),
                           ("QEMU from us", "raw", us.uri(path))):
        said = peers.run("qemu-io", "-r", "-f", fmt, *reads, name).decode()
        peers.same(who + " found", said.count("Pattern verification failed"),
                   0)
    peers.same("size", us.info(path)["size"], size)
    peers.same("where data is", peers.data_of(us.map(path)),
               peers.qemu_data(path, "vpc"))
    return "large"


def chain(rng, us, base):
    """QEMU would take the leaf alone for the disk; libvhdi goes wrong where
    blocks of a child are there in part.
    """
    whole = rng.randrange(3) == 0
    paths, disk = vhdfile.random_chain(rng, base, whole)
    if peers.has("7z"):
        peers.same_bytes("7-Zip", peers.sevenzip_bytes(paths[0], "vhd"), disk)
    if libvhdi.available() and whole:
        peers.same_bytes("libvhdi", libvhdi.read(paths), disk)
    peers.same_bytes("image-dump", us.dump(paths[0]), disk)
    peers.same_bytes("nbdcopy", us.served(paths[0]), disk)
    us.check_zeros(paths[0], disk)
    return "chain of %d%s" % (len(paths), " (whole blocks)" if whole else "")


if __name__ == "__main__":
    peers.main(__doc__, [by_qemu, by_qemu, chain, by_qemu, by_qemu,
                         large_by_qemu])
