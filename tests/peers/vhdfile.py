# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes dynamic and differencing VHDs after the specification: no program
that Debian has writes a chain.
"""

import os
import struct

SECTOR = 512
ABSENT = 0xFFFFFFFF
FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4
TIME = 0x30000000


def _sum(data, at):
    data = data[:at] + struct.pack(">I", ~sum(data) & 0xFFFFFFFF) + \
        data[at + 4:]
    return data


def footer(kind, size, unique):
    """The largest geometry: every reader then goes by the size."""
    data = struct.pack(">8sIIQI4sI4sQQHBBII16s", b"conectix", 2, 0x10000,
                       0xFFFFFFFFFFFFFFFF if kind == FIXED else 512, TIME,
                       b"win ", 0xA0000, b"Wi2k", size, size, 65535, 16, 255,
                       kind, 0, unique)
    return _sum(data.ljust(512, b"\0"), 64)


def _header(nr, block_size, table_off, parent, name_off, name):
    unique, leaf = parent if parent else (bytes(16), "")
    data = struct.pack(">8sQQIIII16sII512s", b"cxsparse",
                       0xFFFFFFFFFFFFFFFF, table_off, 0x10000, nr, block_size,
                       0, unique, TIME if parent else 0, 0,
                       leaf.encode("utf-16-be"))
    if parent:
        data += struct.pack(">4sIIIQ", b"W2ru", 512, len(name), 0, name_off)
    return _sum(data.ljust(1024, b"\0"), 36)


class Writer:
    """Front to back: the blocks in the order in which they are added."""

    def __init__(self, path, size, block_size, unique, parent=None):
        """parent: (unique id, name of a file in the same folder)"""
        self.kind = DIFFERENCING if parent else DYNAMIC
        self.block_size = block_size
        self.nr = -(-size // block_size)
        self.table = [ABSENT] * self.nr
        self.table_off = 512 + 1024
        name = (".\\" + parent[1]).encode("utf-16-le") if parent else b""
        name_off = self.table_off + -(-self.nr * 4 // SECTOR) * SECTOR
        self.end = name_off + (SECTOR if parent else 0)
        self.footer = footer(self.kind, size, unique)
        self.f = open(path, "wb")
        self.f.write(self.footer)
        self.f.write(_header(self.nr, block_size, self.table_off, parent,
                             name_off, name))
        self.f.seek(name_off)
        self.f.write(name)

    def add(self, index, bits, data):
        """bits: an int for each sector of the block, 1: it is here."""
        packed = bytearray(-(-max(1, self.block_size // SECTOR // 8) //
                             SECTOR) * SECTOR)
        for i, bit in enumerate(bits):
            if bit:
                packed[i // 8] |= 0x80 >> i % 8
        self.table[index] = self.end // SECTOR
        self.f.seek(self.end)
        self.f.write(packed)
        self.f.write(data)
        self.end += len(packed) + self.block_size

    def skip(self, nr_sectors):
        """Nothing lies here."""
        self.end += nr_sectors * SECTOR

    def close(self):
        table = struct.pack(">%dI" % self.nr, *self.table)
        self.f.seek(self.table_off)
        self.f.write(table.ljust(-(-len(table) // SECTOR) * SECTOR, b"\xff"))
        self.f.seek(self.end)
        self.f.write(self.footer)
        self.f.close()


def _random_bits(rng, nr):
    how = rng.randrange(4)
    if how == 0:
        return [1] * nr
    if how == 1:
        return [0] * nr
    bits = []
    while len(bits) < nr:
        bits += [rng.randrange(2)] * rng.randrange(1, 4 if how == 2 else 99)
    return bits[:nr]


def _add_layer(rng, path, disk, block_size, unique, parent, whole):
    """Writes over disk what this layer has.  whole: all of each block."""
    w = Writer(path, len(disk), block_size, unique, parent)
    order = [i for i in range(w.nr) if rng.randrange(2)]
    rng.shuffle(order)
    for index in order:
        nr = block_size // SECTOR
        bits = [1] * nr if whole else _random_bits(rng, nr)
        # Where the bit is 0 lie zeros, and all readers agree.
        data = bytearray(block_size)
        for s, bit in enumerate(bits):
            if bit:
                data[s * SECTOR:(s + 1) * SECTOR] = \
                    rng.randbytes(SECTOR - 1) + b"\1"
        if rng.randrange(4) == 0:
            w.skip(rng.randrange(9))
        w.add(index, bits, data)
        off = index * block_size
        for s, bit in enumerate(bits):
            at = off + s * SECTOR
            if bit and at < len(disk):
                disk[at:at + SECTOR] = data[s * SECTOR:(s + 1) * SECTOR]
    w.close()


def random_chain(rng, base, whole):
    """The paths from the leaf down, and what the disk holds."""
    size = rng.randrange(1, 16384) * SECTOR
    disk = bytearray(size)
    paths, parent = [], None
    for i in range(rng.choice([1, 2, 2, 3, 5, 9])):
        block_size = rng.choice([64, 128, 512, 512, 2048]) * 1024
        path = "%s-%d.vhd" % (base, i)
        unique = rng.randbytes(16)
        _add_layer(rng, path, disk, block_size, unique, parent, whole)
        parent = unique, os.path.basename(path)
        paths.insert(0, path)
    return paths, disk
