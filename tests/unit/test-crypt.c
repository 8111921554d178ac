/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Encryption of backup images (docs/NBI.md §12): that the algorithms are wired
 * as their standards say, that keys, nonces and additional data are those of
 * the document, and that whatever was changed is refused.
 *
 * Bytes that are expected of our own structures were made by another program,
 * of its own AES, GCM and HKDF.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/base/gcm.h"
#include "lib/base/kdf.h"
#include "lib/repo/crypt.h"
#include "lib/repo/nbi-trailer.h"
#include "tests/support/nbi.h"

#define NR(a) (sizeof (a) / sizeof (a)[0])

/* Bytes of hex digits; returns how many. */
static size_t
from_hex (const char *hex, uint8_t *out)
{
  size_t n = 0;

  for (; *hex; hex += 2) {
    unsigned v;

    assert_int_equal (sscanf (hex, "%2x", &v), 1);
    out[n++] = (uint8_t) v;
  }
  return n;
}

static void
assert_hex (const void *bytes, const char *hex)
{
  uint8_t expected[256];
  size_t n = from_hex (hex, expected);

  assert_memory_equal (bytes, expected, n);
}

/*--- Algorithms -------------------------------------------------------------*/

/* RFC 5869, A.1 and A.3. */
static void
hkdf_is_that_of_rfc_5869 (void **state)
{
  uint8_t key[22], salt[13], info[10], out[42];
  const struct kdf_bytes none = { NULL, 0 };

  (void) state;
  memset (key, 0x0b, sizeof key);
  for (unsigned i = 0; i < sizeof salt; ++i)
    salt[i] = (uint8_t) i;
  for (unsigned i = 0; i < sizeof info; ++i)
    info[i] = (uint8_t) (0xf0 + i);
  assert_int_equal (kdf_hkdf ((struct kdf_bytes) { key, sizeof key },
                              (struct kdf_bytes) { salt, sizeof salt },
                              (struct kdf_bytes) { info, sizeof info }, out,
                              sizeof out, NULL), 0);
  assert_hex (out, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56"
              "ecc4c5bf34007208d5b887185865");
  assert_int_equal (kdf_hkdf ((struct kdf_bytes) { key, sizeof key }, none,
                              none, out, sizeof out, NULL), 0);
  assert_hex (out, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f"
              "3c738d2d9d201395faa4b61a96c8");
}

/* RFC 4231, case 1: its key of 20 bytes is the same with zeros behind it. */
static void
hmac_is_that_of_rfc_4231 (void **state)
{
  const struct kdf_bytes pieces[] = { { "Hi ", 3 }, { "", 0 }, { "There", 5 } };
  uint8_t key[KDF_KEY_SIZE] = { 0 }, out[DIGEST_SIZE];

  (void) state;
  memset (key, 0x0b, 20);
  assert_int_equal (kdf_hmac (key, pieces, NR (pieces), out, NULL), 0);
  assert_hex (out, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c"
              "2e32cff7");
}

/* Of the tests of the reference implementation, version 0x13. */
static void
argon2id_is_that_of_the_reference (void **state)
{
  const struct kdf_bytes password = { "password", 8 }, salt = { "somesalt", 8 };
  uint8_t out[KDF_KEY_SIZE];

  (void) state;
  assert_int_equal (kdf_argon2id (password, salt, 2, 256, 1, out, NULL), 0);
  assert_hex (out, "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b30"
              "21c68bfe");
  assert_int_equal (kdf_argon2id (password, salt, 2, 256, 2, out, NULL), 0);
  assert_hex (out, "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da"
              "2bf57037");
  assert_int_equal (kdf_argon2id (password, salt, 0, 256, 1, out, NULL),
                    -EINVAL);
}

