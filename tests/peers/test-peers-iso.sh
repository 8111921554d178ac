#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# ISO images of random trees are what isoinfo, xorriso, sfdisk and 7-Zip say.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires xorriso
requires genisoimage
requires isoinfo
requires sfdisk --version

. "$(dirname "$0")/peers.sh"
peers iso 40
