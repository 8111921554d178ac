# SPDX-License-Identifier: GPL-2.0-or-later

# What the tests of `attach' share.  They run as root in a guest whose kernel
# has nbd.  Such a script:
#
#   . "$(dirname "$0")/../functions.sh"
#   . "$(dirname "$0")/guest.sh"
#   make_images () { ...into the folder $images... }
#   in_guest SECONDS "$@"         # the rest happens there
#
# and there has $images (a share: what is written there is seen outside).

# requires_guest: what run-in-vm needs
requires_guest ()
{
    local program

    for program in qemu-system-x86_64 busybox cpio modprobe setpriv; do
        requires "$program"
    done
    compgen -G '/boot/vmlinuz-*' >/dev/null || skip "no kernel in /boot"
    [ -z "${NBDIMAGE_ASAN:-}" ] ||
        skip "the sanitizers are too slow in the guest"
}

# What QEMU gets besides: a script's disks, for example, after make_images.
guest_qemu=()

# in_guest SECONDS: outside, run this script in the guest and exit; inside,
# go on.
in_guest ()
{
    local seconds=$1 status=0 argument more=()

    if [ -n "${IN_VM:-}" ]; then
        images=$NBDIMAGE_GUEST_IMAGES
        modprobe nbd || fail "modprobe nbd"
        return
    fi
    requires_guest
    images=$tmp/images
    mkdir "$images"
    make_images
    for argument in "${guest_qemu[@]}"; do
        more+=(-q "$argument")
    done
    "$support/run-in-vm" "${more[@]}" -t "$seconds" -w "$images" \
        -l "${abs_top_builddir}/tests/guest/$(basename "$0").console" \
        -e abs_top_srcdir -e abs_top_builddir -e NBDIMAGE_PLUGIN \
        -e "NBDIMAGE_GUEST_IMAGES=$images" -- "$BASH" "$(realpath "$0")" ||
        status=$?
    exit "$status"
}

# step SENTENCE: what comes now
step ()
{
    echo "== $SECONDS s: $*"
}

# attach ARG...: sets $dev to the device; what was printed is in $tmp/attached
attach ()
{
    nbdimage attach "$@" >"$tmp/attached" 2>"$tmp/attach.err" || {
        local status=$?
        cat "$tmp/attach.err" >&2
        fail "'nbdimage attach $*' failed with status $status"
    }
    dev=$(awk 'NR == 1 { print $1 }' "$tmp/attached")
    [ -b "$dev" ] || fail "'$dev' is not a block device"
}

detach ()
{
    nbdimage detach "$@" 2>"$tmp/detach.err" || {
        cat "$tmp/detach.err" >&2
        fail "'nbdimage detach $*' failed"
    }
}

# refused STATUS SENTENCE COMMAND ARG...: it fails that way and says that
refused ()
{
    local want=$1 sentence=$2 status=0
    shift 2
    "$@" >"$tmp/refused" 2>&1 || status=$?
    sed 's/^/   | /' "$tmp/refused"
    [ "$status" -eq "$want" ] ||
        fail "'$*' ended with status $status, expected $want"
    grep -qF -e "$sentence" "$tmp/refused" ||
        fail "'$*' does not say: $sentence"
}

# same_begin DEVICE FILE: their first bytes are the same
same_begin ()
{
    cmp -n 4194304 "$1" "$2" >&2 || fail "$1 and $2 differ"
}

# check_files DEVICE TYPE SUMS: mount it read-only and compare its files
check_files ()
{
    mkdir -p "$tmp/mnt"
    mount -t "$2" -o ro "$1" "$tmp/mnt"
    (cd "$tmp/mnt" && sha256sum --quiet --strict --check "$3") ||
        fail "the files in $1 are wrong"
    umount "$tmp/mnt"
}

# server_pid DEVICE, supervisor_pid DEVICE
server_pid ()
{
    jq .server.pid "/run/nbdimage/${1#/dev/}.json"
}

supervisor_pid ()
{
    jq .supervisor.pid "/run/nbdimage/${1#/dev/}.json"
}

# The processes of ours that run.
our_processes ()
{
    ps -e -o pid=,comm= | grep -E ' (nbdkit|nbdimage)'
}

# Nothing may be left: no process, no file, no connected device, no task that
# can't be killed.
nothing_left ()
{
    local i left

    for ((i = 0; i < 50; i++)); do
        left=$(our_processes; ls -A /run/nbdimage 2>/dev/null
               cat /sys/block/nbd*/pid 2>/dev/null) || true
        [ -n "$left" ] || break
        sleep 0.1
    done
    [ -z "$left" ] || fail "left behind: $left"
    no_stuck_task
}

# Tasks of the kernel's own sleep like that all the time.
no_stuck_task ()
{
    local i stuck

    for ((i = 0; i < 10; i++)); do
        stuck=$(ps -eo stat=,pid=,ppid=,comm= |
                    awk '$1 ~ /^D/ && $3 != 2') || true
        [ -n "$stuck" ] || return 0
        sleep 0.1
    done
    fail "a task is stuck: $stuck"
}
