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
#
# To start a program takes the guest's emulated processor a tenth of a second,
# and one with many libraries a second.  So what is done again and again, and
# what waits, does without: by bash alone.

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

# in_guest SECONDS: outside, run this script in the guest and exit; inside, go
# on.  A slow machine may take twice as long.
in_guest ()
{
    local seconds=$1 status=0 argument more=()

    if [ -n "${IN_VM:-}" ]; then
        images=$NBDIMAGE_GUEST_IMAGES
        mkfifo "$tmp/never"
        exec {never}<>"$tmp/never"
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
    "$support/run-in-vm" "${more[@]}" -t $((2 * seconds)) -w "$images" \
        -l "${abs_top_builddir}/tests/guest/$(basename "$0").console" \
        -e abs_top_srcdir -e abs_top_builddir -e NBDIMAGE_PLUGIN \
        -e "NBDIMAGE_GUEST_IMAGES=$images" -- "$BASH" "$(realpath "$0")" ||
        status=$?
    exit "$status"
}

# pause SECONDS: without a process
pause ()
{
    local nothing

    read -r -t "$1" -u "$never" nothing || true
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
server_pid () { pid_of server "$1"; }
supervisor_pid () { pid_of supervisor "$1"; }

# pid_of WHAT DEVICE
pid_of ()
{
    local state

    state=$(<"/run/nbdimage/${2#/dev/}.json")
    [[ $state =~ \"$1\":\ *\{[^}]*\"pid\":\ *([0-9]+) ]] ||
        fail "there is no process of the $1 in $state"
    echo "${BASH_REMATCH[1]}"
}

# state_is STATE: of the device that is attached, or of the first of them
state_is ()
{
    local list

    list=$(nbdimage attached --json)
    [[ $list =~ \"state\":\ *\"([^\"]*)\" ]] || fail "no state in $list"
    same state "${BASH_REMATCH[1]}" "$1"
}

# look_at_processes: sets $ours to those of ours that run, and $stuck to those
# that can't be killed.  Tasks of the kernel's own sleep like that all the time.
look_at_processes ()
{
    local list stat pid ppid comm

    ours= stuck=
    list=$(ps -eo stat=,pid=,ppid=,comm=)
    while read -r stat pid ppid comm; do
        case $comm in nbdkit*|nbdimage*) ours="$ours $pid $comm";; esac
        if [[ $stat == D* && $ppid != 2 ]]; then
            stuck="$stuck $pid $comm"
        fi
    done <<<"$list"
}

# Nothing may be left: no process, no file, no connected device, no task that
# can't be killed.
nothing_left ()
{
    local i file left ours stuck

    for ((i = 0; i < 50; i++)); do
        left=
        for file in /run/nbdimage/{*,.[!.]*} /sys/block/nbd*/pid; do
            [ ! -e "$file" ] || left="$left $file"
        done
        if [ -z "$left" ]; then
            look_at_processes
            left=$ours
        fi
        [ -n "$left" ] || break
        pause 0.1
    done
    [ -z "$left" ] || fail "left behind:$left"
    [ -z "$stuck" ] || no_stuck_task
}

no_stuck_task ()
{
    local i ours stuck

    for ((i = 0; i < 10; i++)); do
        look_at_processes
        [ -n "$stuck" ] || return 0
        pause 0.1
    done
    fail "a task is stuck:$stuck"
}
