/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The header of a backup image: docs/NBI.md §4. */

#ifndef NBDIMAGE_REPO_NBI_HEADER_H
#define NBDIMAGE_REPO_NBI_HEADER_H

#include "lib/base/uuid.h"
#include "lib/repo/nbi-slot.h"

#define NBI_NEED_ENCRYPTED UINT64_C (1)         /* in need */

#define NBI_NAME_SIZE 256       /* with the final zero */
#define NBI_CREATOR_SIZE 64
#define NBI_MAX_SLOTS 8

struct nbi_header {
  /* Bits of features: a reader must know them, who writes the file anew must
   * know them, nobody must.
   */
  uint64_t need, rewrite, ignore;
  uint8_t file[UUID_SIZE], run[UUID_SIZE];
  uint8_t vault[UUID_SIZE];     /* zeros: in none */
  uint8_t key_id[UUID_SIZE];    /* zeros: not encrypted */
  uint32_t edition;
  uint32_t number;              /* in its run */
  uint64_t disk_size;           /* bytes */
  uint32_t chunk_size;          /* bytes */
  uint32_t logical, physical;   /* sizes of sectors */
  uint64_t time;                /* seconds since 1970 */
  uint64_t salt;
  uint8_t nonce[UUID_SIZE];     /* of the edition */
  char name[NBI_NAME_SIZE];     /* of the disk */
  char creator[NBI_CREATOR_SIZE];
  uint8_t encryption;           /* 0: none, 1: AES-256-GCM */
  uint8_t nr_slots;
  uint8_t slots[NBI_MAX_SLOTS * NBI_SLOT_SIZE];
};

/* What the salt of that edition of a file must be.  As digest_new(). */
int nbi_salt (const uint8_t file[UUID_SIZE], uint32_t edition, uint64_t *salt,
              struct err *err);

/* Are these the first bytes of one (NBI-10)? */
bool nbi_header_has_magic (const uint8_t *buf);

/* Is it a header at all: are there the magic and a checksum that is right
 * (NBI-10, NBI-14)?  If not, its copy may be better.
 */
bool nbi_header_is_whole (const uint8_t buf[NBI_HEADER_SIZE]);

/* All fields as they are; the caller has set the salt. */
void nbi_header_encode (const struct nbi_header *h,
                        uint8_t buf[NBI_HEADER_SIZE]);

/* NBI-1, NBI-10 to NBI-12, NBI-14 to NBI-24 and NBI-120 to NBI-123, in that
 * order but for NBI-14, which comes after NBI-10. *h is as it was on failure.
 */
int nbi_header_decode (const uint8_t buf[NBI_HEADER_SIZE],
                       struct nbi_header *h, struct err *err);

/* NBI-13: may it be written anew? */
int nbi_header_may_rewrite (const struct nbi_header *h, struct err *err);

/* Is it right for the name of a disk?  In NBI_NAME_SIZE bytes.  NBI-20. */
bool nbi_name_is_right (const char *name);

uint64_t nbi_nr_chunks (const struct nbi_header *h);
uint64_t nbi_nr_pages (const struct nbi_header *h);

/* Of a chunk below nbi_nr_chunks, in bytes: the last one may be short. */
uint32_t nbi_chunk_len (const struct nbi_header *h, uint64_t chunk);

/* Of a page below nbi_nr_pages. */
uint32_t nbi_page_chunks (const struct nbi_header *h, uint64_t page);

static inline bool
nbi_encrypted (const struct nbi_header *h)
{
  return h->encryption != 0;
}

#endif /* NBDIMAGE_REPO_NBI_HEADER_H */
