/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/check.h"
#include "tests/damage/damage.h"

static char folder[] = "/tmp/test-damage.XXXXXX";
static bool has_folder;

static void
die (const char *what)
{
  perror (what);
  exit (99);
}

struct damage_file
damage_copy (const void *bytes, size_t len)
{
  struct damage_file file = { malloc (len + 1), len };

  if (file.bytes == NULL)
    die ("malloc");
  memcpy (file.bytes, bytes, len);
  return file;
}

void
damage_free (struct damage_image *image)
{
  free (image->image.bytes);
  free (image->parent.bytes);
  free (image->disk.bytes);
  memset (image, 0, sizeof *image);
}

void
damage_apply (struct damage_file *file, const struct damage_patch *patches,
              size_t nr)
{
  for (const struct damage_patch *p = patches; p < patches + nr; ++p) {
    uint8_t bytes[8];

    if (p->off == 0 && p->width == 0 && p->value == 0)
      break;
    assert_true (p->off + (p->width ? p->width : p->value) <= file->len);
    put_le64 (bytes, p->value);
    if (p->width == 0)
      memset (file->bytes + p->off, 0, p->value);
    else
      memcpy (file->bytes + p->off, bytes, p->width);
  }
}

void
damage_cut (struct damage_file *file, long cut)
{
  size_t len = file->len;

  if (cut >= 0) {
    assert_true ((size_t) cut <= len);
    file->len -= (size_t) cut;
    return;
  }
  file->len += (size_t) -cut;
  file->bytes = realloc (file->bytes, file->len);
  if (file->bytes == NULL)
    die ("realloc");
  memset (file->bytes + len, 0, file->len - len);
}

/*--- Files ------------------------------------------------------------------*/

const char *
damage_folder (void)
{
  if (!has_folder && mkdtemp (folder) == NULL)
    die (folder);
  has_folder = true;
  return folder;
}

static int
remove_one (const char *path, const struct stat *st, int flag,
            struct FTW *ftw)
{
  (void) st;
  (void) flag;
  (void) ftw;
  return remove (path);
}

void
damage_remove_folder (void)
{
  if (has_folder)
    nftw (folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#define PIECE 4096

/* Unless it is zeros. */
static void
write_piece (int fd, const uint8_t *bytes, size_t len, size_t off)
{
  static const uint8_t zeros[PIECE];

  if (memcmp (bytes, zeros, len) != 0 &&
      pwrite (fd, bytes, len, (off_t) off) != (ssize_t) len)
    die ("pwrite");
}

void
damage_write (const char *dir, const char *name,
              const struct damage_file *file)
{
  CLEANUP_FREE char *path = NULL;
  CLEANUP_CLOSE int fd = -1;

  if (asprintf (&path, "%s/%s", dir, name) < 0)
    die ("asprintf");
  if (file->bytes == NULL) {
    unlink (path);
    return;
  }
  fd = open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0 || ftruncate (fd, (off_t) file->len) < 0)
    die (path);
  for (size_t off = 0; off < file->len; off += PIECE)
    write_piece (fd, file->bytes + off, min_u64 (PIECE, file->len - off),
                 off);
}

/*--- Using an image ---------------------------------------------------------*/

/* An image of any size: the first and the last bytes, and some between. */
void
damage_use (struct image *img)
{
  CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 200 };
  CLEANUP_IMAGE_INFO struct image_info info = { 0 };
  uint64_t size = image_size (img);
  static char buf[16384];

  assert_int_equal (image_get_info (img, &info, NULL), 0);
  for (uint64_t i = 0; i <= 8; ++i) {
    uint64_t off = i < 8 ? size / 8 * i : size - min_u64 (size, sizeof buf);
    size_t len = (size_t) min_u64 (sizeof buf, size - off);
    struct err err = ERR_INIT;

    if (image_pread (img, buf, len, off, &err) < 0)
      assert_true (err.code < 0 && err.msg[0] != '\0');
  }
  image_extents (img, size, 0, &list, NULL);
}

