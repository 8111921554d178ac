/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The good discs that the tests of damage damage. */

#ifndef NBDIMAGE_TESTS_BAD_ISO_H
#define NBDIMAGE_TESTS_BAD_ISO_H

#include "tests/damage/damage.h"
#include "tests/support/iso-maker.h"

/* bad-iso.c tells how they lie in their files. */
enum iso_base { ISO, BOOT, UDF, ONLY };

/* The caller frees the bytes. */
struct damage_file bad_iso_make_good (enum iso_base base);

/* Give what is in the sector a UDF tag with right sums. */
void bad_iso_seal (struct damage_file *disc, unsigned sector, uint16_t tag);

#endif /* NBDIMAGE_TESTS_BAD_ISO_H */
