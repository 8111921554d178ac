/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/block/memory.h"
#include "tests/support/repo-memory.h"

static struct memory_file *
newest (const struct repo_memory *repo)
{
  return repo->files.ptr[repo->files.len - 1];
}

static int
write_memory (struct sink *sink, const void *buf, size_t len, struct err *err)
{
  struct repo_memory *repo = (struct repo_memory *) sink;
  struct memory_file *file = newest (repo);

  if (repo->fail_at > 0 && file->len + len > repo->fail_at)
    return err_set (err, -ENOSPC, "no space left");
  if (file->len + len > file->cap) {
    size_t cap = (file->len + len) * 2;
    uint8_t *bytes = realloc (file->bytes, cap);

    if (bytes == NULL)
      return err_nomem (err);
    file->bytes = bytes;
    file->cap = cap;
  }
  memcpy (file->bytes + file->len, buf, len);
  file->len += len;
  return 0;
}

static int
begin (void *opaque, const struct nbi_header *header, struct sink **sink,
       struct err *err)
{
  struct repo_memory *repo = opaque;
  struct memory_file *file = calloc (1, sizeof *file);

  if (file == NULL)
    return err_nomem (err);
  memcpy (file->uuid, header->file, UUID_SIZE);
  memcpy (file->run, header->run, UUID_SIZE);
  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&repo->lock);

    if (vector_append (&repo->files, &file) < 0) {
      free (file);
      return err_nomem (err);
    }
  }
  *sink = &repo->sink;
  return 0;
}

static int
end (void *opaque, const struct nbi_header *header, bool last,
     struct err *err)
{
  struct repo_memory *repo = opaque;

  (void) header;
  (void) err;
  newest (repo)->last = last;
  newest (repo)->ended = true;
  return 0;
}

static int
look_up (void *opaque, const struct nbi_file *wanted,
         struct file_reader **out, struct err *err)
{
  struct repo_memory *repo = opaque;
  const struct memory_file *found = NULL;

  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&repo->lock);

    for (size_t i = 0; i < repo->files.len; ++i) {
      const struct memory_file *file = repo->files.ptr[i];

      if (memcmp (file->uuid, wanted->uuid, UUID_SIZE) == 0 &&
          memcmp (file->run, wanted->run, UUID_SIZE) == 0)
        found = file;
    }
  }
  return found != NULL ? repo_memory_open (repo, found, out, err)
    : nbi_refuse (err, 131, "a file is not there");
}

void
repo_memory_init (struct repo_memory *repo, size_t chunks)
{
  *repo = (struct repo_memory) {
    .sink = { .write = write_memory },
    .place = { begin, end, repo },
    .look_up = { .open = look_up, .opaque = repo },
  };
  pthread_mutex_init (&repo->lock, NULL);
  if (generation_caches_init (&repo->caches, chunks, NULL) < 0)
    abort ();
}

void
repo_memory_destroy (struct repo_memory *repo)
{
  generation_caches_destroy (&repo->caches);
  for (size_t i = 0; i < repo->files.len; ++i) {
    free (repo->files.ptr[i]->bytes);
    free (repo->files.ptr[i]);
  }
  vector_free (&repo->files);
  pthread_mutex_destroy (&repo->lock);
}

int
repo_memory_open (struct repo_memory *repo, const struct memory_file *file,
                  struct file_reader **out, struct err *err)
{
  CLEANUP_BLOCK struct block *block = NULL;
  int r;

  r = block_memory_new ("memory", file->bytes, file->len, &block, err);
  return r < 0 ? r
    : file_reader_open (block, repo->caches.sheets, repo->caches.keys, out,
                        NULL, err);
}

int
repo_memory_newest (struct repo_memory *repo, struct generation **out,
                    struct err *err)
{
  struct file_reader *file;
  int r;

  for (size_t i = repo->files.len; i-- > 0; )
    if (repo->files.ptr[i]->last) {
      r = repo_memory_open (repo, repo->files.ptr[i], &file, err);
      if (r < 0)
        return r;
      r = generation_open (file, &repo->look_up, &repo->caches, out, err);
      file_reader_unref (file);
      return r;
    }
  return err_set (err, -ENOENT, "no generation");
}
