/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Files of backup images that lie: made by the writer out of records that say
 * whatever a test wants, or changed afterwards in any place; with checksums,
 * hashes and tags that are right nevertheless.
 *
 * Without a lie it is a disk of 8 chunks of 16 KiB: noise, text with LZ4, text
 * with zstd, noise of which the first sector could not be read, and zeros.
 */

#ifndef NBDIMAGE_TESTS_NBI_CRAFT_H
#define NBDIMAGE_TESTS_NBI_CRAFT_H

#include "lib/repo/crypt.h"
#include "lib/repo/nbi-trailer.h"

#define CRAFT_CHUNK (16 * 1024)
#define CRAFT_CHUNKS 8          /* of the disk, the first of them are data: */
#define CRAFT_RECORDS 4         /* ordinals 0 to 3; 4 is the page */
#define CRAFT_SIZE (CRAFT_CHUNKS * CRAFT_CHUNK)
#define CRAFT_TEXT_MAX 8192     /* bytes of a plain page or manifest */

struct craft_record {
  struct nbi_record r;          /* as for file_writer_add */
  const void *payload;
};

struct craft {
  struct nbi_header header;
  const uint8_t *master;        /* NULL: it is not encrypted */
  struct crypt *crypt;          /* the same */
  uint8_t disk[CRAFT_SIZE];
  struct craft_record chunks[CRAFT_RECORDS], page, manifest;
  struct nbi_root root;
  struct nbi_file file;
  struct nbi_range range;
  uint8_t rooms[CRAFT_RECORDS][CRAFT_CHUNK];    /* of payloads */
  uint8_t page_bytes[CRAFT_TEXT_MAX];
  char *json;                   /* plain manifest, for free() */
  size_t json_len;

  /* The file, once it was built: */
  uint8_t *bytes;
  size_t len;
  struct nbi_trailer trailer;
};

/* With key, of CRYPT_KEY_SIZE bytes, it is encrypted, for a key file of
 * CRAFT_KEY_FILE.
 */
#define CRAFT_KEY_FILE "a key file that has more than 32 bytes\n"
void craft_init (struct craft *c, const uint8_t *key, bool with_range);
void craft_free (struct craft *c);

/* Other plain bytes of the page, or the manifest, stored as they are; they are
 * copied.
 */
void craft_set_page (struct craft *c, const void *plain, size_t len);
void craft_set_manifest (struct craft *c, const void *plain, size_t len);

/* A payload that says of itself that it is `plain' bytes, whatever it is; it
 * stays the caller's.
 */
void craft_set_payload (struct craft_record *record, enum nbi_codec codec,
                        uint32_t plain, const void *payload, uint32_t stored);

/* Make the file. */
void craft_build (struct craft *c);

/* Where a patch is. */
enum craft_place {
  CRAFT_HEADER,                 /* and its copy; offsets as in NBI.md §4 */
  CRAFT_SLOT,                   /* the first one, in both */
  CRAFT_TRAILER,                /* and its copy */
  CRAFT_MANIFEST_ENTRY,         /* in both */
  CRAFT_ENTRY_0, CRAFT_ENTRY_1, CRAFT_ENTRY_PAGE,       /* of the table */
  CRAFT_TABLE, CRAFT_DIRECTORY, CRAFT_ROOT, CRAFT_FILES,
  CRAFT_RANGES,                 /* the sheet's entries */
  CRAFT_TABLE_HEADER, CRAFT_ROOT_HEADER,        /* the sheet's header */
  CRAFT_RECORD_0,               /* its header */
};

/* `width' bytes, little-endian.  Sheets are opened, and sealed again. */
void craft_patch (struct craft *c, enum craft_place place, size_t off,
                  unsigned width, uint64_t value);

/* Make checksums and the HMAC of header and trailer right again. */
void craft_seal (struct craft *c);

#endif /* NBDIMAGE_TESTS_NBI_CRAFT_H */
