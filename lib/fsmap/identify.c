/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is in this partition?  libblkid knows; it has no read callbacks and
 * wants a file descriptor, which gets a copy of the places it looks at.  Its
 * low-level probing is used: no cache, no udev, no state between calls.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <blkid.h>

#include "lib/base/utf8.h"
#include "lib/fsmap/identify.h"
#include "lib/fsmap/places.h"

static void
probe_cleanup (blkid_probe *probe)
{
  blkid_free_probe (*probe);
}

#define CLEANUP_PROBE __attribute__ ((__cleanup__ (probe_cleanup)))

/* The value may be any bytes: the label of a FAT is in some code page. */
static int
take (blkid_probe probe, const char *name, char **out, struct err *err)
{
  const char *value;
  size_t len;

  if (blkid_probe_lookup_value (probe, name, &value, &len) < 0 || len == 0 ||
      value[0] == '\0')
    return 0;
  *out = utf8_repair (value, len);
  return *out ? 0 : err_nomem (err);
}

static int
take_all (blkid_probe probe, struct fs_identity *id, struct err *err)
{
  int r = take (probe, "TYPE", &id->type, err);

  if (r == 0)
    r = take (probe, "USAGE", &id->usage, err);
  if (r == 0)
    r = take (probe, "LABEL", &id->label, err);
  if (r == 0)
    r = take (probe, "UUID", &id->uuid, err);
  if (r == 0)
    r = take (probe, "VERSION", &id->version, err);
  return r;
}

static int
identify_fd (int fd, struct fs_identity *id, struct err *err)
{
  CLEANUP_PROBE blkid_probe probe = blkid_new_probe ();
  int r;

  if (probe == NULL)
    return err_nomem (err);
  if (blkid_probe_set_device (probe, fd, 0, 0) < 0 ||
      blkid_probe_enable_superblocks (probe, 1) < 0 ||
      blkid_probe_set_superblocks_flags (probe, BLKID_SUBLKS_LABEL |
                                         BLKID_SUBLKS_UUID |
                                         BLKID_SUBLKS_TYPE |
                                         BLKID_SUBLKS_USAGE |
                                         BLKID_SUBLKS_VERSION) < 0)
    return err_set (err, -EIO, "libblkid can't be set up");
  r = blkid_do_safeprobe (probe);
  if (r == -2) {
    id->usage = strdup ("ambivalent");
    return id->usage ? 0 : err_nomem (err);
  }
  if (r < 0)
    return err_set (err, -EIO, "libblkid failed to look for file systems");
  return r == 0 ? take_all (probe, id, err) : 0;
}

static int
look (struct block *block, bool damaged, struct fs_identity *identity,
      struct err *err)
{
  CLEANUP_SPARSE_COPY struct sparse_copy copy = { .fd = -1 };
  struct fs_identity found = { .type = NULL };
  int r;

  if (block_size (block) > 0) {
    r = sparse_copy_init (&copy, block, err);
    copy.skips = damaged;
    if (r == 0)
      r = places_copy (&copy, err);
    if (r == 0)
      r = identify_fd (copy.fd, &found, err);
    if (r < 0) {
      fs_identity_free (&found);
      return r;
    }
  }
  *identity = found;
  return 0;
}

int
fs_identify (struct block *block, struct fs_identity *identity,
             struct err *err)
{
  return look (block, false, identity, err);
}

int
fs_identify_damaged (struct block *block, struct fs_identity *identity,
                     struct err *err)
{
  return look (block, true, identity, err);
}

void
fs_identity_free (struct fs_identity *identity)
{
  free (identity->type);
  free (identity->usage);
  free (identity->label);
  free (identity->uuid);
  free (identity->version);
  memset (identity, 0, sizeof *identity);
}
