#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Every input that ever was of interest to a fuzz target still is harmless.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

cd "$abs_top_builddir"
nr=0
for corpus in "$abs_top_srcdir"/tests/fuzz/corpus/*/; do
    target=$(basename "$corpus")
    inputs=("$corpus"*)
    [ "${#inputs[@]}" -ge 5 ] || fail "the corpus of $target has only" \
        "${#inputs[@]} files"
    "tests/fuzz/fuzz-$target" "${inputs[@]}"
    nr=$((nr + 1))
done

# A target without a corpus would not be tested.
same "number of targets" "$(ls "$abs_top_srcdir"/tests/fuzz/fuzz-*.c | wc -l)" \
    "$nr"