/* Test case 16 of McGrew and Viega. */
static void
gcm_is_that_of_its_specification (void **state)
{
  uint8_t key[32], nonce[12], plain[60], data[20], out[60], tag[16];
  struct gcm_with with = { key, nonce, data, sizeof data };
  struct gcm *gcm;
  bool right;

  (void) state;
  from_hex ("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f94673083"
            "08", key);
  from_hex ("cafebabefacedbaddecaf888", nonce);
  from_hex ("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a"
            "721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
            plain);
  from_hex ("feedfacedeadbeeffeedfacedeadbeefabaddad2", data);
  assert_int_equal (gcm_new (&gcm, NULL), 0);
  assert_int_equal (gcm_seal (gcm, &with, plain, 60, out, tag, NULL), 0);
  assert_hex (out, "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd"
              "2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f6"
              "62");
  assert_hex (tag, "76fc6ece0f4e1768cddf8853bb2d551b");
  /* In place, after another use. */
  assert_int_equal (gcm_open (gcm, &with, out, 60, tag, out, &right, NULL), 0);
  assert_true (right);
  assert_memory_equal (out, plain, 60);
  assert_int_equal (gcm_seal (gcm, &with, plain, 60, out, tag, NULL), 0);
  data[0] ^= 1;
  assert_int_equal (gcm_open (gcm, &with, out, 60, tag, out, &right, NULL), 0);
  assert_false (right);
  assert_true (nbi_is_zeros (out, 60));
  gcm_free (gcm);
}

/*--- A file -----------------------------------------------------------------*/

static void
make_master (uint8_t master[CRYPT_KEY_SIZE])
{
  for (unsigned i = 0; i < CRYPT_KEY_SIZE; ++i)
    master[i] = (uint8_t) i;
}

/* The example's header, with the id of this key. */
static struct nbi_header
header_with_key (void)
{
  struct nbi_header h = example_encrypted ();
  uint8_t master[CRYPT_KEY_SIZE];

  make_master (master);
  assert_int_equal (crypt_key_id (master, h.key_id, NULL), 0);
  return h;
}

static struct crypt *
new_crypt (const struct nbi_header *h)
{
  uint8_t master[CRYPT_KEY_SIZE];
  struct crypt *c;

  make_master (master);
  assert_int_equal (crypt_new (master, h, &c, NULL), 0);
  return c;
}

static const struct nbi_record chunk = {
  .off = 8192, .ordinal = 7, .number = 999, .stored = 7, .plain = 65536,
  .kind = NBI_CHUNK, .codec = NBI_LZ4,
};

static const struct nbi_record manifest = {
  .off = 8192, .ordinal = NBI_NONE, .stored = 7, .plain = 7,
  .kind = NBI_MANIFEST,
};

static const struct nbi_sheet root_sheet = {
  .nonce = { 0x40, 0x41, 0x42, 0x43 }, .off = 0x3000, .number = 2, .count = 3,
  .table = NBI_TABLE_ROOT,
};

static void
make_sheet (uint8_t buf[NBI_SHEET_SIZE])
{
  memset (buf, 0, NBI_SHEET_SIZE);
  for (unsigned i = 0; i < 120; ++i)
    buf[NBI_SHEET_HEADER + i] = (uint8_t) (i + 1);
}

static void
what_is_encrypted_is_what_another_program_makes (void **state)
{
  const struct nbi_header h = header_with_key ();
  struct crypt *c = new_crypt (&h);
  struct nbi_record rec = chunk;
  uint8_t sealed[64], buf[NBI_SHEET_SIZE], id[DIGEST_SIZE];

  (void) state;
  assert_hex (h.key_id, "a8e94d4a3970badc13fad2c7a6929864");
  assert_int_equal (crypt_identity (c, "abc", 3, id, NULL), 0);
  assert_hex (id, "3df014f61b6057f32079be50c31d3d8497d3f44cfff560a4210305d7f9"
              "a00c97");
  assert_int_equal (crypt_seal_record (c, &rec, "payload", sealed, NULL), 0);
  assert_int_equal (rec.stored, 23);
  assert_hex (sealed, "ec9214c19945a75e5f5f483523aca34f62520ae6082ad8");
  rec = manifest;
  assert_int_equal (crypt_seal_record (c, &rec, "payload", sealed, NULL), 0);
  assert_hex (sealed, "d9a071e35f24336acd3c98dd2be62cd44e801664c38017");
  make_sheet (buf);
  assert_int_equal (crypt_seal_sheet (c, &root_sheet, buf, NULL), 0);
  assert_hex (buf + 32, "fe62805da79315be7bbc33531c46bb11");
  assert_hex (buf + 64, "d5f7c165ab48d86678c70fccb78db2a5");
  crypt_free (c);
}

