/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/repo/manifest.h"

void
manifest_chunks (uint64_t off, uint64_t len, uint32_t chunk_size,
                 uint64_t disk_size, uint64_t *first, uint64_t *nr)
{
  uint64_t end = off + len;
  uint64_t last = end == disk_size ? div_round_up (end, chunk_size)
    : end / chunk_size;

  *first = div_round_up (off, chunk_size);
  *nr = last > *first ? last - *first : 0;
}

bool
manifest_partition_is_absent (const struct manifest_partition *p)
{
  return p->saved != NULL && strcmp (p->saved, MANIFEST_SAVED_NONE) == 0;
}

static void
destroy_partition (struct manifest_partition *p)
{
  free (p->type);
  free (p->id);
  free (p->name);
  free (p->attributes);
  free (p->fs.type);
  free (p->fs.uuid);
  free (p->fs.label);
  free (p->saved);
}

void
manifest_destroy (struct manifest *m)
{
  free (m->name);
  free (m->creator);
  free (m->host);
  free (m->source_kind);
  free (m->source_path);
  free (m->source_model);
  free (m->source_serial);
  free (m->source_wwn);
  free (m->source_format);
  free (m->held);
  free (m->changes);
  free (m->checkpoint);
  free (m->table_kind);
  free (m->table_id);
  free (m->table_first);
  free (m->table_last);
  for (size_t i = 0; i < m->partitions.len; ++i)
    destroy_partition (&m->partitions.ptr[i]);
  vector_free (&m->partitions);
  for (size_t i = 0; i < m->warnings.len; ++i)
    free (m->warnings.ptr[i]);
  vector_free (&m->warnings);
  memset (m, 0, sizeof *m);
}
