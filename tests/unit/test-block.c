/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Blocks: memory, windows, files, extents, images on blocks. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/loop.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "lib/block/memory.h"
#include "lib/block/nbd.h"
#include "lib/block/watch.h"
#include "lib/block/window.h"
#include "lib/format/image.h"
#include "tests/support/faulty.h"

static char path[64];

/*--- faults of the kernel --------------------------------------------------*/

/* errno; 0: as ever */
static int fallocate_fails, fdatasync_fails, pwritev2_fails;
static unsigned nr_fdatasyncs;

int __real_fallocate (int fd, int mode, off_t off, off_t len);
int __wrap_fallocate (int fd, int mode, off_t off, off_t len);
int __real_fdatasync (int fd);
int __wrap_fdatasync (int fd);
ssize_t __real_pwritev2 (int fd, const struct iovec *iov, int nr, off_t off,
                         int flags);
ssize_t __wrap_pwritev2 (int fd, const struct iovec *iov, int nr, off_t off,
                         int flags);

int
__wrap_fallocate (int fd, int mode, off_t off, off_t len)
{
  if (fallocate_fails == 0)
    return __real_fallocate (fd, mode, off, len);
  errno = fallocate_fails;
  return -1;
}

int
__wrap_fdatasync (int fd)
{
  nr_fdatasyncs++;
  if (fdatasync_fails == 0)
    return __real_fdatasync (fd);
  errno = fdatasync_fails;
  return -1;
}

ssize_t
__wrap_pwritev2 (int fd, const struct iovec *iov, int nr, off_t off, int flags)
{
  if (pwritev2_fails == 0)
    return __real_pwritev2 (fd, iov, nr, off, flags);
  errno = pwritev2_fails;
  return -1;
}

/*--- tests -----------------------------------------------------------------*/

static int
make_file (void **state)
{
  int fd;

  (void) state;
  strcpy (path, "test-block.XXXXXX");
  fd = mkstemp (path);
  if (fd < 0)
    return -1;
  close (fd);
  return 0;
}

static int
remove_file (void **state)
{
  (void) state;
  return unlink (path);
}

