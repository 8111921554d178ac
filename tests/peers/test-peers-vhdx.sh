#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Random VHDX read the same for us, for QEMU, libvhdi and 7-Zip.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

. "$(dirname "$0")/peers.sh"
peers vhdx 60
