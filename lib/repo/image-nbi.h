/* SPDX-License-Identifier: GPL-2.0-or-later */

#ifndef NBDIMAGE_REPO_IMAGE_NBI_H
#define NBDIMAGE_REPO_IMAGE_NBI_H

#include "lib/format/image.h"
#include "lib/repo/absent.h"
#include "lib/repo/generation.h"
#include "lib/repo/verify.h"

#define NBI_IMAGE_CACHE ((size_t) 64 * 1024 * 1024)     /* decoded; bytes */

/* Let images be backup images too.  Once, before the first image is opened. */
void nbi_register (void);

/* What images that are encrypted are opened with: NULL, or a keyring that stays
 * the caller's, longer than they.  Before the first image is opened.
 */
void nbi_use_keys (struct keyring *keys);

/* The generation that the image is, which lives as long; NULL if it is none,
 * as an overlay over one.
 */
struct generation *nbi_image_generation (struct image *img);

/* The partitions that were left out of it, which can't be read: -EIO, and
 * EXTENT_UNREADABLE.  Lives as long as the image.  Empty for any other image.
 */
const struct absent_vector *nbi_image_absent (struct image *img);

/* For whoever knows of them, and was told to go on: from now on they are like
 * what no file system uses.  Before the first read; the list is empty then.
 */
void nbi_image_allow_absent (struct image *img);

/* For whoever is going to write by what it reads (NBI-131), before the first
 * read: open all files that the generation needs.  Unless there are very many
 * they are kept open, so that a prune meanwhile takes nothing away.  -EBADMSG:
 * one is not there.  0 for any other image.
 */
int nbi_image_open_files (struct image *img, struct err *err);

/* For whoever offers it for long and may read nothing of it: take the lease of
 * a reader (reader-lease.h) now, until the image is closed, and wait until it
 * is known whether it can be had.  -ESTALE: it was dropped; otherwise why it
 * can't: -EROFS, -EACCES.  The image is the same in any case.  0 for any other
 * image.  After the process has forked for the last time.
 */
int nbi_image_hold (struct image *img, struct err *err);

/* verify_one of an image that is a generation. */
int nbi_image_verify (struct image *img, const struct verify *v,
                      struct verify_result *result, struct err *err);

#endif /* NBDIMAGE_REPO_IMAGE_NBI_H */
