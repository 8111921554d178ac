/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The good disks with partition tables that the tests of damage damage. */

#ifndef NBDIMAGE_TESTS_BAD_PART_H
#define NBDIMAGE_TESTS_BAD_PART_H

#include "tests/damage/damage.h"

#define BAD_PART_SECTORS 256
#define BAD_PART_BACKUP (255 * 512)             /* bytes: GPT, its header, */
#define BAD_PART_BACKUP_ENTRIES (223 * 512)     /* and its entries */
#define BAD_PART_EBR_1 (80 * 512)
#define BAD_PART_EBR_2 (110 * 512)

/* bad-part.c tells how they lie on their disks. */
enum part_base { MBR, GPT };

/* The caller frees the bytes. */
struct damage_file bad_part_make_good (enum part_base base);

/* Make the CRCs of both copies of a GPT right again. */
void bad_part_sum (struct damage_file *disk);

#endif /* NBDIMAGE_TESTS_BAD_PART_H */
