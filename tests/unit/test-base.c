/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/crc32.h"
#include "lib/base/crc32c.h"
#include "lib/base/err.h"
#include "lib/base/report.h"
#include "lib/base/size.h"
#include "lib/base/sort.h"
#include "lib/base/text.h"
#include "lib/base/thread.h"
#include "lib/base/uri.h"
#include "lib/base/utf16.h"
#include "lib/base/utf8.h"
#include "lib/base/uuid.h"
#include "lib/base/words.h"

static void
an_error_grows_prefixes_on_its_way_up (void **state)
{
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (err_set (&err, -EBADMSG, "checksum is %d", 7), -EBADMSG);
  assert_int_equal (err_in (&err, "%s", "a.vhd"), -EBADMSG);
  assert_string_equal (err.msg, "a.vhd: checksum is 7");
  errno = ENOENT;
  assert_int_equal (err_sys (&err, "opening"), -ENOENT);
  assert_string_equal (err.msg, "opening: No such file or directory");
}

static void
a_word_has_the_article_that_it_is_read_with (void **state)
{
  static const char *const a[] = {
    "raw", "vhd", "vhdx", "winbackup", "VHD", "VMDK", "UIF (MagicISO)",
    "qcow2", "gzip-compressed", "7-Zip", "fixed", "dynamic", "",
  };
  static const char *const an[] = {
    "iso", "nbi", "ISO", "MDS", "NRG (Nero)", "EWF (E01)", "xz-compressed",
    "lz4-compressed", "image",
  };

  (void) state;
  for (size_t i = 0; i < sizeof a / sizeof a[0]; ++i)
    if (strcmp (text_article (a[i]), "a") != 0)
      fail_msg ("an %s", a[i]);
  for (size_t i = 0; i < sizeof an / sizeof an[0]; ++i)
    if (strcmp (text_article (an[i]), "an") != 0)
      fail_msg ("a %s", an[i]);
}

static void
an_error_that_is_too_long_is_cut_not_overrun (void **state)
{
  struct err err = ERR_INIT;
  char long_text[2 * ERR_MSG_SIZE];

  (void) state;
  memset (long_text, 'x', sizeof long_text - 1);
  long_text[sizeof long_text - 1] = '\0';
  err_set (&err, -EIO, "%s", long_text);
  err_in (&err, "%s", long_text);
  errno = EIO;
  err_sys (&err, "%s", long_text);
  assert_int_equal (strlen (err.msg), ERR_MSG_SIZE - 1);
}

static void
nobody_needs_to_want_the_error (void **state)
{
  (void) state;
  assert_int_equal (err_set (NULL, -EINVAL, "x"), -EINVAL);
  errno = ENOSPC;
  assert_int_equal (err_sys (NULL, "x"), -ENOSPC);
}

static void
integers_keep_their_byte_order (void **state)
{
  const uint8_t b[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
  uint8_t out[8];

  (void) state;
  assert_int_equal (get_be16 (b), 0x0102);
  assert_int_equal (get_le32 (b), 0x04030201);
  assert_true (get_be64 (b) == UINT64_C (0x0102030405060708));
  put_le64 (out, UINT64_C (0x0807060504030201));
  assert_memory_equal (out, b, 8);
}

static void
ranges_do_not_overflow (void **state)
{
  (void) state;
  assert_true (range_fits (0, 0, 0));
  assert_true (range_fits (10, 0, 10));
  assert_false (range_fits (10, 1, 10));
  assert_false (range_fits (UINT64_MAX, 2, 10));
  assert_false (range_fits (5, UINT64_MAX, 10));
  assert_true (div_round_up (UINT64_MAX, 2) == UINT64_C (1) << 63);
}

static void
sizes_are_read_and_written (void **state)
{
  static const struct { const char *str; uint64_t bytes; } good[] = {
    { "0", 0 }, { "512", 512 }, { "4K", 4096 }, { "4KiB", 4096 },
    { "1m", 1048576 }, { "2T", UINT64_C (2199023255552) }, { "7B", 7 },
  };
  static const char *const bad[] = {
    "", "K", "-1", "1.5G", "4KB", "4X", " 4", "99999999999999999999", "16E",
  };
  char s[SIZE_STRING_SIZE];
  uint64_t n;

  (void) state;
  for (size_t i = 0; i < sizeof good / sizeof good[0]; ++i) {
    assert_int_equal (size_parse (good[i].str, &n, NULL), 0);
    assert_true (n == good[i].bytes);
  }
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i)
    assert_int_equal (size_parse (bad[i], &n, NULL), -EINVAL);
  assert_string_equal (size_to_string (511, s), "511 B");
  assert_string_equal (size_to_string (10485760, s), "10 MiB");
  assert_string_equal (size_to_string (1536, s), "1.5 KiB");
  assert_string_equal (size_to_string (UINT64_MAX, s), "15.9 EiB");
}

