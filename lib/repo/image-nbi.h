/* SPDX-License-Identifier: GPL-2.0-or-later */

#ifndef NBDIMAGE_REPO_IMAGE_NBI_H
#define NBDIMAGE_REPO_IMAGE_NBI_H

/* Let images be backup images too.  Once, before the first image is opened. */
void nbi_register (void);

#endif /* NBDIMAGE_REPO_IMAGE_NBI_H */
