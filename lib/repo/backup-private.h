/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What backup.c and backup-chunks.c share. */

#ifndef NBDIMAGE_REPO_BACKUP_PRIVATE_H
#define NBDIMAGE_REPO_BACKUP_PRIVATE_H

#include "lib/copy/crew.h"
#include "lib/repo/backup.h"
#include "lib/repo/bad-sectors.h"
#include "lib/repo/crypt.h"
#include "lib/repo/identity-index.h"
#include "lib/repo/map-writer.h"
#include "lib/repo/payload.h"
#include "lib/repo/write-behind.h"

/* Chunks in what a thread takes at once. */
#define MAX_CELLS (COPY_PIECE / NBI_CHUNK_MIN)

/* A chunk, as far as a thread can tell alone. */
struct examined {
  enum nbi_cell_kind kind;
  bool known;                   /* the base has it: file and ordinal */
  bool whole;                   /* a file that was left has it: the same */
  bool copied;                  /* the payload is from what was left */
  struct nbi_file file;
  struct nbi_record record;     /* of data: the identity; unless it is known,
                                   what there is to append */
  const void *payload;
};

/* What a thread has of its own. */
struct hand {
  struct payload_encoder *encoder;
  struct payload_decoder *decoder;      /* NULL until it is needed */
  uint8_t *plain;               /* room for a chunk; the same */
  struct nbi_range_vector bad;  /* of the piece it is at */
  uint64_t read;                /* bytes of the disk, so far */
  size_t nr;                    /* chunks in the piece */
  struct examined chunks[MAX_CELLS];
};

struct backup {
  struct crew crew;
  struct block *source;         /* chunk_source */
  const struct backup_options *options;
  struct nbi_header header;
  bool keyed;                   /* identities are, with the key: encrypted */
  uint8_t identity_key[CRYPT_KEY_SIZE];
  bool rekeyed;                 /* what is copied has other identities */
  const struct used_map *written;       /* since the base; NULL: unknown */
  struct backup_proofs *proofs; /* NULL: what the base has is taken for whole */
  struct hand **hands;          /* by slot; NULL: not made yet */
  struct write_behind *behind;  /* NULL: who appends writes */

  pthread_mutex_t lock;         /* guards what follows */
  pthread_cond_t moved;
  uint64_t appended;            /* bytes of the disk that are in the files */
  struct err first;             /* code 0: nothing failed */

  /* Of who appends: it is the one whose piece begins at `appended'. */
  struct file_table files;
  struct run *run;
  struct map_writer *map;
  struct identity_index *known;
  struct nbi_range_vector bad;
  struct manifest_counts counts;
  uint64_t adopted;             /* chunks */
};

/* Of plain bytes, as the files have it. */
int backup_identity (const struct backup *b, const void *plain, size_t len,
                     uint8_t id[DIGEST_SIZE], struct err *err);

/* Read a piece of the disk, and make of each chunk what can be made without
 * knowing what others do.
 */
int backup_examine (struct backup *b, const struct crew_member *me,
                    struct hand *hand, struct err *err);

/* Has the base these bytes, at the same place?  e->known; identity and plain of
 * e->record are set.  room: for a chunk, if there are proofs.  Errors of
 * backup_prove.
 */
int backup_compare_to_base (const struct backup *b, uint64_t c, uint8_t *room,
                            struct examined *e, struct err *err);

/* Nothing of the chunk was written since the base, which has it: then e is what
 * it was.  False where it has to be read.  room: as above.
 */
bool backup_take_unwritten (const struct backup *b, uint64_t c, uint8_t *room,
                            struct examined *e);

/* Unless it is known: has an interrupted run written these bytes, for the same
 * place, in a whole file?  e->whole, and the file; the record is that one.
 */
void backup_find_left (struct backup *b, struct examined *e);

/*--- backup-prove.c: can what is referred to be read? -----------------------*/

struct backup_proofs;

/* Looks at the files of the base: phase "checking".  base and job stay the
 * caller's, longer than this.  -ENOMEM, -ECANCELED.
 */
int backup_proofs_new (struct generation *base, struct job *job,
                       struct backup_proofs **out, struct err *err);
void backup_proofs_free (struct backup_proofs *p);      /* NULL is fine */

/* Is this record of the base, with the data of a chunk, whole?  room: for
 * record->plain bytes.  By any thread, without a lock; -ENOMEM, -ECANCELED.
 */
int backup_prove (struct backup_proofs *p,
                  const struct generation_chunk *chunk,
                  const struct nbi_record *record, uint8_t *room, bool *is,
                  struct err *err);

/* The same of a page of the map, in file `index' of the base's list. */
int backup_prove_page (struct backup_proofs *p, uint32_t index,
                       const struct nbi_record *record, bool *is,
                       struct err *err);

/* Count what is not referred to: a chunk in that file; one of which the base
 * does not tell where it is; a page.  By any thread; NULL counts nothing.
 */
void backup_proofs_damaged (struct backup_proofs *p, uint32_t file);
void backup_proofs_lost (struct backup_proofs *p);
void backup_proofs_damaged_page (struct backup_proofs *p);

/* Warn of it, once for each file.  When all has been written; NULL is fine. */
void backup_proofs_tell (const struct backup_proofs *p,
                         struct report *report);

/*--- backup-copy.c: of a generation instead of a disk -----------------------*/

/* NBI-13, NBI-131: may it be copied, and is all of it there?  Sets rekeyed. */
int backup_check_from (struct backup *b, struct err *err);

/* What backup_examine does. */
int backup_take (struct backup *b, const struct crew_member *me,
                 struct hand *hand, struct err *err);

/* Chunks without data from off on are of that kind, up to *until. */
int backup_kind_of_zeros (struct backup *b, uint64_t off, uint64_t end,
                          enum nbi_cell_kind *kind, uint64_t *until,
                          struct err *err);

/* The copy adds up to what was copied (NBI-87). */
int backup_check_hash (const uint8_t was[DIGEST_SIZE],
                       const uint8_t is[DIGEST_SIZE], struct err *err);

/*----------------------------------------------------------------------------*/

/* Append them. */
int backup_append (struct backup *b, const struct copy_range *range,
                   const struct hand *hand, struct err *err);

#endif /* NBDIMAGE_REPO_BACKUP_PRIVATE_H */
