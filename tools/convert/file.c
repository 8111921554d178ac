/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A new file as the target.  Without --resume it has no name until it is
 * complete (lib/base/newfile.h).  With it, there are meanwhile
 *
 *   .NAME.partial         the image, as far as it is
 *   .NAME.partial.state   up to which byte of the disk (lib/copy/state.h)
 *
 * in this order:
 *
 *   1. The state is opened: this process alone works on both from now on.
 *   2. The partial file is emptied, with fsync.
 *   3. The state is cleared, and begun anew at 0.
 *   4. An empty image is made in the partial file.
 *   5. Data is copied; now and then the image is flushed, and the state gets
 *      the number of bytes in front of which all is flushed.
 *   6. fsync, and the partial file gets its name; 7. the state is removed.
 *
 * After a crash within 2 to 4 the state says 0, or its file can't be opened as
 * an image of that size: it is begun anew.  After 5, what lies behind the
 * number may be anything; it is zeroed before the copy goes on.  After 6 the
 * state is left over, which who makes a file of that name again removes.  A
 * partial file with something in it and without any state is none of ours.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/block/file.h"
#include "lib/copy/copy.h"
#include "tools/convert/convert.h"
#include "tools/report.h"

/*--- The image in the file --------------------------------------------------*/

static void
close_disk (struct convert_target *to)
{
  block_unref (to->disk);
  to->disk = NULL;
}

static int
learn_unit (struct image *img, struct convert_target *to, struct err *err)
{
  CLEANUP_IMAGE_INFO struct image_info info = { .type = NULL };
  int r = image_get_info (img, &info, err);

  if (r == 0)
    to->unit = info.allocation_size;
  return r;
}

static int
open_disk (const struct convert *c, struct convert_target *to, bool writable,
           struct err *err)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_CLOSE int fd = fcntl (to->file.fd, F_DUPFD_CLOEXEC, 0);
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  const struct image_options options = { .format = c->create.format,
                                         .writable = writable };
  unsigned flags = writable ? BLOCK_FILE_WRITE | BLOCK_FILE_LOCK : 0;
  int r;

  if (fd < 0)
    return err_sys (err, "dup");
  r = block_file_from_fd (fd, c->target, flags, &block, &report, err);
  if (r == 0) {
    steal_fd (&fd);
    r = image_open_block (block, &options, &img, &report, err);
  }
  if (r == 0)
    r = learn_unit (img, to, err);
  if (r == 0)
    r = image_to_block (img, &to->disk, err);
  if (r == 0)
    tool_warnings (c->target, &report);
  return r;
}

static int
create (const struct convert *c, struct convert_target *to, struct err *err)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  int r = image_create_in (&to->file, c->target, &c->create, &to->size,
                           &report, err);

  tool_warnings (c->target, &report);
  to->cannot_be = r == -EINVAL;
  to->start = 0;
  to->is_zero = true;
  return r < 0 ? r : open_disk (c, to, true, err);
}

/*--- Going on ---------------------------------------------------------------*/

/* What a file that is there already can be. */
enum found {
  FOUND_NOTHING,                /* to be begun */
  FOUND_OTHER,                  /* to be left alone: err says why */
  FOUND_OLD,                    /* to be begun anew: err says why */
  FOUND_OURS,                   /* to be gone on with */
};

static uint64_t
file_size (const struct new_file *f)
{
  struct stat st;

  return fstat (f->fd, &st) == 0 ? (uint64_t) st.st_size : 0;
}

static enum found
judge_texts (const struct convert_target *to, const char *how,
             const char *source, struct err *err)
{
  const char *partial = to->file.partial;

  if (!copy_state_found (to->state)) {
    if (file_size (&to->file) == 0)
      return FOUND_NOTHING;
    err_set (err, -EEXIST, "%s beside it holds something, of which nothing is "
             "known; remove it to begin anew", partial);
    return FOUND_OTHER;
  }
  if (strcmp (copy_state_how (to->state), how) != 0) {
    err_set (err, -EEXIST, "%s beside it was begun with other options or from "
             "another source; remove it and %s.state to begin anew",
             partial, partial);
    return FOUND_OTHER;
  }
  if (strcmp (copy_state_source (to->state), source) == 0 &&
      copy_state_done (to->state) > 0)
    return FOUND_OURS;
  err_set (err, -EINVAL, "%s", copy_state_done (to->state) > 0
           ? "the source was changed meanwhile"
           : "nothing of it was noted as done");
  return FOUND_OLD;
}

/* The image is opened; are those the bytes of the source?  That catches an
 * export that was changed, and a partial file that was.
 */
static enum found
judge_bytes (const struct convert *c, const struct convert_source *from,
             struct convert_target *to, struct err *err)
{
  uint64_t done = copy_state_done (to->state), differs_at;
  int r = open_disk (c, to, true, err);

  if (r < 0)
    return r == -EBUSY || r == -EIO || r == -ENOMEM ? FOUND_OTHER : FOUND_OLD;
  to->size = block_size (to->disk);
  if (to->size < block_size (from->disk) || done > block_size (from->disk)) {
    err_set (err, -EINVAL, "%s has another size", to->file.partial);
    return FOUND_OLD;
  }
  if (copy_compare_samples (from->disk, to->disk, done, &differs_at, err) < 0)
    return FOUND_OTHER;
  if (differs_at != COPY_SAME) {
    err_set (err, -EINVAL, "the source was changed meanwhile, at offset %"
             PRIu64, differs_at);
    return FOUND_OLD;
  }
  return FOUND_OURS;
}

