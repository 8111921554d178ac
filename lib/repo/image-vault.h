/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A vault as a shelf of images: its generations, opened by name, with one set
 * of caches for all of them.  From many threads; no lock is held while anything
 * is read.
 */

#ifndef NBDIMAGE_REPO_IMAGE_VAULT_H
#define NBDIMAGE_REPO_IMAGE_VAULT_H

#include "lib/base/report.h"
#include "lib/format/image.h"
#include "lib/repo/vault-read.h"

struct vault_images;

/* The vault in this folder, for reading.  -ENOENT: it is none. */
int vault_images_open (const char *path, struct vault_images **out,
                       struct report *report, struct err *err);

struct vault_images *vault_images_ref (struct vault_images *vault);
void vault_images_unref (struct vault_images *vault);   /* NULL is fine */

/* As it was opened.  Lives as long as the vault. */
const char *vault_images_name (const struct vault_images *vault);

/* What is in it now; a view of its own, to be freed before the vault. */
int vault_images_look (struct vault_images *vault, struct vault_view **out,
                       struct err *err);

/* Does the run, one of a view, have the mark `dropped' by now, and no keep?
 * A look at names only.
 */
bool vault_images_is_dropped (const struct vault_images *vault,
                              const struct vault_run *run);

/* The generation of a disk as an image, for reading; which as for
 * vault_view_find.  It keeps the vault.
 *
 * hold: also what prune takes away from now on can be read to the end, by
 * holding all files open that it needs.  Not more than VAULT_IMAGES_HELD of one
 * generation, and VAULT_IMAGES_HELD_ALL together: what needs more is open
 * nevertheless, and depends on its files.
 */
#define VAULT_IMAGES_HELD 128
#define VAULT_IMAGES_HELD_ALL 512
int vault_images_get (struct vault_images *vault, const char *disk,
                      const char *which, bool hold, struct image **out,
                      struct report *report, struct err *err);

/* The same of the generation `which', but its extents tell what changed since
 * the generation `before' of the same disk, as generation_diff_extents does:
 * EXTENT_UNALLOCATED is what did not, and reads as it is all the same.  For
 * servers; others take it for a disk with much that is not used.
 */
int vault_images_get_change (struct vault_images *vault, const char *disk,
                             const char *before, const char *which, bool hold,
                             struct image **out, struct report *report,
                             struct err *err);

/* Is the folder a vault, by what is in it: is there vault/vault.json, or a run
 * in files/?
 */
bool vault_images_is_one (const char *path);

/* As realpath with NULL, of VAULT/DISK[@GENERATION]: the vault has to exist.
 * For free(); NULL: it does not look like one, or there is no memory.
 */
char *vault_image_absolute (const char *name);

#endif /* NBDIMAGE_REPO_IMAGE_VAULT_H */
