/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Whatever happens to the files of a backup: each record that is whole is had,
 * and no byte is another than it was; the same if they are encrypted.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/checked.h"
#include "lib/repo/vault-names.h"
#include "tests/support/rng.h"
#include "tests/support/salvage-trial.h"

static void
what_is_whole_is_whole (void **state)
{
  struct attempt a;
  struct saved s;
  struct err err = ERR_INIT;
  struct damaged file;
  struct salvage_ranges lost = VECTOR_INIT;
  struct used_map used;

  (void) state;
  save (&s, 1, 0);
  file = (struct damaged) { file_of (&s, 0)->bytes, file_of (&s, 0)->len,
                            NULL };
  if (attempt (&a, &file, 1, &err) < 0)
    fail_msg ("%s", err.msg);
  assert_int_equal (count_had (&s, &a), CHUNKS);
  assert_int_equal (a.counts.pages_unproven + a.counts.pages_lost, 0);
  assert_true (a.counts.has_root && a.counts.has_manifest);
  assert_int_equal (salvage_lost (a.salvage, &lost, NULL), 0);
  assert_int_equal (lost.len, 0);
  assert_int_equal (salvage_used (a.salvage, &used, NULL), 0);
  for (uint64_t c = 0; c < CHUNKS; ++c)
    assert_int_equal (used_map_touches (&used, c * CHUNK, 1),
                      !s.unallocated[c]);
  used_map_free (&used);
  done (&a);
  forget (&s);
}

static bool
is_whole_at (const struct nbi_record *record, uint64_t cut)
{
  return record->off + NBI_RECORD_SIZE + record->stored <= cut;
}

/* What is had of a file that ends at `cut' is what the records in front of it
 * have, and nothing else: by the chunks that they were read from, or all there
 * is if the map is among them.  Returns how many chunks.
 */
static unsigned
compare_cut (const struct saved *s, const struct salvage_records *records,
             const struct attempt *a, uint64_t cut)
{
  bool there[CHUNKS] = { false };
  bool map = false;
  unsigned nr_had = 0;

  for (size_t k = 0; k < records->len; ++k) {
    const struct nbi_record *record = &records->ptr[k];

    if (!is_whole_at (record, cut))
      continue;
    if (record->kind == NBI_CHUNK)
      there[record->number] = true;
    else
      map = true;
  }
  for (uint64_t c = 0; c < CHUNKS; ++c) {
    bool is = had (s, a, c);

    if (is != (map || there[c]))
      fail_msg ("cut off at %" PRIu64 ": chunk %" PRIu64 " is %s", cut, c,
                is ? "had" : "lost");
    nr_had += is;
  }
  return nr_had;
}

/* Behind each record, in front of it, and within it. */
static void
cut_off_anywhere_each_whole_record_is_had (void **state)
{
  struct salvage_records records = VECTOR_INIT;
  struct saved s;
  unsigned tried = 0, nr_had = 0;

  (void) state;
  save (&s, 2, 0);
  list_records (&s, 0, &records);
  assert_in_range (records.len, 60, CHUNKS + 5);
  for (size_t i = 0; i < 5 * records.len; ++i) {
    const struct nbi_record *at = &records.ptr[i / 5];
    uint64_t end = at->off + NBI_RECORD_SIZE + at->stored;
    const uint64_t cuts[5] = {
      at->off, at->off + NBI_RECORD_SIZE / 2, at->off + NBI_RECORD_SIZE,
      end - 1, end,
    };
    struct damaged file = { file_of (&s, 0)->bytes, cuts[i % 5], NULL };
    struct attempt a;
    struct err err = ERR_INIT;

    if (attempt (&a, &file, 1, &err) < 0)
      fail_msg ("cut off at %" PRIu64 ": %s", cuts[i % 5], err.msg);
    nr_had += compare_cut (&s, &records, &a, cuts[i % 5]);
    tried++;
    done (&a);
  }
  print_message ("%u cuts, %u chunks had in front of them\n", tried, nr_had);
  vector_free (&records);
  forget (&s);
}

