/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Payloads of records: what is compressed comes back, and each thing that
 * docs/NBI.md §5 does not allow in one is refused (NBI-42).
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <zstd.h>

#include "lib/repo/payload.h"
#include "tests/support/nbi.h"

#define NR(a) (sizeof (a) / sizeof (a)[0])
#define BYTES(s) s, sizeof s - 1

/* Payloads lie in pieces of memory of just their size, so that valgrind and
 * the sanitizers see who reads or writes further.
 */
static int
decode (enum nbi_codec codec, const void *bytes, size_t len, uint32_t plain,
        uint8_t **out, struct err *err)
{
  const struct nbi_record rec = {
    .off = 4096, .kind = NBI_CHUNK, .codec = (uint8_t) codec,
    .stored = (uint32_t) len, .plain = plain,
  };
  struct payload_decoder *decoder;
  uint8_t *payload = malloc (len), *buf = malloc (plain);
  int r;

  assert_non_null (payload);
  assert_non_null (buf);
  memcpy (payload, bytes, len);
  assert_int_equal (payload_decoder_new (&decoder, NULL), 0);
  r = payload_decode (decoder, &rec, payload, buf, err);
  payload_decoder_free (decoder);
  free (payload);
  if (out && r == 0)
    *out = buf;
  else
    free (buf);
  return r;
}

/*--- Frames of zstd, made by hand -------------------------------------------*/

/* RFC 8878: the magic; the descriptor (20: one segment, 40: a size of two
 * bytes, less 256; 80: of four), the window's byte, the dictionary's id, the
 * size; a block of 'z' again and again, and the last one.
 */
#define MAGIC "\x28\xb5\x2f\xfd"
#define Z200 "\x43\x06\x00" "z"         /* 200 of them */
#define Z300 "\x63\x09\x00" "z"
#define GOOD MAGIC "\x20\xc8" Z200
#define SKIPPABLE "\x50\x2a\x4d\x18\x04\0\0\0" "skip"

static const struct {
  const char *name;
  const char *bytes;
  size_t len;
  uint32_t plain;
} fine_frame[] = {
  { "one segment", BYTES (GOOD), 200 },
  { "a window of 1 MiB", BYTES (MAGIC "\x40\x50\x2c\x00" Z300), 300 },
  { "a window of 1 KiB", BYTES (MAGIC "\x40\x00\x2c\x00" Z300), 300 },
  { "a size of four bytes", BYTES (MAGIC "\xa0\xc8\0\0\0" Z200), 200 },
  { "a size of eight bytes", BYTES (MAGIC "\xe0\xc8\0\0\0\0\0\0\0" Z200),
    200 },
  { "two blocks", BYTES (MAGIC "\x60\x90\x00" "\x42\x06\x00" "z" Z200), 400 },
  { "verbatim", BYTES (MAGIC "\x20\x03\x19\x00\x00" "zzz"), 3 },
};

