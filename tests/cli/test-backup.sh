#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# backup --single: what the file reads as, to us and through NBD; what a disk
# with bad sectors becomes; what is refused, and what is left of what is
# interrupted.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires qemu-img
requires qemu-io
cd "$tmp"

"$support/make-disk.sh" mbr-ext4 ext4.img
"$support/make-disk.sh" gpt-ntfs-fat win.img

# as_raw IMAGE OUT: the disk in it, as any client of NBD gets it
as_raw ()
{
    rm -f "$2"
    nbdkit -r -U - image "$1" --run "nbdcopy \"\$uri\" $2"
}


# --- everything: the same bytes, whatever the codec and the chunk

for way in "lz4 64K" "zstd 64K" "zstd:19 1M" "zstd:-5 16K" "none 256K"; do
    read -r codec chunk <<<"$way"
    nbdimage backup --everything --single=all.nbi --codec="$codec" \
        --chunk-size="$chunk" ext4.img
    as_raw all.nbi all.raw
    cmp all.raw ext4.img
    rm all.nbi
done

# --- used blocks: file systems are whole, and what is not used is zeros

# Something behind the file system's back, in its free space: 1 MiB of it.
free=$(debugfs -R 'ffb 256' "ext4.img?offset=1048576" 2>/dev/null |
       sed -n 's/.*found: //p' | tr ' ' '\n' | tail -2 | head -1)
[ -n "$free" ]
block=$(debugfs -R 'stats -h' "ext4.img?offset=1048576" 2>/dev/null |
        sed -n 's/^Block size: *//p')
head -c 65536 /dev/urandom >junk
cp ext4.img dirty.img
dd if=junk of=dirty.img bs=1 seek=$((1048576 + free * block)) conv=notrunc \
    status=none
nbdimage backup --single=used.nbi --json dirty.img >report
as_raw used.nbi used.raw
e2fsck -fn "used.raw?offset=1048576"
same "unallocated" "$(jq '.unallocated > 1048576' report)" true
same "disk" "$(jq -r .disk report)" dirty
# Chunks are saved as a whole: whatever was saved is as it was.
python3 - dirty.img used.raw <<'PYTHON'
import sys
chunk = 65536
with open (sys.argv[1], "rb") as a, open (sys.argv[2], "rb") as b:
    kept = dropped = 0
    while True:
        x, y = a.read (chunk), b.read (chunk)
        if not x and not y:
            break
        if x == y:
            kept += 1
        elif y == bytes (len (y)):
            dropped += 1
        else:
            sys.exit ("a chunk is neither what it was nor zeros")
    print (kept, "chunks are the same,", dropped, "became zeros")
    if not kept:
        sys.exit ("nothing was kept")
PYTHON

nbdimage backup --single=win.nbi win.img
as_raw win.nbi win.raw
start=$(sfdisk -J win.raw | jq '.partitiontable.partitions[1].start')
size=$(sfdisk -J win.raw | jq '.partitiontable.partitions[1].size')
dd if=win.raw of=ntfs.part bs=512 skip="$start" count="$size" status=none
ntfsfix -n ntfs.part
sfdisk -d win.img >before
sfdisk -d win.raw | sed 's/win.raw/win.img/' | diff before -

# --- an image like others

nbdimage info --json used.nbi >info
same format "$(jq -r .format info)" nbi
same size "$(jq .size info)" "$(stat -c %s ext4.img)"
nbdimage convert used.nbi used.vhd
qemu-img compare -f vpc -F raw used.vhd used.raw
nbdimage backup --everything --single=again.nbi used.vhd
as_raw again.nbi again.raw
cmp again.raw used.raw

# Its hash is what the disk reads as.
hash_of ()
{
    nbdimage info --json "$1" | jq -r '.. | .hash? // empty' | head -1
}
nbdimage backup --everything --single=third.nbi --codec=zstd used.raw
[ -n "$(hash_of third.nbi)" ]
same hash "$(hash_of third.nbi)" "$(hash_of again.nbi)"

# Two disks at once, through an overlay.
nbdimage create -f vhd other.vhd 96M
nbdkit -U - image used.nbi overlay=over.vhd \
    --run 'qemu-io -f raw -c "write -P 7 1M 64k" "$uri"'
nbdkit -U - image used.nbi overlay=over.vhd \
    --run 'qemu-io -f raw -r -c "read -P 7 1M 64k" "$uri"' >io
contains io 'read 65536/65536'

# --- pipes

