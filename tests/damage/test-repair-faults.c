/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A call of the system fails, or an allocation, while an image is checked,
 * repaired, and put back again: each once, and each and all after it.  What
 * must hold:
 *
 *   - check says that it failed, or what could not be read, or finds what it
 *     always finds;
 *   - repair says that it failed, or has mended it, or refuses to, because
 *     something could not be read, which is among what it found;
 *   - whatever a repair left, the undo file is whole and puts the same bytes
 *     back, or there is none, and then nothing was changed;
 *   - repairing what it left finishes;
 *   - reverting says that it failed, or has put everything back; doing that
 *     again does.
 *
 * Of the images with a name those that can be mended, every one of STRIDE, or
 * all with NBDIMAGE_LONG; of the calls MOST_CALLS at most for each kind.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "lib/base/fdio.h"
#include "lib/block/file.h"
#include "lib/format/repair.h"
#include "lib/format/undo.h"
#include "tests/damage/damage.h"
#include "tests/support/fault.h"

#define STRIDE 6
#define MOST_CALLS 14U          /* that are tried; with NBDIMAGE_LONG: */
#define MOST_CALLS_LONG 60U

static const struct fault_row {
  enum fault_kind kind;
  const char *name;
  int code;                     /* that it may be told with; 0: nothing fails */
} rows[] = {
  { FAULT_EIO, "EIO", -EIO },
  { FAULT_EIO_FROM, "EIO from there on", -EIO },
  { FAULT_ENOSPC, "ENOSPC", -ENOSPC },
  { FAULT_ENOSPC_FROM, "ENOSPC from there on", -ENOSPC },
  { FAULT_SYNC, "a flush", -EIO },
  { FAULT_SHORT, "a short write", 0 },
  { FAULT_PARTIAL, "a short read", 0 },
  { FAULT_EINTR, "EINTR", 0 },
  { FAULT_MEMORY, "no memory", -ENOMEM },
  { FAULT_MEMORY_FROM, "no memory from there on", -ENOMEM },
};

#define NR_ROWS (sizeof rows / sizeof rows[0])

enum done {
  DID_NOTHING,
  DID_REFUSE,
  DID_NOT_READ,                 /* refused, for something can't be read */
  DID_MEND,
};

/* An image to try it on. */
struct subject {
  const char *name;
  struct damage_file image, mended, disk;
  char *findings;               /* what check finds */
  struct image_options options;
  char path[256], undo[2][256];
  unsigned nr_files;            /* in the folder, without undo files */
};

/* Of a test that runs, for messages. */
static const struct subject *subject;
static const struct fault_row *row;
static const char *doing;
static unsigned nth;

static unsigned nr_cases, nr_told, nr_left_changed, nr_subjects;

static void __attribute__ ((__format__ (__printf__, 1, 2)))
wrong (const char *fmt, ...)
{
  char why[1200];
  va_list ap;

  va_start (ap, fmt);
  vsnprintf (why, sizeof why, fmt, ap);
  va_end (ap);
  fail_msg ("%s: %s: %s, call %u: %s", subject->name, doing,
            row ? row->name : "nothing", nth, why);
}

/* It failed: does it say so, and why? */
static void
check_told (int r, const struct err *err)
{
  nr_told++;
  if (row->code == 0 || r != row->code || err->code != r ||
      err->msg[0] == '\0')
    wrong ("error %d (%d), ‘%s’", r, err->code, err->msg);
}

/*--- Files ------------------------------------------------------------------*/

static struct damage_file
read_file (const char *path)
{
  CLEANUP_CLOSE int fd = open (path, O_RDONLY | O_CLOEXEC);
  struct damage_file file = { 0 };
  struct err err = ERR_INIT;
  uint64_t size;

  if (fd < 0 || fd_size (fd, &size, &err) < 0)
    wrong ("%s can't be opened", path);
  file.bytes = malloc (size + 1);
  file.len = (size_t) size;
  assert_non_null (file.bytes);
  if (fd_pread (fd, file.bytes, file.len, 0, &err) < 0)
    wrong ("%s: %s", path, err.msg);
  return file;
}

