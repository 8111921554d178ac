/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/block/memory.h"
#include "tests/support/recorder.h"
#include "tests/support/vhd-model.h"

#define DISK_SIZE (MODEL_SECTORS * 512)
#define FOOTER 512

struct model_subject model_subject;

unsigned
model_number_from (const char *name, unsigned usual)
{
  const char *value = getenv (name);

  return value ? (unsigned) strtoul (value, NULL, 10) : usual;
}

static unsigned random_state;

void
model_seed (void)
{
  random_state = model_number_from ("NBDIMAGE_TEST_SEED", 1);
  print_message ("seed %u\n", random_state);
}

unsigned
model_random_below (unsigned n)
{
  return (unsigned) rand_r (&random_state) % n;
}

void
model_fill_sector (uint8_t p[512], uint32_t id)
{
  for (unsigned i = 0; i < 512; i += 4)
    put_be32 (p + i, id == 0 ? 0 : id * 2654435761U + i);
}

/*--- What the disk may hold -------------------------------------------------*/

void
model_init (struct model *m)
{
  uint32_t ids[MODEL_SECTORS] = { 0 };

  memset (m, 0, sizeof *m);
  m->next_id = 1000;
  model_subject.init (ids);
  for (unsigned s = 0; s < MODEL_SECTORS; ++s) {
    m->ids[s][0] = ids[s];
    m->nr[s] = 1;
  }
}

static void
set (struct model *m, unsigned s, uint32_t id)
{
  assert_true (m->nr[s] < MODEL_STATES);
  m->ids[s][m->nr[s]++] = id;
}

void
model_flushed (struct model *m)
{
  for (unsigned s = 0; s < MODEL_SECTORS; ++s) {
    m->ids[s][0] = m->ids[s][m->nr[s] - 1];
    m->nr[s] = 1;
  }
}

/* Is what was read one of the last `max` states?  *id: which. */
static bool
allows (const struct model *m, unsigned s, const uint8_t *bytes, unsigned max,
        uint32_t *id)
{
  uint8_t expected[512];

  for (unsigned i = m->nr[s]; i-- > 0 && max-- > 0;) {
    model_fill_sector (expected, m->ids[s][i]);
    *id = m->ids[s][i];
    if (memcmp (bytes, expected, 512) == 0)
      return true;
  }
  return false;
}

bool
model_is (struct image *img, const struct model *m, unsigned max)
{
  static __thread uint8_t buf[DISK_SIZE];
  uint32_t id;

  if (image_size (img) != sizeof buf ||
      image_pread (img, buf, sizeof buf, 0, NULL) < 0)
    return false;
  for (unsigned s = 0; s < MODEL_SECTORS; ++s)
    if (!allows (m, s, buf + s * 512, max, &id))
      return false;
  return true;
}

static int
try_open (struct block *block, bool writable, struct image **out,
          struct err *err)
{
  struct image_options options = {
    .writable = writable, .parent_path = model_subject.parent_path,
  };

  return image_open_block (block, &options, out, NULL, err);
}

struct image *
model_open (struct block *block, bool writable)
{
  struct image *img = NULL;
  struct err err = ERR_INIT;

  if (try_open (block, writable, &img, &err) < 0)
    fail_msg ("%s", err.msg);
  return img;
}

/* Of two files with the same bytes one is read, the other opened for writing
 * and closed, and then it has a footer at its end that is the same as the
 * copy.
 */
static bool
file_is_good (const uint8_t *data, size_t len, const struct model *m,
              unsigned max)
{
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;

  assert_int_equal (block_memory_new ("cut.vhd", data, len, &block, NULL), 0);
  return try_open (block, false, &img, NULL) == 0 &&
    strcmp (image_format (img), "vhd") == 0 && model_is (img, m, max);
}

static bool
can_be_written (const uint8_t *data, size_t len, const struct model *m,
                unsigned max)
{
  CLEANUP_BLOCK struct block *block = recorder_new (data, len);
  struct image *img;
  const uint8_t *after;
  bool good;

  if (try_open (block, true, &img, NULL) < 0)
    return false;
  good = model_is (img, m, max);
  image_unref (img);
  after = recorder_data (block, &len);
  return good && memcmp (after, after + len - FOOTER, FOOTER) == 0;
}

bool
model_recorder_is_good (struct block *block, const struct model *m)
{
  size_t len;
  const uint8_t *data = recorder_data (block, &len);

  return file_is_good (data, len, m, 1);
}

/*--- Random operations ------------------------------------------------------*/

struct model_operation
model_random_operation (void)
{
  struct model_operation o = { .kind = MODEL_WRITE };
  unsigned i = model_random_below (8);

  o.first = model_random_below (MODEL_SECTORS);
  o.nr = 1 + model_random_below (model_random_below (3) ? 4 : 24);
  if (i >= 5)
    o.kind = i >= 7 ? MODEL_TRIM : MODEL_ZERO;
  if (o.kind != MODEL_WRITE && model_random_below (3)) {
    o.first -= o.first % MODEL_PER_BLOCK;
    o.nr = MODEL_PER_BLOCK * (1 + model_random_below (3));
  }
  if (o.nr > MODEL_SECTORS - o.first)
    o.nr = MODEL_SECTORS - o.first;
  if (model_random_below (16) == 0)
    o.flags |= BLOCK_FUA;
  if (o.kind == MODEL_ZERO && model_random_below (4) == 0)
    o.flags |= BLOCK_NO_HOLE;
  return o;
}

