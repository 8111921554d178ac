#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""Make a WindowsImageBackup folder of a disk image, as docs/WINDOWS-BACKUP.md
says that Windows does.

  make-windows-backup.py [OPTION...] DISK FOLDER

DISK is a raw image with an MBR or a GPT; FOLDER is what Windows names
WindowsImageBackup.  Partition N becomes the volume
9b9cfbcN-369e-11e9-a17c-806e6f6e6963.

  --computer NAME      [PC]
  --backup NAME        [Backup 2019-02-22 124351]
  --vhdx               files of volumes as Windows 8 and later make them
  --bare N,...         the file of volume N has no partition table
  --leave-out N,...    partitions that are recorded and not backed up
  --volume N=LETTER=LABEL   (either may be empty)
  --not-critical N,...
  --encoding utf-16-le|utf-8      of the documents [utf-16-le]
  --layout attribute|root         AsrSif as text in the document of the
                       components, or as the root of the ASR writer's

Needs sfdisk and qemu-img.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from xml.sax.saxutils import quoteattr

RESERVED = "E3C9E316-0B5C-4DB8-817D-F92DF00215AE"
INNER_START = 128               # sectors: where a file's disk has the volume
SET = "cd113385-65ff-4ea2-8ced-5630f6feca8f"
ASR_WRITER = "be000cbe-11fe-4426-9c58-531aa6355fc4"
TEMPLATE = "9b9cfbc%x-369e-11e9-a17c-806e6f6e6963"


def run(*args, **kwargs):
    return subprocess.run(args, check=True, stdout=subprocess.PIPE,
                          **kwargs).stdout


def numbers(text):
    return {int(n) for n in text.split(",")} if text else set()


def volumes(texts):
    named = {}
    for text in texts:
        number, letter, label = text.split("=")
        named[int(number)] = (letter, label)
    return named


def guid_of(number):
    return TEMPLATE % number


def copy_range(source, off, length, target, at):
    """Keeps holes."""
    with open(source, "rb") as s, open(target, "r+b") as t:
        s.seek(off)
        while length > 0:
            data = s.read(min(length, 1 << 20))
            if data.strip(b"\0"):
                t.seek(at)
                t.write(data)
            at += len(data)
            length -= len(data)


