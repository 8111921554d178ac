#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# boot: what it decides before QEMU runs, where the screen is above all, and
# how it says so; --json.  With a program in QEMU's place that tells how it was
# called, and for the messages with QEMU itself.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires flock --version
requires qemu-system-x86_64 --version
requires qemu-img --version
requires genisoimage --version

mkdir "$tmp/tmpdir" "$tmp/fake"
export TMPDIR=$tmp/tmpdir
unset DISPLAY WAYLAND_DISPLAY
truncate -s 1M "$tmp/disk.img"
qemu-img convert -f raw -O vpc "$tmp/disk.img" "$tmp/disk.vhd"
genisoimage -quiet -o "$tmp/cd.iso" "$tmp/disk.vhd"

# Its windows are in $windows; it ends with status 7.
cat >"$tmp/fake/qemu-system-x86_64" <<'FAKE'
#!/usr/bin/env bash
if [ "$*" = "-display help" ]; then
    echo "Available display backend types:"
    echo none
    for w in $windows; do echo "$w"; done
    echo "qemu: module ui-ui-x not found" >&2
    exit 0
fi
echo "called with pid $$"
printf '%s\n' "$@"
exit 7
FAKE
chmod +x "$tmp/fake/qemu-system-x86_64"

# with_fake ARG...: what QEMU was called with is in $tmp/args, one on a line.
with_fake ()
{
    local status=0

    PATH=$tmp/fake:$PATH nbdimage boot --accel tcg "$@" \
        >"$tmp/args" 2>"$tmp/err" || status=$?
    same "status" "$status" 7
    same "what is left in TMPDIR" "$(ls -A "$TMPDIR")" ""
}

# The word behind OPTION, "-" if there is none.
behind ()
{
    sed -n "/^$1\$/{n;p;q}" "$tmp/args" | grep . || echo -
}

# No display: VNC, said in one sentence.
export windows="gtk sdl egl-headless"
with_fake "$tmp/disk.img"
display=$(behind -display)
[[ $display =~ ^vnc=127\.0\.0\.1:([0-9]+)$ ]] || fail "-display $display"
same "what is said" "$(cat "$tmp/err")" "nbdimage: there is no window, as \
neither DISPLAY nor WAYLAND_DISPLAY is set; the screen is at \
vnc://127.0.0.1:$((5900 + BASH_REMATCH[1])) (or use --serial or --headless); Ctrl-C ends \
the machine"
grep -qx usb-tablet "$tmp/args" || fail "a pointer without its tablet"

# A display: the window that QEMU has, gtk first, and nothing to say.
for variable in DISPLAY WAYLAND_DISPLAY; do
    (
        export "$variable=x"
        with_fake "$tmp/disk.img"
        same "-display with $variable" "$(behind -display)" gtk
        same "what is said" "$(cat "$tmp/err")" ""
        windows="dbus sdl" with_fake "$tmp/disk.img"
        same "-display without gtk" "$(behind -display)" sdl
    )
done

# A display, and a QEMU that has no window.
DISPLAY=x windows="dbus curses" with_fake "$tmp/disk.img"
contains "$tmp/err" "the package qemu-system-gui is not installed; the screen \
is at vnc://127.0.0.1:"
[[ $(behind -display) = vnc=127.0.0.1:* ]] || fail "not VNC"

# What one left that was killed is removed, what is in use is not.
mkdir "$tmp/old" "$tmp/old/nbdimage-boot."{abcdef,uvwxyz,longer-name}
: >"$tmp/old/nbdimage-boot.abcdef/disk"
exec 8<"$tmp/old/nbdimage-boot.uvwxyz"
flock -x -n 8
status=0
TMPDIR=$tmp/old PATH=$tmp/fake:$PATH nbdimage boot --accel tcg --headless \
    "$tmp/disk.img" >"$tmp/args" 2>"$tmp/err" || status=$?
same "status" "$status" 7
same "what is left" "$(cd "$tmp/old" && echo *)" \
     "nbdimage-boot.longer-name nbdimage-boot.uvwxyz"
exec 8<&-

# No screen, or where the user's arguments for QEMU say.
for option in --headless --serial; do
    DISPLAY=x with_fake "$option" "$tmp/disk.img"
    same "-display with $option" "$(behind -display)" none
    same "what is said" "$(sed -E 's/\((kvm|tcg)\)/(ACCEL)/' "$tmp/err")" \
         "nbdimage: running without a screen (ACCEL); Ctrl-C ends the machine"
done
for more in '-display curses' '-vnc :7' -nographic '--display gtk'; do
    # shellcheck disable=SC2086
    with_fake "$tmp/disk.img" -- $more
    same "what is said with $more" "$(cat "$tmp/err")" ""
    same "times that a screen is given with $more" \
         "$(grep -cE '^--?(display|vnc|nographic)$' "$tmp/args")" 1
done

