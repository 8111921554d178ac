/* SPDX-License-Identifier: GPL-2.0-or-later */

#ifndef NBDIMAGE_REPO_IMAGE_NBI_H
#define NBDIMAGE_REPO_IMAGE_NBI_H

#include "lib/format/image.h"
#include "lib/repo/generation.h"

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

/* For whoever is going to write by what it reads (NBI-131), before the first
 * read: open all files that the generation needs.  Unless there are very many
 * they are kept open, so that a prune meanwhile takes nothing away.  -EBADMSG:
 * one is not there.  0 for any other image.
 */
int nbi_image_open_files (struct image *img, struct err *err);

#endif /* NBDIMAGE_REPO_IMAGE_NBI_H */
