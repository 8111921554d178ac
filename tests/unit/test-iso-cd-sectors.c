/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Raw dumps of CDs: sectors of 2352 and 2448 bytes, made here after ECMA-130
 * with a checksum that is computed bit by bit.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "tests/support/iso-maker.h"

#define RAW 2352

/* Division by x^32 + x^31 + x^16 + x^15 + x^4 + x^3 + x + 1, which is what
 * the two polynomials of ECMA-130 §14.3 multiply to, least bit first.
 */
static uint32_t
edc (const uint8_t *p, size_t len)
{
  uint32_t v = 0;

  for (size_t i = 0; i < 8 * len; ++i) {
    uint32_t bit = (p[i / 8] >> i % 8 ^ v) & 1;

    v = v >> 1 ^ (bit ? UINT32_C (0xD8018001) : 0);
  }
  return v;
}

static uint8_t
bcd (unsigned v)
{
  return (uint8_t) (v / 10 * 16 + v % 10);
}

static void
seal (uint8_t *s)
{
  if (s[15] == 1)
    put_le32 (s + 2064, edc (s, 2064));
  else
    put_le32 (s + 2072, edc (s + 16, 2056));
}

/* Sector n; the error correction is anything but zeros. */
static void
put_raw (uint8_t *s, unsigned n, unsigned mode, const uint8_t *data)
{
  unsigned frames = n + 150;

  memset (s, 0xA5, RAW);
  memset (s, 0xFF, 12);
  s[0] = s[11] = 0;
  s[12] = bcd (frames / 75 / 60);
  s[13] = bcd (frames / 75 % 60);
  s[14] = bcd (frames % 75);
  s[15] = (uint8_t) mode;
  memset (s + 16, 0, 8);
  memcpy (s + (mode == 1 ? 16 : 24), data, S);
  if (mode == 1)
    memset (s + 2068, 0, 8);
  seal (s);
}

/* The disc of the fixture with something in it, as a raw dump in its
 * place.  Returns the plain disc, for the caller to free.
 */
static uint8_t *
make_raw (struct iso_fixture *f, unsigned mode, size_t stride)
{
  uint8_t *plain = f->disc;

  for (size_t i = 100 * S; i < SECTORS * S; ++i)
    plain[i] = (uint8_t) (i * 7 + i / 256);
  f->size = SECTORS * stride;
  f->disc = calloc (1, f->size);
  assert_non_null (f->disc);
  for (unsigned i = 0; i < SECTORS; ++i) {
    put_raw (f->disc + i * stride, i, mode, plain + (size_t) i * S);
    memset (f->disc + i * stride + RAW, 0x5A, stride - RAW);
  }
  return plain;
}

static uint8_t *
raw (struct iso_fixture *f, unsigned n)
{
  return f->disc + (size_t) n * RAW;
}

static void
assert_reads (struct iso_fixture *f, const uint8_t *plain)
{
  static const struct { size_t off, len; } ranges[] = {
    { 0, SECTORS * S }, { 0, 1 }, { 13, S }, { 100 * S + 2047, 2 },
    { 200 * S - 1, 17 * S + 2 }, { SECTORS * S - 1, 1 }, { 300 * S, 16 * S },
  };

  for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; ++i) {
    uint8_t *buf = malloc (ranges[i].len);

    assert_non_null (buf);
    assert_int_equal (image_pread (f->img, buf, ranges[i].len, ranges[i].off,
                                   NULL), 0);
    assert_memory_equal (buf, plain + ranges[i].off, ranges[i].len);
    free (buf);
  }
}

static void
the_data_in_raw_sectors_are_served (void **state)
{
  static const struct { unsigned mode; size_t stride; const char *said; }
  kinds[] = {
    { 1, 2352, "2352 bytes, mode 1" }, { 2, 2352, "2352 bytes, mode 2" },
    { 1, 2448, "2448 bytes, mode 1" }, { 2, 2448, "2448 bytes, mode 2" },
  };
  struct iso_fixture *f = *state;

  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; ++i) {
    uint8_t *plain;

    put_iso (f);
    put_boot (f);
    plain = make_raw (f, kinds[i].mode, kinds[i].stride);
    open_iso (f);
    assert_silent (f);
    assert_true (image_size (f->img) == SECTORS * S);
    assert_false (image_is_plain (f->img));
    assert_reads (f, plain);
    assert_property (f, "cd-sectors", kinds[i].said);
    assert_string_equal (f->info.label, "MY_DISC");
    assert_int_equal (f->info.boot.len, 2);
    free (f->disc);
    f->disc = plain;
    memset (plain, 0, SECTORS * S);
  }
}

