# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk as people have them: one GPT partition with ext4, most of it files of
this system, the rest never used; and what becomes of it when a little changes.
"""

import hashlib
import os
import random
import re
import shutil
import subprocess

KB = 1 << 10
MB = 1 << 20
START = MB                      # of the partition
BLOCK = 4 * KB                  # of the file system
AT_ONCE = 4 * MB

CHANGES = ("clustered", "scattered", "upgrade")


def quietly(*command, text=None):
    """What it says."""
    done = subprocess.run([str(c) for c in command], check=True, input=text,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True)
    return done.stdout


def stage(source, folder, most):
    """Links to files of SOURCE, copies where links can't be, until they are
    MOST bytes.  Always the same ones, in the order of their names' hashes: so
    they are of all kinds.
    """
    found = []
    for where, folders, files in os.walk(source):
        folders.sort()
        for name in files:
            path = os.path.join(where, name)
            if os.path.isfile(path) and not os.path.islink(path):
                found.append(path)
    found.sort(key=lambda p: hashlib.sha256(p.encode()).digest())
    total = 0
    for path in found:
        size = -(-os.path.getsize(path) // BLOCK) * BLOCK
        if total + size > most:
            continue
        total += size
        copy = os.path.join(folder, os.path.relpath(path, source))
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        try:
            os.link(path, copy)
        except OSError:
            shutil.copyfile(path, copy)
    return total


def sparse_copy(source, target, start=0, length=None):
    """The data of SOURCE to START of TARGET: holes stay holes."""
    with open(source, "rb") as a, open(target, "r+b") as b:
        end, off = os.path.getsize(source), 0
        if length is not None:
            end = min(end, length)
        while off < end:
            try:
                off = os.lseek(a.fileno(), off, os.SEEK_DATA)
            except OSError:             # ENXIO: no more
                break
            hole = min(end, os.lseek(a.fileno(), off, os.SEEK_HOLE))
            while off < hole:
                data = os.pread(a.fileno(), min(AT_ONCE, hole - off), off)
                os.pwrite(b.fileno(), data, start + off)
                off += len(data)


class Disk:
    """In FOLDER: fs (the file system), disk (with its table); made once."""

    def __init__(self, folder, source, size, used):
        self.folder, self.source = folder, source
        self.size, self.used, self._known = size, used, None
        self.fs = os.path.join(folder, "fs")
        self.path = os.path.join(folder, "disk")
        os.makedirs(folder, exist_ok=True)
        if not os.path.exists(self.path):
            self._make()

    def _make(self):
        files = os.path.join(self.folder, "files")
        shutil.rmtree(files, ignore_errors=True)
        os.mkdir(files)
        stage(self.source, files, self.used)
        fs_size = self.size - 2 * MB
        self._empty(self.fs, fs_size)
        quietly("mkfs.ext4", "-q", "-F", "-b", BLOCK, "-d", files, self.fs)
        shutil.rmtree(files)
        self._wrap(self.fs, self.path)

    @staticmethod
    def _empty(path, size):
        with open(path, "wb") as f:
            f.truncate(size)

    def _wrap(self, fs, path):
        temporary = path + ".new"
        self._empty(temporary, self.size)
        quietly("sfdisk", "-q", temporary, text="label: gpt\n"
                "start=%d, size=%d, type=linux\n" % (
                    START // 512, (self.size - 2 * MB) // 512))
        sparse_copy(fs, temporary, START)
        os.rename(temporary, path)

    def changed(self, how):
        """The disk after a change of about 1 % of what is used; its own file."""
        path = os.path.join(self.folder, "disk-" + how)
        if os.path.exists(path):
            return path
        fs = os.path.join(self.folder, "fs-" + how)
        self._empty(fs, os.path.getsize(self.fs))
        sparse_copy(self.fs, fs)
        getattr(self, "_" + how)(fs)
        self._wrap(fs, path)
        os.unlink(fs)
        return path

    def slice(self, size):
        """A file of SIZE bytes that files had."""
        path = os.path.join(self.folder, "slice-%d" % (size // MB))
        if not os.path.exists(path):
            with open(self.fs, "rb") as f, open(path + ".new", "wb") as new:
                for block in self.blocks()[:size // BLOCK]:
                    new.write(os.pread(f.fileno(), BLOCK, block * BLOCK))
                new.truncate(size)
            os.rename(path + ".new", path)
        return path

    def warm(self):
        """Have the disks in the page cache."""
        for name in os.listdir(self.folder):
            if name.startswith(("disk", "fs")):
                with open(os.path.join(self.folder, name), "rb",
                          buffering=0) as f:
                    off, end = 0, os.path.getsize(f.name)
                    while off < end:
                        try:
                            off = os.lseek(f.fileno(), off, os.SEEK_DATA)
                        except OSError:
                            break
                        off += len(os.pread(f.fileno(), AT_ONCE, off)) or end

    # ------------------------------------------------- what changes

    def _data_blocks(self):
        """Blocks that hold bytes of files."""
        said = quietly("dumpe2fs", self.fs)
        taken = set()
        for first, last in re.findall(
                r"(?:superblock at|descriptors at|GDT blocks at|bitmap at|"
                r"table at) (\d+)(?:-(\d+))?", said):
            taken.update(range(int(first), int(last or first) + 1))
        journal = quietly("debugfs", "-R", "stat <8>", self.fs)
        for first, last in re.findall(r"\):(\d+)-(\d+)",
                                      journal[journal.index("EXTENTS"):]):
            taken.update(range(int(first), int(last) + 1))
        result = []
        with open(self.fs, "rb") as f:
            off, end = 0, os.path.getsize(self.fs)
            while off < end:
                try:
                    off = os.lseek(f.fileno(), off, os.SEEK_DATA)
                except OSError:
                    break
                hole = os.lseek(f.fileno(), off, os.SEEK_HOLE)
                result += [b for b in range(off // BLOCK, hole // BLOCK)
                           if b not in taken]
                off = hole
        return result

    def _overwrite(self, fs, blocks, rng):
        """With bytes of other blocks, shifted: new, and as compressible."""
        everything = self.blocks()
        with open(fs, "r+b") as f:
            for block in blocks:
                other = rng.choice(everything) * BLOCK
                data = os.pread(f.fileno(), BLOCK, other + 512)
                os.pwrite(f.fileno(), data[::-1], block * BLOCK)

    def blocks(self):
        """Those that hold bytes of files."""
        if self._known is None:
            self._known = self._data_blocks()
        return self._known

    def _share(self):
        return len(self.blocks()) // 100

    def _clustered(self, fs):
        """Runs of 64 blocks."""
        rng = random.Random(1)
        blocks, run = self.blocks(), 64
        chosen = set()
        while len(chosen) < self._share():
            at = rng.randrange(len(blocks) - run)
            chosen.update(blocks[at:at + run])
        self._overwrite(fs, sorted(chosen), rng)

    def _scattered(self, fs):
        """Single blocks."""
        rng = random.Random(2)
        self._overwrite(fs, sorted(rng.sample(self.blocks(), self._share())),
                        rng)

    def _upgrade(self, fs):
        """Files removed, others written: what a package manager does."""
        rng = random.Random(3)
        new = os.path.join(self.folder, "upgrade")
        shutil.rmtree(new, ignore_errors=True)
        os.mkdir(new)
        script, total, number = ["mkdir upgraded"], 0, 0
        want = self._share() * BLOCK
        for path in self._files_of(fs):
            if total >= want:
                break
            content = bytearray(self._content(path))
            if len(content) < KB:
                continue
            # A new version: something is put in near its beginning, so that
            # what is behind it moves.
            at = rng.randrange(min(len(content), 4 * KB))
            content[at:at] = rng.randbytes(16)
            copy = os.path.join(new, str(number))
            with open(copy, "wb") as f:
                f.write(content)
            script += ["rm \"%s\"" % path,
                       "write \"%s\" \"upgraded/%d\"" % (copy, number)]
            total += len(content)
            number += 1
        quietly("debugfs", "-w", "-f", "/dev/stdin", fs,
                text="\n".join(script) + "\n")
        shutil.rmtree(new)

    def _files_of(self, fs):
        """In the order of their hashes' ends: not those that lie together."""
        return sorted(self._walk(fs, "/"), key=lambda p: hashlib.sha256(
            p.encode()).digest()[::-1])

    def _walk(self, fs, folder, deep=0):
        if deep > 3:
            return
        for line in quietly("debugfs", "-R", "ls -p \"%s\"" % folder,
                            fs).splitlines():
            cells = line.split("/")
            if len(cells) < 7 or cells[5] in (".", "..", "lost+found"):
                continue
            path = os.path.join(folder, cells[5])
            if cells[2].startswith("04"):
                yield from self._walk(fs, path, deep + 1)
            elif cells[2].startswith("10"):
                yield path

    def _content(self, path):
        with open(os.path.join(self.source, path.lstrip("/")), "rb") as f:
            return f.read(8 * MB)
