/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The generations in a vault, as headers and marks say: found by name, opened,
 * and their files with them (docs/NBI.md §11, §13).
 */

#ifndef NBDIMAGE_REPO_VAULT_READ_H
#define NBDIMAGE_REPO_VAULT_READ_H

#include "lib/repo/generation.h"
#include "lib/repo/vault.h"

/* What is in the vault at some moment, by one listing. */
struct vault_view;

/* vault and caches stay the caller's, longer than the view.  Reads the listing
 * of files/ and nothing else.
 */
int vault_view_new (struct vault *vault,
                    const struct generation_caches *caches,
                    struct vault_view **out, struct err *err);
void vault_view_free (struct vault_view *view);         /* NULL is fine */

/* The same of runs that were listed already, in their order: a copy of them. */
int vault_view_of (struct vault *vault, const struct generation_caches *caches,
                   const struct vault_runs *runs, struct vault_view **out,
                   struct err *err);

/* The runs in it, in the order of their times. */
const struct vault_runs *vault_view_runs (const struct vault_view *view);

/* What is called like a run in files/ and is no folder, as a link to one, is
 * overlooked by all readers: found is called for each (NBI-132).
 */
int vault_view_names (struct vault_view *view,
                      int (*found) (void *opaque, const struct err *what,
                                    struct err *err),
                      void *opaque, struct err *err);

/* One of them, opened. */
struct vault_opened {
  struct file_reader *last;     /* the file that it ends in */
  struct generation *gen;
};

/* Run i of the list, if it is a generation: -ENOENT if it has the mark and no
 * keep, and dropped is not wanted, or if it has gone.  NBI-131, folders; the
 * highest edition that opens.  The view has to live as long as what is opened.
 */
int vault_view_open (struct vault_view *view, size_t i, bool dropped,
                     struct vault_opened *out, struct report *report,
                     struct err *err);
void vault_opened_close (struct vault_opened *opened);

/* One file of a run, by its name.  -ENOENT: it has gone; -EBADMSG too if its
 * header says another UUID or edition.
 */
int vault_view_open_file (struct vault_view *view,
                          const struct vault_run *run,
                          const struct vault_file *file,
                          struct file_reader **out, struct report *report,
                          struct err *err);

/* The file of a generation's list, in the folder that it says: of its editions
 * the highest that opens (NBI-131).
 */
int vault_view_look_up (struct vault_view *view, const struct nbi_file *wanted,
                        struct file_reader **out, struct report *report,
                        struct err *err);

/* Errors that one generation has for itself, and others may not have: it is
 * damaged, made by a later version, or its bytes can't be read.
 */
bool vault_is_damage (int r);

/* The newest generation of the disk of this name, of those in front of place
 * `end' of the list: its place.  What is damaged so that nobody knows whose it
 * is is told, and passed over.  -ENOENT: there is none.  After any other error
 * *i is where it happened.
 */
int vault_view_before (struct vault_view *view, size_t end,
                       const char *disk_name, size_t *i,
                       struct report *report, struct err *err);

/* The same, of all. */
int vault_view_newest (struct vault_view *view, const char *disk_name,
                       size_t *i, struct report *report, struct err *err);

/* The generation of a disk that somebody means: "" or "latest", a time
 * (20261122T155200Z) or the beginning of one, a UUID or the beginning of one,
 * with dashes or without.  -ENOENT: there is none; -EINVAL: there are several.
 */
int vault_view_find (struct vault_view *view, const char *disk_name,
                     const char *which, size_t *i, struct report *report,
                     struct err *err);

#define VAULT_AHEAD 86400       /* seconds */

/* What is said of a newest generation that is more than VAULT_AHEAD later than
 * the store's time (§13, "Time").
 */
void vault_warn_ahead (struct report *report, const char *disk_name,
                       uint64_t time);

#endif /* NBDIMAGE_REPO_VAULT_READ_H */
