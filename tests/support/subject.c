/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/fdio.h"
#include "tests/support/disk-model.h"
#include "tests/support/rng.h"
#include "tests/support/subject.h"
#include "tests/support/vhd-maker.h"
#include "tests/support/vhdx-maker.h"

#define KB 1024U
#define MB (1024U * KB)

static void __attribute__ ((__noreturn__))
die (const char *what, const struct err *err)
{
  fprintf (stderr, "%s: %s\n", what, err ? err->msg : "");
  abort ();
}

static char *
path_in (const char *folder, const char *name)
{
  char *path;

  if (asprintf (&path, "%s/%s", folder, name) < 0)
    die (name, NULL);
  return path;
}

/*--- By our own hands -------------------------------------------------------*/

/* What operations on the disk do to the bytes that it should hold. */
static void
apply (const struct disk_op *op, uint8_t *disk)
{
  for (unsigned i = 0; i < op->nr; ++i)
    disk_fill_sector (disk + (op->first + i) * (size_t) DISK_SECTOR,
                      op->kind == DISK_WRITE ? op->id + i : 0);
}

/* Each file of a chain gets other data, over and beside what is below. */
static void
fill (struct image *img, struct subject_files *f, uint64_t seed,
      uint32_t *next_id)
{
  struct rng rng = { seed };
  struct err err = ERR_INIT;

  for (unsigned n = 0; n < 12; ++n) {
    struct disk_op op = disk_op_random (&rng, f->nr_sectors, f->per_block,
                                        next_id);

    if (op.kind == DISK_TRIM)
      op.kind = DISK_WRITE;
    op.flags = 0;
    if (disk_op_run (&op, img, &err) < 0)
      die ("filling", &err);
    apply (&op, f->disk);
  }
  if (image_flush (img, &err) < 0)
    die ("filling", &err);
}

static bool
has_no_blocks (const struct subject *s)
{
  return s->kind == IMAGE_FIXED && strcmp (s->format, "vhdx") != 0;
}

/* Appends to the chain; *below is its path then. */
static void
add_file (struct subject_files *f, unsigned n, char **below, uint64_t seed,
          uint32_t *next_id)
{
  static const struct image_options to_write = { .writable = true };
  const struct subject *s = f->subject;
  struct image_create_options options = {
    .format = s->format, .kind = n == 0 ? s->kind : IMAGE_DYNAMIC,
    .size = n == 0 ? s->size : 0, .parent = *below,
    .block_size = n == 0 && has_no_blocks (s) ? 0 : s->block_size,
  };
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;
  uint64_t size;
  char name[32], *path;

  snprintf (name, sizeof name, "%u.%s", n, s->format);
  path = path_in (f->folder, name);
  if (image_create (path, &options, &size, NULL, &err) < 0 ||
      image_open (path, &to_write, &img, NULL, &err) < 0)
    die (path, &err);
  if (size != s->size)
    die ("it has another size", NULL);
  fill (img, f, seed + n, next_id);
  free (*below);
  *below = path;
}

static void
make_by_ourselves (struct subject_files *f, uint64_t seed)
{
  uint32_t next_id = 1;
  char *path = NULL;

  for (unsigned n = 0; n < f->subject->depth; ++n)
    add_file (f, n, &path, seed, &next_id);
  f->leaf = path;
}

/*--- By others --------------------------------------------------------------*/

/* Small blocks, so that many states can be tried; of those that are there
 * one has no bit, one has some over bytes that are not zero, one has all.
 */
static void
make_vhd_of_others (struct subject_files *f)
{
  struct vhd_spec spec = { .type = 3, .size = f->subject->size,
                           .block_size = f->subject->block_size };
  struct vhd_maker *m = vhd_maker_new (&spec);
  unsigned last = f->nr_sectors / f->per_block;
  static const uint8_t bits[4] = { 0xA7, 0xFF, 0x00, 0xF0 };
  const unsigned blocks[4] = { 3, 5, 7, last };
  uint8_t data[4096];

  for (unsigned s = 0; s < 8; ++s)
    disk_fill_sector (data + s * (size_t) DISK_SECTOR, 1 + s);
  for (unsigned i = 0; i < 4; ++i) {
    vhd_maker_add_block (m, blocks[i], &bits[i], data);
    for (unsigned s = 0; s < 8; ++s) {
      unsigned sector = blocks[i] * 8 + s;

      if (sector < f->nr_sectors && bits[i] & 0x80 >> s)
        disk_fill_sector (f->disk + sector * (size_t) DISK_SECTOR, 1 + s);
    }
  }
  vhd_maker_finish (m);
  f->leaf = path_in (f->folder, "others.vhd");
  vhd_maker_save (m, f->leaf);
  vhd_maker_free (m);
}

