/* SPDX-License-Identifier: GPL-2.0-or-later */

/* check, repair and its undo file, on VHDs and VHDXs.  What must hold:
 *
 *   - checking and planning change nothing;
 *   - repair has something to do just when check said so;
 *   - a disk that could be read before is the same afterwards;
 *   - after a repair check finds nothing but what it had said that it can't
 *     mend, and a second repair finds leaks at most;
 *   - reverting gives back the same bytes, and the same size.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32c.h"
#include "lib/base/fdio.h"
#include "lib/block/file.h"
#include "lib/format/repair.h"
#include "lib/format/undo.h"
#include "tests/fuzz/fix.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/parents.h"

/* Of the options, those that mean nothing here mean something else. */
#define BREAK_FIRST 16U         /* once all is right: the VHD footer at the
                                   end; the first header of a VHDX */
#define BREAK_SECOND 32U        /* its copy; the second region table */
#define DISCARD_LOG 64U
#define KEEP_LEAKS 128U

#define MAX_SIZE (UINT64_C (1) << 40)
#define CHUNK 65536
#define NR_SAMPLES 64           /* extents of the disk that are read */

void
fuzz_fix (struct sparse *s)
{
  fix_vhd (s);
  fix_vhdx (s);
}

static void
break_byte (struct sparse *s, uint64_t off)
{
  uint8_t byte;

  if (off >= s->size)
    return;
  sparse_read (s, &byte, 1, off);
  byte ^= 0x10;
  sparse_write (s, &byte, 1, off);
}

static void
break_some (struct sparse *s)
{
  char magic[8] = "";
  bool is_vhdx;

  if (s->size >= sizeof magic)
    sparse_read (s, magic, sizeof magic, 0);
  is_vhdx = memcmp (magic, "vhdxfile", 8) == 0;
  if (s->options & BREAK_FIRST)
    break_byte (s, is_vhdx ? 65536 + 100 : s->size - 400);
  if (s->options & BREAK_SECOND)
    break_byte (s, is_vhdx ? 262144 + 100 : 100);
}

/*--- Files ------------------------------------------------------------------*/

static int
make_file (const struct sparse *s)
{
  int fd = memfd_create ("fuzz", MFD_CLOEXEC);

  must (fd >= 0 && ftruncate (fd, (off_t) s->size) == 0);
  for (size_t i = 0; i < s->records.len; ++i) {
    const struct sparse_record *r = &s->records.ptr[i];

    must (fd_pwrite (fd, r->bytes, r->len, r->off, NULL) == 0);
  }
  return fd;
}

static uint64_t
next_data (int fd, uint64_t off)
{
  off_t data = lseek (fd, (off_t) off, SEEK_DATA);

  must (data >= 0 || errno == ENXIO);
  return data < 0 ? UINT64_MAX : (uint64_t) data;
}

static void
must_be_same (int fd, int expected)
{
  static uint8_t a[CHUNK], b[CHUNK];
  uint64_t size, expected_size, off = 0;

  must (fd_size (fd, &size, NULL) == 0);
  must (fd_size (expected, &expected_size, NULL) == 0);
  must (size == expected_size);
  while (off < size) {
    size_t n;

    off = min_u64 (next_data (fd, off), next_data (expected, off));
    if (off >= size)
      return;
    n = (size_t) min_u64 (CHUNK, size - off);
    must (fd_pread (fd, a, n, off, NULL) == 0);
    must (fd_pread (expected, b, n, off, NULL) == 0);
    must (memcmp (a, b, n) == 0);
    off += n;
  }
}

/*--- The disk ---------------------------------------------------------------*/

/* What can be read of it, as a number. */
struct disk {
  bool opens;
  uint64_t size;
  uint32_t sum;
};

static void
add_piece (struct image *img, uint64_t off, struct disk *disk)
{
  static uint8_t buf[4096];
  size_t n = (size_t) min_u64 (sizeof buf, disk->size - off);

  if (image_pread (img, buf, n, off, NULL) == 0)
    disk->sum = crc32c_update (disk->sum, buf, n);
  else
    disk->sum = ~disk->sum;
}

static struct disk
read_disk (struct block *block, const struct image_options *options)
{
  CLEANUP_EXTENT_LIST struct extent_list list = { .limit = NR_SAMPLES };
  CLEANUP_IMAGE struct image *img = NULL;
  struct disk disk = { .opens = false };

  if (image_open_block (block, options, &img, NULL, NULL) < 0)
    return disk;
  disk.opens = true;
  disk.size = image_size (img);
  if (disk.size > 0)
    (void) image_extents (img, disk.size, 0, &list, NULL);
  for (size_t i = 0; i < list.v.len; ++i) {
    const struct extent *e = &list.v.ptr[i];

    add_piece (img, e->off, &disk);
    add_piece (img, e->off + e->len / 2, &disk);
    add_piece (img, e->off + e->len - 1, &disk);
  }
  for (uint64_t off = 512; off < disk.size; off *= 2)
    add_piece (img, off - 300, &disk);
  return disk;
}

/*--- Check and repair -------------------------------------------------------*/

/* Did check say that of the image before, and that it can't mend it?  Where
 * the header is not where it should be, nobody looked for a parent.
 */
