#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Backups that are encrypted, by every command: with the passphrase or key file
# they read as the disk; without it, or with another, there is one sentence and
# not a byte; and nothing of the disk stands in the files.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires nbdcopy --version
requires script --version
requires python3
cd "$tmp"

echo 'correct horse battery staple' >pass
echo 'wrong' >wrong
printf 'two\nlines\n' >lines
head -c 64 /dev/urandom >key
head -c 64 /dev/urandom >otherkey
head -c 31 /dev/urandom >short
chmod 600 pass wrong lines key otherkey short

mark='Attack-at-dawn-and-bring-the-cat'
"$support/make-disk.sh" mbr-ext4 disk.img
yes "$mark" | head -c 500000 |
    dd of=disk.img conv=notrunc bs=64k seek=100 status=none
grep -q "$mark" disk.img
cp disk.img disk2.img
head -c 200000 /dev/urandom |
    dd of=disk2.img conv=notrunc bs=64k seek=300 status=none

# refused SENTENCE COMMAND...: status 1, one line with it, nothing on stdout.
refused ()
{
    local sentence=$1 status=0
    shift
    "$@" >refused.out 2>refused.err </dev/null || status=$?
    [ "$status" = 1 ] || fail "status $status of $*"
    [ ! -s refused.out ] || fail "$* printed something"
    grep -v warning: refused.err >refused.errors || true
    [ "$(wc -l <refused.errors)" = 1 ] || fail "not one sentence from $*"
    contains refused.errors "$sentence"
}
same () # FILE1 FILE2
{
    cmp "$1" "$2"
    rm "$1"
}
# Neither the data, nor what the manifest says, nor names.
nothing_plain () # FILE...
{
    for word in "$mark" '"partitions"' '"hash"' '"source"' 'disk.img' \
                'Attack-at'; do
        if grep -raqF -- "$word" "$@"; then
            fail "‘$word’ is in $*"
        fi
    done
    # To see that this finds what is there.
    grep -raqF -- 'a-name' "$@"
}

# --- a key without --encrypt is a mistake, and makes nothing

refused 'with --encrypt' nbdimage backup --passphrase-file=pass \
        --single=plain.nbi disk.img
refused 'with --encrypt' nbdimage backup --key-file=key --single=- disk.img
refused 'with --encrypt' nbdimage backup --init --key-file=key disk.img plain
[ ! -e plain.nbi ] && [ ! -e plain ]

# --- one file

nbdimage backup --encrypt --passphrase-file=pass --codec=none --everything \
         --name=a-name --single=one.nbi disk.img
nothing_plain one.nbi
nbdimage info --passphrase-file=pass one.nbi >info
contains info 'a-name'
nbdimage convert --passphrase-file=pass one.nbi got.img
same got.img disk.img
nbdimage convert --passphrase-fd=7 one.nbi got.img 7<pass
same got.img disk.img
nbdimage check --data --passphrase-file=pass one.nbi
refused 'it is encrypted, and there is no key' \
        setsid -w nbdimage convert one.nbi got.img
refused 'it is encrypted, and this passphrase does not open it' \
        nbdimage convert --passphrase-file=wrong one.nbi got.img
refused 'it is encrypted, and not for a key file' \
        nbdimage convert --key-file=key one.nbi got.img
[ ! -e got.img ]

# What can't be a passphrase or a key.
for options in --passphrase-file=lines --passphrase-file=/dev/null \
               --passphrase-file=nothere --key-file=short \
               --passphrase-fd=x --passphrase-fd=99 \
               "--passphrase-file=pass --key-file=key"; do
    status=0
    # shellcheck disable=SC2086
    nbdimage info $options one.nbi >out 2>/dev/null || status=$?
    [ "$status" = 2 ] || fail "status $status with $options"
    [ ! -s out ]
done

# What everybody may read is told, and taken.
cp key open-key
chmod 644 open-key
nbdimage info --passphrase-file=pass one.nbi 2>err
[ ! -s err ]
nbdimage info --key-file=open-key one.nbi 2>err || true
contains err 'open-key: everybody on this machine can read it'

# By a terminal: asked once, not shown.
nbdimage backup --init --encrypt --passphrase-file=pass --name=a disk.img \
         with-pass
timeout 120 python3 - <<'PYTHON'
import os, pty, signal, sys, termios

def talk (command, lines):
    """What it says, and its status."""
    pid, fd = pty.fork ()
    if pid == 0:
        os.execvp (command[0], command)
    said = b""
    try:
        while True:
            data = os.read (fd, 4096)
            if not data:
                break
            said += data
            if data.rstrip ().endswith (b":") and b"assphrase" in data:
                os.write (fd, lines.pop (0))
    except OSError:
        pass
    return said, os.waitstatus_to_exitcode (os.waitpid (pid, 0)[1])

