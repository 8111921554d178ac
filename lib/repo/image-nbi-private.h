/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What image-nbi.c and image-vault.c share. */

#ifndef NBDIMAGE_REPO_IMAGE_NBI_PRIVATE_H
#define NBDIMAGE_REPO_IMAGE_NBI_PRIVATE_H

#include "lib/format/image-ops.h"
#include "lib/repo/generation.h"
#include "lib/repo/manifest.h"
#include "lib/repo/vault-read.h"

/* The state of an image. */
struct nbi_image {
  /* Of a generation in a vault; NULL for a file alone. */
  struct store *store;
  struct vault *vault;
  struct vault_view *view;

  bool has_caches;
  struct generation_caches caches;
  struct file_reader *file;     /* the generation ends in it */
  struct generation *gen;
  struct manifest manifest;
};

extern const struct image_ops nbi_image_ops;

/* Caches, empty. */
int nbi_image_init (struct nbi_image *nbi, struct err *err);

/* Give back what is in it. */
void nbi_image_destroy (struct nbi_image *nbi);

/* Read the manifest of what is in file and gen, and say of the image what is
 * to be said.
 */
int nbi_image_describe (struct image *img, struct err *err);

/* Generations in vaults by name: image_opener. */
int vault_image_open (const char *name, const struct image_options *options,
                      struct image **out, struct report *report,
                      struct err *err);

#endif /* NBDIMAGE_REPO_IMAGE_NBI_PRIVATE_H */
