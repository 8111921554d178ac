/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage-files: which files have bytes in these ranges of a partition?  For
 * lib/fsmap/files-hit.c, which says why this is a program of its own.
 */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

#include <tsk/libtsk.h>

#include "lib/fsmap/files-hit.h"
#include "lib/fsmap/files-protocol.h"

/* A file system that leads it in circles. */
#define CPU_SECONDS 900
#define MEMORY ((rlim_t) 4 << 30)

struct files {
  struct files_question question;
  struct fs_range *ranges;
  bool unreadable; /* something of the tables was lost */
  uint8_t *seen;   /* a bit for each inode with a name */
};

/* The functions of libtsk hand nothing through. */
static struct files files;

/*--- The other side ---------------------------------------------------------*/

static bool
put (const void *data, size_t len)
{
  const char *p = data;

  while (len > 0) {
    ssize_t n = write (STDIN_FILENO, p, len);

    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    p += n;
    len -= (size_t) n;
  }
  return true;
}

static bool
get (void *data, size_t len)
{
  char *p = data;

  while (len > 0) {
    ssize_t n = read (STDIN_FILENO, p, len);

    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    p += n;
    len -= (size_t) n;
  }
  return true;
}

/* Nobody is left to be told. */
static void
must (bool ok)
{
  if (!ok)
    exit (EXIT_FAILURE);
}

static void
say (enum files_kind kind, const char *text, uint64_t a, uint64_t b)
{
  size_t len = strnlen (text, FILES_TEXT_MAX - 1);
  struct files_message m = { kind, (uint32_t) len, a, b };

  must (put (&m, sizeof m) && put (text, len));
}

static void
end (const char *note)
{
  if (note)
    say (FILES_NOTE, note, 0, 0);
  say (FILES_DONE, "", 0, 0);
  exit (EXIT_SUCCESS);
}

/*--- The partition, for libtsk ----------------------------------------------*/

/* libtsk reads ahead, and when that fails again just what it wants: only the
 * second one says that something it needs is lost.
 */
static bool
is_wanted (uint64_t off, uint64_t len)
{
  static uint64_t ahead_off, ahead_len; /* of the read before, if it failed */
  uint64_t rest = files.question.size - off;
  bool is_again = off == ahead_off && len == ahead_len;
  bool may_be_ahead = off % 512 == 0 &&
    len == (rest < TSK_IMG_INFO_CACHE_LEN ? rest : TSK_IMG_INFO_CACHE_LEN);

  ahead_off = off;
  ahead_len = may_be_ahead && !is_again ? len : 0;
  return !may_be_ahead || is_again;
}

static ssize_t
read_image (TSK_IMG_INFO *img, TSK_OFF_T off, char *buf, size_t len)
{
  size_t done = 0;

  (void) img;
  while (done < len) {
    size_t n = len - done < FILES_READ_MAX ? len - done : FILES_READ_MAX;
    struct files_message m = { FILES_READ, 0, (uint64_t) off + done, n };
    int32_t r;

    must (put (&m, sizeof m) && get (&r, sizeof r));
    if (r < 0) {
      files.unreadable |= is_wanted ((uint64_t) off, len);
      tsk_error_set_errno (TSK_ERR_IMG_READ);
      tsk_error_set_errstr ("it is lost");
      return -1;
    }
    must (get (buf + done, n));
    done += n;
  }
  return (ssize_t) len;
}

static void
close_image (TSK_IMG_INFO *img)
{
  (void) img;
}

static void
stat_image (TSK_IMG_INFO *img, FILE *fp)
{
  (void) img;
  (void) fp;
}

/*--- A file -----------------------------------------------------------------*/

/* Bytes of [off, off+len) that are in ranges. */
static uint64_t
in_ranges (uint64_t off, uint64_t len)
{
  size_t lo = 0, hi = files.question.nr_ranges;
  uint64_t end = off + len, sum = 0;

  /* The first one that ends behind off. */
  while (lo < hi) {
    size_t mid = lo + (hi - lo) / 2;

    if (files.ranges[mid].off + files.ranges[mid].len <= off)
      lo = mid + 1;
    else
      hi = mid;
  }
  for (; lo < files.question.nr_ranges && files.ranges[lo].off < end; ++lo) {
    const struct fs_range *r = &files.ranges[lo];
    uint64_t from = r->off > off ? r->off : off;
    uint64_t to = r->off + r->len < end ? r->off + r->len : end;

    sum += to - from;
  }
  return sum;
}

static uint64_t
hit_in_attribute (const TSK_FS_INFO *fs, const TSK_FS_ATTR *attr)
{
  uint64_t sum = 0;

  if (attr == NULL || !(attr->flags & TSK_FS_ATTR_NONRES))
    return 0;
  for (const TSK_FS_ATTR_RUN *run = attr->nrd.run; run; run = run->next)
    if (!(run->flags &
          (TSK_FS_ATTR_RUN_FLAG_FILLER | TSK_FS_ATTR_RUN_FLAG_SPARSE)))
      sum += in_ranges (run->addr * fs->block_size, run->len * fs->block_size);
  return sum;
}

static bool
is_dot (const char *name)
{
  return strcmp (name, ".") == 0 || strcmp (name, "..") == 0;
}

/* libtsk's own, for areas of the file system. */
static bool
is_invented (const TSK_FS_META *meta)
{
  return meta->type == TSK_FS_META_TYPE_VIRT ||
         meta->type == TSK_FS_META_TYPE_VIRT_DIR;
}