def shows (tty):
    return termios.tcgetattr (tty)[3] & termios.ECHO != 0

def ask_and (command, act):
    """Acts when it asks; what it said, its status, and that the terminal is as
    it was."""
    fd, tty = pty.openpty ()
    pid = os.fork ()
    if pid == 0:
        os.login_tty (tty)
        os.execvp (command[0], command)
    said = b""
    while b"assphrase" not in said:
        said += os.read (fd, 4096)
    while shows (tty):
        pass
    act (pid, fd)
    status = os.waitstatus_to_exitcode (os.waitpid (pid, 0)[1])
    os.set_blocking (fd, False)
    try:
        while True:
            said += os.read (fd, 4096)
    except BlockingIOError:
        pass
    assert shows (tty), command
    os.close (tty)
    os.close (fd)
    return said, status

right = b"correct horse battery staple\n"
said, status = talk (["nbdimage", "info", "one.nbi"], [right])
assert status == 0 and b"a-name" in said, said
assert b"horse" not in said, said
said, status = talk (["nbdimage", "info", "one.nbi"], [b"no\n"])
assert status == 1 and b"does not open it" in said, said
make = ["nbdimage", "backup", "--encrypt", "--single=tty.nbi", "disk.img"]
said, status = talk (make, [b"one\n", b"another\n"])
assert status == 1 and b"two different passphrases" in said, said
assert not os.path.exists ("tty.nbi")
said, status = talk (make, [right, right])
assert status == 0, said

# Whatever ends it, the terminal shows again what is typed.
info = ["nbdimage", "info", "one.nbi"]
verify = ["nbdimage", "verify", "with-pass"]    # with a thread for signals
_, status = ask_and (info, lambda pid, fd: os.write (fd, b"half\x03"))
assert status == -signal.SIGINT, status
for sig in signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT:
    _, status = ask_and (info, lambda pid, fd: os.kill (pid, sig))
    assert status == -sig, status
for i in range (5):
    said, status = ask_and (verify, lambda pid, fd: os.write (fd, b"\x03"))
    assert status in (1, -signal.SIGINT), (said, status)
    said, status = ask_and (verify, lambda pid, fd: os.kill (pid,
                                                             signal.SIGTERM))
    assert status in (1, -signal.SIGTERM), (said, status)

def stop (pid, fd):
    """Without a shell, which could let it go on, it is not stopped by that."""
    os.write (fd, b"\x1a")
    said = b""
    while b"assphrase" not in said:
        said += os.read (fd, 4096)
    os.write (fd, right)
said, status = ask_and (info, stop)
assert status == 0 and b"a-name" in said, (said, status)

# Nobody is asked for what is not encrypted.
said, status = talk (["nbdimage", "info", "disk.img"], [])
assert status == 0 and b"assphrase" not in said, said
PYTHON
nbdimage convert --passphrase-file=pass tty.nbi got.img
same got.img disk.img

# --- a vault

nbdimage backup --init --everything --encrypt --key-file=key --name=a-name disk.img v
refused 'the vault is encrypted, and there is no key (NBI-125)' \
        setsid -w nbdimage backup --name=a-name disk2.img v
contains refused.err '--passphrase-file or --key-file'
refused 'this key file does not open it' \
        nbdimage backup --key-file=otherkey --name=a-name disk2.img v
nbdimage backup --everything --key-file=key --name=a-name disk2.img v
nothing_plain v
[ "$(jq .encryption v/vault/vault.json)" = 1 ]
[ "$(nbdimage generations --json --key-file=key v | jq length)" = 2 ]
refused 'there is no key' setsid -w nbdimage generations v
contains refused.err '--passphrase-file or --key-file'
nbdimage verify --key-file=key v
refused 'there is no key' setsid -w nbdimage verify v
refused 'nothing was verified' setsid -w nbdimage verify v
refused 'nothing was verified' setsid -w nbdimage verify v/a-name
refused 'nothing was verified' nbdimage verify --key-file=otherkey v/a-name
nbdimage verify --key-file=key v/a-name
nbdimage convert --key-file=key v/a-name got.img
same got.img disk2.img
refused 'there is no key' setsid -w nbdimage convert v/a-name got.img
refused 'does not open it' nbdimage convert --key-file=otherkey v/a-name got.img

