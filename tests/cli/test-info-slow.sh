#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# info of a disk whose extents take long to find: it says what it counted,
# and does not go on for hours.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
nbdkit --filter=delay null --dump-plugin >/dev/null ||
    skip "nbdkit has no delay filter"

# 300 ms for each answer, and no end of them.
start_nbdkit --filter=delay memory 4E delay-extents=300ms
timeout 300 "$abs_top_builddir/nbdimage" info "$uri" >"$tmp/out"
contains "$tmp/out" "--picture counts all of it"
timeout 300 "$abs_top_builddir/nbdimage" info --json "$uri" >"$tmp/json"
same data "$(jq .data "$tmp/json")" null
stop_nbdkit

# What is not slow is counted to its end, however large.
start_nbdkit memory 1T
same data "$(nbdimage info --json "$uri" | jq .data)" 0
