/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/base/fdio.h"
#include "lib/base/vector.h"
#include "lib/repo/json.h"
#include "lib/repo/verify-state.h"

#define STATE_VERSION 1
#define STATE_MAX ((size_t) 64 << 20)   /* bytes */

struct entry {
  uint8_t print[DIGEST_SIZE];   /* of the file as it was */
  uint32_t end;
  uint64_t bytes;
};

DEFINE_VECTOR (entries, struct entry);

/* A file of now. */
struct known {
  uint8_t file[UUID_SIZE];
  uint32_t edition;
  struct entry entry;
};

DEFINE_VECTOR (knowns, struct known);

struct verify_state {
  char *path;
  bool vault;
  uint8_t uuid[UUID_SIZE];
  struct entries found;         /* in the file, in the order of prints */
  struct knowns now;
  uint64_t nr_used;             /* of found */
  size_t last;                  /* of now, that was looked for */
  bool changed;                 /* since it was saved */
};

/*--- Reading ----------------------------------------------------------------*/

static bool
print_of_hex (const char *hex, uint8_t print[DIGEST_SIZE])
{
  if (hex == NULL || strlen (hex) != 2 * DIGEST_SIZE ||
      strspn (hex, "0123456789abcdef") != 2 * DIGEST_SIZE)
    return false;
  for (size_t i = 0; i < DIGEST_SIZE; ++i) {
    char digits[3] = { hex[2 * i], hex[2 * i + 1], '\0' };

    print[i] = (uint8_t) strtoul (digits, NULL, 16);
  }
  return true;
}

static bool
read_entry (const json_t *json, struct entry *e)
{
  const char *hex = json_string_value (json_object_get (json, "print"));
  uint64_t end;

  if (!print_of_hex (hex, e->print) ||
      !repo_json_number (json_object_get (json, "end"), &end) ||
      !repo_json_number (json_object_get (json, "bytes"), &e->bytes) ||
      end > UINT32_MAX)
    return false;
  e->end = (uint32_t) end;
  return true;
}

static int
compare (const void *a, const void *b)
{
  return memcmp (((const struct entry *) a)->print,
                 ((const struct entry *) b)->print, DIGEST_SIZE);
}

static int
refuse (const struct verify_state *s, struct err *err)
{
  return err_set (err, -EEXIST, "%s is no state of a verify, or of another "
                  "version, and is not replaced", s->path);
}

static int
read_json (struct verify_state *s, const json_t *json, struct err *err)
{
  const json_t *files = json_object_get (json, "files"), *file;
  uint8_t uuid[UUID_SIZE];
  uint64_t version;
  size_t i;
  bool vault = json_object_get (json, "vault") != NULL;

  if (!repo_json_number (json_object_get (json, "nbdimage-verify"),
                         &version) || version != STATE_VERSION ||
      !repo_json_uuid (json_object_get (json, vault ? "vault" : "generation"),
                       uuid) || !json_is_array (files))
    return refuse (s, err);
  if (vault != s->vault || memcmp (uuid, s->uuid, UUID_SIZE) != 0)
    return err_set (err, -ESTALE, "%s is the state of another verify, of "
                    "another vault or generation", s->path);
  json_array_foreach (files, i, file) {
    struct entry e;

    if (!read_entry (file, &e))
      return refuse (s, err);
    if (vector_append (&s->found, &e) < 0)
      return err_nomem (err);
  }
  if (s->found.len > 0)
    qsort (s->found.ptr, s->found.len, sizeof *s->found.ptr, compare);
  return 0;
}

static int
read_text (struct verify_state *s, int fd, uint64_t size, struct err *err)
{
  const struct repo_json_limits limits = {
    .len = STATE_MAX, .structures = STATE_MAX, .rule = 90,
  };
  CLEANUP_FREE char *text = malloc ((size_t) size + 1);
  json_t *json;
  int r;

  if (text == NULL)
    return err_nomem (err);
  r = fd_pread (fd, text, (size_t) size, 0, err);
  if (r < 0)
    return err_in (err, "%s", s->path);
  text[size] = '\0';
  r = repo_json_parse (text, (size_t) size, &limits, &json, NULL);
  if (r < 0)
    return r == -ENOMEM ? err_nomem (err) : refuse (s, err);
  r = read_json (s, json, err);
  json_decref (json);
  return r;
}