def make_file(disk, number, off, length, folder, a):
    bare = number in a.bare
    start = 0 if bare else INNER_START * 512
    ending, to = ("vhdx", "vhdx") if a.vhdx else ("vhd", "vpc")
    name = "%s.%s" % (guid_of(number), ending)
    with tempfile.NamedTemporaryFile(dir=folder) as raw:
        raw.truncate(start + length)
        if not bare:
            run("sfdisk", "-q", raw.name, input=b"label: dos\n%d,%d,7\n"
                % (INNER_START, length // 512))
        copy_range(disk, off, length, raw.name, start)
        options = [] if a.vhdx else ["-o", "force_size=on"]
        run("qemu-img", "convert", "-f", "raw", "-O", to, *options, raw.name,
            os.path.join(folder, name))


def element(name, attributes, children=None):
    text = "<" + name + "".join(" %s=%s" % (k, quoteattr(str(v)))
                                for k, v in attributes.items())
    if children is None:
        return text + "/>"
    return text + ">" + "".join(children) + "</" + name + ">"


def mount_points(number, a):
    letter = a.volume.get(number, ("", ""))[0]
    points = [("\\DosDevices\\%s:" % letter)] if letter else []
    points.append("\\??\\Volume{%s}" % guid_of(number))
    return [element("VolumeMountPoint", {"SymbolicName": p}) for p in points]


def partition(p, number, is_gpt, has_volume, a):
    attributes = {"PartitionIndex": number - 1, "PartitionFlag": 1}
    if is_gpt:
        attributes["PartitionType"] = "{%s}" % p["type"].lower()
        attributes["PartitionId"] = "{%s}" % p["uuid"].lower()
        attributes["GptAttributes"] = "0x%x" % p["attributes"]
        attributes["GptName"] = p.get("name", "")
    else:
        attributes["BootFlag"] = int(p.get("bootable", False))
        attributes["PartitionType"] = "0x" + p["type"]
    points = mount_points(number, a) if has_volume else []
    attributes["FileSystemType"] = "0x0"
    attributes["NumSymbolicNames"] = len(points)
    attributes["PartitionOffset"] = p["start"] * 512
    attributes["PartitionLength"] = p["size"] * 512
    attributes["IsCritical"] = int(has_volume and
                                   number not in a.not_critical)
    return element("GptPartition" if is_gpt else "MbrPartition", attributes,
                   points)


def disk_element(table, parts, size, a):
    is_gpt = table["label"] == "gpt"
    attributes = {"NumPartitions": len(parts), "PartitionTableSize": 4,
                  "BusKey": 1, "DeviceNumber": 0, "IsCritical": 1}
    if is_gpt:
        attributes["GptDiskId"] = "{%s}" % table["id"].lower()
    else:
        attributes["MbrSignature"] = table["id"]
    attributes.update({"BytesPerSector": 512, "SectorsPerTrack": 63,
                       "TracksPerCylinder": 255,
                       "NumCylinders": size // 512 // 63 // 255,
                       "MediaType": 12, "DiskSize": size, "IsExcluded": 0,
                       "IsShared": 0})
    return element("GptDisk" if is_gpt else "MbrDisk", attributes,
                   [partition(p, n, is_gpt, v, a) for n, p, v in parts])


def asr_sif(table, parts, size, a):
    is_gpt = table["label"] == "gpt"
    names = [element("VolumeName", {
        "VolumeGuid": "\\??\\Volume{%s}" % guid_of(n),
        "DosPath": "\\DosDevices\\%s:" % a.volume[n][0]
        if n in a.volume and a.volume[n][0] else "",
        "FsName": "NTFS",
        "Label": a.volume.get(n, ("", ""))[1],
        "ClusterSize": "0x1000"}) for n, _, v in parts if v]
    return element("AsrSif", {}, [
        element("Version", {"AsrVersion": "2.0"}),
        element("System", {"MachineName": a.computer, "Platform": "x86",
                           "FirmwareType": 1, "OSVersion": "6.1"}),
        element("DiskBuses", {"NumBusType": 1},
                [element("BusType", {"Key": 1, "Type": 11})]),
        element("Disks", {"NumMbrDisks": int(not is_gpt),
                          "NumGptDisks": int(is_gpt)},
                [disk_element(table, parts, size, a)]),
        element("AsrVhd", {"NumDisks": 0}),
        element("FixedVolumes", {"NumVolumeNames": len(names)}, names),
        element("AsrLdm", {"NumPacks": 0})])


def write_document(folder, name, text, a):
    with open(os.path.join(folder, name), "wb") as f:
        f.write(text.encode(a.encoding))


def write_documents(folder, sif, backed_up, a):
    metadata = {"backupMetadata": sif} if a.layout == "attribute" else {}
    components = [element("COMPONENT", {"componentName": "ASR",
                                        "logicalPath": "ASR",
                                        "componentType": "filegroup",
                                        **metadata})]
    write_document(folder, SET + "_Components.xml", element(
        "BACKUP_COMPONENTS", {"version": "1.2"},
        [element("WRITER_COMPONENTS", {"writerId": ASR_WRITER},
                 components)]), a)
    write_document(folder, "%s_Writer%s.xml" % (SET, ASR_WRITER),
                   sif if a.layout == "root" else
                   element("WRITER_METADATA", {"version": "1.1"}), a)
    write_document(folder, "BackupSpecs.xml", element(
        "BackupSpecs", {}, [element("Volume", {
            "Name": "\\\\?\\Volume{%s}\\" % guid_of(n)})
            for n in backed_up]), a)
    write_document(folder, SET + "_AdditionalFilesc3b9f3c7-5e52-4d5e-8b20-"
                   "19adc95a34c7.xml", "<AdditionalFiles/>", a)


def read_table(disk):
    table = json.loads(run("sfdisk", "--json", disk))["partitiontable"]
    for p in table["partitions"]:
        p["number"] = int(p["node"][len(disk):].lstrip("p"))
        p["attributes"] = 0
        for word in p.get("attrs", "").split():
            bits = {"RequiredPartition": "0", "NoBlockIOProtocol": "1",
                    "LegacyBIOSBootable": "2"}.get(word, word[5:])
            for bit in bits.split(","):
                p["attributes"] |= 1 << int(bit)
    return table


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("--computer", default="PC")
    p.add_argument("--backup", default="Backup 2019-02-22 124351")
    p.add_argument("--vhdx", action="store_true")
    p.add_argument("--bare", type=numbers, default=set())
    p.add_argument("--leave-out", type=numbers, default=set())
    p.add_argument("--volume", action="append", default=[])
    p.add_argument("--not-critical", type=numbers, default=set())
    p.add_argument("--encoding", default="utf-16-le")
    p.add_argument("--layout", default="attribute")
    p.add_argument("disk")
    p.add_argument("folder")
    a = p.parse_args()
    a.volume = volumes(a.volume)

    table = read_table(a.disk)
    computer = os.path.join(a.folder, a.computer)
    folder = os.path.join(computer, a.backup)
    os.makedirs(folder)
    parts = [(q["number"], q, q["type"] != RESERVED)
             for q in table["partitions"]]
    backed_up = [n for n, _, v in parts if v and n not in a.leave_out]
    for n, q, _ in parts:
        if n in backed_up:
            make_file(a.disk, n, q["start"] * 512, q["size"] * 512, folder, a)
    write_documents(folder, asr_sif(table, parts, os.path.getsize(a.disk), a),
                    backed_up, a)
    for name in "Catalog", "SPPMetadataCache":
        os.makedirs(os.path.join(computer, name), exist_ok=True)
    for name in "GlobalCatalog", "BackupGlobalCatalog":
        with open(os.path.join(computer, "Catalog", name), "wb") as f:
            f.write(b"not read")
    with open(os.path.join(computer, "MediaId"), "wb") as f:
        f.write(bytes(range(16)))


if __name__ == "__main__":
    sys.exit(main())
