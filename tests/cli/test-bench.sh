#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# bench/run measures everything there is on tiny disks, and its report has it
# all.  How fast anything was is not judged.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires python3
requires fio
requires jq
requires nbdcopy
requires nbdinfo
requires qemu-img
requires qemu-nbd
requires xorriso

bench=$abs_top_srcdir/bench/run

run ()
{
    python3 -B "$bench" --plugin "$NBDIMAGE_PLUGIN" --dir "$tmp/images" \
        --size 8 --repeats 1 --seconds 0.05 "$@"
}

# figures WORKLOAD SUBJECT...
figures ()
{
    local workload=$1 subject
    shift

    case $workload in
        convert*) set -- 'qemu-img convert' 'qemu-img convert again' "$@" ;;
        *) set -- 'file raw' 'file raw again' "$@" ;;
    esac
    for subject in "$@"; do
        jq -e --arg w "$workload" --arg s "$subject" '
            [.results[] | select (.workload == $w and .subject == $s)] |
            length == 1 and .[0].value > 0 and .[0].ratio > 0 and
            .[0].cpu > 0 and .[0].memory > 0' "$tmp/out.json" >/dev/null ||
            fail "no figures of $subject, $workload"
    done
}

# All servers in some workloads, and the others with one each: they take long.
run --only sequential --only 'sparse, ' --only extents --only convert --only open \
    --only '4k-depth-1, image raw' --only '4k-depth-32, image dynamic' \
    --only '64k-depth-1, image vhdx' --only '64k-depth-32, image chain-64' \
    --only 'write-4k-depth-32-over, image dynamic' \
    --only 'write-4k-flush-64-fresh, image fixed' \
    --output "$tmp/out.tsv" --json "$tmp/out.json" >"$tmp/table"
cat "$tmp/table"

figures sequential 'image raw' 'image iso' 'image fixed' 'image dynamic' \
    'image vhdx' 'image chain-2' 'image chain-8' 'image chain-64' \
    'qemu-nbd raw' 'qemu-nbd dynamic' 'qemu-nbd vhdx'
figures sparse 'image raw' 'image fixed' 'image dynamic' 'image vhdx' \
    'qemu-nbd raw' 'qemu-nbd dynamic' 'qemu-nbd vhdx'
figures extents 'image raw' 'image vhdx' 'image chain-64' 'qemu-nbd dynamic'
for kind in dense sparse; do
    for way in 'raw to dynamic' 'dynamic to raw' 'raw to raw'; do
        figures "convert $kind $way" 'nbdimage convert'
    done
done
figures 4k-depth-1 'image raw'
figures 4k-depth-32 'image dynamic'
figures 64k-depth-1 'image vhdx'
figures 64k-depth-32 'image chain-64'
figures write-sequential-fresh 'image raw' 'image fixed' 'image dynamic' \
    'qemu-nbd raw' 'qemu-nbd dynamic' 'qemu-nbd vhdx'
figures write-4k-depth-32-over 'image dynamic'
figures write-4k-flush-64-fresh 'image fixed'
figures 'open 10 GiB' 'image raw' 'image vpc' 'image vhdx' 'qemu-nbd vpc'
jq -e '[.results[] | select (.workload == "open 64 TiB").subject] ==
       ["image vhdx", "qemu-nbd vhdx"]' "$tmp/out.json"
if command -v nbd-server >/dev/null; then
    grep '^# skipped extents, nbd-server raw' "$tmp/out.tsv"
else
    grep '^# skipped nbd-server raw.*not installed' "$tmp/out.tsv"
fi
# Of what can't be written it says so.
[ "$(grep '^# skipped' "$tmp/out.tsv" |
         grep -vc '^# skipped writing, image .*EROFS\|read-only')" -eq 1 ] ||
    fail "something else was skipped"

# The page is the same figures.
python3 -B "$bench" --report "$tmp/out.tsv" >"$tmp/page"
for title in 'ratios of the rates' 'ratios of the rates of writing' sequential 4k-depth-1 extents \
             'open 2040 GiB'; do
    grep -x "## $title" "$tmp/page"
done
for cell in $(jq -r '.results[] | select (.unit == "MiB/s").value' \
                 "$tmp/out.json" | head -n 5); do
    # The measurements were rounded before.
    cell=$(python3 -c "print ('%.4g' % float ('%.6g' % $cell))")
    grep -F "| $cell |" "$tmp/page"
done

# So is the one in docs/.
python3 -B "$bench" --report "$abs_top_srcdir/bench/results.tsv" |
    diff "$abs_top_srcdir/docs/BENCH.md" -

# Images are kept, and not made again.
images ()
{
    find "$tmp/images" -type f -printf '%f %i %T@\n' | sort
}
images >"$tmp/before"
run --only 'sequential, image dynamic' >"$tmp/table"
images | diff "$tmp/before" -
grep 'image dynamic' "$tmp/table"
if grep 'image fixed' "$tmp/table"; then
    fail "--only did not leave out what it should"
fi
