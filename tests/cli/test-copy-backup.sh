#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# copy: a generation in a file and in another vault reads the same, is whole,
# and has the very payloads; what is there already is not copied again; what is
# interrupted leaves nothing that anybody lists.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires python3
requires nbdcopy --version
requires qemu-io --version
cd "$tmp"

as_raw () # IMAGE OUT
{
    rm -f "$2"
    nbdkit -r -U - image "$1" --run "nbdcopy \"\$uri\" $2"
}
hash_of ()
{
    nbdimage info --json "$1" | jq -r '.. | .hash? // empty' | head -1
}
partitions_of ()
{
    nbdimage info --json "$1" | jq -c .partitions
}

"$support/make-disk.sh" mbr-ext4 one1.img
cp one1.img one2.img
head -c 300000 /dev/urandom |
    dd of=one2.img conv=notrunc bs=64k seek=100 status=none
cp one2.img one3.img
head -c 200000 /dev/urandom |
    dd of=one3.img conv=notrunc bs=64k seek=300 status=none
# A codec that copy would not use by itself.
for i in 1 2 3; do
    nbdimage backup --init --name=one --codec=zstd:19 one$i.img v
    as_raw v/one saved$i.img
done
mapfile -t times < <(nbdimage generations --json v | jq -r '.[].generation')

# payloads FILE...: of all chunks, one line for each: its hash, with the codec.
cat >payloads.py <<'PYTHON'
import hashlib, struct, sys
for name in sys.argv[1:]:
    data = open (name, "rb").read ()
    salt = data[144:152]
    for at in range (4096, len (data) - 63, 64):
        head = data[at:at + 64]
        if head[:4] != b"NBIr" or head[8:16] != salt:
            continue
        kind, codec = head[4], head[5]
        off, ordinal, number, stored, plain = \
            struct.unpack ("<QIIII", head[16:40])
        if off == at and kind == 1:
            print (codec, plain, stored,
                   hashlib.sha256 (data[at + 64:at + 64 + stored]).hexdigest ())
PYTHON
payloads ()
{
    python3 payloads.py "$@" | sort
}

# --- one file

for i in 1 2 3; do
    nbdimage copy "v/one@${times[i - 1]}" copy$i.nbi >out
    contains out "copy$i.nbi: "
    as_raw copy$i.nbi got
    cmp got saved$i.img
    nbdimage check copy$i.nbi
    same hash "$(hash_of copy$i.nbi)" "$(hash_of "v/one@${times[i - 1]}")"
    same partitions "$(partitions_of copy$i.nbi)" \
        "$(partitions_of "v/one@${times[i - 1]}")"
    same time "$(nbdimage info --json copy$i.nbi | jq -r .created)" \
        "$(nbdimage info --json "v/one@${times[i - 1]}" | jq -r .created)"
done
payloads v/files/*/*.nbi >all
payloads copy2.nbi >copied
[ "$(wc -l <copied)" -ge 10 ]
grep -q '^2 ' copied            # zstd
# Each is one of the source's, as it is; and once.
comm -23 copied all >others
same "payloads that the source does not have" "$(wc -l <others)" 0
same "payloads twice" "$(uniq -d copied)" ""
# What is a hole, and what was not even saved, stays what it was.
nbdimage diff --json copy2.nbi "v/one@${times[1]}" >out
same "what differs" "$(jq -c '[.compared, .changed]' out)" '["maps",0]'

# To a pipe.
nbdimage copy v/one - | cat >piped.nbi
as_raw piped.nbi got
cmp got saved3.img

# --- another vault

nbdimage copy --init --json "v/one@${times[0]}" w >report
same generation "$(jq -r .generation report)" "${times[0]}"
nbdimage copy "v/one@${times[1]}" w
nbdimage copy --json v/one w >report
same generations "$(nbdimage generations --json w | jq -c '[.[].generation]')" \
    "$(nbdimage generations --json v | jq -c '[.[].generation]')"
for i in 1 2 3; do
    as_raw "w/one@${times[i - 1]}" got
    cmp got saved$i.img
    same hash "$(hash_of "w/one@${times[i - 1]}")" \
        "$(hash_of "v/one@${times[i - 1]}")"
done
nbdimage verify w
# What one has the other has, and nothing twice.
payloads w/files/*/*.nbi >copied
cmp all copied
same "new" "$(jq .new report)" \
    "$(nbdimage generations --json v | jq '.[2].new')"
# Backups go on from it.
nbdimage backup --name=one --json one3.img w >report
same "new" "$(jq .new report)" 0

# A file into a vault, under another name; and again, which is no change.
nbdimage copy --init --name=two copy2.nbi x
nbdimage copy --name=two --json copy2.nbi x >report 2>err
same "new" "$(jq .new report)" 0
contains err 'not older'
[ "$(jq -r .generation report)" != "${times[1]}" ]
same generations "$(nbdimage generations --json x | jq length)" 2
as_raw x/two got
cmp got saved2.img
nbdimage verify x

