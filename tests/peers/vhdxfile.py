# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes dynamic and differencing VHDXs after the specification: no program
that Debian has writes a chain.
"""

import os
import struct
import uuid

MB = 1 << 20
LOG_OFF, METADATA_OFF, TABLE_OFF, DATA_OFF = 1 * MB, 2 * MB, 3 * MB, 4 * MB
ABSENT, UNDEFINED, ZERO, UNMAPPED, PRESENT, PARTIAL = 0, 1, 2, 3, 6, 7


def _guid(text):
    return uuid.UUID(text).bytes_le


BAT = _guid("2dc27766-f623-4200-9d64-115e9bfd4a08")
METADATA = _guid("8b7ca206-4790-4b9a-b8fe-575f050f886e")
PARAMETERS = _guid("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
SIZE = _guid("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
DISK_ID = _guid("beca12ab-b2e6-4523-93ef-c309e000c746")
LOGICAL = _guid("8141bf1d-a96f-4709-ba47-f233a8faab5f")
PHYSICAL = _guid("cda348c7-445d-4471-9cc9-e9885251c556")
LOCATOR = _guid("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
LOCATOR_TYPE = _guid("b04aefb7-d19e-4a81-b789-25b8e9445913")


def _crc_table():
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_TABLE = _crc_table()


def _sum(data):
    """With its CRC-32C at offset 4, where there were zeros."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return data[:4] + struct.pack("<I", crc ^ 0xFFFFFFFF) + data[8:]


def _header(sequence, file_id, data_id):
    data = struct.pack("<4sIQ16s16s16sHHIQ", b"head", 0, sequence, file_id,
                       data_id, bytes(16), 0, 1, MB, LOG_OFF)
    return _sum(data.ljust(4096, b"\0"))


def _regions():
    data = struct.pack("<4sIII", b"regi", 0, 2, 0)
    for name, off in ((BAT, TABLE_OFF), (METADATA, METADATA_OFF)):
        data += struct.pack("<16sQII", name, off, MB, 1)
    return _sum(data.ljust(65536, b"\0"))


def _locator(parent):
    """GUIDs in small letters: libvhdi 20210425 reads no others."""
    data_id, leaf = parent
    pairs = [("parent_linkage", "{%s}" % uuid.UUID(bytes_le=data_id)),
             ("relative_path", ".\\" + leaf)]
    data = struct.pack("<16sHH", LOCATOR_TYPE, 0, len(pairs))
    strings, at = b"", len(data) + 12 * len(pairs)
    for pair in pairs:
        key, value = (text.encode("utf-16-le") for text in pair)
        data += struct.pack("<IIHH", at, at + len(key), len(key), len(value))
        strings += key + value
        at += len(key) + len(value)
    return data + strings


def _metadata(size, block_size, sector, disk_id, parent):
    items = [(PARAMETERS, struct.pack("<II", block_size, 2 if parent else 0),
              4),
             (SIZE, struct.pack("<Q", size), 6), (DISK_ID, disk_id, 6),
             (LOGICAL, struct.pack("<I", sector), 6),
             (PHYSICAL, struct.pack("<I", 4096), 6)]
    if parent:
        items.append((LOCATOR, _locator(parent), 4))
    table = struct.pack("<8sHH20x", b"metadata", 0, len(items))
    data = b""
    for name, value, flags in items:
        table += struct.pack("<16sIIII", name, 65536 + len(data), len(value),
                             flags, 0)
        data += value
    return table.ljust(65536, b"\0") + data