static void
hmac_of_a_trailer_is_what_another_program_makes (void **state)
{
  const struct nbi_header h = header_with_key ();
  struct crypt *c = new_crypt (&h);
  uint8_t header[NBI_HEADER_SIZE], trailer[NBI_TRAILER_SIZE];

  (void) state;
  memset (header, 0x11, sizeof header);
  memset (trailer, 0x22, sizeof trailer);
  assert_int_equal (crypt_seal_trailer (c, header, trailer, NULL), 0);
  assert_hex (trailer + 192, "8e7a531bf213a8ce6afa683d130503b429efbbf527471f4"
              "5185d63954d0acea5");
  assert_int_equal (crypt_check_trailer (c, header, trailer, NULL), 0);
  crypt_free (c);
}

static void
slot_of_a_key_file_is_what_another_program_makes (void **state)
{
  uint8_t file[40], master[CRYPT_KEY_SIZE];
  const struct crypt_secret secret = { NBI_SLOT_KEY_FILE, file, sizeof file };
  struct nbi_slot slot = { .label = "x" };

  (void) state;
  make_master (master);
  memset (file, 0x77, sizeof file);
  memset (slot.salt, 0x51, sizeof slot.salt);
  memset (slot.nonce, 0x52, sizeof slot.nonce);
  assert_int_equal (crypt_wrap_with (master, &secret, &slot, NULL), 0);
  assert_int_equal (slot.kind, NBI_SLOT_KEY_FILE);
  assert_hex (slot.wrapped, "2db93e5c4e7c718ffb67b10753e50e12afbc1d40d64a1996"
              "6762e1628f1a375c95fc1d3f00e0a6be3a68a6c2388d3ef7");
}

/*--- Records ----------------------------------------------------------------*/

static void
records_come_back (void **state)
{
  const struct nbi_header h = header_with_key ();
  struct crypt *c = new_crypt (&h);
  static uint8_t plain[65536], buf[65536 + NBI_TAG_SIZE];
  struct rng rng = { 1 };

  (void) state;
  for (unsigned i = 0; i < 200; ++i) {
    struct nbi_record rec = {
      .kind = (uint8_t) (1 + rng_below (&rng, 2)),
      .codec = (uint8_t) rng_below (&rng, 3), .plain = sizeof plain,
      .ordinal = (uint32_t) rng_next (&rng), .number = rng_below (&rng, 1000),
      .stored = 1 + rng_below (&rng, sizeof plain),
    };
    uint32_t net = rec.stored;

    random_bytes (&rng, plain, 100);
    memcpy (buf, plain, net);
    /* In place. */
    assert_int_equal (crypt_seal_record (c, &rec, buf, buf, NULL), 0);
    assert_int_equal (rec.stored, net + 16);
    assert_int_equal (crypt_open_record (c, &rec, buf, buf, NULL), 0);
    assert_int_equal (rec.stored, net);
    assert_memory_equal (buf, plain, net);
  }
  crypt_free (c);
}

/* Is it the record? */
static void
open_record (struct crypt *c, struct nbi_record rec, const uint8_t *sealed,
             bool fine)
{
  uint8_t payload[64];
  struct err err = ERR_INIT;
  int r = crypt_open_record (c, &rec, sealed, payload, &err);

  if (fine) {
    assert_int_equal (r, 0);
    assert_memory_equal (payload, "payload", 7);
  }
  else
    assert_refused (r, &err, -EBADMSG, "NBI-41");
}

static void
record_that_is_another_one_is_refused (void **state)
{
  const struct nbi_header h = header_with_key ();
  struct crypt *c = new_crypt (&h);
  struct nbi_record rec = chunk, r;
  uint8_t sealed[23];

  (void) state;
  assert_int_equal (crypt_seal_record (c, &rec, "payload", sealed, NULL), 0);
  open_record (c, rec, sealed, true);
  r = rec;
  r.kind = NBI_PAGE;
  open_record (c, r, sealed, false);
  r = rec;
  r.codec = NBI_ZSTD;
  open_record (c, r, sealed, false);
  r = rec;
  ++r.ordinal;
  open_record (c, r, sealed, false);
  r = rec;
  ++r.number;
  open_record (c, r, sealed, false);
  r = rec;
  --r.plain;
  open_record (c, r, sealed, false);
  r = rec;
  --r.stored;
  open_record (c, r, sealed, false);
  /* Prune moves it. */
  r = rec;
  r.off += 64;
  open_record (c, r, sealed, true);
  for (unsigned bit = 0; bit < 8 * sizeof sealed; ++bit) {
    sealed[bit / 8] ^= (uint8_t) (1 << bit % 8);
    open_record (c, rec, sealed, false);
    sealed[bit / 8] ^= (uint8_t) (1 << bit % 8);
  }
  crypt_free (c);
}