nbdimage backup --everything --single=- ext4.img | cat >piped.nbi
as_raw piped.nbi piped.raw
cmp piped.raw ext4.img
nbdimage backup --everything --single=nbd.nbi --name=far \
    "nbd+unix:///?socket=$tmp/none" 2>err && fail "there is no server"
[ ! -e nbd.nbi ]

# Exports of one server are different disks.
for pair in "one?socket=SOCK one" "a/two.img?socket=SOCK a_two.img" \
            "?socket=SOCK srv"; do
    read -r uri name <<<"$pair"
    rm -f srv.sock nbd.nbi
    nbdkit -U "$tmp/srv.sock" memory 1M --run "nbdimage backup --json \
        --single=nbd.nbi 'nbd+unix:///${uri/SOCK/$tmp\/srv.sock}'" >report
    same "name of $uri" "$(jq -r .disk report)" "$name"
done

# --- sectors that can't be read

cat >bad.sh <<'SH'
#!/usr/bin/env bash
case $1 in
    get_size) stat -c %s "$IMAGE" ;;
    pread)
        # Sectors 5000 to 5003, and one in another chunk.
        end=$(($4 + $3))
        if (($4 < 5004 * 512 && end > 5000 * 512 ||
             $4 < 9001 * 512 && end > 9000 * 512)); then
            echo "EIO a bad sector" >&2
            exit 1
        fi
        dd if="$IMAGE" iflag=skip_bytes,count_bytes skip="$4" count="$3" \
            status=none ;;
    *) exit 2 ;;
esac
SH
chmod +x bad.sh
export IMAGE=$tmp/ext4.img
nbdkit -f -U "$tmp/bad.sock" sh bad.sh & server=$!
cleanup_fn kill $server
for ((i = 0; i < 100; i++)); do
    [ ! -S bad.sock ] || break
    sleep 0.1
done
status=0
nbdimage backup --everything --single=bad.nbi --json --name=dying \
    "nbd+unix:///?socket=$tmp/bad.sock" >report 2>err || status=$?
same "exit status" "$status" 1
contains err '2560 bytes'
same "unreadable" "$(jq .unreadable report)" 2560
# part FIRST END: sectors, as they were
part ()
{
    rm -f got
    nbdkit -r -U - --filter=offset image bad.nbi offset=$(($1 * 512)) \
        range=$((($2 - $1) * 512)) --run 'nbdcopy "$uri" got' || return
    cmp -n $((($2 - $1) * 512)) --ignore-initial=0:$(($1 * 512)) got ext4.img
}
part 0 5000
part 5004 9000
part 9001 $(($(stat -c %s ext4.img) / 512))
for sector in 5000 5003 9000; do
    nbdkit -r -U - image bad.nbi --run "qemu-io -r -f raw \
        -c 'read $((sector * 512)) 512' \"\$uri\"" >io 2>&1 || :
    contains io 'Input/output error'
done

# A disk that is gone is none of which all that follows is bad: nothing can be
# read from some moment on, nor what could be before.
cat >gone.sh <<'SH'
#!/usr/bin/env bash
case $1 in
    get_size) stat -c %s "$IMAGE" ;;
    pread)
        # Both ends are read first, to find out what it is.
        (($4 < 8 * 1024 * 1024 || $4 > 24 * 1024 * 1024)) || touch "$GONE"
        if [ -e "$GONE" ]; then
            echo "EIO it was pulled out" >&2
            exit 1
        fi
        dd if="$IMAGE" iflag=skip_bytes,count_bytes skip="$4" count="$3" \
            status=none ;;
    *) exit 2 ;;
esac
SH
chmod +x gone.sh
export GONE=$tmp/gone
head -c 32M /dev/urandom >pulled.img
IMAGE=$tmp/pulled.img nbdkit -f -U "$tmp/gone.sock" sh gone.sh & server=$!
cleanup_fn stop_pid $server
for ((i = 0; i < 100; i++)); do
    [ ! -S gone.sock ] || break
    sleep 0.1
done
status=0
nbdimage backup --everything --single=gone.nbi --format=raw \
    "nbd+unix:///?socket=$tmp/gone.sock" 2>err || status=$?
same "exit status" "$status" 1
contains err 'nothing of it can be read any more'
[ ! -e gone.nbi ] || fail "a disk that is gone was saved"

# --- refused

