#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""What file systems use, by others than us.

used.py log OURS LOG exact|more     partclone's domain log
used.py dumpe2fs OURS DUMP          what dumpe2fs prints
used.py fat OURS IMAGE              an own reading of the tables
used.py exfat OURS IMAGE            an own reading of the bitmap
used.py freesp OURS NR-BLOCKS SIZE  so many blocks are free of SIZE bytes
used.py exfat-fill IMAGE SEED       files, some of them in pieces
used.py exfat-list IMAGE            their names and hashes
used.py ntfs-log IMAGE STATE...     restart pages of Windows in $LogFile
used.py xfs-list OURS IMAGE         the same, and their extents are used
used.py f2fs-list OURS IMAGE        the same, through its nodes

OURS is the output of used-dump.  Exits with 1 when they differ.
"""

import hashlib
import random
import re
import struct
import subprocess
import sys


class Ours:
    def __init__(self, path):
        with open(path) as f:
            head = f.readline().split()
            self.reason = f.readline().strip()
            self.runs = [tuple(map(int, line.split())) for line in f]
        self.kind, self.verdict = head[:2]
        self.unit, self.bytes = map(int, head[2:])
        last = -1
        for off, length in self.runs:
            if off <= last or length <= 0:
                sys.exit(f"{path}: the runs are not in order")
            last = off + length
        if sum(n for _, n in self.runs) != self.bytes:
            sys.exit(f"{path}: the sum is not {self.bytes}")


def clip(runs, begin, end):
    """The runs, merged, of [begin, end)."""
    out = []
    for off, length in sorted(runs):
        a, b = max(off, begin), min(off + length, end)
        if a >= b:
            continue
        if out and a <= out[-1][1]:
            out[-1][1] = max(out[-1][1], b)
        else:
            out.append([a, b])
    return out


def minus(a, b):
    """What is in a and not in b; both clipped."""
    out, i = [], 0
    for begin, end in a:
        while i < len(b) and b[i][1] <= begin:
            i += 1
        j = i
        while j < len(b) and b[j][0] < end:
            if b[j][0] > begin:
                out.append([begin, b[j][0]])
            begin = max(begin, b[j][1])
            j += 1
        if begin < end:
            out.append([begin, end])
    return out


def compare(ours, theirs, begin, end, exact):
    a, b = clip(ours.runs, begin, end), clip(theirs, begin, end)
    lost, more = minus(b, a), minus(a, b)
    print(f"{ours.kind}: ours {sum(y - x for x, y in a)} bytes in {len(a)} "
          f"runs, theirs {sum(y - x for x, y in b)} in {len(b)}, of "
          f"{end - begin}")
    if lost:
        sys.exit(f"used, and not in our map: {lost[:9]}")
    if exact and more:
        sys.exit(f"not used, but in our map: {more[:9]}")
    if not b or (exact and ours.verdict != "exact"):
        sys.exit("nothing was compared")


def log(ours, path, how):
    theirs, size = [], 0
    with open(path) as f:
        lines = [line.split() for line in f if not line.startswith("#")]
    for pos, length, status in lines[1:]:
        size = int(pos, 16) + int(length, 16)
        if status == "+":
            theirs.append((int(pos, 16), int(length, 16)))
    compare(Ours(ours), theirs, 0, size, how == "exact")


def dumpe2fs(ours, path):
    with open(path) as f:
        text = f.read()

    def field(name):
        return int(re.search(f"^{name}: +([0-9]+)", text, re.M).group(1))

    bs, first = field("Block size"), field("First block")
    unit = field("Cluster size") // bs if "Cluster size" in text else 1
    free = []
    for line in re.findall("^  Free blocks: (.*)$", text, re.M):
        for piece in filter(None, line.split(", ")):
            a, _, b = piece.partition("-")
            free.append((int(a) * bs, (int(b or a) - int(a) + unit) * bs))
    begin, end = first * bs, field("Block count") * bs
    used = minus([[begin, end]], clip(free, begin, end))
    if sum(n for _, n in free) != field("Free blocks") * bs:
        sys.exit("dumpe2fs contradicts itself")
    compare(Ours(ours), [(a, b - a) for a, b in used], begin, end, True)


def fat(ours, image):
    with open(image, "rb") as f:
        boot = f.read(512)
        bps, spc, reserved, tables = struct.unpack_from("<HBHB", boot, 11)
        root, total = struct.unpack_from("<HH", boot, 17)
        length, = struct.unpack_from("<H", boot, 22)
        if length == 0:
            length, = struct.unpack_from("<I", boot, 36)
        if total == 0:
            total, = struct.unpack_from("<I", boot, 32)
        first = reserved + tables * length + (root * 32 + bps - 1) // bps
        nr = (total - first) // spc
        f.seek(reserved * bps)
        table = f.read(length * bps)
    used = [(0, first * bps)]
    if struct.unpack_from("<H", boot, 22)[0] == 0:
        bits = 32
    else:
        bits = 12 if nr < 4085 else 16
    for c in range(2, nr + 2):
        at = c * bits // 8
        entry = int.from_bytes(table[at:at + 4], "little")
        if bits == 12:
            entry = entry >> (4 * (c & 1)) & 0xfff
        entry &= (1 << min(bits, 28)) - 1
        if entry:
            used.append(((first + (c - 2) * spc) * bps, spc * bps))
    compare(Ours(ours), used, 0, (first + nr * spc) * bps, True)


class Exfat:
    def __init__(self, image, mode):
        self.f = open(image, mode)
        boot = self.f.read(512)
        (self.fat, _, self.heap, self.nr,
         self.root) = struct.unpack_from("<IIIII", boot, 80)
        sector = 1 << boot[108]
        self.cluster = sector << boot[109]
        self.fat *= sector
        self.heap *= sector
        self.entries = self.at(self.root)
        for i in range(0, len(self.entries), 32):
            if self.entries[i] == 0x81:
                self.bitmap, self.bitmap_len = struct.unpack_from(
                    "<IQ", self.entries, i + 20)
        self.bits = bytearray(b"".join(
            self.at(c) for c in self.chain(self.bitmap))[:self.bitmap_len])

    def at(self, c):
        self.f.seek(self.heap + (c - 2) * self.cluster)
        return self.f.read(self.cluster)

    def put(self, c, data):
        self.f.seek(self.heap + (c - 2) * self.cluster)
        self.f.write(data)

    def chain(self, c):
        while c != 0xffffffff:
            yield c
            self.f.seek(self.fat + 4 * c)
            c, = struct.unpack("<I", self.f.read(4))

    def used(self, c):
        return self.bits[(c - 2) // 8] >> (c - 2) % 8 & 1

    def take(self, clusters, chained):
        for i, c in enumerate(clusters):
            self.bits[(c - 2) // 8] |= 1 << (c - 2) % 8
            if chained:
                following = clusters[i + 1:i + 2] or [0xffffffff]
                self.f.seek(self.fat + 4 * c)
                self.f.write(struct.pack("<I", following[0]))

    def save_bitmap(self):
        for i, c in enumerate(self.chain(self.bitmap)):
            self.put(c, self.bits[i * self.cluster:][:self.cluster])


def exfat(ours, image):
    x = Exfat(image, "rb")
    used = [(0, x.heap)]
    for c in range(2, x.nr + 2):
        if x.used(c):
            used.append((x.heap + (c - 2) * x.cluster, x.cluster))
    compare(Ours(ours), used, 0, x.heap + x.nr * x.cluster, True)


def entry_set(name, first, length, contiguous):
    units = name.encode("utf-16-le")
    names = -(-len(units) // 30)
    value = 0
    for b in units:             # upper case already
        value = (value << 15 | value >> 1) + b & 0xffff
    out = bytearray(32 * (2 + names))
    struct.pack_into("<BBHH", out, 0, 0x85, 1 + names, 0, 0x20)
    for at in (8, 12, 16):      # 2020-01-01
        struct.pack_into("<I", out, at, (40 << 9 | 1 << 5 | 1) << 16)
    struct.pack_into("<BBBBHHQIIQ", out, 32, 0xc0, 3 if contiguous else 1, 0,
                     len(units) // 2, value, 0, length, 0, first, length)
    for i in range(names):
        out[64 + 32 * i] = 0xc1
        piece = units[30 * i:][:30]
        out[66 + 32 * i:66 + 32 * i + len(piece)] = piece
    total = 0
    for i, b in enumerate(out):
        if i not in (2, 3):
            total = (total << 15 | total >> 1) + b & 0xffff
    struct.pack_into("<H", out, 2, total)
    return out


def exfat_fill(image, seed):
    rng = random.Random(int(seed))
    x = Exfat(image, "r+b")
    entries = bytearray(x.entries)
    end = next(i for i in range(0, len(entries), 32) if entries[i] == 0)
    for n in range(12):
        count = rng.randint(1, 6)
        chained = n % 2 == 1
        while True:
            if chained:
                clusters = rng.sample(range(2, x.nr + 2), count)
            else:
                start = rng.randint(2, x.nr + 1 - count)
                clusters = list(range(start, start + count))
            if not any(map(x.used, clusters)):
                break
        length = count * x.cluster - rng.randint(0, x.cluster - 1)
        data = rng.randbytes(length)
        for i, c in enumerate(clusters):
            x.put(c, data[i * x.cluster:][:x.cluster])
        x.take(clusters, chained)
        entries[end:end + 96] = entry_set(f"FILE{n:02}", clusters[0], length,
                                          not chained)
        end += 96
    x.put(x.root, entries[:x.cluster])
    x.save_bitmap()


def exfat_list(image):
    x = Exfat(image, "rb")
    for i in range(0, len(x.entries), 32):
        if x.entries[i] != 0x85:
            continue
        flags, first, length = (
            x.entries[i + 33],
            *struct.unpack_from("<IQ", x.entries, i + 52))
        count = -(-length // x.cluster)
        clusters = (range(first, first + count) if flags & 2
                    else x.chain(first))
        data = b"".join(x.at(c) for c in clusters)[:length]
        name = x.entries[i + 66:i + 96].decode("utf-16-le").rstrip("\0")
        print(name, hashlib.sha256(data).hexdigest())


RESTART = {"clean": (1, 0xffff, 0), "flag": (1, 0, 2), "dirty": (1, 0, 0),
           "fast": (2, 0xffff, 2)}


def restart_page(state, lsn):
    """A restart page: open clients, flags, and which version of the log."""
    page = bytearray(4096)
    if state == "zeros":
        return page
    major, clients, flags = RESTART[state.removeprefix("torn-")]
    struct.pack_into("<4sHHQIIHHH", page, 0, b"RSTR", 30, 9, 0, 4096, 4096,
                     48, 1 if major == 1 else 0, major)
    struct.pack_into("<QHHHH", page, 48, lsn, 1, 0xffff, clients, flags)
    for i in range(1, 9):
        struct.pack_into("<H", page, i * 512 - 2, 7)
    struct.pack_into("<H", page, 30, 8 if state.startswith("torn-") else 7)
    return page


def ntfs_log(image, *states):
    """The state of each page; the second is newer if there is a third word,
    whatever it is."""
    with open(image, "r+b") as f:
        boot = f.read(512)
        sector, per = struct.unpack_from("<HB", boot, 11)
        cluster = sector * (per if per <= 128 else 1 << 256 - per)
        mft, = struct.unpack_from("<Q", boot, 48)
        f.seek(mft * cluster + 2 * 1024)
        record = f.read(1024)
        at, = struct.unpack_from("<H", record, 20)
        while struct.unpack_from("<I", record, at)[0] != 0x80:
            at += struct.unpack_from("<I", record, at + 4)[0]
        runs = at + struct.unpack_from("<H", record, at + 32)[0]
        n, o = record[runs] & 15, record[runs] >> 4
        nr = int.from_bytes(record[runs + 1:runs + 1 + n], "little")
        lcn = int.from_bytes(record[runs + 1 + n:runs + 1 + n + o], "little")
        f.seek(lcn * cluster)
        f.write(restart_page(states[0], 100))
        f.write(restart_page(states[1], 200 if len(states) > 2 else 50))
        f.write(bytes(nr * cluster - 8192))


def xfs_list(ours, image):
    """Files of the folder /many, through xfs_db."""
    runs = clip(Ours(ours).runs, 0, 1 << 63)

    def db(*commands):
        args = [a for c in commands for a in ("-c", c)]
        return subprocess.run(["xfs_db", "-r", *args, image], check=True,
                              capture_output=True, text=True).stdout

    fields = dict(re.findall(r"^(\w+) = (\w+)", db("sb 0", "p"), re.M))
    bs, ag = int(fields["blocksize"]), int(fields["agblocks"])
    names = re.findall(r"^\s*\d+\s+(\d+)\s+regular\s+\S+\s+\d+\s+(\S+)",
                       db("path /many", "ls"), re.M)
    with open(image, "rb") as f:
        for number, name in names:
            data = b""
            text = db(f"inode {number}", "p core.size", "bmap")
            length = int(re.search(r"core.size = (\d+)", text).group(1))
            for group, block, count in re.findall(
                    r"\((\d+)/(\d+)\) count (\d+)", text):
                off = (int(group) * ag + int(block)) * bs
                if minus([[off, off + int(count) * bs]], runs):
                    sys.exit(f"{name}: {off} is not used")
                f.seek(off)
                data += f.read(int(count) * bs)
            print(name, hashlib.sha256(data[:length]).hexdigest())


class F2fs:
    def __init__(self, image):
        self.f = open(image, "rb")
        sb = self.at(0)[1024:]
        self.features, = struct.unpack_from("<I", sb, 2180)
        nat_segments, = struct.unpack_from("<I", sb, 60)
        cp, _, self.nat, _, self.main = struct.unpack_from("<IIIII", sb, 76)
        payload, = struct.unpack_from("<I", sb, 1664)
        pack = max((cp, cp + 512), key=lambda b: self.at(b)[7::-1])
        data = b"".join(self.at(pack + i) for i in range(payload + 1))
        flags, total, first = struct.unpack_from("<III", data, 132)
        sit_len, nat_len = struct.unpack_from("<II", data, 156)
        at = 192
        if flags & 0x400:
            at += 4
        elif payload == 0:
            at += sit_len
        self.bitmap = data[at:at + nat_len]
        journal = self.at(pack + first)[0 if flags & 4 else 3584:]
        self.entries = {}
        for block in range(nat_segments // 2 * 512):
            self.read_nat(block)
        for i in range(struct.unpack_from("<H", journal)[0]):
            nid, _, _, addr = struct.unpack_from("<IBII", journal, 2 + 13 * i)
            self.entries[nid] = addr

    def at(self, block):
        self.f.seek(block * 4096)
        return self.f.read(4096)

    def read_nat(self, block):
        at = self.nat + block // 512 * 1024 + block % 512
        if self.bitmap[block // 8] & 0x80 >> block % 8:
            at += 512
        data = self.at(at)
        if not any(data):
            return
        for i in range(455):
            addr, = struct.unpack_from("<I", data, 9 * i + 5)
            self.entries[455 * block + i] = addr

    def pieces(self, nid, depth):
        """Addresses in a node that is no inode; None: of nothing."""
        if nid == 0:
            return [0] * 1018 ** (depth + 1)
        words = struct.unpack_from("<1018I", self.at(self.entries[nid]))
        if depth == 0:
            return list(words)
        return [a for w in words for a in self.pieces(w, depth - 1)]

    def inode(self, nid):
        """Mode, name, bytes in the inode or None, addresses, size."""
        data = self.at(self.entries[nid])
        mode, _, inline = struct.unpack_from("<HBB", data)
        size, = struct.unpack_from("<Q", data, 16)
        length, = struct.unpack_from("<I", data, 88)
        extra = xattr = 0
        if inline & 0x20:
            extra, xattr = struct.unpack_from("<HH", data, 360)
        if not self.features & 0x40:
            xattr = 50 if inline & 5 else 0
        first, end = 360 + extra, 4052 - 4 * xattr
        name = data[92:92 + length].decode()
        if inline & 6:
            return mode, name, data[first + 4:end], [], size
        addrs = [a for a, in struct.iter_unpack("<I", data[first:end])]
        nids = struct.unpack_from("<5I", data, 4052)
        for depth, n in zip((0, 0, 1, 1, 2), nids):
            missing = -(-size // 4096) - len(addrs)
            if n:
                addrs += self.pieces(n, depth)
            else:
                addrs += [0] * min(missing, 1018 ** (depth + 1))
        return mode, name, None, addrs, size


def f2fs_list(ours, image):
    runs = clip(Ours(ours).runs, 0, 1 << 63)
    x = F2fs(image)

    def must_be_used(addr, what):
        if minus([[addr * 4096, addr * 4096 + 4096]], runs):
            sys.exit(f"{what}: block {addr} is not used")

    for nid, addr in sorted(x.entries.items()):
        if addr in (0, 1):      # of nothing; of the file system's own
            continue
        must_be_used(addr, f"node {nid}")
        number, owner = struct.unpack_from("<II", x.at(addr), 4072)
        if number != nid:
            sys.exit(f"node {nid} is {number}")
        if owner != nid:
            continue
        mode, name, data, addrs, size = x.inode(nid)
        pages = []
        for a in addrs:
            if 0 < a < 0xfffffffe:
                must_be_used(a, name)
            if mode >> 12 == 8 and len(pages) * 4096 < size:
                pages.append(x.at(a) if 0 < a < 0xfffffffe else bytes(4096))
        if mode >> 12 == 8 and name:    # and no file of quotas
            data = b"".join(pages) if data is None else data
            print(name, hashlib.sha256(data[:size]).hexdigest())


def freesp(ours, nr, size):
    o = Ours(ours)
    free = int(size) - o.bytes
    print(f"{o.kind}: {free} bytes of {size} are free")
    if free != int(nr) * o.unit:
        sys.exit(f"theirs: {int(nr) * o.unit}")


COMMANDS = {"log": log, "dumpe2fs": dumpe2fs, "fat": fat, "exfat": exfat,
            "freesp": freesp, "exfat-fill": exfat_fill,
            "exfat-list": exfat_list, "ntfs-log": ntfs_log,
            "xfs-list": xfs_list, "f2fs-list": f2fs_list}

COMMANDS[sys.argv[1]](*sys.argv[2:])
