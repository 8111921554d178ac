/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>
#include <openssl/evp.h>

#include "lib/base/cleanup.h"
#include "lib/base/utf8.h"
#include "lib/repo/manifest-limits.h"
#include "lib/repo/manifest.h"

/* What is left out, one after the other, of a manifest that is too long. */
enum detail { EVERYTHING, NO_FS, NO_WARNINGS, NO_TABLE, LEAST };

/* All of them steal the value; jansson remembers nothing of failures, so that
 * they are counted here.
 */
struct writer {
  bool failed;
};

static void
put (struct writer *w, json_t *object, const char *key, json_t *value)
{
  if (value == NULL || json_object_set_new (object, key, value) < 0)
    w->failed = true;
}

/* Texts from disks are whatever they are; JSON is UTF-8. */
static void
put_text (struct writer *w, json_t *object, const char *key, const char *text)
{
  CLEANUP_FREE char *clean = NULL;

  if (text == NULL)
    return;
  clean = utf8_repair (text, strlen (text));
  put (w, object, key, clean != NULL ? json_string (clean) : NULL);
}

static void
put_number (struct writer *w, json_t *object, const char *key, uint64_t n)
{
  put (w, object, key, json_integer ((json_int_t) n));
}

static void
put_uuid (struct writer *w, json_t *object, const char *key,
          const uint8_t uuid[UUID_SIZE])
{
  char text[UUID_STRING_SIZE];

  uuid_to_string (uuid, text);
  put (w, object, key, json_string (text));
}

static void
put_hash (struct writer *w, json_t *object, const char *key,
          const uint8_t hash[DIGEST_SIZE])
{
  char text[2 * DIGEST_SIZE + 1];

  for (int i = 0; i < DIGEST_SIZE; ++i)
    snprintf (text + 2 * i, 3, "%02x", hash[i]);
  put (w, object, key, json_string (text));
}

