/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Each rule of the compressed formats that a file may break, broken once; and
 * indexes that are damaged anywhere are not believed.
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <lzma.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "lib/block/memory.h"
#include "lib/format/compressed/compressed.h"
#include "lib/format/compressed/index-build.h"
#include "lib/format/compressed/index-place.h"
#include "tests/support/squeeze.h"

#define SIZE 900000

static uint8_t disk[SIZE];

static int
open_bytes (const uint8_t *bytes, size_t len, struct err *err)
{
  CLEANUP_BLOCK struct block *file = NULL, *b = NULL;
  const struct codec *codec = compressed_recognise (bytes, len);

  if (codec == NULL)
    return err_set (err, -ENOENT, "not recognised");
  assert_int_equal (block_memory_new ("disk", bytes, len, &file, NULL), 0);
  return compressed_open (file, codec, NULL, &b, NULL, err);
}

static void
refused (const uint8_t *bytes, size_t len, int code, const char *said)
{
  struct err err = ERR_INIT;
  int r = open_bytes (bytes, len, &err);

  if (r != code || strstr (err.msg, said) == NULL)
    fail_msg ("%d ‘%s’, expected %d ‘%s’", r, err.msg, code, said);
}

/*--- Lies -------------------------------------------------------------------*/

struct patch {
  const char *name, *kind;
  long at;                      /* from the end if negative */
  size_t len;
  const char *bytes;
  int code;
  const char *said;
};

#define BYTES(literal) sizeof (literal) - 1, literal

static const struct patch patches[] = {
  /* lz4: the descriptor, checksums, a block's length. */
  { "lz4", "linked", 4, BYTES ("\x8C"), -ENOTSUP, "is of version 2" },
  { "lz4", "linked", 4, BYTES ("\x4E"), -EBADMSG, "which mean nothing" },
  { "lz4", "linked", 5, BYTES ("\x30"), -EBADMSG, "which mean nothing" },
  { "lz4", "linked", 4, BYTES ("\x4D"), -ENOTSUP, "needs a dictionary" },
  { "lz4", "linked", 6, BYTES ("\x01"), -EBADMSG,
    "the checksum of the descriptor of the lz4 frame at 0" },
  { "lz4", "large", 7, BYTES ("\1\0\x41\0"), -EBADMSG,
    "the lz4 block at 7 says that it has 4259841 bytes, more than the 1048576 "
    "of the largest" },
  { "lz4", "independent", 11, BYTES ("\xFF\xFF"), -EBADMSG,
    "the checksum of the lz4 block at 7" },
  { "lz4", "large", -4, BYTES ("\1\2\3\4"), -EBADMSG,
    "the checksum of the lz4 frame at 0 is 04030201" },
  { "lz4", "large", -8, BYTES ("\1\0\0"), -EBADMSG, "can't be decoded" },
  /* zstd */
  { "zstd", "one", -4, BYTES ("\1\2\3\4"), -EBADMSG,
    "the zstd frame at 0 is damaged" },
  { "zstd", "bare", 6, BYTES ("\x9F\xBB\x0D"), -EBADMSG,
    "the zstd frame at 0 is damaged" },
  /* gzip: method, flags, CRC and length. */
  { "gzip", "fast", 2, BYTES ("\7"), -ENOENT, "" },
  { "gzip", "small", 3, BYTES ("\x1D"), -EBADMSG, "" },
  { "gzip", "small", 4, BYTES ("\1"), -EBADMSG,
    "the checksum of the header of the gzip member at 0" },
  { "gzip", "fast", -8, BYTES ("\1\2\3\4"), -EBADMSG,
    "the CRC of the gzip member at 0 is 04030201" },
  { "gzip", "fast", -4, BYTES ("\1\0\0\0"), -EBADMSG, "has 900000 bytes "
    "modulo 2^32, and says that it has 1" },
  { "gzip", "members", -1, BYTES ("\1"), -EBADMSG,
    "is something else" },
  /* xz: the headers, index and footer have CRCs of their own. */
  { "xz", "one", 7, BYTES ("\1"), -EBADMSG,
    "the header of the xz stream at 0" },
  { "xz", "one", 14, BYTES ("\x20"), -EBADMSG, "the header of the xz block at "
    "12" },
  { "xz", "one", -14, BYTES ("\xFF"), -EBADMSG, "is not that of its blocks" },
  { "xz", "one", -8, BYTES ("\xFF"), -EBADMSG, "the footer of an xz stream" },
  { "xz", "streams", -8, BYTES ("xz"), -EBADMSG,
    "inside of the header of the xz stream at" },
  /* bzip2 */
  { "bzip2", "large", 4, BYTES ("\x30"), -ENOENT, "" },
  { "bzip2", "large", 10, BYTES ("\1\2\3\4"), -EBADMSG,
    "the bzip2 block at bit 0 of 4 is damaged" },
  { "bzip2", "streams", 3, BYTES ("9"), 0, "" },        /* it only says more */
};