int
model_run (struct image *img, const struct model_operation *o, uint32_t id)
{
  uint64_t off = o->first * UINT64_C (512), len = o->nr * UINT64_C (512);
  uint8_t data[DISK_SIZE];

  if (o->kind == MODEL_ZERO)
    return image_zero (img, len, off, o->flags, NULL);
  if (o->kind == MODEL_TRIM)
    return image_trim (img, len, off, o->flags, NULL);
  for (unsigned i = 0; i < o->nr; ++i)
    model_fill_sector (data + i * 512, id + i);
  return image_pwrite (img, data, len, off, o->flags, NULL);
}

/* What failed may have been done in part, and what was trimmed may be what it
 * was: it is read what is there.
 */
static void
learn (struct image *img, struct model *m, const struct model_operation *o)
{
  for (unsigned i = 0; i < o->nr; ++i) {
    unsigned s = o->first + i;
    uint8_t bytes[512];
    uint32_t id = 0;

    assert_int_equal (image_pread (img, bytes, 512, s * UINT64_C (512), NULL),
                      0);
    if (!allows (m, s, bytes, 2, &id))
      fail_msg ("sector %u is neither old nor new", s);
    set (m, s, id);
  }
}

int
model_do (struct image *img, struct model *m, const struct model_operation *o)
{
  uint32_t id = m->next_id;
  int r = model_run (img, o, id);

  m->next_id += o->nr;
  for (unsigned i = 0; i < o->nr; ++i)
    set (m, o->first + i, o->kind == MODEL_WRITE ? id + i : 0);
  if (r < 0 || o->kind == MODEL_TRIM)
    learn (img, m, o);
  if (r == 0 && o->flags & BLOCK_FUA)
    model_flushed (m);
  return r;
}

/*--- Power cuts -------------------------------------------------------------*/

static void
flush_client (struct image *img, struct block *block, struct model *m,
              enum model_dropped dropped)
{
  recorder_drop_flushes (block, dropped == DROPPED_ALL);
  recorder_drop_next (block, dropped == DROPPED_FIRST);
  if (image_flush (img, NULL) == 0)
    model_flushed (m);
  recorder_drop_next (block, false);
  recorder_drop_flushes (block, dropped == DROPPED_INNER ||
                         dropped == DROPPED_ALL);
}

/* A file that did not just grow has a footer at its end, as it always had. */
static bool
has_its_end (const uint8_t *data, size_t len, size_t stable_size)
{
  static const uint8_t zeros[FOOTER];

  return memcmp (data, data + len - FOOTER, FOOTER) == 0 ||
    (len > stable_size && memcmp (data + len - FOOTER, zeros, FOOTER) == 0);
}

unsigned
model_count_bad_now (struct block *block, const struct model *m, unsigned nr)
{
  size_t stable = recorder_stable_size (block);
  unsigned bad = 0;

  for (unsigned i = 0; i < nr; ++i) {
    size_t len;
    uint8_t *data = recorder_crash (block, i < 2 ? i
                                    : 2 + model_random_below (1000000), &len);

    if (!has_its_end (data, len, stable) ||
        !file_is_good (data, len, m, MODEL_STATES) ||
        !can_be_written (data, len, m, MODEL_STATES))
      bad++;
    free (data);
  }
  return bad;
}

/* That change is done in part, the following not at all, and of those since
 * the last flush any part.
 */
static unsigned
one_life (unsigned nr_states, enum model_dropped dropped)
{
  struct block *block = model_subject.make ();
  struct model *m = malloc (sizeof *m);
  struct image *img = model_open (block, true);
  unsigned nr_operations = 1 + model_random_below (40), bad;

  model_init (m);
  recorder_drop_flushes (block, dropped == DROPPED_INNER ||
                         dropped == DROPPED_ALL);
  recorder_fail (block, 1 + model_random_below (4 * nr_operations), 1000000);
  for (unsigned n = 0; n < nr_operations; ++n) {
    struct model_operation o = model_random_operation ();

    if (dropped != DROPPED_NONE)
      o.flags &= ~BLOCK_FUA;
    model_do (img, m, &o);
    if (model_random_below (5) == 0)
      flush_client (img, block, m, dropped);
  }
  image_unref (img);
  bad = model_count_bad_now (block, m, nr_states);
  block_unref (block);
  free (m);
  return bad;
}

unsigned
model_count_bad (unsigned nr, enum model_dropped dropped)
{
  unsigned bad = 0;

  /* One is enough where one is looked for. */
  for (unsigned n = 0; n < nr && (dropped == DROPPED_NONE || bad == 0); n += 8)
    bad += one_life (8, dropped);
  return bad;
}

/*--- Faults -----------------------------------------------------------------*/

unsigned
model_life_with_faults (unsigned nth, unsigned count)
{
  struct block *block = model_subject.make ();
  struct model *m = malloc (sizeof *m);
  struct image *img = model_open (block, true);
  unsigned failed = 0;

  model_init (m);
  recorder_fail (block, nth, count);
  for (unsigned n = 0; n < 50; ++n) {
    struct model_operation o = model_random_operation ();

    if (model_do (img, m, &o) < 0)
      failed++;
    assert_true (model_is (img, m, 1));
    if (n % 7 == 6 && image_flush (img, NULL) == 0) {
      model_flushed (m);
      assert_true (model_recorder_is_good (block, m));
    }
  }
  assert_true (recorder_changes (block) >= nth);
  recorder_fail (block, 0, 0);
  image_unref (img);
  assert_true (model_recorder_is_good (block, m));
  img = model_open (block, true);
  image_unref (img);
  assert_true (model_recorder_is_good (block, m));
  block_unref (block);
  free (m);
  return failed;
}