class Writer:
    """Front to back: the blocks in the order in which they are added."""

    def __init__(self, path, size, block_size, sector, ids, parent=None):
        """ids: of the data, and of the disk.  parent: (id of its data, name of
        a file in the same folder)
        """
        self.block_size = block_size
        self.ratio = (sector << 23) // block_size
        self.nr = -(-size // block_size)
        chunks = -(-self.nr // self.ratio)
        self.table = [ABSENT] * (chunks * (self.ratio + 1) if parent else
                                 self.nr + (self.nr - 1) // self.ratio)
        self.bitmaps = {}
        self.end = DATA_OFF
        self.f = open(path, "wb")
        self._put(0, b"vhdxfile" + "tests".encode("utf-16-le"))
        for i in range(2):
            self._put((64 + 64 * i) << 10, _header(7 + i, ids[0], ids[0]))
        regions = _regions()
        self._put(192 << 10, regions)
        self._put(256 << 10, regions)
        self._put(METADATA_OFF, _metadata(size, block_size, sector, ids[1],
                                          parent))

    def _put(self, off, data):
        self.f.seek(off)
        self.f.write(data)

    def _space(self, length):
        self.end += length
        return self.end - length

    def bitmap(self, chunk):
        """The one of this chunk, which is there from now on."""
        if chunk not in self.bitmaps:
            off = self._space(MB)
            self.table[chunk * (self.ratio + 1) + self.ratio] = off | PRESENT
            self.bitmaps[chunk] = off, bytearray(MB)
        return self.bitmaps[chunk][1]

    def _set_bits(self, index, bits):
        packed = self.bitmap(index // self.ratio)
        first = index % self.ratio * len(bits)
        for i, bit in enumerate(bits, first):
            if bit:
                packed[i // 8] |= 1 << i % 8

    def add(self, index, state, data=None, bits=None):
        """data for blocks that are present, bits for partial ones: an int for
        each sector of the block, 1: it is here.
        """
        off = 0
        if bits:
            self._set_bits(index, bits)
        if data:
            off = self._space(self.block_size)
            self._put(off, data)
        self.table[index + index // self.ratio] = off | state

    def skip(self, nr):
        """Nothing lies here."""
        self.end += nr * MB

    def close(self):
        self._put(TABLE_OFF, struct.pack("<%dQ" % len(self.table),
                                         *self.table))
        for off, packed in self.bitmaps.values():
            self._put(off, packed)
        self.f.truncate(self.end)
        self.f.close()


def _random_bits(rng, nr):
    most = rng.choice([2, 4, 99, nr])
    bits = []
    while len(bits) < nr:
        bits += [rng.randrange(2)] * rng.randrange(1, most)
    return bits[:nr]


def _add_block(rng, w, disk, index, sector, state):
    """Writes over disk what this block has."""
    off, nr = index * w.block_size, w.block_size // sector
    length = min(w.block_size, len(disk) - off)
    if state in (UNDEFINED, ZERO, UNMAPPED):
        disk[off:off + length] = bytes(length)
        w.add(index, state)
        return
    bits = _random_bits(rng, nr) if state == PARTIAL else [1] * nr
    # What lies where the bit is 0 is nobody's.
    data = rng.randbytes(w.block_size)
    w.add(index, state, data, bits if state == PARTIAL else None)
    for s, bit in enumerate(bits):
        at = s * sector
        if bit and at < length:
            disk[off + at:off + at + sector] = data[at:at + sector]


def random_chain(rng, base, states, bitmaps):
    """The paths from the leaf down, what the disk holds, and the size of its
    sectors.  bitmaps: children have theirs, whether they need them or not.
    """
    sector = rng.choice([512, 512, 4096])
    disk = bytearray(rng.randrange(1, 12 * MB // sector) * sector)
    disk_id = rng.randbytes(16)
    paths, parent = [], None
    for i in range(rng.choice([1, 2, 2, 3, 5])):
        path = "%s-%d.vhdx" % (base, i)
        data_id = rng.randbytes(16)
        w = Writer(path, len(disk), rng.choice([1, 1, 2, 4]) * MB, sector,
                   (data_id, disk_id), parent)
        if parent and bitmaps:
            w.bitmap(0)
        order = [n for n in range(w.nr) if rng.randrange(2)]
        rng.shuffle(order)
        for index in order:
            if rng.randrange(4) == 0:
                w.skip(rng.randrange(3))
            state = rng.choice(states)
            _add_block(rng, w, disk, index, sector,
                       PRESENT if state == PARTIAL and not parent else state)
        w.close()
        parent = data_id, os.path.basename(path)
        paths.insert(0, path)
    return paths, disk, sector
