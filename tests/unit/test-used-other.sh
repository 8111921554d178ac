#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What is no file system: swap space uses its first page, the rest all of it.

. "$(dirname "$0")/../functions.sh"
set -e
set -x
. "$support/used.sh"
requires mkswap

fresh 40M
mkswap "$disk" >/dev/null 2>&1
dump swap exact
same "what is used" "0 4096" "$(tail -n +3 "$ours")"
poke 4086 'S1SUSPEND\0'
refused swsuspend "what swsuspend uses is not known"
fresh 10M
refused - "no file system is found"
