# SPDX-License-Identifier: GPL-2.0-or-later
"""Discs of all kinds with random options: sessions by xorriso and
genisoimage, bridges, UDF by mkudffs, hybrids, raw dumps.  The bytes are the
file's, or the data in a raw dump; names, sizes, sessions and tables are what
blkid, file, isoinfo, udfinfo and xorriso say.
"""

import os
import re
import subprocess

import peers
from disks import KB, random_bytes
from iso import by_isoinfo, our_volume_size, random_tree

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
WIDE = LETTERS + "abcdeéöß€漢字 😀"


def random_label(rng, letters, most):
    return "".join(rng.choice(letters)
                   for _ in range(rng.randrange(1, most + 1))).strip() or "X"


def read(path):
    with open(path, "rb") as f:
        return f.read()


def blkid(path, what):
    return peers.run("blkid", "-p", "-o", "value", "-s", what,
                     path).decode().strip("\n")


def check_bytes(us, path, disk):
    peers.same_bytes("image-dump", us.dump(path), disk)
    peers.same_bytes("nbdcopy", us.served(path), disk)


def genisoimage(path, tree, label, *opts):
    # ISO 9660:1999 has no charset, and genisoimage none for it.
    charset = [] if "4" in opts else ["-input-charset", "utf-8"]
    peers.run("genisoimage", "-quiet", *charset, "-V", label, *opts, "-o",
              path, tree)


def plain(rng, us, base):
    """What file and blkid say of the name; something may follow."""
    tree, path = base + ".tree", base + ".iso"
    random_tree(rng, tree)
    label = random_label(rng, LETTERS, 32)
    genisoimage(path, tree, label, *rng.choice([[], ["-no-pad"]]),
                *rng.choice([["-iso-level", str(n)] for n in (1, 2, 3, 4)]),
                *rng.choice([[], ["-r"], ["-J"], ["-r", "-J"]]))
    with open(path, "ab") as f:
        f.write(random_bytes(rng, 512 * rng.randrange(400) + 512)
                if rng.randrange(2) else b"")
    check_bytes(us, path, read(path))
    info = us.info(path)
    peers.same("our label", info["label"], label)
    peers.same("blkid's label", blkid(path, "LABEL"), label)
    if label not in peers.run("file", path).decode():
        raise peers.Disagreement("file does not say %s" % label)
    peers.same("our volume size", our_volume_size(info), by_isoinfo(path)[1])
    whole = [w for w in info["warnings"] if "the last sector is not" not in w]
    peers.same("our warnings", whole, [])
    peers.same("warned of the last sector", len(info["warnings"]),
               int(os.path.getsize(path) % 2048 != 0))
    return "plain"


def xorriso_sessions(path):
    said = peers.run("xorriso", "-indev", path, "-toc").decode()
    return re.findall(r"^ISO session  : +\d+ , +(\d+) , +\d+s , (.*)$", said,
                      re.M)


def our_sessions(info):
    told = info["properties"].get("sessions", "")
    return [(start, label) for label, start in
            re.findall(r"‘(.*?)’ at sector (\d+)", told)]


def grown(rng, us, base):
    """xorriso adds sessions to a file; sector 16 describes the last."""
    path, label = base + ".iso", None
    for i in range(rng.randrange(1, 5)):
        tree = "%s.tree%d" % (base, i)
        random_tree(rng, tree)
        label = random_label(rng, LETTERS, 32)
        peers.run("xorriso", "-dev", path, "-volid", label, "-map", tree,
                  "/%d" % i, "-commit")
    check_bytes(us, path, read(path))
    info = us.info(path)
    theirs = xorriso_sessions(path)
    if len(theirs) == 1:
        peers.same("our sessions", our_sessions(info), [])
    else:
        peers.same("our sessions", our_sessions(info), theirs)
        peers.same("session seen", info["properties"]["session-seen"],
                   str(len(theirs)))
    peers.same("our label", info["label"], label)
    peers.same("our warnings", info["warnings"], [])
    return "grown by xorriso"


