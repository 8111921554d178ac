# SPDX-License-Identifier: GPL-2.0-or-later

# The part of test-restore.sh about backup --snapshot=lvm, with $disk.  The
# snapshot never stays, however the command ends.

if ! command -v lvcreate >/dev/null || ! modprobe dm_snapshot 2>/dev/null; then
    echo "no LVM here"
    return 0
fi

step "a logical volume that is mounted"
mkdir lvm
export LVM_SYSTEM_DIR=$tmp/lvm LVM_SUPPRESS_FD_WARNINGS=1
cat >lvm/lvm.conf <<END
backup { backup = 0 archive = 0 }
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
devices { obtain_device_list_from_udev = 0 }
END
sgdisk -Z "$disk" >/dev/null 2>&1 || true
dd if=/dev/zero of="$disk" bs=1M count=8 status=none
pvcreate -q -ff -y "$disk"
vgcreate -q v "$disk"
lvcreate -q -y -L 40M -n some-lv v
lv=/dev/v/some-lv
mkfs.ext4 -q "$lv"
mount "$lv" mnt
head -c 8M /dev/urandom >mnt/data
cp mnt/data .

has_snapshot ()
{
    lvs --noheadings -o lv_name v | grep -q nbdimage-
}

# no_snapshot: soon
no_snapshot ()
{
    for ((i = 0; i < 100; i++)); do
        has_snapshot || return 0
        sleep 0.1
    done
    fail "a snapshot is left: $(lvs v)"
}

refused 1 '--snapshot=lvm' nbdimage backup --single=x.nbi "$lv"
refused 1 'mounted for writing' nbdimage backup --single=x.nbi "$disk"
refused 1 'is no logical volume' \
    nbdimage backup --snapshot=lvm --single=x.nbi "$other"
lvcreate -q -y -l 100%FREE -n filler v
refused 1 'lvcreate: ' nbdimage backup --snapshot=lvm --single=x.nbi "$lv"
lvremove -q -y v/filler
(while :; do
     date +%N >mnt/one
     cp mnt/one mnt/two
     rm mnt/one
 done) & writer=$!
cleanup_fn sh -c "kill $writer 2>/dev/null || :"
nbdimage backup --snapshot=lvm --json --single=x.nbi "$lv" >result
kill $writer
wait $writer || true
no_snapshot
same "name" "$(jq -r .disk result)" some-lv
nbdimage convert x.nbi -O raw x.raw
e2fsck -fn x.raw
debugfs -R 'dump data got' x.raw
cmp got data
rm x.raw got

mkfifo pipe
# begin ARG...: a backup that goes on only when its pipe is read
begin ()
{
    nbdimage backup --everything --codec=none --threads=1 --single=- \
        --snapshot=lvm "$@" "$lv" >pipe 2>err & pid=$!
    exec 8<pipe
    # There is data only once there is a snapshot, and Ctrl-C is heeded.
    head -c 1 <&8 >/dev/null
    ! has_snapshot || return 0
    cat err
    fail "there is no snapshot"
}

# finish STATUS: read the rest
finish ()
{
    local status=0

    cat <&8 >/dev/null
    exec 8<&-
    wait $pid || status=$?
    cat err
    same "status" "$status" "$1"
    no_snapshot
}

begin
kill -KILL $pid
finish 137

# Who keeps it is killed: then it is removed without; and after Ctrl-C as well.
begin
kill -KILL "$(pgrep -P $pid -o)"
kill -INT $pid
finish 1
contains err 'interrupted'

# More is written than it has room for.
begin --snapshot-size=4M
head -c 12M /dev/zero | tr "\\0" x >mnt/data
sync
finish 1
contains err 'is lost'
umount mnt
nbdimage backup --single=y.nbi "$lv" >/dev/null

step "a thin logical volume that is mounted"
lvremove -q -y v/some-lv
modprobe dm_thin_pool
lvcreate -q -y -L 60M -T v/pool
lvcreate -q -y -V 80M -T v/pool -n thin-lv
lv=/dev/v/thin-lv
mkfs.ext4 -q "$lv"
mount "$lv" mnt
cp data mnt
nbdimage backup --snapshot=lvm --json --single=z.nbi "$lv" >result
no_snapshot
same "name" "$(jq -r .disk result)" thin-lv
nbdimage convert z.nbi -O raw z.raw
e2fsck -fn z.raw
debugfs -R 'dump data got' z.raw
cmp got data
rm z.raw got
# It lasts however much is written meanwhile: the pool has the room.
begin
head -c 16M /dev/zero | tr "\\0" x >mnt/data
sync
finish 0
umount mnt
vgchange -q -an v