static void
names_are_the_same_but_for_case (void **state)
{
  static const struct { const char *a, *b; bool same; } cases[] = {
    { "", "", true },
    { "base.vhd", "base.vhd", true },
    { "base.vhd", "BaSe.VHD", true },
    { "base.vhd", "base.vhdx", false },
    { "base.vhd", "base.vh", false },
    { "", "a", false },
    { "@[`{", "`{@[", false },
    { "\xC3\xA4.vhd", "\xC3\x84.VHD", true },                 /* ä Ä */
    { "\xCE\xB4", "\xCE\x94", true },                         /* δ Δ */
    { "\xD0\xB6", "\xD0\x96", true },                         /* ж Ж */
    { "\xF0\x90\x90\xA8", "\xF0\x90\x90\x80", true },         /* 𐐨 𐐀 */
    { "\xC3\xA4", "a\xCC\x88", false },                       /* ä a¨ */
    { "\xC3\x9F", "SS", false },                              /* ß */
    { "\xC3\xA4", "\xC3\xB6", false },                        /* ä ö */
    { "\xE6\xBC\xA2", "\xE6\xBC\xA2", true },                 /* 漢 */
    /* Not well-formed. */
    { "\xE4.vhd", "\xC4.vhd", false },
    { "\xE4.vhd", "\xE4.VHD", true },
    { "\xC3", "\xC3", true },
    { "\xC3", "\xC3\xA4", false },
    { "\xC0\xAF", "/", false },
    { "\xED\xA0\x80", "\xEF\xBF\xBD", false },
  };

  (void) state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    if (utf8_same_but_case (cases[i].a, cases[i].b) != cases[i].same ||
        utf8_same_but_case (cases[i].b, cases[i].a) != cases[i].same)
      fail_msg ("%zu: “%s” and “%s”", i, cases[i].a, cases[i].b);
  }
}

static void
utf16_becomes_utf8 (void **state)
{
  static const uint8_t be[] = { 0, 'a', 0x20, 0xAC, 0xD8, 0x3D, 0xDE, 0x00,
                                0, 0, 0, 'x' };
  static const uint8_t lone[] = { 0x3D, 0xD8, 'b', 0 };
  char *s;

  (void) state;
  s = utf16_to_utf8 (be, sizeof be, UTF16_BE);
  assert_string_equal (s, "a\xE2\x82\xAC\xF0\x9F\x98\x80");
  free (s);
  s = utf16_to_utf8 (lone, sizeof lone, UTF16_LE);
  assert_string_equal (s, "\xEF\xBF\xBD" "b");
  free (s);
  s = utf16_to_utf8 (be, 3, UTF16_BE);
  assert_string_equal (s, "a");
  free (s);
}

