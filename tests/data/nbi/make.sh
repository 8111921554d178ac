#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# How the files beside this were made: from the build folder,
#
#   bash SOURCE/tests/data/nbi/make.sh FOLDER
#
# makes such files in FOLDER.  Those beside this are not to be made anew: they
# are what an older version wrote.  What is new in the format gets new ones.

set -e
set -x

[ -d "$1" ]
tests/unit/test-golden --make "$1"

# Two generations are dropped, and a file that is mostly dead is written anew;
# its old edition would go with a prune a day later.
cp -r "$1/vault" "$1/pruned"
./nbdimage prune --keep-last=1 --yes --trust-times "$1/pruned"
for new in "$1"/pruned/files/*/*.1*.nbi; do
    rm "${new/.1./.0.}"
done
rm -rf "$1/pruned/reserve" "$1"/pruned/{partial,broken}

# stated.json was written by hand from what info and sha256sum say of these.