static bool
is_same (const struct damage_file *a, const struct damage_file *b)
{
  return a->len == b->len && memcmp (a->bytes, b->bytes, a->len) == 0;
}

static void
must_have (const struct damage_file *expected, const char *what)
{
  struct damage_file now = read_file (subject->path);

  if (!is_same (&now, expected))
    wrong ("%s: the file has other bytes (%zu of them, expected %zu)", what,
           now.len, expected->len);
  free (now.bytes);
}

/* What is truncated to nothing, some file systems flush when it is closed. */
static void
put_file (const struct damage_file *file)
{
  unlink (subject->path);
  damage_write (damage_folder (), strrchr (subject->path, '/') + 1, file);
}

static bool
exists (const char *path)
{
  return access (path, F_OK) == 0;
}

static unsigned
count_files (void)
{
  DIR *dir = opendir (damage_folder ());
  unsigned nr = 0;

  assert_non_null (dir);
  while (readdir (dir))
    nr++;
  closedir (dir);
  return nr;
}

/*--- What is tried ----------------------------------------------------------*/

static int
check_it (struct check *check, struct err *err)
{
  return image_check (subject->path, &subject->options, 0, check, NULL, err);
}

static bool
is_unread (const struct check *check)
{
  for (size_t i = 0; i < check->findings.len; ++i)
    if (check->findings.ptr[i].severity == FINDING_DAMAGE &&
        strstr (check->findings.ptr[i].sentence, strerror (EIO)))
      return true;
  return false;
}

static int
repair_it (const char *undo, enum done *out, struct err *err)
{
  CLEANUP_REPAIR_PLAN struct repair_plan plan = REPAIR_PLAN_INIT;
  CLEANUP_CHECK struct check check = CHECK_INIT;
  CLEANUP_BLOCK struct block *block = NULL;
  int r = block_file_open (subject->path, BLOCK_FILE_LOCK | BLOCK_FILE_WRITE,
                           &block, NULL, err);

  if (r == 0)
    r = repair_plan_make (block, &subject->options, 0, &check, &plan, err);
  if (r < 0)
    return r;
  *out = plan.refusal ? (is_unread (&check) ? DID_NOT_READ : DID_REFUSE)
    : plan.steps.len == 0 ? DID_NOTHING : DID_MEND;
  return *out == DID_MEND ? repair_apply (block, &plan, undo, NULL, err) : 0;
}

static int
revert_it (const char *undo, struct err *err)
{
  CLEANUP_BLOCK struct block *block = NULL;
  int r = block_file_open (subject->path, BLOCK_FILE_LOCK | BLOCK_FILE_WRITE,
                           &block, NULL, err);

  return r < 0 ? r : undo_revert (block, undo, NULL, err);
}

/* All that was found, as text; the caller frees it. */
static char *
findings_to_text (const struct check *check)
{
  char *text = NULL;
  size_t len;
  FILE *fp = open_memstream (&text, &len);

  assert_non_null (fp);
  fprintf (fp, "%s\n", check_verdict_to_string (check_verdict (check)));
  for (size_t i = 0; i < check->findings.len; ++i)
    fprintf (fp, "%s %d: %s\n",
             finding_severity_to_string (check->findings.ptr[i].severity),
             check->findings.ptr[i].mendable, check->findings.ptr[i].sentence);
  fclose (fp);
  return text;
}

/*--- Without faults ---------------------------------------------------------*/

static void
must_be_mended (const char *when)
{
  CLEANUP_CHECK struct check check = CHECK_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;

  if (check_it (&check, &err) < 0)
    wrong ("%s: check: %s", when, err.msg);
  if (check_verdict (&check) != CHECK_WHOLE)
    wrong ("%s: is not whole: %s", when, check.findings.ptr[0].sentence);
  if (image_open (subject->path, &subject->options, &img, NULL, &err) < 0)
    wrong ("%s: it does not open: %s", when, err.msg);
  damage_compare (img, &subject->disk, subject->name);
}

