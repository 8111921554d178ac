/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is in front of the parser has bounded what it needs (NBI-90).  Members
 * that must be there are taken by need_*, which refuse; the others by take_*,
 * which leave out what is of another type or form.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>
#include <openssl/evp.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/repo/manifest-limits.h"
#include "lib/repo/manifest.h"

#define NUMBER_MAX ((UINT64_C (1) << 53) - 1)
#define STRUCTURES_MAX 65536

bool
manifest_is_bounded (const char *json, size_t len)
{
  size_t n = 0;

  for (size_t i = 0; i < len; ++i)
    n += json[i] == '{' || json[i] == '[' || json[i] == ',';
  return len <= NBI_MANIFEST_MAX && n <= STRUCTURES_MAX;
}

/*--- Forms ------------------------------------------------------------------*/

static bool
get_number (const json_t *value, uint64_t *n)
{
  json_int_t i;

  if (!json_is_integer (value))
    return false;
  i = json_integer_value (value);
  if (i < 0 || (uint64_t) i > NUMBER_MAX)
    return false;
  *n = (uint64_t) i;
  return true;
}

static bool
get_hex (const char *text, uint8_t *bytes, size_t n)
{
  static const char digits[] = "0123456789abcdef";

  if (strlen (text) != 2 * n)
    return false;
  for (size_t i = 0; i < n; ++i) {
    const char *high = strchr (digits, text[2 * i]);
    const char *low = strchr (digits, text[2 * i + 1]);

    if (high == NULL || low == NULL)
      return false;
    bytes[i] = (uint8_t) ((high - digits) << 4 | (low - digits));
  }
  return true;
}

/* With dashes where they belong, in lower case. */
static bool
get_uuid (const json_t *value, uint8_t uuid[UUID_SIZE])
{
  const char *text = json_string_value (value);
  char digits[2 * UUID_SIZE + 1];
  size_t n = 0;

  if (text == NULL || strlen (text) != UUID_STRING_SIZE - 1)
    return false;
  for (size_t i = 0; text[i] != '\0'; ++i) {
    bool dash = i == 8 || i == 13 || i == 18 || i == 23;

    if (dash != (text[i] == '-'))
      return false;
    if (!dash)
      digits[n++] = text[i];
  }
  digits[n] = '\0';
  return get_hex (digits, uuid, UUID_SIZE);
}

static bool
get_hash (const json_t *value, uint8_t hash[DIGEST_SIZE])
{
  const char *text = json_string_value (value);

  return text != NULL && get_hex (text, hash, DIGEST_SIZE);
}

