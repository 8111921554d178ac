#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# No #include line makes an arrow that the drawing in docs/ARCHITECTURE.md
# does not have.

. "$(dirname "$0")/functions.sh"
set -e

cd "$abs_top_srcdir"

# check_layers: print each arrow that is too many.
check_layers ()
{
    find lib plugin server tools tests -name '*.[ch]' -print0 |
        sort -z |
        xargs -0 awk '
# The folder of the table that a path belongs to: the longest that fits.
function folder_of (path,    d)
{
  d = path
  while (sub (/\/[^\/]*$/, "", d))
    if (d in known)
      return d
  return ""
}

function words (text,    n, i, list)
{
  n = split (text, list, " ")
  delete set
  for (i = 1; i <= n; i++)
    set[list[i]] = 1
}

function within (path, folder)
{
  return index (path, folder "/") == 1
}

# First the tables.
FILENAME == "docs/ARCHITECTURE.md" {
  if (/^<!-- layers -->/)
    part = "layers"
  else if (/^<!-- headers -->/)
    part = "headers"
  else if (/^\| (folder|header|---)/)
    next
  else if (/^\|/) {
    split ($0, cell, "|")
    name = cell[2]
    gsub (/ /, "", name)
    if (part == "layers") {
      known[name] = 1
      may[name] = cell[3]
    }
    else if (part == "headers") {
      outside[name] = cell[3]
    }
  }
  else if (!/^$/)
    part = ""
  next
}

FNR == 1 {
  files++
  from = folder_of (FILENAME)
  if (from == "")
    print FILENAME ": its folder is not in the drawing"
  here = FILENAME
  sub (/[^\/]*$/, "", here)
}

/^[ \t]*#[ \t]*include[ \t]*"/ {
  split ($0, quoted, "\"")
  included = quoted[2]
  # Those that are made, and those beside the file.
  if (included == "config.h" || index (included, "/") == 0)
    next
  arrows++
  to = folder_of (included)
  words(may[from])
  if (to == "")
    print FILENAME ":" FNR ": " included ": its folder is not in the drawing"
  else if (to != from && !(to in set))
    print FILENAME ":" FNR ": " from " may not include " included
}

/^[ \t]*#[ \t]*include[ \t]*</ {
  match ($0, /<[^>]*/)
  included = substr ($0, RSTART + 1, RLENGTH - 1)
  for (name in outside)
    if (index (included, name) == 1) {
      words(outside[name])
      fine = 0
      for (d in set)
        if (within(FILENAME, d))
          fine = 1
      if (!fine)
        print FILENAME ":" FNR ": <" included "> belongs only in" outside[name]
    }
}

END {
  if (length (known) < 5 || length (outside) < 2)
    print "docs/ARCHITECTURE.md: the tables were not found"
  if (files < 20 || arrows < 20)
    print "only " files + 0 " files with " arrows + 0 " #include lines found"
}
' docs/ARCHITECTURE.md
}

check_layers >"$tmp/arrows"
if [ -s "$tmp/arrows" ]; then
    cat "$tmp/arrows" >&2
    fail "arrows that docs/ARCHITECTURE.md does not draw"
fi