static const struct {
  const char *name;
  const char *bytes;
  size_t len;
  uint32_t plain;
} broken_frame[] = {
  { "no frame", BYTES ("z"), 200 },
  { "a magic alone", BYTES (MAGIC), 200 },
  { "no magic", BYTES ("\x20\xc8" Z200), 200 },
  { "the magic of version 0.7", BYTES ("\x27\xb5\x2f\xfd\x20\xc8" Z200),
    200 },
  { "cut off in the header", BYTES (MAGIC "\xe0\xc8\0\0"), 200 },
  { "cut off in front of the block", BYTES (MAGIC "\x20\xc8"), 200 },
  { "cut off in the block's header", BYTES (MAGIC "\x20\xc8\x43\x06"), 200 },
  { "cut off in the block", BYTES (MAGIC "\x20\xc8\x43\x06\x00"), 200 },
  { "no last block", BYTES (MAGIC "\x20\xc8\x42\x06\x00z"), 200 },
  { "a block of the reserved type", BYTES (MAGIC "\x20\xc8\x47\x06\x00z"),
    200 },
  { "no content size", BYTES (MAGIC "\x00\x50" Z200), 200 },
  { "a smaller content size", BYTES (MAGIC "\x20\xc7\x3b\x06\x00z"), 200 },
  { "a larger content size", BYTES (MAGIC "\x20\xc9\x4b\x06\x00z"), 200 },
  { "a content size that lies: less", BYTES (MAGIC "\x20\xc8\x3b\x06\x00z"),
    200 },
  { "a content size that lies: more", BYTES (MAGIC "\x20\xc8\x4b\x06\x00z"),
    200 },
  { "a bomb of 128 KiB", BYTES (MAGIC "\x20\xc8\x03\x00\x10z"), 200 },
  { "an enormous content size",
    BYTES (MAGIC "\xe0\xff\xff\xff\xff\xff\xff\xff\xff" Z200), 200 },
  { "a content size of 0", BYTES (MAGIC "\x20\x00\x01\x00\x00"), 200 },
  { "a dictionary, id of a byte", BYTES (MAGIC "\x21\x07\xc8" Z200), 200 },
  { "a dictionary, id of two", BYTES (MAGIC "\x22\x07\0\xc8" Z200), 200 },
  { "a dictionary, id of four", BYTES (MAGIC "\x23\x07\0\0\0\xc8" Z200),
    200 },
  { "the reserved bit", BYTES (MAGIC "\x28\xc8" Z200), 200 },
  { "a window of 1.125 MiB", BYTES (MAGIC "\x40\x51\x2c\x00" Z300), 300 },
  { "a window of 2 MiB", BYTES (MAGIC "\x40\x58\x2c\x00" Z300), 300 },
  { "the largest window", BYTES (MAGIC "\x40\xff\x2c\x00" Z300), 300 },
  { "a byte behind", BYTES (GOOD "\0"), 200 },
  { "a frame behind", BYTES (GOOD GOOD), 200 },
  { "an empty frame behind", BYTES (GOOD MAGIC "\x20\x00\x01\x00\x00"), 200 },
  { "an empty frame in front", BYTES (MAGIC "\x20\x00\x01\x00\x00" GOOD),
    200 },
  { "a skippable frame behind", BYTES (GOOD SKIPPABLE), 200 },
  { "a skippable frame in front", BYTES (SKIPPABLE GOOD), 200 },
  { "a skippable frame only", BYTES (SKIPPABLE), 4 },
  { "a byte in front", BYTES ("\0" GOOD), 200 },
};

static void
frames_made_by_hand_decode (void **state)
{
  (void) state;
  for (size_t i = 0; i < NR (fine_frame); ++i) {
    struct err err = ERR_INIT;
    uint8_t *plain;

    if (decode (NBI_ZSTD, fine_frame[i].bytes, fine_frame[i].len,
                fine_frame[i].plain, &plain, &err) < 0)
      fail_msg ("%s: %s", fine_frame[i].name, err.msg);
    for (uint32_t k = 0; k < fine_frame[i].plain; ++k)
      assert_int_equal (plain[k], 'z');
    free (plain);
  }
}

static void
frames_that_are_not_allowed_are_refused (void **state)
{
  (void) state;
  for (size_t i = 0; i < NR (broken_frame); ++i) {
    struct err err = ERR_INIT;
    int r = decode (NBI_ZSTD, broken_frame[i].bytes, broken_frame[i].len,
                    broken_frame[i].plain, NULL, &err);

    if (r == 0)
      fail_msg ("not refused: %s", broken_frame[i].name);
    assert_refused (r, &err, -EBADMSG, "NBI-42");
  }
}

/* Right in all else: libzstd decodes it. */
static void
frame_with_checksum_is_refused (void **state)
{
  uint8_t frame[200], plain[300];
  struct err err = ERR_INIT;
  ZSTD_CCtx *ctx = ZSTD_createCCtx ();
  size_t n;
  int r;

  (void) state;
  assert_non_null (ctx);
  memset (plain, 'z', sizeof plain);
  for (int checksum = 0; checksum < 2; ++checksum) {
    ZSTD_CCtx_setParameter (ctx, ZSTD_c_checksumFlag, checksum);
    n = ZSTD_compress2 (ctx, frame, sizeof frame, plain, sizeof plain);
    assert_false (ZSTD_isError (n));
    r = decode (NBI_ZSTD, frame, n, sizeof plain, NULL, &err);
    if (checksum)
      assert_refused (r, &err, -EBADMSG, "NBI-42");
    else
      assert_int_equal (r, 0);
  }
  ZSTD_freeCCtx (ctx);
}

/*--- Blocks of LZ4, made by hand --------------------------------------------*/