static void
each_lie_is_refused (void **state)
{
  struct squeezed z = { NULL, 0, 0 };

  (void) state;
  for (size_t i = 0; i < sizeof patches / sizeof patches[0]; ++i) {
    const struct patch *p = &patches[i];
    size_t at;

    squeeze (squeezer_find (p->name, p->kind), disk, SIZE, &z);
    at = p->at < 0 ? z.len - (size_t) -p->at : (size_t) p->at;
    memcpy (z.data + at, p->bytes, p->len);
    print_message ("%s, %s at %ld\n", p->name, p->kind, p->at);
    refused (z.data, z.len, p->code, p->said);
  }
  free (z.data);
}

/* The checksums of the blocks are right, that over them is not. */
static void
a_bzip2_stream_with_a_wrong_checksum_is_refused (void **state)
{
  struct squeezed z = { NULL, 0, 0 };

  (void) state;
  squeeze (squeezer_find ("bzip2", "small"), disk, SIZE, &z);
  z.data[z.len - 3] ^= 0x10;
  refused (z.data, z.len, -EBADMSG, "the checksum of the bzip2 stream at 0");
  free (z.data);
}

static void
what_follows_a_member_has_to_be_one (void **state)
{
  static const struct {
    const char *name, *kind, *said;
  } rows[] = {
    { "lz4", "linked", "behind an lz4 frame, is no other" },
    { "zstd", "one", "behind a zstd frame, is no other" },
    { "gzip", "fast", "behind a gzip member, is no other" },
    { "xz", "one", "behind an xz stream, is no other" },
    { "bzip2", "large", "behind a bzip2 stream, is no other" },
  };
  struct squeezed z = { NULL, 0, 0 };

  (void) state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    squeeze (squeezer_find (rows[i].name, rows[i].kind), disk, 5000, &z);
    z.data = realloc (z.data, z.len + 20);
    assert_non_null (z.data);
    z.cap = z.len + 20;
    memcpy (z.data + z.len, "this is no member...", 20);
    refused (z.data, z.len + 20, -EBADMSG, rows[i].said);
  }
  free (z.data);
}

/*--- Memory -----------------------------------------------------------------*/

static void
a_window_of_2_gib_is_refused (void **state)
{
  /* No size, a window of 2^31; an empty block, the last. */
  static const uint8_t window[] = { 0x28, 0xB5, 0x2F, 0xFD, 0, 0xA8, 1, 0, 0 };
  /* A size of 2^50 in one segment. */
  static const uint8_t segment[] = {
    0x28, 0xB5, 0x2F, 0xFD, 0xE0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0,
  };

  (void) state;
  refused (window, sizeof window, -ENOTSUP, "takes too much memory");
  refused (segment, sizeof segment, -ENOTSUP, "takes too much memory");
}

