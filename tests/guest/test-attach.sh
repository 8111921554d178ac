#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# attach, detach and attached with a real kernel: the right files, and always
# off again.

. "$(dirname "$0")/../functions.sh"
. "$(dirname "$0")/guest.sh"
set -e

make_images ()
{
    "$support/make-disk.sh" -f vhd mbr-ext4 "$images/mbr.vhd"
    "$support/make-disk.sh" -f vhd mbr-logical "$images/logical.vhd"
    "$support/make-disk.sh" -f vhd gpt-ntfs-fat "$images/gpt.vhd"
    "$support/make-disk.sh" -f vhd-fixed mbr-ext4 "$images/fixed.vhd"
    "$support/make-iso.sh" rockridge "$images/cd.iso"
    qemu-img convert -f vpc -O raw "$images/mbr.vhd" "$images/mbr.raw"
    nbdimage backup --init --everything "$images/mbr.raw" "$images/vault"
    # Its header's checksum does not fit any more.
    cp "$images/mbr.vhd" "$images/damaged.vhd"
    printf 'XX' | dd of="$images/damaged.vhd" bs=1 seek=$((512 + 600)) \
                     conv=notrunc status=none
}

for program in jq qemu-img mkntfs ntfscp mcopy xorriso losetup; do
    requires "$program"
done
in_guest 800

cd "$images"

# ------------------------------------------------------------- the right files

for n in 1 4; do
    step "a dynamic VHD, MBR and ext4, $n connections"
    attach mbr.vhd --connections $n
    contains "$tmp/attached" ext4
    contains "$tmp/attached" nbdimage-ext4
    check_files "${dev}p1" ext4 "$images/mbr.vhd.p1.sha256"
    [ $n = 1 ] || same_bytes "$dev" mbr.raw
    nbdimage attached >"$tmp/list"
    contains "$tmp/list" "$images/mbr.vhd"
    same connections "$(nbdimage attached --json | jq '.[0].connections')" $n
    same state "$(nbdimage attached --json | jq -r '.[0].state')" live
    if dd if=/dev/zero of="$dev" bs=512 count=1 2>/dev/null; then
        fail "$dev can be written to without --write"
    fi
    detach "$dev"

    step "a dynamic VHD, GPT, NTFS and FAT, $n connections"
    attach gpt.vhd /dev/nbd7 --connections $n
    same device "$dev" /dev/nbd7
    check_files "${dev}p1" vfat "$images/gpt.vhd.p1.sha256"
    check_files "${dev}p2" ntfs-3g "$images/gpt.vhd.p2.sha256"
    detach gpt.vhd

    step "an ISO image, $n connections"
    attach cd.iso --connections $n
    contains "$tmp/attached" NBDIMAGE_TEST
    check_files "$dev" iso9660 "$images/cd.iso.sha256"
    same_bytes "$dev" cd.iso
    detach "$dev"
done
nothing_left

step "a generation in a vault"
time=$(nbdimage generations --json vault | jq -r '.[0].generation')
for name in vault/mbr "vault/mbr@$time"; do
    attach "$name"
    check_files "${dev}p1" ext4 "$images/mbr.vhd.p1.sha256"
    same_begin "$dev" mbr.raw
    contains <(nbdimage attached) "$images/$name"
    detach "$name"
done
nothing_left

step "logical partitions, as JSON"
nbdimage attach --json logical.vhd >"$tmp/json"
same device "$(jq -r .device "$tmp/json")" /dev/nbd0
same partitions "$(jq -c '[.partitions[].number]' "$tmp/json")" '[1,2,5,6]'
same type "$(jq -r '.partitions[2]["file-system"].type' "$tmp/json")" ext4
same "sector size" "$(jq '.["sector-size"]' "$tmp/json")" 512
# What info says of the same table, key by key; but for the length of an
# extended partition, which the kernel cuts down to its boot record.
nbdimage info --json logical.vhd >"$tmp/info.json"
same "partitions, as info has them" \
     "$(jq -Sc '[.partitions[] | del(.device) |
                 if .number == 2 then del(.length) else . end]' \
           "$tmp/json")" \
     "$(jq -Sc '[.partitions.entries[] |
                 del(.bootable, .logical, .extended, .["efi-loaders"]) |
                 if .number == 2 then del(.length) else . end]' \
           "$tmp/info.json")"