static int
read_file (struct verify_state *s, struct err *err)
{
  CLEANUP_CLOSE int fd = open (s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat st;

  if (fd < 0 && errno == ENOENT)
    return 0;
  if (fd < 0 || fstat (fd, &st) < 0)
    return err_sys (err, "%s can't be opened", s->path);
  if (!S_ISREG (st.st_mode) || (uint64_t) st.st_size > STATE_MAX)
    return refuse (s, err);
  return read_text (s, fd, (uint64_t) st.st_size, err);
}

int
verify_state_open (const char *path, bool vault,
                   const uint8_t uuid[UUID_SIZE],
                   struct verify_state **out, struct err *err)
{
  struct verify_state *s = calloc (1, sizeof *s);
  int r;

  if (s == NULL)
    return err_nomem (err);
  s->vault = vault;
  memcpy (s->uuid, uuid, UUID_SIZE);
  s->path = strdup (path);
  r = s->path != NULL ? read_file (s, err) : err_nomem (err);
  if (r < 0)
    verify_state_close (s);
  else
    *out = s;
  return r;
}

void
verify_state_close (struct verify_state *s)
{
  if (s == NULL)
    return;
  vector_free (&s->found);
  vector_free (&s->now);
  free (s->path);
  free (s);
}

uint64_t
verify_state_changed (const struct verify_state *s)
{
  return s->found.len - s->nr_used;
}

/*--- Files ------------------------------------------------------------------*/

/* What shows that it is the same one.  On another machine there is no time, and
 * the name says nothing here.
 */
static int
print_file (struct file_reader *file, uint8_t print[DIGEST_SIZE],
            struct err *err)
{
  uint8_t what[24 + NBI_HEADER_SIZE + NBI_TAIL_SIZE];
  struct block *block = file_reader_block (file);
  struct stat st;
  int r;

  memset (what, 0, 24);
  put_le64 (what, block_size (block));
  if (stat (file_reader_name (file), &st) == 0) {
    put_le64 (what + 8, (uint64_t) st.st_mtim.tv_sec);
    put_le64 (what + 16, (uint64_t) st.st_mtim.tv_nsec);
  }
  r = block_pread (block, what + 24, NBI_HEADER_SIZE, 0, err);
  if (r == 0)
    r = block_pread (block, what + 24 + NBI_HEADER_SIZE, NBI_TAIL_SIZE,
                     file_reader_end (file), err);
  return r < 0 ? r : digest_of (what, sizeof what, print, err);
}

/* They come in the same order each time. */
static struct known *
find (struct verify_state *s, struct file_reader *file)
{
  const struct nbi_header *h = file_reader_header (file);

  for (size_t i = 0; i < s->now.len; ++i) {
    size_t at = (s->last + i) % s->now.len;
    struct known *k = &s->now.ptr[at];

    if (memcmp (k->file, h->file, UUID_SIZE) == 0 &&
        k->edition == h->edition) {
      s->last = at;
      return k;
    }
  }
  return NULL;
}

int
verify_state_look (struct verify_state *s, struct file_reader *file,
                   uint32_t *end, uint64_t *bytes, struct err *err)
{
  const struct nbi_header *h = file_reader_header (file);
  struct known new = { .edition = h->edition }, *k = find (s, file);
  const struct entry *found = NULL;
  int r;

  if (k == NULL) {
    memcpy (new.file, h->file, UUID_SIZE);
    r = print_file (file, new.entry.print, err);
    if (r < 0)
      return r;
    if (s->found.len > 0)
      found = bsearch (&new.entry, s->found.ptr, s->found.len,
                       sizeof *s->found.ptr, compare);
    if (found != NULL) {
      new.entry = *found;
      ++s->nr_used;
    }
    if (vector_append (&s->now, &new) < 0)
      return err_nomem (err);
    k = &s->now.ptr[s->now.len - 1];
  }
  *end = k->entry.end;
  *bytes = k->entry.bytes;
  return 0;
}

void
verify_state_note (struct verify_state *s, struct file_reader *file,
                   uint32_t end, uint64_t bytes)
{
  struct known *k = find (s, file);

  if (k == NULL || end <= k->entry.end)
    return;
  k->entry.end = end;
  k->entry.bytes = bytes;
  s->changed = true;
}

/*--- Writing ----------------------------------------------------------------*/

static json_t *
entry_json (const struct entry *e)
{
  char hex[2 * DIGEST_SIZE + 1];

  for (size_t i = 0; i < DIGEST_SIZE; ++i)
    snprintf (hex + 2 * i, 3, "%02x", e->print[i]);
  return json_pack ("{s:s,s:I,s:I}", "print", hex, "end", (json_int_t) e->end,
                    "bytes", (json_int_t) e->bytes);
}

static char *
encode (const struct verify_state *s)
{
  char uuid[UUID_STRING_SIZE];
  json_t *files = json_array (), *json;
  char *text;

  uuid_to_string (s->uuid, uuid);
  for (size_t i = 0; i < s->now.len; ++i)
    if (s->now.ptr[i].entry.end > 0)
      json_array_append_new (files, entry_json (&s->now.ptr[i].entry));
  json = json_pack ("{s:i,s:s,s:o}", "nbdimage-verify", STATE_VERSION,
                    s->vault ? "vault" : "generation", uuid, "files", files);
  text = json != NULL ? json_dumps (json, JSON_INDENT (1)) : NULL;
  json_decref (json);
  return text;
}

static int
put_text (const char *path, const char *text, struct err *err)
{
  CLEANUP_CLOSE int fd = open (path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                               0600);
  int r;

  if (fd < 0)
    return err_sys (err, "%s can't be made", path);
  r = fd_pwrite (fd, text, strlen (text), 0, err);
  if (r == 0 && fsync (fd) < 0)
    r = err_sys (err, "%s can't be written", path);
  return r;
}

int
verify_state_save (struct verify_state *s, struct err *err)
{
  CLEANUP_FREE char *text = NULL, *new = NULL;
  int r;

  if (!s->changed)
    return 0;
  text = encode (s);
  if (text == NULL || asprintf (&new, "%s.%ld.new", s->path,
                                (long) getpid ()) < 0) {
    new = NULL;
    return err_nomem (err);
  }
  /* One that a process of this number left behind. */
  (void) unlink (new);
  r = put_text (new, text, err);
  if (r == 0 && rename (new, s->path) < 0)
    r = err_sys (err, "%s can't be replaced", s->path);
  if (r < 0)
    (void) unlink (new);
  else
    s->changed = false;
  return r;
}

void
verify_state_remove (struct verify_state *s)
{
  (void) unlink (s->path);
}