static void
utf8_becomes_utf16 (void **state)
{
  static const uint8_t le[] = { 'a', 0, 0xAC, 0x20, 0x3D, 0xD8, 0x00, 0xDE };
  static const char *const bad[] = {
    "a\xFF", "\xC3", "\xED\xA0\xBD", "\xF4\x90\x80\x80", "\xC0\x80",
  };
  struct err err;
  uint8_t *units;
  size_t len;

  (void) state;
  assert_int_equal (utf16_from_utf8 ("a\xE2\x82\xAC\xF0\x9F\x98\x80",
                                     UTF16_LE, &units, &len, NULL), 0);
  assert_int_equal (len, sizeof le);
  assert_memory_equal (units, le, sizeof le);
  free (units);
  assert_int_equal (utf16_from_utf8 ("\xC3\xA4", UTF16_BE, &units, &len,
                                     NULL), 0);
  assert_int_equal (len, 2);
  assert_int_equal (units[0], 0);
  assert_int_equal (units[1], 0xE4);
  free (units);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i)
    assert_int_equal (utf16_from_utf8 (bad[i], UTF16_LE, &units, &len, &err),
                      -EINVAL);
}

static void
a_uri_begins_with_a_scheme (void **state)
{
  static const char *const uris[] = {
    "http://example.com/disk.vhd", "nbd+unix:///?socket=/x", "s3://b/k",
    "a-b.c://",
  };
  static const char *const others[] = {
    "", "disk.vhd", "://x", "c:/disk.vhd", "/http://x", "./http://x",
    "3d://x", "a b://x", "http:/x", "nbd:",
  };

  (void) state;
  for (size_t i = 0; i < sizeof uris / sizeof uris[0]; ++i)
    assert_true (uri_has_scheme (uris[i]));
  for (size_t i = 0; i < sizeof others / sizeof others[0]; ++i)
    assert_false (uri_has_scheme (others[i]));
}

static void
crc32_is_that_of_the_gpt (void **state)
{
  (void) state;
  assert_int_equal (crc32_update (0, "123456789", 9), 0xCBF43926);
  assert_int_equal (crc32_update (crc32_update (0, "1234", 4), "56789", 5),
                    0xCBF43926);
}

static void
crc32c_is_that_of_rfc_3720 (void **state)
{
  uint8_t up[32], down[32], zeros[32] = { 0 }, ones[32];
  const struct { const void *buf; size_t len; uint32_t crc; } cases[] = {
    { "", 0, 0 }, { "123456789", 9, 0xE3069283 },
    { zeros, 32, 0x8A9136AA }, { ones, 32, 0x62A8AB43 },
    { up, 32, 0x46DD794E }, { down, 32, 0x113FDB5C },
  };

  (void) state;
  memset (ones, 0xFF, sizeof ones);
  for (unsigned i = 0; i < 32; ++i) {
    up[i] = (uint8_t) i;
    down[i] = (uint8_t) (31 - i);
  }
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    assert_int_equal (crc32c_update (0, cases[i].buf, cases[i].len),
                      cases[i].crc);
    assert_int_equal (crc32c_update_by_table (0, cases[i].buf, cases[i].len),
                      cases[i].crc);
  }
}

/* From anywhere to anywhere, in one piece and in two. */
static void
both_ways_to_crc32c_agree (void **state)
{
  uint8_t buf[64];

  (void) state;
  for (unsigned i = 0; i < sizeof buf; ++i)
    buf[i] = (uint8_t) (i * i * 7 + i);
  for (size_t from = 0; from < 16; ++from)
    for (size_t len = 0; from + len <= sizeof buf; ++len) {
      uint32_t crc = crc32c_update_by_table (5, buf + from, len);

      assert_int_equal (crc32c_update (5, buf + from, len), crc);
      assert_int_equal (crc32c_update (crc32c_update (5, buf + from, len / 3),
                                       buf + from + len / 3, len - len / 3),
                        crc);
    }
}

static void
sort_numbers (size_t nr)
{
  uint32_t *v = malloc (2 * nr * sizeof *v), x = 1, last = 0;
  uint64_t sum = 0;

  assert_non_null (v);
  for (size_t i = 0; i < nr; ++i) {
    x = x * 1664525 + 1013904223;
    v[i] = i % 5 == 0 ? x % 1000 : x;
    sum += v[i];
  }
  assert_int_equal (sort_u32 (v, v + nr, nr), 0);
  for (size_t i = 0; i < nr; ++i) {
    assert_true (v[i] >= last);
    last = v[i];
    sum -= v[i];
  }
  assert_true (sum == 0);
  free (v);
}

