/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A file is cut into slices of SLICE bytes.  Slice i is kept in slot i modulo
 * SLOTS: what comes later in the file takes the place of what came before.
 *
 * Reads that lie near each other, the next behind the last one or not far from
 * it, as many threads have them, are a run.  Once it has RUN of them, the
 * slices up to DISTANCE behind each are asked for.  A read elsewhere ends the
 * run, so that who reads at random costs nothing.
 *
 * A slot is given to another slice only when nobody uses it and its answer has
 * come: the connection writes into it until then.  Whoever needs a slice that
 * is on its way waits for it, without the lock.  What came short, or with an
 * error, is no good; the reader then asks for it itself, and learns why.
 *
 * Not more than FILES_MAX files of the process read ahead at a time.
 */

#include <config.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/repo/store-sftp-ahead.h"

#define SLICE (128U * 1024)
#define SLOTS 48U
#define DISTANCE (32U * SLICE)          /* less than all slots have */
#define NEAR (8U * SLICE)               /* a read of the same run */
#define RUN 3
#define FILES_MAX 16

struct slot {
  struct sftp *sftp;            /* a reference; NULL: it is empty */
  struct sftp_call call;
  uint64_t slice;
  uint8_t *bytes;               /* owned; SLICE of them, or NULL */
  size_t len;                   /* that were asked for */
  unsigned users;               /* who wait for it, or copy from it */
};

struct sftp_ahead {
  uint64_t size;                /* of the file */

  pthread_mutex_t lock;         /* guards what follows */
  bool counted;                 /* among the files that read ahead */
  unsigned run;
  uint64_t end;                 /* of the last read */
  struct slot slots[SLOTS];
};

static unsigned nr_files;       /* that read ahead; atomic */

struct sftp_ahead *
sftp_ahead_new (uint64_t size)
{
  struct sftp_ahead *a = calloc (1, sizeof *a);

  if (a == NULL)
    return NULL;
  a->size = size;
  pthread_mutex_init (&a->lock, NULL);
  return a;
}

static void
empty (struct slot *slot)
{
  if (slot->sftp == NULL)
    return;
  (void) sftp_wait (slot->sftp, &slot->call, NULL);
  sftp_call_free (&slot->call);
  sftp_unref (slot->sftp);
  slot->sftp = NULL;
}

void
sftp_ahead_free (struct sftp_ahead *a)
{
  if (a == NULL)
    return;
  for (unsigned i = 0; i < SLOTS; ++i) {
    empty (&a->slots[i]);
    free (a->slots[i].bytes);
  }
  if (a->counted)
    __atomic_sub_fetch (&nr_files, 1, __ATOMIC_RELAXED);
  pthread_mutex_destroy (&a->lock);
  free (a);
}

/*--- asking -----------------------------------------------------------------*/

/* Under the lock: may this file read ahead? */
static bool
count (struct sftp_ahead *a)
{
  if (a->counted)
    return true;
  if (__atomic_add_fetch (&nr_files, 1, __ATOMIC_RELAXED) > FILES_MAX) {
    __atomic_sub_fetch (&nr_files, 1, __ATOMIC_RELAXED);
    return false;
  }
  a->counted = true;
  return true;
}

/* Under the lock.  After a failure the slot is empty. */
static void
ask (const struct sftp_ahead *a, struct slot *slot, struct sftp *sftp,
     const struct sftp_handle *handle, uint64_t slice)
{
  uint64_t off = slice * SLICE, left = a->size - off;

  if (slot->bytes == NULL)
    slot->bytes = malloc (SLICE);
  if (slot->bytes == NULL)
    return;
  slot->slice = slice;
  slot->len = left < SLICE ? (size_t) left : SLICE;
  slot->call = (struct sftp_call) SFTP_CALL_INIT;
  slot->call.into = slot->bytes;
  slot->call.into_size = slot->len;
  sftp_packet_begin (&slot->call.packet, SFTP_READ);
  sftp_put_bytes (&slot->call.packet, handle->bytes, handle->len);
  sftp_put_u64 (&slot->call.packet, off);
  sftp_put_u32 (&slot->call.packet, (uint32_t) slot->len);
  if (sftp_send (sftp, &slot->call, NULL) < 0)
    sftp_call_free (&slot->call);
  else
    slot->sftp = sftp_ref (sftp);
}

/* Under the lock: is it on its way, or here, or can't it be had now? */
static bool
is_settled (struct slot *slot, uint64_t slice, struct sftp *sftp)
{
  if (slot->sftp == NULL)
    return false;
  if (slot->slice == slice && slot->sftp == sftp)
    return true;
  if (slot->users > 0 || !sftp_is_done (slot->sftp, &slot->call))
    return true;
  empty (slot);
  return false;
}

/* Does it belong to the run? */
static bool
is_near (const struct sftp_ahead *a, uint64_t off)
{
  return off < a->end ? a->end - off <= NEAR : off - a->end <= NEAR;
}

void
sftp_ahead_note (struct sftp_ahead *a, struct sftp *sftp,
                 const struct sftp_handle *handle, size_t len, uint64_t off)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&a->lock);
  uint64_t first = off / SLICE, last;

  if (sftp_server (sftp)->max_read < SLICE)
    return;
  a->run = is_near (a, off) ? a->run + 1 : 0;
  a->end = off + len;
  if (a->run < RUN || !count (a))
    return;
  last = (a->end + DISTANCE) / SLICE;
  for (uint64_t i = first; i <= last && i * SLICE < a->size; ++i)
    if (!is_settled (&a->slots[i % SLOTS], i, sftp))
      ask (a, &a->slots[i % SLOTS], sftp, handle, i);
}

/*--- taking -----------------------------------------------------------------*/

static struct slot *
hold (struct sftp_ahead *a, uint64_t slice)
{
  struct slot *slot = &a->slots[slice % SLOTS];
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&a->lock);

  if (slot->sftp == NULL || slot->slice != slice)
    return NULL;
  slot->users++;
  return slot;
}

static void
let_go (struct sftp_ahead *a, struct slot *slot)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&a->lock);

  slot->users--;
}

static bool
take_slice (struct sftp_ahead *a, uint64_t slice, void *buf, size_t len,
            size_t at)
{
  struct slot *slot = hold (a, slice);
  bool good;

  if (slot == NULL)
    return false;
  good = sftp_wait (slot->sftp, &slot->call, NULL) == 0 &&
    slot->call.type == SFTP_DATA && slot->call.into_len == slot->len &&
    at + len <= slot->len;
  if (good)
    memcpy (buf, slot->bytes + at, len);
  let_go (a, slot);
  return good;
}

bool
sftp_ahead_take (struct sftp_ahead *a, void *buf, size_t len, uint64_t off)
{
  char *to = buf;

  while (len > 0) {
    size_t at = (size_t) (off % SLICE);
    size_t n = SLICE - at < len ? SLICE - at : len;

    if (!take_slice (a, off / SLICE, to, n, at))
      return false;
    to += n;
    off += n;
    len -= n;
  }
  return true;
}
