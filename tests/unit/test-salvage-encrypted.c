/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Salvaging what is encrypted: who has the key, who has not, and whoever gets
 * in between.  test-salvage.c has all that can happen to the files.
 */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/crc32c.h"
#include "lib/block/memory.h"
#include "tests/support/salvage-trial.h"

static struct damaged
whole_file (const struct saved *s, size_t i)
{
  return (struct damaged) { file_of (s, i)->bytes, file_of (s, i)->len, NULL };
}

/* In one sentence, each. */
static void
without_the_key_nothing_is_had (void **state)
{
  static const uint8_t file[32] = "another one of thirty-two bytes";
  const struct crypt_secret secret = { NBI_SLOT_KEY_FILE, file, sizeof file };
  struct keyring *right = keys, *wrong;
  struct damaged whole;
  struct attempt a;
  struct saved s;
  struct err err = ERR_INIT;

  (void) state;
  save (&s, 20, 0);
  whole = whole_file (&s, 0);
  assert_int_equal (keyring_new (&secret, &wrong, NULL), 0);
  keys = wrong;
  assert_int_equal (attempt (&a, &whole, 1, &err), -EACCES);
  assert_non_null (strstr (err.msg, "this key file does not open it"));
  done (&a);
  keys = NULL;
  assert_int_equal (attempt (&a, &whole, 1, &err), -EACCES);
  assert_non_null (strstr (err.msg, "it is encrypted, and there is no key"));
  done (&a);
  keys = right;
  keyring_free (wrong);
  forget (&s);
}

/* NBI-124: a file without encryption that says that it is of the same run, and
 * newer, is not taken for it: it is refused, or, where nobody had been asked
 * for a key when it was looked at, does not count.
 */
static void
plain_files_do_not_get_in_between (void **state)
{
  struct keyring *right = keys;
  struct damaged files[2];
  struct saved s, plain;
  struct attempt a;
  struct err err = ERR_INIT;
  struct block *block;
  struct salvage_file *file;
  const struct salvage_choice choice = { NULL, NULL };

  (void) state;
  save (&s, 21, 0);
  keys = NULL;
  save (&plain, 22, 0);
  keys = right;
  files[0] = whole_file (&plain, 0);
  files[1] = whole_file (&s, 0);
  assert_int_equal (attempt (&a, files, 2, &err), -EACCES);
  assert_non_null (strstr (err.msg, "it is not encrypted (NBI-124)"));
  done (&a);

  if (attempt (&a, &files[1], 1, &err) < 0)
    fail_msg ("%s", err.msg);
  block_unref (a.disk);
  salvage_free (a.salvage);
  assert_int_equal (block_memory_new ("file", files[0].bytes, files[0].len,
                                      &block, NULL), 0);
  assert_int_equal (salvage_file_new (block, "x", NULL, &file, NULL, NULL,
                                      NULL), 0);
  block_unref (block);
  /* As the other one, but for the key. */
  memcpy (file->header.run, a.files.ptr[0]->header.run, UUID_SIZE);
  memcpy (file->header.file, a.files.ptr[0]->header.file, UUID_SIZE);
  file->header.edition = 5;
  file->header.time += 1000;
  assert_int_equal (vector_append (&a.files, &file), 0);
  assert_int_equal (salvage_new (&a.files, &choice, &a.salvage, NULL), 0);
  assert_int_equal (salvage_to_block (a.salvage, &a.disk, NULL), 0);
  assert_int_equal (count_had (&s, &a), CHUNKS);
  done (&a);
  forget (&plain);
  forget (&s);
}

/* A trailer that somebody changed, with checksums that are right. */
static void
trailer_counts_if_it_is_signed (void **state)
{
  struct salvage_file *file;
  struct block *block;
  struct saved s;
  uint8_t *bytes;
  size_t len;

  (void) state;
  save (&s, 23, 0);
  len = file_of (&s, 0)->len;
  bytes = malloc (len);
  assert_non_null (bytes);
  memcpy (bytes, file_of (&s, 0)->bytes, len);
  for (int changed = 0; changed < 2; ++changed) {
    for (size_t off = len - 12288; changed && off < len; off += 8192) {
      bytes[off + 80] ^= 1;     /* how many ranges */
      put_le32 (bytes + off + 4092, crc32c_update (0, bytes + off, 4092));
    }
    assert_int_equal (block_memory_new ("file", bytes, len, &block, NULL), 0);
    assert_int_equal (salvage_file_new (block, "x", keys, &file, NULL, NULL,
                                        NULL), 0);
    assert_int_equal (file->has_trailer, !changed);
    salvage_file_free (file);
    block_unref (block);
  }
  free (bytes);
  forget (&s);
}

#define ENCRYPTED(name) \
  cmocka_unit_test_setup_teardown (name, with_a_key, without_one)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    ENCRYPTED (without_the_key_nothing_is_had),
    ENCRYPTED (trailer_counts_if_it_is_signed),
    ENCRYPTED (plain_files_do_not_get_in_between),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