/* What of [from, to) is in a record that is said to be there? */
static bool
hits (const struct nbi_record *record, uint64_t from, uint64_t to)
{
  uint64_t end = record->off + NBI_RECORD_SIZE + record->stored;

  return from < end && to > record->off;
}

struct wound {
  uint64_t from, to;
};

static bool
is_hit (const struct nbi_record *record, const struct wound *wounds, size_t n)
{
  for (size_t i = 0; i < n; ++i)
    if (hits (record, wounds[i].from, wounds[i].to))
      return true;
  return false;
}

static void
wound (uint8_t *bytes, struct wound *w, size_t len, struct rng *rng)
{
  unsigned how = rng_below (rng, 3);
  uint64_t n = how == 0 ? 1 : how == 1 ? 512 : 1 + rng_below (rng, 20000);

  w->from = rng_next (rng) % len;
  w->to = min_u64 (len, w->from + n);
  for (uint64_t i = w->from; i < w->to; ++i)
    bytes[i] = how == 0 ? (uint8_t) (bytes[i] ^ 1U << rng_below (rng, 8))
      : how == 1 ? 0 : (uint8_t) rng_next (rng);
}

/* Bits, sectors of zeros, and pieces of noise. */
static void
damaged_anywhere_no_byte_is_wrong (void **state)
{
  struct salvage_records records = VECTOR_INIT;
  struct saved s;
  uint8_t *bytes;
  size_t len;
  unsigned nr_had = 0, nr_lost = 0;

  (void) state;
  save (&s, 3, 0);
  list_records (&s, 0, &records);
  len = file_of (&s, 0)->len;
  bytes = malloc (len);
  for (unsigned i = 0; i < 300; ++i) {
    struct rng rng = { 1000 + i };
    struct damaged file = { bytes, len, NULL };
    struct wound wounds[12];
    size_t n = 1 + rng_below (&rng, 12);
    struct attempt a;
    struct err err = ERR_INIT;
    unsigned some;

    memcpy (bytes, file_of (&s, 0)->bytes, len);
    for (size_t k = 0; k < n; ++k)
      wound (bytes, &wounds[k], len, &rng);
    if (keys != NULL && !nbi_header_is_whole (bytes) &&
        !nbi_header_is_whole (bytes + len - 8192)) {
      /* The key slots are nowhere else. */
      assert_int_equal (attempt (&a, &file, 1, &err), -EACCES);
      done (&a);
      continue;
    }
    if (attempt (&a, &file, 1, &err) < 0)
      fail_msg ("seed %u: %s", 1000 + i, err.msg);
    for (size_t k = 0; k < records.len; ++k)
      if (records.ptr[k].kind == NBI_CHUNK &&
          !is_hit (&records.ptr[k], wounds, n) &&
          !had (&s, &a, records.ptr[k].number))
        fail_msg ("seed %u: chunk %" PRIu32 " is lost", 1000 + i,
                  records.ptr[k].number);
    some = count_had (&s, &a);
    nr_had += some;
    nr_lost += CHUNKS - some;
    done (&a);
  }
  print_message ("%u chunks had, %u lost, none wrong\n", nr_had, nr_lost);
  assert_true (nr_lost > 100);
  free (bytes);
  vector_free (&records);
  forget (&s);
}

/* A record whose header is gone, but not its entry in the table; and the other
 * way round.
 */