/* "abcd", 12 bytes from 4 before, 5 letters: abcdabcdabcdabcdefghi. */
#define BLOCK "\x48" "abcd" "\x04\x00" "\x50" "efghi"

static const struct {
  const char *name;
  const char *bytes;
  size_t len;
  uint32_t plain;
} broken_block[] = {
  { "fewer bytes than it says", BYTES (BLOCK), 22 },
  { "more bytes than it says", BYTES (BLOCK), 20 },
  { "a byte behind", BYTES (BLOCK "\0"), 21 },
  { "an empty sequence behind", BYTES (BLOCK "\0\0\0"), 21 },
  { "a byte in front", BYTES ("\0" BLOCK), 21 },
  { "cut off in the last letters", BYTES ("\x48" "abcd\x04\x00\x50" "efgh"),
    21 },
  { "cut off in front of them", BYTES ("\x48" "abcd\x04\x00"), 16 },
  { "cut off in an offset", BYTES ("\x48" "abcd\x04"), 16 },
  { "from in front of the start", BYTES ("\x48" "abcd\x05\x00\x50" "efghi"),
    21 },
  { "from far in front", BYTES ("\x48" "abcd\xff\xff\x50" "efghi"), 21 },
  { "letters without end", BYTES ("\xf0\xff\xff\xff"), 1000 },
  { "a copy without end", BYTES ("\x4f" "abcd\x04\x00\xff\xff\xff"), 1000 },
};

static void
blocks_that_are_not_right_are_refused (void **state)
{
  struct err err = ERR_INIT;
  uint8_t *plain;

  (void) state;
  if (decode (NBI_LZ4, BYTES (BLOCK), 21, &plain, &err) < 0)
    fail_msg ("%s", err.msg);
  assert_memory_equal (plain, "abcdabcdabcdabcdefghi", 21);
  free (plain);
  for (size_t i = 0; i < NR (broken_block); ++i) {
    int r = decode (NBI_LZ4, broken_block[i].bytes, broken_block[i].len,
                    broken_block[i].plain, NULL, &err);

    if (r == 0)
      fail_msg ("not refused: %s", broken_block[i].name);
    assert_refused (r, &err, -EBADMSG, "NBI-42");
  }
}

/*--- There and back ---------------------------------------------------------*/

/* Random bytes in front, and words again and again. */
static void
fill (struct rng *rng, uint8_t *buf, size_t len, size_t noise)
{
  uint8_t word[64];

  random_bytes (rng, word, sizeof word);
  for (size_t i = 0; i < len; ++i)
    buf[i] = i < noise ? (uint8_t) rng_next (rng) : word[i % sizeof word];
}

static void
there_and_back (struct payload_encoder *encoder, enum nbi_codec codec,
                const uint8_t *plain, uint32_t len)
{
  struct nbi_record rec = { .off = 4096, .kind = NBI_CHUNK, .plain = len };
  uint8_t *room = malloc (len), *back;
  const void *payload;
  struct err err = ERR_INIT;

  assert_non_null (room);
  if (payload_encode (encoder, plain, &rec, room, &payload, &err) < 0)
    fail_msg ("%s", err.msg);
  if (rec.codec == NBI_STORED) {
    assert_int_equal (rec.stored, len);
    assert_ptr_equal (payload, plain);
  }
  else {
    assert_int_equal (rec.codec, codec);
    assert_true (rec.stored > 0 && rec.stored <= len - len / 16);
    assert_true (rec.stored < len);
    assert_ptr_equal (payload, room);
  }
  if (decode (rec.codec, payload, rec.stored, len, &back, &err) < 0)
    fail_msg ("%u bytes: %s", len, err.msg);
  assert_memory_equal (back, plain, len);
  free (back);
  free (room);
}

static const struct {
  enum nbi_codec codec;
  int level;
} encoders[] = {
  { NBI_STORED, 0 }, { NBI_LZ4, 0 }, { NBI_ZSTD, -5 }, { NBI_ZSTD, 0 },
  { NBI_ZSTD, 1 }, { NBI_ZSTD, 3 }, { NBI_ZSTD, 9 },
};

