/* SPDX-License-Identifier: GPL-2.0-or-later */

/* carry-out.h has the order of writes. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/copy/copy.h"
#include "lib/restore/carry-out.h"

/* What is written last of all: the first sector, and where it has 512 bytes
 * those around it, with the superblock of an ext and the header of a GPT.
 */
#define LAST 4096

/* A target that is written in larger units has no head that ends within one.
 */
static uint64_t
head_len (const struct restore_piece *piece)
{
  struct block_sizes sizes;

  block_get_sizes (piece->to, &sizes);
  return round_down (min_u64 (RESTORE_HEAD, block_size (piece->from)),
                     sizes.minimum);
}

static int
in_target (const struct restore_piece *piece, const char *doing, int r,
           struct err *err)
{
  return r < 0 ? err_in (err, "%s: %s", block_name (piece->to), doing) : 0;
}

static int
flush_all (const struct restore_run *run, struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < run->nr_pieces; ++i) {
    const struct restore_piece *piece = &run->pieces[i];

    r = in_target (piece, "flushing", block_flush (piece->to, err), err);
  }
  return r;
}

/*--- Step 1 -----------------------------------------------------------------*/

struct head {
  uint8_t *bytes;
  uint8_t *was;                 /* of the target; NULL: it can't be read */
  uint64_t len, last;           /* bytes; of which so many are written last */
};

static void
head_free (struct head *head)
{
  free (head->bytes);
  free (head->was);
}

static void
heads_free (const struct restore_run *run, struct head *heads)
{
  for (size_t i = 0; heads != NULL && i < run->nr_pieces; ++i)
    head_free (&heads[i]);
  free (heads);
}

static int
read_head (const struct restore_piece *piece, struct head *head,
           struct err *err)
{
  struct block_sizes sizes;

  block_get_sizes (piece->to, &sizes);
  head->len = head_len (piece);
  head->last = min_u64 (head->len, max_u64 (LAST, sizes.minimum));
  head->bytes = malloc ((size_t) head->len + 1);
  if (head->bytes == NULL)
    return err_nomem (err);
  if (block_pread (piece->from, head->bytes, (size_t) head->len, 0, err) < 0)
    return err_in (err, "%s: reading its first sectors",
                   block_name (piece->from));
  return 0;
}

/* What is there can be lost, so that nothing depends on reading it. */
static void
read_target (const struct restore_piece *piece, struct head *head)
{
  head->was = malloc ((size_t) head->len + 1);
  if (head->was != NULL &&
      block_pread (piece->to, head->was, (size_t) head->len, 0, NULL) < 0) {
    free (head->was);
    head->was = NULL;
  }
}

static int
read_heads (const struct restore_run *run, struct head *heads,
            struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < run->nr_pieces; ++i) {
    r = read_head (&run->pieces[i], &heads[i], err);
    if (r == 0 && !run->target_is_zero)
      read_target (&run->pieces[i], &heads[i]);
  }
  return r;
}

/*--- Step 2 -----------------------------------------------------------------*/

static int
wipe_heads (const struct restore_run *run, struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < run->nr_pieces; ++i) {
    const struct restore_piece *piece = &run->pieces[i];

    r = in_target (piece, "writing zeros to its first sectors",
                   block_zero (piece->to, head_len (piece), 0, 0, err), err);
  }
  return r < 0 ? r : flush_all (run, err);
}

/* After something failed; that is what is told.  One that can't be wiped
 * leaves the others.
 */
static void
unwrite_heads (const struct restore_run *run)
{
  for (size_t i = 0; i < run->nr_pieces; ++i) {
    const struct restore_piece *piece = &run->pieces[i];

    block_zero (piece->to, head_len (piece), 0, 0, NULL);
  }
  flush_all (run, NULL);
}

static int
write_heads (const struct restore_run *run, const struct head *heads,
             bool last, struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < run->nr_pieces; ++i) {
    const struct head *h = &heads[i];
    uint64_t off = last ? 0 : h->last, len = last ? h->last : h->len - h->last;

    r = block_pwrite (run->pieces[i].to, h->bytes + off, (size_t) len, off, 0,
                      err);
    r = in_target (&run->pieces[i], "writing its first sectors", r, err);
  }
  return r < 0 ? r : flush_all (run, err);
}

/* Writing zeros changed the image: the target is what the image is, under
 * another name that nobody could tell (a server's, a loop device).
 */
static int
give_back (const struct restore_run *run, const struct head *heads, size_t i,
           struct restore_result *result, struct err *err)
{
  bool done = true;

  for (size_t k = 0; k < run->nr_pieces; ++k)
    done &= heads[k].was != NULL &&
      block_pwrite (run->pieces[k].to, heads[k].was, (size_t) heads[k].len, 0,
                    0, NULL) == 0;
  done &= flush_all (run, NULL) == 0;
  result->wiped = !done;
  return err_set (err, -EINVAL, "%s: is the image itself under another name%s",
                  block_name (run->pieces[i].to), done ? "; its first "
                  "sectors were written back"
                  : ", and its first sectors could not be written back");
}

static int
check_image (const struct restore_run *run, const struct head *heads,
             struct restore_result *result, struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < run->nr_pieces; ++i) {
    struct head now = { .bytes = NULL };

    r = read_head (&run->pieces[i], &now, err);
    if (r == 0 && memcmp (now.bytes, heads[i].bytes, (size_t) now.len) != 0)
      r = give_back (run, heads, i, result, err);
    head_free (&now);
  }
  return r;
}

