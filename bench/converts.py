# SPDX-License-Identifier: GPL-2.0-or-later
"""Converting an image beside qemu-img: the whole command, until what it made
is on the disk.
"""

import os
import subprocess
import time

from servers import Failed

BASELINE = "qemu-img convert"
SUBJECTS = (BASELINE, BASELINE + " again", "nbdimage convert")

# name: (which images, from, to)
WORKLOADS = {
    "convert %s %s to %s" % (kind, source, target): (kind, source, target)
    for kind in ("dense", "sparse")
    for source, target in (("raw", "dynamic"), ("dynamic", "raw"),
                           ("raw", "raw"))
}

QEMU = {"raw": "raw", "dynamic": "vpc"}
OURS = {"raw": "raw", "dynamic": "vhd"}


def command(subject, nbdimage, source, path, target, made):
    """QEMU's default would never flush; this is what is needed to do so."""
    if subject.startswith(BASELINE):
        options = ["-o", "force_size=on"] if target == "dynamic" else []
        return ["qemu-img", "convert", "-t", "writeback", "-f", QEMU[source],
                "-O", QEMU[target], *options, path, made]
    return [nbdimage, "convert", "--source-format=" + OURS[source],
            "--format=" + OURS[target], path, made]


def run(argv, made):
    """Seconds, processor seconds, most memory in KiB."""
    if os.path.exists(made):
        os.unlink(made)
    start = time.perf_counter()
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE) as child:
        said = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise Failed("%s: %s" % (argv[0], said.decode(
            errors="replace").strip()[-300:]))
    fd = os.open(made, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    seconds = time.perf_counter() - start
    os.unlink(made)
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss
