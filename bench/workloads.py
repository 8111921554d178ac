# SPDX-License-Identifier: GPL-2.0-or-later
"""What clients do.  Each returns how much was done and in how many seconds:
the rate is amount / seconds.
"""

import json
import os
import subprocess
import time

from servers import TIMEOUT, Failed


def run(*command):
    done = subprocess.run([str(c) for c in command], check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=TIMEOUT)
    if done.returncode != 0:
        raise Failed("%s: %s" % (command[0], done.stderr.decode(
            errors="replace").strip()[-300:]))
    return done.stdout


def sequential(server, size, _seconds):
    """The disk, twice."""
    start = time.perf_counter()
    for _ in range(2):
        run("nbdcopy", server.uri, "null:")
    return 2 * size, time.perf_counter() - start


def _fio(server, size, seconds, block, depth):
    said = run(
        "fio", "--name=bench", "--ioengine=nbd", "--uri=" + server.uri,
        "--rw=randread", "--bs=%d" % block, "--iodepth=%d" % depth,
        "--size=%d" % (size // block * block), "--norandommap",
        "--randrepeat=0", "--time_based", "--runtime=%dms" % (seconds * 1000),
        "--output-format=json").decode()
    # Servers that refuse an extension make it say so first.
    said = json.loads(said[said.index("{"):])
    read = said["jobs"][0]["read"]
    return read["io_bytes"], read["runtime"] / 1000


def random_4k_1(server, size, seconds):
    return _fio(server, size, seconds, 4096, 1)


def random_4k_32(server, size, seconds):
    return _fio(server, size, seconds, 4096, 32)


def random_64k_1(server, size, seconds):
    return _fio(server, size, seconds, 65536, 1)


def random_64k_32(server, size, seconds):
    return _fio(server, size, seconds, 65536, 32)


def extents(server, _size, _seconds):
    """All of them, ten times."""
    start = time.perf_counter()
    for _ in range(10):
        run("nbdinfo", "--map", server.uri)
    return 10, time.perf_counter() - start


# name: (what to run, which images, what the amount is)
WORKLOADS = {
    "sequential": (sequential, "dense", "MiB/s"),
    "4k-depth-1": (random_4k_1, "dense", "MiB/s"),
    "4k-depth-32": (random_4k_32, "dense", "MiB/s"),
    "64k-depth-1": (random_64k_1, "dense", "MiB/s"),
    "64k-depth-32": (random_64k_32, "dense", "MiB/s"),
    "sparse": (sequential, "sparse", "MiB/s"),
    "extents": (extents, "sparse", "lists/s"),
}


def size_of_disk(subject, path, raw_size):
    """What of it clients read: the ISO is a little larger than its file."""
    return os.path.getsize(path) if subject.endswith(" iso") else raw_size
