/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What image-nbi.c and image-vault.c share. */

#ifndef NBDIMAGE_REPO_IMAGE_NBI_PRIVATE_H
#define NBDIMAGE_REPO_IMAGE_NBI_PRIVATE_H

#include "lib/format/image-ops.h"
#include "lib/repo/absent.h"
#include "lib/repo/generation.h"
#include "lib/repo/image-nbi.h"
#include "lib/repo/image-vault.h"
#include "lib/repo/manifest.h"
#include "lib/repo/vault-read.h"

/* What nbi_use_keys said. */
extern struct keyring *nbi_keys;

/* The state of an image. */
struct nbi_image {
  /* Of a generation in a vault; NULL for a file alone. */
  struct vault_images *vault;
  struct vault_view *view;
  struct vault_run run;

  /* Had by the first who reads; until then 0 in reads. */
  unsigned reads;
  struct vault_lease *lease;    /* or NULL */

  bool has_caches;              /* own ones; in a vault its caches are used */
  struct generation_caches caches;
  struct file_reader *file;     /* the generation ends in it */
  struct generation *gen;
  struct vault_opened before;   /* the extents tell what changed since; NULLs:
                                   they tell what it is */
  struct manifest manifest;
  struct absent_vector absent;  /* of the manifest */
  unsigned held;                /* files, of what the vault may hold */
};

extern const struct image_ops nbi_image_ops;

/* Give back what is in it. */
void nbi_image_destroy (struct nbi_image *nbi);

/* Read the manifest of what is in file and gen, and say of the image what is
 * to be said.
 */
int nbi_image_describe (struct image *img, struct err *err);

/* Its number of files is not counted any more. */
void vault_images_release (struct vault_images *vault, unsigned held);

/* Who reads for long keeps what is dropped meanwhile: a lease (reader-lease.h)
 * for each run, whoever of this process has it open.  NULL: there is none.
 */
struct vault_lease *vault_images_protect (struct vault_images *vault,
                                          const struct vault_run *run,
                                          unsigned delay);

/* As reader_lease_wait. */
int vault_images_wait (struct vault_lease *lease, struct err *err);

/* For an overlay of that path: a keep.  Fails if the run is about to go;
 * otherwise who can't make one is warned.
 */
int vault_images_keep (struct vault_images *vault, const struct vault_run *run,
                       const char *path, struct report *report,
                       struct err *err);
void vault_images_unprotect (struct vault_images *vault,
                             struct vault_lease *lease);        /* or NULL */

/* What lies in several files of a vault, by the name of the one that it ends in
 * (VAULT/files/DISK.TIME.RUN/…), which is open in nbi->file: 1, and fills
 * vault, view, run, file and gen; or 0, by its name it lies in no vault.
 */
int vault_image_beside (struct nbi_image *nbi, const char *name,
                        struct report *report, struct err *err);

/* VAULT/DISK@TIME of such a name, if it is one, and the run is that; for
 * free().  NULL: it is none, or out of memory.
 */
char *vault_image_title (const char *name, const struct nbi_header *h);

/* Generations in vaults by name: image_opener. */
int vault_image_open (const char *name, const struct image_options *options,
                      struct image **out, struct report *report,
                      struct err *err);

#endif /* NBDIMAGE_REPO_IMAGE_NBI_PRIVATE_H */