static void
put_time (struct writer *w, json_t *object, const char *key, uint64_t t)
{
  time_t seconds = (time_t) t;
  char text[32];
  struct tm tm;

  if (gmtime_r (&seconds, &tm) == NULL ||
      strftime (text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
    w->failed = true;
  else
    put (w, object, key, json_string (text));
}

static void
put_bytes (struct writer *w, json_t *object, const char *key,
           const uint8_t *bytes, size_t len)
{
  CLEANUP_FREE char *text = NULL;

  if (bytes == NULL || len == 0 || len > MANIFEST_TABLE_MAX)
    return;
  text = malloc (4 * ((len + 2) / 3) + 1);
  if (text == NULL) {
    w->failed = true;
    return;
  }
  EVP_EncodeBlock ((unsigned char *) text, bytes, (int) len);
  put (w, object, key, json_string (text));
}

/*--- Parts ------------------------------------------------------------------*/

static json_t *
source_of (struct writer *w, const struct manifest *m)
{
  json_t *source = json_object ();

  put_text (w, source, "kind", m->source_kind);
  put_text (w, source, "path", m->source_path);
  put_text (w, source, "model", m->source_model);
  put_text (w, source, "serial", m->source_serial);
  put_text (w, source, "wwn", m->source_wwn);
  put_text (w, source, "format", m->source_format);
  return source;
}

static json_t *
table_of (struct writer *w, const struct manifest *m, enum detail detail)
{
  json_t *table = json_object ();

  put_text (w, table, "kind", m->table_kind);
  put_text (w, table, "id", m->table_id);
  if (detail < NO_TABLE) {
    put_bytes (w, table, "first", m->table_first, m->table_first_len);
    put_bytes (w, table, "last", m->table_last, m->table_last_len);
  }
  return table;
}

static json_t *
fs_of (struct writer *w, const struct manifest_fs *fs)
{
  json_t *object = json_object ();

  put_text (w, object, "type", fs->type);
  put_text (w, object, "uuid", fs->uuid);
  put_text (w, object, "label", fs->label);
  if (fs->block_size > 0)
    put_number (w, object, "block_size", fs->block_size);
  if (fs->used > 0)
    put_number (w, object, "used", fs->used);
  if (fs->smallest > 0)
    put_number (w, object, "smallest", fs->smallest);
  return object;
}

static json_t *
partition_of (struct writer *w, const struct manifest_partition *p,
              enum detail detail)
{
  json_t *object = json_object (), *chunks = json_array ();

  put_number (w, object, "number", p->number);
  put_number (w, object, "offset", p->off);
  put_number (w, object, "length", p->len);
  put_text (w, object, "type", p->type);
  put_text (w, object, "id", p->id);
  put_text (w, object, "name", p->name);
  put_text (w, object, "attributes", p->attributes);
  if (json_array_append_new (chunks, json_integer ((json_int_t)
                                                   p->first_chunk)) < 0 ||
      json_array_append_new (chunks, json_integer ((json_int_t)
                                                   p->nr_chunks)) < 0)
    w->failed = true;
  put (w, object, "chunks", chunks);
  put_hash (w, object, "hash", p->hash);
  if (p->fs.type != NULL && detail < NO_FS)
    put (w, object, "fs", fs_of (w, &p->fs));
  put_text (w, object, "saved", p->saved);
  return object;
}

static json_t *
counts_of (struct writer *w, const struct manifest_counts *c)
{
  json_t *object = json_object ();

  put_number (w, object, "data", c->data);
  put_number (w, object, "zero", c->zero);
  put_number (w, object, "unallocated", c->unallocated);
  put_number (w, object, "unreadable", c->unreadable);
  put_number (w, object, "new", c->fresh);
  put_number (w, object, "stored", c->stored);
  put_number (w, object, "unreadable_bytes", c->unreadable_bytes);
  return object;
}

/* A text of at most 500 bytes, cut between characters. */
static json_t *
warning_of (const char *text)
{
  CLEANUP_FREE char *clean = utf8_repair (text, strlen (text));
  size_t len;

  if (clean == NULL)
    return NULL;
  len = strlen (clean);
  if (len > MANIFEST_WARNING_MAX) {
    len = MANIFEST_WARNING_MAX;
    while (len > 0 && ((unsigned char) clean[len] & 0xc0) == 0x80)
      --len;
  }
  return json_stringn (clean, len);
}

static void
append (struct writer *w, json_t *array, json_t *value)
{
  if (value == NULL || json_array_append_new (array, value) < 0)
    w->failed = true;
}

/* At most 1,000, of which the last one then says how many there were. */
static json_t *
warnings_of (struct writer *w, const struct manifest *m)
{
  size_t n = m->warnings.len;
  bool cut = n > MANIFEST_WARNINGS_MAX;
  json_t *array = json_array ();
  char text[64];

  for (size_t i = 0; i < (cut ? MANIFEST_WARNINGS_MAX - 1 : n); ++i)
    append (w, array, warning_of (m->warnings.ptr[i]));
  if (cut) {
    snprintf (text, sizeof text, "there were %zu warnings in all", n);
    append (w, array, json_string (text));
  }
  return array;
}

/* As long as there is one of a partition with all that is optional. */
static json_t *
partitions_of (struct writer *w, const struct manifest *m, enum detail detail)
{
  json_t *array = json_array ();

  for (size_t i = 0; i < m->partitions.len; ++i)
    append (w, array, partition_of (w, &m->partitions.ptr[i], detail));
  return array;
}

static json_t *
manifest_of (struct writer *w, const struct manifest *m, enum detail detail)
{
  json_t *object = json_object ();

  put_number (w, object, "nbi", 1);
  put_uuid (w, object, "generation", m->generation);
  put_text (w, object, "name", m->name);
  put_time (w, object, "time", m->time);
  put_number (w, object, "size", m->size);
  put_number (w, object, "chunk_size", m->chunk_size);
  put_number (w, object, "sector_size", m->logical);
  put_number (w, object, "physical_sector_size", m->physical);
  put_hash (w, object, "hash", m->hash);
  if (m->finished > 0)
    put_time (w, object, "finished", m->finished);
  if (!uuid_is_zero (m->base))
    put_uuid (w, object, "base", m->base);
  put_text (w, object, "creator", m->creator);
  put_text (w, object, "host", m->host);
  put (w, object, "source", source_of (w, m));
  put_text (w, object, "held", m->held);
  put_text (w, object, "changes", m->changes);
  put_text (w, object, "checkpoint", m->checkpoint);
  put (w, object, "table", table_of (w, m, detail));
  put (w, object, "partitions", partitions_of (w, m, detail));
  put (w, object, "counts", counts_of (w, &m->counts));
  if (detail < NO_WARNINGS)
    put (w, object, "warnings", warnings_of (w, m));
  return object;
}

int
manifest_write (const struct manifest *m, char **out, size_t *len,
                struct err *err)
{
  for (enum detail detail = EVERYTHING; detail < LEAST; ++detail) {
    struct writer w = { .failed = false };
    json_t *object = manifest_of (&w, m, detail);
    char *text = object == NULL || w.failed ? NULL
      : json_dumps (object, JSON_INDENT (1));

    json_decref (object);
    if (text == NULL)
      return err_nomem (err);
    if (manifest_is_bounded (text, strlen (text))) {
      *out = text;
      *len = strlen (text);
      return 0;
    }
    free (text);
  }
  return err_set (err, -EFBIG, "%zu partitions are more than a backup image "
                  "can describe (NBI-90)", m->partitions.len);
}
