/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Reading VHDs, and their extents: against a model that is a plain array of
 * what each sector must be, on random chains; and the big ones.
 *
 * The seed is printed; VHD_TEST_SEED=N runs the same again.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/image.h"
#include "tests/support/faulty.h"
#include "tests/support/vhd-maker.h"

#define KB UINT64_C (1024)
#define MB (1024 * KB)
#define GB (1024 * MB)
#define TB (1024 * GB)

static uint64_t
next_random (uint64_t *state)
{
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/* 0 … n-1 */
static uint64_t
below (uint64_t *state, uint64_t n)
{
  return next_random (state) % n;
}

/*--- A model of a chain -----------------------------------------------------*/

#define FEW_LAYERS 4
#define MAX_LAYERS 64

struct model_sector {
  enum extent_kind kind;
  unsigned layer;
  uint8_t byte;                 /* all 512 are this */
};

/* One layer as it was made. */
struct model_layer {
  unsigned type;
  uint64_t nr_sectors;
  unsigned block_sectors;
  uint8_t *present;             /* for each block */
  uint8_t *here;                /* for each sector of the blocks: its bit */
  uint8_t *bytes;               /* for each sector */
};

struct model {
  unsigned nr_layers;
  struct model_layer layers[MAX_LAYERS];        /* 0: the leaf */
  uint64_t nr_sectors;
  struct model_sector *sectors;
  char dir[64];
};

static void *
zalloc (size_t len)
{
  void *p = calloc (1, len ? len : 1);

  assert_non_null (p);
  return p;
}

/* Bits in one of the ways in which they come. */
static void
random_bits (uint64_t *rnd, uint8_t *here, unsigned nr)
{
  unsigned how = (unsigned) below (rnd, 4);

  for (unsigned i = 0; i < nr;) {
    unsigned run = how < 2 ? nr : 1 + (unsigned) below (rnd, how == 2 ? 3 : 99);
    bool bit = how == 0 || (how > 1 && below (rnd, 2));

    for (; run > 0 && i < nr; --run)
      here[i++] = bit;
  }
}

/* One of so many blocks is there. */
static void
fill_layer (uint64_t *rnd, struct model_layer *l, unsigned one_of)
{
  uint64_t nr_blocks = div_round_up (l->nr_sectors, l->block_sectors);

  l->present = zalloc (nr_blocks);
  l->here = zalloc (nr_blocks * l->block_sectors);
  l->bytes = zalloc (nr_blocks * l->block_sectors);
  for (uint64_t b = 0; b < nr_blocks; ++b) {
    l->present[b] = l->type == 2 || below (rnd, one_of) == 0;
    if (l->type == 2)
      memset (l->here + b * l->block_sectors, 1, l->block_sectors);
    else
      random_bits (rnd, l->here + b * l->block_sectors, l->block_sectors);
  }
  /* Never 0, so that what is not here can't be mistaken for zeros. */
  for (uint64_t s = 0; s < nr_blocks * l->block_sectors; ++s)
    l->bytes[s] = (uint8_t) (1 + below (rnd, 255));
}

static void
add_blocks (uint64_t *rnd, struct vhd_maker *m, const struct model_layer *l)
{
  uint64_t nr = div_round_up (l->nr_sectors, l->block_sectors);
  uint8_t *bits = zalloc (l->block_sectors / 8);
  uint8_t *data = zalloc (l->block_sectors * 512);
  uint64_t first = below (rnd, nr);

  for (uint64_t i = 0; i < nr; ++i) {
    uint64_t b = (first + i) % nr;

    if (!l->present[b])
      continue;
    memset (bits, 0, l->block_sectors / 8);
    for (unsigned s = 0; s < l->block_sectors; ++s) {
      uint64_t at = b * l->block_sectors + s;

      if (l->here[at])
        bits[s / 8] |= (uint8_t) (1 << (7 - s % 8));
      memset (data + s * 512, l->bytes[at], 512);
    }
    vhd_maker_add_block (m, b, bits, data);
  }
  free (bits);
  free (data);
}

static void
layer_path (const struct model *model, unsigned n, char path[128])
{
  snprintf (path, 128, "%s/layer%u.vhd", model->dir, n);
}

static void
save_layer (uint64_t *rnd, const struct model *model, unsigned n)
{
  const struct model_layer *l = &model->layers[n];
  char name[32], path[128];
  struct vhd_spec spec = {
    .type = l->type, .size = l->nr_sectors * 512,
    .block_size = l->block_sectors * 512,
    .id = 100 + n, .parent_id = 101 + n, .parent_name = name,
  };
  struct vhd_maker *m;

  snprintf (name, sizeof name, "layer%u.vhd", n + 1);
  m = vhd_maker_new (&spec);
  if (l->type == 2) {
    uint8_t *data = zalloc (spec.size);

    for (uint64_t s = 0; s < l->nr_sectors; ++s)
      memset (data + s * 512, l->bytes[s], 512);
    vhd_maker_set_data (m, data);
    free (data);
  }
  else
    add_blocks (rnd, m, l);
  vhd_maker_finish (m);
  layer_path (model, n, path);
  vhd_maker_save (m, path);
  vhd_maker_free (m);
}

/* What sector s is, by the specification. */
static struct model_sector
resolve (const struct model *model, uint64_t s)
{
  struct model_sector found = { EXTENT_HOLE, 0, 0 };

  for (unsigned n = 0; n < model->nr_layers; ++n) {
    const struct model_layer *l = &model->layers[n];

    if (s >= l->nr_sectors)
      return found;
    if (l->present[s / l->block_sectors] && l->here[s])
      return (struct model_sector) { EXTENT_DATA, n, l->bytes[s] };
    found.kind = l->present[s / l->block_sectors] ? EXTENT_ZERO : EXTENT_HOLE;
    found.layer = found.kind == EXTENT_ZERO ? n : 0;
  }
  return found;
}

static void
make_model (uint64_t *rnd, struct model *model, unsigned max_layers)
{
  static const unsigned block_sectors[] = { 8, 16, 32, 128, 4096, 8192 };
  uint64_t nr_sectors = 0;

  memset (model, 0, sizeof *model);
  model->nr_layers = 1 + (unsigned) below (rnd, max_layers);
  strcpy (model->dir, "/tmp/test-vhd.XXXXXX");
  assert_non_null (mkdtemp (model->dir));
  for (unsigned n = 0; n < model->nr_layers; ++n) {
    struct model_layer *l = &model->layers[n];

    l->block_sectors = block_sectors[below (rnd, 6)];
    l->nr_sectors = 1 + below (rnd, 9000);
    if (n > 0 && below (rnd, 2))        /* like the layer above */
      l->nr_sectors = nr_sectors;
    nr_sectors = l->nr_sectors;
    l->type = n + 1 < model->nr_layers ? 4 : below (rnd, 3) ? 3 : 2;
    fill_layer (rnd, l, model->nr_layers > FEW_LAYERS ? 16 : 2);
    save_layer (rnd, model, n);
  }
  model->nr_sectors = model->layers[0].nr_sectors;
  model->sectors = zalloc (model->nr_sectors * sizeof *model->sectors);
  for (uint64_t s = 0; s < model->nr_sectors; ++s)
    model->sectors[s] = resolve (model, s);
}

static void
free_model (struct model *model)
{
  char path[128];

  for (unsigned n = 0; n < model->nr_layers; ++n) {
    free (model->layers[n].present);
    free (model->layers[n].here);
    free (model->layers[n].bytes);
    layer_path (model, n, path);
    unlink (path);
  }
  rmdir (model->dir);
  free (model->sectors);
}

static struct image *
open_model (const struct model *model)
{
  struct err err = ERR_INIT;
  struct image *img;
  char path[128];

  layer_path (model, 0, path);
  if (image_open (path, NULL, &img, NULL, &err) < 0)
    fail_msg ("%s: %s", path, err.msg);
  return img;
}

/* Returns false, rather than to jump out of a thread. */
static bool
read_is_right (struct image *img, const struct model *model, uint64_t off,
               size_t len)
{
  uint8_t *buf = malloc (len);
  bool ok = image_pread (img, buf, len, off, NULL) == 0;

  for (size_t i = 0; ok && i < len; ++i)
    if (buf[i] != model->sectors[(off + i) / 512].byte) {
      fprintf (stderr, "offset %" PRIu64 ": %u, expected %u\n", off + i,
               buf[i], model->sectors[(off + i) / 512].byte);
      ok = false;
    }
  free (buf);
  return ok;
}

static bool
random_read_is_right (struct image *img, const struct model *model,
                      uint64_t *rnd)
{
  uint64_t size = model->nr_sectors * 512, off = below (rnd, size);
  uint64_t most = below (rnd, 4) ? 9000 : 3 * MB;

  return read_is_right (img, model, off,
                        1 + below (rnd, min_u64 (size - off, most)));
}

/* The extents of [off, off+len), as the model has them. */
static void
model_extents (const struct model *model, uint64_t len, uint64_t off,
               struct extent_list *out)
{
  uint64_t end = off + len;

  while (off < end) {
    const struct model_sector *s = &model->sectors[off / 512];
    uint64_t n = min_u64 (512 - off % 512, end - off);

    assert_int_equal (extent_list_add (out, off, n, s->kind, s->layer, NULL),
                      0);
    off += n;
  }
}

static void
compare_extents (struct image *img, const struct model *model, uint64_t *rnd)
{
  CLEANUP_EXTENT_LIST struct extent_list found = EXTENT_LIST_INIT;
  CLEANUP_EXTENT_LIST struct extent_list expected = EXTENT_LIST_INIT;
  uint64_t size = model->nr_sectors * 512, off = below (rnd, size);
  uint64_t len = 1 + below (rnd, size - off);
  size_t nr;

  found.limit = below (rnd, 2) ? 1 + below (rnd, 20) : 0;
  model_extents (model, len, off, &expected);
  assert_int_equal (image_extents (img, len, off, &found, NULL), 0);
  nr = found.v.len;
  if (found.limit != 0 && found.v.len > found.limit)
    nr = found.limit;           /* the one behind may not be all of it */
  else
    assert_int_equal (found.v.len, expected.v.len);
  for (size_t i = 0; i < nr; ++i) {
    const struct extent *f = &found.v.ptr[i], *e = &expected.v.ptr[i];

    if (f->off != e->off || f->len != e->len || f->kind != e->kind ||
        f->layer != e->layer)
      fail_msg ("extent %zu: %" PRIu64 "+%" PRIu64 " %s %u, expected %" PRIu64
                "+%" PRIu64 " %s %u", i, f->off, f->len,
                extent_kind_to_string (f->kind), f->layer, e->off, e->len,
                extent_kind_to_string (e->kind), e->layer);
  }
}

static uint64_t
choose_seed (void)
{
  const char *given = getenv ("VHD_TEST_SEED");
  uint64_t seed = given ? strtoull (given, NULL, 0)
                        : (uint64_t) time (NULL) * 1000003 + 1;

  print_message ("VHD_TEST_SEED=%" PRIu64 "\n", seed);
  return seed;
}

static void
compare_random_chains (int nr, unsigned max_layers)
{
  uint64_t rnd = choose_seed ();

  for (int i = 0; i < nr; ++i) {
    struct model model;
    struct image *img;

    make_model (&rnd, &model, max_layers);
    img = open_model (&model);
    assert_int_equal (image_size (img), model.nr_sectors * 512);
    assert_true (read_is_right (img, &model, 0, model.nr_sectors * 512));
    for (int j = 0; j < 40; ++j)
      assert_true (random_read_is_right (img, &model, &rnd));
    for (int j = 0; j < 20; ++j)
      compare_extents (img, &model, &rnd);
    assert_int_equal (image_cache (img, model.nr_sectors * 512, 0, NULL), 0);
    image_unref (img);
    free_model (&model);
  }
}

static void
random_chains_read_as_their_model (void **state)
{
  (void) state;
  compare_random_chains (60, FEW_LAYERS);
}

static void
random_chains_of_up_to_64_files_do_too (void **state)
{
  (void) state;
  compare_random_chains (12, MAX_LAYERS);
}

/*--- Many threads -----------------------------------------------------------*/

struct reader {
  struct image *img;
  const struct model *model;
  uint64_t rnd;
  bool ok;
};

static void *
read_at_random (void *arg)
{
  struct reader *r = arg;

  r->ok = true;
  for (int i = 0; r->ok && i < 200; ++i)
    r->ok = random_read_is_right (r->img, r->model, &r->rnd);
  return NULL;
}

static void
many_threads_read_one_image (void **state)
{
  struct reader readers[8];
  pthread_t threads[8];
  uint64_t rnd = choose_seed ();
  struct model model;
  struct image *img;

  (void) state;
  make_model (&rnd, &model, FEW_LAYERS);
  img = open_model (&model);
  for (int i = 0; i < 8; ++i) {
    readers[i] = (struct reader) { img, &model, rnd + (unsigned) i, false };
    assert_int_equal (pthread_create (&threads[i], NULL, read_at_random,
                                      &readers[i]), 0);
  }
  for (int i = 0; i < 8; ++i) {
    pthread_join (threads[i], NULL);
    assert_true (readers[i].ok);
  }
  image_unref (img);
  free_model (&model);
}

/*--- The order of bits ------------------------------------------------------*/

static void
the_first_sector_is_the_highest_bit (void **state)
{
  struct vhd_spec spec = { .type = 3, .size = 2 * MB };
  struct vhd_maker *m = vhd_maker_new (&spec);
  static uint8_t bits[512], data[2 * 1024 * 1024];
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;

  (void) state;
  bits[0] = 0x80;
  bits[1] = 0x01;
  bits[511] = 0x03;
  memset (data, 'A', sizeof data);
  vhd_maker_add_block (m, 0, bits, data);
  vhd_maker_finish (m);
  block = vhd_maker_block (m);
  assert_int_equal (image_open_block (block, NULL, &img, NULL, NULL), 0);
  for (unsigned s = 0; s < 4096; ++s) {
    bool here = s == 0 || s == 15 || s == 4094 || s == 4095;
    char c;

    assert_int_equal (image_pread (img, &c, 1, s * 512 + 17, NULL), 0);
    assert_int_equal (c, here ? 'A' : 0);
  }
  vhd_maker_free (m);
}

/* Its file is as large as its disk, by chance, and is not it. */
static void
a_file_of_the_size_of_its_disk_is_not_the_disk (void **state)
{
  struct vhd_spec spec = { .type = 3, .size = 2 * MB + 3072 };
  struct vhd_maker *m = vhd_maker_new (&spec);
  static uint8_t data[2 * 1024 * 1024];
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;

  (void) state;
  vhd_maker_add_block (m, 0, NULL, data);
  vhd_maker_finish (m);
  block = vhd_maker_block (m);
  assert_int_equal (image_open_block (block, NULL, &img, NULL, NULL), 0);
  assert_int_equal (image_size (img), block_size (block));
  assert_false (image_is_plain (img));
  vhd_maker_free (m);
}

static void
a_bitmap_may_have_many_sectors (void **state)
{
  /* 16 MiB: a bitmap of 8 sectors, and of each 4096 bits the first three
   * and the last are set, and those of the sixth sector all.
   */
  struct vhd_spec spec = { .type = 3, .size = 32 * MB,
                           .block_size = 16 * MB };
  struct vhd_maker *m = vhd_maker_new (&spec);
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  uint8_t bits[4096] = { 0 }, *data = zalloc (16 * MB), buf[1024];

  (void) state;
  for (unsigned i = 0; i < 8; ++i) {
    bits[i * 512] = 0xE0;
    bits[i * 512 + 511] = 0x01;
  }
  memset (bits + 5 * 512, 0xFF, 512);
  memset (data, 'B', 16 * MB);
  vhd_maker_add_block (m, 1, bits, data);
  vhd_maker_finish (m);
  block = vhd_maker_block (m);
  assert_int_equal (image_open_block (block, NULL, &img, NULL, NULL), 0);
  assert_int_equal (image_extents (img, spec.size, 0, &list, NULL), 0);
  /* hole; data (3), zeros; data (4), zeros; ... the sixth is one with its
   * neighbours.
   */
  assert_int_equal (list.v.len, 1 + 1 + 1 + 4 * 2 + 1 + 1 + 2 + 1);
  assert_int_equal (list.v.ptr[0].len, 16 * MB);
  assert_int_equal (list.v.ptr[1].len, 3 * 512);
  assert_int_equal (list.v.ptr[2].kind, EXTENT_ZERO);
  assert_int_equal (list.v.ptr[3].len, 4 * 512);
  assert_int_equal (list.v.ptr[3].off, 16 * MB + 4095 * 512);
  assert_int_equal (list.v.ptr[11].len, (1 + 4096 + 3) * 512);
  assert_int_equal (list.v.ptr[15].off, 32 * MB - 512);
  for (unsigned i = 1; i < 8; ++i) {
    uint64_t off = 16 * MB + i * 4096 * 512;

    assert_int_equal (image_pread (img, buf, 1024, off - 512, NULL), 0);
    for (unsigned j = 0; j < 1024; ++j)
      assert_int_equal (buf[j], 'B');
    assert_int_equal (image_pread (img, buf, 1024, off + 2 * 512, NULL), 0);
    assert_int_equal (buf[0], 'B');
    assert_int_equal (buf[1023], i == 5 ? 'B' : 0);
  }
  vhd_maker_free (m);
  free (data);
}

/*--- Big ones ---------------------------------------------------------------*/

static double
seconds (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

static void
an_empty_disk_of_2_tib_is_opened_and_mapped_at_once (void **state)
{
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  struct vhd_spec spec = { .type = 3, .size = 2040 * GB };
  struct vhd_maker *m = vhd_maker_new (&spec);
  CLEANUP_BLOCK struct block *memory = NULL, *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  double start, opened, mapped;
  unsigned reads;

  (void) state;
  vhd_maker_finish (m);
  memory = vhd_maker_block (m);
  block = faulty_new (memory, 0);
  start = seconds ();
  assert_int_equal (image_open_block (block, NULL, &img, NULL, NULL), 0);
  opened = seconds ();
  reads = faulty_reads (block);
  assert_true (reads <= 8);
  assert_int_equal (image_extents (img, spec.size, 0, &list, NULL), 0);
  mapped = seconds ();
  assert_int_equal (list.v.len, 1);
  assert_int_equal (list.v.ptr[0].kind, EXTENT_HOLE);
  assert_int_equal (list.v.ptr[0].len, spec.size);
  assert_int_equal (faulty_reads (block), reads);
  print_message ("opened in %.1f ms, mapped in %.1f ms\n",
                 (opened - start) * 1e3, (mapped - opened) * 1e3);
  /* Some ms; this is for a busy machine under the sanitizers. */
  assert_true (mapped - start < 2);
  vhd_maker_free (m);
}

/* 17 GiB in blocks of 4 KiB: 17 MiB of BAT, which is not held. */
static struct vhd_maker *
make_big_table (uint64_t *nr)
{
  struct vhd_spec spec = { .type = 3, .size = 17 * GB,
                           .block_size = 4 * KB };
  struct vhd_maker *m = vhd_maker_new (&spec);
  uint8_t data[4096];

  *nr = m->nr_entries;
  memset (data, 'x', sizeof data);
  vhd_maker_add_block (m, *nr / 2, NULL, data);
  memset (data, 'y', sizeof data);
  vhd_maker_add_block (m, *nr - 1, NULL, data);
  vhd_maker_finish (m);
  return m;
}

static void
a_bat_of_more_than_16_mib_stays_in_the_file (void **state)
{
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  uint64_t nr, size = 17 * GB;
  struct vhd_maker *m = make_big_table (&nr);
  uint8_t buf[8192];

  (void) state;
  block = vhd_maker_block (m);
  assert_int_equal (image_open_block (block, NULL, &img, NULL, NULL), 0);
  assert_int_equal (image_extents (img, size, 0, &list, NULL), 0);
  assert_int_equal (list.v.len, 4);
  assert_int_equal (list.v.ptr[0].len, nr / 2 * 4096);
  assert_int_equal (list.v.ptr[1].kind, EXTENT_DATA);
  assert_int_equal (list.v.ptr[1].len, 4096);
  assert_int_equal (list.v.ptr[2].kind, EXTENT_HOLE);
  assert_int_equal (list.v.ptr[3].off, size - 4096);
  assert_int_equal (image_pread (img, buf, 8192, size - 8192, NULL), 0);
  assert_int_equal (buf[4095], 0);
  assert_int_equal (buf[4096], 'y');
  assert_int_equal (buf[8191], 'y');
  assert_int_equal (image_pread (img, buf, 8192, nr / 2 * 4096, NULL), 0);
  assert_int_equal (buf[4095], 'x');
  assert_int_equal (buf[4096], 0);
  vhd_maker_free (m);
}

static void
an_entry_of_such_a_bat_is_checked_when_it_is_needed (void **state)
{
  static const uint32_t wrong[] = { 0, 1, 3, 0xFFFFFFFE };

  (void) state;
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; ++i) {
    CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
    CLEANUP_BLOCK struct block *block = NULL;
    CLEANUP_IMAGE struct image *img = NULL;
    struct err err = ERR_INIT;
    uint64_t nr;
    struct vhd_maker *m = make_big_table (&nr);
    char c;

    put_be32 (m->data + m->table_off + 4 * 5000, wrong[i]);
    block = vhd_maker_block (m);
    assert_int_equal (image_open_block (block, NULL, &img, NULL, NULL), 0);
    assert_int_equal (image_pread (img, &c, 1, 4999 * 4096, &err), 0);
    assert_int_equal (image_pread (img, &c, 1, 5000 * 4096, &err), -EBADMSG);
    assert_non_null (strstr (err.msg, "BAT entry 5000 "));
    assert_int_equal (image_extents (img, 17 * GB, 0, &list, &err), -EBADMSG);
    vhd_maker_free (m);
  }
}

/*--- Failing media ----------------------------------------------------------*/

static void
a_read_that_failed_works_when_the_medium_does_again (void **state)
{
  struct vhd_spec spec = { .type = 3, .size = 64 * KB,
                           .block_size = 16 * KB };
  struct vhd_maker *m = vhd_maker_new (&spec);
  CLEANUP_BLOCK struct block *memory = NULL, *block = NULL;
  uint8_t data[16 * 1024], buf[64 * 1024];

  (void) state;
  memset (data, 'q', sizeof data);
  vhd_maker_add_block (m, 1, NULL, data);
  vhd_maker_add_block (m, 3, NULL, data);
  vhd_maker_finish (m);
  memory = vhd_maker_block (m);
  block = faulty_new (memory, 0);
  /* Bitmap and data, twice. */
  for (unsigned n = 1; n <= 4; ++n) {
    CLEANUP_IMAGE struct image *img = NULL;
    struct err err = ERR_INIT;

    faulty_set (block, 0);
    assert_int_equal (image_open_block (block, NULL, &img, NULL, NULL), 0);
    faulty_set (block, n);
    assert_int_equal (image_pread (img, buf, sizeof buf, 0, &err), -EIO);
    assert_int_equal (faulty_reads (block), n);
    assert_non_null (strstr (err.msg, "bad sector"));
    faulty_set (block, 0);
    assert_int_equal (image_pread (img, buf, sizeof buf, 0, NULL), 0);
    for (size_t i = 0; i < sizeof buf; ++i)
      if (buf[i] != (i / sizeof data % 2 ? 'q' : 0))
        fail_msg ("byte %zu is %02x", i, buf[i]);
    /* The bitmaps are known by now. */
    faulty_set (block, 0);
    assert_int_equal (image_pread (img, buf, sizeof buf, 0, NULL), 0);
    assert_int_equal (faulty_reads (block), 2);
  }
  vhd_maker_free (m);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (the_first_sector_is_the_highest_bit),
    cmocka_unit_test (a_file_of_the_size_of_its_disk_is_not_the_disk),
    cmocka_unit_test (a_bitmap_may_have_many_sectors),
    cmocka_unit_test (random_chains_read_as_their_model),
    cmocka_unit_test (random_chains_of_up_to_64_files_do_too),
    cmocka_unit_test (many_threads_read_one_image),
    cmocka_unit_test (an_empty_disk_of_2_tib_is_opened_and_mapped_at_once),
    cmocka_unit_test (a_bat_of_more_than_16_mib_stays_in_the_file),
    cmocka_unit_test (an_entry_of_such_a_bat_is_checked_when_it_is_needed),
    cmocka_unit_test (a_read_that_failed_works_when_the_medium_does_again),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
