/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The file, little-endian:
 *
 *      0   slot 0, slot 1, of a page each; the one with the larger number
 *          counts:
 *            u64  magic    u64  number    u64  done
 *            u32  crc of the texts        u32  crc of the bytes before
 *   8192   u64  magic    u32  length of `how'    u32  length of the source
 *          u32  crc of the texts         u32  crc of the bytes before
 *          the texts, each with its final NUL
 *
 * A new number goes over the slot that does not count: torn, the other one
 * still does.  The texts are written first, and a slot belongs to them by
 * their CRC, so that a state that was begun in part is none.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32c.h"
#include "lib/base/fdio.h"
#include "lib/copy/state.h"

#define SLOT_MAGIC UINT64_C (0x31746f6c5370634e)        /* "NcpSlot1" */
#define TEXT_MAGIC UINT64_C (0x317478655470634e)        /* "NcpText1" */
#define PAGE 4096
#define SLOT_SIZE 32
#define TEXT_OFF (2 * PAGE)
#define HEADER_SIZE 24
#define MAX_TEXTS (1024 * 1024)

/* It has paths of its owner. */
#define MODE 0600

struct copy_state {
  int fd;
  int folder;                   /* borrowed */
  char *name;
  char *texts;                  /* NULL: not found */
  size_t how_len;               /* with its NUL; the source is behind it */
  uint32_t texts_crc;
  uint64_t number, done;        /* of the slot that counts */
};

/*--- Reading ----------------------------------------------------------------*/

static int
read_texts (struct copy_state *s, struct err *err)
{
  uint8_t header[HEADER_SIZE];
  CLEANUP_FREE char *texts = NULL;
  uint32_t how_len, source_len;
  uint64_t size;
  int r = fd_size (s->fd, &size, err);

  if (r < 0 || size < TEXT_OFF + HEADER_SIZE)
    return r;
  r = fd_pread (s->fd, header, sizeof header, TEXT_OFF, err);
  if (r < 0)
    return r;
  how_len = get_le32 (header + 8);
  source_len = get_le32 (header + 12);
  if (get_le64 (header) != TEXT_MAGIC ||
      get_le32 (header + 20) != crc32c_update (0, header, 20) ||
      how_len == 0 || source_len == 0 || how_len > MAX_TEXTS ||
      source_len > MAX_TEXTS - how_len ||
      size != TEXT_OFF + HEADER_SIZE + (uint64_t) how_len + source_len)
    return 0;
  texts = malloc (how_len + source_len);
  if (texts == NULL)
    return err_nomem (err);
  r = fd_pread (s->fd, texts, how_len + source_len, TEXT_OFF + HEADER_SIZE,
                err);
  if (r < 0)
    return r;
  s->texts_crc = crc32c_update (0, texts, how_len + source_len);
  if (s->texts_crc != get_le32 (header + 16) || texts[how_len - 1] != '\0' ||
      texts[how_len + source_len - 1] != '\0')
    return 0;
  s->how_len = how_len;
  s->texts = steal_ptr (&texts);
  return 0;
}

static int
read_slots (struct copy_state *s, struct err *err)
{
  for (uint64_t i = 0; i < 2; ++i) {
    uint8_t slot[SLOT_SIZE];
    int r = fd_pread (s->fd, slot, sizeof slot, i * PAGE, err);

    if (r < 0)
      return r;
    if (get_le64 (slot) != SLOT_MAGIC ||
        get_le32 (slot + 24) != s->texts_crc ||
        get_le32 (slot + 28) != crc32c_update (0, slot, 28) ||
        get_le64 (slot + 8) % 2 != i || get_le64 (slot + 8) < s->number)
      continue;
    s->number = get_le64 (slot + 8);
    s->done = get_le64 (slot + 16);
  }
  return 0;
}

static void
forget (struct copy_state *s)
{
  free (steal_ptr (&s->texts));
  s->number = s->done = 0;
}

static int
read_state (struct copy_state *s, struct err *err)
{
  int r = read_texts (s, err);

  if (r == 0 && s->texts)
    r = read_slots (s, err);
  if (s->number == 0)
    forget (s);
  return r;
}

/*--- Opening ----------------------------------------------------------------*/

static int
lock (struct copy_state *s, struct err *err)
{
  struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

  if (fcntl (s->fd, F_OFD_SETLK, &whole) == 0)
    return 0;
  if (errno == EAGAIN || errno == EACCES)
    return err_set (err, -EBUSY, "another process is making this file");
  return err_sys (err, "%s can't be locked", s->name);
}

/* Is it still the file of that name?  Whoever had it before may have removed
 * it while we waited.
 */
static bool
has_name (const struct copy_state *s)
{
  struct stat mine, there;

  return fstat (s->fd, &mine) == 0 &&
    fstatat (s->folder, s->name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
    mine.st_dev == there.st_dev && mine.st_ino == there.st_ino;
}

static int
open_and_lock (struct copy_state *s, struct err *err)
{
  for (int i = 0; i < 10; ++i) {
    int r;

    s->fd = openat (s->folder, s->name, O_RDWR | O_CREAT | O_NOFOLLOW |
                    O_NONBLOCK | O_CLOEXEC, MODE);
    if (s->fd < 0)
      return err_sys (err, "%s can't be opened", s->name);
    r = lock (s, err);
    if (r < 0 || has_name (s))
      return r;
    cleanup_close (&s->fd);
    s->fd = -1;
  }
  return err_set (err, -EBUSY, "other processes are making this file");
}

int
copy_state_open (int folder, const char *name, struct copy_state **out,
                 struct err *err)
{
  struct copy_state *s = calloc (1, sizeof *s);
  int r;

  if (s == NULL)
    return err_nomem (err);
  s->fd = -1;
  s->folder = folder;
  s->name = strdup (name);
  r = s->name ? open_and_lock (s, err) : err_nomem (err);
  if (r == 0)
    r = read_state (s, err);
  if (r < 0) {
    cleanup_close (&s->fd);
    free (s->texts);
    free (s->name);
    free (s);
    return r;
  }
  *out = s;
  return 0;
}

bool
copy_state_found (const struct copy_state *s)
{
  return s->texts != NULL;
}

const char *
copy_state_how (const struct copy_state *s)
{
  return s->texts;
}

const char *
copy_state_source (const struct copy_state *s)
{
  return s->texts + s->how_len;
}

uint64_t
copy_state_done (const struct copy_state *s)
{
  return s->done;
}

/*--- Writing ----------------------------------------------------------------*/

static int
sync_state (struct copy_state *s, struct err *err)
{
  if (fsync (s->fd) < 0)
    return err_sys (err, "%s can't be written", s->name);
  return 0;
}

int
copy_state_clear (struct copy_state *s, struct err *err)
{
  forget (s);
  if (ftruncate (s->fd, 0) < 0)
    return err_sys (err, "%s can't be emptied", s->name);
  return sync_state (s, err);
}

/* Both slots are given their place, so that a number can still be noted when
 * the file system is full.
 */
static int
reserve_slots (struct copy_state *s, struct err *err)
{
  static const uint8_t nothing[SLOT_SIZE];
  int r = fd_pwrite (s->fd, nothing, sizeof nothing, 0, err);

  return r < 0 ? r : fd_pwrite (s->fd, nothing, sizeof nothing, PAGE, err);
}

static int
write_texts (struct copy_state *s, size_t source_len, struct err *err)
{
  uint8_t header[HEADER_SIZE];
  int r;

  s->texts_crc = crc32c_update (0, s->texts, s->how_len + source_len);
  put_le64 (header, TEXT_MAGIC);
  put_le32 (header + 8, (uint32_t) s->how_len);
  put_le32 (header + 12, (uint32_t) source_len);
  put_le32 (header + 16, s->texts_crc);
  put_le32 (header + 20, crc32c_update (0, header, 20));
  r = fd_pwrite (s->fd, header, sizeof header, TEXT_OFF, err);
  if (r == 0)
    r = fd_pwrite (s->fd, s->texts, s->how_len + source_len,
                   TEXT_OFF + HEADER_SIZE, err);
  return r;
}

int
copy_state_begin (struct copy_state *s, const char *how, const char *source,
                  struct err *err)
{
  size_t source_len = strlen (source) + 1;
  int r;

  forget (s);
  s->how_len = strlen (how) + 1;
  if (s->how_len > MAX_TEXTS || source_len > MAX_TEXTS - s->how_len)
    return err_set (err, -E2BIG, "%s would be too large", s->name);
  s->texts = malloc (s->how_len + source_len);
  if (s->texts == NULL)
    return err_nomem (err);
  memcpy (s->texts, how, s->how_len);
  memcpy (s->texts + s->how_len, source, source_len);
  r = reserve_slots (s, err);
  if (r == 0)
    r = write_texts (s, source_len, err);
  if (r == 0)
    r = copy_state_save (s, 0, err);
  /* The names of both files. */
  if (r == 0 && fsync (s->folder) < 0)
    r = err_sys (err, "its folder can't be written");
  return r;
}

int
copy_state_save (struct copy_state *s, uint64_t done, struct err *err)
{
  uint64_t number = s->number + 1;
  uint8_t slot[SLOT_SIZE];
  int r;

  put_le64 (slot, SLOT_MAGIC);
  put_le64 (slot + 8, number);
  put_le64 (slot + 16, done);
  put_le32 (slot + 24, s->texts_crc);
  put_le32 (slot + 28, crc32c_update (0, slot, 28));
  r = fd_pwrite (s->fd, slot, sizeof slot, number % 2 * PAGE, err);
  if (r == 0)
    r = sync_state (s, err);
  if (r < 0)
    return r;
  s->number = number;
  s->done = done;
  return 0;
}

void
copy_state_remove (struct copy_state *s)
{
  unlinkat (s->folder, s->name, 0);
}

void
copy_state_close (struct copy_state *s)
{
  struct stat st;

  if (s == NULL)
    return;
  if (fstat (s->fd, &st) == 0 && st.st_size == 0 && st.st_nlink > 0)
    copy_state_remove (s);
  close (s->fd);
  free (s->texts);
  free (s->name);
  free (s);
}
