/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/window.h"
#include "lib/format/image.h"
#include "lib/restore/contents.h"

/* Of a disk on which nothing is found, both ends are looked at, and some
 * places between, and each place that it says has data: whether there is
 * anything whose beginning was lost.
 */
#define END (UINT64_C (1) << 20)
#define PLACE (64 * 1024)
#define PLACES 64

/*--- Zeros ------------------------------------------------------------------*/

static bool
is_zero_at (struct block *disk, uint8_t *buf, uint64_t len, uint64_t off)
{
  if (len == 0)
    return true;
  if (block_pread (disk, buf, (size_t) len, off, NULL) < 0)
    return false;
  return buf[0] == 0 && memcmp (buf, buf + 1, (size_t) len - 1) == 0;
}

/* Where the disk knows in which places it has data, as a file with holes does:
 * are they zeros, as far as the beginning of each tells?
 */
static bool
data_is_zero (struct block *disk, uint8_t *buf)
{
  uint64_t off = 0, size = block_size (disk);

  while (off < size) {
    CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 4096 };
    uint64_t next;

    if (block_extents (disk, size - off, off, &list, NULL) < 0)
      return false;
    for (size_t i = 0; i < list.v.len; ++i) {
      const struct extent *e = &list.v.ptr[i];

      if (e->kind != EXTENT_ZERO && e->kind != EXTENT_HOLE && e->off < size &&
          !is_zero_at (disk, buf, min_u64 (PLACE, min_u64 (e->len,
                                                           size - e->off)),
                       e->off))
        return false;
    }
    next = extent_list_end (&list, off);
    if (next <= off)
      return false;
    off = next;
  }
  return true;
}

static bool
looks_zero (struct block *disk)
{
  CLEANUP_FREE uint8_t *buf = malloc (END);
  uint64_t size = block_size (disk), end = min_u64 (size, END);

  if (buf == NULL || !is_zero_at (disk, buf, end, 0) ||
      !is_zero_at (disk, buf, end, size - end))
    return false;
  for (uint64_t i = 1; i < PLACES; ++i) {
    uint64_t off = size / PLACES * i;

    if (!is_zero_at (disk, buf, min_u64 (PLACE, size - off), off))
      return false;
  }
  return data_is_zero (disk, buf);
}

/*--- Words ------------------------------------------------------------------*/

char *
restore_fs_to_text (const struct fs_identity *fs)
{
  char *text;
  int r;

  if (fs->type == NULL)
    r = asprintf (&text, "%s", fs->usage ? "several file systems at once"
                                         : "nothing known");
  else if (fs->label)
    r = asprintf (&text, "%s ‘%s’", fs->type, fs->label);
  else
    r = asprintf (&text, "%s", fs->type);
  return r < 0 ? NULL : text;
}

/* What neither has partitions nor is a file system. */
static int
describe_rest (struct block *disk, FILE *fp)
{
  CLEANUP_IMAGE struct image *img = NULL;

  if (image_open_block (disk, NULL, &img, NULL, NULL) < 0 ||
      strcmp (image_format (img), "raw") == 0)
    return fprintf (fp, "something that is not known");
  return fprintf (fp, "a disk image (%s)", image_format (img));
}

static int
put_fs (FILE *fp, const char *before, const struct fs_identity *fs)
{
  CLEANUP_FREE char *text = restore_fs_to_text (fs);

  return text == NULL ? -1 : fprintf (fp, "%s%s", before, text);
}

static void
put_table (FILE *fp, const struct restore_contents *c)
{
  const char *before = ": ";
  size_t n = 0;

  for (size_t i = 0; i < c->table.parts.len; ++i)
    n += !c->table.parts.ptr[i].is_extended;
  fprintf (fp, "%s with %zu partition%s",
           c->table.scheme == PART_GPT ? "a GPT" : "an MBR table", n,
           n == 1 ? "" : "s");
  for (size_t i = 0; i < c->table.parts.len; ++i)
    if (!c->table.parts.ptr[i].is_extended) {
      put_fs (fp, before, &c->fs[i]);
      before = ", ";
    }
}

