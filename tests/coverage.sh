#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# coverage.sh FOLDER: how many lines of lib/ were run by the programs in this
# build with --enable-coverage, since it was built.  One line for each source
# file in FOLDER (lib/format, say) and all of them together; the lines that
# were not run are in coverage.txt.  Fails when fewer than 90 of 100 were run.

set -eu
export LC_ALL=C
[ "$#" -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
folder=$1
wanted=90
source=$(sed -n "s/^abs_top_srcdir *= *//p" Makefile)

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
here=$PWD
[ -n "$source" ] || { echo "$0: run me in the build folder" >&2; exit 1; }
find "$here/$folder" -name '*.gcno' | sort >"$out/objects"
[ -s "$out/objects" ] || {
    echo "$0: there is nothing in $folder that was built with" \
        "--enable-coverage" >&2
    exit 1
}

# -x: files of the same name do not replace each other.
(cd "$out" && xargs gcov -p -r -s "$source" <objects >report 2>/dev/null)
find "$out" -name "${folder//\//#}*.c.gcov" | sort >"$out/files"

# Lines of gcov: "COUNT:NUMBER:SOURCE"; "-" is no code, "#####" was not run.
xargs awk -v wanted="$wanted" -v missed="$here/coverage.txt" '
    FNR == 1 {
        report()
        name = FILENAME
        sub (/.*\//, "", name)
        sub (/\.gcov$/, "", name)
        gsub (/#/, "/", name)
        run = lines = 0
    }
    {
        split ($0, field, ":")
        gsub (/[ *]/, "", field[1])
        number = field[2] + 0
    }
    field[1] == "-" || number == 0 { next }
    { lines++ }
    field[1] !~ /^[#=]/ { run++; next }
    { sub (/^[^:]*:[^:]*:/, ""); print name ":" number ":" $0 >missed }
    function report ()
    {
        if (lines == 0)
            return
        printf "%6.1f %%  %4d of %4d  %s\n", 100 * run / lines, run, lines,
               name
        all += lines
        all_run += run
    }
    END {
        report()
        printf "%6.1f %%  %4d of %4d  together\n", 100 * all_run / all,
               all_run, all
        exit all_run * 100 < wanted * all
    }' <"$out/files" || {
    echo "fewer than $wanted of 100 lines were run; those that were not are in" \
        "coverage.txt" >&2
    exit 1
}
