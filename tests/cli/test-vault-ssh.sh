#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A vault on another machine: a real sshd on this one.  What commands do with
# it, whom they trust, and what comes of a connection that breaks.

. "$(dirname "$0")/../functions.sh"
. "$support/sshd.sh"
set -e
set -x

requires jq
requires test -x "$sshd_program"
requires ssh-keygen
grep -q 'HAVE_LIBSSH 1' "$abs_top_builddir/config.h" ||
    skip "built without libssh"
cd "$tmp"

# fails SENTENCE COMMAND ARG...
fails ()
{
    local sentence=$1
    shift
    refuses "$@"
    contains refused "$sentence"
}

sshd_start
vault=$(sshd_uri "$tmp/vault" lag=0)

# ------------------------------------------------------- what commands do
head -c 5M /dev/urandom >disk.img
truncate -s 8M disk.img
fails "there is no such folder" nbdimage generations "$vault"
fails "there is no vault; --init makes one" \
      nbdimage backup --everything disk.img "$vault"
nbdimage backup --init --everything disk.img "$vault" >said
# What it says is a name of it.
said=$(sed 's/: 8 MiB.*//' said)
nbdimage convert "$said" -O raw said.raw
cmp disk.img said.raw
cp disk.img first.img
printf 'something else' | dd of=disk.img bs=1 seek=3000000 conv=notrunc
nbdimage backup --everything disk.img "$vault"
nbdimage generations --json "$vault" >list
same "generations" "$(jq length list)" 2
nbdimage verify "$vault"
# It is what a folder would be.
nbdimage verify vault
mapfile -t times < <(jq -r '.[].generation' list)

gen ()
{
    echo "ssh://127.0.0.1:$sshd_port$tmp/vault/disk${1:+@$1}?lag=0"
}
nbdimage info --json "$(gen)" >info
same "size" "$(jq .size info)" $((8 * 1024 * 1024))
nbdimage convert "$(gen)" -O raw second.raw
cmp disk.img second.raw
nbdimage convert "$(gen "${times[0]}")" -O raw first.raw
cmp first.img first.raw
truncate -s 8M target.img
nbdimage restore --yes "$(gen "${times[0]}")" target.img
cmp first.img target.img
nbdimage diff "$(gen "${times[0]}")" "$(gen "${times[1]}")" || [ $? = 1 ]
nbdimage copy "$(gen)" one.nbi
nbdimage convert one.nbi -O raw one.raw
cmp disk.img one.raw
nbdimage copy --init "$(gen)" "$(sshd_uri "$tmp/copies" lag=0)"
nbdimage copy "$(gen)" vault-here --init
nbdimage verify "$(sshd_uri "$tmp/copies" lag=0)"

# What is damaged is saved anew by what verify says.
here=$(sshd_uri "$tmp/vault-here/disk" lag=0)
python3 - vault-here/files/*/*.nbi <<'PYTHON'
import sys
f = open (sys.argv[1], "r+b")
f.seek (1000000)
b = f.read (1)
f.seek (-1, 1)
f.write (bytes ([b[0] ^ 1]))
PYTHON
nbdimage verify "$here" >out || same "exit status" $? 3
cure=$(sed -n 's/^  \(nbdimage backup .*\) SOURCE / \1 disk.img /p' out)
eval "$cure --everything" 2>err
contains err '1 chunk of files/disk.'
nbdimage verify "$here"
nbdimage convert "$here" -O raw here.raw
cmp disk.img here.raw
nbdimage prune --keep-last 1 --yes "$vault"
same "generations left" \
     "$(nbdimage generations --json "$vault" | jq length)" 1
nbdimage verify "$vault"
nbdimage convert "$(gen)" -O raw third.raw
cmp disk.img third.raw

# A server that goes into the background after it connected.
nbdkit -U - image vault="$vault" --run '
    nbdinfo --list "$uri" && nbdcopy "$uri" nbdkit.raw'
cmp disk.img nbdkit.raw
nbdkit -U "$tmp/sock" -P "$tmp/pid" image vault="$vault"
cleanup_fn sh -c "kill \$(cat '$tmp/pid') || :"
nbdcopy "nbd+unix:///disk?socket=$tmp/sock" background.raw
cmp disk.img background.raw

nbdimage serve --json --unix "$tmp/served" "$vault" >serving &
server=$!
cleanup_fn stop_pid "$server"
for _ in {1..200}; do
    [ ! -s serving ] || break
    sleep 0.05
done
nbdcopy "nbd+unix:///disk?socket=$tmp/served" served.raw
cmp disk.img served.raw

# An encrypted one.
head -c 32 /dev/urandom >key
chmod 600 key
nbdimage backup --init --encrypt --key-file=key --everything disk.img \
         "$(sshd_uri "$tmp/secret" lag=0)"
secret=$(sshd_uri "$tmp/secret/disk" lag=0)
fails "it is encrypted" nbdimage convert "$secret" -O raw secret.raw </dev/null
nbdimage convert --key-file=key "$secret" -O raw secret.raw
cmp disk.img secret.raw
nbdimage copy --key-file=key --decrypt --init "$secret" \
         "$(sshd_uri "$tmp/plain" lag=0)"
nbdimage verify plain

# ------------------------------------------------------------ whom to trust
cp ssh/known_hosts known.good
: >ssh/known_hosts
fails "the host's key is not in known_hosts" nbdimage generations "$vault"
grep -q "ssh-keyscan -p $sshd_port" refused
grep -q "$(ssh-keygen -lf ssh/host.pub | cut -d' ' -f2)" refused
[ ! -s ssh/known_hosts ]
echo "[127.0.0.1]:$sshd_port $(cut -d' ' -f1,2 ssh/host2.pub)" >ssh/known_hosts
fails "not the one in known_hosts" nbdimage generations "$vault"
# Whatever the configuration says of asking.
cp ssh/config config.good
echo "    StrictHostKeyChecking no" >>ssh/config
fails "not the one in known_hosts" nbdimage generations "$vault"
: >ssh/known_hosts
fails "the host's key is not in known_hosts" nbdimage generations "$vault"
[ ! -s ssh/known_hosts ]
cp known.good ssh/known_hosts
sed "s,/ssh/id,/ssh/other," config.good >ssh/config
fails "does not let us in" nbdimage generations "$vault"
cp config.good ssh/config
: >ssh/known_hosts
fails "the host's key is not in known_hosts" \
      nbdimage serve --unix "$tmp/not-served" "$vault"
cp known.good ssh/known_hosts
fails "a password in it could be read" \
      nbdimage generations "ssh://me:secret@127.0.0.1$tmp/vault"
nbdimage generations "$vault"
