# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing.  Into fresh disks, which are made anew for each run: a random write
most often finds no block there; and over disks that have all their blocks.

What a fresh disk is given is the same for all, as it would not stay fresh for
the same time; MOST_SECONDS are the most that it may take.
"""

import json
import os
import time

import images
from servers import nbdkit_to_write, qemu_nbd_to_write
from workloads import run

MB, GB = images.MB, images.GB
MOST_SECONDS = 1
SCALE = 16                      # a fresh disk is so many times as large


def subjects(plugin, baseline):
    """name: (format of the image, its command)"""
    table = {
        baseline: ("raw", lambda p: nbdkit_to_write("file", p)),
        baseline + " again": ("raw", lambda p: nbdkit_to_write("file", p)),
        "qemu-nbd raw": ("raw", lambda p: qemu_nbd_to_write("raw", p)),
        "qemu-nbd dynamic": ("dynamic",
                             lambda p: qemu_nbd_to_write("vpc", p)),
        "qemu-nbd vhdx": ("vhdx", lambda p: qemu_nbd_to_write("vhdx", p)),
    }
    for fmt in ("raw", "fixed", "dynamic", "differencing", "vhdx"):
        table["image " + fmt] = (fmt, lambda p: nbdkit_to_write(plugin, p))
    return table


def copied(server, folder, _size, _fresh):
    """All of the disk, in order."""
    raw = folder.raw("dense", folder.written)
    start = time.perf_counter()
    run("nbdcopy", raw, server.uri)
    return folder.written, time.perf_counter() - start


def random_writes(block, depth, flush=0):
    def function(server, _folder, size, fresh):
        amount = min(size, size // SCALE // (1 if block > 4096 else 4)
                     if fresh else size)
        said = run(
            "fio", "--name=bench", "--ioengine=nbd", "--uri=" + server.uri,
            "--rw=randwrite", "--bs=%d" % block, "--iodepth=%d" % depth,
            "--size=%d" % (size // block * block), "--norandommap",
            "--randrepeat=0", "--fsync=%d" % flush,
            "--io_size=%d" % max(block, amount // block * block),
            "--runtime=%dms" % (MOST_SECONDS * 1000 if fresh else 500),
            *([] if fresh else ["--time_based"]),
            "--output-format=json").decode()
        said = json.loads(said[said.index("{"):])
        write = said["jobs"][0]["write"]
        return write["io_bytes"], max(write["runtime"], 1) / 1000
    return function


def workloads():
    """name: (what to run, is the disk fresh)"""
    result = {}
    for suffix, fresh in (("fresh", True), ("over", False)):
        result["write-sequential-" + suffix] = (copied, fresh)
        for name, block in (("4k", 4096), ("64k", 65536)):
            for depth in (1, 32):
                result["write-%s-depth-%d-%s" % (name, depth, suffix)] = (
                    random_writes(block, depth), fresh)
        # A flush after each 64 writes.
        result["write-4k-flush-64-" + suffix] = (
            random_writes(4096, 32, 64), fresh)
    return result


class Disks:
    """Those that are written, in the folder of the others."""

    def __init__(self, folder, nbdimage, size):
        self.folder, self.nbdimage = folder, nbdimage
        self.written = max(size // 2, 4 * MB)

    def raw(self, kind, size):
        return images.Folder(self.folder.path, size).raw(kind)

    def _path(self, name):
        return os.path.join(self.folder.path, name)

    def _create(self, fmt, path, size):
        if fmt == "fixed":
            images.quietly(self.nbdimage, "create", "--fixed", path, size)
        elif fmt == "differencing":
            parent = path + ".parent"
            images.quietly(self.nbdimage, "create", parent, size)
            images.quietly(self.nbdimage, "create", "--parent", parent, path)
        else:
            images.empty(path, {"dynamic": "vpc"}.get(fmt, fmt), size)

    def fresh(self, fmt, workload):
        """Path and size of a new disk, for one run."""
        path, size = self._path("fresh." + fmt), self.written
        if "sequential" not in workload:
            size *= SCALE
        self.remove(path)
        self._create(fmt, path, size)
        return path, size

    def over(self, fmt, command, start):
        """Of a disk with all its blocks: who serves it filled it once."""
        path, size = self._path("over-%d.%s" % (self.written, fmt)), \
            self.written
        if not os.path.exists(path):
            part = self._path("filled." + fmt)
            self.remove(part)
            self._create(fmt, part, size)
            server = start(command(part))
            try:
                run("nbdcopy", self.raw("dense", size), server.uri)
            finally:
                server.stop()
            os.rename(part, path)
        return path, size

    @staticmethod
    def remove(path):
        for name in (path, path + ".parent"):
            if os.path.exists(name):
                os.unlink(name)