# A vault that is not, and a key.
nbdimage backup --init --name=plain disk.img plain
refused 'not encrypted (NBI-12' \
        nbdimage backup --key-file=key --name=plain disk.img plain
refused 'there is a vault already, which is not encrypted' \
        nbdimage backup --init --encrypt --key-file=key disk.img plain
refused 'not encrypted' nbdimage convert --key-file=key plain/plain got.img

# Served: the plugin reads the key itself.
nbdkit -r -U - image vault=v key-file=key \
       --run 'nbdcopy "nbd+unix:///a-name?socket=$unixsocket" got.img'
same got.img disk2.img
nbdkit -r -U - image one.nbi passphrase=+pass --run 'nbdcopy "$uri" got.img'
same got.img disk.img
if nbdkit -r -U - image one.nbi passphrase=secret --run true 2>err; then
    fail "a passphrase on the command line was taken"
fi
contains err 'is seen by everybody'
if nbdkit -r -U - image one.nbi passphrase=+wrong \
          --run 'nbdcopy "$uri" got.img' 2>err; then
    fail "a wrong passphrase was taken"
fi
contains err 'does not open it'

refused 'there is no key' setsid -w nbdimage serve --unix="$tmp/s" v
refused '--passphrase-file can' \
        nbdimage serve --unix="$tmp/s" --passphrase-fd=7 one.nbi 7<pass

# --- copied: the same key, and the same key slots

nbdimage copy --key-file=key v/a-name copy.nbi
nothing_plain copy.nbi
nbdimage convert --key-file=key copy.nbi got.img
same got.img disk2.img
refused 'there is no key' setsid -w nbdimage copy v/a-name copy2.nbi
nbdimage copy --init --key-file=key v/a-name v2
nbdimage verify --key-file=key v2
nbdimage convert --key-file=key v2/a-name got.img
same got.img disk2.img
refused 'not encrypted' nbdimage copy --key-file=key v/a-name plain

# --- copied: another key, or none

nbdimage copy --encrypt --to-key-file=otherkey --key-file=key v/a-name other.nbi
nothing_plain other.nbi
refused 'this key file does not open it' \
        nbdimage convert --key-file=key other.nbi got.img
nbdimage convert --key-file=otherkey other.nbi got.img
same got.img disk2.img
nbdimage check --data --key-file=otherkey other.nbi
# Into a vault that has a key already, and one that gets one.
nbdimage copy --init --encrypt --to-passphrase-file=pass --key-file=key \
         v/a-name v3
[ "$(jq -r .key v3/vault/vault.json)" != "$(jq -r .key v/vault/vault.json)" ]
nbdimage copy --to-passphrase-file=pass --key-file=otherkey other.nbi v3
nbdimage verify --passphrase-file=pass v3
nbdimage convert --passphrase-file=pass v3/a-name got.img
same got.img disk2.img
nothing_plain v3
# From what is not encrypted.
nbdimage copy --to-key-file=key plain/plain v
nbdimage convert --key-file=key v/plain got.img
same got.img disk.img
nbdimage copy --encrypt --to-passphrase-file=pass plain/plain plain.nbi
nbdimage convert --passphrase-file=pass plain.nbi got.img
same got.img disk.img
refused 'the vault is encrypted, and there is no key' \
        setsid -w nbdimage copy plain/plain v
refused 'does not open it' \
        nbdimage copy --to-key-file=otherkey plain/plain v
# And to it, where that is said.
nbdimage copy --decrypt --key-file=key v/a-name bare.nbi
nbdimage convert bare.nbi got.img
same got.img disk2.img
nbdimage check --data bare.nbi
nbdimage copy --decrypt --key-file=key --name=b-name v/a-name plain
nbdimage verify plain
nbdimage convert plain/b-name got.img
same got.img disk2.img
for options in '--encrypt v/a-name v' '--to-key-file=otherkey v/a-name x.nbi' \
               '--init --to-key-file=otherkey v/a-name v4' \
               '--decrypt --encrypt v/a-name x.nbi'; do
    status=0
    # shellcheck disable=SC2086
    setsid -w nbdimage copy --key-file=key $options 2>/dev/null || status=$?
    [ "$status" != 0 ] || fail "copy took $options"
    [ ! -e x.nbi ] && [ ! -e v4 ]
done
refused 'there is no terminal to ask at' \
        setsid -w nbdimage copy --encrypt --key-file=key v/a-name x.nbi
[ ! -e x.nbi ]

# --- what differs

nbdimage diff --json --key-file=key v/a-name other-name.img 2>/dev/null &&
    fail "there is no such image"
first=$(nbdimage generations --json --key-file=key v a-name |
        jq -r '.[0].time' | tr -d ':-')