static int
read_sector (struct iso_fixture *f, unsigned n, struct err *err)
{
  uint8_t buf[S];

  return image_pread (f->img, buf, sizeof buf, (uint64_t) n * S, err);
}

/* What is broken in sector 300 of mode 1, and what is said. */
static const struct {
  unsigned off;
  uint8_t value;
  bool sealed;
  const char *said;
} rules[] = {
  { 0, 1, true, "CD sector 300 is not of data, but of audio or damaged: "
    "no sync pattern at its begin" },
  { 11, 1, true, "CD sector 300 is not of data" },
  { 14, 0x01, true, "CD sector 300 has the address 00:06:01, which "
    "is that of sector 301" },
  { 13, 0x02, true, "has the address 00:02:00, which is that of "
    "sector 0" },
  { 14, 0x75, true, "CD sector 300 has the address 00:06:75, which "
    "is none" },
  { 13, 0x5A, true, "00:5a:00, which is none" },
  { 15, 0, true, "CD sector 300 has mode 0, expected 1 or 2" },
  { 15, 3, true, "CD sector 300 has mode 3, expected 1 or 2" },
  { 100, 0xEE, false, "CD sector 300: checksum of its data is " },
  { 2064, 0xEE, false, "CD sector 300: checksum of its data is " },
};

static void
a_sector_that_is_not_right_is_not_read (void **state)
{
  struct iso_fixture *f = *state;

  for (size_t i = 0; i < sizeof rules / sizeof rules[0]; ++i) {
    struct err err = ERR_INIT;
    uint8_t *plain;

    memset (f->disc, 0, SECTORS * S);
    put_iso (f);
    plain = make_raw (f, 1, RAW);
    raw (f, 300)[rules[i].off] = rules[i].value;
    if (rules[i].sealed)
      put_le32 (raw (f, 300) + 2064, edc (raw (f, 300), 2064));
    open_iso (f);
    assert_silent (f);
    assert_int_equal (read_sector (f, 300, &err), -EBADMSG);
    if (strstr (err.msg, rules[i].said) == NULL)
      fail_msg ("‘%s’ is not in ‘%s’", rules[i].said, err.msg);
    assert_int_equal (read_sector (f, 299, NULL), 0);
    assert_int_equal (read_sector (f, 301, NULL), 0);
    free (f->disc);
    f->disc = plain;
  }
}

static void
a_sector_of_form_2_has_no_data (void **state)
{
  struct iso_fixture *f = *state;
  struct err err = ERR_INIT;
  uint8_t *plain;

  put_iso (f);
  plain = make_raw (f, 2, RAW);
  raw (f, 300)[18] = raw (f, 300)[22] = 0x64;
  seal (raw (f, 300));
  raw (f, 301)[18] = raw (f, 301)[22] = 0x48;   /* form 1, end of record */
  seal (raw (f, 301));
  open_iso (f);
  assert_int_equal (read_sector (f, 300, &err), -EBADMSG);
  assert_string_equal (err.msg, "CD sector 300 is of mode 2, form 2: audio or "
                       "video of 2324 bytes, no data");
  assert_int_equal (read_sector (f, 301, NULL), 0);
  raw (f, 301)[24] ^= 1;
  open_iso (f);
  assert_int_equal (read_sector (f, 301, &err), -EBADMSG);
  free (plain);
}

static void
sectors_without_checksums_are_said_to_be (void **state)
{
  struct iso_fixture *f = *state;

  for (unsigned mode = 1; mode <= 2; ++mode) {
    size_t at = mode == 1 ? 2064 : 2072;
    uint8_t *plain;

    memset (f->disc, 0, SECTORS * S);
    put_iso (f);
    plain = make_raw (f, mode, RAW);
    for (unsigned i = 0; i < SECTORS; ++i)
      memset (raw (f, i) + at, 0, RAW - at);
    open_iso (f);
    assert_said (f, "the CD sectors have no checksums: what is read of them "
                 "can't be verified");
    assert_reads (f, plain);
    /* With error correction, zeros are a checksum that is wrong. */
    raw (f, 300)[RAW - 1] = 1;
    open_iso (f);
    assert_int_equal (read_sector (f, 300, NULL), -EBADMSG);
    free (f->disc);
    f->disc = plain;
  }
}

