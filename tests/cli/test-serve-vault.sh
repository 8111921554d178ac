#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# serve VAULT: what is in it is announced, can be read, and what comes later
# too; and what is no vault is a folder as before.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires nbdinfo --version
requires nbdcopy --version
cd "$tmp"

# serve ARG...: $serve_pid, and serve.json with the exports.
serve ()
{
    local i

    : >serve.json
    nbdimage serve --json --port 0 "$@" >serve.json 2>serve.err &
    serve_pid=$!
    cleanup_fn stop_pid "$serve_pid"
    for ((i = 0; i < 300; i++)); do
        ! jq -e .uri serve.json >found 2>&1 || [ ! -s found ] || return 0
        kill -0 "$serve_pid" 2>/dev/null || break
        sleep 0.1
    done
    cat serve.err >&2
    fail "serve did not start: $*"
}
uri_of ()
{
    jq -r --arg name "$1" '.exports[] | select (.name == $name).uri' serve.json
}

truncate -s 4M a.img b.img
head -c 1M /dev/urandom | dd of=a.img conv=notrunc status=none
nbdimage backup --init --everything --name='a disk ü' a.img v
serve v
first=$(nbdimage generations --json v | jq -r '.[0].generation')
same exports "$(jq -r '[.exports[].name] | join (" ")' serve.json)" \
    "a disk ü a disk ü@$first"
same description "$(jq -r '.exports[0].description' serve.json)" \
    "backup of $first, 4 MiB"
for name in "a disk ü" "a disk ü@$first"; do
    rm -f got
    nbdcopy "$(uri_of "$name")" got
    cmp got a.img
done

