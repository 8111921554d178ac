#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# The table at the end of `make check-long' adds up what tests say that they
# tried, and fails when it should.

. "$(dirname "$0")/functions.sh"
set -e
set -x

cd "$tmp"
touch long-times.began
mkdir -p tests other/tests
# A file made in the same tick would not be newer.
sleep 0.05

# log NAME RESULT LINE...
log ()
{
    local name=$1 result=$2
    shift 2
    printf '%s\n' "noise" "$@" >"$name.log"
    echo ":global-test-result: $result" >"$name.trs"
}

# table ARG...: what it prints is in $tmp/table
table ()
{
    bash "$support/long-table" long-times "$@" >"$tmp/table"
}

log tests/one PASS "COUNTED: 1200 crash states, 0 bad, seed 7" \
    "COUNTED: 30 faults, 0 bad, seed 0"
log tests/two.sh PASS "COUNTED: 800 crash states, 0 bad, seed 8"
log tests/skipped SKIP
log other/tests/three PASS "COUNTED: 5 inputs of targets, 0 bad, seed 0"
printf '%8d %s\n' 61400 tests/one 900 tests/two.sh 2000 tests/three >long-times

all=(tests/one tests/two.sh tests/skipped other/:tests/three)
table 2000 'crash states' 30 faults -- "${all[@]}"
cat table
grep -qE '^tests/one +PASS +61 +1200 crash states +0 +7$' table
grep -qE '^ +30 faults +0 +-$' table
grep -qE '^tests/skipped +SKIP' table
grep -qE '^tests/three +PASS +2 +5 inputs of targets +0 +-$' table
grep -qE '^ +2000  crash states$' table
grep -qE '^ +0  bad$' table

# Fewer than there must be, and none at all.
refuses table 2001 'crash states' -- "${all[@]}"
contains table "fewer than 2001 crash states"
refuses table 1 operations -- "${all[@]}"
contains table "fewer than 1 operations"

# A test that failed, or did not run.
log tests/two.sh FAIL "COUNTED: 800 crash states, 0 bad, seed 8"
refuses table -- "${all[@]}"
grep -qE '^tests/two.sh +FAIL' table
rm tests/two.sh.log tests/two.sh.trs
refuses table -- "${all[@]}"
grep -qE '^tests/two.sh +none' table

# Something was bad, whatever the test made of it.
log tests/two.sh PASS "COUNTED: 800 crash states, 1 bad, seed 8"
refuses table -- "${all[@]}"
grep -qE '^ +1  bad$' table

# What an earlier run left there.
log tests/two.sh PASS "COUNTED: 800 crash states, 0 bad, seed 8"
table -- "${all[@]}"
touch -d '1 hour ago' tests/two.sh.log
refuses table -- "${all[@]}"
