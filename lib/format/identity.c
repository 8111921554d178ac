/* SPDX-License-Identifier: GPL-2.0-or-later */

/* By what a differencing disk knows what lies below it.
 *
 * VHDs and VHDXs carry an identity of their own.  For all other disks it is
 * made from what they hold: SHA-256 over
 *
 *   "nbdimage disk 1" · NUL · size in bytes, 8 bytes, big-endian
 *   the first and the last SAMPLE_END bytes of the disk
 *   NR_SAMPLES times SAMPLE bytes, evenly spread, the i-th of them at
 *   (size / NR_SAMPLES × i) rounded down to SAMPLE
 *
 * of which the first 16 bytes count.  Pieces end where the disk ends, and a
 * disk that is not larger than all of them is read as a whole.  So it takes a
 * moment for a disk of any size, and another disk is told from this one
 * wherever it may lie; that nobody wrote to it somewhere in between is
 * another matter.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/digest.h"
#include "lib/format/image-ops.h"

#define SAMPLE_END (UINT64_C (1) << 20)
#define SAMPLE (UINT64_C (64) << 10)
#define NR_SAMPLES 64

static int
add_range (struct image *img, struct digest *digest, uint8_t *buf,
           uint64_t off, uint64_t len, struct err *err)
{
  uint64_t end = min_u64 (off + len, img->size);
  int r = 0;

  while (r == 0 && off < end) {
    size_t n = (size_t) min_u64 (SAMPLE, end - off);

    r = image_pread (img, buf, n, off, err);
    if (r == 0)
      digest_add (digest, buf, n);
    off += n;
  }
  return r;
}

static int
add_samples (struct image *img, struct digest *digest, uint8_t *buf,
             struct err *err)
{
  uint64_t size = img->size, step = size / NR_SAMPLES;
  int r;

  if (size <= 2 * SAMPLE_END + NR_SAMPLES * SAMPLE)
    return add_range (img, digest, buf, 0, size, err);
  r = add_range (img, digest, buf, 0, SAMPLE_END, err);
  for (uint64_t i = 0; r == 0 && i < NR_SAMPLES; ++i)
    r = add_range (img, digest, buf, step * i / SAMPLE * SAMPLE, SAMPLE, err);
  if (r == 0)
    r = add_range (img, digest, buf, size - SAMPLE_END, SAMPLE_END, err);
  return r;
}

static int
identity_of_contents (struct image *img, uint8_t id[UUID_SIZE],
                      struct err *err)
{
  static const char head[] = "nbdimage disk 1";         /* with its NUL */
  CLEANUP_FREE uint8_t *buf = malloc (SAMPLE);
  CLEANUP_DIGEST struct digest *digest = NULL;
  uint8_t size[8], all[DIGEST_SIZE];
  int r = buf ? digest_new (&digest, err) : err_nomem (err);

  if (r < 0)
    return r;
  put_be64 (size, img->size);
  digest_add (digest, head, sizeof head);
  digest_add (digest, size, sizeof size);
  r = add_samples (img, digest, buf, err);
  if (r == 0)
    r = digest_end (digest, all, err);
  if (r == 0)
    memcpy (id, all, UUID_SIZE);
  return r;
}

int
image_identity (struct image *img, uint8_t id[UUID_SIZE], struct err *err)
{
  if (img->ops->identity && img->ops->identity (img, id) &&
      !uuid_is_zero (id))
    return 0;
  return identity_of_contents (img, id, err);
}
