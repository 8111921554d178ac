#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Make configure out of configure.ac.
set -e
cd "$(dirname "$0")"

missing=
for pair in autoconf:autoreconf automake:aclocal libtool:libtoolize \
            pkg-config:pkg-config; do
    command -v "${pair#*:}" >/dev/null || missing="$missing ${pair%%:*}"
done
if [ -n "$missing" ]; then
    echo "$0: these Debian packages are missing:$missing" >&2
    echo "Install them with: apt-get install$missing" >&2
    exit 1
fi
exec autoreconf --install --warnings=all
