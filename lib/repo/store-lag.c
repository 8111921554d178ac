/* SPDX-License-Identifier: GPL-2.0-or-later */

/* How old may be what a file system says of names? (docs/NBI.md §13, "Lag") */

#include <config.h>

#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/repo/store-local.h"

/* Not in the kernel's header. */
#define XFS_MAGIC 0x58465342L
#define ZFS_MAGIC 0x2fc12fc1L

/* What NFS does without options: 60 seconds, which it does not print. */
#define NFS_MAX_AGE 60

/* The line of a mount: 36 35 98:0 /root /where rw,... - nfs4 server:/ rw,... */
static const char *
line_of (const char *mountinfo, unsigned long mount)
{
  const char *line = mountinfo;

  while (line && *line) {
    if (strtoul (line, NULL, 10) == mount)
      return line;
    line = strchr (line, '\n');
    if (line)
      ++line;
  }
  return NULL;
}

/* The number of an option in "rw,acregmax=5,..."; or what it is without. */
static unsigned long
option (const char *options, size_t len, const char *name,
        unsigned long without)
{
  size_t name_len = strlen (name);
  const char *end = options + len;

  while (options < end) {
    size_t n = strcspn (options, ",\n");

    if (n > name_len && strncmp (options, name, name_len) == 0)
      return strtoul (options + name_len, NULL, 10);
    options += n + 1;
  }
  return without;
}

static unsigned
lag_of_nfs (const char *line)
{
  size_t len = strcspn (line, "\n");
  const char *options = memrchr (line, ' ', len);
  unsigned long all, folders, files, most;

  if (options == NULL || memmem (line, len, " - ", 3) == NULL)
    return STORE_LAG_UNKNOWN;
  ++options;
  len -= (size_t) (options - line);
  all = option (options, len, "actimeo=", NFS_MAX_AGE);
  folders = option (options, len, "acdirmax=", all);
  files = option (options, len, "acregmax=", all);
  most = folders > files ? folders : files;
  return most < STORE_LAG_MAX / 2 ? (unsigned) most * 2 : STORE_LAG_MAX;
}

unsigned
store_lag_of (long magic, const char *mountinfo, unsigned long mount,
              bool *local)
{
  static const long known[] = {
    EXT4_SUPER_MAGIC, XFS_MAGIC, BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC,
    ZFS_MAGIC, TMPFS_MAGIC,
  };
  const char *line;

  *local = false;
  for (size_t i = 0; i < sizeof known / sizeof known[0]; ++i)
    if (magic == known[i]) {
      *local = true;
      return 0;
    }
  line = magic == NFS_SUPER_MAGIC ? line_of (mountinfo, mount) : NULL;
  return line ? lag_of_nfs (line) : STORE_LAG_UNKNOWN;
}
