/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/uri.h"
#include "lib/block/file.h"
#include "lib/block/nbd.h"
#include "lib/block/nbd-dirty.h"
#include "tools/backup/backup-tool.h"
#include "tools/open.h"

static int
copy_text (char **to, const char *from, struct err *err)
{
  *to = strdup (from);
  return *to != NULL ? 0 : err_nomem (err);
}

static int
describe (const char *name, const struct backup_source *source,
          enum backup_stillness how, struct manifest *m, struct err *err)
{
  static const char *const held[] = {
    "offline", "live", "frozen", "lvm",
  };
  struct block *below = image_block (source->img);
  bool device = backup_is_device (below);
  char host[256] = "";
  int r;

  r = copy_text (&m->source_kind, device ? "device"
                 : block_nbd_is_uri (name) ? "nbd" : "image", err);
  if (r == 0)
    r = copy_text (&m->source_path, name, err);
  if (r == 0)
    r = copy_text (&m->source_format, image_format (source->img), err);
  if (r == 0 && gethostname (host, sizeof host - 1) == 0 && host[0] != '\0')
    r = copy_text (&m->host, host, err);
  if (r == 0)
    r = copy_text (&m->held, held[how], err);
  return r < 0 ? r : backup_device_describe (below, m, err);
}

int
backup_source_open (const char *path, const char *name,
                    const struct image_options *options,
                    enum backup_stillness how, struct backup_source *source,
                    struct manifest *m, struct report *report,
                    struct err *err)
{
  struct image_options held = *options;
  int r;

  /* While another process writes it, what is read is no state that the disk
   * ever had.
   */
  held.lock = how != BACKUP_LIVE;
  r = tool_image_open (path, &held, PROGRESS_AUTO, &source->img, report, err);

  /* What is no VHD any more is not saved as if that were nothing. */
  if (r == 0)
    r = image_check_recognised (source->img, err);
  if (r == 0 && (how == BACKUP_OFFLINE || how == BACKUP_LVM))
    r = backup_device_check_still (image_block (source->img), err);
  if (r == 0 && how == BACKUP_FROZEN)
    r = backup_device_check_known (image_block (source->img), err);
  if (r == 0)
    r = image_to_block (source->img, &source->disk, err);
  return r < 0 ? r : describe (name, source, how, m, err);
}

static int
add_written (void *opaque, uint64_t off, uint64_t len, struct err *err)
{
  return used_map_add (opaque, off, len, err);
}

int
backup_source_changes (const char *uri, const char *bitmap,
                       struct changes *changes, struct report *report,
                       struct err *err)
{
  struct used_map *map = &changes->written;
  struct nbd_dirty dirty = { .add = add_written, .opaque = map };
  struct err why = ERR_INIT;
  int r;

  /* The size is known later; what is added is inside of it. */
  used_map_init (map, INT64_MAX, USED_MAP_LIMIT);
  r = nbd_dirty_read (uri, bitmap, &dirty, &why);
  if (r == -ENOENT) {
    report_warn (report, "all of the disk is read and compared: %s", why.msg);
    return 0;
  }
  if (r < 0)
    return err_set (err, r, "the bitmap ‘%s’: %s", bitmap, why.msg);
  map->size = dirty.size;
  used_map_finish (map);
  changes->bitmap = bitmap;
  return 0;
}

void
backup_source_close (struct backup_source *source)
{
  block_unref (source->disk);
  image_unref (source->img);
}

/*--- Its name in backups ----------------------------------------------------*/

/* NULL: it has none. */
static char *
ending_of (char *name)
{
  char *dot = strrchr (name, '.');

  return dot != name ? dot : NULL;
}

static bool
is_among (const char *ending, const char *const *list)
{
  while (*list != NULL && strcmp (ending, *list) != 0)
    ++list;
  return *list != NULL;
}

/* Without its ending.  Compressed, disk.img.gz, it is the same disk. */
static char *
name_of_file (const char *name)
{
  static const char *const codecs[] = {
    ".bz2", ".gz", ".lz4", ".xz", ".zst", NULL,
  };
  static const char *const images[] = {
    ".dd", ".img", ".iso", ".raw", ".vhd", ".vhdx", NULL,
  };
  const char *slash = strrchr (name, '/');
  char *base = strdup (slash != NULL && slash[1] != '\0' ? slash + 1 : name);
  char *ending = base != NULL ? ending_of (base) : NULL, *before;
  bool again;

  if (ending == NULL)
    return base;
  again = is_among (ending, codecs);
  *ending = '\0';
  before = ending_of (base);
  if (again && before != NULL && is_among (before, images))
    *before = '\0';
  return base;
}

/* Two exports of one server are two disks.  Where the export has no name, what
 * is left of the URI has: the socket or the host.
 */
static char *
name_of_uri (const char *uri)
{
  const char *path = strstr (uri, "://") + 3;
  size_t len;

  path += strcspn (path, "/?#");
  path += *path == '/';
  len = strcspn (path, "?#");
  return len > 0 ? strndup (path, len) : name_of_file (uri);
}

/* A partition has the serial number of its disk. */
static char *
name_of_device (const struct backup_source *source, const struct manifest *m)
{
  unsigned n = backup_device_partition (image_block (source->img));
  char *text;
  int r = n == 0 ? asprintf (&text, "%s-%s", m->host, m->source_serial)
    : asprintf (&text, "%s-%s-part%u", m->host, m->source_serial, n);

  return r < 0 ? NULL : text;
}

int
backup_source_disk_name (const char *name, const struct backup_source *source,
                         const struct manifest *m, char **out,
                         struct err *err)
{
  char *text;

  if (m->source_serial != NULL && m->host != NULL)
    text = name_of_device (source, m);
  else
    text = block_nbd_is_uri (name) && uri_has_scheme (name)
      ? name_of_uri (name) : name_of_file (name);
  if (text == NULL)
    return err_nomem (err);
  for (char *p = text; *p != '\0'; ++p)
    if (*p == '/' || *p == '@' || *p == ' ')
      *p = '_';
  *out = text;
  return 0;
}