/* RFC 3339 in UTC, with a Z and no fraction; only what prints as itself. */
static bool
get_time (const json_t *value, uint64_t *t)
{
  const char *text = json_string_value (value), *end;
  struct tm tm = { 0 };
  char again[32];
  time_t seconds;

  if (text == NULL || strlen (text) != 20)
    return false;
  end = strptime (text, "%Y-%m-%dT%H:%M:%SZ", &tm);
  if (end == NULL || *end != '\0')
    return false;
  seconds = timegm (&tm);
  if (seconds < 0 || gmtime_r (&seconds, &tm) == NULL ||
      strftime (again, sizeof again, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0 ||
      strcmp (text, again) != 0)
    return false;
  *t = (uint64_t) seconds;
  return true;
}

/*--- Members that may be there ----------------------------------------------*/

static int
take_text (const json_t *object, const char *key, char **out, struct err *err)
{
  const char *text = json_string_value (json_object_get (object, key));

  if (text == NULL)
    return 0;
  *out = strdup (text);
  return *out != NULL ? 0 : err_nomem (err);
}

static void
take_number (const json_t *object, const char *key, uint64_t *n)
{
  (void) get_number (json_object_get (object, key), n);
}

/* Base64, padded, and nothing else. */
static int
take_bytes (const json_t *object, const char *key, uint8_t **out, size_t *len,
            struct err *err)
{
  const json_t *value = json_object_get (object, key);
  size_t n = json_string_length (value), padding = 0;
  const char *text = json_string_value (value);
  CLEANUP_FREE uint8_t *bytes = NULL;

  if (text == NULL || n == 0 || n % 4 != 0 ||
      n / 4 * 3 > MANIFEST_TABLE_MAX + 2 ||
      strspn (text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
              "0123456789+/") + 2 < n)
    return 0;
  while (padding < 2 && text[n - 1 - padding] == '=')
    ++padding;
  bytes = malloc (n / 4 * 3);
  if (bytes == NULL)
    return err_nomem (err);
  if (EVP_DecodeBlock (bytes, (const unsigned char *) text, (int) n) < 0 ||
      n / 4 * 3 - padding > MANIFEST_TABLE_MAX)
    return 0;
  *len = n / 4 * 3 - padding;
  *out = steal_ptr (&bytes);
  return 0;
}

/*--- Members that must be there ---------------------------------------------*/

static int
lacks (const char *key, struct err *err)
{
  return nbi_refuse (err, 92, "‘%s’ is missing, or of another form", key);
}

static int
need_number (const json_t *object, const char *key, uint64_t *n,
             struct err *err)
{
  return get_number (json_object_get (object, key), n) ? 0 : lacks (key, err);
}

static int
need_hash (const json_t *object, const char *key, uint8_t hash[DIGEST_SIZE],
           struct err *err)
{
  return get_hash (json_object_get (object, key), hash) ? 0
    : lacks (key, err);
}

/* NBI-93. */
static int
differs (const char *key, struct err *err)
{
  return nbi_refuse (err, 93, "‘%s’ is not what the header says", key);
}

static int
same_number (const json_t *object, const char *key, uint64_t expected,
             struct err *err)
{
  uint64_t n = 0;
  int r = need_number (object, key, &n, err);

  return r < 0 ? r : n == expected ? 0 : differs (key, err);
}

static int
check_version (const json_t *object, struct err *err)
{
  uint64_t version = 0;
  int r = need_number (object, "nbi", &version, err);

  if (r == 0 && version != 1)
    return nbi_beyond (err, 92, "version %" PRIu64 " of the manifest",
                       version);
  return r;
}

/* What is in the header too. */
static int
read_header (const json_t *object, const struct nbi_header *h,
             struct manifest *m, struct err *err)
{
  const char *name = json_string_value (json_object_get (object, "name"));
  int r;

  if (!get_uuid (json_object_get (object, "generation"), m->generation))
    return lacks ("generation", err);
  if (memcmp (m->generation, h->run, UUID_SIZE) != 0)
    return differs ("generation", err);
  if (name == NULL)
    return lacks ("name", err);
  if (strcmp (name, h->name) != 0)
    return differs ("name", err);
  if (!get_time (json_object_get (object, "time"), &m->time))
    return lacks ("time", err);
  if (m->time != h->time)
    return differs ("time", err);
  r = same_number (object, "size", h->disk_size, err);
  if (r == 0)
    r = same_number (object, "chunk_size", h->chunk_size, err);
  if (r == 0)
    r = same_number (object, "sector_size", h->logical, err);
  if (r == 0)
    r = same_number (object, "physical_sector_size", h->physical, err);
  if (r == 0)
    r = need_hash (object, "hash", m->hash, err);
  if (r == 0)
    r = take_text (object, "name", &m->name, err);
  m->size = h->disk_size;
  m->chunk_size = h->chunk_size;
  m->logical = h->logical;
  m->physical = h->physical;
  return r;
}

/*--- Parts ------------------------------------------------------------------*/

static int
read_source (const json_t *source, struct manifest *m, struct err *err)
{
  int r = take_text (source, "kind", &m->source_kind, err);

  if (r == 0)
    r = take_text (source, "path", &m->source_path, err);
  if (r == 0)
    r = take_text (source, "model", &m->source_model, err);
  if (r == 0)
    r = take_text (source, "serial", &m->source_serial, err);
  if (r == 0)
    r = take_text (source, "wwn", &m->source_wwn, err);
  return r < 0 ? r : take_text (source, "format", &m->source_format, err);
}

static int
read_table (const json_t *table, struct manifest *m, struct err *err)
{
  int r = take_text (table, "kind", &m->table_kind, err);

  if (r == 0)
    r = take_text (table, "id", &m->table_id, err);
  if (r == 0)
    r = take_bytes (table, "first", &m->table_first, &m->table_first_len, err);
  return r < 0 ? r
    : take_bytes (table, "last", &m->table_last, &m->table_last_len, err);
}

static int
read_fs (const json_t *object, struct manifest_fs *fs, struct err *err)
{
  int r = take_text (object, "type", &fs->type, err);

  if (r == 0)
    r = take_text (object, "uuid", &fs->uuid, err);
  if (r == 0)
    r = take_text (object, "label", &fs->label, err);
  take_number (object, "block_size", &fs->block_size);
  take_number (object, "used", &fs->used);
  take_number (object, "smallest", &fs->smallest);
  return r;
}

/* NBI-94. */
static int
check_place (const struct manifest_partition *p, const struct nbi_header *h,
             struct err *err)
{
  uint64_t first, nr;

  if (!range_fits (p->off, p->len, h->disk_size))
    return nbi_refuse (err, 94, "partition %" PRIu64 " has %" PRIu64 " bytes at"
                       " %" PRIu64 " of a disk of %" PRIu64, p->number, p->len,
                       p->off, h->disk_size);
  manifest_chunks (p->off, p->len, h->chunk_size, h->disk_size, &first, &nr);
  if (p->nr_chunks != nr || (nr > 0 && p->first_chunk != first))
    return nbi_refuse (err, 94, "partition %" PRIu64 " is said to have %"
                       PRIu64 " chunks from %" PRIu64 ", and has %" PRIu64
                       " from %" PRIu64, p->number, p->nr_chunks,
                       p->first_chunk, nr, first);
  return 0;
}

static int
read_partition (const json_t *object, const struct nbi_header *h,
                struct manifest_partition *p, struct err *err)
{
  const json_t *chunks = json_object_get (object, "chunks");
  int r;

  r = need_number (object, "number", &p->number, err);
  if (r == 0)
    r = need_number (object, "offset", &p->off, err);
  if (r == 0)
    r = need_number (object, "length", &p->len, err);
  if (r == 0 && (json_array_size (chunks) != 2 ||
                 !get_number (json_array_get (chunks, 0), &p->first_chunk) ||
                 !get_number (json_array_get (chunks, 1), &p->nr_chunks)))
    r = lacks ("chunks", err);
  if (r == 0)
    r = need_hash (object, "hash", p->hash, err);
  if (r == 0)
    r = check_place (p, h, err);
  if (r == 0)
    r = take_text (object, "type", &p->type, err);
  if (r == 0)
    r = take_text (object, "id", &p->id, err);
  if (r == 0)
    r = take_text (object, "name", &p->name, err);
  if (r == 0)
    r = take_text (object, "attributes", &p->attributes, err);
  if (r == 0)
    r = take_text (object, "saved", &p->saved, err);
  return r < 0 ? r : read_fs (json_object_get (object, "fs"), &p->fs, err);
}

static int
read_partitions (const json_t *array, const struct nbi_header *h,
                 struct manifest *m, struct err *err)
{
  const json_t *object;
  size_t i;
  int r = 0;

  json_array_foreach (array, i, object) {
    const struct manifest_partition empty = { 0 };

    if (vector_append (&m->partitions, &empty) < 0)
      return err_nomem (err);
    r = read_partition (object, h, &m->partitions.ptr[i], err);
    if (r < 0)
      return err_in (err, "partitions: %zu", i);
  }
  return r;
}

static void
read_counts (const json_t *object, struct manifest_counts *c)
{
  take_number (object, "data", &c->data);
  take_number (object, "zero", &c->zero);
  take_number (object, "unallocated", &c->unallocated);
  take_number (object, "unreadable", &c->unreadable);
  take_number (object, "new", &c->fresh);
  take_number (object, "stored", &c->stored);
  take_number (object, "unreadable_bytes", &c->unreadable_bytes);
}

static int
read_warnings (const json_t *array, struct manifest *m, struct err *err)
{
  const json_t *value;
  size_t i;

  json_array_foreach (array, i, value) {
    char *text;

    if (!json_is_string (value))
      continue;
    text = strdup (json_string_value (value));
    if (text == NULL || vector_append (&m->warnings, &text) < 0) {
      free (text);
      return err_nomem (err);
    }
  }
  return 0;
}

static int
read_rest (const json_t *object, const struct nbi_header *h,
           struct manifest *m, struct err *err)
{
  int r;

  (void) get_time (json_object_get (object, "finished"), &m->finished);
  (void) get_uuid (json_object_get (object, "base"), m->base);
  r = take_text (object, "creator", &m->creator, err);
  if (r == 0)
    r = take_text (object, "host", &m->host, err);
  if (r == 0)
    r = take_text (object, "held", &m->held, err);
  if (r == 0)
    r = take_text (object, "changes", &m->changes, err);
  if (r == 0)
    r = take_text (object, "checkpoint", &m->checkpoint, err);
  if (r == 0)
    r = read_source (json_object_get (object, "source"), m, err);
  if (r == 0)
    r = read_table (json_object_get (object, "table"), m, err);
  if (r == 0)
    r = read_partitions (json_object_get (object, "partitions"), h, m, err);
  read_counts (json_object_get (object, "counts"), &m->counts);
  return r < 0 ? r
    : read_warnings (json_object_get (object, "warnings"), m, err);
}

/*--- All of it --------------------------------------------------------------*/

/* Brackets that are open at once, outside of strings. */
static bool
is_too_deep (const char *json, size_t len)
{
  bool in_string = false;
  unsigned depth = 0;

  for (size_t i = 0; i < len; ++i) {
    char c = json[i];

    if (in_string && c == '\\')
      ++i;
    else if (c == '"')
      in_string = !in_string;
    else if (!in_string && (c == '{' || c == '[') &&
             ++depth > MANIFEST_DEPTH_MAX)
      return true;
    else if (!in_string && (c == '}' || c == ']') && depth > 0)
      --depth;
  }
  return false;
}

int
manifest_read (const char *json, size_t len, const struct nbi_header *h,
               struct manifest *m, struct err *err)
{
  json_error_t error;
  json_t *object;
  int r;

  memset (m, 0, sizeof *m);
  if (!manifest_is_bounded (json, len))
    return nbi_refuse (err, 90, "%zu bytes, or more than %d brackets and"
                       " commas", len, STRUCTURES_MAX);
  if (is_too_deep (json, len))
    return nbi_refuse (err, 91, "nested deeper than %d", MANIFEST_DEPTH_MAX);
  object = json_loadb (json, len, JSON_REJECT_DUPLICATES, &error);
  if (object == NULL && json_error_code (&error) == json_error_out_of_memory)
    return err_nomem (err);
  if (!json_is_object (object)) {
    r = nbi_refuse (err, 91, "line %d: %s", error.line,
                    object == NULL ? error.text : "no object");
    json_decref (object);
    return r;
  }
  r = check_version (object, err);
  if (r == 0)
    r = read_header (object, h, m, err);
  if (r == 0)
    r = read_rest (object, h, m, err);
  json_decref (object);
  if (r < 0)
    manifest_destroy (m);
  return r;
}
