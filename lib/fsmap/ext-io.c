/* SPDX-License-Identifier: GPL-2.0-or-later */

/* libext2fs opens by name, and through a table of functions that get nothing
 * but the name.  The block of the call in progress is in a variable of the
 * thread, therefore.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/fsmap/ext-io.h"

/* What ext_open is at, in this thread. */
struct opening {
  struct block *block;
  struct err err;               /* of its last read that failed */
};

static _Thread_local struct opening *opening;

struct channel {
  struct struct_io_channel io;
  struct block *block;          /* a reference */
};

static struct struct_io_manager manager;

static errcode_t
channel_open (const char *name, int flags, io_channel *out)
{
  struct channel *c = calloc (1, sizeof *c);
  char *copy = strdup (name);

  (void) flags;
  if (c == NULL || copy == NULL) {
    free (c);
    free (copy);
    return ENOMEM;
  }
  c->io.magic = EXT2_ET_MAGIC_IO_CHANNEL;
  c->io.manager = &manager;
  c->io.name = copy;
  c->io.block_size = SUPERBLOCK_SIZE;
  c->io.refcount = 1;
  c->block = block_ref (opening->block);
  *out = &c->io;
  return 0;
}

static errcode_t
channel_close (io_channel io)
{
  struct channel *c = (struct channel *) io;

  if (--io->refcount > 0)
    return 0;
  block_unref (c->block);
  free (io->name);
  free (c);
  return 0;
}

static errcode_t
channel_set_blksize (io_channel io, int size)
{
  io->block_size = size;
  return 0;
}

/* A negative count is bytes. */
static errcode_t
channel_read (io_channel io, unsigned long long block, int count, void *buf)
{
  struct channel *c = (struct channel *) io;
  uint64_t off, len = count < 0 ? -(uint64_t) count :
    (uint64_t) count * (uint64_t) io->block_size;

  if (!checked_mul ((uint64_t) block, (uint64_t) io->block_size, &off) ||
      !range_fits (off, len, block_size (c->block)))
    return EXT2_ET_SHORT_READ;
  if (block_pread (c->block, buf, (size_t) len, off,
                   opening ? &opening->err : NULL) < 0)
    return EIO;
  return 0;
}

static errcode_t
channel_read_32 (io_channel io, unsigned long block, int count, void *buf)
{
  return channel_read (io, block, count, buf);
}

static errcode_t
channel_write (io_channel io, unsigned long long block, int count,
               const void *buf)
{
  (void) io;
  (void) block;
  (void) count;
  (void) buf;
  return EROFS;
}

static errcode_t
channel_write_32 (io_channel io, unsigned long block, int count,
                  const void *buf)
{
  return channel_write (io, block, count, buf);
}

static errcode_t
channel_flush (io_channel io)
{
  (void) io;
  return 0;
}

static struct struct_io_manager manager = {
  .magic = EXT2_ET_MAGIC_IO_MANAGER,
  .name = "block",
  .open = channel_open,
  .close = channel_close,
  .set_blksize = channel_set_blksize,
  .read_blk = channel_read_32,
  .read_blk64 = channel_read,
  .write_blk = channel_write_32,
  .write_blk64 = channel_write,
  .flush = channel_flush,
};

static int
open_error (errcode_t code, const struct opening *o, struct err *err)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;

  /* Otherwise error_message knows nothing but numbers. */
  pthread_once (&once, initialize_ext2_error_table);
  if (code == ENOMEM || code == EXT2_ET_NO_MEMORY)
    return err_nomem (err);
  if (code == EIO && o->err.code != 0)
    return err_set (err, o->err.code, "%s", o->err.msg);
  return err_set (err, code == EXT2_ET_UNSUPP_FEATURE ? -ENOTSUP : -EBADMSG,
                  "%s", error_message (code));
}

int
ext_open (struct block *block, ext2_filsys *out, struct err *err)
{
  struct opening o = { .block = block };
  errcode_t code;

  opening = &o;
  code = ext2fs_open2 ("block", NULL, EXT2_FLAG_64BITS, 0, 0,
                       &manager, out);
  opening = NULL;
  return code == 0 ? 0 : open_error (code, &o, err);
}