/*--- Steps 3 and 4 ----------------------------------------------------------*/

static struct copy_options
options_of (const struct restore_run *run, size_t i)
{
  return (struct copy_options) {
    .threads = run->threads,
    .unit = run->unit,
    .start = head_len (&run->pieces[i]),
    .target_is_zero = run->target_is_zero,
    .skip_unallocated = !run->target_is_zero,
    .job = run->job,
  };
}

static int
write_body (const struct restore_run *run, size_t i,
            struct restore_result *result, struct err *err)
{
  const struct restore_piece *piece = &run->pieces[i];
  const struct copy_options options = options_of (run, i);
  struct copy_result copied;
  int r = copy_disk (piece->from, piece->to, &options, &copied, err);

  result->data += copied.data;
  result->unallocated += copied.unallocated;
  return r;
}

static int
reread (const struct restore_run *run, size_t i, struct block **out,
        struct err *err)
{
  if (run->reread != NULL)
    return run->reread (run->opaque, i, out, err);
  *out = block_ref (run->pieces[i].to);
  return 0;
}

static int
refuse_difference (const struct restore_piece *piece, uint64_t at,
                   struct err *err)
{
  return err_set (err, -EIO, "%s: has other bytes than the image at offset %"
                  PRIu64 " after they were written", block_name (piece->to),
                  at);
}

static int
verify_body (const struct restore_run *run, size_t i, struct err *err)
{
  const struct restore_piece *piece = &run->pieces[i];
  const struct copy_options options = options_of (run, i);
  CLEANUP_BLOCK struct block *written = NULL;
  uint64_t differs_at;
  int r = reread (run, i, &written, err);

  if (r == 0)
    r = copy_compare (piece->from, written, false, &options, &differs_at,
                      err);
  if (r == 0 && differs_at != COPY_SAME)
    r = refuse_difference (piece, differs_at, err);
  return r;
}

/*--- Steps 5 and 6 ----------------------------------------------------------*/

static int
verify_head (const struct restore_run *run, const struct head *head, size_t i,
             struct err *err)
{
  CLEANUP_FREE uint8_t *buf = malloc ((size_t) head->len + 1);
  CLEANUP_BLOCK struct block *written = NULL;
  uint64_t at = 0;
  int r;

  if (buf == NULL)
    return err_nomem (err);
  r = reread (run, i, &written, err);
  if (r == 0)
    r = in_target (&run->pieces[i], "reading its first sectors",
                   block_pread (written, buf, (size_t) head->len, 0, err),
                   err);
  if (r < 0 || memcmp (buf, head->bytes, (size_t) head->len) == 0)
    return r;
  while (buf[at] == head->bytes[at])
    ++at;
  return refuse_difference (&run->pieces[i], at, err);
}

static int
do_heads (const struct restore_run *run, const struct head *heads,
          uint64_t *data, struct err *err)
{
  int r = write_heads (run, heads, false, err);

  if (r == 0)
    r = write_heads (run, heads, true, err);
  for (size_t i = 0; r == 0 && i < run->nr_pieces; ++i) {
    *data += heads[i].len;
    if (run->verify)
      r = verify_head (run, &heads[i], i, err);
  }
  return r;
}

static int
finish (const struct restore_run *run, const struct head *heads,
        struct restore_result *result, struct err *err)
{
  int r = job_check (run->job, err);

  job_start (run->job, "finishing", 0);
  if (r < 0)
    return r;
  r = do_heads (run, heads, &result->data, err);
  if (r < 0)
    unwrite_heads (run);
  return r;
}

/*----------------------------------------------------------------------------*/

static int
check (const struct restore_run *run, struct err *err)
{
  for (size_t i = 0; i < run->nr_pieces; ++i) {
    const struct restore_piece *piece = &run->pieces[i];

    if (block_size (piece->from) != block_size (piece->to))
      return err_set (err, -EINVAL, "%s: has %" PRIu64 " bytes, expected %"
                      PRIu64, block_name (piece->to), block_size (piece->to),
                      block_size (piece->from));
    if (!block_writable (piece->to))
      return err_set (err, -EROFS, "%s: is open for reading only",
                      block_name (piece->to));
  }
  return 0;
}

static int
write_all (const struct restore_run *run, const struct head *heads,
           struct restore_result *result, struct err *err)
{
  int r = 0;

  result->wiped = true;
  if (!run->target_is_zero)
    r = wipe_heads (run, err);
  if (r == 0 && !run->target_is_zero)
    r = check_image (run, heads, result, err);
  for (size_t i = 0; r == 0 && i < run->nr_pieces; ++i)
    r = write_body (run, i, result, err);
  for (size_t i = 0; r == 0 && run->verify && i < run->nr_pieces; ++i)
    r = verify_body (run, i, err);
  return r < 0 ? r : finish (run, heads, result, err);
}

int
restore_run (const struct restore_run *run, struct restore_result *result,
             struct err *err)
{
  struct head *heads = calloc (run->nr_pieces + 1, sizeof *heads);
  int r = heads == NULL ? err_nomem (err) : check (run, err);

  *result = (struct restore_result) { .data = 0 };
  if (r == 0)
    r = job_check (run->job, err);
  if (r == 0)
    r = read_heads (run, heads, err);
  if (r == 0)
    r = write_all (run, heads, result, err);
  result->done = r == 0;
  heads_free (run, heads);
  return r;
}