/* Over a parent that has two blocks: a block with every other group of
 * sectors here, one with none, one with all; zero, not mapped, and absent
 * ones.
 */
static void
put_sectors (uint8_t *disk, uint8_t *block, unsigned first, unsigned nr,
             uint32_t id)
{
  for (unsigned i = 0; i < nr; ++i) {
    disk_fill_sector (block + (first % (MB / 512) + i) * 512, id + i);
    if (disk)
      disk_fill_sector (disk + (first + i) * (size_t) 512, id + i);
  }
}

static struct vhdx_maker *
parent_of_others (struct subject_files *f)
{
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = f->subject->size, .id = 1 });
  uint8_t *data = calloc (1, MB);
  char *path = path_in (f->folder, "others-parent.vhdx");

  if (data == NULL)
    die ("out of memory", NULL);
  for (unsigned block = 0; block < 2; ++block) {
    put_sectors (f->disk, data, block * 2048, 64, 100000 * (block + 1));
    vhdx_maker_add_block (m, block, data);
  }
  vhdx_maker_finish (m);
  vhdx_maker_save (m, path);
  free (path);
  free (data);
  return m;
}

static void
make_vhdx_of_others (struct subject_files *f)
{
  struct vhdx_maker *parent = parent_of_others (f), *m =
    vhdx_maker_new (&(struct vhdx_spec) { .size = f->subject->size, .id = 2,
        .parent_id = 1,
        .locators = { { "relative_path", ".\\others-parent.vhdx" } } });
  uint8_t *data = malloc (MB);

  if (data == NULL)
    die ("out of memory", NULL);
  memset (data, 0xEE, MB);
  put_sectors (f->disk, data, 8, 8, 500);
  put_sectors (f->disk, data, 40, 3, 600);
  vhdx_maker_add_partial (m, 0, data);
  vhdx_maker_set_bits (m, 8, 8);
  vhdx_maker_set_bits (m, 40, 3);
  memset (data, 0xEE, MB);
  vhdx_maker_add_partial (m, 1, data);
  memset (data, 0, MB);
  put_sectors (f->disk, data, 3 * 2048, 16, 700);
  vhdx_maker_add_block (m, 3, data);
  vhdx_maker_put_entry (m, vhdx_maker_entry (m, 2), 0, 3);
  vhdx_maker_finish (m);
  f->leaf = path_in (f->folder, "others.vhdx");
  vhdx_maker_save (m, f->leaf);
  vhdx_maker_free (m);
  vhdx_maker_free (parent);
  free (data);
}

/*--- The table --------------------------------------------------------------*/