static void
must_revert (const char *undo, const struct damage_file *to, const char *when)
{
  struct err err = ERR_INIT;

  if (revert_it (undo, &err) < 0)
    wrong ("%s: reverting: %s", when, err.msg);
  must_have (to, when);
}

/* The file is what a repair that failed left, with the undo file undo[0],
 * if there is one.
 */
static void
go_on (void)
{
  struct damage_file left = read_file (subject->path);
  bool has_undo = exists (subject->undo[0]);
  struct err err = ERR_INIT;
  enum done did;

  nr_left_changed += !is_same (&left, &subject->image);
  if (!has_undo)
    must_have (&subject->image, "without an undo file");
  if (repair_it (subject->undo[1], &did, &err) < 0)
    wrong ("repairing again: %s", err.msg);
  if (did == DID_REFUSE || did == DID_NOT_READ)
    wrong ("repairing again is refused");
  must_be_mended ("repaired again");
  if (did == DID_MEND)
    must_revert (subject->undo[1], &left, "the second repair reverted");
  if (has_undo)
    must_revert (subject->undo[0], &subject->image,
                 "what a repair left reverted");
  free (left.bytes);
}

/*--- With faults ------------------------------------------------------------*/

/* Either it finds what it always finds, or it says that something could not be
 * read.
 */
static void
check_found (const struct check *check)
{
  CLEANUP_FREE char *text = findings_to_text (check);

  if (strcmp (text, subject->findings) == 0)
    return;
  if (row->code != -EIO || strstr (text, strerror (EIO)) == NULL)
    wrong ("it finds\n%sexpected\n%s", text, subject->findings);
}

static unsigned
try_check (void)
{
  CLEANUP_CHECK struct check check = CHECK_INIT;
  struct err err = ERR_INIT;
  unsigned nr;
  int r;

  fault_arm (row->kind, nth);
  r = check_it (&check, &err);
  nr = fault_disarm ();
  if (r < 0)
    check_told (r, &err);
  else
    check_found (&check);
  return nr;
}

static unsigned
try_repair (void)
{
  struct err err = ERR_INIT;
  enum done did = DID_NOTHING;
  unsigned nr;
  int r;

  put_file (&subject->image);
  fault_arm (row->kind, nth);
  r = repair_it (subject->undo[0], &did, &err);
  nr = fault_disarm ();
  if (r < 0) {
    check_told (r, &err);
    go_on ();
  }
  else if (did == DID_MEND) {
    must_be_mended ("repaired");
    must_revert (subject->undo[0], &subject->image, "reverted");
  }
  else if (did == DID_NOT_READ && row->code == -EIO) {
    if (exists (subject->undo[0]))
      wrong ("it is refused, and there is an undo file");
    must_have (&subject->image, "refused");
  }
  else
    wrong ("without a word, nothing is done (%d)", did);
  unlink (subject->undo[0]);
  unlink (subject->undo[1]);
  return nr;
}

/* undo[0] is there. */
static unsigned
try_revert (void)
{
  struct err err = ERR_INIT;
  unsigned nr;
  int r;

  put_file (&subject->mended);
  fault_arm (row->kind, nth);
  r = revert_it (subject->undo[0], &err);
  nr = fault_disarm ();
  if (r < 0) {
    check_told (r, &err);
    must_revert (subject->undo[0], &subject->image, "reverted again");
  }
  else
    must_have (&subject->image, "reverted");
  return nr;
}

