/* SPDX-License-Identifier: GPL-2.0-or-later */

/* VAULT/DISK[@GENERATION] as the name of an image. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"
#include "lib/repo/image-nbi-private.h"
#include "lib/repo/store-local.h"

/* A name, cut in three. */
struct parts {
  char *vault, *disk, *which;   /* which points into disk's memory, or is "" */
};

static void
parts_free (struct parts *parts)
{
  free (parts->vault);
  free (parts->disk);
}

static int
cut_name (const char *name, struct parts *parts, struct err *err)
{
  const char *slash = strrchr (name, '/');
  char *at;

  parts->vault = slash == name ? strdup ("/")
    : strndup (name, (size_t) (slash - name));
  parts->disk = strdup (slash + 1);
  if (parts->vault == NULL || parts->disk == NULL) {
    parts_free (parts);
    return err_nomem (err);
  }
  at = strchr (parts->disk, '@');
  parts->which = at != NULL ? at + 1 : parts->disk + strlen (parts->disk);
  if (at != NULL)
    *at = '\0';
  return 0;
}

/* A folder with files/ in it is a vault (§13), and anything that has that
 * name itself wins; but a folder is no image, and disks may be called like
 * those of the vault.
 */
static bool
may_be_one (const char *name)
{
  const char *slash = strrchr (name, '/');
  CLEANUP_FREE char *files = NULL;
  struct stat st;

  if (slash == NULL || slash[1] == '\0' || slash[1] == '@' ||
      (lstat (name, &st) == 0 && !S_ISDIR (st.st_mode)) ||
      asprintf (&files, "%.*s/files", (int) (slash - name), name) < 0)
    return false;
  return lstat (files, &st) == 0 && S_ISDIR (st.st_mode);
}

static int
open_generation (struct nbi_image *nbi, const struct parts *parts,
                 struct report *report, struct err *err)
{
  struct vault_opened opened;
  size_t i;
  int r;

  r = store_local_open (parts->vault, &nbi->store, err);
  if (r == 0)
    r = vault_open (nbi->store, 0, &nbi->vault, report, err);
  if (r == 0)
    r = vault_view_new (nbi->vault, &nbi->caches, &nbi->view, err);
  if (r == 0)
    r = vault_view_find (nbi->view, parts->disk, parts->which, &i, report,
                         err);
  if (r == 0)
    r = vault_view_open (nbi->view, i, false, &opened, report, err);
  if (r < 0)
    return r;
  nbi->file = opened.last;
  nbi->gen = opened.gen;
  return 0;
}

/* The image lies on the block of its last file, which is known only when it is
 * open: the state is made first, and put into the image.
 */
static int
open_image (const struct parts *parts, const struct image_options *options,
            struct image **out, struct report *report, struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct nbi_image *nbi = calloc (1, sizeof *nbi);
  int r;

  if (nbi == NULL)
    return err_nomem (err);
  r = nbi_image_init (nbi, err);
  if (r == 0)
    r = open_generation (nbi, parts, report, err);
  if (r == 0)
    r = image_new (&nbi_image_ops, file_reader_block (nbi->file), &img, err);
  if (r < 0) {
    nbi_image_destroy (nbi);
    free (nbi);
    return r;
  }
  free (img->state);
  img->state = nbi;
  img->writable = options->writable;
  r = nbi_image_describe (img, err);
  if (r == 0)
    *out = steal_ptr (&img);
  return r;
}

int
vault_image_open (const char *name, const struct image_options *options,
                  struct image **out, struct report *report, struct err *err)
{
  struct parts parts = { NULL, NULL, NULL };
  int r;

  if ((options->format != NULL && strcmp (options->format, "nbi") != 0) ||
      !may_be_one (name))
    return 0;
  r = cut_name (name, &parts, err);
  if (r < 0)
    return r;
  r = open_image (&parts, options, out, report, err);
  parts_free (&parts);
  return r < 0 ? r : 1;
}