/* Records have the file's key, in all editions; the manifest, sheets and the
 * HMAC have one of each attempt at an edition.
 */
static void
keys_are_of_a_file_or_of_its_edition (void **state)
{
  const struct nbi_header h = header_with_key ();
  struct nbi_header other[3] = { h, h, h };
  struct crypt *c = new_crypt (&h);
  struct nbi_record a = chunk, b = manifest;
  uint8_t sealed_a[23], sealed_b[23], sheet[NBI_SHEET_SIZE];
  uint8_t header[NBI_HEADER_SIZE] = { 0 }, trailer[NBI_TRAILER_SIZE] = { 0 };

  (void) state;
  assert_int_equal (crypt_seal_record (c, &a, "payload", sealed_a, NULL), 0);
  assert_int_equal (crypt_seal_record (c, &b, "payload", sealed_b, NULL), 0);
  make_sheet (sheet);
  assert_int_equal (crypt_seal_sheet (c, &root_sheet, sheet, NULL), 0);
  assert_int_equal (crypt_seal_trailer (c, header, trailer, NULL), 0);
  other[0].edition = 3;
  other[1].nonce[15] ^= 1;
  other[2].file[0] ^= 1;
  for (unsigned i = 0; i < 3; ++i) {
    struct crypt *o = new_crypt (&other[i]);
    uint8_t copy[NBI_SHEET_SIZE];
    struct err err = ERR_INIT;
    int r;

    open_record (o, a, sealed_a, i < 2);
    open_record (o, b, sealed_b, false);
    memcpy (copy, sheet, sizeof copy);
    r = crypt_open_sheet (o, &root_sheet, copy, &err);
    assert_refused (r, &err, -EBADMSG, "NBI-55");
    r = crypt_check_trailer (o, header, trailer, &err);
    assert_refused (r, &err, -EBADMSG, "NBI-111");
    crypt_free (o);
  }
  crypt_free (c);
}

/*--- Sheets and trailers ----------------------------------------------------*/

static void
sheets_come_back_and_changed_ones_do_not (void **state)
{
  const struct nbi_header h = header_with_key ();
  struct crypt *c = new_crypt (&h);
  uint8_t plain[NBI_SHEET_SIZE], sealed[NBI_SHEET_SIZE], buf[NBI_SHEET_SIZE];
  static const uint16_t offs[] = { 32, 47, 64, 183, 184, 4095 };

  (void) state;
  make_sheet (plain);
  memcpy (sealed, plain, sizeof sealed);
  assert_int_equal (crypt_seal_sheet (c, &root_sheet, sealed, NULL), 0);
  memcpy (buf, sealed, sizeof buf);
  assert_int_equal (crypt_open_sheet (c, &root_sheet, buf, NULL), 0);
  assert_memory_equal (buf + 64, plain + 64, NBI_SHEET_BODY);
  for (size_t i = 0; i < NR (offs); ++i) {
    struct err err = ERR_INIT;
    int r;

    memcpy (buf, sealed, sizeof buf);
    buf[offs[i]] ^= 1;
    r = crypt_open_sheet (c, &root_sheet, buf, &err);
    assert_refused (r, &err, -EBADMSG, "NBI-50");
    memcpy (buf, sealed, sizeof buf);
    buf[offs[i]] ^= 1;
    put_le32 (buf + 60, 0);
    put_le32 (buf + 60, crc32c_update (0, buf, sizeof buf));
    r = crypt_open_sheet (c, &root_sheet, buf, &err);
    assert_refused (r, &err, -EBADMSG, "NBI-55");
  }
  crypt_free (c);
}

