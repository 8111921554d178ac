/* SPDX-License-Identifier: GPL-2.0-or-later */

/* `info` for people. */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "tools/info/info.h"
#include "tools/info/walk.h"
#include "tools/output.h"

#define LABEL_WIDTH 18

static void
show_label (const char *label)
{
  const size_t len = strlen (label);

  printf ("  %s:%*s", label, len < LABEL_WIDTH ? (int) (LABEL_WIDTH - len)
                                               : 1, "");
}

static void
show_text (const char *label, const char *value)
{
  if (value == NULL)
    return;
  show_label (label);
  output_text (value);
  putchar ('\n');
}

/* "127 GiB (136365211648 bytes)". */
static void
show_size (const char *label, uint64_t bytes)
{
  char str[SIZE_STRING_SIZE];

  show_label (label);
  printf ("%s", size_to_string (bytes, str));
  if (bytes >= 1024)
    printf (" (%" PRIu64 " bytes)", bytes);
  putchar ('\n');
}

static void
show_format (const struct info *info)
{
  char unit[SIZE_STRING_SIZE];

  show_label ("Format");
  printf ("%s", image_format (info->img));
  if (info->image.type) {
    printf (", ");
    output_text (info->image.type);
  }
  if (info->image.allocation_size)
    printf (", allocated in units of %s",
            size_to_string (info->image.allocation_size, unit));
  putchar ('\n');
}

static void
show_created (const struct info *info)
{
  time_t t = (time_t) info->image.created;
  char str[64];
  struct tm tm;

  if (info->image.created < 0 || gmtime_r (&t, &tm) == NULL)
    return;
  strftime (str, sizeof str, "%Y-%m-%d %H:%M:%S UTC", &tm);
  show_text ("Created", str);
}

static void
show_chain (const struct info *info)
{
  const struct image_layer_vector *layers = &info->image.layers;

  if (layers->len < 2)
    return;
  printf ("  %s:\n", info->image.is_assembled ? "Files" : "Chain");
  for (size_t i = 0; i < layers->len; ++i) {
    const struct image_layer *l = &layers->ptr[i];

    printf ("    %zu  ", i);
    output_text (l->name);
    printf ("  %s", l->format);
    if (l->type) {
      printf (", ");
      output_text (l->type);
    }
    if (l->id)
      printf ("  %s", l->id);
    putchar ('\n');
  }
}

/*--- partitions ------------------------------------------------------------*/

static void
show_file_system (const struct fs_identity *fs)
{
  if (fs->type == NULL) {
    printf ("%s", fs->usage ? fs->usage : "-");
    return;
  }
  printf ("%s", fs->type);
  if (fs->label) {
    printf (" ‘");
    output_text (fs->label);
    printf ("’");
  }
  if (fs->uuid) {
    printf (" ");
    output_text (fs->uuid);
  }
}

static void
show_partition (const struct partition *p, const struct info_partition *more,
                bool identified)
{
  char start[SIZE_STRING_SIZE], size[SIZE_STRING_SIZE];

  printf ("  %4u %c %10s %10s  %-20.20s  ", p->number,
          p->bootable ? '*' : ' ', size_to_string (p->off, start),
          size_to_string (p->len, size), p->type_name ? p->type_name
                                                      : p->type);
  if (!p->is_extended && identified)
    show_file_system (&more->fs);
  else if (!p->is_extended)
    putchar ('?');
  if (p->name) {
    printf ("  (");
    output_text (p->name);
    printf (")");
  }
  putchar ('\n');
}