static void
a_dictionary_of_4_gib_is_refused (void **state)
{
  lzma_options_lzma lzma;
  lzma_filter filters[] = {
    { LZMA_FILTER_LZMA2, &lzma }, { LZMA_VLI_UNKNOWN, NULL },
  };
  lzma_stream_flags flags = { .version = 0, .check = LZMA_CHECK_CRC32 };
  lzma_block block = {
    .version = 1, .check = LZMA_CHECK_CRC32, .filters = filters,
    .compressed_size = LZMA_VLI_UNKNOWN, .uncompressed_size = LZMA_VLI_UNKNOWN,
  };
  uint8_t bytes[200] = { 0 };

  (void) state;
  assert_false (lzma_lzma_preset (&lzma, 0));
  lzma.dict_size = UINT32_MAX;
  assert_int_equal (lzma_stream_header_encode (&flags, bytes), LZMA_OK);
  assert_int_equal (lzma_block_header_size (&block), LZMA_OK);
  assert_int_equal (lzma_block_header_encode (&block, bytes + 12), LZMA_OK);
  refused (bytes, sizeof bytes, -ENOTSUP, "MiB of memory to decode");
}

/*--- The index --------------------------------------------------------------*/

static char folder[] = "/tmp/nbdimage-test-XXXXXX";
static char path[sizeof folder + 20];