static void
music_behind_the_data_is_left_out (void **state)
{
  struct iso_fixture *f = *state;
  uint8_t *plain;

  put_iso (f);
  put_both32 (at (f, 16) + 80, 500);
  plain = make_raw (f, 1, RAW);
  open_iso (f);
  assert_silent (f);
  assert_true (image_size (f->img) == SECTORS * S);
  for (unsigned i = 550; i < SECTORS; ++i)
    memset (raw (f, i), 0x77, RAW);
  open_iso (f);
  assert_said (f, "the 100 sectors behind the volume, music perhaps, are left "
               "out");
  assert_int_equal (f->report.lines.len, 1);
  assert_true (image_size (f->img) == 500 * S);
  assert_int_equal (read_sector (f, 499, NULL), 0);
  assert_int_equal (read_sector (f, 500, NULL), -EINVAL);
  free (plain);
}

static void
a_raw_dump_that_broke_off_is_reported (void **state)
{
  struct iso_fixture *f = *state;
  uint8_t *plain;

  put_iso (f);
  plain = make_raw (f, 1, RAW);
  f->size = 500 * RAW + 2351;
  open_iso (f);
  assert_said (f, "1178351 bytes, is not a multiple of 2352: the last sector "
               "is not whole, and left out");
  assert_said (f, "the volume has 1228800 bytes, the file only 1024000: 204800 "
               "bytes are missing");
  assert_true (image_size (f->img) == 500 * S);
  free (plain);
}

static void
a_last_sector_without_its_subchannel_is_whole (void **state)
{
  struct iso_fixture *f = *state;
  uint8_t *plain;

  put_iso (f);
  plain = make_raw (f, 1, 2448);
  f->size = SECTORS * 2448 - 96;
  open_iso (f);
  assert_silent (f);
  assert_reads (f, plain);
  free (plain);
}

static void
a_raw_dump_of_something_else_is_refused (void **state)
{
  struct iso_fixture *f = *state;
  uint8_t *plain;

  plain = make_raw (f, 1, RAW);
  assert_int_equal (try_open_iso (f), -EBADMSG);
  assert_string_equal (f->err.msg, "neither ISO 9660 nor UDF: no primary "
                       "volume descriptor from sector 16 on, and no usable "
                       "UDF volume descriptors");
  raw (f, 0)[20] ^= 1;
  assert_int_equal (try_open_iso (f), -EBADMSG);
  raw (f, 0)[15] = 2;
  raw (f, 0)[18] = 0x20;
  assert_int_equal (try_open_iso (f), -EBADMSG);
  raw (f, 0)[12] = 0xFF;
  assert_int_equal (try_open_iso (f), -EBADMSG);
  /* One sync pattern is not enough. */
  raw (f, 1)[0] = 1;
  assert_int_equal (try_open_iso (f), 0);
  assert_string_equal (image_format (f->img), "raw");
  free (plain);
}

static void
a_dump_need_not_begin_at_the_begin_of_the_disc (void **state)
{
  struct iso_fixture *f = *state;
  uint8_t *plain;

  put_iso (f);
  plain = make_raw (f, 1, RAW);
  for (unsigned i = 0; i < SECTORS; ++i)
    put_raw (raw (f, i), 75 * 60 * 98 + i, 1, plain + (size_t) i * S);
  open_iso (f);
  assert_silent (f);
  assert_reads (f, plain);
  free (plain);
}

#define T(name) \
  cmocka_unit_test_setup_teardown (name, iso_setup, iso_teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    T (the_data_in_raw_sectors_are_served),
    T (a_sector_that_is_not_right_is_not_read),
    T (a_sector_of_form_2_has_no_data),
    T (sectors_without_checksums_are_said_to_be),
    T (music_behind_the_data_is_left_out),
    T (a_raw_dump_that_broke_off_is_reported),
    T (a_last_sector_without_its_subchannel_is_whole),
    T (a_raw_dump_of_something_else_is_refused),
    T (a_dump_need_not_begin_at_the_begin_of_the_disc),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