/* Every call that the kind is about, or some of them. */
static void
try_row (unsigned (*try) (void))
{
  unsigned most = getenv ("NBDIMAGE_LONG") ? MOST_CALLS_LONG : MOST_CALLS;
  unsigned fds = fault_nr_fds (), nr, step;

  nth = UINT32_MAX;
  nr = try ();
  step = nr / most + 1;
  for (nth = 1 + nr_cases % step; nth <= nr; nth += step) {
    try ();
    nr_cases++;
    if (fault_nr_fds () != fds)
      wrong ("a descriptor stays open");
    if (try != try_revert && count_files () != subject->nr_files)
      wrong ("a file stays in the folder");
  }
}

static void
try_all (unsigned (*try) (void), const char *what)
{
  doing = what;
  for (size_t i = 0; i < NR_ROWS; ++i) {
    row = &rows[i];
    try_row (try);
  }
  row = NULL;
}

/*--- Each image -------------------------------------------------------------*/

/* Returns false if there is nothing to be mended in it. */
static bool
learn (struct subject *s)
{
  CLEANUP_CHECK struct check check = CHECK_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  CLEANUP_FREE uint8_t *bytes = NULL;
  struct err err = ERR_INIT;
  enum done did;

  put_file (&s->image);
  s->nr_files = count_files ();
  if (check_it (&check, &err) < 0 ||
      repair_it (s->undo[0], &did, &err) < 0 || did != DID_MEND)
    return false;
  s->findings = findings_to_text (&check);
  s->mended = read_file (s->path);
  if (image_open (s->path, &s->options, &img, NULL, &err) < 0)
    wrong ("mended, it does not open: %s", err.msg);
  s->disk.len = (size_t) image_size (img);
  s->disk.bytes = malloc (s->disk.len + 1);
  assert_non_null (s->disk.bytes);
  assert_int_equal (image_pread (img, s->disk.bytes, s->disk.len, 0, &err), 0);
  unlink (s->undo[0]);
  return true;
}

static void
try_subject (struct subject *s)
{
  struct err err = ERR_INIT;
  enum done did;

  nr_subjects++;
  put_file (&s->image);
  try_all (try_check, "check");
  try_all (try_repair, "repair");
  doing = "making an undo file";
  put_file (&s->image);
  if (repair_it (s->undo[0], &did, &err) < 0 || did != DID_MEND)
    wrong ("%s", err.msg);
  try_all (try_revert, "revert");
  unlink (s->undo[0]);
}

static void
a_family (const struct damage_family *family, unsigned stride)
{
  unsigned nr_mendable = 0;

  for (size_t i = 0; i < family->nr (); ++i) {
    struct damage_image made = { 0 };
    struct subject s = {
      .name = family->name_of (i),
      .options = { .parent_path = damage_folder (), .lock = true },
    };

    family->make (i, &made);
    damage_write (damage_folder (), family->parent, &made.parent);
    s.image = made.image;
    snprintf (s.path, sizeof s.path, "%s/%s", damage_folder (), family->file);
    for (int k = 0; k < 2; ++k)
      snprintf (s.undo[k], sizeof s.undo[k], "%s/undo%d", damage_folder (), k);
    subject = &s;
    doing = "repairing it";
    if (learn (&s) && nr_mendable++ % stride == 0)
      try_subject (&s);
    unlink (s.undo[0]);
    free (s.findings);
    free (s.mended.bytes);
    free (s.disk.bytes);
    damage_free (&made);
  }
}

static void
what_fails_is_told_and_can_be_taken_back (void **state)
{
  unsigned stride = getenv ("NBDIMAGE_LONG") ? 1 : STRIDE;

  (void) state;
  a_family (&damage_vhd, stride);
  a_family (&damage_vhdx, stride);
  damage_remove_folder ();
  print_message ("%u images, %u cases, of which %u were told, and %u left "
                 "something to be finished\n", nr_subjects, nr_cases, nr_told,
                 nr_left_changed);
  assert_true (nr_cases >= 2000);
  assert_true (nr_told > nr_cases / 3);
  assert_true (nr_left_changed > 10);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (what_fails_is_told_and_can_be_taken_back),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
