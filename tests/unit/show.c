/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Shows what the library reads out of a disk, for scripts that compare it
 * with what other programs say:
 *
 *   show part FILE [SECTOR-SIZE]         one partition on a line
 *   show image FILE                      what info would say
 *   show fs FILE [OFFSET LENGTH]         as `blkid -p -o export'
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/block/file.h"
#include "lib/block/window.h"
#include "lib/format/image.h"
#include "lib/fsmap/identify.h"
#include "lib/part/part.h"

static int
show_part (struct block *block, const char *sector_size,
           struct report *report, struct err *err)
{
  CLEANUP_PART_TABLE struct part_table table = { .scheme = PART_NONE };
  int r = part_read (block, (uint32_t) strtoul (sector_size, NULL, 0), &table,
                     report, err);

  if (r < 0)
    return r;
  printf ("%s %s %" PRIu32 "\n", part_scheme_to_string (table.scheme),
          table.id ? table.id : "-", table.sector_size);
  for (size_t i = 0; i < table.parts.len; ++i) {
    const struct partition *p = &table.parts.ptr[i];

    printf ("%u %" PRIu64 " %" PRIu64 " %s %s %s [%s]\n", p->number,
            p->off / table.sector_size, p->len / table.sector_size, p->type,
            p->uuid, p->bootable ? "boot" : "-", p->name ? p->name : "");
  }
  return 0;
}

static void
show_value (const char *name, const char *value)
{
  if (value)
    printf ("%s=%s\n", name, value);
}

static int
show_fs (struct block *block, const char *off, const char *len,
         struct err *err)
{
  CLEANUP_FS_IDENTITY struct fs_identity id = { .type = NULL };
  CLEANUP_BLOCK struct block *window = NULL;
  int r = block_window_new (block, off ? strtoull (off, NULL, 0) : 0,
                            len ? strtoull (len, NULL, 0)
                            : block_size (block), &window, err);

  if (r == 0)
    r = fs_identify (window, &id, err);
  if (r < 0)
    return r;
  show_value ("LABEL", id.label);
  show_value ("TYPE", id.type);
  show_value ("USAGE", id.usage);
  show_value ("UUID", id.uuid);
  show_value ("VERSION", id.version);
  return 0;
}

static int
show_image (struct block *block, struct report *report, struct err *err)
{
  CLEANUP_IMAGE_INFO struct image_info info = { .created = -1 };
  CLEANUP_IMAGE struct image *img = NULL;
  int r = image_open_block (block, NULL, &img, report, err);

  if (r == 0)
    r = image_get_info (img, &info, err);
  if (r < 0)
    return r;
  printf ("format=%s\nsize=%" PRIu64 "\ncreated=%" PRId64 "\n",
          image_format (img), image_size (img), info.created);
  show_value ("type", info.type);
  show_value ("label", info.label);
  show_value ("creator", info.creator);
  for (size_t i = 0; i < info.properties.len; ++i)
    show_value (info.properties.ptr[i].key, info.properties.ptr[i].value);
  for (size_t i = 0; i < info.boot.len; ++i) {
    const struct image_boot_entry *e = &info.boot.ptr[i];

    printf ("boot=%s, %s, %s, %" PRIu64 ", %" PRIu64 "\n", e->platform,
            e->bootable ? "y" : "n", e->media, e->off, e->len);
  }
  return 0;
}

int
main (int argc, char *argv[])
{
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct err err = ERR_INIT;
  int r = -1;

  if (argc < 3) {
    fprintf (stderr, "usage: show WHAT FILE …\n");
    return 99;
  }
  r = block_file_open (argv[2], 0, &block, &report, &err);
  if (r == 0 && strcmp (argv[1], "part") == 0)
    r = show_part (block, argc > 3 ? argv[3] : "0", &report, &err);
  else if (r == 0 && strcmp (argv[1], "fs") == 0)
    r = show_fs (block, argc > 4 ? argv[3] : NULL, argc > 4 ? argv[4] : NULL,
                 &err);
  else if (r == 0 && strcmp (argv[1], "image") == 0)
    r = show_image (block, &report, &err);
  for (size_t i = 0; i < report.lines.len; ++i)
    fprintf (stderr, "warning: %s\n", report.lines.ptr[i]);
  if (r < 0)
    fprintf (stderr, "show: %s: %s\n", argv[2], err.msg);
  return r < 0;
}
