# SPDX-License-Identifier: GPL-2.0-or-later

# What test scripts share, in the manner of nbdkit's.  A script begins:
#
#   #!/usr/bin/env bash
#   # SPDX-License-Identifier: GPL-2.0-or-later
#   # What this tests.
#
#   . "$(dirname "$0")/../functions.sh"
#   set -e
#   set -x
#
# and then has:
#
#   $tmp              a private folder, removed at the end
#   $samples          real images (may be absent: use `sample')
#   $abs_top_srcdir, $abs_top_builddir, $NBDIMAGE_PLUGIN
#   nbdimage          of this build, first in $PATH
#   nbdkit            with `image' meaning the plugin of this build
#
# Exit status: 0 passed, 77 skipped (after a reason was printed), 99 the test
# itself is broken, anything else failed.
#
# Scripts run by themselves too: from the build folder, `bash
# SOURCE/tests/cli/test-x.sh'.

# Not make's: it may end in "build/..".
abs_top_srcdir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 99
if [ -z "${abs_top_builddir:-}" ]; then
    abs_top_builddir=$PWD
    if [ ! -e "$abs_top_builddir/config.status" ]; then
        echo "$0: run me in the build folder, or set abs_top_builddir" >&2
        exit 99
    fi
fi
: "${NBDIMAGE_PLUGIN:=$abs_top_builddir/.libs/nbdkit-image-plugin.so}"
: "${NBDIMAGE_SAMPLES:=$abs_top_srcdir/../shared/samples}"
export abs_top_srcdir abs_top_builddir NBDIMAGE_PLUGIN NBDIMAGE_SAMPLES
samples=$NBDIMAGE_SAMPLES
support=$abs_top_srcdir/tests/support

# One language in all messages, and the programs that only root usually sees.
export LC_ALL=C.UTF-8
export PATH="$abs_top_builddir:$PATH:/usr/sbin:/sbin"

# ---------------------------------------------------------------- the end

_cleanup=()

# cleanup_fn COMMAND ARG...
# Run it when the script ends, however it ends; the last one first.  Not from
# within $(...): a subshell forgets it.
cleanup_fn ()
{
    local quoted
    printf -v quoted '%q ' "$@"
    _cleanup+=("$quoted")
}

