# SPDX-License-Identifier: GPL-2.0-or-later
"""Random images, written by other programs and read by us and by others.

Each script of this folder says how to make one image and whom to ask about
it; this is what they share.  An image is made from a seed and its number, so
that --seed S --only N makes that one again.  The truth is what was written,
never what we read.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys


class Disagreement(Exception):
    """Somebody reads something else than what was written."""


def run(*command, stdin=None):
    """The output of a command that must succeed."""
    done = subprocess.run([str(c) for c in command], input=stdin,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False)
    if done.returncode != 0:
        raise Disagreement("%s: status %d: %s" % (
            " ".join(str(c) for c in command), done.returncode,
            done.stderr.decode(errors="replace").strip()))
    return done.stdout


def has(program):
    return shutil.which(program) is not None


def same_bytes(who, got, want):
    """Both are whole disks."""
    if len(got) != len(want):
        raise Disagreement("%s has %d bytes, not %d" % (who, len(got),
                                                        len(want)))
    if bytes(got) == bytes(want):
        return
    at = next(i for i in range(len(want)) if got[i] != want[i])
    raise Disagreement("%s has byte %#x at offset %d, not %#x" % (
        who, got[at], at, want[at]))


def same(what, got, want):
    if got != want:
        raise Disagreement("%s: %r, not %r" % (what, got, want))


class Us:
    """Our programs, and nbdkit with our plugin on a folder."""

    def __init__(self, args):
        self.dump_program = args.dump
        self.folder = args.folder
        self.socket = args.socket

    def uri(self, path):
        name = os.path.relpath(path, self.folder)
        return "nbd+unix:///%s?socket=%s" % (name, self.socket)

    def dump(self, path):
        """All bytes, one after the other."""
        return run(self.dump_program, path)

    def served(self, path):
        """What a client copies: it leaves out what we say is zero."""
        copy = path + ".served"
        run("nbdcopy", self.uri(path), copy)
        with open(copy, "rb") as f:
            data = f.read()
        os.unlink(copy)
        return data

    def info(self, path):
        return json.loads(run("nbdimage", "info", "--json", path))

    def map(self, path):
        """(offset, length, kind) from the first byte to the last."""
        told = json.loads(run("nbdimage", "info", "--map", "--json", path))
        result, end = [], 0
        for e in told["map"]:
            same("the map goes on at", e["offset"], end)
            end += e["length"]
            result.append((e["offset"], e["length"], e["kind"]))
        same("the map ends at", end, told["size"])
        return result

    def check_zeros(self, path, truth):
        """What the map says is zero, is."""
        for off, length, kind in self.map(path):
            if kind != "data" and truth.count(0, off, off + length) != length:
                raise Disagreement("%s at %d, %d bytes, is not zero" % (
                    kind, off, length))


def merge(ranges):
    """Neighbours in one."""
    result = []
    for off, length in ranges:
        if result and sum(result[-1]) == off:
            result[-1] = (result[-1][0], result[-1][1] + length)
        else:
            result.append((off, length))
    return result


def data_of(our_map):
    return merge((off, n) for off, n, kind in our_map if kind == "data")


def qemu_data(path, fmt):
    told = json.loads(run("qemu-img", "map", "-f", fmt, "--output=json",
                          path))
    return merge((e["start"], e["length"]) for e in told if e["data"])


def qemu_file_data(path, size):
    """Of the first bytes of a file: where the file system has data."""
    return merge((off, min(off + n, size) - off)
                 for off, n in qemu_data(path, "raw") if off < size)


def qemu_size(path, fmt):
    return json.loads(run("qemu-img", "info", "-f", fmt, "--output=json",
                          path))["virtual-size"]


def qemu_bytes(path, fmt):
    copy = path + ".theirs"
    run("qemu-img", "convert", "-f", fmt, "-O", "raw", path, copy)
    with open(copy, "rb") as f:
        data = f.read()
    os.unlink(copy)
    return data


def sevenzip_bytes(path, fmt):
    return run("7z", "e", "-so", "-bd", "-t" + fmt, path)


def parse(description):
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--folder", required=True, help="where images are made")
    p.add_argument("--socket", required=True, help="nbdkit's, on the folder")
    p.add_argument("--dump", required=True, help="tests/support/image-dump")
    p.add_argument("--count", type=int, required=True)
    p.add_argument("--seed", type=int,
                   default=random.SystemRandom().randrange(1 << 32))
    p.add_argument("--only", type=int, help="just this image")
    return p.parse_args()


def clear(folder):
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def main(description, kinds):
    """kinds: functions of (rng, us, path without an ending) that return a
    word for the statistics, or raise.
    """
    args = parse(description)
    us = Us(args)
    counts, failures = {}, 0
    print("seed %d" % args.seed, flush=True)
    numbers = range(args.count) if args.only is None else [args.only]
    for i in numbers:
        rng = random.Random("%d/%d" % (args.seed, i))
        kind = kinds[i % len(kinds)]
        try:
            word = kind(rng, us, os.path.join(args.folder, "image%d" % i))
            counts[word] = counts.get(word, 0) + 1
        except Disagreement as e:
            failures += 1
            print("--seed %d --only %d (%s): %s" % (
                args.seed, i, kind.__name__, e), flush=True)
        if args.only is None:
            clear(args.folder)
    for word in sorted(counts):
        print("%4d %s" % (counts[word], word))
    # For support/long-table.
    print("COUNTED: %d images of peers, %d bad, seed %d" % (
        len(numbers), failures, args.seed))
    sys.exit(1 if failures else 0)
