#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# verify --boot: a generation runs until its serial port says something, or its
# screen has settled; what that was is said, and nothing is left.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires qemu-system-x86_64 --version
requires grub-mkimage --version
requires test -r /usr/lib/grub/i386-pc/boot.img
cd "$tmp"

mkdir "$tmp/tmpdir"
export TMPDIR=$tmp/tmpdir

# boot STATUS ARG...: generous, since this is emulated on a machine that may be
# busy.  The JSON is in `json'.
boot ()
{
    local status=0 expected=$1
    shift
    timeout -k 20 300 nbdimage verify --json --boot --accel=tcg "$@" \
            </dev/null >json 2>err || status=$?
    cat json err
    same "exit status" "$status" "$expected"
    same "what is left in TMPDIR" "$(ls -A "$TMPDIR")" ""
}

# GRUB in the first sectors of a disk, with its commands built in.
grub_disk ()
{
    cat >grub.cfg
    grub-mkimage -O i386-pc -o core.img -c grub.cfg -p / \
                 serial terminal echo halt biosdisk minicmd
    cat /usr/lib/grub/i386-pc/boot.img core.img >"$1"
    truncate -s 4M "$1"
}

# It says who it is, on both, and turns itself off.
grub_disk serial.img <<END
serial --unit=0 --speed=115200
terminal_output serial console
echo THE-MARKER-OF-THE-OLDER-ONE
halt
END
nbdimage backup --init --everything --name=d serial.img v
older=$(nbdimage generations --json v | jq -r '.[0].time' | tr -d ':-')
# Another one stays at its prompt.
grub_disk prompt.img <<END
echo "Something that is longer than a cursor: a line of text on the screen."
END
nbdimage backup --everything --name=d prompt.img v

boot 0 --boot-marker=MARKER-OF-THE "v/d@$older"
same "verdict" "$(jq -c '[.whole, .boot.verdict, .boot.screenshot]' json)" \
     '[true,"marker",null]'
boot 1 --boot-marker=MARKER-OF-ANOTHER "v/d@$older"
same "verdict" "$(jq -c '[.whole, .boot.verdict]' json)" '[true,"ended"]'

# The newest has no serial port that says anything, but a screen.
boot 0 --boot-settle=2 --screenshot=shot.ppm v/d
same "verdict" "$(jq -c '[.boot.verdict, .boot.screenshot]' json)" \
     '["settled","shot.ppm"]'
same "screenshot" "$(head -c 2 shot.ppm)" P6
boot 1 --boot-settle=600 --boot-timeout=2 --screenshot=shot.png --structure v/d
same "verdict" "$(jq -r '.boot.verdict' json)" timeout

# Ctrl-C, while it runs.
nbdimage verify --boot --boot-marker=never --accel=tcg --structure \
         --progress=json v/d >out 2>progress </dev/null &
pid=$!
cleanup_fn stop_pid "$pid"
for ((i = 0; i < 600; i++)); do
    ! grep -q booting progress || break
    sleep 0.1
done
grep -q booting progress || fail "it was never started"
kill -INT "$pid"
status=0
wait "$pid" || status=$?
same "exit status" "$status" 1
contains out 'tables and maps looked at: whole'
contains out 'boot: interrupted'
same "what is left in TMPDIR" "$(ls -A "$TMPDIR")" ""

# What is damaged is not run, nor what can't be.
cp -a v bad
bad=$(find "bad/files/d.$older".* -name '*.nbi')
printf 'XXXX' | dd of="$bad" bs=1 seek=4200 conv=notrunc status=none
boot 3 --boot-marker=x "bad/d@$older"
same "verdict" "$(jq -r '.boot.verdict' json)" not-run
touch there
boot 1 --screenshot=there v/d
contains err 'there'
boot 1 v
contains err 'v/DISK'
for bad in --boot-marker=x --screenshot=x --uefi "--boot --boot-marker=" \
           "--boot --accel=x"; do
    status=0
    nbdimage verify $bad v/d 2>err || status=$?
    same "exit status of $bad" "$status" 2
done

# The machine is another process: it reads the passphrase itself.
echo "a passphrase" >pass
nbdimage backup --init --encrypt --passphrase-file=pass --everything --name=d \
         serial.img e
boot 0 --passphrase-file=pass --boot-marker=OLDER-ONE --structure e/d
exec 5<pass
boot 1 --passphrase-fd=5 e/d
contains err 'needs --passphrase-file'

# Who is slow to end, and goes on talking, has time for it; and what was
# verified is named by its time, whatever the folder is called.
mkdir fake a@b
cp -a v a@b
cat >fake/qemu-system-x86_64 <<'FAKE'
#!/usr/bin/env bash
if [ "$*" = "-display help" ]; then
    exit 0
fi
yes "a line of many" 2>/dev/null & talker=$!
trap 'sleep 1; kill $talker; exit 0' TERM
tr '\0' ' ' </proc/$PPID/cmdline
wait
FAKE
chmod +x fake/qemu-system-x86_64
PATH=$tmp/fake:$PATH boot 0 --boot-marker="a@b/v/d@2" --structure a@b/v/d
