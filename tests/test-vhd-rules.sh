#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# docs/VHD.md tells the truth about where a rule is checked and what tests it:
# the functions and the tests exist, and so that no rule goes untested, every
# rule has one.

. "$(dirname "$0")/functions.sh"
set -e

cd "$abs_top_srcdir"

# words COLUMN: "LINE WORD" for what stands in `…' in that column of the
# tables of rules.
words ()
{
    awk -F '|' -v column="$1" '
        /^\| rule \|/ { in_table = 1; next }
        !/^\|/ { in_table = 0 }
        in_table && !/^\| ---/ {
            n = split ($(column + 1), part, "`")
            for (i = 2; i <= n; i += 2)
                print FNR, part[i]
            if (n < 2 && column == 4)
                print FNR, "-"
        }' docs/VHD.md
}

find lib -name '*.c' -exec cat {} + >"$tmp/lib"
find tests -name 'test-*.c' -exec cat {} + >"$tmp/tests"
problems=0

problem ()
{
    echo "docs/VHD.md:$*" >&2
    problems=$((problems + 1))
}

nr=0
while read -r line word; do
    nr=$((nr + 1))
    grep -q "^$word (" "$tmp/lib" || problem "$line: no function $word"
done < <(words 2)
[ "$nr" -ge 50 ] || fail "only $nr functions found in docs/VHD.md"

# A test: a function that a program's table has, a bad file, or a case.
nr=0
while read -r line word; do
    nr=$((nr + 1))
    if grep -q "^$word (void \*\*state)" "$tmp/tests" &&
        grep -qE "(TEST|test) *\(?$word\)|^ *\($word\)|\($word\)" \
             "$tmp/tests"; then
        :
    elif grep -qF "{ \"$word\"," tests/damage/bad-vhd-rows.c; then
        :
    elif grep -qE "^ *(opens|refused|begin) $word( |\$)" \
              tests/damage/test-parents.sh; then
        :
    elif [ "$word" = - ]; then
        problem "$line: a rule without a test"
    else
        problem "$line: no test $word"
    fi
done < <(words 4)
[ "$nr" -ge 120 ] || fail "only $nr tests found in docs/VHD.md"

[ "$problems" -eq 0 ] || fail "$problems things in docs/VHD.md are not so"