def stacked(rng, us, base):
    """genisoimage's sessions, one behind the other as on a disc."""
    path, sessions = base + ".iso", []
    for i in range(rng.randrange(1, 5)):
        tree = "%s.tree%d" % (base, i)
        random_tree(rng, tree)
        label = random_label(rng, LETTERS, 32)
        opts, start = ["-r"], 0
        if i > 0:
            size = os.path.getsize(path)
            start = -(-(size // 2048 + rng.randrange(12000)) // 16) * 16
            opts += ["-C", "%s,%d" % (sessions[-1][0], start), "-M", path]
        try:
            genisoimage(base + ".part", tree, label, *opts)
        except peers.Disagreement as e:
            # Some of the trees that it wrote, it can't read again.
            if i == 0 or not any(why in str(e) for why in (
                    "Old session has illegal name",
                    "Problems with old ISO directory entry")):
                raise
            break
        if i > 0:
            os.truncate(path, start * 2048)
        with open(path, "ab") as f:
            f.write(read(base + ".part"))
        sessions.append((str(start), label))
    check_bytes(us, path, read(path))
    info = us.info(path)
    peers.same("our label", info["label"], sessions[0][1])
    peers.same("our sessions", our_sessions(info),
               sessions if len(sessions) > 1 else [])
    peers.same("the last to mount", re.findall(
        r"sbsector=(\d+)", "".join(info["warnings"])),
        [sessions[-1][0]] if len(sessions) > 1 else [])
    return "sessions by genisoimage"


def bridge(rng, us, base):
    """ISO 9660 and UDF at once: blkid takes it for UDF."""
    tree, path = base + ".tree", base + ".iso"
    random_tree(rng, tree)
    label = random_label(rng, LETTERS, 32)
    genisoimage(path, tree, label, "-udf", *rng.choice([[], ["-J"]]),
                *rng.choice([[], ["-r"]]))
    check_bytes(us, path, read(path))
    info = us.info(path)
    peers.same("blkid's type", blkid(path, "TYPE"), "udf")
    peers.same("our type", info["type"], "UDF bridge")
    peers.same("our label", info["label"], label)
    peers.same("our UDF label", info["properties"].get("udf-label", label),
               blkid(path, "LABEL"))
    peers.same("our revision", info["properties"]["udf-revision"],
               blkid(path, "VERSION"))
    peers.same("our warnings", info["warnings"], [])
    return "bridge"


def udf(rng, us, base):
    """mkudffs: kinds of media, revisions, labels of 8 and 16 bits."""
    path, label = base + ".udf", random_label(rng, WIDE, 40)
    with open(path, "wb") as f:
        f.truncate(rng.randrange(1800, 9000) * 2048)
    peers.run("mkudffs", "--utf8", "-b", "2048", "-l", label, "-m",
              rng.choice(["hd", "dvd", "dvdram", "dvdrw", "cdrw", "cd"]), "-r",
              rng.choice(["1.50", "2.00", "2.01"]), path)
    check_bytes(us, path, read(path))
    info = us.info(path)
    told = dict(line.split("=", 1) for line in
                # It cuts long names of volumes within a letter.
                peers.run("udfinfo", "--utf8", path).decode(
                    errors="replace").splitlines())
    peers.same("udfinfo's label", told["label"], label)
    peers.same("our label", info["label"], label)
    peers.same("our type", info["type"], "UDF")
    peers.same("our revision", info["properties"]["udf-revision"],
               told["udfrev"])
    peers.same("our warnings", info["warnings"], [])
    return "UDF"


def mbr_code(rng):
    """What xorriso takes for isolinux' boot code."""
    return b"\x33\xed" + b"\x90" * 30 + bytes(rng.randbytes(400))


def hybrid(rng, us, base):
    """A disk too: the tables that xorriso reports."""
    tree, path = base + ".tree", base + ".iso"
    random_tree(rng, tree)
    for name, size in (("bios.img", 2048), ("efi.img", 64 * KB)):
        with open(os.path.join(tree, name), "wb") as f:
            f.write(random_bytes(rng, size))
    with open(base + ".mbr", "wb") as f:
        f.write(mbr_code(rng))
    opts = ["-c", "boot.cat", "-b", "bios.img", "-no-emul-boot",
            "-boot-load-size", "4"]
    if rng.randrange(2):
        opts += ["-isohybrid-mbr", base + ".mbr"]
        opts += rng.choice([[], ["-partition_offset", "16"]])
        opts += ["-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot"]
        opts += rng.choice([[], ["-isohybrid-gpt-basdat"],
                            ["-isohybrid-gpt-basdat",
                             "-isohybrid-apm-hfsplus"]])
    else:
        opts += rng.choice([[], ["-hfsplus", "-apm-block-size",
                                 rng.choice(["512", "2048"])]])
    peers.run("xorriso", "-as", "mkisofs", "-quiet", "-r", "-V", "HYBRID",
              "-o", path, *opts, tree)
    check_bytes(us, path, read(path))
    info = us.info(path)
    said = peers.run("xorriso", "-indev", path, "-report_system_area",
                     "plain").decode()
    theirs = [name for name, sign in (
        ("MBR", "MBR partition  "), ("GPT", "GPT lba range"),
        ("APM", "APM block size")) if "\n" + sign in said]
    peers.same("our tables", info["properties"].get("hybrid", ""),
               ", ".join(theirs))
    unit = int((re.findall(r"APM block size +: +(\d+)", said) or ["0"])[0])
    peers.same("our Apple partitions",
               [tuple(re.search(r"(\d+) bytes at offset (\d+)$", v).groups())
                for k, v in sorted(info["properties"].items())
                if k.startswith("apple-") and "Apple_partition_map" not in v],
               [(str(int(n) * unit), str(int(start) * unit))
                for start, n in re.findall(
                    r"APM start and size : +\d+ +(\d+) +(\d+)", said)])
    # isohybrid's MBR has the partition, and no entry of type EE.
    peers.same("our warnings", [w for w in info["warnings"]
                                if "the MBR does not name it" not in w], [])
    return "hybrid"


def edc(data):
    """ECMA-130 14.3: (x^16 + x^15 + x^2 + 1)(x^16 + x^2 + x + 1)."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xD8018001 if value & 1 else 0)
    return value.to_bytes(4, "little")


def raw_sector(rng, n, mode, data):
    frames = n + 150
    address = bytes(int(str(v), 16) for v in (
        frames // 4500, frames // 75 % 60, frames % 75))
    head = b"\0" + b"\xff" * 10 + b"\0" + address + bytes([mode])
    if mode == 1:
        body = head + data
        return body + edc(body) + bytes(8) + rng.randbytes(276)
    body = bytes(8) + data
    return head + body + edc(body) + rng.randbytes(276)


def raw_dump(rng, us, base):
    """A .bin of an ISO image: the disk is the ISO image.  A sector in which
    anything of its first 2068 bytes changed can't be read.
    """
    tree, path = base + ".tree", base + ".bin"
    os.mkdir(tree)
    with open(os.path.join(tree, "file"), "wb") as f:
        f.write(random_bytes(rng, 50 * KB))
    genisoimage(base + ".plain", tree, "RAW", "-no-pad")
    disk = read(base + ".plain")
    mode, behind = rng.choice([1, 2]), rng.choice([0, 96])
    sectors = [raw_sector(rng, i, mode, disk[2048 * i:2048 * i + 2048]) +
               rng.randbytes(behind) for i in range(len(disk) // 2048)]
    with open(path, "wb") as f:
        f.write(b"".join(sectors))
    os.unlink(base + ".plain")
    check_bytes(us, path, disk)
    info = us.info(path)
    peers.same("our format", info["format"], "iso")
    peers.same("our sectors", info["properties"]["cd-sectors"],
               "%d bytes, mode %d" % (2352 + behind, mode))
    peers.same("our warnings", info["warnings"], [])
    bad = rng.randrange(30, len(sectors) - 1)
    at = rng.randrange(2068)
    with open(path, "r+b") as f:
        f.seek(bad * (2352 + behind) + at)
        f.write(bytes([sectors[bad][at] ^ 1 << rng.randrange(8)]))
    done = subprocess.run([us.dump_program, path], stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, check=False)
    if done.returncode == 0 or b"CD sector %d " % bad not in \
            done.stderr.replace(b":", b" "):
        raise peers.Disagreement("byte %d of sector %d is wrong: %s" % (
            at, bad, done.stderr.decode()))
    return "raw dump"


if __name__ == "__main__":
    peers.main(__doc__, [plain, grown, stacked, bridge, udf, hybrid,
                         raw_dump])
