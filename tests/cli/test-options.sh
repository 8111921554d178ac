#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Commands and options: help, what is wrong said in one sentence, and the
# exit status for it.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires truncate --version

truncate -s 1M "$tmp/disk"

# wrong STATUS SENTENCE ARG...: one line on stderr, nothing on stdout.
wrong ()
{
    local expected=$1 sentence=$2 status=0
    shift 2
    nbdimage "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || status=$?
    cat "$tmp/err"
    same "exit status of: $*" "$status" "$expected"
    contains "$tmp/err" "$sentence"
    same "lines of stderr of: $*" "$(wc -l <"$tmp/err")" 1
    same "stdout of: $*" "$(cat "$tmp/out")" ""
}

wrong 2 'expected a command'
wrong 2 'did you mean ‘info’' inof
wrong 2 'there is no command ‘xyzzy’' xyzzy
wrong 2 'expected a command before the option' --json
wrong 2 'there is no command' help nonsense
wrong 2 'expected one image' info
wrong 2 '--cpus: expected at least 1' boot --cpus 0 "$tmp/disk"
nbdimage --help >"$tmp/out"
contains "$tmp/out" "nbdimage help COMMAND"
wrong 2 'expected one image' info "$tmp/disk" "$tmp/disk"
wrong 2 'there is no option ‘--jsn’; did you mean ‘--json’' info --jsn x
wrong 2 'there is no option ‘--frobnicate’' info --frobnicate x
wrong 2 'there is no option ‘-x’' info -x
wrong 2 '--json takes no argument' info --json=yes x
wrong 2 '--format needs an argument, FORMAT' info x --format
wrong 2 '-f needs an argument, FORMAT' info x -f
wrong 2 'not a rule for the size' info --size=big "$tmp/disk"
wrong 2 'not a rule for the size' serve --size=big "$tmp/disk"
wrong 2 'not a format we know' info --format=qcow9 "$tmp/disk"
wrong 2 'not a format we know' serve --format=qcow9 "$tmp/disk"
wrong 2 'not a format we know' boot --format=qcow9 "$tmp/disk"
wrong 2 'not a rule for the size' attach --size=big "$tmp/disk"
wrong 2 'not a format we know' attach --format=nonsense "$tmp/disk"
wrong 2 '--connections: expected 1 to 16' attach -c 0 "$tmp/disk"
wrong 2 '--connections: expected 1 to 16' attach -c 17 "$tmp/disk"
wrong 2 '--timeout: expected 4 to' attach -t 3 "$tmp/disk"
wrong 2 'is not a number of seconds' attach -t soon "$tmp/disk"
wrong 2 'is a partition' attach "$tmp/disk" /dev/nbd0p1
wrong 2 'is not the name of an NBD device' attach "$tmp/disk" /dev/sda
wrong 2 'expected a device or an image' detach
wrong 2 'expected nothing but options' attached /dev/nbd0
wrong 2 'is not a number' boot --cpus=many x
wrong 2 'is not a size' boot --memory=much x
wrong 2 'did you mean 512M' boot --memory=512 x
wrong 2 'is not an accelerator' boot --accel=warp x
wrong 2 'either --cdrom or --disk' boot --cdrom --disk x
wrong 2 'expected one image' boot -- -m 3
wrong 2 'expected images, a folder or a vault' serve
wrong 2 'either --unix or' serve --unix s --port 3 x
wrong 2 'is not a port' serve --port 65536 x
wrong 2 'is not a port' serve --listen '[::1]:x' x
wrong 2 'a folder is served alone' serve "$tmp" "$tmp/disk"
wrong 2 'either --write or --throw-away' serve -wt x
wrong 1 'say --no-tls' serve --listen 0.0.0.0 "$tmp/disk"
wrong 1 'say --no-tls' serve --listen :: "$tmp/disk"

# A value beside its option or behind "=", letters together, operands and
# options mixed, and an operand that looks like an option.
nbdimage info --format raw "$tmp/disk" >"$tmp/1"
nbdimage info "$tmp/disk" --format=raw >"$tmp/2"
nbdimage info -fraw "$tmp/disk" >"$tmp/3"
nbdimage info "$tmp/disk" -f raw >"$tmp/4"
for i in 2 3 4; do
    cmp "$tmp/1" "$tmp/$i"
done
cp "$tmp/disk" "$tmp/--map"
(cd "$tmp" && nbdimage info -- --map) >"$tmp/5"
contains "$tmp/5" "--map"
contains "$tmp/5" "1 MiB"

# Help goes to stdout and is a success.
for c in $(nbdimage --complete); do
    nbdimage "$c" --help >"$tmp/help.$c" 2>"$tmp/err"
    nbdimage help "$c" | cmp - "$tmp/help.$c"
    nbdimage "$c" -h | cmp - "$tmp/help.$c"
    ! grep -n ' $' "$tmp/help.$c" || fail "--help of $c has trailing blanks"
    contains "$tmp/help.$c" "Usage: nbdimage $c"
    same "stderr of --help" "$(cat "$tmp/err")" ""
    nbdimage --help | grep -q "^  $c  *[A-Z]" || fail "--help lacks $c"
done
nbdimage -h | cmp - <(nbdimage --help)
nbdimage --version | grep -Eq '^nbdimage [0-9]+\.[0-9]+'

# Output that can't be written is no success.
if [ -e /dev/full ]; then
    for words in --help 'info --help' "info $tmp/disk" "info --json $tmp/disk"
    do
        status=0
        # shellcheck disable=SC2086
        nbdimage $words >/dev/full 2>"$tmp/err" || status=$?
        same "status with a full disk" "$status" 1
        same "what is said" "$(cat "$tmp/err")" \
             "nbdimage: writing the output: No space left on device"
    done
fi
