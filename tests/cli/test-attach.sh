#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# attach where it refuses, which needs no kernel with nbd: in which order it
# looks, and what it offers instead.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires qemu-img
requires nbdfuse
requires setpriv
requires script --version

cd "$tmp"
chmod 755 "$tmp"
qemu-img create -q -f vpc disk.vhd 64M
qemu-io -f vpc -c 'write -P 0x5a 1M 3M' disk.vhd
cp disk.vhd "it's a disk.vhd"

# A user who is not root, in a folder that everybody can look into.
# A build that counts lines would complain that it can't write them where it was
# built.
cp "$(command -v nbdimage)" "$tmp/nbdimage"
mkdir -m 777 "$tmp/counts"
user=(nbdimage)
[ "$(id -u)" -ne 0 ] ||
    user=(env GCOV_PREFIX="$tmp/counts" setpriv --reuid 65534 --clear-groups
          "$tmp/nbdimage")

status=0
"${user[@]}" attach --size=current "it's a disk.vhd" 2>"$tmp/err" || status=$?
cat "$tmp/err"
same "status for a user" "$status" 1
contains "$tmp/err" "nbdimage: only root can attach"
same "lines of stderr" "$(wc -l <"$tmp/err")" 2

# What it offers works as it stands, plugin and all, in any shell.
sed -n 's/^nbdimage: without a kernel device: //p' "$tmp/err" >"$tmp/hint"
contains "$tmp/hint" "$NBDIMAGE_PLUGIN"
contains "$tmp/hint" "size=current"
can_mount ()
{
    [ -w /dev/fuse ] || return 1
    [ "$(id -u)" -ne 0 ] || return 0
    command -v fusermount3 >/dev/null
}
if can_mount; then
    mkdir "$tmp/FOLDER"
    qemu-img convert -f vpc -O raw disk.vhd disk.raw
    (cd "$tmp" && sh -c "exec $(cat "$tmp/hint")") &
    fuse_pid=$!
    cleanup_fn stop_pid "$fuse_pid"
    for ((i = 0; i < 300; i++)); do
        [ ! -e "$tmp/FOLDER/nbd" ] || break
        kill -0 "$fuse_pid" || fail "the offer does not work"
        sleep 0.1
    done
    same_bytes "$tmp/FOLDER/nbd" disk.raw
    stop_pid "$fuse_pid"
fi

# The rest only root gets to see.
[ "$(id -u)" -eq 0 ] || exit 0

mkdir "$tmp/sbin"
cat >"$tmp/sbin/modprobe" <<'END'
#!/bin/sh
echo "modprobe: FATAL: it was asked for $*" >&2
exit 1
END
chmod +x "$tmp/sbin/modprobe"

# refused STATUS SENTENCE ARG...: in one line, without a look for the module.
refused ()
{
    local expected=$1 sentence=$2 status=0
    shift 2
    PATH=$tmp/sbin:$PATH nbdimage attach "$@" 2>"$tmp/err" || status=$?
    cat "$tmp/err"
    same "status of: attach $*" "$status" "$expected"
    contains "$tmp/err" "$sentence"
    same "lines of stderr of: attach $*" "$(wc -l <"$tmp/err")" 1
}
refused 1 "missing.vhd: No such file" missing.vhd
refused 1 "--parent-path: " --parent-path="$tmp/nowhere" disk.vhd
nbdimage create saved.vhd 1M
make_saved_state saved.vhd
refused 1 "it belongs to the saved state" --write saved.vhd
cp disk.vhd damaged.vhd
printf 'XX' | dd of=damaged.vhd bs=1 seek=$((512 + 600)) conv=notrunc \
                 status=none
refused 3 "dynamic header" damaged.vhd

# A warning has the name of the image once, as it was typed.
head -c -512 disk.vhd >cut.vhd
status=0
PATH=$tmp/sbin:$PATH nbdimage attach --write cut.vhd 2>"$tmp/err" || status=$?
cat "$tmp/err"
same "the warning" "$(head -n 1 "$tmp/err")" "nbdimage: warning: cut.vhd: \
there is no VHD footer at the end, the file may have been cut off; using the \
copy at offset 0"
nbdimage info cut.vhd >"$tmp/out" 2>"$tmp/err.info"
same "the warning of info" "$(grep footer "$tmp/err.info")" \
     "$(head -n 1 "$tmp/err")"
nbdimage info "$tmp/cut.vhd" >"$tmp/out" 2>"$tmp/err.info"
contains "$tmp/err.info" "nbdimage: warning: $tmp/cut.vhd: there is no VHD"

# The reason that lasts comes before the one that passes: in use.
start_nbdkit -r image saved.vhd
nbdinfo --size "$uri"
refused 1 "it belongs to the saved state" --write saved.vhd
stop_nbdkit

# Why there is no kernel client: modprobe's own reason, once.
if [ ! -e /sys/module/nbd ]; then
    status=0
    PATH=$tmp/sbin:$PATH nbdimage attach disk.vhd 2>"$tmp/err" || status=$?
    cat "$tmp/err"
    same "status without the module" "$status" 1
    same "the reason" "$(head -n 1 "$tmp/err")" "nbdimage: the kernel has no \
NBD client, and its module nbd could not be loaded: modprobe: FATAL: it was \
asked for nbd"
    contains "$tmp/err" "nbdfuse"
fi

# Nothing is attached: silence in a script, one sentence on a terminal.
if [ "$(nbdimage attached --json)" = "[]" ]; then
    nbdimage attached >"$tmp/out" 2>&1
    same "attached in a script" "$(cat "$tmp/out")" ""
    script -qec 'nbdimage attached' /dev/null </dev/null >"$tmp/out"
    same "attached on a terminal" "$(tr -d '\r' <"$tmp/out")" \
         "nbdimage: nothing is attached"
fi
