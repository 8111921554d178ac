#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# The units of systemd: systemd has nothing against them, what they run exists,
# with the options that it has, and the example is read as it is meant.

. "$(dirname "$0")/functions.sh"
set -e
set -x

requires systemd-analyze
cd "$tmp"
units=$abs_top_srcdir/tools/systemd

# As installed, but run from where it was built, and with a job.
mkdir -p units etc/nbdimage/backup.d
program=$(type -p nbdimage)
for file in "$units"/*.service.in "$units"/*.timer; do
    name=$(basename "$file" .in)
    sed -e "s|@bindir@/nbdimage|$program|" -e "s|@sysconfdir@|$tmp/etc|" \
        "$file" >"units/$name"
    ! grep '@[a-z]*@' "units/$name" || fail "$name has a word left"
done
for kind in '' -check -failed; do
    systemd-analyze verify --man=no --recursive-errors=no \
        "units/nbdimage-backup$kind@.service" >said 2>&1 ||
        { cat said; fail "verify of nbdimage-backup$kind@.service"; }
    cat said
    ! grep nbdimage-backup said || fail "systemd says something"
done
for kind in '' -check; do
    systemd-analyze verify --man=no --recursive-errors=no \
        "units/nbdimage-backup$kind@.timer" >said 2>&1 ||
        { cat said; fail "verify of nbdimage-backup$kind@.timer"; }
    ! grep nbdimage-backup said || fail "systemd says something"
    # It starts the service of its name.
    [ -e "units/nbdimage-backup$kind@.service" ]
done
grep -q '^OnFailure=nbdimage-backup-failed@%i.service' \
    units/nbdimage-backup@.service units/nbdimage-backup-check@.service

# What they run does what it should: with words as systemd splits them, which a
# shell does the same where nothing is quoted.
truncate -s 1M disk.img
nbdimage backup --init disk.img vault
cp "$units/backup.conf" etc/nbdimage/backup.d/job.conf
sed -i -e "s|^SOURCE=.*|SOURCE=$tmp/disk.img|" \
    -e "s|^VAULT=.*|VAULT=$tmp/vault|" \
    -e 's|^#OPTIONS=.*|OPTIONS="--everything --codec=zstd"|' \
    etc/nbdimage/backup.d/job.conf
# run UNIT
run ()
{
    local line
    line=$(sed -n 's/^ExecStart=//p' "units/$1")
    (set -a
     MAX_AGE=2d
     . etc/nbdimage/backup.d/job.conf
     eval "$line")
}
run nbdimage-backup@.service
nbdimage generations vault >out
same "generations" "$(wc -l <out)" 3
run nbdimage-backup-check@.service

# Too old, or none at all, is a failure.
sleep 4
status=0
nbdimage generations --max-age=1s vault >out 2>err || status=$?
same "status" "$status" 1
contains err 'older than 1s'
nbdimage generations --max-age=1w vault
nbdimage backup --name=other disk.img vault
status=0
nbdimage generations --max-age=1s vault >out 2>err || status=$?
same "status" "$status" 1
contains err '‘disk’'
refuses nbdimage generations --max-age=1w vault none
for wrong in 1 d 0d -1d 1y 1dd ''; do
    status=0
    nbdimage generations --max-age="$wrong" vault 2>err || status=$?
    same "status of ‘$wrong’" "$status" 2
done

# Who is told: what NOTIFY names.
cat >journalctl <<'SH'
#!/bin/sh
echo "the journal: $*"
SH
chmod +x journalctl
line=$(sed -n 's/^ExecStart=//p' units/nbdimage-backup-failed@.service |
       sed 's/\$\$/$/g')
(export JOB=job NOTIFY="tee '$tmp/told it'" PATH="$tmp:$PATH"; eval "$line") >out
contains out 'the backup job failed'
contains 'told it' 'nbdimage-backup@job.service'
(export JOB=job; unset NOTIFY; eval "$line") >out
same "lines" "$(wc -l <out)" 1
