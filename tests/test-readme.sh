#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# What README tells people to type exists: the commands of nbdimage with
# their options, the scripts, and the places it names.

. "$(dirname "$0")/functions.sh"
set -e

cd "$abs_top_srcdir"

# Lines that are typed: "    $ nbdimage info --map disk.vhd".
sed -nE 's/^    ([$#] )?(nbdimage|nbdkit) /\2 /p' README >"$tmp/typed"
[ "$(grep -c ^nbdimage "$tmp/typed")" -ge 9 ] ||
    fail "README has only $(grep -c ^nbdimage "$tmp/typed") commands"

known=" $(nbdimage --complete | tr '\n' ' ') "
grep '^nbdimage [a-z]' "$tmp/typed" | sed 's/^nbdimage: .*//' >"$tmp/commands"
while read -r _ command arguments; do
    [ -n "$command" ] || continue
    case $known in
        *" $command "*) ;;
        *) fail "README: there is no nbdimage $command" ;;
    esac
    nbdimage "$command" --help >"$tmp/help"
    for word in $arguments; do
        case $word in
            --) break ;;
            --*) grep -qE -e "(^|[ ,])${word%%=*}([ =]|$)" "$tmp/help" ||
                     fail "README: nbdimage $command has no ${word%%=*}" ;;
        esac
    done
    echo "$command" >>"$tmp/told"
done <"$tmp/commands"

# And none is forgotten.
for command in $known; do
    grep -qx "$command" "$tmp/told" ||
        fail "README does not show nbdimage $command"
done

# In the text: `--write'.
grep -oE '`--[a-z-]+`' README | tr -d '`' | sort -u >"$tmp/options"
[ -s "$tmp/options" ] || fail "README names no options"
for command in $known; do
    nbdimage "$command" --help
done >"$tmp/all-help"
while read -r option; do
    grep -qE -e "(^|[ ,])$option([ =]|$)" "$tmp/all-help" ||
        fail "README: no command has $option"
done <"$tmp/options"

# The scripts and folders.
for place in demo check packages COPYING; do
    grep -qE "(^|[ \`/(])$place" README || fail "README does not name $place"
    [ -e "$place" ] || fail "README names $place, which is not there"
done
sed -n '/^## Where/,/^## [^W]/s/^    \([a-z]*\)\/ .*/\1/p' README >"$tmp/folders"
[ "$(wc -l <"$tmp/folders")" -ge 5 ] || fail "README names too few folders"
while read -r folder; do
    [ -d "$folder" ] || fail "README names the folder $folder/"
done <"$tmp/folders"
for folder in lib plugin server tools tests docs; do
    grep -qx "$folder" "$tmp/folders" || fail "README does not name $folder/"
done