same "file system, as info has it" "$(jq -c '.["file-system"]' "$tmp/json")" \
     "$(jq -c '.["file-system"]' "$tmp/info.json")"
check_files /dev/nbd0p5 ext4 "$images/logical.vhd.p5.sha256"
check_files /dev/nbd0p6 vfat "$images/logical.vhd.p6.sha256"

step "a second one beside it"
attach cd.iso
same device "$dev" /dev/nbd1
nbdimage attached --json >"$tmp/attached.json"
same devices "$(jq length "$tmp/attached.json")" 2
same since "$(jq -r '.[].since' "$tmp/attached.json" |
    grep -cE '^20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]Z$')" 2
nbdimage attached | grep -q ':[0-9][0-9] UTC  /' || fail "attached: no UTC"

step "detach as JSON: what attached said, of what came off only"
status=0
nbdimage detach --json /dev/nbd0 /dev/nbd9 cd.iso >"$tmp/detached.json" \
         2>"$tmp/detach.err" || status=$?
same "exit status" "$status" 1
contains "$tmp/detach.err" "/dev/nbd9: it is not attached"
same "lines of stderr" "$(wc -l <"$tmp/detach.err")" 1
same detached "$(jq -Sc 'map(del(.error))' "$tmp/detached.json")" \
     "$(jq -Sc . "$tmp/attached.json")"
same errors "$(jq -c 'map(.error)' "$tmp/detached.json")" '[null,null]'
nothing_left
same "nothing" "$(nbdimage attached --json)" "[]"

# ------------------------------------------------------------------------ URIs

step "an export of a server, over TCP and a Unix socket"
start_nbdkit -r image "$images/mbr.vhd"
attach "$uri"
same connections "$(nbdimage attached --json | jq '.[0].connections')" 4
same_begin "$dev" mbr.raw
detach "$uri"
nbdimage serve --port 10999 mbr.vhd >"$tmp/served" 2>&1 &
serve_pid=$!
for ((i = 0; i < 100; i++)); do
    grep -q nbd:// "$tmp/served" && break
    sleep 0.1
done
tcp=$(grep -o 'nbd://[^ ]*' "$tmp/served" | head -n 1)
attach "$tcp"
same_begin "$dev" mbr.raw
detach "$tcp"

step "nbd-client attaches the same export"
nbd-client -unix "$sock" /dev/nbd5 -readonly -persist -timeout 10 \
           >"$tmp/nbd-client" 2>&1 || { cat "$tmp/nbd-client"; fail nbd-client; }
for ((i = 0; i < 50; i++)); do
    [ -e /sys/block/nbd5/pid ] && break
    sleep 0.1
done
blockdev --rereadpt /dev/nbd5
check_files /dev/nbd5p1 ext4 "$images/mbr.vhd.p1.sha256"
same_begin /dev/nbd5 mbr.raw
same state "$(nbdimage attached --json | jq -r '.[0].state')" foreign
refused 1 "already connected" nbdimage attach mbr.vhd /dev/nbd5
detach /dev/nbd5
stop_pid "$serve_pid"
stop_nbdkit

step "nbd-client -d on an attachment of ours"
attach mbr.vhd
nbd-client -d "$dev" >/dev/null 2>&1
nothing_left

step "a relative path in a URI"
start_nbdkit -r memory 1M
ln -s "$sock" "$tmp/relative"
(cd "$tmp" && nbdimage attach 'nbd+unix:///?socket=relative' >/dev/null &&
    nbdimage detach 'nbd+unix:///?socket=relative') || fail "relative"
stop_nbdkit

step "a server whose bytes are an image"
start_nbdkit -r file "$images/mbr.vhd"
attach "$uri"
same_begin "$dev" mbr.raw
detach "$dev"
stop_nbdkit
nothing_left

# --------------------------------------------------------------------- writing