static int
describe (struct block *disk, struct restore_contents *c, struct err *err)
{
  size_t size;
  FILE *fp = open_memstream (&c->text, &size);

  if (fp == NULL)
    return err_nomem (err);
  if (c->table.scheme != PART_NONE)
    put_table (fp, c);
  else if (c->table.is_lost)
    fputs ("a GPT of which no copy is good", fp);
  else if (c->fs[0].type || c->fs[0].usage)
    put_fs (fp, "", &c->fs[0]);
  else if (c->is_empty)
    fputs ("nothing", fp);
  else
    describe_rest (disk, fp);
  return fclose (fp) != 0 ? err_nomem (err) : 0;
}

/*--- Looking ----------------------------------------------------------------*/

static int
look_at_partitions (struct block *disk, struct restore_contents *c,
                    struct err *err)
{
  for (size_t i = 0; i < c->table.parts.len; ++i) {
    const struct partition *p = &c->table.parts.ptr[i];
    CLEANUP_BLOCK struct block *part = NULL;
    int r;

    if (p->is_extended)
      continue;
    r = block_window_new (disk, p->off, p->len, &part, err);
    if (r < 0)
      return r;
    if (fs_identify (part, &c->fs[i], NULL) < 0)
      c->fs[i] = (struct fs_identity) { .type = NULL };
  }
  return 0;
}

int
restore_contents_look (struct block *disk, uint32_t sector_size,
                       struct restore_contents *contents,
                       struct report *report, struct err *err)
{
  struct restore_contents c = { .text = NULL };
  int r = part_read (disk, sector_size, &c.table, report, err);

  if (r < 0)
    return r;
  c.fs = calloc (c.table.parts.len + 1, sizeof *c.fs);
  if (c.fs == NULL)
    r = err_nomem (err);
  else if (c.table.scheme != PART_NONE)
    r = look_at_partitions (disk, &c, err);
  else
    r = fs_identify (disk, &c.fs[0], err);
  if (r == 0) {
    c.is_empty = c.table.scheme == PART_NONE && !c.table.is_lost &&
      c.fs[0].type == NULL && c.fs[0].usage == NULL && looks_zero (disk);
    r = describe (disk, &c, err);
  }
  if (r < 0) {
    restore_contents_free (&c);
    return r;
  }
  *contents = c;
  return 0;
}

int
restore_contents_unknown (struct restore_contents *contents, struct err *err)
{
  struct restore_contents c = {
    .fs = calloc (1, sizeof *c.fs),
    .text = strdup ("what can't be read"),
  };

  if (c.fs == NULL || c.text == NULL) {
    restore_contents_free (&c);
    return err_nomem (err);
  }
  *contents = c;
  return 0;
}

void
restore_contents_free (struct restore_contents *c)
{
  size_t n = c->table.scheme == PART_NONE ? 1 : c->table.parts.len;

  for (size_t i = 0; c->fs != NULL && i < n; ++i)
    fs_identity_free (&c->fs[i]);
  free (c->fs);
  free (c->text);
  part_table_free (&c->table);
  *c = (struct restore_contents) { .text = NULL };
}

/*--- Finding ----------------------------------------------------------------*/

const struct partition *
restore_contents_find (const struct restore_contents *c, unsigned n,
                       size_t *i)
{
  for (size_t k = 0; k < c->table.parts.len; ++k)
    if (c->table.parts.ptr[k].number == n &&
        !c->table.parts.ptr[k].is_extended) {
      *i = k;
      return &c->table.parts.ptr[k];
    }
  return NULL;
}

const struct partition *
restore_contents_at (const struct restore_contents *c, uint64_t off)
{
  for (size_t k = 0; k < c->table.parts.len; ++k) {
    const struct partition *p = &c->table.parts.ptr[k];

    if (!p->is_extended && off >= p->off && off - p->off < p->len)
      return p;
  }
  return NULL;
}