# --- what could not be read stays that

cat >bad.sh <<'SH'
#!/usr/bin/env bash
case $1 in
    get_size) stat -c %s "$IMAGE" ;;
    pread)
        if (($4 < 3002 * 512 && $4 + $3 > 3000 * 512 ||
             $4 < 4224 * 512 && $4 + $3 > 3968 * 512)); then
            echo "EIO a bad sector" >&2
            exit 1
        fi
        dd if="$IMAGE" iflag=skip_bytes,count_bytes skip="$4" count="$3" \
            status=none ;;
    *) exit 2 ;;
esac
SH
chmod +x bad.sh
head -c 4M /dev/urandom >random.img
export IMAGE=$tmp/random.img
nbdkit -U "$tmp/bad.sock" sh bad.sh --run "nbdimage backup --everything \
    --name=bad --init \"nbd+unix:///?socket=$tmp/bad.sock\" v" || :
nbdimage copy --json v/bad bad.nbi >report
same unreadable "$(jq .unreadable report)" $((258 * 512))
nbdimage check bad.nbi
for sector in 3000 3001 3968 4223; do
    nbdkit -r -U - image bad.nbi --run "qemu-io -r -f raw \
        -c 'read $((sector * 512)) 512' \"\$uri\"" >io 2>&1 || :
    contains io 'Input/output error'
done
part () # FIRST END: sectors, as they were
{
    rm -f got
    nbdkit -r -U - --filter=offset image bad.nbi offset=$(($1 * 512)) \
        range=$((($2 - $1) * 512)) --run 'nbdcopy "$uri" got'
    cmp -n $((($2 - $1) * 512)) --ignore-initial=0:$(($1 * 512)) got random.img
}
part 0 3000
part 3002 3968
part 4224 8192

# --- refused

: >there.nbi
refuses nbdimage copy v/one there.nbi
same size "$(stat -c %s there.nbi)" 0
refuses nbdimage copy one1.img x.nbi
contains "$tmp/refused" 'no backup'
refuses nbdimage copy v/one no-vault
contains "$tmp/refused" '--init'
refuses nbdimage copy v/none x.nbi
refuses nbdimage copy v/one one1.img
mkdir elsewhere
touch elsewhere/file
refuses nbdimage copy v/one elsewhere
refuses nbdimage copy --init v/one elsewhere
status=0
nbdimage copy --name=a/b v/one x.nbi 2>err || status=$?
same "status of a wrong name" "$status" 2
# Chunks of another size than the disk has there.
nbdimage backup --init --everything --name=one --chunk-size=128K random.img y
refuses nbdimage copy v/one y
contains "$tmp/refused" '131072'
[ ! -e x.nbi ]

# Damage is not copied: of a payload, of a file that is not there.
cp -a v damaged
python3 - damaged/files/one."${times[0]}".*/*.nbi <<'PYTHON'
import sys
with open (sys.argv[1], "r+b") as f:
    f.seek (4096 + 64 + 5)
    byte = f.read (1)[0]
    f.seek (-1, 1)
    f.write (bytes ([byte ^ 1]))
PYTHON
status=0
nbdimage copy damaged/one x.nbi 2>err || status=$?
same "exit status" "$status" 3
contains err NBI-40
[ ! -e x.nbi ]
nbdimage generations --json w | jq length >before
refuses nbdimage copy --name=new damaged/one w
nbdimage generations --json w | jq length | diff before -
rm damaged/files/one."${times[0]}".*/*.nbi
refuses nbdimage copy damaged/one x.nbi
contains "$tmp/refused" NBI-131

# --- killed, and told to end

head -c 300M /dev/urandom >huge.img
nbdimage backup --init --everything --name=huge --codec=none huge.img h
list_of ()
{
    nbdimage generations --json w | jq -S .
}
list_of >before
for signal in KILL INT; do
    # As soon as it writes: it would not take long.
    nbdimage copy --threads=1 h/huge w 2>err & pid=$!
    { set +x; } 2>/dev/null
    while kill -0 $pid && ! compgen -G 'w/partial/*/*.part' >parts; do
        :
    done
    set -x
    kill -$signal $pid || :
    status=0
    wait $pid || status=$?
    [ "$status" -ne 0 ] || fail "it was not caught in the middle"
    list_of | diff before -
    nbdimage verify w
    # What is left of it is not taken for the next one's.
    rm -rf w/partial/* w/broken/*
done
nbdimage copy --threads=1 h/huge huge.nbi & pid=$!
# The file has no name yet.
{ set +x; } 2>/dev/null
while written=$(</proc/$pid/io) && [[ ! $written =~ wchar:\ [0-9]{7} ]]; do
    :
done
set -x
kill -INT $pid || :
status=0
wait $pid || status=$?
[ "$status" -ne 0 ] || fail "it was not caught in the middle"
same "what is left" "$(find . -maxdepth 1 -name '*huge.nbi*')" ""
nbdimage copy h/huge w
nbdimage verify w
as_raw w/huge got
cmp got huge.img
