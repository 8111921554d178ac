/* SPDX-License-Identifier: GPL-2.0-or-later */

/* used-dump [-z] IMAGE: what the file system in IMAGE uses, for scripts:
 *
 *   kind verdict unit bytes
 *   the reason, or an empty line
 *   offset length               of each run
 *
 * With -z everything else in IMAGE is overwritten too, with 0xa5, or with zeros
 * in the middle of what is long: whoever needs it, sees.
 */

#include <config.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/fdio.h"
#include "lib/block/file.h"
#include "lib/fsmap/used.h"

/* More than this at both ends would make sparse files big. */
#define SPOIL_ENDS (1024 * 1024)

static void
die (const struct err *err)
{
  fprintf (stderr, "used-dump: %s\n", err->msg);
  exit (1);
}

static void
spoil_range (int fd, uint64_t off, uint64_t end)
{
  static uint8_t buf[65536];

  memset (buf, 0xa5, sizeof buf);
  while (off < end) {
    struct err err = ERR_INIT;
    size_t n = (size_t) min_u64 (sizeof buf, end - off);

    if (fd_pwrite (fd, buf, n, off, &err) < 0)
      die (&err);
    off += n;
  }
}

static void
spoil (const char *path, const struct used_map *map)
{
  CLEANUP_CLOSE int fd = open (path, O_WRONLY);
  uint64_t off = 0;

  if (fd < 0) {
    perror (path);
    exit (1);
  }
  while (off < map->size) {
    uint64_t end;
    bool used;

    used_map_find (map, off, &used, &end);
    if (!used && end - off <= 2 * SPOIL_ENDS)
      spoil_range (fd, off, end);
    else if (!used) {
      spoil_range (fd, off, off + SPOIL_ENDS);
      spoil_range (fd, end - SPOIL_ENDS, end);
      if (fallocate (fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     (off_t) (off + SPOIL_ENDS),
                     (off_t) (end - off - 2 * SPOIL_ENDS)) < 0) {
        perror (path);
        exit (1);
      }
    }
    off = end;
  }
}

int
main (int argc, char *argv[])
{
  bool spoil_too = argc == 3 && strcmp (argv[1], "-z") == 0;
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_FS_USED struct fs_used used = { .kind = "" };
  struct err err = ERR_INIT;

  if (argc != 2 && !spoil_too) {
    fprintf (stderr, "usage: used-dump [-z] IMAGE\n");
    return 2;
  }
  if (block_file_open (argv[argc - 1], 0, &block, NULL, &err) < 0 ||
      fs_used (block, &used, NULL, &err) < 0)
    die (&err);
  printf ("%s %s %" PRIu64 " %" PRIu64 "\n%s\n",
          used.kind[0] != '\0' ? used.kind : "-",
          fs_used_verdict_to_string (used.verdict), used.unit, used.bytes,
          used.reason);
  for (size_t i = 0; i < used.map.runs.len; ++i)
    printf ("%" PRIu64 " %" PRIu64 "\n", used.map.runs.ptr[i].off,
            used.map.runs.ptr[i].len);
  if (spoil_too)
    spoil (argv[2], &used.map);
  return 0;
}
