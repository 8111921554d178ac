/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Changes go through the log, and the end of the file.
 *
 * What is to change is gathered in pages, in memory.  A commit:
 *
 *   1. The pages are written into the log, in one entry (vhdx-logger.c).
 *   2. Flush.
 *
 * A crash before the end of 1 leaves the log without that entry; after it, an
 * entry that is whole is replayed.  A torn one is none.  Step 2 is there so
 * that what the change gave up may be written over by who knows that the log
 * does not write to it.
 *
 * Things that nothing names yet (a region in its new place, blocks that are
 * copied) are written directly and flushed before the commit that names them.
 * A crash leaves them as space that is nobody's.
 *
 * As long as the log has entries the file does not become shorter, because
 * they state how long it is.  So the end of the file is cut off last, when
 * everything is in its place and the headers say that there is no log.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/vhdx/vhdx-edit.h"

/* Of a file that is not refused when it is opened. */
#define MAX_FILE_SIZE (UINT64_C (128) << 40)

/*--- Opening ----------------------------------------------------------------*/

static const char *
reason_not_to_edit (const struct vhdx_layer *layer)
{
  const char *reason = vhdx_writer_reason (layer);

  if (reason == NULL && !block_can_resize (layer->block))
    reason = "its size would have to change, and only that of a regular file "
      "can";
  return reason;
}

static int
load (struct vhdx_edit *e, struct report *report, struct err *err)
{
  const char *reason;
  int r = vhdx_layer_new (e->block, e->options, &e->layer, report, err);

  if (r < 0)
    return r;
  e->layer->is_written = true;
  r = vhdx_layer_open (e->layer, e->options, report, err);
  if (r < 0)
    return r;
  reason = reason_not_to_edit (e->layer);
  if (reason)
    return err_set (err, -EROFS, "can't be changed: %s", reason);
  e->bat = e->layer->regions.bat;
  e->metadata = e->layer->regions.metadata;
  e->end = vhdx_end_of_data (e->layer);
  return 0;
}

int
vhdx_edit_open (struct block *block, const struct image_options *options,
                struct vhdx_edit *e, struct report *report, struct err *err)
{
  *e = (struct vhdx_edit) { .block = block, .options = options };
  return load (e, report, err);
}

static void
forget_staged (struct vhdx_edit *e)
{
  for (size_t i = 0; i < e->staged.len; ++i)
    free (e->staged.ptr[i].bytes);
  e->staged.len = 0;
}

void
vhdx_edit_close (struct vhdx_edit *e)
{
  forget_staged (e);
  vector_free (&e->staged);
  vhdx_logger_free (e->logger);
  e->logger = NULL;
  vhdx_layer_free (e->layer);
  e->layer = NULL;
}

int
vhdx_edit_reload (struct vhdx_edit *e, struct err *err)
{
  int r = vhdx_edit_settle (e, err);

  if (r < 0)
    return r;
  vhdx_edit_close (e);
  return load (e, NULL, err);
}

bool
vhdx_edit_is_mended (const struct vhdx_edit *e)
{
  return e->layer->file == e->layer->block && !e->layer->header.alone;
}

int
vhdx_edit_begin (struct vhdx_edit *e, struct err *err)
{
  uint8_t guid[UUID_SIZE];
  int r = vhdx_recover (e->layer, err);

  if (r == 0)
    r = vhdx_pending_finish (e->layer, NULL, err);
  if (r == 0)
    r = vhdx_guid_new (guid, err);
  return r < 0 ? r
    : vhdx_header_update (e->layer, &(struct vhdx_header_change) {
        .file_write_guid = guid }, err);
}

int
vhdx_edit_new_data (struct vhdx_edit *e, struct err *err)
{
  uint8_t guid[UUID_SIZE];
  int r = 0;

  if (e->options->data_id)
    memcpy (guid, e->options->data_id, UUID_SIZE);
  else
    r = vhdx_guid_new (guid, err);
  return r < 0 ? r
    : vhdx_header_update (e->layer, &(struct vhdx_header_change) {
        .data_write_guid = guid }, err);
}

/*--- What is put ------------------------------------------------------------*/

