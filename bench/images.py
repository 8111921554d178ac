# SPDX-License-Identifier: GPL-2.0-or-later
"""The disks that are measured.  Dense ones hold random bytes everywhere, and
all formats hold the same ones; sparse ones have data in every other 2 MiB;
empty ones have nothing but their size.
"""

import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)),
                                "..", "tests", "peers"))
import vhdfile                                          # noqa: E402

MB = 1 << 20
GB = 1 << 30
TB = 1 << 40
BLOCK = 2 * MB
CHAINS = (2, 8, 64)             # files, the first parent included


def quietly(*command):
    subprocess.run([str(c) for c in command], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def dense_raw(path, size):
    with open(path, "wb") as f:
        for off in range(0, size, MB):
            f.write(os.urandom(min(MB, size - off)))


def sparse_raw(path, size):
    with open(path, "wb") as f:
        for off in range(0, size, 2 * BLOCK):
            os.pwrite(f.fileno(), os.urandom(min(BLOCK, size - off)), off)
    os.truncate(path, size)


def convert(raw, path, fmt, options):
    quietly("qemu-img", "convert", "-f", "raw", "-O", fmt, "-o", options,
            raw, path)


def fixed(raw, path):
    convert(raw, path, "vpc", "subformat=fixed,force_size=on")


def dynamic(raw, path):
    convert(raw, path, "vpc", "subformat=dynamic,force_size=on")


def vhdx(raw, path):
    convert(raw, path, "vhdx", "subformat=dynamic,block_size=%d" % BLOCK)


def iso(raw, path):
    quietly("xorriso", "-as", "mkisofs", "-quiet", "-iso-level", "3", "-r",
            "-V", "BENCH", "-o", path, raw)


def add_child(rng, path, size, unique, parent, share):
    """A backup of some changes: in one of `share` blocks every other 64 KiB,
    each time other ones.
    """
    w = vhdfile.Writer(path, size, BLOCK, unique, parent)
    run = 128                   # sectors
    for index in range(w.nr):
        if rng.randrange(share):
            continue
        bits, data = [], []
        for _ in range(BLOCK // vhdfile.SECTOR // run):
            here = rng.randrange(2)
            bits += [here] * run
            data.append(rng.randbytes(run * 512) if here
                        else bytes(run * 512))
        w.add(index, bits, b"".join(data))
    w.close()


def chain(raw, path, nr):
    """nr files: the first parent has all blocks, each child a few."""
    rng = random.Random(nr)
    size = os.path.getsize(raw)
    folder, leaf = os.path.split(path)
    unique = rng.randbytes(16)
    name = "%s.0" % leaf
    w = vhdfile.Writer(os.path.join(folder, name), size, BLOCK, unique)
    with open(raw, "rb") as f:
        for index in range(w.nr):
            w.add(index, [1] * (BLOCK // vhdfile.SECTOR),
                  f.read(BLOCK).ljust(BLOCK, b"\0"))
    w.close()
    for i in range(1, nr):
        parent = unique, name
        unique = rng.randbytes(16)
        name = leaf if i == nr - 1 else "%s.%d" % (leaf, i)
        # In all, children have as many blocks as the disk, or half of them.
        add_child(rng, os.path.join(folder, name), size, unique, parent,
                  max(2, nr))


def empty(path, fmt, size):
    """As large as it says; the file is small."""
    if fmt == "raw":
        with open(path, "wb") as f:
            f.truncate(size)
    elif fmt == "vpc":
        quietly("qemu-img", "create", "-q", "-f", "vpc", "-o",
                "force_size=on", path, size)
    else:
        quietly("qemu-img", "create", "-q", "-f", fmt, path, size)


def _warm(path):
    """Into the page cache."""
    with open(path, "rb", buffering=0) as f:
        buf = bytearray(MB)
        while f.readinto(buf):
            pass


class Folder:
    """Images are made at first use, and kept for the next run there."""

    def __init__(self, path, size):
        self.path, self.size = path, size
        os.makedirs(path, exist_ok=True)

    def _make(self, name, make, *args):
        path = os.path.join(self.path, name)
        if not os.path.exists(path):
            part = path + ".part"
            make(*args[:1], part, *args[1:]) if args else make(part)
            os.rename(part, path)
        return path

    def raw(self, kind):
        name = "%s-%d.img" % (kind, self.size)
        make = dense_raw if kind == "dense" else sparse_raw
        return self._make(name, lambda path: make(path, self.size))

    def image(self, kind, fmt):
        """kind: dense or sparse."""
        raw = self.raw(kind)
        if fmt == "raw":
            return raw
        name = "%s-%d.%s" % (kind, self.size, fmt)
        if fmt.startswith("chain-"):
            path = os.path.join(self.path, name)
            if not os.path.exists(path):
                chain(raw, path, int(fmt[6:]))
            return path
        make = {"fixed": fixed, "dynamic": dynamic, "vhdx": vhdx,
                "iso": iso}[fmt]
        return self._make(name, make, raw)

    def empty(self, fmt, size):
        name = "empty-%d.%s" % (size, fmt)
        return self._make(name, lambda path: empty(path, fmt, size))

    def warm(self):
        """Those that are read; the empty ones only look large."""
        for name in os.listdir(self.path):
            if name.startswith(("dense-%d." % self.size,
                                "sparse-%d." % self.size)):
                _warm(os.path.join(self.path, name))