static struct block *
open_file (unsigned flags)
{
  struct block *b = NULL;
  struct err err = ERR_INIT;

  if (block_file_open (path, flags, &b, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  return b;
}

static void
ranges_outside_a_block_are_refused (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  struct err err = ERR_INIT;
  char buf[16];

  (void) state;
  assert_int_equal (block_memory_new ("m", "0123456789", 10, &b, NULL), 0);
  assert_int_equal (block_pread (b, buf, 10, 0, NULL), 0);
  assert_memory_equal (buf, "0123456789", 10);
  assert_int_equal (block_pread (b, buf, 0, 10, NULL), 0);
  assert_int_equal (block_pread (b, buf, 1, 10, &err), -EINVAL);
  assert_string_equal (err.msg, "1 bytes at offset 10 are not inside its "
                       "10 bytes");
  assert_int_equal (block_pread (b, buf, 2, UINT64_MAX, NULL), -EINVAL);
  assert_int_equal (block_pwrite (b, buf, 11, 0, 0, NULL), -EINVAL);
  assert_int_equal (block_zero (b, UINT64_MAX, 1, 0, NULL), -EINVAL);
  assert_int_equal (block_trim (b, 1, 10, 0, NULL), -EINVAL);
  assert_int_equal (block_cache (b, 11, 0, NULL), -EINVAL);
}

static void
a_window_shows_its_part_only (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL, *w = NULL;
  char buf[4];

  (void) state;
  assert_int_equal (block_memory_new ("m", "0123456789", 10, &b, NULL), 0);
  assert_int_equal (block_window_new (b, 3, 4, &w, NULL), 0);
  assert_true (block_size (w) == 4);
  assert_int_equal (block_pread (w, buf, 4, 0, NULL), 0);
  assert_memory_equal (buf, "3456", 4);
  assert_int_equal (block_pread (w, buf, 1, 4, NULL), -EINVAL);
  assert_int_equal (block_pwrite (w, "xy", 2, 2, 0, NULL), 0);
  assert_int_equal (block_zero (w, 1, 0, 0, NULL), 0);
  assert_int_equal (block_pread (b, buf, 4, 3, NULL), 0);
  assert_memory_equal (buf, "\0004xy", 4);
  assert_int_equal (block_window_new (b, 8, 3, &w, NULL), -EINVAL);
}

static void
a_window_keeps_what_it_shows_alive (void **state)
{
  struct block *b = NULL, *w = NULL;
  char c;

  (void) state;
  assert_int_equal (block_memory_new ("m", "abc", 3, &b, NULL), 0);
  assert_int_equal (block_window_new (b, 1, 1, &w, NULL), 0);
  block_unref (b);
  assert_int_equal (block_pread (w, &c, 1, 0, NULL), 0);
  assert_int_equal (c, 'b');
  block_unref (w);
}

static void
a_file_is_read_and_written (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  char buf[8];

  (void) state;
  assert_int_equal (truncate (path, 1 << 20), 0);
  b = open_file (BLOCK_FILE_WRITE);
  assert_true (block_size (b) == 1 << 20);
  assert_string_equal (block_name (b), path);
  assert_int_equal (block_pwrite (b, "payload", 7, 4093, BLOCK_FUA, NULL), 0);
  assert_int_equal (block_pread (b, buf, 7, 4093, NULL), 0);
  assert_memory_equal (buf, "payload", 7);
  assert_int_equal (block_zero (b, 3, 4093, 0, NULL), 0);
  assert_int_equal (block_pread (b, buf, 7, 4093, NULL), 0);
  assert_memory_equal (buf, "\0\0\0load", 7);
  assert_int_equal (block_flush (b, NULL), 0);
  assert_int_equal (block_trim (b, 8192, 0, 0, NULL), 0);
}

static void
zeroing_without_holes_keeps_the_space (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  CLEANUP_FREE char *buf = malloc (1 << 20);
  struct stat st;

  (void) state;
  memset (buf, 'x', 1 << 20);
  assert_int_equal (truncate (path, 1 << 20), 0);
  b = open_file (BLOCK_FILE_WRITE);
  assert_int_equal (block_pwrite (b, buf, 1 << 20, 0, 0, NULL), 0);
  assert_int_equal (block_zero (b, 1 << 20, 0, BLOCK_NO_HOLE, NULL), 0);
  assert_int_equal (block_flush (b, NULL), 0);
  assert_int_equal (stat (path, &st), 0);
  assert_true (st.st_blocks * 512 >= 1 << 20);
  assert_int_equal (block_pread (b, buf, 1 << 20, 0, NULL), 0);
  assert_int_equal (buf[0] | memcmp (buf, buf + 1, (1 << 20) - 1), 0);
}

/* Devices punch and zero whole sectors only. */
static void
zeroing_and_trimming_take_any_alignment (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  char buf[8];

  (void) state;
  assert_int_equal (truncate (path, 4096), 0);
  b = open_file (BLOCK_FILE_WRITE);
  assert_int_equal (block_pwrite (b, "payload", 7, 99, 0, NULL), 0);
  fallocate_fails = EINVAL;
  assert_int_equal (block_trim (b, 3, 99, 0, NULL), 0);
  assert_int_equal (block_zero (b, 3, 99, BLOCK_FAST, NULL), -ENOTSUP);
  assert_int_equal (block_zero (b, 3, 99, 0, NULL), 0);
  fallocate_fails = 0;
  assert_int_equal (block_pread (b, buf, 7, 99, NULL), 0);
  assert_memory_equal (buf, "\0\0\0load", 7);
  assert_int_equal (block_zero (b, 4096, 0, BLOCK_NO_HOLE, NULL), 0);
}

/* The kernel says it once, and the next fdatasync would be fine. */
static void
a_flush_that_failed_goes_on_failing (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL, *again = NULL;
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (truncate (path, 4096), 0);
  b = open_file (BLOCK_FILE_WRITE);
  fdatasync_fails = ENOSPC;
  assert_int_equal (block_flush (b, NULL), -ENOSPC);
  fdatasync_fails = 0;
  assert_int_equal (block_flush (b, &err), -ENOSPC);
  assert_non_null (strstr (err.msg, "lost"));
  assert_int_equal (block_pwrite (b, "x", 1, 0, BLOCK_FUA, NULL), -ENOSPC);
  assert_int_equal (block_pwrite (b, "x", 1, 0, 0, NULL), 0);
  again = open_file (BLOCK_FILE_WRITE);
  assert_int_equal (block_flush (again, NULL), 0);
}

/* Without waiting for what else was written, where the kernel knows how. */
static void
what_is_written_through_is_flushed (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL, *memory = NULL;
  char buf[7];

  (void) state;
  assert_int_equal (truncate (path, 4096), 0);
  b = open_file (BLOCK_FILE_WRITE);
  nr_fdatasyncs = 0;
  assert_int_equal (block_pwrite_through (b, "through", 7, 4089, NULL), 0);
  assert_int_equal (nr_fdatasyncs, 0);
  assert_int_equal (block_pread (b, buf, 7, 4089, NULL), 0);
  assert_memory_equal (buf, "through", 7);
  assert_int_equal (block_pwrite_through (b, "through", 7, 4090, NULL),
                    -EINVAL);
  pwritev2_fails = EOPNOTSUPP;
  assert_int_equal (block_pwrite_through (b, "another", 7, 0, NULL), 0);
  assert_int_equal (nr_fdatasyncs, 1);
  assert_int_equal (block_pread (b, buf, 7, 0, NULL), 0);
  assert_memory_equal (buf, "another", 7);
  /* It may have been told of others' writes. */
  pwritev2_fails = EIO;
  assert_int_equal (block_pwrite_through (b, "through", 7, 0, NULL), -EIO);
  pwritev2_fails = 0;
  assert_int_equal (block_pwrite_through (b, "through", 7, 0, NULL), -EIO);
  assert_int_equal (block_flush (b, NULL), -EIO);
  /* Where there is nothing like it, all is flushed. */
  assert_int_equal (block_memory_new ("memory", "abc", 3, &memory, NULL), 0);
  assert_int_equal (block_pwrite_through (memory, "x", 1, 1, NULL), 0);
  assert_int_equal (block_pread (memory, buf, 3, 0, NULL), 0);
  assert_memory_equal (buf, "axc", 3);
}

static void
a_file_open_for_reading_is_not_written (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;

  (void) state;
  assert_int_equal (truncate (path, 4096), 0);
  b = open_file (0);
  assert_int_equal (block_pwrite (b, "x", 1, 0, 0, NULL), -EROFS);
  assert_int_equal (block_zero (b, 1, 0, 0, NULL), -EROFS);
  assert_int_equal (block_trim (b, 1, 0, 0, NULL), -EROFS);
  assert_int_equal (block_flush (b, NULL), 0);
}

static void
a_file_that_shrinks_is_an_error_not_zeros (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  struct err err = ERR_INIT;
  char buf[4096];

  (void) state;
  assert_int_equal (truncate (path, 8192), 0);
  b = open_file (0);
  assert_int_equal (truncate (path, 5000), 0);
  assert_int_equal (block_pread (b, buf, 4096, 4096, &err), -EIO);
  assert_non_null (strstr (err.msg, "the file ends at offset 5000"));
  assert_int_equal (block_extents (b, 8192, 0, &list, &err), -EIO);
  assert_non_null (strstr (err.msg, "the file ends at offset 5000"));
}

/* Holes of a file are found where the file system tells; wherever they are
 * claimed, the file reads as zeros, and the list covers all of the range.
 */
static void
extents_of_a_file_cover_it_and_are_true (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  uint64_t pos = 4096, size = 4 << 20;
  CLEANUP_FREE char *buf = malloc (size);

  (void) state;
  memset (buf, 'x', 65536);
  assert_int_equal (truncate (path, (off_t) size), 0);
  b = open_file (BLOCK_FILE_WRITE);
  assert_int_equal (block_pwrite (b, buf, 65536, 1 << 20, 0, NULL), 0);
  assert_int_equal (block_pwrite (b, buf, 100, 3 << 20, 0, NULL), 0);
  assert_int_equal (block_extents (b, size - pos, pos, &list, NULL), 0);
  assert_int_equal (block_pread (b, buf, size, 0, NULL), 0);
  for (size_t i = 0; i < list.v.len; ++i) {
    const struct extent *e = &list.v.ptr[i];

    assert_true (e->off == pos && e->len > 0);
    if (i > 0)
      assert_true (e->kind != list.v.ptr[i - 1].kind);
    for (uint64_t k = 0; e->kind == EXTENT_HOLE && k < e->len; ++k)
      assert_int_equal (buf[e->off + k], 0);
    pos += e->len;
  }
  assert_true (pos == size);
}

static void
a_second_writer_and_a_reader_beside_a_writer_are_refused (void **state)
{
  CLEANUP_BLOCK struct block *w = NULL, *r1 = NULL, *r2 = NULL, *x = NULL;
  struct err err = ERR_INIT;

  (void) state;
  r1 = open_file (BLOCK_FILE_LOCK);
  r2 = open_file (BLOCK_FILE_LOCK);
  assert_int_equal (block_file_open (path, BLOCK_FILE_WRITE | BLOCK_FILE_LOCK,
                                     &w, NULL, &err), -EBUSY);
  assert_non_null (strstr (err.msg, "in use"));
  block_unref (steal_ptr (&r1));
  block_unref (steal_ptr (&r2));
  w = open_file (BLOCK_FILE_WRITE | BLOCK_FILE_LOCK);
  assert_int_equal (block_file_open (path, BLOCK_FILE_LOCK, &x, NULL, &err),
                    -EBUSY);
  assert_non_null (strstr (err.msg, "being written"));
  assert_int_equal (block_file_open (path, 0, &x, NULL, &err), 0);
}

/* A loop device on the file, given back with the descriptor: -1 where there
 * is none, as for who is not root.
 */
static int
open_loop (char name[32])
{
  CLEANUP_CLOSE int control = open ("/dev/loop-control", O_RDWR | O_CLOEXEC);
  CLEANUP_CLOSE int file = open (path, O_RDWR | O_CLOEXEC);
  struct loop_config config = {
    .fd = (uint32_t) file,
    .info.lo_flags = LO_FLAGS_AUTOCLEAR,
  };
  CLEANUP_CLOSE int loop = -1;
  int n = control >= 0 ? ioctl (control, LOOP_CTL_GET_FREE) : -1;

  if (n < 0)
    return -1;
  snprintf (name, 32, "/dev/loop%d", n);
  loop = open (name, O_RDWR | O_CLOEXEC);
  if (loop < 0 || ioctl (loop, LOOP_CONFIGURE, &config) < 0)
    return -1;
  return steal_fd (&loop);
}

static void
a_device_takes_any_alignment_and_is_not_written_while_in_use (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  CLEANUP_CLOSE int loop = -1;
  CLEANUP_CLOSE int holder = -1;
  struct err err = ERR_INIT;
  char name[32], buf[8];

  (void) state;
  assert_int_equal (truncate (path, 1 << 20), 0);
  loop = open_loop (name);
  if (loop < 0)
    skip ();
  /* As a mount holds it. */
  holder = open (name, O_RDONLY | O_EXCL | O_CLOEXEC);
  assert_true (holder >= 0);
  assert_int_equal (block_file_open (name, BLOCK_FILE_WRITE | BLOCK_FILE_LOCK,
                                     &b, NULL, &err), -EBUSY);
  assert_non_null (strstr (err.msg, "mounted"));
  assert_int_equal (block_file_open (name, BLOCK_FILE_LOCK, &b, NULL, &err),
                    0);
  block_unref (steal_ptr (&b));
  close (steal_fd (&holder));

  assert_int_equal (block_file_open (name, BLOCK_FILE_WRITE | BLOCK_FILE_LOCK,
                                     &b, NULL, &err), 0);
  assert_true (block_size (b) == 1 << 20);
  assert_int_equal (block_pwrite (b, "payload", 7, 4093, 0, NULL), 0);
  assert_int_equal (block_trim (b, 3, 4093, 0, &err), 0);
  assert_int_equal (block_zero (b, 3, 4093, BLOCK_FUA, &err), 0);
  assert_int_equal (block_pread (b, buf, 7, 4093, NULL), 0);
  assert_memory_equal (buf, "\0\0\0load", 7);
}

static void
what_is_not_a_file_is_refused (void **state)
{
  struct block *b = NULL;
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (block_file_open (".", 0, &b, NULL, &err), -EISDIR);
  assert_int_equal (block_file_open ("/dev/null", 0, &b, NULL, &err),
                    -ENOTSUP);
  assert_int_equal (block_file_open ("no such file", 0, &b, NULL, &err),
                    -ENOENT);
  assert_int_equal (unlink (path), 0);
  assert_int_equal (mkfifo (path, 0600), 0);
  assert_int_equal (block_file_open (path, 0, &b, NULL, &err), -ENOTSUP);
  assert_string_equal (err.msg,
                       "not a regular file and not a block device");
}

static void
neighbours_of_one_kind_are_one_extent (void **state)
{
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;

  (void) state;
  extent_list_add (&list, 10, 5, EXTENT_DATA, 0, NULL);
  extent_list_add (&list, 15, 5, EXTENT_DATA, 0, NULL);
  extent_list_add (&list, 20, 0, EXTENT_HOLE, 0, NULL);
  extent_list_add (&list, 20, 1, EXTENT_DATA, 1, NULL);
  extent_list_add (&list, 21, 1, EXTENT_HOLE, 1, NULL);
  extent_list_add (&list, 22, 1, EXTENT_HOLE, 2, NULL);
  assert_int_equal (list.v.len, 3);
  assert_true (list.v.ptr[0].len == 10);
  assert_int_equal (list.v.ptr[1].layer, 1);
  assert_true (list.v.ptr[2].off == 21 && list.v.ptr[2].len == 2);
  assert_true (extent_list_end (&list, 0) == 23);
}

static void
a_full_list_takes_no_more (void **state)
{
  CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 2 };
  uint64_t off = 0;

  (void) state;
  for (int i = 0; i < 10; ++i, ++off)
    extent_list_add (&list, off, 1, i % 2 ? EXTENT_HOLE : EXTENT_DATA, 0,
                     NULL);
  assert_true (extent_list_full (&list));
  assert_int_equal (list.v.len, 3);
  assert_true (extent_list_end (&list, 0) == 3);
}

static void
a_raw_image_is_its_file (void **state)
{
  CLEANUP_IMAGE struct image *img = NULL;
  CLEANUP_BLOCK struct block *disk = NULL, *b = NULL;
  struct image_options options = { .writable = true, .lock = true };
  char buf[8];

  (void) state;
  assert_int_equal (truncate (path, 100000), 0);
  assert_int_equal (image_open (path, &options, &img, NULL, NULL), 0);
  assert_string_equal (image_format (img), "raw");
  assert_true (image_size (img) == 100000);
  assert_int_equal (image_pwrite (img, "payload", 7, 99993, 0, NULL), 0);
  assert_int_equal (image_pwrite (img, "payload", 7, 99994, 0, NULL),
                    -EINVAL);
  assert_int_equal (image_to_block (img, &disk, NULL), 0);
  assert_int_equal (block_pread (disk, buf, 7, 99993, NULL), 0);
  assert_memory_equal (buf, "payload", 7);
  b = open_file (0);
  assert_int_equal (block_pread (b, buf, 7, 99993, NULL), 0);
  assert_memory_equal (buf, "payload", 7);
}

/* What is written to the block is in the file. */
static void
a_disk_as_a_block_is_written_through (void **state)
{
  CLEANUP_IMAGE struct image *img = NULL;
  CLEANUP_BLOCK struct block *disk = NULL, *b = NULL;
  struct image_options options = { .writable = true };
  char buf[4096], expected[4096] = { 0 };

  (void) state;
  assert_int_equal (truncate (path, 65536), 0);
  assert_int_equal (image_open (path, &options, &img, NULL, NULL), 0);
  assert_int_equal (image_to_block (img, &disk, NULL), 0);
  assert_true (block_writable (disk));
  memset (buf, 0xA5, sizeof buf);
  memset (expected, 0xA5, 1024);
  memset (expected + 3072, 0xA5, 1024);
  assert_int_equal (block_pwrite (disk, buf, 4096, 8192, BLOCK_FUA, NULL), 0);
  assert_int_equal (block_zero (disk, 2048, 9216, 0, NULL), 0);
  assert_int_equal (block_flush (disk, NULL), 0);
  b = open_file (0);
  assert_int_equal (block_pread (b, buf, 4096, 8192, NULL), 0);
  assert_memory_equal (buf, expected, 4096);
  /* Zeros or what was there, in the range only. */
  assert_int_equal (block_trim (disk, 1024, 8192, 0, NULL), 0);
  assert_int_equal (block_pread (b, buf, 4096, 8192, NULL), 0);
  assert_memory_equal (buf + 1024, expected + 1024, 3072);
  assert_true (buf[0] == 0 || buf[0] == (char) 0xA5);
  assert_int_equal (block_cache (disk, 65536, 0, NULL), 0);
}

static void
images_that_can_not_be_what_is_asked_are_refused (void **state)
{
  struct image_options careless = { .writable = true,
                                    .ignore_checksums = true };
  struct image_options writable = { .writable = true };
  CLEANUP_BLOCK struct block *b = NULL;
  enum image_size_rule rule;
  struct image *img = NULL;
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (image_size_rule_parse ("chs", &rule, &err), 0);
  assert_int_equal (rule, IMAGE_SIZE_CHS);
  assert_int_equal (image_size_rule_parse ("largest", &rule, &err), -EINVAL);
  assert_non_null (strstr (err.msg, "expected auto, current or chs"));
  assert_int_equal (image_format_check ("raw", &err), 0);
  assert_int_equal (image_format_check ("rar", &err), -EINVAL);
  assert_int_equal (image_open ("", NULL, &img, NULL, &err), -EINVAL);
  assert_non_null (strstr (err.msg, "is empty"));
  assert_int_equal (image_open ("ftp://host/file", NULL, &img, NULL, &err),
                    -ENOENT);
  assert_non_null (strstr (err.msg, "only those of NBD servers"));
  assert_int_equal (image_open (path, &careless, &img, NULL, &err), -EROFS);
  assert_non_null (strstr (err.msg, "whose checksums are ignored"));
  b = open_file (0);
  assert_int_equal (image_open_block (b, &writable, &img, NULL, &err), -EROFS);
  assert_null (img);
}

static void
an_unknown_format_is_refused_with_those_we_know (void **state)
{
  struct image_options options = { .format = "qcow9" };
  struct image *img = NULL;
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (image_open (path, &options, &img, NULL, &err), -EINVAL);
  assert_non_null (strstr (err.msg, "‘qcow9’"));
  assert_non_null (strstr (err.msg, "raw"));
}

static void
a_symbolic_link_is_followed_unless_told_not_to (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  struct block *refused = NULL;
  char link_path[sizeof path + 8];

  (void) state;
  snprintf (link_path, sizeof link_path, "%s.link", path);
  assert_int_equal (symlink (path, link_path), 0);
  assert_int_equal (block_file_open (link_path, BLOCK_FILE_NOFOLLOW, &refused,
                                     NULL, NULL), -ELOOP);
  assert_int_equal (block_file_open (link_path, 0, &b, NULL, NULL), 0);
  assert_int_equal (unlink (link_path), 0);
}

static void
a_watch_remembers_the_first_read_that_failed (void **state)
{
  struct block *below, *faulty, *watch;
  struct err err = ERR_INIT;
  char buf[8];

  (void) state;
  assert_int_equal (block_memory_new ("m", "01234567", 8, &below, &err), 0);
  faulty = faulty_new (below, 2);
  assert_int_equal (block_watch_new (faulty, &watch, &err), 0);
  assert_int_equal (block_size (watch), 8);
  assert_false (block_writable (watch));
  assert_int_equal (block_pread (watch, buf, 4, 0, &err), 0);
  assert_memory_equal (buf, "0123", 4);
  assert_int_equal (block_watch_failure (watch, &err), 0);
  assert_int_equal (block_pread (watch, buf, 4, 3, &err), -EIO);
  assert_string_equal (err.msg, "bad sector at offset 3");
  assert_int_equal (block_pread (watch, buf, 4, 4, NULL), -EIO);
  assert_int_equal (block_watch_failure (watch, &err), -EIO);
  assert_string_equal (err.msg, "bad sector at offset 3");
  block_unref (watch);
  block_unref (faulty);
  block_unref (below);
}

static void
formats_are_counted_by_name (void **state)
{
  bool raw = false;
  size_t n;

  (void) state;
  for (n = 0; image_format_name (n) != NULL; ++n)
    raw = raw || strcmp (image_format_name (n), "raw") == 0;
  assert_true (raw);
  assert_null (image_format_name (n + 1));
}

static void
a_qcow2_file_is_raw_only_when_that_is_asked_for (void **state)
{
  static const char qcow2[] = "QFI\xFB\0\0\0\003";
  struct image_options raw = { .format = "raw" };
  CLEANUP_BLOCK struct block *b = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (block_memory_new ("m", NULL, 65536, &b, NULL), 0);
  assert_int_equal (block_pwrite (b, qcow2, sizeof qcow2, 0, 0, NULL), 0);
  assert_int_equal (image_open_block (b, NULL, &img, NULL, &err), -ENOTSUP);
  assert_non_null (strstr (err.msg, "it is a qcow2 file"));
  assert_int_equal (image_open_block (b, &raw, &img, NULL, &err), 0);
}

static void
uris_are_told_from_paths (void **state)
{
  (void) state;
  assert_true (block_nbd_is_uri ("nbd://localhost"));
  assert_true (block_nbd_is_uri ("nbds+unix:///x?socket=y"));
  assert_false (block_nbd_is_uri ("nbd.vhd"));
  assert_false (block_nbd_is_uri ("./nbd:1"));
  assert_false (block_nbd_is_uri ("http://localhost"));
}

/*--- Size ------------------------------------------------------------------*/

static void
a_file_grows_by_appending_and_can_be_cut (void **state)
{
  CLEANUP_BLOCK struct block *block = NULL, *memory = NULL, *reading = NULL;
  CLEANUP_CLOSE int fd = -1;
  struct err err = ERR_INIT;
  char buf[8];

  (void) state;
  strcpy (path, "/tmp/test-block.XXXXXX");
  fd = mkstemp (path);
  assert_true (fd >= 0);
  assert_int_equal (block_file_open (path, BLOCK_FILE_WRITE, &block, NULL,
                                     NULL), 0);
  assert_int_equal (block_file_open (path, 0, &reading, NULL, NULL), 0);
  unlink (path);
  assert_true (block_can_resize (block));
  assert_int_equal (block_append (block, "end", 3, 5, NULL), 0);
  assert_int_equal (block_size (block), 8);
  assert_int_equal (block_pread (block, buf, 8, 0, NULL), 0);
  assert_memory_equal (buf, "\0\0\0\0\0end", 8);
  assert_int_equal (block_append (block, "in", 2, 1, NULL), 0);
  assert_int_equal (block_size (block), 8);
  assert_int_equal (block_resize (block, 4, NULL), 0);
  assert_int_equal (block_size (block), 4);
  assert_int_equal (block_pread (block, buf, 5, 0, NULL), -EINVAL);
  assert_int_equal (block_resize (block, 8, NULL), 0);
  assert_int_equal (block_pread (block, buf, 8, 0, NULL), 0);
  assert_memory_equal (buf, "\0in\0\0\0\0\0", 8);
  assert_int_equal (block_append (block, "x", 1, UINT64_MAX, &err), -EFBIG);
  assert_int_equal (block_size (block), 8);
  assert_int_equal (block_resize (reading, 1, NULL), -EROFS);
  assert_int_equal (block_memory_new ("m", NULL, 8, &memory, NULL), 0);
  assert_false (block_can_resize (memory));
  assert_int_equal (block_resize (memory, 1, NULL), -ENOTSUP);
  assert_int_equal (block_append (memory, "x", 1, 8, NULL), -ENOTSUP);
}

int
main (void)
{
#define on_a_file(f) \
  cmocka_unit_test_setup_teardown (f, make_file, remove_file)
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (ranges_outside_a_block_are_refused),
    cmocka_unit_test (a_window_shows_its_part_only),
    cmocka_unit_test (a_window_keeps_what_it_shows_alive),
    on_a_file (a_file_is_read_and_written),
    on_a_file (zeroing_without_holes_keeps_the_space),
    on_a_file (zeroing_and_trimming_take_any_alignment),
    on_a_file (a_flush_that_failed_goes_on_failing),
    on_a_file (what_is_written_through_is_flushed),
    on_a_file (a_file_open_for_reading_is_not_written),
    on_a_file (a_file_that_shrinks_is_an_error_not_zeros),
    on_a_file (extents_of_a_file_cover_it_and_are_true),
    on_a_file (a_second_writer_and_a_reader_beside_a_writer_are_refused),
    on_a_file (a_device_takes_any_alignment_and_is_not_written_while_in_use),
    on_a_file (what_is_not_a_file_is_refused),
    on_a_file (a_symbolic_link_is_followed_unless_told_not_to),
    cmocka_unit_test (neighbours_of_one_kind_are_one_extent),
    cmocka_unit_test (a_file_grows_by_appending_and_can_be_cut),
    cmocka_unit_test (a_full_list_takes_no_more),
    on_a_file (a_raw_image_is_its_file),
    on_a_file (a_disk_as_a_block_is_written_through),
    on_a_file (images_that_can_not_be_what_is_asked_are_refused),
    on_a_file (an_unknown_format_is_refused_with_those_we_know),
    cmocka_unit_test (a_watch_remembers_the_first_read_that_failed),
    cmocka_unit_test (formats_are_counted_by_name),
    cmocka_unit_test (a_qcow2_file_is_raw_only_when_that_is_asked_for),
    cmocka_unit_test (uris_are_told_from_paths),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