step "writing to a fixed VHD"
cp fixed.vhd writable.vhd
attach --write writable.vhd
mkdir -p "$tmp/mnt"
mount "${dev}p1" "$tmp/mnt"
for ((i = 0; i < 20; i++)); do
    head -c 300000 /dev/urandom >"$tmp/mnt/new $i"
done
(cd "$tmp/mnt" && sha256sum new*) >"$tmp/new.sha256"
umount "$tmp/mnt"
detach writable.vhd
same "the footer" "$(tail -c 512 writable.vhd | sha256sum)" \
     "$(tail -c 512 fixed.vhd | sha256sum)"
attach writable.vhd
head -c -512 writable.vhd | cmp - "$dev" || fail "the file is not the disk"
e2fsck -f -n "${dev}p1" >"$tmp/fsck" 2>&1 || { cat "$tmp/fsck"; fail e2fsck; }
check_files "${dev}p1" ext4 "$images/fixed.vhd.p1.sha256"
check_files "${dev}p1" ext4 "$tmp/new.sha256"
detach "$dev"

step "what is written just before detaching is in the file"
attach --write writable.vhd
yes "last words" | head -c 1048576 |
    dd of="$dev" bs=64k seek=1400 iflag=fullblock status=none
detach "$dev"
same "the last words" "$(dd if=writable.vhd bs=64k skip=1400 count=16 \
                            status=none | sha256sum)" \
     "$(yes "last words" | head -c 1048576 | sha256sum)"
nothing_left

# -------------------------------------------------------------------- refusals

step "refusals leave nothing"
refused 3 "damaged.vhd" nbdimage attach damaged.vhd
refused 1 "No such file" nbdimage attach missing.vhd
nbdimage create saved.vhd 1M
make_saved_state saved.vhd
refused 1 "saved state" nbdimage attach --write saved.vhd
refused 2 "not a format" nbdimage attach mbr.vhd --format nonsense
refused 2 "is a partition" nbdimage attach mbr.vhd /dev/nbd0p1
refused 2 "is not the name" nbdimage attach mbr.vhd /dev/sda
refused 2 "--connections" nbdimage attach mbr.vhd --connections 99
refused 2 "--timeout" nbdimage attach mbr.vhd --timeout 1
refused 1 "TLS" nbdimage attach nbds://127.0.0.1/
refused 1 "127.0.0.1" nbdimage attach nbd://127.0.0.1:1/
refused 1 "not attached" nbdimage detach /dev/nbd0
refused 1 "not attached" nbdimage detach mbr.vhd
refused 1 "is a partition" nbdimage detach /dev/nbd0p1
start_nbdkit -r memory 1M
refused 1 "" nbdimage attach --write "$uri"
stop_nbdkit
cp "$(command -v nbdimage)" "$tmp/nbdimage"
chmod 755 "$tmp"
refused 1 "only root" setpriv --reuid 65534 --clear-groups \
        "$tmp/nbdimage" attach mbr.vhd
contains "$tmp/refused" nbdfuse
nothing_left

step "a device in use"
attach mbr.vhd /dev/nbd3
refused 1 "already attached to $images/mbr.vhd" \
        nbdimage attach cd.iso /dev/nbd3
detach /dev/nbd3
refused 1 "not attached" nbdimage detach /dev/nbd3

step "sizes that the kernel can't show"
start_nbdkit memory 1000001
attach "$uri"
contains "$tmp/attach.err" "the last 65 bytes"
same size "$(blockdev --getsize64 "$dev")" 999936
detach "$dev"
refused 1 "not a multiple of 512" nbdimage attach --write "$uri"
stop_nbdkit
start_nbdkit --filter=blocksize-policy memory 1M \
             blocksize-minimum=4096 blocksize-preferred=4096
attach "$uri"
same "block size" "$(blockdev --getss "$dev")" 4096
detach "$dev"
stop_nbdkit
start_nbdkit --filter=blocksize-policy memory 1M \
             blocksize-minimum=65536 blocksize-preferred=65536
