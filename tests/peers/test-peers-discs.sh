#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Discs with sessions, bridges, UDF, hybrids and raw dumps are what blkid,
# file, isoinfo, udfinfo and xorriso say.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires xorriso
requires genisoimage
requires isoinfo
requires blkid
requires file
requires mkudffs
requires udfinfo

. "$(dirname "$0")/peers.sh"
peers discs 70