touch there.nbi
refuses nbdimage backup --single=there.nbi ext4.img
contains "$tmp/refused" 'there.nbi'
same "size" "$(stat -c %s there.nbi)" 0
refuses nbdimage backup --single=x.nbi nothing.img
refuses nbdimage backup --single=no/folder/x.nbi ext4.img
: >empty.img
refuses nbdimage backup --single=x.nbi --format=raw empty.img
[ ! -e x.nbi ]
for wrong in --codec=gzip --codec=zstd:0 --codec=zstd:20 --chunk-size=8K \
             --chunk-size=96K --chunk-size=2M --name=a/b --name=.. --name= \
             --name=$'a\nb' --name=$'\xff'; do
    status=0
    nbdimage backup --single=x.nbi "$wrong" ext4.img 2>err || status=$?
    same "status of $wrong" "$status" 2
done

# What was a VHD before it was cut off would look whole.
nbdimage convert --fixed ext4.img cut.vhd
truncate -s -20M cut.vhd
status=0
nbdimage backup --single=x.nbi cut.vhd 2>err || status=$?
same "status of a VHD that was cut off" "$status" 3
[ ! -e x.nbi ]
rm cut.vhd

# Whatever is cut off or changed is refused, at once or where it is.
size=$(stat -c %s used.nbi)
for n in 0 100 4096 16383 16384 $((size / 2)) $((size - 1)); do
    head -c "$n" used.nbi >cut.nbi
    refuses nbdkit -r -U - image cut.nbi --run 'nbdinfo "$uri"'
done
cp used.nbi flipped.nbi
# In the payload of the first record.
python3 -c 'f = open ("flipped.nbi", "r+b"); f.seek (4096 + 64 + 5)
b = f.read (1); f.seek (-1, 1); f.write (bytes ([b[0] ^ 1]))'
nbdkit -r -U - image flipped.nbi \
    --run 'qemu-io -r -f raw -c "read 0 4k" "$uri"' >io 2>&1 || :
contains io 'Input/output error'
refuses nbdimage convert flipped.nbi flipped.raw
contains "$tmp/refused" 'NBI-40'
[ ! -e flipped.raw ]

# --- what another process writes

for type in raw vhd vhdx; do
    truncate -s 4M written.raw
    [ "$type" = raw ] || nbdimage create "written.$type" 4M
    start_nbdkit image "written.$type"
    mkfifo "commands.$type"
    qemu-io -f raw "$uri" <"commands.$type" >qemu-io.log &
    client=$!
    cleanup_fn stop_pid "$client"
    exec 9>"commands.$type"
    echo "write -P 3 0 512" >&9
    for ((i = 0; i < 300; i++)); do
        ! grep -q wrote qemu-io.log || break
        sleep 0.1
    done
    refuses nbdimage backup --single=written.nbi "written.$type"
    contains "$tmp/refused" "is being written by another process"
    [ ! -e written.nbi ] || fail "it was saved"
    exec 9>&-
    wait "$client" || :
    stop_nbdkit
    # One that is only read is nothing to wait for.
    start_nbdkit -r image "written.$type"
    qemu-io -r -f raw -c 'read -P 3 0 512' "$uri"
    nbdimage backup --single=written.nbi "written.$type"
    rm written.nbi
    stop_nbdkit
done

# --- interrupted

truncate -s 4G huge.img
head -c 200M /dev/urandom | dd of=huge.img conv=notrunc status=none
# interrupt OPTION...: a backup with them, once it goes on; what it says: in err
interrupt ()
{
    local pid status=0
    : >err
    nbdimage backup --everything --codec=zstd:19 --threads=1 --progress=json \
        "$@" 2>err & pid=$!
    for ((i = 0; i < 1200; i++)); do
        ! grep -q '"backing up"' err || break
        sleep 0.05
    done
    kill -INT $pid
    wait $pid || status=$?
    same "status" "$status" 1
}
interrupt --single=huge.nbi huge.img
contains err 'huge.nbi was not made, and nothing of it is left'
interrupt --init huge.img huge
contains err 'huge lists what it listed before; what was written is kept there'
rm -r huge
same "what is left" "$(find . -name '*huge.nbi*')" ""

# --- a vault

refuses nbdimage backup ext4.img vault
contains "$tmp/refused" '--init'
nbdimage backup --init --everything --name=web ext4.img vault
cp ext4.img web2.img
dd if=/dev/urandom of=web2.img bs=64k seek=300 count=3 conv=notrunc status=none
nbdimage backup --everything --name=web --json web2.img vault >report
same "new" "$(jq .new report)" $((3 * 65536))
nbdimage backup --everything win.img vault

