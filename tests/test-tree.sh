#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# What every source file keeps to: a licence line, no path of the machine it
# was written on, 80 columns and no tabs in C, scripts that parse.

. "$(dirname "$0")/functions.sh"
set -e

cd "$abs_top_srcdir"

problems=$tmp/problems
: >"$problems"

find . \( -name .git -o -name autom4te.cache -o -path './build*' -o -path './_*' \
          -o -path './nbdimage-*' \) -prune -o -type f \
     \( -name '*.[ch]' -o -name '*.sh' -o -name '*.am' -o -name '*.ac' \
        -o -name '*.pod' -o -name '*.py' -o -name 'nbdimage-*.m4' \
        -o -path ./demo -o -path ./check -o -path ./.ci/run \
        -o -path ./packages -o -path './tools/*.bash' \
        -o -path './tests/support/run-*' \) -print | sort >"$tmp/files"
[ "$(wc -l <"$tmp/files")" -ge 40 ] || fail "too few source files found"

while read -r file; do
    # A POD has it in a comment paragraph, a script after "#!".
    head -n 4 "$file" | grep -q 'SPDX-License-Identifier: GPL-2.0-or-later' ||
        echo "$file: no SPDX line at its top" >>"$problems"
    if grep -nF -e "$abs_top_srcdir/" -e "$abs_top_builddir/" "$file"; then
        echo "$file: names a path of this machine" >>"$problems"
    fi
    if grep -nE '[[:space:]]$' "$file"; then
        echo "$file: white space at the end of a line" >>"$problems"
    fi
    case $file in
        *.[ch])
            if grep -n "$(printf '\t')" "$file"; then
                echo "$file: a tab" >>"$problems"
            fi
            if grep -nE '^.{81}' "$file"; then
                echo "$file: more than 80 columns" >>"$problems"
            fi
            ;;
    esac
    if head -n 1 "$file" | grep -qE '^#!.*(bash|sh)$'; then
        bash -n "$file" 2>>"$problems" || true
        [ -x "$file" ] || echo "$file: is not executable" >>"$problems"
    fi
done <"$tmp/files"

if [ -s "$problems" ]; then
    cat "$problems" >&2
    fail "$(wc -l <"$problems") things that do not belong in the tree"
fi