nbdimage diff --json --key-file=key "v/a-name@$first" v/a-name >by-maps
[ "$(jq -r .compared by-maps)" = maps ]
nbdimage diff --json disk.img disk2.img >by-bytes
[ "$(jq .changed by-maps)" -ge "$(jq .changed by-bytes)" ]
[ "$(jq .changed by-bytes)" -gt 100000 ]
nbdimage diff --json --key-file=key v/a-name disk2.img >same
[ "$(jq .changed same)" = 0 ]
refused 'there is no key' setsid -w nbdimage diff v/a-name disk2.img

# One of two is not encrypted: the key is for the other one, or for none.
for pair in 'v/a-name plain/b-name' 'plain/b-name v/a-name'; do
    # shellcheck disable=SC2086
    nbdimage diff --json --key-file=key $pair >found 2>err
    [ "$(jq -r '"\(.compared) \(.changed)"' found)" = 'bytes 0' ]
    contains err 'plain/b-name: is not encrypted, and is read without the key'
    nbdimage verify --key-file=key --source="${pair#* }" "${pair% *}" 2>err
    contains err 'plain/b-name: is not encrypted, and is read without the key'
done
refused 'neither of the two is encrypted (NBI-124)' \
        nbdimage diff --key-file=key plain/plain plain/b-name
refused 'neither of the two is encrypted (NBI-124)' \
        nbdimage diff --key-file=key disk2.img plain/b-name
refused 'neither of the two is encrypted (NBI-124)' \
        nbdimage verify --key-file=key --source=disk2.img plain/b-name

# --- restored, pruned

truncate -s "$(stat -c %s disk2.img)" target.img
nbdimage restore --yes --key-file=key v/a-name target.img
same target.img disk2.img
refused 'there is no key' setsid -w nbdimage prune --yes --keep-last=1 v
nbdimage prune --yes --keep-last=1 --key-file=key v
[ "$(nbdimage generations --json --key-file=key v a-name | jq length)" = 1 ]
nbdimage verify --key-file=key v
nbdimage convert --key-file=key v/a-name got.img
same got.img disk2.img

# --- salvaged

# One that was cut off in its middle, and its header.
size=$(stat -c %s one.nbi)
head -c $((size / 2)) one.nbi >hurt.nbi
status=0
setsid -w nbdimage salvage --output=saved.nbi hurt.nbi >out 2>err || status=$?
[ "$status" = 1 ]
[ ! -s out ]
contains err 'hurt.nbi: is left out: it is encrypted, and there is no key'
[ ! -e saved.nbi ]
status=0
nbdimage salvage --passphrase-file=wrong --output=saved.nbi hurt.nbi \
         >out 2>err || status=$?
[ "$status" = 1 ]
contains err 'this passphrase does not open it'
[ ! -e saved.nbi ]
status=0
nbdimage salvage --json --passphrase-file=pass --output=saved.nbi hurt.nbi \
         >out 2>err || status=$?
[ "$status" = 1 ]
[ "$(jq '.data > 0 and ."lost-bytes" > 0' out)" = true ]
nothing_plain saved.nbi
refused 'there is no key' setsid -w nbdimage info saved.nbi
# It can't read the partition's beginning, and says so.
nbdimage info --passphrase-file=pass saved.nbi >info || [ $? = 1 ]
contains info 'a-name'
# A vault as a whole; with another key, without one.
cp -r v torn
rm -r torn/vault
for file in torn/files/a-name*/*.root.nbi; do
    head -c 4000 /dev/zero | dd of="$file" bs=4000 conv=notrunc status=none
done
nbdimage salvage --key-file=key --name=a-name --output=saved2.nbi torn
nbdimage convert --key-file=key saved2.nbi got.img
same got.img disk2.img
nbdimage salvage --key-file=key --name=a-name --encrypt \
         --to-passphrase-file=pass --output=saved3.nbi torn
nbdimage convert --passphrase-file=pass saved3.nbi got.img
same got.img disk2.img
nothing_plain saved3.nbi
nbdimage salvage --key-file=key --name=a-name --decrypt --output=saved4.nbi torn
nbdimage convert saved4.nbi got.img
same got.img disk2.img
nbdimage salvage --key-file=key --name=a-name --to-passphrase-file=pass \
         --into=v3 torn
nbdimage convert --passphrase-file=pass v3/a-name got.img
same got.img disk2.img
nbdimage verify --passphrase-file=pass v3
refused 'not encrypted' \
        nbdimage salvage --key-file=key --name=a-name --into=plain torn