static int
go_on (const struct convert *c, struct convert_target *to, struct err *err)
{
  char str[SIZE_STRING_SIZE];

  to->start = copy_state_done (to->state);
  to->is_zero = true;
  tool_note ("%s: going on behind %s (%" PRIu64 " bytes)", c->target,
             size_to_string (to->start, str), to->start);
  return block_zero (to->disk, to->size - to->start, to->start,
                     c->create.preallocate ? BLOCK_NO_HOLE : 0, err);
}

/* Steps 2 to 4. */
static int
begin (const struct convert *c, struct convert_target *to, const char *how,
       const char *source, struct err *err)
{
  int r;

  close_disk (to);
  if (ftruncate (to->file.fd, 0) < 0 || fsync (to->file.fd) < 0)
    return err_sys (err, "%s can't be emptied", to->file.partial);
  r = copy_state_clear (to->state, err);
  if (r == 0)
    r = copy_state_begin (to->state, how, source, err);
  if (r == 0)
    r = create (c, to, err);
  if (r < 0)
    convert_file_discard (to);
  return r;
}

static int
begin_or_go_on (const struct convert *c, const struct convert_source *from,
                struct convert_target *to, struct err *err)
{
  CLEANUP_FREE char *how = convert_describe_how (c, to, err);
  CLEANUP_FREE char *source = how ? convert_describe_source (from, err)
    : NULL;
  struct err why = ERR_INIT;
  enum found found;

  if (source == NULL)
    return err->code;
  found = judge_texts (to, how, source, &why);
  if (found == FOUND_OURS)
    found = judge_bytes (c, from, to, &why);
  switch (found) {
  case FOUND_OURS:
    return go_on (c, to, err);
  case FOUND_OTHER:
    return err_set (err, why.code, "%s", why.msg);
  case FOUND_OLD:
    tool_note ("%s: begun anew: %s", c->target, why.msg);
    break;
  case FOUND_NOTHING:
    break;
  }
  return begin (c, to, how, source, err);
}

static int
open_state (struct convert_target *to, struct err *err)
{
  CLEANUP_FREE char *name = NULL;

  if (asprintf (&name, "%s.state", to->file.partial) < 0) {
    name = NULL;
    return err_nomem (err);
  }
  return copy_state_open (to->file.folder, name, &to->state, err);
}

static int
open_kept (const struct convert *c, const struct convert_source *from,
           struct convert_target *to, struct err *err)
{
  bool found;
  int r = new_file_open_kept (c->target, &to->file, &found, err);

  if (r == 0)
    r = open_state (to, err);
  if (r == 0)
    r = begin_or_go_on (c, from, to, err);
  return r;
}

/*--- All of it --------------------------------------------------------------*/

/* What is there already is not replaced: who meant to will want to know what
 * to do.
 */
static int
check_target (const char *name, struct err *err)
{
  struct stat st;

  if (lstat (name, &st) < 0 ||
      (S_ISLNK (st.st_mode) && stat (name, &st) < 0))
    return 0;
  if (S_ISBLK (st.st_mode) || S_ISCHR (st.st_mode))
    return err_set (err, -EEXIST, "is a device; convert makes files, and "
                    "writes to NBD exports only");
  if (S_ISDIR (st.st_mode))
    return err_set (err, -EISDIR, "is a folder");
  return 0;
}

/* The size is what making the image in memory comes to. */
int
convert_file_look (const struct convert *c, struct convert_target *to,
                   struct err *err)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct image_create_options options = c->create;
  struct new_file file = NEW_FILE_INIT;
  int r = check_target (c->target, err);

  if (r == 0)
    r = new_file_check (c->target, err);
  if (r < 0)
    return r;
  options.preallocate = false;
  file.fd = memfd_create ("image", MFD_CLOEXEC);
  if (file.fd < 0)
    return err_sys (err, "memfd_create");
  r = image_create_in (&file, c->target, &options, &to->size, &report, err);
  new_file_close (&file);
  tool_warnings (c->target, &report);
  to->cannot_be = r == -EINVAL;
  return r;
}

int
convert_file_open (const struct convert *c,
                   const struct convert_source *from,
                   struct convert_target *to, struct err *err)
{
  int r = check_target (c->target, err);

  if (r < 0)
    return r;
  if (c->resume)
    return open_kept (c, from, to, err);
  r = new_file_open (c->target, &to->file, err);
  return r < 0 ? r : create (c, to, err);
}

/* From the medium rather than from memory, as far as the kernel lets us. */
int
convert_file_reopen (const struct convert *c, struct convert_target *to,
                     struct err *err)
{
  close_disk (to);
  if (fsync (to->file.fd) < 0)
    return err_sys (err, "can't be written");
  posix_fadvise (to->file.fd, 0, 0, POSIX_FADV_DONTNEED);
  return open_disk (c, to, false, err);
}

int
convert_file_commit (struct convert_target *to, struct err *err)
{
  int r;

  close_disk (to);
  r = new_file_commit (&to->file, err);
  if (r == 0 && to->state)
    copy_state_remove (to->state);
  return r;
}

void
convert_file_discard (struct convert_target *to)
{
  close_disk (to);
  to->file.kept = false;
  if (to->state)
    copy_state_remove (to->state);
}