/* What is behind the file's end in its last block does not count. */
static uint64_t
hit_in_file (TSK_FS_FILE *file)
{
  int n = tsk_fs_file_attr_getsize (file);
  uint64_t hit = 0, size = (uint64_t) file->meta->size;

  for (int i = 0; i < n; ++i)
    hit += hit_in_attribute (file->fs_info, tsk_fs_file_attr_get_idx (file, i));
  return size > 0 && hit > size ? size : hit;
}

static TSK_WALK_RET_ENUM
look_at_name (TSK_FS_FILE *file, const char *folder, void *opaque)
{
  char path[FILES_TEXT_MAX];
  uint64_t hit;

  (void) opaque;
  if (file->name == NULL || file->name->name == NULL ||
      is_dot (file->name->name) || file->meta == NULL ||
      is_invented (file->meta))
    return TSK_WALK_CONT;
  if (file->meta->addr <= file->fs_info->last_inum)
    files.seen[file->meta->addr / 8] |= 1U << file->meta->addr % 8;
  hit = hit_in_file (file);
  if (hit == 0)
    return TSK_WALK_CONT;
  snprintf (path, sizeof path, "/%s%s", folder ? folder : "", file->name->name);
  say (FILES_HIT, path, hit, (uint64_t) file->meta->size);
  return TSK_WALK_CONT;
}

/* A file that is in no folder that can be read. */
static TSK_WALK_RET_ENUM
look_at_inode (TSK_FS_FILE *file, void *opaque)
{
  char path[100];
  uint64_t hit;

  (void) opaque;
  if (file->meta == NULL || is_invented (file->meta) ||
      file->meta->addr == file->fs_info->root_inum ||
      files.seen[file->meta->addr / 8] & 1U << file->meta->addr % 8)
    return TSK_WALK_CONT;
  hit = hit_in_file (file);
  if (hit == 0)
    return TSK_WALK_CONT;
  snprintf (path, sizeof path, "(inode %llu, whose name is lost)",
            (unsigned long long) file->meta->addr);
  say (FILES_HIT, path, hit, (uint64_t) file->meta->size);
  return TSK_WALK_CONT;
}

static bool
look_at_all (TSK_FS_INFO *fs)
{
  bool failed;

  must (fs->last_inum < SIZE_MAX / 2);
  files.seen = calloc (fs->last_inum / 8 + 1, 1);
  must (files.seen != NULL);
  failed = tsk_fs_dir_walk (fs, fs->root_inum,
                            TSK_FS_DIR_WALK_FLAG_ALLOC |
                                TSK_FS_DIR_WALK_FLAG_RECURSE |
                                TSK_FS_DIR_WALK_FLAG_NOORPHAN,
                            look_at_name, NULL) != 0;
  if (files.unreadable)
    tsk_fs_meta_walk (fs, fs->first_inum, fs->last_inum,
                      TSK_FS_META_FLAG_ALLOC | TSK_FS_META_FLAG_USED,
                      look_at_inode, NULL);
  return !failed;
}

/*----------------------------------------------------------------------------*/

static void
hear_question (void)
{
  must (get (&files.question, sizeof files.question));
  must (files.question.nr_ranges < SIZE_MAX / sizeof *files.ranges);
  files.ranges = malloc (files.question.nr_ranges * sizeof *files.ranges + 1);
  must (files.ranges != NULL &&
        get (files.ranges, files.question.nr_ranges * sizeof *files.ranges));
}

/* Looking for what it is reads everywhere: what is lost there counts only where
 * the one that it is needs it.
 */
static TSK_FS_INFO *
open_fs (TSK_IMG_INFO *img)
{
  TSK_FS_INFO *fs = tsk_fs_open_img (img, 0, TSK_FS_TYPE_DETECT);
  TSK_FS_TYPE_ENUM type;

  if (fs == NULL)
    return NULL;
  type = fs->ftype;
  tsk_fs_close (fs);
  files.unreadable = false;
  return tsk_fs_open_img (img, 0, type);
}

static void
limit (void)
{
  const struct rlimit cpu = { CPU_SECONDS, CPU_SECONDS };
  const struct rlimit memory = { MEMORY, MEMORY };
  const struct rlimit none = { 0, 0 };

  prctl (PR_SET_PDEATHSIG, SIGKILL);
  setrlimit (RLIMIT_CPU, &cpu);
  setrlimit (RLIMIT_CORE, &none);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  setrlimit (RLIMIT_AS, &memory);
#else
  (void) memory;
#endif
}

int
main (void)
{
  static TSK_IMG_INFO img;
  TSK_FS_INFO *fs;
  bool whole;

  signal (SIGPIPE, SIG_IGN);
  limit ();
  hear_question ();
  if (tsk_img_open_external (&img, (TSK_OFF_T) files.question.size,
                             files.question.sector_size, read_image,
                             close_image, stat_image) == NULL)
    end ("libtsk does not take the partition");
  fs = open_fs (&img);
  if (fs == NULL)
    end (files.unreadable ? "what the file system begins with is lost"
                          : "libtsk knows no such file system");
  whole = look_at_all (fs);
  end (files.unreadable ? "folders or tables of the file system are lost"
       : whole          ? NULL
                        : "the file system is damaged");
}