static void
either_account_of_a_record_is_enough (void **state)
{
  struct salvage_records records = VECTOR_INIT;
  struct saved s;
  uint8_t *bytes;
  size_t len;

  (void) state;
  save (&s, 4, 0);
  list_records (&s, 0, &records);
  len = file_of (&s, 0)->len;
  bytes = malloc (len);
  for (int tables = 0; tables < 2; ++tables) {
    struct damaged file = { bytes, len, NULL };
    struct attempt a;
    struct err err = ERR_INIT;

    memcpy (bytes, file_of (&s, 0)->bytes, len);
    for (size_t i = 0; !tables && i < records.len; ++i)
      bytes[records.ptr[i].off] ^= 0xff;
    for (size_t off = 4096; tables && off + 4096 <= len; off += 4096)
      if (memcmp (bytes + off, "NBIs\1", 5) == 0)
        bytes[off + 100] ^= 1;
    if (attempt (&a, &file, 1, &err) < 0)
      fail_msg ("%s", err.msg);
    assert_int_equal (count_had (&s, &a), CHUNKS);
    done (&a);
  }
  free (bytes);
  vector_free (&records);
  forget (&s);
}

/* Which of header, its copy, the trailer and its copy are gone: bits. */
static void
without_headers_and_trailers_it_is_had (void **state)
{
  struct saved s;
  uint8_t *bytes;
  size_t len;
  char name[VAULT_NAME_SIZE];

  (void) state;
  save (&s, 5, 0);
  len = file_of (&s, 0)->len;
  bytes = malloc (len);
  vault_name_nbi (name, file_of (&s, 0)->uuid, 0, true);
  for (unsigned gone = 0; gone < 32; ++gone) {
    const size_t places[4] = { 0, len - 8192, len - 12288, len - 4096 };
    struct damaged file = { bytes, len, gone & 16 ? name : NULL };
    struct attempt a;
    struct err err = ERR_INIT;

    memcpy (bytes, file_of (&s, 0)->bytes, len);
    for (unsigned i = 0; i < 4; ++i)
      if (gone & 1U << i)
        memset (bytes + places[i], 0, 4096);
    if (attempt (&a, &file, 1, &err) < 0)
      fail_msg ("%u: %s", gone, err.msg);
    if (count_had (&s, &a) != CHUNKS)
      fail_msg ("%u: only %u chunks are had", gone, count_had (&s, &a));
    /* With all four the nonce is gone, and the root with it. */
    assert_int_equal (a.counts.pages_unproven, (gone & 15) == 15);
    done (&a);
  }
  free (bytes);
  forget (&s);
}

/* A run of many files, of which some are gone. */
static void
of_many_files_those_that_are_there_are_had (void **state)
{
  struct damaged files[64];
  struct attempt a;
  struct saved s;
  struct err err = ERR_INIT;
  size_t n;

  (void) state;
  save (&s, 6, 96 * 1024);
  n = s.repo.files.len;
  assert_in_range (n, 4, 64);
  for (size_t gone = 0; gone <= n; ++gone) {
    struct salvage_records records = VECTOR_INIT;
    size_t k = 0;

    for (size_t i = 0; i < n; ++i)
      if (i != gone) {
        files[k++] = (struct damaged) { file_of (&s, i)->bytes,
                                        file_of (&s, i)->len, NULL };
        list_records (&s, i, &records);
      }
    if (attempt (&a, files, k, &err) < 0)
      fail_msg ("%s", err.msg);
    for (size_t i = 0; i < records.len; ++i)
      if (records.ptr[i].kind == NBI_CHUNK)
        assert_true (had (&s, &a, records.ptr[i].number));
    if (gone == n)
      assert_int_equal (count_had (&s, &a), CHUNKS);
    else
      assert_true (count_had (&s, &a) < CHUNKS);
    done (&a);
    vector_free (&records);
  }
  forget (&s);
}