/* Disks end within a block, and within 4 KiB. */
const struct subject subjects[] = {
  { .name = "raw", .format = "raw", .kind = IMAGE_FIXED, .depth = 1,
    .size = 200 * KB + 512, .block_size = 4 * KB, .is_plain = true },
  { .name = "vhd-fixed", .format = "vhd", .kind = IMAGE_FIXED, .depth = 1,
    .size = 200 * KB + 512, .block_size = 4 * KB, .is_plain = true },
  { .name = "vhd-dynamic", .format = "vhd", .kind = IMAGE_DYNAMIC, .depth = 1,
    .size = 7 * 512 * KB - 3 * 512, .block_size = 512 * KB },
  { .name = "vhd-dynamic-of-others", .format = "vhd", .kind = IMAGE_DYNAMIC,
    .depth = 1, .size = 64 * 4 * KB - 3 * 512, .block_size = 4 * KB,
    .make = make_vhd_of_others },
  { .name = "vhd-differencing", .format = "vhd", .kind = IMAGE_DYNAMIC,
    .depth = 3, .size = 7 * 512 * KB - 3 * 512, .block_size = 512 * KB },
  /* Of its headers one sector changes. */
  { .name = "vhdx-fixed", .format = "vhdx", .kind = IMAGE_FIXED, .depth = 1,
    .size = 3 * MB - 3 * 512, .block_size = MB, .is_plain = true },
  { .name = "vhdx-dynamic", .format = "vhdx", .kind = IMAGE_DYNAMIC,
    .depth = 1, .size = 6 * MB - 3 * 512, .block_size = MB },
  { .name = "vhdx-differencing", .format = "vhdx", .kind = IMAGE_DYNAMIC,
    .depth = 2, .size = 5 * MB - 3 * 512, .block_size = MB },
  { .name = "vhdx-differencing-of-others", .format = "vhdx",
    .kind = IMAGE_DYNAMIC, .depth = 2, .size = 5 * MB - 3 * 512,
    .block_size = MB, .make = make_vhdx_of_others },
  { .name = NULL },
};

const struct subject *
subject_next (const struct subject *s)
{
  const char *only = getenv ("NBDIMAGE_TEST_SUBJECT");

  for (s = s ? s + 1 : subjects; s->name; ++s)
    if (only == NULL || strcmp (only, s->name) == 0)
      return s;
  return NULL;
}

unsigned
subject_count (void)
{
  unsigned nr = 0;

  FOR_EACH_SUBJECT (s)
    nr++;
  if (nr == 0)
    die ("NBDIMAGE_TEST_SUBJECT names no subject", NULL);
  return nr;
}

uint64_t
subject_number (const char *name, uint64_t usual)
{
  const char *value = getenv (name);

  return value ? strtoull (value, NULL, 10) : usual;
}

/*--- Making and opening -----------------------------------------------------*/

static void
load_leaf (struct subject_files *f)
{
  CLEANUP_CLOSE int fd = open (f->leaf, O_RDONLY | O_CLOEXEC);
  uint64_t size;

  if (fd < 0 || fd_size (fd, &size, NULL) < 0)
    die (f->leaf, NULL);
  f->len = size;
  f->data = malloc (size);
  if (f->data == NULL || fd_pread (fd, f->data, size, 0, NULL) < 0)
    die (f->leaf, NULL);
}

void
subject_make (const struct subject *s, uint64_t seed,
              struct subject_files *out)
{
  const char *tmp = getenv ("TMPDIR");
  struct subject_files f = {
    .subject = s,
    .nr_sectors = (unsigned) (s->size / DISK_SECTOR),
    .per_block = s->block_size / DISK_SECTOR,
  };

  f.folder = path_in (tmp ? tmp : "/tmp", "nbdimage-subject.XXXXXX");
  f.disk = calloc (f.nr_sectors, DISK_SECTOR);
  if (f.disk == NULL || mkdtemp (f.folder) == NULL)
    die (f.folder, NULL);
  if (s->make)
    s->make (&f);
  else
    make_by_ourselves (&f, seed);
  load_leaf (&f);
  *out = f;
}

void
subject_remove (struct subject_files *f)
{
  DIR *dir = opendir (f->folder);
  struct dirent *entry;

  while (dir && (entry = readdir (dir)) != NULL)
    unlinkat (dirfd (dir), entry->d_name, 0);
  if (dir)
    closedir (dir);
  rmdir (f->folder);
  free (f->folder);
  free (f->leaf);
  free (f->data);
  free (f->disk);
}

int
subject_open (const struct subject_files *f, struct block *block,
              bool writable, struct image **out, struct err *err)
{
  struct image_options options = {
    .parent_path = f->folder, .writable = writable,
  };
  int r = image_open_block (block, &options, out, NULL, err);

  if (r == 0 && strcmp (image_format (*out), f->subject->format) != 0) {
    r = err_set (err, -EBADMSG, "it is taken for %s", image_format (*out));
    image_unref (*out);
    *out = NULL;                /* the caller's cleanup looks at it */
  }
  return r;
}
