#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# The manual pages say what the program says: for each command the same
# options in its page and in --help, and pages that are whole.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires podchecker

commands=$(nbdimage --complete)
[ "$(wc -w <<<"$commands")" -ge 3 ] || fail "too few commands: $commands"

page_of ()
{
    find "$abs_top_srcdir" -name "$1.pod" -not -path "$abs_top_srcdir/build*" \
         -not -path "$abs_top_srcdir/nbdimage-*" -print -quit
}

# "-f --format=" for an option with a letter and an argument.
options_in_help ()
{
    nbdimage "$1" --help |
        sed -nE 's/^  (-(.), |    )--([a-z-]+)(=?).*/\2 --\3\4/p' | sort
}

# =item B<--format=FORMAT>, B<-f> FORMAT
options_in_page ()
{
    sed -nE -e '/^=head1 OPTIONS/,/^=head1 [^O]/ {
        s/^=item B<--([a-z-]+)(=?)[^>]*>.*, B<-(.)>.*/\3 --\1\2/p
        t
        s/^=item B<--([a-z-]+)(=?).*/ --\1\2/p
    }' "$1" | sort
}

for c in $commands; do
    page=$(page_of "nbdimage-$c")
    [ -n "$page" ] || fail "the command $c has no page"
    options_in_help "$c" >"$tmp/help"
    options_in_page "$page" >"$tmp/page"
    grep -qx 'h --help' "$tmp/help" || fail "--help of $c lists nothing"
    diff -u "$tmp/help" "$tmp/page" ||
        fail "nbdimage $c --help and $page have different options"

    # What completion gets is the same again.
    cut -d' ' -f2 "$tmp/help" | sort >"$tmp/help.long"
    nbdimage --complete "$c" | sort | diff -u "$tmp/help.long" - ||
        fail "--complete $c differs from --help"

    contains "$(page_of nbdimage)" "L<nbdimage-$c(1)>"
    contains "$page" "=head1 EXIT STATUS"
    contains "$page" "=head1 EXAMPLES"
    contains "$page" "=head1 SEE ALSO"
done

while read -r page; do
    podchecker -warnings -warnings "$page" 2>"$tmp/podchecker" || {
        cat "$tmp/podchecker"
        fail "$page is no good POD"
    }
    if grep WARNING "$tmp/podchecker"; then
        fail "$page has warnings"
    fi
done < <(find "$abs_top_srcdir" -name '*.pod' -not -path '*/build*')