static void
numbers_are_sorted (void **state)
{
  (void) state;
  sort_numbers (1);
  sort_numbers (3000);
  sort_numbers (70000);
}

static void
a_guid_is_read_from_text (void **state)
{
  static const char *const good[] = {
    "33221100-5544-7766-8899-aabbccddeeff",
    "{33221100-5544-7766-8899-AABBCCDDEEFF}",
  };
  static const char *const bad[] = {
    "", "{", "33221100-5544-7766-8899-aabbccddeef",
    "33221100-5544-7766-8899-aabbccddeefff",
    "{33221100-5544-7766-8899-aabbccddeeff",
    "33221100-5544-7766-8899-aabbccddeeff}",
    "33221100 5544-7766-8899-aabbccddeeff",
    "33221100-5544-7766-8899-aabbccddeegf",
    "(33221100-5544-7766-8899-aabbccddeeff)",
  };
  uint8_t guid[UUID_SIZE];

  (void) state;
  for (size_t i = 0; i < 2; ++i) {
    memset (guid, 0, sizeof guid);
    assert_true (guid_from_string (good[i], guid));
    for (unsigned k = 0; k < UUID_SIZE; ++k)
      assert_int_equal (guid[k], k * 0x11);
  }
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i)
    assert_false (guid_from_string (bad[i], guid));
}

static void
identities_are_printed_in_both_orders (void **state)
{
  static const uint8_t u[UUID_SIZE] = { 0, 1, 2, 3, 4, 5, 6, 7,
                                        8, 9, 10, 11, 12, 13, 14, 15 };
  char s[UUID_STRING_SIZE];

  (void) state;
  uuid_to_string (u, s);
  assert_string_equal (s, "00010203-0405-0607-0809-0a0b0c0d0e0f");
  guid_to_string (u, s);
  assert_string_equal (s, "03020100-0504-0706-0809-0a0b0c0d0e0f");
  assert_false (uuid_is_zero (u));
}

static void
a_report_keeps_each_sentence_once (void **state)
{
  struct report a = REPORT_INIT, b = REPORT_INIT;

  (void) state;
  report_warn (&a, "one");
  report_warn (&b, "two %d", 2);
  report_warn (&b, "one");
  report_move (&a, &b);
  assert_int_equal (a.lines.len, 2);
  assert_int_equal (b.lines.len, 0);
  assert_string_equal (a.lines.ptr[1], "two 2");
  report_free (&a);
  report_warn (NULL, "nobody listens");
}

static void
words_are_kept_whole_and_end_with_null (void **state)
{
  const char *const expected[] = {
    "a b", "file=-o,x=y\n", "", "-m", "2048M", "-name", "%s %d",
  };
  const size_t n = sizeof expected / sizeof expected[0];
  struct words words = VECTOR_INIT;
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (words_add (&words, &err, "a b"), 0);
  assert_int_equal (words_add (&words, &err, "file=%s", "-o,x=y\n"), 0);
  assert_int_equal (words_add (&words, &err, "%s", ""), 0);
  assert_int_equal (words_option (&words, &err, "-m", "%dM", 2048), 0);
  assert_int_equal (words_option (&words, &err, "-name", "%s", "%s %d"), 0);
  assert_int_equal (words.len, n);
  assert_int_equal (words_end (&words, &err), 0);
  assert_int_equal (words.len, n + 1);
  for (size_t i = 0; i < n; ++i)
    assert_string_equal (words.ptr[i], expected[i]);
  assert_null (words.ptr[n]);
  words_free (&words);
  assert_null (words.ptr);
  assert_int_equal (words.len, 0);
}