static struct vhdx_staged *
find_staged (const struct vhdx_edit *e, uint64_t off)
{
  for (size_t i = 0; i < e->staged.len; ++i)
    if (e->staged.ptr[i].off == off)
      return &e->staged.ptr[i];
  return NULL;
}

/* As it is after the commit. */
static int
read_page (struct vhdx_edit *e, uint64_t off, uint8_t page[VHDX_PAGE],
           struct err *err)
{
  const struct vhdx_staged *s = find_staged (e, off);

  if (s) {
    memcpy (page, s->bytes, VHDX_PAGE);
    return 0;
  }
  if (e->logger && vhdx_logger_get_page (e->logger, off, page))
    return 0;
  return block_pread (e->layer->file, page, VHDX_PAGE, off, err);
}

int
vhdx_edit_read (struct vhdx_edit *e, void *buf, size_t len, uint64_t off,
                struct err *err)
{
  uint8_t page[VHDX_PAGE], *p = buf;
  int r = 0;

  while (r == 0 && len > 0) {
    size_t in_page = (size_t) (off % VHDX_PAGE);
    size_t n = (size_t) min_u64 (len, VHDX_PAGE - in_page);

    r = read_page (e, off - in_page, page, err);
    if (r == 0)
      memcpy (p, page + in_page, n);
    p += n;
    off += n;
    len -= n;
  }
  return r;
}

static int
stage (struct vhdx_edit *e, uint64_t off, const uint8_t page[VHDX_PAGE],
       struct err *err)
{
  struct vhdx_staged s = { off, malloc (VHDX_PAGE) };

  if (s.bytes == NULL || vector_append (&e->staged, &s) < 0) {
    free (s.bytes);
    return err_nomem (err);
  }
  memcpy (s.bytes, page, VHDX_PAGE);
  return 0;
}

/* A part of a page; count: only say (1) whether that would take another one.
 */
static int
put_in_page (struct vhdx_edit *e, const uint8_t *p, size_t len, uint64_t off,
             bool count, struct err *err)
{
  size_t in_page = (size_t) (off % VHDX_PAGE);
  struct vhdx_staged *s = find_staged (e, off - in_page);
  uint8_t page[VHDX_PAGE];
  int r;

  if (s) {
    if (!count)
      memcpy (s->bytes + in_page, p, len);
    return 0;
  }
  r = read_page (e, off - in_page, page, err);
  if (r < 0 || memcmp (page + in_page, p, len) == 0)
    return r;
  if (count)
    return 1;
  memcpy (page + in_page, p, len);
  return stage (e, off - in_page, page, err);
}

static int
put_all (struct vhdx_edit *e, const uint8_t *p, size_t len, uint64_t off,
         bool count, struct err *err)
{
  size_t nr = e->staged.len;
  int r = 0;

  while (len > 0) {
    size_t n = (size_t) min_u64 (len, VHDX_PAGE - off % VHDX_PAGE);

    r = put_in_page (e, p, n, off, count, err);
    if (r < 0)
      return r;
    nr += (size_t) r;
    if (nr > VHDX_LOGGER_MAX_PAGES)
      return err_set (err, -E2BIG, "more than %d pages of metadata would have "
                      "to change at once", (int) VHDX_LOGGER_MAX_PAGES);
    p += n;
    off += n;
    len -= n;
  }
  return 0;
}

int
vhdx_edit_put (struct vhdx_edit *e, const void *buf, size_t len, uint64_t off,
               struct err *err)
{
  int r = put_all (e, buf, len, off, true, err);

  return r < 0 ? r : put_all (e, buf, len, off, false, err);
}

size_t
vhdx_edit_nr_staged (const struct vhdx_edit *e)
{
  return e->staged.len;
}

/*--- Commits ----------------------------------------------------------------*/

