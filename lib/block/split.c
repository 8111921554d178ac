/* SPDX-License-Identifier: GPL-2.0-or-later */

/* All pieces but the last have the same size, so that a place is found by
 * division.  They are opened together, and stay open: what is renamed or made
 * anew meanwhile does not matter.
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/vector.h"
#include "lib/block/block-ops.h"
#include "lib/block/file.h"
#include "lib/block/split.h"

#define MAX_LETTERS 8

DEFINE_VECTOR (pieces, struct block *);

struct split_block {
  struct block base;
  struct pieces pieces;
  uint64_t piece_size;          /* bytes, of all but the last */
};

/*--- Names ------------------------------------------------------------------*/

/* The letters behind the last dot, if that is what a piece's name ends with:
 * two or more, and nothing else.
 */
static const char *
letters_of (const char *path)
{
  const char *dot = strrchr (path, '.');
  size_t len = dot ? strspn (dot + 1, "abcdefghijklmnopqrstuvwxyz") : 0;

  return dot && dot > path && dot[-1] != '/' && len >= 2 &&
    len <= MAX_LETTERS && dot[1 + len] == '\0' ? dot + 1 : NULL;
}

static bool
is_first (const char *letters)
{
  return letters[strspn (letters, "a")] == '\0';
}

/* The next of as many letters; false behind the last. */
static bool
count_up (char *letters)
{
  for (size_t i = strlen (letters); i-- > 0;) {
    if (letters[i] != 'z') {
      letters[i]++;
      return true;
    }
    letters[i] = 'a';
  }
  return false;
}

/* What split makes of that one where it has no more of as many letters: those
 * that begin with z are not used up, but become longer by two.
 */
static bool
lengthen (const char *before, char *letters)
{
  size_t z = strspn (before, "z"), len = strlen (before);

  if (before[z] != 'y' || strspn (before + z + 1, "z") != len - z - 1 ||
      len + 2 > MAX_LETTERS)
    return false;
  memset (letters, 'z', z + 1);
  memset (letters + z + 1, 'a', len + 1 - z);
  letters[len + 2] = '\0';
  return true;
}

/* The path of the piece behind the one that path names, whichever of the two
 * names it can have is there; false if there is none.  path has room for two
 * letters more.
 */
static bool
next_piece (char *path, char *letters)
{
  char before[MAX_LETTERS + 1], next[MAX_LETTERS + 3];

  strcpy (before, letters);
  if (count_up (letters) && access (path, F_OK) == 0)
    return true;
  if (lengthen (before, next)) {
    strcpy (letters, next);
    if (access (path, F_OK) == 0)
      return true;
  }
  strcpy (letters, before);
  return false;
}

/* Endings that other files beside the pieces are more likely to have.  If it
 * was a piece, what the pieces are part of is too short.
 */
static bool
is_usual_ending (const char *letters)
{
  static const char *const usual[] = {
    "br", "bz", "gz", "lz", "md", "pl", "py", "sh", "xz",
  };

  for (size_t i = 0; i < sizeof usual / sizeof usual[0]; ++i)
    if (strcmp (letters, usual[i]) == 0)
      return true;
  return false;
}

/* Does the folder have a piece that comes after that one?  Its letters. */
static bool
find_later (const char *path, const char *letters, char *later)
{
  const char *slash = strrchr (path, '/');
  const char *leaf = slash ? slash + 1 : path;
  size_t len = (size_t) (letters - leaf);
  CLEANUP_FREE char *folder = slash ? strndup (path,
                                               (size_t) (leaf - path))
                                    : strdup (".");
  bool found = false;
  struct dirent *d;
  DIR *dir;

  if (folder == NULL || (dir = opendir (folder)) == NULL)
    return false;
  while (!found && (d = readdir (dir)) != NULL) {
    const char *theirs = letters_of (d->d_name);
    size_t n = theirs ? strlen (theirs) : 0;

    found = theirs && !is_usual_ending (theirs) &&
      (size_t) (theirs - d->d_name) == len &&
      memcmp (d->d_name, leaf, len) == 0 &&
      (n == strlen (letters)
       ? strcmp (theirs, letters) > 0
       : n == strlen (letters) + 2 && letters[0] >= 'y' && theirs[0] == 'z');
    if (found)
      strcpy (later, theirs);
  }
  closedir (dir);
  return found;
}

bool
block_split_is_first (const char *path)
{
  const char *letters = letters_of (path);
  char later[MAX_LETTERS + 1];

  return letters && is_first (letters) && find_later (path, letters, later);
}

/*--- The block --------------------------------------------------------------*/

static struct split_block *
split (struct block *b)
{
  return (struct split_block *) b;
}

static int
split_pread (struct block *b, void *buf, size_t len, uint64_t off,
             struct err *err)
{
  const struct split_block *s = split (b);
  uint8_t *p = buf;

