/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The parts of `nbdimage verify`:
 *
 *   ../cmd-verify.c    the command line, and the steps of it all
 *   pieces.c           which records are read, and how many that is
 *   show.c             what was found, as text and JSON
 *   source.c           comparing with a disk, and how that is shown
 *   boot.c             running it, and what is said of that
 *   qmp.c, screen.c    asking QEMU what is on the screen; has that settled?
 */

#ifndef NBDIMAGE_TOOLS_VERIFY_VERIFY_TOOL_H
#define NBDIMAGE_TOOLS_VERIFY_VERIFY_TOOL_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <jansson.h>

#include "lib/format/image.h"
#include "lib/repo/verify-needs.h"
#include "lib/repo/verify-sample.h"
#include "lib/repo/verify-source.h"
#include "lib/repo/verify-state.h"
#include "lib/repo/verify.h"
#include "tools/command.h"
#include "tools/progress.h"

/* Records of chunks and of pages of maps; bytes with their headers. */
struct verify_pieces {
  uint64_t nr, bytes;
};

enum verify_boot_verdict {
  VERIFY_BOOT_NOT_RUN,          /* something is wrong with the backup */
  VERIFY_BOOT_TIMEOUT,
  VERIFY_BOOT_MARKER,           /* the serial port said it */
  VERIFY_BOOT_SETTLED,          /* the screen is not blank, and the same */
  VERIFY_BOOT_ENDED,            /* before any of that */
  VERIFY_BOOT_INTERRUPTED,      /* by whoever ran us */
};

#define VERIFY_BOOT_TIMEOUT_DEFAULT 600U        /* seconds */
#define VERIFY_BOOT_SETTLE_DEFAULT 20U

struct verify_boot {
  bool wanted, uefi;
  const char *accel;
  const char *marker;           /* NULL: the screen is looked at */
  const char *screenshot;       /* NULL: none is kept */
  unsigned timeout, settle;     /* seconds */

  enum verify_boot_verdict verdict;
  double seconds;               /* until then */
  bool blank, saved;            /* the screen; the screenshot */
  char said[200];               /* why it ended, as QEMU says; or "" */
};

struct verify_command {
  const char *progress;
  const char *sample_size;      /* NULL: all */
  const char *state_path;       /* NULL: it is not resumed */
  const char *source_name;      /* NULL: nothing is compared */
  const char *source_format;    /* NULL: that is found out */
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

  /* With --state: */
  struct verify_state *state;   /* NULL: without */
  uint64_t file;                /* file_reader_id of the one that is read */
  uint32_t file_end;            /* its records below that were verified */
  uint64_t file_bytes;          /* of what was verified of it */
  uint64_t earlier;             /* pieces that were verified before */
  uint64_t earlier_bytes;       /* of all files, as it begins */
  uint64_t changed;             /* files of the state that are others now */
  time_t saved;                 /* when the state was */

  /* With --source: */
  struct image *source;
  struct verify_source compared;

  struct verify_boot boot;

  struct job *job;
  struct verify_result result;
  struct verify_pieces stored, read;
  uint64_t tables;              /* bytes that are no records */
  json_t *findings;
  json_t *hurt;                 /* names of the disks that something is
                                   damaged of for later backups too */
  uint64_t nr_found;
};

/*--- pieces.c ---------------------------------------------------------------*/

/* What of v's callbacks is about the records: wants, passed, survey, begin;
 * their opaque is the command.
 */
void verify_pieces_use (struct verify *v);

/* How it ended, with 0 or an error: the state goes away, or says how far it
 * is.  Whether that could be written is told.
 */
void verify_pieces_end (struct verify_command *v, int r);

/*--- show.c -----------------------------------------------------------------*/

/* struct verify's: kept for the end, so that it is not printed across the
 * progress.
 */
int verify_found (void *opaque, struct file_reader *file,
                  const struct verify_finding *finding, struct err *err);

/* Everything, on stdout.  Returns the exit status. */
int verify_show (const struct verify_command *v);

/*--- source.c ---------------------------------------------------------------*/

/* Before anything is read: open it.  plain: what tool_image_open_of_two says of
 * the image, and gets what it says of the source.
 */
int verify_source_open (struct verify_command *v, bool *plain,
                        struct report *report, struct err *err);
int verify_source_compare (struct verify_command *v, unsigned threads,
                           struct err *err);

/* Does it have what was saved, as far as that was compared? */
bool verify_source_is_same (const struct verify_command *v);
void verify_source_show (const struct verify_command *v);
json_t *verify_source_json (const struct verify_command *v);

/*--- boot.c -----------------------------------------------------------------*/

/* Run the generation until the verdict is known.  -ECANCELED; errors of what it
 * takes to run it.
 */
int verify_boot_run (struct verify_command *v, struct err *err);

/* Is it what was waited for? */
bool verify_boot_is_well (const struct verify_command *v);
void verify_boot_show (const struct verify_command *v);
json_t *verify_boot_json (const struct verify_command *v);

#endif /* NBDIMAGE_TOOLS_VERIFY_VERIFY_TOOL_H */