/* What of a page of the BAT is held. */
static void
take_entries (struct vhdx_edit *e, const struct vhdx_staged *s)
{
  struct vhdx_bat *bat = &e->layer->bat;
  uint64_t first;

  if (s->off < e->bat.off || s->off >= e->bat.off + e->bat.len)
    return;
  first = (s->off - e->bat.off) / VHDX_BAT_ENTRY_SIZE;
  for (uint64_t i = 0; i < VHDX_PAGE / VHDX_BAT_ENTRY_SIZE &&
         first + i < bat->nr_entries; ++i)
    bat->entries[first + i] = get_le64 (s->bytes + i * VHDX_BAT_ENTRY_SIZE);
}

static int
by_offset (const void *a, const void *b)
{
  const struct vhdx_region *x = a, *y = b;

  return x->off < y->off ? -1 : x->off > y->off;
}

static void
take_region (struct vhdx_edit *e, struct vhdx_region *old,
             const struct vhdx_region *region)
{
  struct vhdx_region_vector *all = &e->layer->regions.all;

  for (size_t i = 0; i < all->len; ++i)
    if (memcmp (all->ptr[i].guid, old->guid, UUID_SIZE) == 0)
      all->ptr[i] = *region;
  *old = *region;
  qsort (all->ptr, all->len, sizeof all->ptr[0], by_offset);
}

static int
write_log (struct vhdx_edit *e, struct err *err)
{
  struct vhdx_log_page pages[VHDX_LOGGER_MAX_PAGES];
  int r = 0;

  if (e->logger == NULL)
    r = vhdx_logger_new (e->layer, &e->logger, err);
  if (r < 0)
    return r;
  for (size_t i = 0; i < e->staged.len; ++i)
    pages[i] = (struct vhdx_log_page) { e->staged.ptr[i].off,
                                        e->staged.ptr[i].bytes };
  r = vhdx_logger_change_pages (e->logger, pages, e->staged.len, err);
  return r < 0 ? r : block_flush (e->block, err);
}

int
vhdx_edit_commit (struct vhdx_edit *e, struct err *err)
{
  int r;

  assert (e->layer->file == e->layer->block);
  if (e->staged.len == 0)
    return 0;
  r = write_log (e, err);
  if (r == 0) {
    for (size_t i = 0; i < e->staged.len; ++i)
      take_entries (e, &e->staged.ptr[i]);
    take_region (e, &e->layer->regions.bat, &e->bat);
    take_region (e, &e->layer->regions.metadata, &e->metadata);
  }
  forget_staged (e);
  return r;
}

int
vhdx_edit_settle (struct vhdx_edit *e, struct err *err)
{
  int r;

  assert (e->staged.len == 0);
  if (e->logger == NULL)
    return 0;
  r = vhdx_logger_finish (e->logger, err);
  if (r < 0)
    return r;
  vhdx_logger_free (e->logger);
  e->logger = NULL;
  return 0;
}

/*--- The end of the file ----------------------------------------------------*/

int
vhdx_edit_append (struct vhdx_edit *e, uint64_t len, uint64_t *off,
                  struct err *err)
{
  uint64_t at = e->end, end, size = block_size (e->block);
  int r = 0;

  assert (len % VHDX_UNIT == 0);
  if (!checked_add (at, len, &end) || end > MAX_FILE_SIZE)
    return err_set (err, -ENOSPC, "the file has reached offset %" PRIu64
                    ", and the most it can have are 128 TiB", at);
  if (at < size)
    r = block_zero (e->block, min_u64 (len, size - at), at, 0, err);
  if (r == 0 && end > size)
    r = block_resize (e->block, end, err);
  if (r == 0)
    r = block_flush (e->block, err);
  if (r < 0)
    return r;
  if (e->logger)
    vhdx_logger_stable_size (e->logger, block_size (e->block));
  e->end = end;
  *off = at;
  return 0;
}

bool
vhdx_edit_is_cut (const struct vhdx_edit *e)
{
  return vhdx_end_of_data (e->layer) >= block_size (e->block);
}

int
vhdx_edit_cut (struct vhdx_edit *e, struct err *err)
{
  int r = vhdx_edit_settle (e, err);

  if (r < 0 || vhdx_edit_is_cut (e))
    return r;
  e->end = vhdx_end_of_data (e->layer);
  r = block_resize (e->block, e->end, err);
  return r < 0 ? r : block_flush (e->block, err);
}
