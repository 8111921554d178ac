# SPDX-License-Identifier: GPL-2.0-or-later
"""Make a raw disk with data, zeros that are data, and holes.

    make-holes.py FILE SIZE SEED

Extents of 4 KiB to 3 MiB, at multiples of 512 bytes.
"""

import os
import random
import sys


def main():
    path, size = sys.argv[1], int(sys.argv[2])
    rng = random.Random(sys.argv[3])
    with open(path, "wb") as f:
        f.truncate(size)
        off = 0
        while off < size:
            n = min(rng.randrange(8, 6144) * 512, size - off)
            kind = rng.randrange(3)
            if kind == 0:
                os.pwrite(f.fileno(), rng.randbytes(n), off)
            elif kind == 1:
                os.pwrite(f.fileno(), bytes(n), off)
            off += n


main()
