# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that save a disk: each as shell commands that save it first, and
save it again after a change.  In them $disk is the disk, $fs its partition's
file system in a file, $repo an empty folder of theirs, or, the second time, a
copy of what the first time left.
"""

import os
import re
import shutil
import subprocess
import time

import realdisk

KB, MB = realdisk.KB, realdisk.MB
TIMEOUT = 1800

QEMU_AGAIN = (
    'qemu-img create -q -f qcow2 -b "$disk" -F raw "$repo/b.qcow2" && '
    'qemu-img rebase -f qcow2 -F qcow2 -b "$repo/a.qcow2" "$repo/b.qcow2"')
BORG = ('borg create --compression %s --chunker-params fixed,262144 '
        '--files-cache disabled "$repo/borg::%s" "$disk"')
RESTIC = 'restic -q backup --stdin --stdin-filename disk <"$disk"'


def ours(codec):
    return ('$nbdimage backup --init --name=disk --codec=%s "$disk" '
            '"$repo/vault"' % codec,
            '$nbdimage backup --name=disk --codec=%s "$disk" "$repo/vault"' %
            codec)


def borg(codec):
    return ('borg init -e none "$repo/borg" && ' + BORG % (codec, "a"),
            BORG % (codec, "b"))


# codec: {subject: (first, again; None if it can't)}
SAVERS = {
    "zstd": {
        "qemu-img": (
            'qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd '
            '"$disk" "$repo/a.qcow2"', QEMU_AGAIN),
        "nbdimage": ours("zstd:1"),
        "borg": borg("zstd,1"),
        "restic": ("restic -q init && " + RESTIC, RESTIC),
        "casync": (
            'casync make --store="$repo/s" "$repo/a.caibx" "$disk"',
            'casync make --store="$repo/s" "$repo/b.caibx" "$disk"'),
        "partclone | zstd": (
            'partclone.ext4 -c -s "$fs" -o - -L "$repo/log" 2>/dev/null | '
            'zstd -q -1 -T0 >"$repo/a.zst"', None),
        "zstd of all": ('zstd -q -1 -T0 <"$disk" >"$repo/a.zst"', None),
    },
    "lz4": {
        "lz4 of all": ('lz4 -q -1 <"$disk" >"$repo/a.lz4"', None),
        "nbdimage": ours("lz4"),
        "borg": borg("lz4"),
        "partclone | lz4": (
            'partclone.ext4 -c -s "$fs" -o - -L "$repo/log" 2>/dev/null | '
            'lz4 -q -1 >"$repo/a.lz4"', None),
    },
}
# Which it is compared with, and measured twice.
BASELINE = {"zstd": "qemu-img", "lz4": "borg"}


class Failed(Exception):
    pass


def used(folder):
    """Bytes on the disk of what is in FOLDER."""
    total = 0
    for where, _, files in os.walk(folder):
        for name in files:
            total += os.lstat(os.path.join(where, name)).st_blocks * 512
    return total


def missing(command):
    """The program that COMMAND needs and that is not here."""
    for name in re.findall(r"(?:^|[|&] )([a-z0-9.-]+) ", command):
        if shutil.which(name) is None:
            return name
    return None


def save(command, nbdimage, disk, fs, repo):
    """Seconds until it is on the disk, processor seconds, most memory in KiB,
    bytes added.
    """
    env = dict(os.environ, disk=disk, fs=fs, repo=repo, nbdimage=nbdimage,
               RESTIC_PASSWORD="bench", RESTIC_REPOSITORY=repo + "/restic",
               XDG_CACHE_HOME=repo + "-cache", BORG_BASE_DIR=repo + "-cache",
               BORG_RELOCATED_REPO_ACCESS_IS_OK="yes",
               BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK="yes")
    before = used(repo)
    start = time.perf_counter()
    with subprocess.Popen(["bash", "-c", "set -e -o pipefail; " + command],
                          env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE) as child:
        said = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise Failed("status %d: %s" % (child.returncode, said.decode(
            errors="replace").strip()[-300:]))
    sync(repo)
    return (time.perf_counter() - start, usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss, used(repo) - before)


def sync(folder):
    subprocess.run(["sync", "-f", folder], check=True)


def bound(codec, sample, size):
    """Seconds that all processors need to compress and hash SIZE bytes like
    SAMPLE's, if they did nothing else: what each codec's own benchmark says
    of chunks of 64 KiB, and OpenSSL's of SHA-256.
    """
    argv = (["zstd", "-b1", "-e1", "-i2", "-B65536", "--single-thread"]
            if codec == "zstd" else ["lz4", "-b1", "-e1", "-i2", "-B65536"])
    said = subprocess.run(argv + [sample], check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=TIMEOUT).stdout.decode(errors="replace")
    rate = float(re.findall(r"([\d.]+) MB/s", said)[-2]) * 1e6
    said = subprocess.run(["openssl", "speed", "-mr", "-seconds", "2",
                           "-bytes", "65536", "-evp", "sha256"], check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          timeout=TIMEOUT).stdout.decode()
    sha = float(re.search(r"^\+F:.*:([\d.]+)$", said, re.M).group(1))
    return size * (1 / rate + 1 / sha) / os.cpu_count()
