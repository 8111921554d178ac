#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# demo and check: what they say before they install or build anything.

. "$(dirname "$0")/functions.sh"
set -e
set -x

mkdir "$tmp/folder"
for script in demo check; do
    "$abs_top_srcdir/$script" --help >"$tmp/out" 2>"$tmp/err"
    contains "$tmp/out" "usage: ./$script"
    same "stderr of $script --help" "$(cat "$tmp/err")" ""
    refuses "$abs_top_srcdir/$script" one two
    contains "$tmp/refused" "usage: ./$script"
    refuses "$abs_top_srcdir/$script" --no-such-option
    contains "$tmp/refused" "usage: ./$script"
done

# An image that is not there is named as it was typed, from wherever.
cd "$tmp/folder"
for name in ../missing.vhd missing.vhd "$tmp/missing.vhd"; do
    refuses "$abs_top_srcdir/demo" "$name"
    same "what it says" "$(cat "$tmp/refused")" "demo: there is no $name"
done
