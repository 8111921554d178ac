/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The good VHDXs that the tests of damage damage. */

#ifndef NBDIMAGE_TESTS_BAD_VHDX_H
#define NBDIMAGE_TESTS_BAD_VHDX_H

#include "tests/damage/damage.h"
#include "tests/support/vhdx-maker.h"

/* bad-vhdx.c tells how they lie in their files. */
enum vhdx_base { DYN, LOG, CHILD };

/* The caller frees it.  CHILD needs its parent as base.vhdx beside it. */
struct vhdx_maker *bad_vhdx_make_good (enum vhdx_base base);
struct damage_file bad_vhdx_make_parent (void);

/* Its disk; the caller frees the bytes. */
struct damage_file bad_vhdx_good_disk (enum vhdx_base base);

#endif /* NBDIMAGE_TESTS_BAD_VHDX_H */
