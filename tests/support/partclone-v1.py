#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""partclone-v1.py VERSION-2 VERSION-1 4|8 [each]

Make an image of partclone's version 2, with CRC-32, one of version 1, which no
partclone of today writes, with checksums of 4 or 8 bytes; each: that begin
anew for each block, which is wrong.
"""

import struct
import sys


def table():
    for i in range(256):
        for _ in range(8):
            i = (i >> 1) ^ 0xEDB88320 if i & 1 else i >> 1
        yield i


TABLE = list(table())


def main(source, target, width, *each):
    data = open(source, "rb").read()
    fs = data[36:51]
    size, blocks, said, used, bs = struct.unpack_from("<QQQQI", data, 52)
    per_sum, = struct.unpack_from("<I", data, 100)
    at = 110 + (blocks + 7) // 8 + 4
    out = bytearray(b"partclone-image" + fs + b"0001\0\0")
    out += struct.pack("<IQQQ", bs, size, blocks, said) + bytes(4096)
    out += bytes(data[110 + i // 8] >> i % 8 & 1 for i in range(blocks))
    out += b"BiTmAgIc"
    crc = 0xFFFFFFFF
    for n in range(used):
        block = data[at + n * bs + n // per_sum * 4:][:bs]
        if each:
            crc = 0xFFFFFFFF
        for _ in range(bs):
            crc = crc >> 8 ^ TABLE[(crc ^ block[0]) & 0xFF]
        out += block + struct.pack("<I", crc) + bytes(int(width) - 4)
    open(target, "wb").write(out)


main(*sys.argv[1:])
