# SPDX-License-Identifier: GPL-2.0-or-later
"""ISO images of random trees by xorriso and genisoimage: the bytes are the
file's; what they are, isoinfo, xorriso, sfdisk and 7-Zip say too.
"""

import json
import os
import re

import peers
from disks import KB, random_bytes

MEDIA = {"none": "no emulation", "fd1.2": "1.2M floppy",
         "fd1.4": "1.44M floppy", "fd2.8": "2.88M floppy",
         "hd": "hard disk"}
FLOPPY_SECTORS = {"fd1.2": 2400, "fd1.4": 2880, "fd2.8": 5760}


def random_name(rng):
    return "".join(rng.choice("abcdefghijkLMNOPé0123456789_-")
                   for _ in range(rng.choice([1, 8, 30])))


def random_tree(rng, folder, depth=0):
    os.mkdir(folder)
    for _ in range(rng.randrange(6)):
        path = os.path.join(folder, random_name(rng))
        if os.path.lexists(path):
            continue
        what = rng.randrange(6)
        if what == 0 and depth < 4:
            random_tree(rng, path, depth + 1)
        elif what == 1:
            os.symlink(random_name(rng), path)
        else:
            size = rng.choice([0, 1, 2048, rng.randrange(200 * KB)])
            with open(path, "wb") as f:
                f.write(random_bytes(rng, size) if size else b"")


def boot_options(rng, tree, xorriso):
    """Files to boot from, and the options that say so."""
    opts = []
    how = rng.choice(["none", "none", "bios", "floppy", "efi", "both"])
    if how in ("bios", "both", "floppy"):
        size = 1474560 if how == "floppy" else 2048
        with open(os.path.join(tree, "bios.img"), "wb") as f:
            f.write(random_bytes(rng, size))
        opts += ["-b", "bios.img", "-c", "boot.cat"]
        if how != "floppy":
            opts += ["-no-emul-boot", "-boot-load-size", "4"]
    if how in ("efi", "both"):
        with open(os.path.join(tree, "efi.img"), "wb") as f:
            f.write(random_bytes(rng, rng.randrange(1, 99) * 2048))
        opts += ["-eltorito-alt-boot"] if how == "both" else []
        opts += ["-e", "efi.img", "-no-emul-boot"]
        if xorriso and rng.randrange(2):
            part = os.path.join(tree, "efi.img")
            opts += ["-append_partition", "2", "0xef", part,
                     "-appended_part_as_gpt"]
    return opts


def make(rng, base):
    tree, path = base + ".tree", base + ".iso"
    random_tree(rng, tree)
    label = "".join(rng.choice("ABCDEFGHIJ0123456789_") for _ in range(
        rng.randrange(1, 16)))
    xorriso = bool(rng.randrange(2))
    opts = ["-V", label]
    opts += rng.choice([[], ["-r"], ["-R"]])
    opts += rng.choice([[], ["-J"]])
    opts += boot_options(rng, tree, xorriso)
    if xorriso:
        command = ["xorriso", "-as", "mkisofs", "-quiet"]
        opts += rng.choice([[], ["-partition_offset", "16"]])
    else:
        command = ["genisoimage", "-quiet", "-input-charset", "utf-8"]
        opts += rng.choice([[], ["-no-pad"]])
    if "-J" in opts:
        opts += ["-joliet-long"]
    peers.run(*command, *opts, "-o", path, tree)
    return path, label, "xorriso" if xorriso else "genisoimage"


def by_isoinfo(path):
    said = peers.run("isoinfo", "-d", "-i", path).decode()
    blocks = int(re.search(r"^Volume size is: (\d+)$", said, re.M).group(1))
    label = re.search(r"^Volume id: (.*)$", said, re.M).group(1)
    extensions = [name for name, sign in (
        ("Joliet", "\nJoliet with UCS"),
        ("Rock Ridge", "\nRock Ridge signatures")) if sign in said]
    return label, blocks * 2048, extensions


def by_xorriso(path):
    said = peers.run("xorriso", "-indev", path, "-report_el_torito",
                     "plain").decode()
    boots = []
    for line in said.splitlines():
        if not line.startswith("El Torito boot img :"):
            continue
        _, platform, bootable, media, _, _, sectors, lba = \
            line.split(":")[1].split()
        boots.append((platform, bootable == "y", MEDIA[media],
                      int(lba) * 2048,
                      FLOPPY_SECTORS.get(media, int(sectors)) * 512))
    return boots


def by_sfdisk(path):
    """None: no partition table."""
    try:
        said = peers.run("sfdisk", "--json", path)
    except peers.Disagreement:
        return None
    return [(int(re.search(r"\d+$", p["node"]).group()), p["start"] * 512,
             p["size"] * 512)
            for p in json.loads(said)["partitiontable"].get("partitions", [])]


def our_volume_size(info):
    """Of "570 KiB (583680 bytes)"."""
    return int(re.search(r"(\d+) bytes",
                         info["properties"]["volume-size"]).group(1))


def check_info(us, path, label):
    info = us.info(path)
    their_label, volume, extensions = by_isoinfo(path)
    peers.same("isoinfo's label", their_label, label)
    peers.same("our format", info["format"], "iso")
    peers.same("our label", info["label"], label)
    peers.same("our volume size", our_volume_size(info), volume)
    peers.same("our extensions",
               info["properties"].get("extensions", "").split(", ")
               if "extensions" in info["properties"] else [], extensions)
    peers.same("our boot images",
               [(e["platform"], e["bootable"], e["media"], e["offset"],
                 e["length"]) for e in info["boot"]["el-torito"] or []],
               by_xorriso(path))
    theirs = by_sfdisk(path)
    if theirs:
        peers.same("our partitions",
                   [(p["number"], p["offset"], p["length"])
                    for p in info["partitions"]["entries"]], theirs)
    return info


def whole(rng, us, base):
    path, label, word = make(rng, base)
    with open(path, "rb") as f:
        disk = f.read()
    if peers.has("7z"):
        peers.run("7z", "t", "-bd", "-tiso", path)
    peers.same_bytes("image-dump", us.dump(path), disk)
    peers.same_bytes("nbdcopy", us.served(path), disk)
    us.check_zeros(path, disk)
    peers.same("where data is", peers.data_of(us.map(path)),
               peers.qemu_data(path, "raw"))
    peers.same("our warnings", check_info(us, path, label)["warnings"], [])
    return "by " + word


def cut_off(rng, us, base):
    """A download that broke off: what is there, and that something isn't."""
    path, label, _ = make(rng, base)
    volume = by_isoinfo(path)[1]
    size = rng.randrange(32 * KB, os.path.getsize(path))
    os.truncate(path, size)
    with open(path, "rb") as f:
        disk = f.read()
    if size < 17 * 2048:
        return "cut off before it is an ISO"
    peers.same_bytes("image-dump", us.dump(path), disk)
    info = us.info(path)
    peers.same("our label", info["label"], label)
    missing = [w for w in info["warnings"] if "are missing at the end" in w]
    peers.same("warned of the end", len(missing), int(size < volume))
    return "cut off"


if __name__ == "__main__":
    peers.main(__doc__, [whole, whole, whole, cut_off])
