/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/gcm.h"
#include "tests/support/nonces.h"

struct used {
  uint8_t key[GCM_KEY_SIZE], nonce[GCM_NONCE_SIZE];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct used *all;
static size_t nr, cap;

int __real_gcm_seal (struct gcm *gcm, const struct gcm_with *with,
                     const void *in, size_t len, void *out,
                     uint8_t tag[GCM_TAG_SIZE], struct err *err);
int __wrap_gcm_seal (struct gcm *gcm, const struct gcm_with *with,
                     const void *in, size_t len, void *out,
                     uint8_t tag[GCM_TAG_SIZE], struct err *err);

static void
note (const uint8_t *key, const uint8_t *nonce)
{
  struct used used;

  memcpy (used.key, key, sizeof used.key);
  memcpy (used.nonce, nonce, sizeof used.nonce);
  pthread_mutex_lock (&lock);
  if (nr == cap) {
    cap = 2 * cap + 1000;
    all = realloc (all, cap * sizeof *all);
    if (all == NULL)
      abort ();
  }
  all[nr++] = used;
  pthread_mutex_unlock (&lock);
}

int
__wrap_gcm_seal (struct gcm *gcm, const struct gcm_with *with, const void *in,
                 size_t len, void *out, uint8_t tag[GCM_TAG_SIZE],
                 struct err *err)
{
  note (with->key, with->nonce);
  return __real_gcm_seal (gcm, with, in, len, out, tag, err);
}

size_t
nonces_count (void)
{
  return nr;
}

static int
compare (const void *a, const void *b)
{
  return memcmp (a, b, sizeof (struct used));
}

bool
nonces_have_twice (void)
{
  struct used *sorted = malloc ((nr + 1) * sizeof *sorted);
  bool twice = false;

  if (sorted == NULL)
    abort ();
  memcpy (sorted, all, nr * sizeof *sorted);
  qsort (sorted, nr, sizeof *sorted, compare);
  for (size_t i = 1; i < nr && !twice; ++i)
    twice = compare (&sorted[i - 1], &sorted[i]) == 0;
  free (sorted);
  return twice;
}

void
nonces_repeat_one (void)
{
  note (all[0].key, all[0].nonce);
}

void
nonces_forget_one (void)
{
  --nr;
}

/* For those who look for leaks. */
static void __attribute__ ((__destructor__))
give_back (void)
{
  free (all);
}
