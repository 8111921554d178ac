/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Threads that look at the records of a file, some at a time. */

#ifndef NBDIMAGE_REPO_VERIFY_CREW_H
#define NBDIMAGE_REPO_VERIFY_CREW_H

#include "lib/repo/verify.h"

#define VERIFY_PIECES 256U      /* at a time: they hold no data */

/* A record, as the table of its file has it, and what is wrong with it. */
struct verify_piece {
  struct nbi_record record;
  struct err header, data;      /* code 0: nothing */
};

struct verify_crew;

/* -ENOMEM. */
int verify_crew_new (const struct verify *v, struct verify_crew **out,
                     struct err *err);
void verify_crew_free (struct verify_crew *crew);       /* NULL is fine */

/* Look at n of them.  NBI-30 to NBI-38 and NBI-67 of each, and with data NBI-40
 * to NBI-43.  -ECANCELED; -ENOMEM.
 */
int verify_crew_run (struct verify_crew *crew, struct file_reader *file,
                     struct verify_piece *pieces, size_t n, struct err *err);

#endif /* NBDIMAGE_REPO_VERIFY_CREW_H */