nbdimage generations --json vault >list
nbdimage snapshots --json vault | cmp list -
same "disks" "$(jq -r '[.[].disk] | sort | join (" ")' list)" 'web web win'
first=$(jq -r '[.[] | select (.disk == "web")][0].generation' list)
nbdimage generations vault web >out
same "lines" "$(wc -l <out)" 3
contains out "$first"

for pair in "vault/web web2.img" "vault/web@latest web2.img" \
            "vault/web@$first ext4.img" \
            "vault/web@$(jq -r '[.[] | select (.disk == "web")][0].id' list | head -c 13) ext4.img" \
            "vault/win win.img"; do
    read -r name file <<<"$pair"
    rm -f out.raw
    nbdimage convert "$name" -O raw out.raw
    cmp out.raw "$file"
    as_raw "$name" got.raw
    cmp got.raw "$file"
done
refuses nbdimage info vault/none
refuses nbdimage generations vault none
contains "$tmp/refused" 'no generation of'
refuses nbdimage info vault/web@2
contains "$tmp/refused" '2 generations'
refuses nbdimage backup --name=web --chunk-size=128K ext4.img vault

# Killed in the middle: the vault lists what it listed, the next run works.
nbdimage backup --everything --name=huge --codec=zstd:19 huge.img vault & pid=$!
sleep 1
kill -KILL $pid
wait $pid || :
same "generations" "$(nbdimage generations --json vault | jq length)" 3
nbdimage backup --everything --name=web ext4.img vault
same "generations" "$(nbdimage generations --json vault | jq length)" 4

# What it had written by then is adopted; whatever changed since is seen.
# kill_backup OPTION...: when some MiB are in the vault
kill_backup ()
{
    local pid part i

    nbdimage backup --init --codec=zstd:19 --threads=1 --name=slow "$@" \
        slow.img small & pid=$!
    for ((i = 0; i < 300; i++)); do
        part=$(find small/partial -name '*.part' -size +4M 2>/dev/null || :)
        [ -z "$part" ] || break
        sleep 0.1
    done
    kill -KILL $pid
    wait $pid || :
    [ -n "$part" ]
}
head -c 48M /dev/urandom >slow.img
kill_backup
same "generations" "$(nbdimage generations --json small | jq length)" 0
nbdimage backup --name=slow --json slow.img small >report
same "adopted" "$(jq '.adopted >= 3 * 1048576 and .adopted <= .new and
                      .new == 48 * 1048576' report)" true
same "left" "$(find small/partial small/broken -mindepth 1)" ""
as_raw small/slow got.raw
cmp got.raw slow.img

head -c 48M /dev/urandom >slow.img
kill_backup
dd if=/dev/urandom of=slow.img bs=64k seek=3 count=2 conv=notrunc status=none
nbdimage backup --name=slow slow.img small >out
contains out 'adopted from a backup that was interrupted'
same "left" "$(find small/partial small/broken -mindepth 1)" ""
as_raw small/slow got.raw
cmp got.raw slow.img
nbdimage backup --name=slow slow.img small >out
contains out '0 B of it new, in'
nbdimage verify small
rm -r small

nbdimage verify vault >out
contains out 'whole'
same "generations" "$(nbdimage verify --json vault |
                      jq '[.generations, .whole, (.findings | length)] |
                          join (" ")' -r)" '4 true 0'

# A bit in the data of one file: the structure is whole, the data is not.
cp -a vault flipped
bad=$(find flipped/files -name '*.root.nbi' -size +1M | head -1)
python3 - "$bad" <<'PYTHON'
import sys
f = open (sys.argv[1], "r+b")
f.seek (4096 + 64 + 5)
b = f.read (1)
f.seek (-1, 1)
f.write (bytes ([b[0] ^ 1]))
PYTHON
nbdimage verify --structure flipped
status=0
nbdimage verify flipped >out || status=$?
same "exit status" "$status" 3
contains out 'NBI-40'
contains out '1 thing is wrong'
rm -r flipped

# The newest generation can't be had without what another has: the next backup
# does without it, and is whole.
cp -a vault lost
rm -r lost/files/web."$first".*
refuses nbdimage info lost/web
contains "$tmp/refused" 'NBI-131'
nbdimage backup --everything --name=web web2.img lost 2>err
contains err 'does not build on it'
as_raw lost/web got.raw
cmp got.raw web2.img
rm -r lost

