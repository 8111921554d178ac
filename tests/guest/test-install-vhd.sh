#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A running system is installed onto an overlay, a VHD over a raw disk, and
# starts from it again.

. "$(dirname "$0")/../functions.sh"
set -e
. "$(dirname "$0")/install.sh"

cd "$tmp"
make_golden golden.img
install_onto "$tmp/overlay.vhd" "$tmp/golden.img"
