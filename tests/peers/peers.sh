# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later

# For the tests of this folder, after tests/functions.sh.
#
# peers SUBJECT COUNT: run SUBJECT.py on COUNT random images, on eight times as
# many when there is time.
# PEERS_COUNT=N makes that many, PEERS_SEED=S those that S makes, and
# PEERS_ONLY=I only the one with this number.  Where we disagree with others
# for a reason is in docs/PEERS.md.
peers ()
{
    local count=${PEERS_COUNT:-$(($2 * (${NBDIMAGE_LONG:+7 +} 1)))}

    requires python3
    requires qemu-img
    requires qemu-io
    requires nbdcopy

    mkdir "$tmp/images"
    start_nbdkit -r image dir="$tmp/images"
    python3 -B "$abs_top_srcdir/tests/peers/$1.py" --folder "$tmp/images" \
        --socket "$sock" \
        --dump "$abs_top_builddir/tests/support/image-dump" \
        --count "$count" \
        ${PEERS_SEED:+--seed "$PEERS_SEED"} \
        ${PEERS_ONLY:+--only "$PEERS_ONLY"}
}
