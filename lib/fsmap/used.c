/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Who reads which file system, and what is said when nobody can. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/fsmap/identify.h"
#include "lib/fsmap/used-reading.h"

struct reader {
  const char *kind;
  int (*read) (struct used_reading *rd, struct err *err);
};

static const struct reader readers[] = {
  { "ext2", used_read_ext },
  { "ext3", used_read_ext },
  { "ext4", used_read_ext },
  { "ntfs", used_read_ntfs },
  { "vfat", used_read_fat },
  { "exfat", used_read_exfat },
  { "xfs", used_read_xfs },
  { "btrfs", used_read_btrfs },
  { "f2fs", used_read_f2fs },
  { "swap", used_read_swap },
};

const char *
fs_used_verdict_to_string (enum fs_used_verdict verdict)
{
  switch (verdict) {
  case FS_USED_EXACT:
    return "exact";
  case FS_USED_MORE:
    return "more";
  case FS_USED_WHOLE:
    return "whole";
  }
  return "?";
}

int
used_pread (struct used_reading *rd, const char *what, void *buf, size_t len,
            uint64_t off, struct err *err)
{
  int r;

  if (!range_fits (off, len, rd->size))
    return err_set (err, -EBADMSG, "%s at %" PRIu64 " is outside the "
                    "partition of %" PRIu64 " bytes", what, off, rd->size);
  r = block_pread (rd->block, buf, len, off, err);
  return r < 0 ? err_in (err, "%s at %" PRIu64, what, off) : 0;
}

int
used_add_behind (struct used_reading *rd, uint64_t len, struct err *err)
{
  if (len > rd->size)
    return err_set (err, -EBADMSG, "the file system of %" PRIu64 " bytes is "
                    "longer than the partition of %" PRIu64, len, rd->size);
  return used_map_add (&rd->map, len, rd->size - len, err);
}

static const struct reader *
find_reader (const char *kind)
{
  for (size_t i = 0; i < sizeof readers / sizeof readers[0]; ++i)
    if (strcmp (readers[i].kind, kind) == 0)
      return &readers[i];
  return NULL;
}

/* Takes the map of the reading. */
static void
answer (struct used_reading *rd, const char *kind, struct fs_used *out)
{
  memset (out, 0, sizeof *out);
  snprintf (out->kind, sizeof out->kind, "%s", kind);
  used_map_finish (&rd->map);
  out->verdict = rd->map.filled > 0 ? FS_USED_MORE : rd->verdict;
  out->unit = rd->unit;
  out->map = rd->map;
  out->bytes = used_map_bytes (&out->map);
}

static int
answer_whole (struct used_reading *rd, const char *kind, const char *reason,
              struct fs_used *out, struct err *err)
{
  int r;

  used_map_free (&rd->map);
  used_map_init (&rd->map, rd->size, USED_MAP_LIMIT);
  r = used_map_add (&rd->map, 0, rd->size, err);
  if (r < 0)
    return r;
  rd->verdict = FS_USED_WHOLE;
  rd->unit = 1;
  answer (rd, kind, out);
  snprintf (out->reason, sizeof out->reason, "%s", reason);
  return 0;
}

int
fs_used_as (struct block *block, const char *kind, struct fs_used *out,
            struct job *job, struct err *err)
{
  struct used_reading rd = {
    .block = block,
    .size = block_size (block),
    .verdict = FS_USED_EXACT,
    .unit = 1,
    .job = job,
  };
  const struct reader *reader = find_reader (kind);
  struct err why = ERR_INIT;
  int r;

  used_map_init (&rd.map, rd.size, USED_MAP_LIMIT);
  job_start (job, "looking for what is used", rd.size);
  if (reader == NULL)
    r = err_set (&why, -ENOTSUP, "what %s uses is not known", kind);
  else
    r = reader->read (&rd, &why);
  if (r == 0)
    answer (&rd, kind, out);
  else if (r != -ENOMEM && r != -ECANCELED)
    r = answer_whole (&rd, kind, why.msg, out, err);
  else
    err_set (err, r, "%s", why.msg);
  if (r < 0)
    used_map_free (&rd.map);
  return r;
}

/* Nothing that fs_used_as knows. */
static int
whole (struct block *block, const char *reason, struct fs_used *out,
       struct err *err)
{
  struct used_reading rd = { .block = block, .size = block_size (block) };

  return answer_whole (&rd, "", reason, out, err);
}

int
fs_used (struct block *block, struct fs_used *out, struct job *job,
         struct err *err)
{
  CLEANUP_FS_IDENTITY struct fs_identity id = { .type = NULL };
  struct err why = ERR_INIT;
  int r = fs_identify (block, &id, &why);

  if (r == -ENOMEM || r == -ECANCELED)
    return err_set (err, r, "%s", why.msg);
  if (r < 0)
    return whole (block, why.msg, out, err);
  if (id.type != NULL)
    return fs_used_as (block, id.type, out, job, err);
  if (id.usage != NULL)
    return whole (block, "it has the marks of more than one file system", out,
                  err);
  return whole (block, "no file system is found", out, err);
}

void
fs_used_free (struct fs_used *used)
{
  used_map_free (&used->map);
}
