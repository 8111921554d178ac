#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Every header compiles on its own, after config.h, and may be included twice.

. "$(dirname "$0")/functions.sh"
set -e

[ -n "$CC" ] || skip "run me through make check, which says how to compile"

status=0
count=0
cd "$abs_top_srcdir"
for header in $(find lib plugin server tools tests -name '*.h' | sort); do
    count=$((count + 1))
    printf '#include <config.h>\n#include "%s"\n#include "%s"\n' \
        "$header" "$header" >"$tmp/one.c"
    # $CC and the flags are several words.
    # shellcheck disable=SC2086
    $CC $NBDIMAGE_TEST_CFLAGS -I"$abs_top_builddir" -I"$abs_top_srcdir" \
        -Werror -fsyntax-only "$tmp/one.c" || {
        echo "$header does not compile on its own" >&2
        status=1
    }
done
[ "$count" -ge 20 ] || fail "only $count headers found"
exit "$status"
