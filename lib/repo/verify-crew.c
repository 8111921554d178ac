/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/thread.h"
#include "lib/repo/record-proof.h"
#include "lib/repo/verify-crew.h"

#define THREADS_MAX 16U

struct verify_crew {
  struct job *job;
  struct decoders *decoders;    /* NULL: data is not looked at */
  unsigned nr_threads;
  uint8_t *plain[THREADS_MAX];  /* room for a record each; with data */

  /* Of verify_crew_run. */
  struct file_reader *file;
  struct verify_piece *pieces;
  size_t nr;
  size_t next;                  /* atomic */
  int failed;                   /* atomic; the number alone */
};

/* Of one thread. */
struct hand {
  struct verify_crew *crew;
  uint8_t *plain;
};

int
verify_crew_new (const struct verify *v, struct verify_crew **out,
                 struct err *err)
{
  struct verify_crew *crew = calloc (1, sizeof *crew);
  int r = crew != NULL ? 0 : err_nomem (err);

  if (r < 0)
    return r;
  crew->job = v->job;
  crew->nr_threads = v->threads == 0 ? 1
    : v->threads < THREADS_MAX ? v->threads : THREADS_MAX;
  for (unsigned i = 0; v->data && i < crew->nr_threads; ++i) {
    crew->plain[i] = malloc (NBI_CHUNK_MAX);
    if (crew->plain[i] == NULL)
      r = err_nomem (err);
  }
  if (r == 0 && v->data)
    r = decoders_new (&crew->decoders, err);
  if (r < 0)
    verify_crew_free (crew);
  else
    *out = crew;
  return r;
}

void
verify_crew_free (struct verify_crew *crew)
{
  if (crew == NULL)
    return;
  for (unsigned i = 0; i < crew->nr_threads; ++i)
    free (crew->plain[i]);
  decoders_free (crew->decoders);
  free (crew);
}

/*--- One record -------------------------------------------------------------*/

static int
check_piece (const struct hand *hand, struct verify_piece *piece)
{
  struct verify_crew *crew = hand->crew;
  const struct nbi_record *record = &piece->record;

  (void) record_proof_header (crew->file, record, &piece->header);
  if (crew->decoders != NULL && piece->header.code != -ENOMEM)
    (void) record_proof_data (crew->file, record, crew->decoders, hand->plain,
                              &piece->data);
  if (piece->header.code == -ENOMEM || piece->data.code == -ENOMEM)
    return -ENOMEM;
  return job_advance (crew->job, NBI_RECORD_SIZE +
                      (crew->decoders != NULL ? record->stored : 0), NULL);
}

/*--- All of them ------------------------------------------------------------*/

static void *
work (void *opaque)
{
  const struct hand *hand = opaque;
  struct verify_crew *crew = hand->crew;
  size_t i;

  while (__atomic_load_n (&crew->failed, __ATOMIC_RELAXED) == 0 &&
         (i = __atomic_fetch_add (&crew->next, 1, __ATOMIC_RELAXED)) <
         crew->nr) {
    int r = check_piece (hand, &crew->pieces[i]);

    if (r < 0)
      __atomic_store_n (&crew->failed, r, __ATOMIC_RELAXED);
  }
  return NULL;
}

/* The caller's thread is one of them; where others can't be started, those that
 * could do it all.
 */
int
verify_crew_run (struct verify_crew *crew, struct file_reader *file,
                 struct verify_piece *pieces, size_t n, struct err *err)
{
  struct hand hands[THREADS_MAX];
  pthread_t threads[THREADS_MAX];
  unsigned nr = 0, max = (unsigned) min_u64 (crew->nr_threads, n);

  crew->file = file;
  crew->pieces = pieces;
  crew->nr = n;
  crew->next = 0;
  crew->failed = 0;
  for (unsigned i = 0; i < crew->nr_threads; ++i)
    hands[i] = (struct hand) { crew, crew->plain[i] };
  while (nr + 1 < max &&
         thread_start (&threads[nr], work, &hands[nr + 1]) == 0)
    ++nr;
  work (&hands[0]);
  while (nr > 0)
    pthread_join (threads[--nr], NULL);
  return crew->failed == 0 ? 0
    : crew->failed == -ENOMEM ? err_nomem (err) : job_check (crew->job, err);
}
