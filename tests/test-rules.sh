#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# docs/VHD.md, VHDX.md and ISO.md tell the truth about where a rule is checked
# and what tests it: the functions and the tests exist, and so that no rule
# goes untested, every rule has one.  Of docs/NBI.md, whose rules have numbers,
# every rule by which a function over memory refuses is expected by a test.

. "$(dirname "$0")/functions.sh"
set -e

cd "$abs_top_srcdir"

# words DOCUMENT COLUMN: "LINE WORD" for what stands in `…' in that column of
# the tables of rules.
words ()
{
    awk -F '|' -v column="$2" '
        /^\| rule \|/ { in_table = 1; next }
        !/^\|/ { in_table = 0 }
        in_table && !/^\| ---/ {
            n = split ($(column + 1), part, "`")
            for (i = 2; i <= n; i += 2)
                print FNR, part[i]
            if (n < 2 && column == 4)
                print FNR, "-"
        }' "$1"
}

find lib -name '*.c' -exec cat {} + >"$tmp/lib"
find tests -name 'test-*.c' -exec cat {} + >"$tmp/tests"

# "bat: state 4" for the row "state 4" of the table broken_bat[] of a unit test.
awk '
    match ($0, /broken_[a-z_]+\[\] = \{/) {
        table = substr ($0, RSTART + 7, RLENGTH - 13)
    }
    /^};/ { table = "" }
    table != "" && match ($0, /^  \{ "[^"]*",/) {
        print table ": " substr ($0, 6, RLENGTH - 7)
    }' tests/unit/test-*.c >"$tmp/rows"
problems=0

problem ()
{
    echo "$*" >&2
    problems=$((problems + 1))
}

# A function that a program's table has, a row of such a function, a bad file,
# a case, or a script.
is_test ()
{
    {
        grep -qE "^$1 \((void \*\*state\)|\$)" "$tmp/tests" &&
            grep -qE "(TEST|test|T) *\(?$1\)|^ *\($1\)|\($1\)" "$tmp/tests"
    } || grep -qF "{ \"$1\"," tests/damage/bad-vhd-rows.c ||
        grep -qF "{ \"$1\"," tests/damage/bad-vhdx.c ||
        grep -qxF "$1" "$tmp/rows" ||
        grep -qE "^ *(opens|refused|begin) $1( |\$)" \
            tests/damage/test-parents.sh ||
        { [[ $1 = test-*.sh ]] && grep -qE "/$1( |\$)" \
            tests/*/Makemodule.am; }
}

# check DOCUMENT FUNCTIONS TESTS: it names at least as many of each.
check ()
{
    local line word nr=0

    while read -r line word; do
        nr=$((nr + 1))
        grep -q "^$word (" "$tmp/lib" || problem "$1:$line: no function $word"
    done < <(words "$1" 2)
    [ "$nr" -ge "$2" ] || fail "only $nr functions found in $1"

    nr=0
    while read -r line word; do
        nr=$((nr + 1))
        if [ "$word" = - ]; then
            problem "$1:$line: a rule without a test"
        else
            is_test "$word" || problem "$1:$line: no test $word"
        fi
    done < <(words "$1" 4)
    [ "$nr" -ge "$3" ] || fail "only $nr tests found in $1"
}

check docs/VHD.md 50 120
check docs/VHDX.md 45 150
check docs/ISO.md 35 70

# docs/NBI.md numbers its rules.  Those that the code refuses by are there, and
# each by which a function over memory refuses (the codecs) is expected, as
# "NBI-17", by a unit test.
refused_by ()
{
    sed -nE 's/.*nbi_(refuse|refuse_as|beyond) \(err, ([0-9]+),.*/\2/p
             s/.*\(NBI-([0-9]+)\).*/\1/p' "$@" | sort -nu
}

sed -nE 's/^\| NBI-([0-9]+) \|.*/\1/p' docs/NBI.md | sort -n >"$tmp/nbi"
[ "$(wc -l <"$tmp/nbi")" -ge 90 ] || fail "too few rules found in docs/NBI.md"
while read -r rule; do
    problem "docs/NBI.md: NBI-$rule is there twice"
done < <(uniq -d "$tmp/nbi")
while read -r rule; do
    grep -qx "$rule" "$tmp/nbi" || grep -qF "(NBI-$rule)." docs/NBI.md ||
        problem "lib/repo: docs/NBI.md has no NBI-$rule"
done < <(refused_by lib/repo/*.c)
nr=0
while read -r rule; do
    nr=$((nr + 1))
    grep -q "\"NBI-$rule\"" "$tmp/tests" ||
        problem "lib/repo: no unit test expects NBI-$rule"
done < <(refused_by lib/repo/nbi*.c lib/repo/payload.c lib/repo/crypt*.c)
[ "$nr" -ge 70 ] || fail "only $nr rules found in the codecs"

[ "$problems" -eq 0 ] || fail "$problems things in the documents are not so"