static void
everything_comes_back (void **state)
{
  static uint8_t plain[65536];
  struct rng rng = { 5 };

  (void) state;
  for (size_t e = 0; e < NR (encoders); ++e) {
    struct payload_encoder *encoder;

    assert_int_equal (payload_encoder_new (encoders[e].codec,
                                           encoders[e].level, &encoder, NULL),
                      0);
    for (uint32_t len = 1; len < 40; ++len) {
      fill (&rng, plain, len, rng_below (&rng, len + 1));
      there_and_back (encoder, encoders[e].codec, plain, len);
    }
    for (unsigned i = 0; i < 40; ++i) {
      uint32_t len = 1 + rng_below (&rng, sizeof plain);

      fill (&rng, plain, len, rng_below (&rng, len + 1));
      there_and_back (encoder, encoders[e].codec, plain, len);
    }
    payload_encoder_free (encoder);
  }
}

/* The largest of all, whose window is as large as it may be. */
static void
largest_records_come_back_at_all_levels (void **state)
{
  static const int levels[] = { -100, 1, 5, 12, 19 };
  uint32_t len = NBI_CHUNK_MAX;
  uint8_t *plain = malloc (len);
  struct rng rng = { 6 };

  (void) state;
  assert_non_null (plain);
  fill (&rng, plain, len, len / 8);
  for (size_t i = 0; i < NR (levels); ++i) {
    struct payload_encoder *encoder;

    assert_int_equal (payload_encoder_new (NBI_ZSTD, levels[i], &encoder,
                                           NULL), 0);
    there_and_back (encoder, NBI_ZSTD, plain, len);
    there_and_back (encoder, NBI_ZSTD, plain, len - 12345);
    there_and_back (encoder, NBI_ZSTD, plain, NBI_PAGE_MAX);
    payload_encoder_free (encoder);
  }
  free (plain);
}

/* A sixteenth of 65536 is 4096: of noise in front of words that compress to
 * nearly nothing.
 */
static void
what_saves_less_than_a_sixteenth_is_stored (void **state)
{
  static uint8_t plain[65536], room[65536];

  (void) state;
  for (int codec = NBI_LZ4; codec <= NBI_ZSTD; ++codec) {
    struct payload_encoder *encoder;
    struct rng rng = { 7 };

    assert_int_equal (payload_encoder_new ((enum nbi_codec) codec, 0, &encoder,
                                           NULL), 0);
    for (size_t noise = 40000; noise <= 65536; noise += 256) {
      struct nbi_record rec = { .kind = NBI_CHUNK, .plain = sizeof plain };
      const void *payload;

      fill (&rng, plain, sizeof plain, noise);
      assert_int_equal (payload_encode (encoder, plain, &rec, room, &payload,
                                        NULL), 0);
      if (noise < 48000)
        assert_int_equal (rec.codec, codec);
      if (noise > 61440)
        assert_int_equal (rec.codec, NBI_STORED);
    }
    payload_encoder_free (encoder);
  }
}

static void
levels_that_are_not_there_are_refused (void **state)
{
  struct payload_encoder *encoder = NULL;

  (void) state;
  assert_int_equal (payload_encoder_new (NBI_ZSTD, 20, &encoder, NULL),
                    -EINVAL);
  assert_int_equal (payload_encoder_new (NBI_ZSTD, INT32_MIN, &encoder, NULL),
                    -EINVAL);
  assert_null (encoder);
}

/* No decoding of damaged bytes writes outside, and all it gives is refusal. */
static void
damaged_payloads_are_refused_or_as_long_as_expected (void **state)
{
  static uint8_t plain[20000], room[20000];
  struct rng rng = { 10 };

  (void) state;
  for (int codec = NBI_LZ4; codec <= NBI_ZSTD; ++codec) {
    struct payload_encoder *encoder;
    struct nbi_record rec = { .kind = NBI_CHUNK, .plain = sizeof plain };
    const void *payload;
    unsigned refused = 0;

    fill (&rng, plain, sizeof plain, 500);
    assert_int_equal (payload_encoder_new ((enum nbi_codec) codec, 0, &encoder,
                                           NULL), 0);
    assert_int_equal (payload_encode (encoder, plain, &rec, room, &payload,
                                      NULL), 0);
    assert_int_equal (rec.codec, codec);
    for (unsigned i = 0; i < 1000; ++i) {
      unsigned bit = rng_below (&rng, rec.stored * 8);
      struct err err = ERR_INIT;
      int r;

      room[bit / 8] ^= (uint8_t) (1 << bit % 8);
      r = decode (rec.codec, room, rec.stored, rec.plain, NULL, &err);
      if (r < 0) {
        assert_refused (r, &err, -EBADMSG, "NBI-42");
        ++refused;
      }
      room[bit / 8] ^= (uint8_t) (1 << bit % 8);
      r = decode (rec.codec, room, 1 + rng_below (&rng, rec.stored - 1),
                  rec.plain, NULL, &err);
      assert_refused (r, &err, -EBADMSG, "NBI-42");
    }
    assert_true (refused > 0);
    payload_encoder_free (encoder);
  }
}

