/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The parts of `nbdimage verify`:
 *
 *   ../cmd-verify.c    the command line, and the steps of it all
 *   pieces.c           which records are read, and how many that is
 *   show.c             what was found, as text and JSON
 */

#ifndef NBDIMAGE_TOOLS_VERIFY_VERIFY_TOOL_H
#define NBDIMAGE_TOOLS_VERIFY_VERIFY_TOOL_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "lib/format/image.h"
#include "lib/repo/verify-needs.h"
#include "lib/repo/verify-sample.h"
#include "lib/repo/verify.h"
#include "tools/command.h"
#include "tools/progress.h"

/* Records of chunks and of pages of maps; bytes with their headers. */
struct verify_pieces {
  uint64_t nr, bytes;
};

struct verify_command {
  const char *progress;
  const char *sample_size;      /* NULL: all */
  unsigned seed;                /* UINT_MAX: any */
  bool structure, json;
  struct key_option_values keys;

  const char *path;
  enum progress_mode mode;
  bool sampled;
  struct verify_sample sample;

  /* Of a generation: */
  struct image *image;          /* NULL: all of a vault */
  bool in_vault;
  struct verify_needs *needs;   /* NULL: all that its files have */

  struct job *job;
  struct verify_result result;
  struct verify_pieces stored, read;
  uint64_t tables;              /* bytes that are no records */
  json_t *findings;
  uint64_t nr_found;
};

/*--- pieces.c ---------------------------------------------------------------*/

/* What of v's callbacks is about the records: wants, passed, survey, begin;
 * their opaque is the command.
 */
void verify_pieces_use (struct verify *v);

/*--- show.c -----------------------------------------------------------------*/

/* struct verify's: kept for the end, so that it is not printed across the
 * progress.
 */
int verify_found (void *opaque, struct file_reader *file,
                  const struct verify_finding *finding, struct err *err);

/* Everything, on stdout.  Returns the exit status. */
int verify_show (const struct verify_command *v);

#endif /* NBDIMAGE_TOOLS_VERIFY_VERIFY_TOOL_H */
