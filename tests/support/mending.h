/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Repairs an image in memory, in every way that it can go wrong: once to its
 * end, and with a power cut at each of its changes, in several of the states
 * that it could leave.  From each of these states it is repaired to the end,
 * and reverted, with the undo file of the first try.
 */

#ifndef NBDIMAGE_TESTS_MENDING_H
#define NBDIMAGE_TESTS_MENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/format/repair.h"
#include "tests/damage/damage.h"

enum mending {
  MENDING_NOTHING,              /* there was nothing to do */
  MENDING_REFUSED,              /* ... or nothing that could be done */
  MENDING_DONE,
};

struct mending_options {
  const char *parent_path;      /* where parents lie; NULL: none */
  unsigned flags;               /* REPAIR_* */
  const struct damage_file *disk;       /* that it must have; NULL: any */
  bool opens_before;            /* it has that disk already */
  bool leaks_stay;              /* one repair does not find all leaks */
};

/* Of the states in which a crash can leave an image, so many were tried. */
extern unsigned mending_nr_crashes;

/* Fails the cmocka test with `what' in front when one of these does not hold:
 * planning changes nothing; after the repair check finds nothing that could
 * be mended, and the disk is what it must be; a crash leaves nothing worse;
 * another repair finishes; reverting gives the same bytes.
 */
enum mending mending_try (const struct damage_file *image,
                          const struct mending_options *options,
                          const char *what);

/* The kinds of what check finds, from severity `least' on, each once and with
 * spaces between.  The caller frees it.
 */
char *mending_kinds (const struct damage_file *image,
                     const char *parent_path, enum finding_severity least);

#endif /* NBDIMAGE_TESTS_MENDING_H */