/* Who could write it anew: type, number and the number of entries. */
static void
sheet_that_is_another_one_is_refused (void **state)
{
  const struct nbi_header h = header_with_key ();
  struct crypt *c = new_crypt (&h);
  struct nbi_sheet other[3] = { root_sheet, root_sheet, root_sheet };
  struct nbi_sheet moved = root_sheet;
  uint8_t sealed[NBI_SHEET_SIZE], tag[NBI_TAG_SIZE];
  struct err err = ERR_INIT;
  int r;

  (void) state;
  other[0].table = NBI_TABLE_FILES;
  other[1].number = 3;
  other[2].count = 4;
  for (unsigned i = 0; i < 3; ++i) {
    make_sheet (sealed);
    assert_int_equal (crypt_seal_sheet (c, &root_sheet, sealed, NULL), 0);
    memcpy (tag, sealed + 32, sizeof tag);
    nbi_sheet_seal_encrypted (&other[i], tag, sealed);
    r = crypt_open_sheet (c, &other[i], sealed, &err);
    assert_refused (r, &err, -EBADMSG, "NBI-55");
  }
  /* Where it lies is not in it. */
  make_sheet (sealed);
  assert_int_equal (crypt_seal_sheet (c, &root_sheet, sealed, NULL), 0);
  memcpy (tag, sealed + 32, sizeof tag);
  moved.off = 0x9000;
  nbi_sheet_seal_encrypted (&moved, tag, sealed);
  assert_int_equal (crypt_open_sheet (c, &moved, sealed, NULL), 0);
  crypt_free (c);
}

static void
bytes_behind_entries_are_found_after_decrypting (void **state)
{
  const struct nbi_header h = header_with_key ();
  struct crypt *c = new_crypt (&h);
  uint8_t buf[NBI_SHEET_SIZE];
  struct err err = ERR_INIT;
  int r;

  (void) state;
  make_sheet (buf);
  buf[4095] = 1;
  assert_int_equal (crypt_seal_sheet (c, &root_sheet, buf, NULL), 0);
  r = crypt_open_sheet (c, &root_sheet, buf, &err);
  assert_refused (r, &err, -EBADMSG, "NBI-56");
  crypt_free (c);
}

static void
each_byte_of_header_and_trailer_counts (void **state)
{
  const struct nbi_header h = header_with_key ();
  struct crypt *c = new_crypt (&h);
  const struct nbi_trailer t = { .size = 16384 };
  uint8_t header[NBI_HEADER_SIZE], trailer[NBI_TRAILER_SIZE];
  struct nbi_trailer back;
  struct err err = ERR_INIT;
  int r;

  (void) state;
  nbi_header_encode (&h, header);
  nbi_trailer_encode (&t, &h, trailer);
  assert_int_equal (crypt_seal_trailer (c, header, trailer, NULL), 0);
  assert_int_equal (nbi_trailer_decode (trailer, &h, 16384, &back, NULL), 0);
  assert_int_equal (crypt_check_trailer (c, header, trailer, NULL), 0);
  for (unsigned i = 0; i < NBI_HEADER_SIZE; i += 31) {
    header[i] ^= 1;
    r = crypt_check_trailer (c, header, trailer, &err);
    assert_refused (r, &err, -EBADMSG, "NBI-111");
    header[i] ^= 1;
  }
  /* The HMAC is at 192, the CRC at 4092. */
  for (unsigned i = 0; i < 4092; i += 11) {
    trailer[i] ^= 1;
    r = crypt_check_trailer (c, header, trailer, &err);
    assert_refused (r, &err, -EBADMSG, "NBI-111");
    trailer[i] ^= 1;
  }
  trailer[4092] ^= 1;
  assert_int_equal (crypt_check_trailer (c, header, trailer, NULL), 0);
  crypt_free (c);
}

/*--- Keys -------------------------------------------------------------------*/

static void
slots_open_with_what_wrapped_them_only (void **state)
{
  uint8_t master[CRYPT_KEY_SIZE], got[CRYPT_KEY_SIZE] = { 9 }, file[32] = "k";
  const struct crypt_secret right = { NBI_SLOT_PASSPHRASE, "pass word", 9 };
  const struct crypt_secret wrong = { NBI_SLOT_PASSPHRASE, "pass word ", 10 };
  const struct crypt_secret other = { NBI_SLOT_KEY_FILE, file, sizeof file };
  struct nbi_slot slot = { .passes = 1, .memory = 64, .lanes = 2 }, again;
  uint8_t buf[NBI_SLOT_SIZE];

  (void) state;
  assert_int_equal (crypt_master_new (master, NULL), 0);
  assert_int_equal (crypt_wrap (master, &right, &slot, NULL), 0);
  nbi_slot_encode (&slot, buf);
  assert_int_equal (nbi_slot_decode (buf, true, &again, NULL), 0);
  assert_int_equal (crypt_unwrap (&again, &wrong, got, NULL), -EACCES);
  assert_int_equal (crypt_unwrap (&again, &other, got, NULL), -EACCES);
  assert_int_equal (got[0], 9);
  assert_int_equal (crypt_unwrap (&again, &right, got, NULL), 0);
  assert_memory_equal (got, master, sizeof got);
  for (unsigned i = 0; i < NBI_WRAPPED_SIZE; i += 15) {
    again.wrapped[i] ^= 1;
    assert_int_equal (crypt_unwrap (&again, &right, got, NULL), -EACCES);
    again.wrapped[i] ^= 1;
  }
  again = slot;
  assert_int_equal (crypt_wrap (master, &right, &again, NULL), 0);
  assert_memory_not_equal (again.salt, slot.salt, sizeof slot.salt);
  assert_memory_not_equal (again.nonce, slot.nonce, sizeof slot.nonce);
}