# What is backed up while it is served, and what of it is damaged.
head -c 1M /dev/urandom | dd of=b.img conv=notrunc bs=1M seek=2 status=none
nbdimage backup --everything --name='a disk ü' b.img v
rm -f got
nbdcopy "$(uri_of "a disk ü")" got
cmp got b.img
run=$(find v/files -mindepth 1 -name "*.$first.*")
python3 - "$run"/*.nbi <<'PYTHON'
import sys
with open (sys.argv[1], "r+b") as f:
    f.seek (4096 + 64 + 5)
    byte = f.read (1)[0]
    f.seek (-1, 1)
    f.write (bytes ([byte ^ 1]))
PYTHON
refuses nbdcopy "$(uri_of "a disk ü@$first")" null:
# What nbdkit says comes to us through serve.
for ((i = 0; i < 100; i++)); do
    ! grep -q NBI-40 serve.err || break
    sleep 0.1
done
contains serve.err NBI-40
rm -f got
nbdcopy "$(uri_of "a disk ü")" got
cmp got b.img
stop_pid "$serve_pid"

# For people.
timeout 5 nbdimage serve --port 0 v >out 2>err || :
contains out "backup of $first, 4 MiB"
contains out 'read-only until Ctrl-C'

# A generation is written to through an overlay; a vault never.
for options in --write --throw-away --overlay=x.vhd --overlay-dir=.; do
    status=0
    nbdimage serve --port 0 "$options" v 2>err || status=$?
    same "status of $options" "$status" 2
done
serve --overlay=over.vhd "v/a disk ü"
qemu-io -f raw -c 'write -P 9 0 64k' "$(jq -r .uri serve.json)"
stop_pid "$serve_pid"
serve --overlay=over.vhd "v/a disk ü"
qemu-io -r -f raw -c 'read -P 9 0 64k' "$(jq -r .uri serve.json)"
rm -f got
nbdcopy "$(jq -r .uri serve.json)" got
cmp <(tail -c +65537 got) <(tail -c +65537 b.img)
stop_pid "$serve_pid"
rm -f got
nbdimage convert "v/a disk ü" -O raw got
cmp got b.img

# A vault that lost what it is, is one; a folder that has a folder `files' is
# one of images.
cp -a v w
rm -r w/vault
serve w
same exports "$(jq '.exports | length' serve.json)" 3
stop_pid "$serve_pid"
mkdir -p folder/files
cp a.img folder/a.img
serve folder
same exports "$(jq -r '.exports[].name' serve.json)" a.img
stop_pid "$serve_pid"

# One that has nothing yet.
mkdir -p empty/vault empty/files
cp v/vault/vault.json empty/vault
serve empty
same exports "$(jq '.exports | length' serve.json)" 0
nbdimage backup --everything --name=x a.img empty
rm -f got
nbdcopy "$(jq -r .uri serve.json)" got
cmp got a.img
stop_pid "$serve_pid"

# All of a vault is no image, and how to name one is said.
for command in info convert; do
    options=
    [ $command = info ] || options="-O raw none.img"
    # shellcheck disable=SC2086
    refuses nbdimage $command v $options
    contains "$tmp/refused" 'is a vault; name one disk in it, as v/DISK'
done

# A generation that is named is there for the server as long as it runs, before
# any client; and one that an overlay lies over, for as long as it is kept.
nbdimage backup --init --everything --name=d a.img k
old=$(nbdimage generations --json k | jq -r '.[0].generation')
wait_for () # FIND-ARGUMENTS: until something is found
{
    local i

    for ((i = 0; i < 100; i++)); do
        [ -z "$(find "$@")" ] || return 0
        sleep 0.1
    done
    fail "nothing is found by: find $*"
}
prune ()
{
    nbdimage prune --keep-last=1 --yes "$@" k
}
serve "k/d@$old"
wait_for k/partial -name 'read-*' -not -name '*.new'
nbdimage backup --everything --name=d b.img k
prune
rm -f got
nbdcopy "$(jq -r .uri serve.json)" got
cmp got a.img
stop_pid "$serve_pid"
same leases "$(find k/partial -name 'read-*' | wc -l)" 0
prune
same generations "$(nbdimage generations --json k | jq length)" 1

old=$(nbdimage generations --json k | jq -r '.[0].generation')
serve --overlay=kept.vhd "k/d@$old"
qemu-io -f raw -c 'write -P 9 0 64k' "$(jq -r .uri serve.json)"
stop_pid "$serve_pid"
nbdimage backup --everything --name=d a.img k
prune --dry-run >out
contains out "stays: kept for the overlay $PWD/kept.vhd on"
prune --json >out.json
same "kept for" "$(jq '[.generations[]."kept-for" // empty] | length' out.json)" 1
serve --overlay=kept.vhd "k/d@$old"
rm -f got
nbdcopy "$(jq -r .uri serve.json)" got
cmp <(tail -c +65537 got) <(tail -c +65537 b.img)
stop_pid "$serve_pid"
nbdimage verify k
nbdimage generations k >out
contains out "kept for the overlay $PWD/kept.vhd on"
refuses grep 'is not there' out
rm kept.vhd
nbdimage generations k >out
contains out 'which is not there'
nbdimage generations --json k >out.json
same "in vain" "$(jq '.[0].keeps[0]."in-vain"' out.json)" true
keep=$(jq -r '.[0].keeps[0].id' out.json)
refuses nbdimage generations --release=ffff0 k
nbdimage generations --release="${keep:0:8}" --json k >out.json
same keeps "$(jq '[.[].keeps[]] | length' out.json)" 0
prune
same generations "$(nbdimage generations --json k | jq length)" 1

# A vault that can't be written is served all the same, and says what that means.
# (Without the folder that leases are made in root can't write them either.)
nbdimage verify k >out
contains out 'k: 1 generation in 1 file, '
old=$(nbdimage generations --json k | jq -r '.[0].generation')
mv k/partial aside
serve --overlay=kept.vhd "k/d@$old"
qemu-io -f raw -c 'write -P 9 0 64k' "$(jq -r .uri serve.json)"
stop_pid "$serve_pid"
contains serve.err 'may take this generation away while it is served'
contains serve.err "can't be kept for this overlay"
mv aside k/partial
nbdimage generations k >out
refuses grep kept out
