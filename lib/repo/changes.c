/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/base/uuid.h"
#include "lib/repo/changes.h"
#include "lib/repo/payload.h"

#define LOOKED_AT 64            /* places */

bool
changes_name_has_uuid (const char *name)
{
  unsigned digits = 0;

  for (; *name != '\0'; ++name) {
    if (isxdigit ((unsigned char) *name))
      ++digits;
    else if (*name != '-' || (digits != 8 && digits != 12 && digits != 16 &&
                              digits != 20))
      digits = 0;
    if (digits == 32 && !isxdigit ((unsigned char) name[1]))
      return true;
  }
  return false;
}

/*--- Did it begin with the base? --------------------------------------------*/

static int
check_name (const struct changes *changes, const struct manifest *base,
            struct err *err)
{
  if (base->checkpoint == NULL)
    return err_set (err, -ESTALE, "the generation before was made without "
                    "--checkpoint, so that nothing tells whether the bitmap "
                    "‘%s’ began with it", changes->bitmap);
  return strcmp (base->checkpoint, changes->bitmap) == 0 ? 0
    : err_set (err, -ESTALE, "with the generation before began the bitmap "
               "‘%s’, not ‘%s’", base->checkpoint, changes->bitmap);
}

/* "": it is not known. */
static int
check_text (const char *what, const char *before, const char *now,
            struct err *err)
{
  char a[TEXT_NAME_SIZE], b[TEXT_NAME_SIZE];

  before = before ? before : "";
  now = now ? now : "";
  return strcmp (before, now) == 0 ? 0
    : err_set (err, -ESTALE, "the generation before is of %s ‘%s’, not ‘%s’: "
               "bitmaps of several disks may have one name", what,
               text_clean (before, a, sizeof a), text_clean (now, b,
                                                             sizeof b));
}

/* QEMU begins bitmaps of one name on all disks of a machine. */
static int
check_source (const struct manifest *base, const struct manifest *now,
              struct err *err)
{
  int r = check_text ("the source", base->source_path, now->source_path, err);

  return r < 0 ? r : check_text ("the host", base->host, now->host, err);
}

static int
check_sizes (const struct changes *changes, struct generation *base,
             struct block *disk, struct err *err)
{
  uint64_t before = generation_header (base)->disk_size;
  uint64_t now = block_size (disk);

  if (before == now && changes->written.size == now)
    return 0;
  return err_set (err, -ESTALE, "the disk has %" PRIu64 " bytes, the bitmap is "
                  "of %" PRIu64 ", and the generation before of %" PRIu64, now,
                  changes->written.size, before);
}

/*--- Is it true? ------------------------------------------------------------*/

/* A chunk that was not written, and has data in the base: its entry. */
static bool
find_clean (const struct changes *changes, struct generation *base, uint64_t c,
            struct nbi_record *record)
{
  const struct nbi_header *h = generation_header (base);
  struct generation_chunk chunk;
  bool found;

  if (used_map_touches (&changes->written, c * h->chunk_size,
                        nbi_chunk_len (h, c)) ||
      generation_find (base, c, &chunk, NULL) < 0 || chunk.file == NULL)
    return false;
  found = chunk.kind == NBI_DATA &&
    generation_record (base, c, &chunk, record, NULL) == 0;
  file_reader_unref (chunk.file);
  return found;
}

/* What can't be read tells nothing. */
static int
look_at (struct generation *base, const uint8_t *key, struct block *disk,
         uint64_t c, const struct nbi_record *record, uint8_t *buf,
         struct err *err)
{
  uint8_t identity[DIGEST_SIZE];
  uint64_t off = c * generation_header (base)->chunk_size;

  if (block_pread (disk, buf, record->plain, off, NULL) < 0 ||
      nbi_identity_with (key, buf, record->plain, identity, NULL) < 0 ||
      memcmp (identity, record->identity, DIGEST_SIZE) == 0)
    return 0;
  return err_set (err, -ESTALE, "the bitmap does not have the bytes from %"
                  PRIu64 " on, which are others now than in the generation "
                  "before: it did not begin with that", off);
}

/* Both ends of the disk, and places all over it, which are others each time. */
static int
look_at_some (const struct changes *changes, struct generation *base,
              const uint8_t *key, struct block *disk, struct err *err)
{
  const struct nbi_header *h = generation_header (base);
  uint64_t nr = nbi_nr_chunks (h), seed;
  CLEANUP_FREE uint8_t *buf = malloc (h->chunk_size);
  uint8_t random[UUID_SIZE];
  int r = buf == NULL ? err_nomem (err) : uuid_new (random, err);

  if (r < 0)
    return r;
  memcpy (&seed, random, sizeof seed);
  for (uint64_t i = 0; r == 0 && i < LOOKED_AT; ++i) {
    uint64_t c = i == 0 ? 0 : i == 1 ? nr - 1
      : (nr / LOOKED_AT * i + seed % (nr / LOOKED_AT + 1)) % nr;
    struct nbi_record record;

    if (find_clean (changes, base, c, &record))
      r = look_at (base, key, disk, c, &record, buf, err);
    seed = seed * UINT64_C (6364136223846793005) + 1442695040888963407;
    seed ^= seed >> 33;
  }
  return r;
}

static int
check_manifest (const struct changes *changes, struct generation *base,
                const struct manifest *now, struct block *disk,
                struct err *err)
{
  struct manifest m;
  size_t len;
  const char *json = generation_manifest (base, &len);
  int r = manifest_read (json, len, generation_header (base), &m, err);

  if (r < 0)
    r = err_set (err, -ESTALE, "the manifest of the generation before is "
                 "damaged");
  if (r == 0)
    r = check_name (changes, &m, err);
  if (r == 0)
    r = check_sizes (changes, base, disk, err);
  if (r == 0)
    r = check_source (&m, now, err);
  manifest_destroy (&m);
  return r;
}

int
changes_check (const struct changes *changes, struct generation *base,
               const uint8_t *key, struct block *disk,
               const struct manifest *now, struct err *err)
{
  int r = check_manifest (changes, base, now, disk, err);

  return r < 0 ? r : look_at_some (changes, base, key, disk, err);
}