static void
beginning_can_be_decoded_alone (void **state)
{
  static uint8_t plain[65536], room[65536], back[65536];
  struct payload_decoder *decoder;
  struct rng rng = { 11 };

  (void) state;
  fill (&rng, plain, sizeof plain, 3000);
  assert_int_equal (payload_decoder_new (&decoder, NULL), 0);
  for (int codec = NBI_STORED; codec <= NBI_ZSTD; ++codec) {
    struct payload_encoder *encoder;
    struct nbi_record rec = { .kind = NBI_CHUNK, .plain = sizeof plain };
    const void *payload;

    assert_int_equal (payload_encoder_new ((enum nbi_codec) codec, 0, &encoder,
                                           NULL), 0);
    assert_int_equal (payload_encode (encoder, plain, &rec, room, &payload,
                                      NULL), 0);
    for (unsigned i = 0; i < 200; ++i) {
      uint32_t len = i == 0 ? sizeof plain : 1 + rng_below (&rng, sizeof plain);
      struct err err = ERR_INIT;

      memset (back, 0, sizeof back);
      if (payload_decode_begin (decoder, &rec, payload, len, back, &err) < 0)
        fail_msg ("%u bytes: %s", len, err.msg);
      assert_memory_equal (back, plain, len);
    }
    payload_encoder_free (encoder);
  }
  payload_decoder_free (decoder);
}

/* What is cut off behind what is asked for is not seen; in front, it is. */
static void
beginning_of_a_damaged_block_is_refused (void **state)
{
  struct payload_decoder *decoder;
  struct nbi_record rec = {
    .kind = NBI_CHUNK, .codec = NBI_LZ4, .plain = 21, .stored = 5,
  };
  uint8_t back[30];
  struct err err = ERR_INIT;
  int r;

  (void) state;
  assert_int_equal (payload_decoder_new (&decoder, NULL), 0);
  r = payload_decode_begin (decoder, &rec, BLOCK, 4, back, &err);
  assert_int_equal (r, 0);
  assert_memory_equal (back, "abcd", 4);
  r = payload_decode_begin (decoder, &rec, BLOCK, 5, back, &err);
  assert_refused (r, &err, -EBADMSG, "NBI-42");
  /* All of it is there, and is less than what is asked for. */
  rec.stored = sizeof BLOCK - 1;
  rec.plain = sizeof back;
  err = (struct err) ERR_INIT;
  r = payload_decode_begin (decoder, &rec, BLOCK, 22, back, &err);
  assert_refused (r, &err, -EBADMSG, "NBI-42");
  payload_decoder_free (decoder);
}

static void
identity_is_sha256 (void **state)
{
  static const uint8_t abc[DIGEST_SIZE] = {
    0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde,
    0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
    0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
  };
  uint8_t id[DIGEST_SIZE];

  (void) state;
  assert_int_equal (nbi_identity ("abc", 3, id, NULL), 0);
  assert_memory_equal (id, abc, sizeof id);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (frames_made_by_hand_decode),
    cmocka_unit_test (frames_that_are_not_allowed_are_refused),
    cmocka_unit_test (frame_with_checksum_is_refused),
    cmocka_unit_test (blocks_that_are_not_right_are_refused),
    cmocka_unit_test (everything_comes_back),
    cmocka_unit_test (largest_records_come_back_at_all_levels),
    cmocka_unit_test (what_saves_less_than_a_sixteenth_is_stored),
    cmocka_unit_test (levels_that_are_not_there_are_refused),
    cmocka_unit_test (damaged_payloads_are_refused_or_as_long_as_expected),
    cmocka_unit_test (beginning_can_be_decoded_alone),
    cmocka_unit_test (beginning_of_a_damaged_block_is_refused),
    cmocka_unit_test (identity_is_sha256),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