static void
show_partitions (const struct info *info)
{
  const struct part_table *t = &info->table;

  if (t->scheme == PART_NONE)
    return;
  show_label ("Partitions");
  printf ("%s", t->scheme == PART_GPT ? "GPT" : "MBR");
  if (t->id)
    printf (" %s", t->id);
  printf (", sectors of %" PRIu32 " bytes\n", t->sector_size);
  if (t->parts.len > 0)
    printf ("  %4s   %10s %10s  %-20s  %s\n", "no.", "start", "size", "type",
            "file system");
  for (size_t i = 0; i < t->parts.len && info->parts; ++i)
    show_partition (&t->parts.ptr[i], &info->parts[i],
                    i < info->nr_identified);
  if (info->nr_identified < t->parts.len)
    printf ("  File systems were looked for in the first %zu of %zu "
            "partitions only.\n", info->nr_identified, t->parts.len);
}

/* Of the whole disk, where there is no table or a hybrid one. */
static void
show_whole (const struct info *info)
{
  const struct fs_identity *fs = &info->whole.fs;

  if (fs->type == NULL && fs->usage == NULL)
    return;
  show_label ("File system");
  show_file_system (fs);
  putchar ('\n');
}

/*--- booting ---------------------------------------------------------------*/

static void
show_el_torito (const struct image_boot_entry *e)
{
  show_label ("Boots as CD");
  printf ("%s, %s, at byte %" PRIu64, e->platform, e->media, e->off);
  if (e->len)
    printf (", %" PRIu64 " bytes", e->len);
  printf ("%s\n", e->bootable ? "" : " (marked as not bootable)");
}

static void
show_boot (const struct info *info)
{
  if (info->has_boot_code)
    show_text ("Boots by BIOS", info->boot_loader ? info->boot_loader
                                                  : "code in sector 0");
  for (size_t i = 0; info->parts && i < info->table.parts.len; ++i)
    if (info->parts[i].efi_loaders) {
      show_label ("Boots by UEFI");
      printf ("%s, partition %u\n", info->parts[i].efi_loaders,
              info->table.parts.ptr[i].number);
    }
  if (info->whole.efi_loaders)
    show_text ("Boots by UEFI", info->whole.efi_loaders);
  for (size_t i = 0; i < info->image.boot.len; ++i)
    show_el_torito (&info->image.boot.ptr[i]);
}

static void
show_data (const struct info *info)
{
  char data[SIZE_STRING_SIZE], end[SIZE_STRING_SIZE];

  if (info_has_all_data (info)) {
    show_size ("Data", info->data);
    return;
  }
  if (info->data_end == 0)      /* an error, which was reported */
    return;
  show_label ("Data");
  printf ("%s in the first %s; --picture counts all of it\n",
          size_to_string (info->data, data),
          size_to_string (info->data_end, end));
}

/* The creator is one of the things that an ISO says; once is enough. */
static void
show_properties (const struct info *info)
{
  const struct image_property_vector *v = &info->image.properties;

  for (size_t i = 0; i < v->len; ++i)
    if (info->image.creator == NULL ||
        strcmp (v->ptr[i].value, info->image.creator) != 0)
      show_text (v->ptr[i].label, v->ptr[i].value);
}

void
info_show (const struct info *info)
{
  output_text (image_name (info->img));
  putchar ('\n');
  show_format (info);
  show_text ("Creator", info->image.creator);
  show_created (info);
  show_text ("Label", info->image.label);
  show_size ("Disk size", image_size (info->img));
  if (info->image.file_size != image_size (info->img))
    show_size ("File size", info->image.file_size);
  show_data (info);
  show_text ("Not writable", image_readonly_reason (info->img));
  show_properties (info);
  show_chain (info);
  show_whole (info);
  show_boot (info);
  show_partitions (info);
}

/*--- --map -----------------------------------------------------------------*/

static int
show_extent (void *opaque, const struct extent *e)
{
  (void) opaque;
  printf ("%16" PRIu64 " %16" PRIu64 "  %-11s %5u\n", e->off, e->len,
          extent_kind_to_string (e->kind), e->layer);
  return 0;
}

int
info_show_map (struct image *img, struct err *err)
{
  uint64_t end;

  printf ("%16s %16s  %-11s %5s\n", "offset", "length", "kind", "layer");
  return walk_extents (img, 0, show_extent, NULL, &end, err);
}