refused 1 "65536" nbdimage attach "$uri"
stop_nbdkit
start_nbdkit --filter=multi-conn memory 1M multi-conn-mode=disable
attach "$uri" --connections 4
contains "$tmp/attach.err" "one connection instead of 4"
detach "$dev"
stop_nbdkit
nothing_left

# ------------------------------------------------------------------ who has it

step "detach names whoever uses the disk"
cp fixed.vhd held.vhd
attach --write held.vhd
mount "${dev}p1" "$tmp/mnt"
refused 1 "${dev}p1 is mounted at $tmp/mnt" nbdimage detach held.vhd
refused 1 "held.vhd" nbdimage attach cd.iso "$dev"
umount "$tmp/mnt"

unshare -m --propagation private \
        sh -c "mount ${dev}p1 '$tmp/mnt' && exec sleep 100" &
holder=$!
for ((i = 0; i < 50; i++)); do
    ! grep -qs "${dev}p1" "/proc/$holder/mountinfo" || break
    sleep 0.1
done
refused 1 "is mounted at $tmp/mnt" nbdimage detach "$dev"
kill "$holder"
wait "$holder" || true

sleep 200 <"${dev}p1" &
holder=$!
refused 1 "${dev}p1 is open in process $holder (sleep)" nbdimage detach "$dev"
kill "$holder"
wait "$holder" || true

modprobe loop
loop=$(losetup -f --show "${dev}p1")
refused 1 "is used by $loop" nbdimage detach "$dev"
losetup -d "$loop"

if modprobe dm-mod 2>/dev/null && command -v dmsetup >/dev/null; then
    echo "0 2048 linear ${dev}p1 0" | dmsetup create --noudevsync held-by-us
    refused 1 "is used by /dev/mapper/held-by-us" nbdimage detach "$dev"
    dmsetup remove --noudevsync held-by-us
fi

mkswap "${dev}p1" >/dev/null
swapon "${dev}p1"
refused 1 "${dev}p1 is swap space" nbdimage detach "$dev"
swapoff "${dev}p1"
detach "$dev"
nothing_left

step "an image that is attached more than once"
for i in 0 1 2; do
    nbdimage attach mbr.vhd /dev/nbd$i >/dev/null
done
refused 1 "say which: /dev/nbd0, /dev/nbd1, /dev/nbd2" nbdimage detach mbr.vhd
detach /dev/nbd2 /dev/nbd0
detach mbr.vhd
nothing_left

step "SIGTERM to the supervisor leaves a disk to its reader"
attach mbr.vhd
sleep 200 <"$dev" &
holder=$!
sleep 0.5
kill -TERM "$(supervisor_pid "$dev")"
sleep 3
same state "$(nbdimage attached --json | jq -r '.[0].state')" live
kill "$holder"
wait "$holder" || true
kill -TERM "$(supervisor_pid "$dev")"
nothing_left

step "what a slow end leaves alone: the state of the next on that device"
attach mbr.vhd /dev/nbd2
server=$(server_pid "$dev")
supervisor=$(supervisor_pid "$dev")
kill -STOP "$server"
kill -TERM "$supervisor"
for ((i = 0; i < 50; i++)); do
    [ -e /sys/block/nbd2/pid ] || break
    sleep 0.1
done
attach cd.iso /dev/nbd2
kill -0 "$supervisor" || fail "it ended before the test began"
for ((i = 0; i < 200; i++)); do
    kill -0 "$supervisor" 2>/dev/null || break
    sleep 0.1
done
! kill -0 "$supervisor" 2>/dev/null || fail "the supervisor does not end"
same state "$(nbdimage attached --json | jq -r '.[0].state')" live
detach cd.iso
nothing_left

step "an image that is being written"
attach --write held.vhd
refused 1 "is being written by another process" nbdimage attach held.vhd
refused 1 "is in use by another process" nbdimage attach --write held.vhd
detach held.vhd

step "without stdout"
sh -c 'nbdimage attach mbr.vhd >&-' 2>/dev/null && fail "it succeeded"
nothing_left
for option in --json --timeout=30; do
    nbdimage attach "$option" mbr.vhd >/dev/full && fail "it succeeded"
    nothing_left