/* Zeros are not told from what is lost without a map: they are lost. */
static void
without_a_map_nothing_is_made_up (void **state)
{
  struct salvage_records records = VECTOR_INIT;
  struct saved s;
  uint8_t *bytes;
  struct damaged file;
  struct attempt a;
  struct err err = ERR_INIT;
  unsigned written = 0;

  (void) state;
  save (&s, 7, 0);
  list_records (&s, 0, &records);
  bytes = malloc (file_of (&s, 0)->len);
  memcpy (bytes, file_of (&s, 0)->bytes, file_of (&s, 0)->len);
  for (size_t i = 0; i < records.len; ++i) {
    written += records.ptr[i].kind == NBI_CHUNK;
    if (records.ptr[i].kind == NBI_PAGE)
      bytes[records.ptr[i].off + NBI_RECORD_SIZE] ^= 1;
  }
  file = (struct damaged) { bytes, file_of (&s, 0)->len, NULL };
  if (attempt (&a, &file, 1, &err) < 0)
    fail_msg ("%s", err.msg);
  assert_int_equal (count_had (&s, &a), written);
  assert_true (written < CHUNKS);
  assert_int_equal (a.counts.pages_lost, 1);
  done (&a);
  free (bytes);
  vector_free (&records);
  forget (&s);
}

/* As on a device whose file system is gone: what lies behind a file is told
 * from it by its salt.
 */
static void
another_backup_behind_it_does_not_confuse (void **state)
{
  struct saved inner, outer;
  struct damaged file;
  struct attempt a;
  struct err err = ERR_INIT;

  (void) state;
  save (&inner, 8, 0);
  save (&outer, 9, 0);
  file = (struct damaged) { NULL, file_of (&inner, 0)->len +
                            file_of (&outer, 0)->len, NULL };

  file.bytes = malloc (file.len);
  memcpy (file.bytes, file_of (&outer, 0)->bytes, file_of (&outer, 0)->len);
  memcpy (file.bytes + file_of (&outer, 0)->len, file_of (&inner, 0)->bytes,
          file_of (&inner, 0)->len);
  if (attempt (&a, &file, 1, &err) < 0)
    fail_msg ("%s", err.msg);
  assert_int_equal (count_had (&outer, &a), CHUNKS);
  done (&a);
  free (file.bytes);
  forget (&inner);
  forget (&outer);
}

/* A backup of a disk on which the file of another lies.  All headers of its
 * records are gone, so that the scan goes through what they hold, and all of
 * the chunk table: nothing of what is found there is taken for its own.
 */
static void
a_backup_within_is_not_taken_for_it (void **state)
{
  struct salvage_records records = VECTOR_INIT;
  struct saved inner, outer;
  struct damaged file = { NULL, 0, NULL };
  struct attempt a;
  struct err err = ERR_INIT;

  (void) state;
  save (&inner, 10, 0);
  save_with (&outer, 11, 0, file_of (&inner, 0));
  list_records (&outer, 0, &records);
  file.len = file_of (&outer, 0)->len;
  file.bytes = malloc (file.len);
  memcpy (file.bytes, file_of (&outer, 0)->bytes, file.len);
  for (size_t i = 0; i < records.len; ++i)
    if (records.ptr[i].kind == NBI_CHUNK)
      file.bytes[records.ptr[i].off] ^= 1;
  for (size_t off = 4096; off + 4096 <= file.len; off += 4096)
    if (memcmp (file.bytes + off, "NBIs\1", 5) == 0)
      file.bytes[off + 100] ^= 1;
  if (attempt (&a, &file, 1, &err) < 0)
    fail_msg ("%s", err.msg);
  assert_int_equal (a.files.ptr[0]->listed.len, 0);
  for (size_t i = 0; i < a.files.ptr[0]->scanned.len; ++i)
    assert_int_equal (a.files.ptr[0]->scanned.ptr[i].kind, NBI_PAGE);
  for (size_t i = 0; i < records.len; ++i)
    if (records.ptr[i].kind == NBI_CHUNK)
      assert_false (had (&outer, &a, records.ptr[i].number));
  done (&a);
  free (file.bytes);
  vector_free (&records);
  forget (&inner);
  forget (&outer);
}

