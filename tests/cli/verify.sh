# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later

# For tests of verify, after tests/functions.sh.

# make_vault: one.img, two.img, which has a MiB that is another, and a vault `v'
# with both, as generations of the disk `d'
make_vault ()
{
    python3 - <<'PYTHON'
import random
random.seed (5)
disk = bytearray (random.randbytes (6 << 20))
disk[2 << 20:3 << 20] = bytes (1 << 20)
open ("one.img", "wb").write (disk)
disk[4 << 20:5 << 20] = random.randbytes (1 << 20)
open ("two.img", "wb").write (disk)
PYTHON
    nbdimage backup --init --name=d one.img v
    nbdimage backup --name=d two.img v
}
