#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A running system is installed onto an overlay, a VHDX over a dynamic VHD,
# and starts from it again.

. "$(dirname "$0")/../functions.sh"
set -e
. "$(dirname "$0")/install.sh"

cd "$tmp"
make_golden disk.img
nbdimage convert disk.img golden.vhd
install_onto "$tmp/overlay.vhdx" "$tmp/golden.vhd"
