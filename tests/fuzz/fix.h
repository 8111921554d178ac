/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What fuzz_fix is for images of each of the two formats.  Others stay what
 * they are.
 */

#ifndef NBDIMAGE_TESTS_FIX_H
#define NBDIMAGE_TESTS_FIX_H

#include "tests/support/sparse.h"

void fix_vhd (struct sparse *s);
void fix_vhdx (struct sparse *s);

#endif /* NBDIMAGE_TESTS_FIX_H */
