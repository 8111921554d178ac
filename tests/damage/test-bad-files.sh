#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# The bad images as files: `nbdimage info' ends with the status and the words
# that the table has for each, and not by a signal.  What is not what its name
# says, and can be opened as a raw disk, is shown, and is damaged all the same.

. "$(dirname "$0")/../functions.sh"
set -e

images=$tmp/images
mkdir "$images"
"$abs_top_builddir/tests/damage/test-bad-images" --write "$images" \
    >"$tmp/list"
count=0
failed=0
while IFS=$'\t' read -r file code words; do
    count=$((count + 1))
    case $code in
        0) expected=0
           case $words in
               'its name ends in '*) expected=3 ;;
           esac ;;
        EBADMSG) expected=3 ;;
        other) expected=1 ;;
        *) fail "$file: what is '$code'?" ;;
    esac
    status=0
    nbdimage info "$images/$file" >"$tmp/out" 2>"$tmp/err" || status=$?
    if [ "$status" -ne "$expected" ]; then
        echo "$file: exit status $status, expected $expected" >&2
    elif [ -n "$words" ] && ! grep -qF -e "$words" "$tmp/err"; then
        echo "$file: does not say: $words" >&2
    elif [ "$code" = 0 ] && [ ! -s "$tmp/out" ]; then
        echo "$file: is not shown" >&2
    elif [ "$code" != 0 ] && [ -s "$tmp/out" ]; then
        echo "$file: is refused and shown" >&2
    elif [ "$code" != 0 ] && [ "$(grep -cv '^nbdimage: warning: ' "$tmp/err")" -ne 1 ]; then
        echo "$file: is not refused in one line" >&2
    else
        continue
    fi
    cat "$tmp/err" >&2
    failed=$((failed + 1))
done <"$tmp/list"
[ "$count" -ge 450 ] || fail "only $count bad images"
[ "$failed" -eq 0 ] || fail "$failed of $count bad images"
echo "$count bad images"
