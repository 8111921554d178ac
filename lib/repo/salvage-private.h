/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What salvage.c, salvage-map.c and salvage-disk.c share. */

#ifndef NBDIMAGE_REPO_SALVAGE_PRIVATE_H
#define NBDIMAGE_REPO_SALVAGE_PRIVATE_H

#include "lib/repo/salvage.h"

#define SALVAGE_LOST 5          /* a kind, behind enum nbi_cell_kind's */

struct salvage_cell {
  uint32_t file;                /* place in files; the first of its UUID */
  uint32_t ordinal;
  uint8_t kind;
};

struct salvage {
  struct salvage_files *files;  /* by UUID, the highest edition first */
  struct nbi_header header;     /* of a file of the run */
  bool is_encrypted;            /* any of the files is: others do not count */
  struct salvage_file *last;    /* the one with most of a root; or NULL */
  struct salvage_cell *cells;   /* of each chunk */
  uint8_t *bad;                 /* atomic bits, of each chunk: reading failed */
  struct salvage_ranges ranges; /* that could not be read when it was saved */
  bool has_ranges;              /* all of them */
  char *manifest;
  size_t manifest_len;
  struct salvage_counts counts;
};

/* Is the file one of the run, and encrypted in the same way (NBI-124)? */
bool salvage_has (const struct salvage *s, const struct salvage_file *file);

/* The first file of that UUID; NBI_NONE: there is none. */
uint32_t salvage_find_file (const struct salvage *s,
                            const uint8_t uuid[UUID_SIZE]);

/* A record of the file at that place, or of others with its UUID. */
int salvage_read (const struct salvage *s, uint32_t file, uint32_t ordinal,
                  enum nbi_kind kind, uint32_t len, uint8_t *plain,
                  size_t room, struct nbi_record *record, struct err *err);

/* Fill cells and counts. */
int salvage_make_map (struct salvage *s, struct err *err);

#endif /* NBDIMAGE_REPO_SALVAGE_PRIVATE_H */