static bool
was_said (const struct check *before, const struct finding *f)
{
  for (size_t i = 0; i < before->findings.len; ++i)
    if (strcmp (before->findings.ptr[i].kind, "vhd-header") == 0 &&
        before->findings.ptr[i].mendable && strcmp (f->kind, "parent") == 0)
      return true;
  for (size_t i = 0; i < before->findings.len; ++i)
    if (!before->findings.ptr[i].mendable &&
        strcmp (before->findings.ptr[i].kind, f->kind) == 0 &&
        strcmp (before->findings.ptr[i].sentence, f->sentence) == 0)
      return true;
  return false;
}

static void
check_after (const struct check *before, const struct check *after)
{
  for (size_t i = 0; i < after->findings.len; ++i) {
    const struct finding *f = &after->findings.ptr[i];

    if (f->severity < FINDING_UNEXAMINED)
      continue;
    if (!was_said (before, f) || f->mendable)
      fuzz_failed (f->sentence, __FILE__, __LINE__);
  }
}

/* What is left for a second repair is space: one need not find all leaks, for
 * a smaller file has its end elsewhere.
 */
static void
check_again (struct block *block, const struct image_options *options,
             unsigned flags)
{
  CLEANUP_REPAIR_PLAN struct repair_plan plan = REPAIR_PLAN_INIT;
  CLEANUP_CHECK struct check check = CHECK_INIT;
  struct err err = ERR_INIT;

  must (repair_plan_make (block, options, flags, &check, &plan, &err) == 0);
  must (plan.refusal == NULL);
  must (plan.steps.len == 0 || check.nr[FINDING_LEAK] > 0);
}

static char undo_folder[] = "/dev/shm/nbdimage-fuzz.XXXXXX";
static char undo[sizeof undo_folder + 8];

static void
remove_undo (void)
{
  unlink (undo);
  rmdir (undo_folder);
}

static const char *
undo_path (void)
{
  if (undo[0] == '\0') {
    must (mkdtemp (undo_folder) != NULL);
    snprintf (undo, sizeof undo, "%s/undo", undo_folder);
    atexit (remove_undo);
  }
  return undo;
}

static void
repair (struct block *block, int fd, int original,
        const struct image_options *options, const struct check *before,
        const struct repair_plan *plan, unsigned flags)
{
  CLEANUP_CHECK struct check after = CHECK_INIT;
  struct disk was = read_disk (block, options), is;
  struct err err = ERR_INIT;

  unlink (undo_path ());
  if (repair_apply (block, plan, undo, NULL, &err) < 0)
    fuzz_failed (err.msg, __FILE__, __LINE__);
  must (image_check_block (block, options, 0, &after, &err) == 0);
  check_after (before, &after);
  is = read_disk (block, options);
  must (!was.opens || is.opens);
  must (!was.opens || (was.size == is.size && was.sum == is.sum));
  check_again (block, options, flags);
  if (undo_revert (block, undo, NULL, &err) < 0)
    fuzz_failed (err.msg, __FILE__, __LINE__);
  must_be_same (fd, original);
}

static void
try_block (struct block *block, int fd, int original,
           const struct image_options *options, unsigned flags)
{
  CLEANUP_REPAIR_PLAN struct repair_plan plan = REPAIR_PLAN_INIT;
  CLEANUP_CHECK struct check check = CHECK_INIT, planned = CHECK_INIT;
  struct err err = ERR_INIT;
  bool does;
  int r = image_check_block (block, options, 0, &check, &err);

  if (r < 0) {
    fuzz_check_err (r, &err);
    must_be_same (fd, original);
    return;
  }
  r = repair_plan_make (block, options, flags, &planned, &plan, &err);
  must_be_same (fd, original);
  if (r < 0) {
    fuzz_check_err (r, &err);
    must (r == -ENOTSUP && !check_has_mendable (&check));
    return;
  }
  does = plan.refusal == NULL && plan.steps.len > 0;
  must (flags != 0 || does == check_has_mendable (&check));
  if (does)
    repair (block, fd, original, options, &check, &plan, flags);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t len)
{
  struct image_options options = { .parent_path = parents_folder () };
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_CLOSE int original = -1;
  unsigned flags = 0;
  struct sparse s;
  int fd;

  sparse_decode (data, len, &s);
  s.size = min_u64 (s.size, MAX_SIZE);
  for (size_t i = s.records.len; i-- > 0;)
    if (!range_fits (s.records.ptr[i].off, s.records.ptr[i].len, s.size))
      s.records.ptr[i].len = 0;
  if (s.options & SPARSE_FIX)
    fuzz_fix (&s);
  break_some (&s);
  if (s.options & DISCARD_LOG)
    flags |= REPAIR_DISCARD_LOG;
  if (s.options & KEEP_LEAKS)
    flags |= REPAIR_KEEP_LEAKS;
  fd = make_file (&s);
  original = make_file (&s);
  must (block_file_from_fd (fd, "fuzz", BLOCK_FILE_WRITE, &block, NULL,
                            NULL) == 0);
  try_block (block, fd, original, &options, flags);
  sparse_free (&s);
  return 0;
}
