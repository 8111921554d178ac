#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# The man page has all parameters of the plugin, and no others.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires nbdkit
pod=$abs_top_srcdir/plugin/nbdkit-image-plugin.pod

nbdkit --help image | sed -n '/^\[file=\]/,$p' | grep -oE '^\[?[a-z-]+=' |
    tr -d '[=' | sort -u >"$tmp/in-help"
grep -E '^=item .*B<[a-z-]+=' "$pod" |
    sed -E 's/.*B<([a-z-]+)=.*/\1/' | sort -u >"$tmp/in-pod"
grep -q file "$tmp/in-help"
diff -u "$tmp/in-help" "$tmp/in-pod"

# The plugin takes each of them, and the synopsis shows them.
while read -r parameter; do
    refuses nbdkit image "$parameter=" --run true
    if grep 'unknown parameter' "$tmp/refused"; then
        fail "the plugin does not know $parameter="
    fi
    sed -n '/^=head1 SYNOPSIS/,/^=head1 DESCRIPTION/p' "$pod" |
        grep -qF "$parameter=" || fail "the synopsis lacks $parameter="
done <"$tmp/in-pod"

# The same for formats.
nbdkit --dump-plugin image | sed -n 's/^image_formats=//p' | tr ' ' '\n' |
    sort >"$tmp/formats"
sed -n '/^=head1 FORMATS/,/^=head1 EXPORTS/s/^=item C<\(.*\)>/\1/p' "$pod" |
    sort >"$tmp/formats-in-pod"
diff -u "$tmp/formats" "$tmp/formats-in-pod"

# And for compressions.
nbdkit --dump-plugin image | sed -n 's/^image_compressions=//p' |
    tr ' ' '\n' | sort >"$tmp/compressions"
grep -qx xz "$tmp/compressions"
sed -n '/^=head1 COMPRESSED IMAGES/,/^=head1 CDS/s/^=item B<\(.*\)>/\1/p' \
    "$pod" | sort >"$tmp/compressions-in-pod"
diff -u "$tmp/compressions" "$tmp/compressions-in-pod"