_run_cleanup ()
{
    local i
    trap '' INT TERM HUP
    for ((i = ${#_cleanup[@]} - 1; i >= 0; i--)); do
        eval "${_cleanup[i]}"
    done
    trap - EXIT
    exit "$_status"
}
# Not in the log: its end should be where the script ended.
trap '{ _status=$?; set +ex; } 2>/dev/null; _run_cleanup' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

tmp=$(mktemp -d "${TMPDIR:-/tmp}/nbdimage-test.XXXXXX") || exit 99
cleanup_fn rm -rf "$tmp"

# What is kept of compressed images is not to outlive the test.
export XDG_CACHE_HOME=$tmp/cache

# ------------------------------------------------------ reasons not to run

# skip REASON...
# In a subshell, x=$(sample ...), `set -e' carries it outwards.
skip ()
{
    echo "SKIP: $0: $*" >&2
    exit 77
}

# fail REASON...
fail ()
{
    echo "FAIL: $0: $*" >&2
    exit 1
}

# requires PROGRAM              it must be there
# requires COMMAND ARG...       it must succeed
requires ()
{
    if [ "$#" -eq 1 ]; then
        command -v "$1" >/dev/null || skip "the program '$1' is not installed"
    elif ! "$@" </dev/null >"$tmp/requires.log" 2>&1; then
        cat "$tmp/requires.log" >&2
        skip "'$*' failed"
    fi
}

requires_root ()
{
    [ "$(id -u)" -eq 0 ] || skip "this must run as root"
}

# loop FILE [OPTION]: sets $device to a loop device of it, until the end
loop ()
{
    device=$(losetup --find --show "${@:2}" "$1") || skip "no loop devices"
    cleanup_fn _end_loop "$device" "$(realpath "$1")"
    # Whoever had it before may have left it read-only.
    blockdev --setrw "$device"
}

# Unless it was detached before and is another's now.
_end_loop ()
{
    local file
    file=$(losetup --list --noheadings --output BACK-FILE "$1" 2>/dev/null)
    [ "${file% (deleted)}" != "$2" ] || losetup --detach "$1"
}

# sample NAME
# Unpack ../shared/samples/NAME.xz (NAME like vhd/ext2.vhd) and print where it
# is.  Samples keep their folder, so unpack a parent and its child, and they
# lie beside each other.  The copy may be written to.
sample ()
{
    local to=$tmp/samples/$1
    if [ ! -e "$to" ]; then
        mkdir -p "$(dirname "$to")"
        if [ -e "$samples/$1.xz" ]; then
            xz -dc "$samples/$1.xz" >"$to" || exit 99
        elif [ -e "$samples/$1" ]; then
            cp "$samples/$1" "$to" && chmod u+w "$to" || exit 99
        elif [ -d "$samples" ]; then
            echo "$0: no sample $1 in $samples" >&2
            exit 99
        else
            skip "samples are absent ($samples)"
        fi
    fi
    echo "$to"
}

# ------------------------------------------------------------------ nbdkit

# A program of that name first in $PATH, so that `nbdimage serve' finds it
# too: it knows our plugin by name, and in a build with sanitizers loads their
# library before the plugin needs it.
_make_nbdkit ()
{
    local real asan=

    # A script that runs itself again finds the one of its first run in $PATH.
    real=${NBDIMAGE_REAL_NBDKIT:-$(command -v nbdkit)} || return 0
    export NBDIMAGE_REAL_NBDKIT=$real
    if [ -n "${NBDIMAGE_ASAN:-}" ]; then
        # Leaks are the unit tests' business: here they would be nbdkit's.
        # libp11-kit, which nbdkit has through GnuTLS, waits forever in its
        # destructor unless it is loaded right after the sanitizer.
        asan="LD_PRELOAD=$NBDIMAGE_ASAN:libp11-kit.so.0"
        asan="$asan ASAN_OPTIONS=detect_leaks=0:\$ASAN_OPTIONS"
    elif [ -n "${NBDIMAGE_TSAN:-}" ]; then
        asan="LD_PRELOAD=$NBDIMAGE_TSAN:libp11-kit.so.0"
    fi
    mkdir -p "$tmp/bin"
    cat >"$tmp/bin/nbdkit" <<END
#!/usr/bin/env bash
seen=
before=
args=()
for a in "\$@"; do
    # What nbdkit runs can't be expected to get on with the library.
    [ "\$before" != --run ] || a="unset LD_PRELOAD ASAN_OPTIONS; \$a"
    before=\$a
    if [ -z "\$seen" ] && [ "\$a" = image ]; then
        a='$NBDIMAGE_PLUGIN'
    fi
    [ "\$a" != '$NBDIMAGE_PLUGIN' ] || seen=1
    args+=("\$a")
done
# Others' plugins have no use for it; the scripts of some would be slowed down.
[ -n "\$seen" ] || exec '$real' "\${args[@]}"
exec env $asan '$real' "\${args[@]}"
END
    chmod +x "$tmp/bin/nbdkit"
    export PATH="$tmp/bin:$PATH"
}
_make_nbdkit

_nr_nbdkit=0

# start_nbdkit ARG...
# For example: start_nbdkit -r --filter=cow image "$tmp/disk.vhd"
# It returns when nbdkit accepts connections, with $sock (its socket), $uri
# (of the default export) and $nbdkit_pid; $nbdkit_log has its messages.  It
# is ended with the script, or by stop_nbdkit.
start_nbdkit ()
{
    local i pidfile

    requires nbdkit
    _nr_nbdkit=$((_nr_nbdkit + 1))
    sock=$tmp/nbdkit$_nr_nbdkit.sock
    pidfile=$tmp/nbdkit$_nr_nbdkit.pid
    nbdkit_log=$tmp/nbdkit$_nr_nbdkit.log
    uri="nbd+unix:///?socket=$sock"

    nbdkit -f -P "$pidfile" -U "$sock" "$@" 2>"$nbdkit_log" &
    nbdkit_pid=$!
    cleanup_fn stop_pid "$nbdkit_pid"
    for ((i = 0; i < 300; i++)); do
        if [ -s "$pidfile" ]; then
            return 0
        fi
        if ! kill -0 "$nbdkit_pid" 2>/dev/null; then
            break
        fi
        sleep 0.1
    done
    cat "$nbdkit_log" >&2
    fail "nbdkit did not start: $*"
}

stop_nbdkit ()
{
    stop_pid "$nbdkit_pid"
    no_races
}

# no_races: of threads of the last server, that the thread sanitizer saw.
no_races ()
{
    [ -n "${NBDIMAGE_TSAN:-}" ] || return 0
    ! grep -q 'WARNING: ThreadSanitizer' "$nbdkit_log" || {
        cat "$nbdkit_log" >&2
        fail "threads of nbdkit disturb each other"
    }
}

# export_uri NAME
# The URI of an export of the last server that start_nbdkit started.
export_uri ()
{
    echo "nbd+unix:///$1?socket=$sock"
}

# stop_pid PID
# End a process that this script started, at the latest after 10 s with KILL.
stop_pid ()
{
    local i

    kill "$1" 2>/dev/null || return 0
    for ((i = 0; i < 100; i++)); do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    echo "$0: process $1 did not end by itself" >&2
    kill -KILL "$1" 2>/dev/null || true
}

# change_files FOLDER: somebody changes files there all the time, until
# end_changes
change_files ()
{
    rm -f "$tmp/end-changes"
    (set +x
     until [ -e "$tmp/end-changes" ]; do
         date +%N >"$1/one"
         cp "$1/one" "$1/two"
         rm "$1/one"
     done) & writer=$!
    cleanup_fn sh -c "kill $writer 2>/dev/null || :"
}

# Not killed: what it runs would go on for a moment, and keep FOLDER busy.
end_changes ()
{
    touch "$tmp/end-changes"
    wait "$writer"
}

# eventually COMMAND...: it succeeds within ten seconds
eventually ()
{
    local i

    for ((i = 0; i < 100; i++)); do
        ! "$@" || return 0
        sleep 0.1
    done
    fail "still fails: $*"
}

# --------------------------------------------------------------- compare

# same WHAT FOUND EXPECTED
same ()
{
    [ "$2" = "$3" ] || fail "$1 is '$2', expected '$3'"
}

# same_bytes FILE FILE
same_bytes ()
{
    cmp "$1" "$2" >&2 || fail "$1 and $2 differ"
}

# make_saved_state FILE
# A dynamic VHD becomes one that is not written to: by its footers it belongs
# to the saved state of a virtual machine.
make_saved_state ()
{
    local at byte sum bytes
    for at in 0 $(($(stat -c %s "$1") - 512)); do
        read -ra bytes < <(od -An -v -tu1 -j $((at + 64)) -N 4 "$1")
        sum=0
        for byte in "${bytes[@]}"; do
            sum=$((sum * 256 + byte))
        done
        bytes=$(printf '\\x%s' $(printf '%08x' $((sum - 1)) | fold -w 2))
        printf "$bytes" | dd of="$1" bs=1 seek=$((at + 64)) conv=notrunc \
                             status=none
        printf '\x01' | dd of="$1" bs=1 seek=$((at + 84)) conv=notrunc \
                             status=none
    done
}

# contains FILE STRING
contains ()
{
    grep -qF -e "$2" "$1" || { cat "$1" >&2; fail "$1 does not say: $2"; }
}

# refuses COMMAND ARG...
# It must fail, without being ended by a signal; its messages are in
# $tmp/refused.
refuses ()
{
    local status=0

    "$@" >"$tmp/refused" 2>&1 || status=$?
    cat "$tmp/refused"
    [ "$status" -ne 0 ] || fail "it succeeded but should not: $*"
    [ "$status" -lt 126 ] || fail "it ended with status $status: $*"
}
