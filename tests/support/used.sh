# SPDX-License-Identifier: GPL-2.0-or-later

# For scripts about what file systems use: make one in $disk, compare our map
# with those of others, overwrite what is not used, and look what that breaks.
# Sourced after functions.sh.

requires python3

disk=$tmp/disk
ours=$tmp/ours
theirs=$tmp/theirs
log=$tmp/log
files=$tmp/files

used () { python3 "$support/used.py" "$@"; }

# dump KIND VERDICT: our map of the disk.
dump ()
{
    "$abs_top_builddir/tests/support/used-dump" "$disk" >"$ours"
    grep -q "^$1 $2 " "$ours" || { head -2 "$ours"; exit 1; }
}

# by_partclone KIND exact|more: partclone's map is ours, or inside of it.
by_partclone ()
{
    have "partclone.$1" || return 0
    rm -f "$log"
    "partclone.$1" -D -s "$disk" -O "$log" -L "$tmp/partclone.log" \
        >/dev/null 2>&1
    used log "$ours" "$log" "$2"
}

# spoil: overwrite what is not used.
spoil ()
{
    "$abs_top_builddir/tests/support/used-dump" -z "$disk" >/dev/null
}

# damage COUNT [FROM]: one wrong byte, so often (used-damage.c).
damage ()
{
    "$abs_top_builddir/tests/support/used-damage" "$disk" "$@"
}

# refused KIND SENTENCE: all of the disk is used, because.
refused ()
{
    dump "$1" whole
    sed -n 2p "$ours" | grep -q "$2" || { head -2 "$ours"; exit 1; }
    same "used" "$(stat -c %s "$disk")" "$(awk 'NR == 1 { print $4 }' "$ours")"
}

have () { command -v "$1" >/dev/null || { echo "without $1" >&2; false; }; }

# fresh SIZE: an empty disk that is all zeros.
fresh () { rm -f "$disk"; truncate -s "$1" "$disk"; }

# poke OFFSET BYTES (as for printf)
poke ()
{
    printf "$2" | dd of="$disk" bs=1 seek="$1" conv=notrunc status=none
}

hashes () { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum); }

# Many small files and a larger one: the same in each run.
mkdir -p "$files/many"
python3 - "$files" <<'END'
import random, sys
rng = random.Random(4)
for i in range(60):
    with open(f"{sys.argv[1]}/many/f{i:02}", "wb") as f:
        f.write(rng.randbytes(rng.randint(0, 90000)))
with open(f"{sys.argv[1]}/large", "wb") as f:
    f.write(rng.randbytes(3000000))
END