static void
fail_at (const char *what, uint64_t off, unsigned found, unsigned expected)
{
  fail_msg ("%s: byte %llu is %02x, expected %02x", what,
            (unsigned long long) off, found, expected);
}

/* In pieces that are not whole sectors. */
static void
compare_bytes (struct image *img, const struct damage_file *disk,
               const char *what)
{
  uint8_t buf[3 * 512 + 100];

  for (size_t off = 0; off < disk->len; off += sizeof buf) {
    size_t len = min_u64 (sizeof buf, disk->len - off);
    struct err err = ERR_INIT;

    if (image_pread (img, buf, len, off, &err) < 0)
      fail_msg ("%s: reading %zu bytes at %zu: %s", what, len, off, err.msg);
    if (memcmp (buf, disk->bytes + off, len) == 0)
      continue;
    for (size_t i = 0; i < len; ++i)
      if (buf[i] != disk->bytes[off + i])
        fail_at (what, off + i, buf[i], disk->bytes[off + i]);
  }
}

/* They cover the disk, and where they say zeros there are zeros. */
static void
compare_extents (struct image *img, const struct damage_file *disk,
                 const char *what)
{
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  uint64_t end = 0;

  if (image_extents (img, disk->len, 0, &list, NULL) < 0)
    fail_msg ("%s: no extents", what);
  for (size_t i = 0; i < list.v.len; ++i) {
    const struct extent *e = &list.v.ptr[i];

    assert_int_equal (e->off, end);
    end = e->off + e->len;
    for (uint64_t off = e->off; e->kind != EXTENT_DATA && off < end; ++off)
      if (disk->bytes[off] != 0)
        fail_at (what, off, 0, disk->bytes[off]);
  }
  assert_int_equal (end, disk->len);
}

void
damage_compare (struct image *img, const struct damage_file *disk,
                const char *what)
{
  if (image_size (img) != disk->len)
    fail_msg ("%s: a disk of %llu bytes, expected %zu", what,
              (unsigned long long) image_size (img), disk->len);
  compare_bytes (img, disk, what);
  compare_extents (img, disk, what);
  damage_use (img);
}

/*--- Check ------------------------------------------------------------------*/

static void
look_at_finding (const struct finding *f, const char *what)
{
  if (f->sentence[0] == '\0' || f->found[0] == '\0')
    fail_msg ("%s: check says nothing of %s", what, f->kind);
  if (strcmp (f->kind, "refused") == 0)
    fail_msg ("%s: only opening knows: %s", what, f->sentence);
}

void
damage_check (struct block *block, const struct image_options *options,
              int opened, const struct report *report, const char *what)
{
  CLEANUP_CHECK struct check check = CHECK_INIT;
  struct err err = ERR_INIT;
  enum check_verdict verdict;
  int r = image_check_block (block, options, 0, &check, &err);

  if (r < 0) {
    if (r != opened)
      fail_msg ("%s: check fails with %d “%s”", what, r, err.msg);
    return;
  }
  if (strncmp (check.format, "vhd", 3) != 0)
    return;
  verdict = check_verdict (&check);
  for (size_t i = 0; i < check.findings.len; ++i)
    look_at_finding (&check.findings.ptr[i], what);
  if ((opened == -EBADMSG && verdict != CHECK_DAMAGED) ||
      (opened < 0 && verdict == CHECK_WHOLE))
    fail_msg ("%s: it is refused, and check says: %s", what,
              check_verdict_to_string (verdict));
  if (opened == 0 && report->lines.len == 0 && verdict != CHECK_WHOLE)
    fail_msg ("%s: it opens, and check says: %s", what,
              check.findings.ptr[0].sentence);
}

/*--- Memory -----------------------------------------------------------------*/

#if defined __SANITIZE_ADDRESS__
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

long
damage_peak_rss (void)
{
  const char *preload = getenv ("LD_PRELOAD");
  struct rusage usage;

  if (SANITIZED || (preload && strstr (preload, "vgpreload")) ||
      getrusage (RUSAGE_SELF, &usage) < 0)
    return 0;
  return usage.ru_maxrss;
}
