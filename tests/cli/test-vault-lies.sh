#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# What lies in a vault beside backup images, and lies: vault.json, leases and
# keeps that are too long, too deep or have impossible numbers, names that are
# not what they seem.  Each is refused, or passed over, in less than
# 64 MiB of memory, and no backup is deleted.  What is in the images is for
# tests/damage/test-nbi-lies.c.

. "$(dirname "$0")/../functions.sh"
set -e

requires python3
cd "$tmp"

head -c 200000 /dev/urandom >disk.img
truncate -s 1M disk.img
nbdimage backup --init --everything --name=d disk.img vault 2>/dev/null
printf XX | dd of=disk.img bs=1 seek=5000 conv=notrunc status=none
nbdimage backup --everything --name=d disk.img vault 2>/dev/null

NBDIMAGE_SANITIZED=${NBDIMAGE_ASAN:-} python3 - <<'PYTHON'
import json, os, shutil, subprocess, sys

about = json.load (open ("vault/vault/vault.json"))
UUID = "0123456789abcdef0123456789abcdef"
DASHED = "01234567-89ab-cdef-0123-456789abcdef"
lease = {"nbi-lease": 1, "kind": "prune", "uuid": DASHED, "name": "d",
         "generations": [], "host": "elsewhere", "boot": DASHED,
         "pid": 1, "pidns": 1, "pid_start": 1, "ttl": 600}
run = sorted (os.listdir ("vault/files")) [0]

def with_ (old, **new):
    return json.dumps ({**old, **new})

def more (old, text):
    return json.dumps (old)[:-1] + ',"x":' + text + "}"

# Name, whose file, what is in it, what the commands say, and do they succeed?
ABOUT, LEASE, KEEP = "vault/vault.json", "partial/prune-%s/lease.json" % UUID, \
    "files/%s/%s.keep" % (run, UUID)
rows = []

def row (name, file, text, says):
    rows.append ((name, file, text, says))

for file, good, longest, commas, rule in (
        (ABOUT, about, 65536, 1025, "NBI-13"),
        (LEASE, lease, 1 << 20, 65537, "NBI-13")):
    kind = file.split ("/") [0]
    row (kind + "-too-long", file, more (good, '"%s"' % ("a" * longest)), rule)
    row (kind + "-deep", file, more (good, "[" * 33 + "]" * 33), rule)
    row (kind + "-very-deep", file,
         more (good, "[" * 30000 + "]" * 30000), rule)
    row (kind + "-open", file, "[" * 60000, rule)
    row (kind + "-commas", file, more (good, "[1" + ",1" * commas + "]"), rule)
    row (kind + "-twice", file, more (good, '1,"x":1'), rule)
    row (kind + "-empty", file, "", rule)
    row (kind + "-zeros", file, "\0" * 4096, rule)
    row (kind + "-2-to-the-64", file, more (good, "18446744073709551616"),
         rule)
    row (kind + "-1e400", file, more (good, "1e400"), rule)

row ("vault-version", ABOUT, with_ (about, **{"nbi-vault": 2}), "NBI-130")
row ("vault-worm-days", ABOUT, with_ (about, worm_days=2**53), "NBI-130")
row ("vault-worm-negative", ABOUT, with_ (about, worm_days=-1), "NBI-130")
row ("vault-encryption", ABOUT, with_ (about, encryption=255), "NBI-130")
row ("vault-key", ABOUT, with_ (about, key="0" * 33), "NBI-130")
row ("vault-uuid", ABOUT, with_ (about, uuid="x"), "NBI-130")
row ("vault-created", ABOUT, with_ (about, created=2**60), "NBI-130")
row ("lease-ttl-0", LEASE, with_ (lease, ttl=0), "NBI-134")
row ("lease-ttl-max", LEASE, with_ (lease, ttl=2**53), "NBI-134")
row ("lease-pid", LEASE, with_ (lease, pid=-1), "NBI-13")
row ("lease-kind", LEASE, with_ (lease, kind="god"), "NBI-13")
row ("lease-generations", LEASE, with_ (lease, generations=[1]), "NBI-13")
row ("keep-too-long", KEEP, "a" * 20000, None)
row ("keep-deep", KEEP, "[" * 8000 + "]" * 8000, None)
row ("keep-commas", KEEP, "[1" + ",1" * 8190 + "]", None)

most = 0
bad = 0

def complain (*what):
    global bad
    bad += 1
    print (*what, file=sys.stderr)

def command (*args):
    """Its status, and what it said."""
    global most
    with open ("said", "wb") as said:
        p = subprocess.Popen (["nbdimage", *args], stdout=said, stderr=said,
                              stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4 (p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode (status)
    text = open ("said", errors="replace").read ()
    if not os.environ["NBDIMAGE_SANITIZED"]:
        most = max (most, usage.ru_maxrss)
        if usage.ru_maxrss >= 64 * 1024:
            complain (args, usage.ru_maxrss, "KiB")
    if p.returncode < 0 or "Sanitizer" in text or "runtime error" in text:
        complain (args, p.returncode, text)
    return p.returncode, text

def images_of (vault):
    return sorted (os.path.join (folder, name)
                   for folder, _, names in os.walk (vault + "/files")
                   for name in names if name.endswith (".nbi"))

assert len (images_of ("vault")) == 2
for name, file, text, says in rows:
    shutil.rmtree ("lies", ignore_errors=True)
    shutil.copytree ("vault", "lies")
    path = os.path.join ("lies", file)
    os.makedirs (os.path.dirname (path), exist_ok=True)
    with open (path, "w") as f:
        f.write (text)
    if file == LEASE:
        open (os.path.join (os.path.dirname (path), "alive"), "w").close ()
    images = images_of ("lies")
    commands = [command ("generations", "lies"),
                command ("verify", "lies"),
                command ("prune", "--yes", "--keep-last=1", "lies")]
    if says is not None:
        # Who needs it refuses it in one sentence, and deletes nothing.
        status, text = commands [2]
        errors = [line for line in text.splitlines ()
                  if line.startswith ("nbdimage: ")
                  and not line.startswith ("nbdimage: warning: ")]
        if status == 0 or len (errors) != 1 or says not in errors [0] \
                or "lies" not in errors [0]:
            complain (name, "is not refused by prune:", status, text)
        if images_of ("lies") != images:
            complain (name, "prune deleted something")
    else:
        # It counts all the same: the generation stays.
        if commands [0][0] != 0 or commands [2][0] != 0:
            complain (name, commands)
        if not os.path.exists (os.path.join ("lies/files", run)):
            complain (name, "what was kept is gone")
print ("at most", most, "KiB")
print ("COUNTED: %d lies in a vault, %d bad, seed 0" % (len (rows), bad))
sys.exit (bad > 0)
PYTHON