# A file that is missing is told once for what is side by side, not for each
# chunk.
head -c 4M /dev/urandom >full.img
nbdimage backup --init full.img small
bad=$(find small/files -name '*.nbi')
dd if=junk of=full.img bs=64k seek=9 conv=notrunc status=none
nbdimage backup full.img small
rm "$bad"
status=0
nbdimage verify --json small >out || status=$?
same "exit status" "$status" 3
same "findings" "$(jq -c '[.findings[].sentence | match ("NBI-1[0-9]*").string]
                          ' out)" '["NBI-133","NBI-131","NBI-131"]'
rm -r small

# A disk may be called like a folder of the vault.
nbdimage backup --init --name=files full.img small
nbdimage info --json small/files >info
same disk "$(jq -r '.. | .disk? // empty' info)" files
same size "$(jq .size info)" "$(stat -c %s full.img)"
# What is said of the vault has the vault's name.
rm -r small/vault
nbdimage backup --name=files full.img small 2>err
contains err 'warning: small: '
rm -r small

# The newest generation is damaged, and VAULT/DISK an older one: that is said.
cp -a vault lost
run=$(find lost/files -name 'web.*' | sort | tail -1)
truncate -s 0 "$run"/*.root.nbi
nbdimage convert lost/web -O raw got2.raw 2>err
second=$(jq -r '[.[] | select (.disk == "web")][1].generation' list)
contains err "that can be read is $second"
cmp got2.raw web2.img
rm -r lost

# A generation that was moved away, with a link to it, is overlooked by all that
# reads; it is told.
cp -a vault lost
run=$(basename lost/files/web."$first".*)
mv "lost/files/$run" moved
ln -s ../../moved "lost/files/$run"
for command in generations verify; do
    status=0
    nbdimage $command lost >out 2>&1 || status=$?
    same "exit status of $command" "$status" 3
    contains out 'NBI-132'
done
rm -r lost moved

# What is missing is said: the vault, the disk or the generation, and what there
# is instead.
missing ()
{
    refuses nbdimage check "$1"
    contains "$tmp/refused" "$1: $2"
    refuses nbdimage info "$1"
    contains "$tmp/refused" "$1: $2"
    refuses nbdimage convert "$1" missing.raw
    contains "$tmp/refused" "$1: $2"
}
mkdir none
missing nowhere/web "can't be opened: No such file or directory, and there is \
no vault ‘nowhere’"
missing none/web "can't be opened: No such file or directory, and ‘none’ is no \
vault"
missing vault/webb "the vault has no generation of ‘webb’; its disks are ‘"
contains "$tmp/refused" "‘web’"
missing vault/web@1999 "the vault has no generation ‘1999’ of ‘web’; it has ‘"
contains "$tmp/refused" "‘$first’"
refuses nbdimage check none/web.vhd
contains "$tmp/refused" "none/web.vhd: can't be opened: No such file or dir"
! grep 'vault' "$tmp/refused" || fail "a vault where a file is meant"

# A generation is checked with all files that it needs.
nbdimage check vault/web >out
contains out "vault/web: is whole"
cp -a vault lost
old=$(find lost/files/web."$first".* -name '*.nbi')
printf 'XXXXXXXX' | dd of="$old" bs=1 seek=4100 conv=notrunc status=none
status=0
nbdimage check lost/web >out || status=$?
same "exit status" "$status" 3
contains out "lost/web: is damaged"
rm -r lost

# What is no backup is said to be none, and named once.
status=0
nbdimage verify ext4.img 2>err || status=$?
same "exit status" "$status" 1
contains err 'nbdimage check'
refuses nbdimage backup ext4.img ext4.img
same "names" "$(grep 'the folder' "$tmp/refused" | grep -o ext4.img | wc -l)" 1

# What vault.json said is in each generation: a disk that is new finds it in
# those of others.
cp -a vault lost
rm -r lost/vault
nbdimage backup --name=new web2.img lost 2>err
contains err 'vault.json is lost'
nbdimage verify lost
rm -r lost
cp -a vault lost
echo '{' >lost/vault/vault.json
refuses nbdimage generations lost
contains "$tmp/refused" 'vault/vault.json'
rm -r lost

# One generation is damaged, the others are not.
bad=$(find vault/files -name "win.*" -type d)
bad=$(find "$bad" -name '*.nbi')
truncate -s -4096 "$bad"
status=0
nbdimage generations --json vault >list 2>err || status=$?
same "exit status" "$status" 3
same "the others" "$(jq length list)" 3
refuses nbdimage info vault/win
status=0
nbdimage verify vault >out || status=$?
same "exit status" "$status" 3
contains out 'NBI-100'
as_raw vault/web got.raw
cmp got.raw ext4.img