  while (len > 0) {
    struct block *piece = s->pieces.ptr[off / s->piece_size];
    uint64_t in_piece = off % s->piece_size;
    size_t n = (size_t) min_u64 (s->piece_size - in_piece, len);
    int r = block_pread (piece, p, n, in_piece, err);

    if (r < 0)
      return err_in (err, "%s", block_name (piece));
    p += n;
    off += n;
    len -= n;
  }
  return 0;
}

static int
split_cache (struct block *b, uint64_t len, uint64_t off, struct err *err)
{
  const struct split_block *s = split (b);
  int r = 0;

  while (r == 0 && len > 0) {
    uint64_t in_piece = off % s->piece_size;
    uint64_t n = min_u64 (s->piece_size - in_piece, len);

    r = block_cache (s->pieces.ptr[off / s->piece_size], n, in_piece, err);
    off += n;
    len -= n;
  }
  return r;
}

static void
free_pieces (struct pieces *pieces)
{
  for (size_t i = 0; i < pieces->len; ++i)
    block_unref (pieces->ptr[i]);
  vector_free (pieces);
}

static void
split_close (struct block *b)
{
  free_pieces (&split (b)->pieces);
}

static const struct block_ops split_ops = {
  .close = split_close,
  .pread = split_pread,
  .cache = split_cache,
};

/*--- Opening ----------------------------------------------------------------*/

static int
open_pieces (char *path, char *letters, unsigned flags,
             struct pieces *pieces, struct report *report, struct err *err)
{
  char later[MAX_LETTERS + 1];

  do {
    struct block *piece;
    int r = block_file_open (path, flags, &piece, report, err);

    if (r < 0)
      return pieces->len > 0 ? err_in (err, "%s", path) : r;
    if (vector_append (pieces, &piece) < 0) {
      block_unref (piece);
      return err_nomem (err);
    }
  } while (next_piece (path, letters));
  if (find_later (path, letters, later))
    return err_set (err, -EBADMSG, "a piece is missing: there is a piece "
                    "‘%s’, but none that follows ‘%s’", later, letters);
  return 0;
}

static int
check_sizes (const struct pieces *pieces, struct err *err)
{
  uint64_t first = block_size (pieces->ptr[0]);

  for (size_t i = 0; i < pieces->len; ++i) {
    struct block *piece = pieces->ptr[i];
    uint64_t size = block_size (piece);
    bool is_last = i + 1 == pieces->len;

    if (size == 0)
      return err_set (err, -EBADMSG, "the piece %s is empty",
                      block_name (piece));
    if (is_last ? size > first : size != first)
      return err_set (err, -EBADMSG, "the piece %s has %" PRIu64 " bytes, "
                      "expected %s%" PRIu64 " as the first", block_name (piece),
                      size, is_last ? "up to " : "", first);
  }
  return 0;
}

static int
make (const char *name, struct pieces *pieces, struct block **out,
      struct err *err)
{
  struct split_block *s = calloc (1, sizeof *s);
  size_t last = pieces->len - 1;
  uint64_t size;
  int r;

  if (s == NULL)
    return err_nomem (err);
  s->piece_size = block_size (pieces->ptr[0]);
  if (!checked_mul (s->piece_size, last, &size) ||
      !checked_add (size, block_size (pieces->ptr[last]), &size))
    r = err_set (err, -EBADMSG, "its pieces have more bytes than there can be");
  else
    r = block_init (&s->base, &split_ops, name, size, false, err);
  if (r < 0) {
    free (s);
    return r;
  }
  s->pieces = *pieces;
  *pieces = (struct pieces) VECTOR_INIT;
  *out = &s->base;
  return 0;
}

int
block_split_open (const char *path, unsigned flags, struct block **out,
                  struct report *report, struct err *err)
{
  const char *letters = letters_of (path);
  CLEANUP_FREE char *name = NULL;
  struct pieces pieces = VECTOR_INIT;
  int r;

  if (letters == NULL || !is_first (letters))
    return err_set (err, -EINVAL, "is not named like a first piece (.aa)");
  name = calloc (1, strlen (path) + MAX_LETTERS + 3);
  if (name == NULL)
    return err_nomem (err);
  strcpy (name, path);
  r = open_pieces (name, name + (letters - path), flags, &pieces, report, err);
  if (r == 0)
    r = check_sizes (&pieces, err);
  if (r == 0)
    r = make (path, &pieces, out, err);
  free_pieces (&pieces);
  return r;
}

size_t
block_split_nr (const struct block *block)
{
  return block->ops == &split_ops
    ? ((const struct split_block *) block)->pieces.len : 0;
}

struct block *
block_split_piece (const struct block *block, size_t n)
{
  return ((const struct split_block *) block)->pieces.ptr[n];
}
