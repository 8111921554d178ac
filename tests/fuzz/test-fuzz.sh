#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# In a build with --enable-fuzzing: libFuzzer on each target, from its corpus
# on; $NBDIMAGE_FUZZ_SECONDS each, by default 15, or 300 when NBDIMAGE_LONG is
# set.  What it finds is in fuzz-TARGET-crash-* and so on in the build folder:
# run the target with such a file to see it again.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

cd "$abs_top_builddir"
corpora=$abs_top_srcdir/tests/fuzz/corpus
targets=$(cd "$corpora" && echo *)

: "${NBDIMAGE_FUZZ_SECONDS:=${NBDIMAGE_LONG:+300}}"
: "${NBDIMAGE_FUZZ_SECONDS:=15}"
export NBDIMAGE_FUZZ_SECONDS corpora tmp

# fuzz TARGET
fuzz ()
{
    mkdir -p "$tmp/$1"
    # What is new goes to the first folder.
    "tests/fuzz/fuzz-$1" -max_total_time="$NBDIMAGE_FUZZ_SECONDS" \
        -max_len=16384 -timeout=20 -rss_limit_mb=2048 -use_value_profile=1 \
        -print_final_stats=1 -artifact_prefix="fuzz-$1-" \
        "$tmp/$1" "$corpora/$1" >"$tmp/$1.log" 2>&1 || {
        tail -n 60 "$tmp/$1.log"
        return 1
    }
    grep -E '^(Done|stat::)' "$tmp/$1.log"
}
export -f fuzz

# shellcheck disable=SC2086
printf '%s\n' $targets |
    xargs -P "$(nproc)" -I{} bash -c 'fuzz {}' ||
    fail "a target failed; the input is in $abs_top_builddir"
nr=$(cat "$tmp"/*.log |
    awk '/^stat::number_of_executed_units:/ { nr += $2 } END { print nr + 0 }')
echo "COUNTED: $nr inputs of targets, 0 bad, seed 0"