/* n bytes are cut out at some place, or added. */
static void
try_shift (const struct saved *s, const struct salvage_records *records,
           size_t at, long n)
{
  const uint8_t *bytes = file_of (s, 0)->bytes;
  size_t len = file_of (s, 0)->len, out = n < 0 ? (size_t) -n : 0;
  size_t in = n > 0 ? (size_t) n : 0;
  struct damaged file = { malloc (len + in), len - out + in, NULL };
  struct attempt a;
  struct err err = ERR_INIT;

  memcpy (file.bytes, bytes, at);
  memset (file.bytes + at, 'x', in);
  memcpy (file.bytes + at + in, bytes + at + out, len - at - out);
  if (attempt (&a, &file, 1, &err) < 0)
    fail_msg ("%zu, %ld: %s", at, n, err.msg);
  for (size_t i = 0; i < records->len; ++i) {
    const struct nbi_record *record = &records->ptr[i];
    uint64_t end = record->off + NBI_RECORD_SIZE + record->stored;

    if (record->kind == NBI_CHUNK &&
        (end <= at || record->off >= at + out) &&
        !had (s, &a, record->number))
      fail_msg ("%zu, %ld: chunk %" PRIu32 " is lost", at, n, record->number);
  }
  count_had (s, &a);
  done (&a);
  free (file.bytes);
}

static void
bytes_that_are_lost_or_added_move_what_follows (void **state)
{
  static const long shifts[] = {
    -1, -64, -4096, -4095, -50000, 1, 63, 64, 4096, 50001,
  };
  struct salvage_records records = VECTOR_INIT;
  struct rng rng = { 12 };
  struct saved s;

  (void) state;
  save (&s, 12, 0);
  list_records (&s, 0, &records);
  for (size_t i = 0; i < 5 * sizeof shifts / sizeof shifts[0]; ++i)
    try_shift (&s, &records, 4096 + rng_next (&rng) %
               (file_of (&s, 0)->len - 100000), shifts[i / 5]);
  /* Before the first record, so that all of them are elsewhere. */
  try_shift (&s, &records, 4096, 17);
  try_shift (&s, &records, 4000, -50);
  vector_free (&records);
  forget (&s);
}

static void
what_is_none_of_ours_is_refused (void **state)
{
  uint8_t *bytes = calloc (1, 100000);
  struct damaged file = { bytes, 100000, NULL };
  struct rng rng = { 77 };
  struct attempt a;
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (attempt (&a, &file, 1, &err), -EBADMSG);
  done (&a);
  for (size_t i = 0; i < 100000; ++i)
    bytes[i] = (uint8_t) rng_next (&rng);
  assert_int_equal (attempt (&a, &file, 1, &err), -EBADMSG);
  done (&a);
  file.len = 0;
  assert_int_equal (attempt (&a, &file, 1, &err), -EBADMSG);
  done (&a);
  free (bytes);
}

#define ENCRYPTED(name) \
  cmocka_unit_test_setup_teardown (name, with_a_key, without_one)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (what_is_whole_is_whole),
    cmocka_unit_test (cut_off_anywhere_each_whole_record_is_had),
    cmocka_unit_test (damaged_anywhere_no_byte_is_wrong),
    cmocka_unit_test (either_account_of_a_record_is_enough),
    cmocka_unit_test (without_headers_and_trailers_it_is_had),
    cmocka_unit_test (of_many_files_those_that_are_there_are_had),
    cmocka_unit_test (without_a_map_nothing_is_made_up),
    cmocka_unit_test (another_backup_behind_it_does_not_confuse),
    cmocka_unit_test (a_backup_within_is_not_taken_for_it),
    cmocka_unit_test (bytes_that_are_lost_or_added_move_what_follows),
    cmocka_unit_test (what_is_none_of_ours_is_refused),
    ENCRYPTED (what_is_whole_is_whole),
    ENCRYPTED (cut_off_anywhere_each_whole_record_is_had),
    ENCRYPTED (damaged_anywhere_no_byte_is_wrong),
    ENCRYPTED (either_account_of_a_record_is_enough),
    ENCRYPTED (of_many_files_those_that_are_there_are_had),
    ENCRYPTED (without_a_map_nothing_is_made_up),
    ENCRYPTED (another_backup_behind_it_does_not_confuse),
    ENCRYPTED (bytes_that_are_lost_or_added_move_what_follows),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
