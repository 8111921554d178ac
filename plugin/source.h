/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Where the bytes of an export come from, and opening them. */

#ifndef NBDIMAGE_PLUGIN_SOURCE_H
#define NBDIMAGE_PLUGIN_SOURCE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "lib/base/err.h"
#include "lib/base/report.h"
#include "lib/format/image.h"

struct source {
  char *name;                   /* of the export */
  char *shown;                  /* as people know it, for messages */
  char *path;                   /* absolute, or a URI */
  char *overlay;                /* of one client; NULL: none */
  bool in_folder;               /* found in a folder, rather than given: it
                                   must be an image, no link to one */
  bool in_vault;                /* a generation of the vault */
};

/* A FILE from the command line: a path, relative to where we are, or a URI.
 * The export is named by its last component.
 */
int source_new (const char *file, struct source *source, struct err *err);

/* The file `name` in a folder, or the member of a backup; it need not
 * exist.
 */
int source_in_folder (const char *folder, const char *name,
                      struct source *source, struct err *err);

/* The export of that name of the vault; there need not be one. */
int source_in_vault (const char *name, struct source *source,
                     struct err *err);

void source_free (struct source *source);

/* Open the image.  With readonly, for reading; otherwise for writing if that
 * is possible, and for reading if not, with the reason in *reason (owned by
 * the caller; "" when there is none).  lock as in struct image_options.
 * Another process that holds the lock is -EBUSY.  A
 * file in a folder that is no image is SOURCE_NOT_AN_IMAGE.
 */
#define SOURCE_NOT_AN_IMAGE (-ENOMEDIUM)
#define SOURCE_REASON_SIZE ERR_MSG_SIZE
int source_open (const struct source *source, bool readonly, bool lock,
                 struct image **out, char reason[SOURCE_REASON_SIZE],
                 struct report *report, struct err *err);

/* Which file is it, and which state of it? */
struct identity {
  bool is_file;                 /* a regular file; if not, the rest is 0 */
  dev_t dev;
  ino_t ino;
  uint64_t size;
  struct timespec mtime;
};

struct stat;
void identity_of_stat (const struct stat *st, struct identity *id);
void identity_of_image (const struct image *img, struct identity *id);

/* Both regular files, and the same? */
bool identity_same_file (const struct identity *a, const struct identity *b);

/* Same file, same size, not written since? */
bool identity_same_state (const struct identity *a, const struct identity *b);

#endif /* NBDIMAGE_PLUGIN_SOURCE_H */