# --json: one object, before anything of QEMU.
fact ()
{
    same "$1" "$(jq -r "$1" "$tmp/json")" "$2"
}
json_of ()
{
    with_fake --json "$@"
    same "stderr with --json" "$(cat "$tmp/err")" ""
    sed '/^}$/q' "$tmp/args" >"$tmp/json"
    sed '1,/^}$/d' "$tmp/args" >"$tmp/called"
    jq . "$tmp/json" >/dev/null
    # It names the process and the command that then ran.
    same "the first line of QEMU" "$(head -n 1 "$tmp/called")" \
         "called with pid $(jq '."qemu-pid"' "$tmp/json")"
    same "the command" "$(jq -r '.command[1:][]' "$tmp/json")" \
         "$(tail -n +2 "$tmp/called")"
    fact '.command[0]' qemu-system-x86_64
    fact .accelerator tcg
}
json_of "$tmp/disk.vhd"
fact .name "$tmp/disk.vhd"
fact .medium disk
fact .writes thrown-away
fact .firmware bios
fact .memory 2147483648
fact .cpus 1
fact .display vnc
[[ $(jq -r .vnc "$tmp/json") = vnc://127.0.0.1:59[0-9][0-9] ]] ||
    fail "no address of VNC"
[ "$(jq .pid "$tmp/json")" -gt 1 ] || fail "no pid"
# In a backup a CD is one, and a disk is not.
nbdimage backup --init "$tmp/cd.iso" "$tmp/vault"
nbdimage backup "$tmp/disk.vhd" "$tmp/vault"
json_of "$tmp/vault/cd"
fact .medium cd
json_of --disk "$tmp/vault/cd"
fact .medium disk
json_of "$tmp/vault/disk"
fact .medium disk
json_of --write --headless --memory 512M --cpus 3 "$tmp/disk.img"
fact .writes kept
fact .memory 536870912
fact .cpus 3
fact .display none
fact .vnc null
json_of "$tmp/cd.iso" -- -display curses
fact .medium cd
fact .writes none
fact .display null
if [ -r /usr/share/OVMF/OVMF_CODE_4M.fd ]; then
    json_of --uefi "$tmp/cd.iso"
    fact .firmware uefi
fi

# When it can't be written, QEMU does not run.
status=0
PATH=$tmp/fake:$PATH nbdimage boot --json "$tmp/disk.img" \
    >/dev/full 2>"$tmp/err" || status=$?
same "status with a full disk" "$status" 1
contains "$tmp/err" "QEMU was not started"

# Nor when nobody reads it any more, and nothing is left behind.
exec 3> >(:)
wait "$!"
status=0
PATH=$tmp/fake:$PATH nbdimage boot --json "$tmp/disk.img" \
    >&3 2>"$tmp/err" || status=$?
exec 3>&-
same "status without a reader" "$status" 1
contains "$tmp/err" "QEMU was not started"
same "what is left in TMPDIR" "$(ls -A "$TMPDIR")" ""

# Two at the same time, whose QEMUs have not got as far as to listen, do not
# get the same port; one that ended has left its own.
cat >"$tmp/fake/qemu-system-x86_64" <<'FAKE'
#!/usr/bin/env bash
printf '%s\n' "$@"
echo running
exec sleep 600
FAKE
two_boots ()
{
    local pids=() n i

    # What the two before these said must not be taken for theirs.
    rm -f "$tmp/args1" "$tmp/args2"
    for n in 1 2; do
        PATH=$tmp/fake:$PATH nbdimage boot --accel tcg "$tmp/disk.img" \
            >"$tmp/args$n" 2>"$tmp/err$n" &
        pids+=($!)
        cleanup_fn stop_pid "$!"
        for ((i = 0; i < 300; i++)); do
            if grep -qs '^running$' "$tmp/args$n"; then break; fi
            sleep 0.1
        done
        cp "$tmp/args$n" "$tmp/args"
        behind -display >"$tmp/display$n"
        grep '^vnc=127' "$tmp/display$n"
    done
    refuses cmp "$tmp/display1" "$tmp/display2"
    for i in "${pids[@]}"; do stop_pid "$i"; done
}
two_boots
first=$(cat "$tmp/display1")
two_boots
same "-display" "$(cat "$tmp/display1")" "$first"

# QEMU itself takes all that, and is not heard about windows that it has not.
echo quit | timeout -k 20 120 nbdimage boot --accel tcg "$tmp/disk.img" \
    -- -S -monitor stdio >"$tmp/out" 2>"$tmp/err"
same "lines on stderr" "$(wc -l <"$tmp/err")" 1
contains "$tmp/err" "the screen is at vnc://127.0.0.1:"
# It can listen where we said it would.
{ sleep 5; echo info vnc; echo quit; } |
    timeout -k 20 120 nbdimage boot --accel tcg "$tmp/disk.img" \
        -- -S -monitor stdio >"$tmp/out" 2>"$tmp/err"
contains "$tmp/out" "$(grep -o '127\.0\.0\.1:[0-9]*' "$tmp/err")"
# But about what is really wrong.
status=0
timeout -k 20 120 nbdimage boot --headless "$tmp/disk.img" -- -no-such-option \
    >"$tmp/out" 2>"$tmp/err" || status=$?
same "status of QEMU" "$status" 1
contains "$tmp/err" "-no-such-option: invalid option"
same "what is left in TMPDIR" "$(ls -A "$TMPDIR")" ""
