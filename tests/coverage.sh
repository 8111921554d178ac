#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# coverage.sh FOLDER: how many lines of lib/ were run by the programs in this
# build with --enable-coverage, since it was built.  One line for each source
# file in FOLDER (lib/format, say) and all of them together; the lines that
# were not run are in coverage.txt.  Fails when fewer than 90 of 100 were run.

set -eu -o pipefail
export LC_ALL=C
[ "$#" -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
folder=$1
wanted=90

command -v jq >/dev/null || { echo "$0: needs jq" >&2; exit 1; }

objects=$(find "$folder" -name '*.gcno' | sort)
[ -n "$objects" ] || {
    echo "$0: there is nothing in $folder that was built with" \
        "--enable-coverage" >&2
    exit 1
}

# FILE LINE COUNT, the file as the compiler was told, which is from here.
# shellcheck disable=SC2086
gcov --json-format --stdout $objects 2>/dev/null |
    jq -r --arg folder "$folder/" '.files[] |
        select ((.file | contains ($folder)) and (.file | endswith (".c"))) |
        .file as $file | .lines[] |
        "\($file) \(.line_number) \(.count)"' |
    sort -k1,1 -k2,2n |
    awk -v wanted="$wanted" -v folder="$folder/" -v missed=coverage.txt '
    function report ()
    {
        if (lines == 0)
            return
        printf "%6.1f %%  %4d of %4d  %s\n", 100 * run / lines, run, lines,
               short
        all += lines
        all_run += run
    }
    # The source, to show what was not run.
    function load (path,    n, line)
    {
        for (n = 1; (getline line <path) > 0; n++)
            text[n] = line
        close (path)
    }
    $1 != name {
        report()
        name = $1
        short = substr (name, index (name, folder))
        run = lines = 0
        load(name)
    }
    { lines++ }
    $3 > 0 { run++; next }
    { print short ":" $2 ":" text[$2] >missed }
    END {
        report()
        if (all == 0) {
            print "no lines were found" >"/dev/stderr"
            exit 1
        }
        printf "%6.1f %%  %4d of %4d  together\n", 100 * all_run / all,
               all_run, all
        exit all_run * 100 < wanted * all
    }' || {
    echo "fewer than $wanted of 100 lines were run; those that were not are in" \
        "coverage.txt" >&2
    exit 1
}
