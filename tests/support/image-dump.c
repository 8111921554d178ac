/* SPDX-License-Identifier: GPL-2.0-or-later */

/* image-dump [OPTION...] FILE: the disk in an image, for tests.
 *
 *   --size                print its size instead of its bytes
 *   --extents             print "OFFSET LENGTH KIND LAYER" for each extent
 *   --info                print what image_get_info says
 *   --ignore-checksums    open it with wrong checksums, too
 *   --size-rule=RULE      auto, current, chs
 *   --parent-path=FOLDERS
 *
 * Warnings and the reason of a failure go to stderr, exit status 1.
 */

#include <config.h>

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/image.h"

#define CHUNK (1024 * 1024)

static int
dump_bytes (struct image *img, struct err *err)
{
  CLEANUP_FREE char *buf = malloc (CHUNK);
  uint64_t size = image_size (img);
  int r;

  if (buf == NULL)
    return err_nomem (err);
  for (uint64_t off = 0; off < size; off += CHUNK) {
    size_t n = (size_t) min_u64 (CHUNK, size - off);

    r = image_pread (img, buf, n, off, err);
    if (r < 0)
      return r;
    if (fwrite (buf, 1, n, stdout) != n)
      return err_sys (err, "writing to stdout");
  }
  return 0;
}

static int
dump_extents (struct image *img, struct err *err)
{
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  int r = image_extents (img, image_size (img), 0, &list, err);

  for (size_t i = 0; r == 0 && i < list.v.len; ++i) {
    const struct extent *e = &list.v.ptr[i];

    printf ("%" PRIu64 " %" PRIu64 " %s %u\n", e->off, e->len,
            extent_kind_to_string (e->kind), e->layer);
  }
  return r;
}

static int
dump_info (struct image *img, struct err *err)
{
  CLEANUP_IMAGE_INFO struct image_info info;
  int r = image_get_info (img, &info, err);

  if (r < 0) {
    memset (&info, 0, sizeof info);
    return r;
  }
  printf ("type: %s\n", info.type ? info.type : "-");
  printf ("creator: %s\n", info.creator ? info.creator : "-");
  printf ("created: %" PRId64 "\n", info.created);
  printf ("allocation-size: %" PRIu64 "\n", info.allocation_size);
  for (size_t i = 0; i < info.properties.len; ++i)
    printf ("%s: %s\n", info.properties.ptr[i].key,
            info.properties.ptr[i].value);
  for (size_t i = 0; i < info.layers.len; ++i)
    printf ("layer %zu: %s %s %s\n", i, info.layers.ptr[i].name,
            info.layers.ptr[i].type ? info.layers.ptr[i].type : "-",
            info.layers.ptr[i].id ? info.layers.ptr[i].id : "-");
  return 0;
}

static int
dump_size (struct image *img, struct err *err)
{
  (void) err;
  printf ("%" PRIu64 "\n", image_size (img));
  return 0;
}

int
main (int argc, char *argv[])
{
  static const struct option options[] = {
    { "size", no_argument, NULL, 's' },
    { "extents", no_argument, NULL, 'e' },
    { "info", no_argument, NULL, 'i' },
    { "ignore-checksums", no_argument, NULL, 'c' },
    { "size-rule", required_argument, NULL, 'r' },
    { "parent-path", required_argument, NULL, 'p' },
    { NULL, 0, NULL, 0 }
  };
  int (*dump) (struct image *, struct err *) = dump_bytes;
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  struct image_options how = { 0 };
  struct err err = ERR_INIT;
  int c, r = 0;

  while (r == 0 && (c = getopt_long (argc, argv, "", options, NULL)) != -1)
    switch (c) {
    case 's': dump = dump_size; break;
    case 'e': dump = dump_extents; break;
    case 'i': dump = dump_info; break;
    case 'c': how.ignore_checksums = true; break;
    case 'r':
      r = image_size_rule_parse (optarg, &how.size_rule, &err);
      break;
    case 'p': how.parent_path = optarg; break;
    default: return 2;
    }
  if (optind + 1 != argc)
    return 2;
  if (r == 0)
    r = image_open (argv[optind], &how, &img, &report, &err);
  if (r == 0)
    r = dump (img, &err);
  for (size_t i = 0; i < report.lines.len; ++i)
    fprintf (stderr, "warning: %s\n", report.lines.ptr[i]);
  if (r < 0)
    fprintf (stderr, "image-dump: %s: %s\n", argv[optind], err.msg);
  return r < 0 || fflush (stdout) != 0;
}
