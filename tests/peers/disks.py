# SPDX-License-Identifier: GPL-2.0-or-later
"""Random contents of disks, and how QEMU's tools write them into images."""

import os

from peers import run

KB = 1024
MB = 1024 * KB
GB = 1024 * MB


def random_size(rng):
    """Sectors of 512, some at and around the blocks of formats."""
    how = rng.randrange(4)
    if how == 0:
        return rng.randrange(1, 64) * 512
    if how == 1:
        return rng.randrange(1, 9) * 2 * MB
    if how == 2:
        near = rng.randrange(1, 5) * 4 * MB
        return near + rng.choice([-1, 1]) * rng.randrange(1, 9) * 512
    return rng.randrange(1, 40 * KB) * 512


def random_bytes(rng, n):
    """Not 0 at either end, so that a shift shows."""
    data = bytearray(rng.randbytes(n))
    data[0] |= 1
    data[-1] |= 1
    return data


def random_range(rng, size):
    """A place on the disk, and a length: whole sectors mostly."""
    unit = rng.choice([1, 512, 512, 4 * KB, 64 * KB, 2 * MB])
    off = rng.randrange(size) // unit * unit
    most = rng.choice([512, 4 * KB, 64 * KB, 5 * MB])
    length = rng.randrange(1, most + 1)
    if unit > 1:
        length = -(-length // 512) * 512
    return off, min(length, size - off)


def random_disk(rng, size):
    """Data, zeros that are written, and what nobody wrote."""
    disk = bytearray(size)
    for _ in range(rng.choice([0, 1, 3, 12])):
        off, length = random_range(rng, size)
        disk[off:off + length] = random_bytes(rng, length)
    if rng.randrange(8) == 0:
        disk[:] = random_bytes(rng, size)
    return disk


def write_raw(rng, disk, path):
    """As a file, with holes or without."""
    with open(path, "wb") as f:
        if rng.randrange(2):
            f.write(disk)
        else:
            for off in range(0, len(disk), 4 * KB):
                piece = disk[off:off + 4 * KB]
                if any(piece):
                    os.pwrite(f.fileno(), piece, off)
            os.truncate(path, len(disk))


def qemu_convert(rng, disk, path, fmt, options):
    raw = path + ".raw"
    write_raw(rng, disk, raw)
    sparse = rng.choice([[], [], ["-S", "0"], ["-S", "64k"]])
    run("qemu-img", "convert", "-f", "raw", "-O", fmt, "-o", options,
        *sparse, raw, path)
    os.unlink(raw)


def qemu_create(path, fmt, options, size):
    run("qemu-img", "create", "-q", "-f", fmt, "-o", options, path, size)


def qemu_writes(rng, disk, path, fmt, nr):
    """Random writes of patterns and zeros; disk becomes what is there."""
    commands = []
    for _ in range(nr):
        off, length = random_range(rng, len(disk))
        if rng.randrange(4) == 0:
            commands += ["-c", "write -z %d %d" % (off, length)]
            disk[off:off + length] = bytes(length)
        else:
            byte = rng.randrange(1, 256)
            commands += ["-c", "write -P %d %d %d" % (byte, off, length)]
            disk[off:off + length] = bytes([byte]) * length
    if commands:
        run("qemu-io", "-f", fmt, *commands, path)
