/* SPDX-License-Identifier: GPL-2.0-or-later */

/* encode [-o OPTIONS] IMAGE >INPUT: an image as input for a target of images
 * (tests/support/sparse.h).  encode -d INPUT IMAGE: the other way, into a
 * sparse file.  OPTIONS is a number; SPARSE_FIX, 1, if it is not given.
 */

#include <config.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/checked.h"
#include "lib/base/fdio.h"
#include "tests/support/sparse.h"

#define CHUNK 4096
#define INPUT_LIMIT (1024 * 1024)
#define GAP 12                  /* zeros that end a record */

static void
die (const char *what)
{
  perror (what);
  exit (1);
}

/* The bytes of a chunk between which there are few zeros. */
static void
add_chunk (struct sparse *s, const uint8_t *p, size_t len, uint64_t off)
{
  size_t start = 0, end, zeros;

  while (start < len) {
    if (p[start] == 0) {
      start++;
      continue;
    }
    for (end = start, zeros = 0; end < len && zeros < GAP; ++end)
      zeros = p[end] == 0 ? zeros + 1 : 0;
    sparse_write (s, p + start, end - zeros - start, off + start);
    start = end;
  }
}

static void
encode (const char *path, uint8_t options)
{
  static uint8_t out[INPUT_LIMIT];
  struct sparse s = { .options = options };
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  uint8_t buf[CHUNK];
  struct stat st;
  off_t data = 0;
  size_t n;

  if (fd < 0 || fstat (fd, &st) < 0)
    die (path);
  s.size = (uint64_t) st.st_size;
  while ((data = lseek (fd, data, SEEK_DATA)) >= 0 && data < st.st_size) {
    uint64_t off = round_down ((uint64_t) data, CHUNK);

    n = (size_t) min_u64 (CHUNK, s.size - off);
    if (pread (fd, buf, n, (off_t) off) != (ssize_t) n)
      die (path);
    add_chunk (&s, buf, n, off);
    data = (off_t) (off + n);
  }
  close (fd);
  n = sparse_encode (&s, out, sizeof out);
  if (n == 0 || fwrite (out, 1, n, stdout) != n)
    die ("too much for an input");
  sparse_free (&s);
}

static void
decode (const char *from, const char *to)
{
  static uint8_t in[INPUT_LIMIT];
  FILE *fp = fopen (from, "r");
  int fd = open (to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  struct sparse s;

  if (fp == NULL || fd < 0)
    die (fp ? to : from);
  sparse_decode (in, fread (in, 1, sizeof in, fp), &s);
  if (ftruncate (fd, (off_t) s.size) < 0)
    die (to);
  for (size_t i = 0; i < s.records.len; ++i)
    if (fd_pwrite (fd, s.records.ptr[i].bytes, s.records.ptr[i].len,
                   s.records.ptr[i].off, NULL) < 0)
      die (to);
  sparse_free (&s);
  close (fd);
  fclose (fp);
}

int
main (int argc, char *argv[])
{
  if (argc == 4 && strcmp (argv[1], "-d") == 0)
    decode (argv[2], argv[3]);
  else if (argc == 4 && strcmp (argv[1], "-o") == 0)
    encode (argv[3], (uint8_t) atoi (argv[2]));
  else if (argc == 2)
    encode (argv[1], SPARSE_FIX);
  else
    die ("usage: encode [-o OPTIONS] IMAGE | -d INPUT IMAGE");
  return 0;
}