/* More than the first allocation of the vector has room for. */
static void
there_may_be_many_words (void **state)
{
  struct words words = VECTOR_INIT;
  char expected[32];

  (void) state;
  for (int i = 0; i < 1000; ++i)
    assert_int_equal (words_add (&words, NULL, "word %d", i), 0);
  assert_int_equal (words_end (&words, NULL), 0);
  for (int i = 0; i < 1000; ++i) {
    snprintf (expected, sizeof expected, "word %d", i);
    assert_string_equal (words.ptr[i], expected);
  }
  assert_null (words.ptr[1000]);
  words_free (&words);
}

static void
new_identities_differ (void **state)
{
  uint8_t a[UUID_SIZE], b[UUID_SIZE];

  (void) state;
  assert_int_equal (uuid_new (a, NULL), 0);
  assert_int_equal (uuid_new (b, NULL), 0);
  assert_memory_not_equal (a, b, UUID_SIZE);
  assert_int_equal (a[6] >> 4, 4);
  assert_int_equal (a[8] >> 6, 2);
}

static void
paths_of_proc_are_read (void **state)
{
  static const char *const tries[][2] = {
    { "/a", "/a" }, { "/a\\040b", "/a b" }, { "\\134040", "\\040" },
    { "/\\0409\\012", "/ 9\n" }, { "/a\\04", "/a\\04" }, { "/a\\", "/a\\" },
    { "\\08x", "\\08x" }, { "", "" },
  };

  (void) state;
  for (size_t i = 0; i < sizeof tries / sizeof tries[0]; ++i) {
    char buf[32];

    strcpy (buf, tries[i][0]);
    text_unescape_octal (buf);
    assert_string_equal (buf, tries[i][1]);
  }
}

/* Returns the number of the first signal that it would get; NULL: none. */
static void *
look_for_signals (void *nr)
{
  sigset_t mask;

  pthread_sigmask (SIG_SETMASK, NULL, &mask);
  for (*(int *) nr = 1; *(int *) nr < SIGSYS; ++*(int *) nr)
    if (*(int *) nr != SIGKILL && *(int *) nr != SIGSTOP &&
        !sigismember (&mask, *(int *) nr))
      return nr;
  return NULL;
}

static void
signals_are_for_threads_of_the_program (void **state)
{
  pthread_t thread;
  sigset_t mask;
  void *got;
  int nr;

  (void) state;
  assert_int_equal (thread_start (&thread, look_for_signals, &nr), 0);
  assert_int_equal (pthread_join (thread, &got), 0);
  assert_null (got);
  pthread_sigmask (SIG_SETMASK, NULL, &mask);
  assert_false (sigismember (&mask, SIGINT));
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (an_error_grows_prefixes_on_its_way_up),
    cmocka_unit_test (a_word_has_the_article_that_it_is_read_with),
    cmocka_unit_test (an_error_that_is_too_long_is_cut_not_overrun),
    cmocka_unit_test (nobody_needs_to_want_the_error),
    cmocka_unit_test (integers_keep_their_byte_order),
    cmocka_unit_test (ranges_do_not_overflow),
    cmocka_unit_test (sizes_are_read_and_written),
    cmocka_unit_test (names_are_the_same_but_for_case),
    cmocka_unit_test (utf16_becomes_utf8),
    cmocka_unit_test (utf8_becomes_utf16),
    cmocka_unit_test (a_uri_begins_with_a_scheme),
    cmocka_unit_test (crc32_is_that_of_the_gpt),
    cmocka_unit_test (crc32c_is_that_of_rfc_3720),
    cmocka_unit_test (both_ways_to_crc32c_agree),
    cmocka_unit_test (numbers_are_sorted),
    cmocka_unit_test (a_guid_is_read_from_text),
    cmocka_unit_test (identities_are_printed_in_both_orders),
    cmocka_unit_test (a_report_keeps_each_sentence_once),
    cmocka_unit_test (words_are_kept_whole_and_end_with_null),
    cmocka_unit_test (there_may_be_many_words),
    cmocka_unit_test (new_identities_differ),
    cmocka_unit_test (paths_of_proc_are_read),
    cmocka_unit_test (signals_are_for_threads_of_the_program),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