done

step "an image in a folder whose name is no UTF-8"
folder=$tmp/$(printf 'caf\351')
mkdir "$folder"
cp mbr.vhd "$folder/"
attach "$folder/mbr.vhd"
check_files "${dev}p1" ext4 "$images/mbr.vhd.p1.sha256"
nbdimage attached --json >"$tmp/list"
same source "$(jq -r '.[0].source' "$tmp/list")" "$tmp/caf�/mbr.vhd"
detach "$folder/mbr.vhd"
nothing_left

step "an image whose own name is no UTF-8, refused in one sentence"
mv "$folder/mbr.vhd" "$folder.vhd"
nbdimage attach "$folder.vhd" >/dev/null 2>"$tmp/err" && fail "it succeeded"
same "what is said" "$(cat "$tmp/err")" "nbdimage: $tmp/caf?.vhd: the name of \
the export must be UTF-8 without control characters"
rm "$folder.vhd"
nothing_left

# ----------------------------------------------------------------- interrupted

step "Ctrl-C and kill -9 while attaching leave nothing"
for sig in INT TERM KILL; do
    # SIGKILL is late while the kernel looks for partitions by itself.
    delay=1
    [ $sig != KILL ] || delay=200ms
    start_nbdkit --filter=delay memory 1M rdelay=$delay
    nbdimage attach "$uri" >/dev/null 2>&1 &
    pid=$!
    for ((i = 0; i < 600; i++)); do
        [ ! -e /sys/block/nbd0/pid ] || break
        sleep 0.1
    done
    [ -e /sys/block/nbd0/pid ] || fail "it was not even connected"
    kill -$sig "$pid"
    ! wait "$pid" || fail "it succeeded in spite of SIG$sig"
    stop_nbdkit
    nothing_left
done

step "Ctrl-C while a server is silent"
start_nbdkit --filter=delay memory 1M delay-open=100
nbdimage attach "$uri" >/dev/null 2>&1 &
pid=$!
sleep 3
before=$SECONDS
kill -INT "$pid"
! wait "$pid" || fail "it succeeded in spite of SIGINT"
((SECONDS - before < 10)) || fail "Ctrl-C took $((SECONDS - before)) s"
kill -KILL "$nbdkit_pid"
nothing_left

# ---------------------------------------------------------------- the kernel's

step "the module is loaded, and one without partitions is told about"
rmmod nbd
attach mbr.vhd
contains "$tmp/attach.err" "is now"
! grep -q warning "$tmp/attach.err" || fail "that is no warning"
detach "$dev"
rmmod nbd
mkdir "$tmp/sbin"
printf '#!/bin/sh\necho "modprobe: FATAL: no such thing" >&2\nexit 1\n' \
       >"$tmp/sbin/modprobe"
chmod +x "$tmp/sbin/modprobe"
refused 1 "could not be loaded: modprobe: FATAL: no such thing" \
        env PATH="$tmp/sbin:$PATH" nbdimage attach mbr.vhd
refused 3 "damaged.vhd" nbdimage attach damaged.vhd
[ ! -e /sys/module/nbd ] || fail "the module was loaded for a damaged image"
modprobe nbd max_part=0
attach mbr.vhd
contains "$tmp/attach.err" "max_part=0"
detach "$dev"
rmmod nbd
modprobe nbd nbds_max=2
attach mbr.vhd /dev/nbd40
same device "$dev" /dev/nbd40
detach "$dev"
nothing_left

# ------------------------------------------------------------------------ udev

if [ -x /lib/systemd/systemd-udevd ]; then
    step "with udev: the links are there when attach is done"
    /lib/systemd/systemd-udevd --daemon
    for ((i = 0; i < 100; i++)); do
        [ ! -e /run/udev/control ] || break
        sleep 0.1
    done
    for i in 1 2 3; do
        attach mbr.vhd
        [ -e /dev/disk/by-label/nbdimage-ext4 ] ||
            fail "no link /dev/disk/by-label/nbdimage-ext4"
        detach "$dev"
    done
    udevadm control --exit
    nothing_left
fi
echo "passed"
