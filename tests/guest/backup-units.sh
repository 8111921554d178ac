# SPDX-License-Identifier: GPL-2.0-or-later

# The part of test-restore.sh about the units of systemd, with $disk: systemd
# itself runs a job that is mounted and frozen, one from a snapshot of LVM, and
# one that fails, each in its sandbox.  It is the init of a PID namespace, and
# knows no other units.  The guest's root forgets what is written to it.

step "backups by systemd"
base=/srv/units
home=$PWD
mkdir -p $base/units /etc/nbdimage/backup.d /etc/lvm
cd $base
mkdir mnt vault
mount -t tmpfs none vault
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
cp "$(type -p nbdimage)" /usr/local/bin/nbdimage
for file in "$abs_top_srcdir"/tools/systemd/*.service.in; do
    sed -e 's|@bindir@|/usr/local/bin|' -e 's|@sysconfdir@|/etc|' "$file" \
        >"units/$(basename "$file" .in)"
done
for name in basic local-fs network-online remote-fs shutdown sysinit; do
    printf '[Unit]\nDefaultDependencies=no\n' >units/$name.target
done

# As it comes, but for the udev that is not there: LVM makes nodes itself.
mkdir units/nbdimage-backup@.service.d
printf '[Service]\nCapabilityBoundingSet=CAP_MKNOD\n' \
    >units/nbdimage-backup@.service.d/nodes.conf
cat >/etc/lvm/lvm.conf <<END
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
devices { obtain_device_list_from_udev = 0 }
END
unset LVM_SYSTEM_DIR
modprobe -r dm_snapshot || true
dd if=/dev/zero of="$disk" bs=1M count=8 status=none
pvcreate -q -ff -y "$disk"
vgcreate -q v "$disk"
lvcreate -q -y -L 40M -n frozen v
lvcreate -q -y -L 40M -n snapped v
for name in frozen snapped; do
    mkfs.ext4 -q /dev/v/$name
    mkdir mnt/$name
    mount /dev/v/$name mnt/$name
    head -c 4M /dev/urandom >mnt/$name/data
    case $name in
        frozen) option=--freeze ;;
        snapped) option=--snapshot=lvm ;;
    esac
    cat >/etc/nbdimage/backup.d/$name.conf <<END
SOURCE=/dev/v/$name
VAULT=$base/vault/v
OPTIONS="--name=$name $option"
DISK=$name
END
done
cat >/etc/nbdimage/backup.d/failing.conf <<END
SOURCE=/dev/none
VAULT=$base/vault/v
NOTIFY="cat >$base/told"
END
truncate -s 1M empty
nbdimage backup --init --name=empty empty vault/v >/dev/null

cat >units/all.target <<END
[Unit]
Wants=end.service
END
cat >units/end.service <<END
[Unit]
DefaultDependencies=no
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
ExecStart=/bin/bash $base/jobs
END
cat >jobs <<END
for job in nbdimage-backup@frozen nbdimage-backup@snapped \\
    nbdimage-backup@failing nbdimage-backup-check@frozen; do
    systemctl start \$job.service
    echo "\$job \$?" >>$base/results
done
for ((i = 0; i < 300; i++)); do
    [ ! -s $base/told ] || break
    sleep 0.1
done
END
cat >start <<'END'
exec /lib/systemd/systemd --system --unit=all.target --log-target=console \
    --show-status=no --default-standard-output=null
END
timeout -s KILL 300 env -i "PATH=$PATH" container=guest \
    "SYSTEMD_UNIT_PATH=$base/units" \
    unshare -p -f -m --mount-proc bash start </dev/null || true
cat results
same "results" "$(tr '\n' ' ' <results)" \
    "nbdimage-backup@frozen 0 nbdimage-backup@snapped 0 nbdimage-backup@failing\
 1 nbdimage-backup-check@frozen 0 "
[ -s told ] || fail "nobody was told"
if lvs --noheadings -o lv_name v | grep nbdimage-; then
    fail "a snapshot is left"
fi
for name in frozen snapped; do
    nbdimage convert vault/v/$name -O raw got.raw
    e2fsck -fn got.raw
    debugfs -R 'dump data got' got.raw
    cmp got mnt/$name/data
    rm got.raw got
    umount mnt/$name
done
umount vault
vgchange -q -an v
cd "$home"
