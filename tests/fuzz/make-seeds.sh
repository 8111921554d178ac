#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# make-seeds.sh FOLDER: what the corpus of each target began with, in
# FOLDER/TARGET.  Run it in the build folder, after `make check TESTS='.
# Everything is made by our own programs and by those in `packages'.

set -e
[ "$#" -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
to=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export PATH=$PATH:/usr/sbin:/sbin
encode=tests/fuzz/encode
mkdir -p "$to"/{asr,compressed,iso,part,partclone,vhd,vhdx,locator,used}

# ------------------------------------------------------------------ VHD

mkdir "$tmp/vhd"
tests/fuzz/seeds vhd "$tmp/vhd"
for type in dynamic fixed; do
    qemu-img create -q -f vpc -o subformat=$type "$tmp/vhd/qemu-$type" 100K
    qemu-io -f vpc -c 'write -P 9 1000 24' "$tmp/vhd/qemu-$type" >/dev/null
done
for f in "$tmp"/vhd/*; do
    $encode "$f" >"$to/vhd/$(basename "$f")"
done
# Virtual PC's of 511 bytes, a footer that is lost, wrong checksums.
cp "$tmp/vhd/fixed" "$tmp/old"
truncate -s -1 "$tmp/old"
$encode "$tmp/old" >"$to/vhd/old"
cp "$tmp/vhd/dynamic" "$tmp/cut"
truncate -s -512 "$tmp/cut"
$encode -o 0 "$tmp/cut" >"$to/vhd/cut"
printf 'x' | dd of="$tmp/vhd/dynamic" bs=1 seek=600 conv=notrunc status=none
$encode -o 2 "$tmp/vhd/dynamic" >"$to/vhd/ignored"
$encode -o 8 "$tmp/vhd/fixed" >"$to/vhd/chs"

# ----------------------------------------------------------------- VHDX

mkdir "$tmp/vhdx"
tests/fuzz/seeds vhdx "$tmp/vhdx"
qemu-img create -q -f vhdx -o block_size=1M "$tmp/vhdx/qemu" 20M
qemu-io -f vhdx -c 'write -P 9 1000 24' "$tmp/vhdx/qemu" >/dev/null
for f in "$tmp"/vhdx/*; do
    $encode "$f" >"$to/vhdx/$(basename "$f")"
done
# One of two headers, and of two region tables; wrong checksums.
dd if=/dev/zero of="$tmp/vhdx/qemu" bs=64K seek=1 count=1 conv=notrunc \
    status=none
$encode "$tmp/vhdx/qemu" >"$to/vhdx/header"
dd if=/dev/zero of="$tmp/vhdx/dynamic" bs=64K seek=4 count=1 conv=notrunc \
    status=none
$encode "$tmp/vhdx/dynamic" >"$to/vhdx/region"
printf x | dd of="$tmp/vhdx/fixed" bs=1 seek=200000 conv=notrunc status=none
printf x | dd of="$tmp/vhdx/fixed" bs=1 seek=265000 conv=notrunc status=none
$encode -o 2 "$tmp/vhdx/fixed" >"$to/vhdx/ignored"

# ------------------------------------------------------------ partclone

mkdir "$tmp/partclone"
tests/fuzz/seeds partclone "$tmp/partclone"
for f in "$tmp"/partclone/*; do
    $encode "$f" >"$to/partclone/$(basename "$f")"
done
printf x | dd of="$tmp/partclone/crc" bs=1 seek=111 conv=notrunc status=none
$encode -o 2 "$tmp/partclone/crc" >"$to/partclone/ignored"

# ------------------------------------------------------------------ ISO

mkdir "$tmp/files"
echo hello >"$tmp/files/a"
head -c 2048 /dev/zero >"$tmp/files/boot"
truncate -s 20K "$tmp/files/disk"
sfdisk -q "$tmp/files/disk" <<<$'label: dos\n1,30,6,*\n'
iso ()
{
    local name=$1
    shift
    "$@" -quiet -o "$tmp/$name" "$tmp/files" 2>/dev/null
    $encode "$tmp/$name" >"$to/iso/$name"
}
iso plain genisoimage -no-pad
iso joliet genisoimage -no-pad -J -R -V VOLUME -publisher 'Some one'
iso boot genisoimage -no-pad -b boot -no-emul-boot -c catalog
iso disk genisoimage -no-pad -R -b disk -hard-disk-boot -c catalog
iso bridge genisoimage -no-pad -udf -J
iso level4 genisoimage -no-pad -iso-level 4
xorriso -as mkisofs -quiet -o "$tmp/uefi" -b boot -no-emul-boot \
    -eltorito-alt-boot -e boot -no-emul-boot -isohybrid-gpt-basdat \
    "$tmp/files" 2>/dev/null
$encode "$tmp/uefi" >"$to/iso/uefi"
truncate -s 1M "$tmp/udf"
mkudffs -b 2048 --media-type=cdr -l label "$tmp/udf" >/dev/null 2>&1 ||
    mkudffs -b 2048 -l label "$tmp/udf" >/dev/null
$encode "$tmp/udf" >"$to/iso/udf"

for m in cdrw bdr; do
    truncate -s 3M "$tmp/udf-$m"
    mkudffs -b 2048 --media-type=$m -l X "$tmp/udf-$m" >/dev/null
    $encode "$tmp/udf-$m" >"$to/iso/udf-$m"
done
for unit in 512 2048; do
    iso apple$unit xorriso -as mkisofs -hfsplus -apm-block-size $unit
done
# Sessions: growing, and one behind the other.
for i in 1 2; do
    xorriso -dev "$tmp/grown" -volid G$i -map "$tmp/files" /d$i -padding 0 \
        -commit 2>/dev/null
done
$encode "$tmp/grown" >"$to/iso/grown"
iso first genisoimage -no-pad -R
truncate -s 256K "$tmp/first"
iso second genisoimage -no-pad -R -C 0,128 -M "$tmp/first"
cat "$tmp/first" "$tmp/second" >"$tmp/sessions"
$encode "$tmp/sessions" >"$to/iso/sessions"
# Raw sectors of a CD, every other one with its checksum.
raw ()
{
    python3 - "$tmp/plain" "$tmp/$1" "$2" <<'END'
import sys
table = []
for v in range(256):
    for bit in range(8):
        v = v >> 1 ^ 0xD8018001 if v & 1 else v >> 1
    table.append(v)
def edc(data):
    v = 0
    for byte in data:
        v = v >> 8 ^ table[(v ^ byte) & 0xFF]
    return v.to_bytes(4, "little")
def bcd(v):
    return v // 10 * 16 + v % 10
disc, mode = open(sys.argv[1], "rb").read(), int(sys.argv[3])
with open(sys.argv[2], "wb") as out:
    for n in range(len(disc) // 2048):
        frames = n + 150
        sector = b"\0" + b"\xFF" * 10 + b"\0" + bytes(
            [bcd(frames // 4500), bcd(frames // 75 % 60), bcd(frames % 75), mode])
        if mode == 2:
            sector += bytes([0, 0, 8, 0]) * 2
        sector += disc[n * 2048 : (n + 1) * 2048]
        if n % 2:
            sector += edc(sector[16 if mode == 2 else 0 :])
        out.write(sector.ljust(2352, b"\0"))
END
    $encode "$tmp/$1" >"$to/iso/$1"
}
raw raw1 1
raw raw2 2

# ------------------------------------------------------------- partitions

disk ()
{
    truncate -s "$2" "$tmp/$1"
    sfdisk -q "$tmp/$1" <<<"$3"
    $encode "$tmp/$1" >"$to/part/$1"
}
disk mbr 16M $'label: dos\n1M,2M,83,*\n4M,1M,7\n'
disk logical 16M $'label: dos\n1M,2M,83\n4M,10M,5\n5M,1M,83\n7M,1M,82\n,,83\n'
disk gpt 16M $'label: gpt\n1M,2M,U\nstart=4M,size=1M,name=data\n'
truncate -s 64M "$tmp/gpt4096"
printf 'g\nn\n\n\n+2M\nw\n' | fdisk -b 4096 "$tmp/gpt4096" >/dev/null
$encode "$tmp/gpt4096" >"$to/part/gpt4096"
cp "$tmp/gpt" "$tmp/backup"
dd if=/dev/zero of="$tmp/backup" bs=512 seek=1 count=1 conv=notrunc status=none
$encode "$tmp/backup" >"$to/part/backup"
dd if=/dev/zero of="$tmp/gpt" bs=512 count=1 conv=notrunc status=none
$encode "$tmp/gpt" >"$to/part/bare"
sgdisk -g "$tmp/mbr" >/dev/null && sgdisk -h 1:2 "$tmp/mbr" >/dev/null
$encode "$tmp/mbr" >"$to/part/hybrid"
truncate -s 1M "$tmp/fat"
mkfs.vfat "$tmp/fat" >/dev/null
$encode "$tmp/fat" >"$to/part/fat"

# --------------------------------------------------------------- locators

# Four of kind and length, a name of 64 bytes in big-endian UTF-16, texts.
utf16 ()
{
    printf '%s' "$2" | iconv -t "UTF-16$1"
}
{
    printf '\0\030\01\030\02\020\03\014'
    utf16 BE 'C:\a\parent.vhd' | dd bs=64 count=1 conv=sync status=none
    utf16 LE '.\parent.vhd'
    utf16 LE 'D:\x\pa.vhd\'
    printf 'file://./p%%20q/'
    printf '\\\\srv\\s\\x.v.'
} >"$to/locator/all"
{
    printf '\02\052\04\010\05\0\06\0'
    head -c 64 /dev/zero
    printf 'FILE://localhost/C:/d/..//.%%2e/%%00%%zz'
    printf './/../'
} >"$to/locator/odd"
{
    printf '\02\010\02\015\03\005\04\04'
    utf16 BE '..' | dd bs=64 count=1 conv=sync status=none
    printf 'file://.'
    printf 'file:///a/b/..'
    printf 'c:\\..'
    printf '\\x\\.'
} >"$to/locator/dots"

# ----------------------------------------------------- layouts of backups

mbr='<AsrSif><Disks NumMbrDisks="1" NumGptDisks="0"><MbrDisk NumPartitions="2"
DeviceNumber="0" MbrSignature="0x8ae9dbe5" BytesPerSector="512"
SectorsPerTrack="63" TracksPerCylinder="255" DiskSize="16106127360">
<MbrPartition PartitionIndex="0" BootFlag="1" PartitionType="0x7"
PartitionOffset="1048576" PartitionLength="104857600" IsCritical="1">
<VolumeMountPoint SymbolicName="\??\Volume{9b9cfbc3-369e-11e9-a17c-806e6f6e6963}"/>
</MbrPartition><MbrPartition PartitionIndex="1" BootFlag="0"
PartitionType="0x7" PartitionOffset="105906176" PartitionLength="15999172608"
IsCritical="1"><VolumeMountPoint SymbolicName="\DosDevices\C:"/>
<VolumeMountPoint SymbolicName="\??\Volume{9b9cfbc4-369e-11e9-a17c-806e6f6e6963}"/>
</MbrPartition></MbrDisk></Disks><FixedVolumes NumVolumeNames="1"><VolumeName
VolumeGuid="\??\Volume{9b9cfbc4-369e-11e9-a17c-806e6f6e6963}"
DosPath="\DosDevices\C:" FsName="NTFS" Label="x"/></FixedVolumes></AsrSif>'
gpt='<AsrSif><Disks NumMbrDisks="0" NumGptDisks="1"><GptDisk NumPartitions="1"
DeviceNumber="0" GptDiskId="{0f0e0d0c-1122-4433-8844-5566778899aa}"
BytesPerSector="4096" DiskSize="1073741824"><GptPartition PartitionIndex="0"
PartitionType="{ebd0a0a2-b9e5-4433-87c0-68b6b72699c7}"
PartitionId="{a1000000-0000-4000-8000-000000000001}" Attributes="0x1"
GptName="n" PartitionOffset="1048576" PartitionLength="1048576"
IsCritical="0"/></GptDisk></Disks></AsrSif>'
printf '%s' "$mbr" >"$to/asr/mbr"
printf '%s' "$gpt" >"$to/asr/gpt"
printf '<a>%s%s</a>' "$mbr" "$gpt" >"$to/asr/two"
printf '%s' "$mbr" | iconv -t UTF-16LE >"$to/asr/utf16"
printf '%s' "$gpt" | iconv -t UTF-16 >"$to/asr/marked"
printf '<C m="%s"/>' "$(sed 's/</\&lt;/g; s/"/\&quot;/g' <<<"$mbr")" \
       >"$to/asr/attribute"
printf '<!DOCTYPE a [<!ENTITY b "bb">]><a>&b;</a>' >"$to/asr/doctype"
printf '<a>%.0s' {1..40} >"$to/asr/deep"

# -------------------------------------------------- files of backup images

# The number of the structure, options (1: make the checksum right), its bytes.
mkdir -p "$to/nbi"
python3 - "$to/nbi" <<'END'
import struct, sys
def seed(name, number, options, data):
    with open(f"{sys.argv[1]}/{name}", "wb") as f:
        f.write(bytes([number, options]) + data.rstrip(b"\0") if number < 10
                else bytes([number, options]) + data)
def header(encrypted):
    h = bytearray(4096)
    def at(off, data):
        h[off:off + len(data)] = data
    at(0, b"\x89NBI\r\n\x1a\n" + struct.pack("<IIQ", 1, 0, encrypted))
    at(40, b"f" * 16 + struct.pack("<II", 0, 1) + b"r" * 16)
    at(112, struct.pack("<QIII", 5000 * 65536 + 512, 65536, 512, 4096))
    at(136, struct.pack("<Q", 1795449120))
    at(152, b"n" * 16)
    at(256, b"disk")
    at(512, b"maker")
    if encrypted:
        at(80, b"k" * 16)
        at(132, b"\1\2")
        at(1024, struct.pack("<IIII", 1, 3, 65536, 4) + b"s" * 44)
        at(1088, b"w" * 48 + b"label")
        at(1280, struct.pack("<IIII", 2, 0, 0, 0) + b"s" * 44)
    return bytes(h)
seed("header", 0, 1, header(0))
seed("header-encrypted", 0, 1, header(1))
seed("slot", 1, 0, header(1)[1024:1280])
record = lambda kind, codec, ordinal, number, stored, plain: (
    b"NBIr" + struct.pack("<BBHQQIIIIQ", kind, codec, 0, 5, 8192, ordinal,
                          number, stored, plain, 77))
entry = lambda kind, codec, number, stored, plain, off=8192: (
    struct.pack("<QIIBBHIQ", off, stored, plain, kind, codec, 0, number, 77)
    + b"i" * 32)
seed("record", 2, 1, record(1, 1, 7, 99, 5000, 65536))
seed("record-page", 2, 1, record(2, 2, 8, 1, 500, 9000))
seed("record-manifest", 2, 1, record(3, 0, 0xffffffff, 0, 9000, 9000))
seed("record-encrypted", 2, 3, record(1, 0, 7, 99, 65552, 65536))
seed("entry", 3, 0, entry(1, 2, 5000, 100, 512))
seed("entry-manifest", 3, 0, entry(3, 0, 0, 700, 700))
seed("tombstone", 3, 0, b"")
for table, size in (1, 64), (2, 24), (3, 40), (4, 40), (5, 16):
    seed(f"sheet-{table}", 4, 1, b"NBIs" + struct.pack(
        "<BBHQQI", table, 0, 2, 5, 4096 * table, 3) + b"nnnn" + bytes(32)
        + b"e" * (2 * size))
seed("sheet-encrypted", 4, 3, b"NBIs" + struct.pack(
    "<BBHQQI", 3, 0, 2, 5, 8192, 3) + b"nnnn" + b"t" * 16 + bytes(16)
    + b"e" * 4032)
seed("group", 5, 0, struct.pack("<QQQ", 8192, 0x201, 0))
seed("root", 6, 0, struct.pack("<II", 2, 77) + b"h" * 32)
seed("root-uniform", 6, 0, struct.pack("<II", 0xffffffff, 1) + b"h" * 32)
seed("files", 7, 0, b"a" * 16 + b"r" * 16 + struct.pack("<II", 1, 0)
     + b"b" * 16 + b"r" * 16 + struct.pack("<II", 4, 0))
seed("ranges", 8, 0, struct.pack("<QQQQ", 512, 512, 2048, 1024))
trailer = (b"\x89NBT\r\n\x1a\n" + struct.pack(
    "<QQIIQQQQIIQII", 5, 1 << 20, 9000, 8000, 5000000, 8192, 12288, 16384, 3,
    0, 20480, 9, 0) + b"\1" * 16 + bytes(24) + entry(3, 0, 0, 700, 700, 24576))
seed("trailer", 9, 1, trailer)
seed("trailer-first", 9, 1, trailer[:48] + bytes(36) + trailer[84:128])
seed("page", 10, 0, struct.pack("<II", 4096, 2) + b"A" * 16 + b"B" * 16
     + bytes.fromhex("4b00000301 0a230002f8fe01"))
seed("page-kinds", 10, 0, struct.pack("<II", 20, 0) + bytes.fromhex("00018a01"))
seed("page-high", 10, 0, struct.pack("<II", 20, 1) + b"A" * 16
     + bytes.fromhex("9c0100d6ffffff1f"))
seed("lz4", 11, 0, struct.pack("<H", 20) + b"\x48abcd\4\0\x50efghi")
seed("zstd", 12, 0, struct.pack("<H", 199) + bytes.fromhex(
    "28b52ffd20c8430600") + b"z")
seed("zstd-window", 12, 0, struct.pack("<H", 299) + bytes.fromhex(
    "28b52ffd40502c00630900") + b"z")
seed("zstd-raw", 12, 0, struct.pack("<H", 2) + bytes.fromhex(
    "28b52ffd2003190000") + b"zzz")
END

# -------------------------------------------------- what file systems use

# A file system of SIZE by COMMAND..., as the input NAME.
fs ()
{
    local name=$1 size=$2
    shift 2
    rm -f "$tmp/fs"
    truncate -s "$size" "$tmp/fs"
    "$@" "$tmp/fs" >/dev/null 2>&1
    $encode "$tmp/fs" >"$to/used/$name"
}
mkdir "$tmp/few"
echo hello >"$tmp/few/hello"
fs ext2 1M mke2fs -F -t ext2 -N 16 -d "$tmp/few"
fs ext4 64M mke2fs -F -t ext4 -N 64 -O ^has_journal
fs meta-bg 64M mke2fs -F -t ext4 -b 1024 -N 64 \
    -O ^has_journal,meta_bg,^resize_inode,^metadata_csum
fs bigalloc 64M mke2fs -F -t ext4 -N 64 -O ^has_journal,bigalloc
fs fat12 1M mkfs.fat -F 12
fs fat16 16M mkfs.fat -F 16
fs fat32 64M mkfs.fat -F 32
fs exfat 8M mkfs.exfat
fs xfs 300M mkfs.xfs -f -d agcount=2
fs xfs4 300M mkfs.xfs -f -m crc=0 -d agcount=2
fs btrfs 120M mkfs.btrfs -f
# Without all but the superblock and the tree of chunks, which is tree 3.
python3 - "$tmp/fs" <<'END'
import sys
with open(sys.argv[1], "r+b") as f:
    for off in range(1 << 20, 120 << 20, 16384):
        f.seek(off)
        node = f.read(16384)
        if any(node) and node[88] != 3:
            f.seek(off)
            f.write(bytes(16384))
END
$encode "$tmp/fs" >"$to/used/btrfs"
fs f2fs 60M mkfs.f2fs -r
# Without which kernel made it, extensions of files, the SSA, the NAT, and bits
# of that.
python3 - "$tmp/fs" <<'END'
import sys
with open(sys.argv[1], "r+b") as f:
    for at, n in ((1024 + 1148, 516), (1024 + 1668, 512), (5120 + 1148, 516),
                  (5120 + 1668, 512), (700 * 4096, 324 * 4096),
                  (1200 * 4096, 336 * 4096), (2560 * 4096, 1536 * 4096)):
        f.seek(at)
        f.write(bytes(n))
END
$encode "$tmp/fs" >"$to/used/f2fs"
fs swap 1M mkswap
# Without most of what is in $UpCase and $AttrDef, and with a log of Windows.
fs ntfs 2M mkntfs -F -Q -c 4096
python3 "$(dirname "$0")/../support/used.py" ntfs-log "$tmp/fs" clean clean
python3 - "$tmp/fs" <<'END'
import sys
with open(sys.argv[1], "r+b") as f:
    data = f.read()
    for off in range(65536, len(data), 4096):
        page = data[off:off + 4096]
        if page[:4] not in (b"FILE", b"RSTR", b"INDX") and any(page[2048:]):
            f.seek(off)
            f.write(bytes(4096))
END
$encode "$tmp/fs" >"$to/used/ntfs"

# ----------------------------------------------------------- compressed files

{
    seq 1 300
    head -c 3000 /dev/zero
    seq 100 400
} >"$tmp/plain"
# squeeze NAME COMMAND ARG...: a file after a byte 0, and its index after a 1
squeeze ()
{
    local name=$1
    shift
    "$@" <"$tmp/plain" >"$tmp/squeezed"
    { printf '\0'; cat "$tmp/squeezed"; } >"$to/compressed/$name"
}
squeeze bzip2 bzip2 -1
squeeze gzip gzip -9n
squeeze lz4 lz4 -1 -BX --content-size
squeeze lz4-linked lz4 -9 -BD -B4
squeeze xz xz -0 --block-size=2000
squeeze xz-filters xz -C crc32 --x86 --lzma2=preset=0
squeeze zstd zstd -1
squeeze zstd-19 zstd -19 --no-check
{ cat "$to/compressed/gzip"; tail -c +2 "$to/compressed/gzip"; } \
    >"$to/compressed/gzip-two"
{ cat "$to/compressed/bzip2"; tail -c +2 "$to/compressed/bzip2"; } \
    >"$to/compressed/bzip2-two"
for i in {1..500}; do
    cat "$tmp/plain"
done >"$tmp/more"
for name in bzip2 gzip lz4 xz zstd; do
    $name -1 <"$tmp/more" >"$tmp/more.$name"
    XDG_CACHE_HOME=$tmp/$name ./nbdimage info "$tmp/more.$name" >/dev/null
    { printf '\1'; cat "$tmp/$name"/nbdimage/*.idx; } \
        >"$to/compressed/index-$name"
done