static void
write_file (const struct squeezed *z)
{
  int fd = open (path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

  assert_true (fd >= 0);
  assert_int_equal (write (fd, z->data, z->len), z->len);
  close (fd);
}

/* Open it; was its index made? */
static bool
indexes (void)
{
  CLEANUP_BLOCK struct block *file = NULL, *b = NULL;
  struct job job = JOB_INIT;
  struct job_state seen;
  struct err err = ERR_INIT;
  static uint8_t buf[SIZE];

  assert_int_equal (block_file_open (path, 0, &file, NULL, NULL), 0);
  if (compressed_open (file, &gzip_codec, &job, &b, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  assert_int_equal (block_pread (b, buf, SIZE, 0, NULL), 0);
  assert_memory_equal (buf, disk, SIZE);
  job_look (&job, &seen);
  return seen.phase != NULL;
}

/* The only one there is. */
static void
find_index (char *found, size_t size)
{
  char inside[sizeof folder + 20];
  DIR *dir;
  struct dirent *entry;
  int n = 0;

  snprintf (inside, sizeof inside, "%s/nbdimage", folder);
  dir = opendir (inside);
  assert_non_null (dir);
  while ((entry = readdir (dir)) != NULL)
    if (strstr (entry->d_name, ".idx")) {
      snprintf (found, size, "%s/%s", inside, entry->d_name);
      ++n;
    }
  closedir (dir);
  assert_int_equal (n, 1);
}

static void
an_index_is_kept_until_the_file_changes (void **state)
{
  const struct timespec times[2] = { { 1, 0 }, { 1, 0 } };
  struct squeezed z = { NULL, 0, 0 };
  char name[400];

  (void) state;
  squeeze (squeezer_find ("gzip", "small"), disk, SIZE, &z);
  write_file (&z);
  free (z.data);
  assert_true (indexes ());
  assert_false (indexes ());
  find_index (name, sizeof name);
  assert_int_equal (unlink (name), 0);
  assert_int_equal (utimensat (AT_FDCWD, path, times, 0), 0);
  assert_true (indexes ());
  assert_false (indexes ());
}

/* Other bytes at the front, and nothing else differs. */
static void
an_index_of_another_head_is_not_used (void **state)
{
  const struct timespec times[2] = { { 2, 0 }, { 2, 0 } };
  struct squeezed z = { NULL, 0, 0 };

  (void) state;
  squeeze (squeezer_find ("gzip", "fast"), disk, SIZE, &z);
  write_file (&z);
  assert_int_equal (utimensat (AT_FDCWD, path, times, 0), 0);
  assert_true (indexes ());
  z.data[4] ^= 1;               /* the time in the header of gzip */
  write_file (&z);
  assert_int_equal (utimensat (AT_FDCWD, path, times, 0), 0);
  assert_true (indexes ());
  free (z.data);
}

static void
an_index_with_any_byte_changed_is_made_anew (void **state)
{
  struct squeezed z = { NULL, 0, 0 };
  char name[400];
  struct stat st;
  int made = 0, tried = 0;

  (void) state;
  squeeze (squeezer_find ("gzip", "fast"), disk, SIZE, &z);
  write_file (&z);
  free (z.data);
  assert_true (indexes ());
  find_index (name, sizeof name);
  assert_int_equal (stat (name, &st), 0);
  for (off_t at = 0; at < st.st_size; at += at < 200 ? 3 : 101) {
    int fd = open (name, O_RDWR);
    uint8_t byte;

    assert_true (fd >= 0);
    assert_int_equal (pread (fd, &byte, 1, at), 1);
    byte ^= 0x40;
    assert_int_equal (pwrite (fd, &byte, 1, at), 1);
    close (fd);
    ++tried;
    made += indexes ();
  }
  assert_true (tried > 60);
  assert_int_equal (made, tried);
}

static void
an_index_of_any_other_length_is_made_anew (void **state)
{
  struct squeezed z = { NULL, 0, 0 };
  char name[400];
  struct stat st;

  (void) state;
  squeeze (squeezer_find ("gzip", "fast"), disk, SIZE, &z);
  write_file (&z);
  free (z.data);
  assert_true (indexes ());
  find_index (name, sizeof name);
  assert_int_equal (stat (name, &st), 0);
  for (off_t len = 0; len <= st.st_size + 8; len += len < 140 ? 9 : 50) {
    if (len == st.st_size)
      continue;
    assert_int_equal (truncate (name, len), 0);
    assert_true (indexes ());
  }
}

/* A canceled one leaves nothing. */
static void
indexing_can_be_interrupted (void **state)
{
  CLEANUP_BLOCK struct block *file = NULL, *b = NULL;
  struct squeezed z = { NULL, 0, 0 };
  struct job job = JOB_INIT;
  char inside[sizeof folder + 20];
  DIR *dir;
  int n = 0;

  (void) state;
  squeeze (squeezer_find ("gzip", "fast"), disk, SIZE, &z);
  write_file (&z);
  free (z.data);
  job_cancel (&job);
  assert_int_equal (block_file_open (path, 0, &file, NULL, NULL), 0);
  assert_int_equal (compressed_open (file, &gzip_codec, &job, &b, NULL, NULL),
                    -ECANCELED);
  snprintf (inside, sizeof inside, "%s/nbdimage", folder);
  dir = opendir (inside);
  assert_non_null (dir);
  while (readdir (dir))
    ++n;
  closedir (dir);
  assert_int_equal (n, 2);      /* . and .. */
}

/*----------------------------------------------------------------------------*/

/* Nothing is kept from the test before. */
static int
empty_folder (void **state)
{
  char command[sizeof folder + 40];

  (void) state;
  snprintf (command, sizeof command, "rm -rf %s/*", folder);
  return system (command);
}

static int
setup (void **state)
{
  (void) state;
  squeeze_fill (disk, SIZE, 3);
  if (mkdtemp (folder) == NULL)
    return -1;
  snprintf (path, sizeof path, "%s/disk.gz", folder);
  return setenv ("XDG_CACHE_HOME", folder, 1);
}

static int
teardown (void **state)
{
  empty_folder (state);
  return rmdir (folder);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (each_lie_is_refused),
    cmocka_unit_test (a_bzip2_stream_with_a_wrong_checksum_is_refused),
    cmocka_unit_test (what_follows_a_member_has_to_be_one),
    cmocka_unit_test (a_window_of_2_gib_is_refused),
    cmocka_unit_test (a_dictionary_of_4_gib_is_refused),
    cmocka_unit_test_setup (an_index_is_kept_until_the_file_changes,
                            empty_folder),
    cmocka_unit_test_setup (an_index_of_another_head_is_not_used,
                            empty_folder),
    cmocka_unit_test_setup (an_index_with_any_byte_changed_is_made_anew,
                            empty_folder),
    cmocka_unit_test_setup (an_index_of_any_other_length_is_made_anew,
                            empty_folder),
    cmocka_unit_test_setup (indexing_can_be_interrupted, empty_folder),
  };

  return cmocka_run_group_tests (tests, setup, teardown);
}