static void
key_files_have_32_to_65536_bytes (void **state)
{
  static uint8_t file[65537];
  static const struct {
    size_t len;
    int r;
  } rows[] = { { 31, -EINVAL }, { 32, 0 }, { 65536, 0 }, { 65537, -EINVAL } };
  uint8_t master[CRYPT_KEY_SIZE], got[CRYPT_KEY_SIZE];

  (void) state;
  make_master (master);
  for (size_t i = 0; i < NR (rows); ++i) {
    const struct crypt_secret secret = { NBI_SLOT_KEY_FILE, file, rows[i].len };
    struct nbi_slot slot = { .label = "f" };

    assert_int_equal (crypt_wrap (master, &secret, &slot, NULL), rows[i].r);
    if (rows[i].r < 0)
      continue;
    assert_int_equal (crypt_unwrap (&slot, &secret, got, NULL), 0);
    assert_memory_equal (got, master, sizeof got);
  }
}

static void
refuse_key (const struct nbi_header *h, const struct nbi_header *root,
            const uint8_t *master)
{
  struct err err = ERR_INIT;
  int r = crypt_check_key (h, root, master, &err);

  assert_refused (r, &err, -EACCES, "NBI-124");
}

static void
another_key_is_told_from_damage (void **state)
{
  const struct nbi_header plain = example_header ();
  const struct nbi_header h = header_with_key ();
  struct nbi_header foreign = h;
  uint8_t master[CRYPT_KEY_SIZE], wrong[CRYPT_KEY_SIZE] = { 1 };
  struct crypt *c = NULL;
  struct err err = ERR_INIT;

  (void) state;
  make_master (master);
  foreign.key_id[0] ^= 1;
  assert_int_equal (crypt_check_key (&h, &h, master, NULL), 0);
  assert_int_equal (crypt_check_key (&h, &h, NULL, NULL), 0);
  assert_int_equal (crypt_check_key (&plain, &plain, NULL, NULL), 0);
  refuse_key (&plain, &plain, master);
  refuse_key (&h, &h, wrong);
  refuse_key (&plain, &h, master);
  refuse_key (&h, &plain, NULL);
  refuse_key (&foreign, &h, master);
  refuse_key (&foreign, &h, NULL);
  assert_refused (crypt_new (wrong, &h, &c, &err), &err, -EACCES, "NBI-124");
  assert_refused (crypt_new (master, &plain, &c, &err), &err, -EACCES,
                  "NBI-124");
  assert_null (c);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (hkdf_is_that_of_rfc_5869),
    cmocka_unit_test (hmac_is_that_of_rfc_4231),
    cmocka_unit_test (argon2id_is_that_of_the_reference),
    cmocka_unit_test (gcm_is_that_of_its_specification),
    cmocka_unit_test (what_is_encrypted_is_what_another_program_makes),
    cmocka_unit_test (hmac_of_a_trailer_is_what_another_program_makes),
    cmocka_unit_test (slot_of_a_key_file_is_what_another_program_makes),
    cmocka_unit_test (records_come_back),
    cmocka_unit_test (record_that_is_another_one_is_refused),
    cmocka_unit_test (keys_are_of_a_file_or_of_its_edition),
    cmocka_unit_test (sheets_come_back_and_changed_ones_do_not),
    cmocka_unit_test (sheet_that_is_another_one_is_refused),
    cmocka_unit_test (bytes_behind_entries_are_found_after_decrypting),
    cmocka_unit_test (each_byte_of_header_and_trailer_counts),
    cmocka_unit_test (slots_open_with_what_wrapped_them_only),
    cmocka_unit_test (key_files_have_32_to_65536_bytes),
    cmocka_unit_test (another_key_is_told_from_damage),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
