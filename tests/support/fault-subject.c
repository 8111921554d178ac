/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32.h"
#include "lib/base/fdio.h"
#include "lib/part/part.h"
#include "tests/fuzz/parents.h"
#include "tests/support/fault.h"
#include "tests/support/sparse.h"

#define HASH_SIZE 40            /* of a name that libFuzzer gave */

static void __attribute__ ((__noreturn__))
die (const char *what)
{
  perror (what);
  exit (99);
}

/*--- What there is to do ----------------------------------------------------*/

/* The reads are those of a client at the start and the end of the disk. */
#define CHUNK 3000
#define AT_START (132 * 1024)
#define AT_END (36 * 1024)
#define MAX_EXTENTS (UINT64_C (64) << 30)       /* bytes */

static int
read_range (struct image *img, uint64_t off, uint64_t end, uint32_t *crc,
            struct err *err)
{
  while (off < end) {
    uint8_t buf[CHUNK];
    size_t n = min_u64 (sizeof buf, end - off);
    int r = image_pread (img, buf, n, off, err);

    if (r < 0)
      return r;
    *crc = crc32_update (*crc, buf, n);
    off += n;
  }
  return 0;
}

static int
op_read (struct image *img, char **text, struct report *report,
         struct err *err)
{
  uint64_t size = image_size (img);
  uint32_t crc = 0;
  char str[32];
  int r;

  (void) report;
  r = read_range (img, 0, min_u64 (size, AT_START), &crc, err);
  if (r == 0 && size > AT_START + AT_END)
    r = read_range (img, size - AT_END, size, &crc, err);
  if (r < 0)
    return r;
  fault_disarm ();
  snprintf (str, sizeof str, "%08" PRIx32 "\n", crc);
  *text = strdup (str);
  return 0;
}

static int
op_extents (struct image *img, char **text, struct report *report,
            struct err *err)
{
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  uint64_t len = min_u64 (image_size (img), MAX_EXTENTS);
  int r = image_extents (img, len, 0, &list, err);
  size_t text_len;
  FILE *fp;

  (void) report;
  fault_disarm ();
  if (r < 0)
    return r;
  fp = open_memstream (text, &text_len);
  for (size_t i = 0; i < list.v.len; ++i)
    fprintf (fp, "%" PRIu64 " %" PRIu64 " %s %u\n", list.v.ptr[i].off,
             list.v.ptr[i].len, extent_kind_to_string (list.v.ptr[i].kind),
             list.v.ptr[i].layer);
  fclose (fp);
  return 0;
}

static void
print_info (FILE *fp, const struct image_info *info)
{
  fprintf (fp, "%s %s %s %" PRId64 "\n", info->type ? info->type : "",
           info->creator ? info->creator : "", info->label ? info->label : "",
           info->created);
  for (size_t i = 0; i < info->layers.len; ++i)
    fprintf (fp, "layer %s %s %s %s\n", info->layers.ptr[i].name,
             info->layers.ptr[i].format,
             info->layers.ptr[i].type ? info->layers.ptr[i].type : "",
             info->layers.ptr[i].id ? info->layers.ptr[i].id : "");
  for (size_t i = 0; i < info->properties.len; ++i)
    fprintf (fp, "%s %s\n", info->properties.ptr[i].key,
             info->properties.ptr[i].value);
  for (size_t i = 0; i < info->boot.len; ++i)
    fprintf (fp, "boot %s %s %" PRIu64 " %" PRIu64 "\n",
             info->boot.ptr[i].platform, info->boot.ptr[i].media,
             info->boot.ptr[i].off, info->boot.ptr[i].len);
}

static int
op_info (struct image *img, char **text, struct report *report,
         struct err *err)
{
  struct image_info info;
  struct block_sizes sizes;
  int r = image_get_info (img, &info, err);
  size_t len;
  FILE *fp;

  (void) report;
  fault_disarm ();
  if (r < 0)
    return r;
  image_get_sizes (img, &sizes);
  fp = open_memstream (text, &len);
  fprintf (fp, "%s %" PRIu64 " %u %u %s\n", image_format (img),
           image_size (img), sizes.preferred, sizes.logical,
           image_readonly_reason (img) ? image_readonly_reason (img) : "");
  print_info (fp, &info);
  fclose (fp);
  image_info_free (&info);
  return 0;
}

static int
op_partitions (struct image *img, char **text, struct report *report,
               struct err *err)
{
  CLEANUP_PART_TABLE struct part_table table = { .scheme = PART_NONE };
  CLEANUP_BLOCK struct block *disk = NULL;
  size_t len;
  FILE *fp;
  int r;

  r = image_to_block (img, &disk, err);
  if (r == 0)
    r = part_read (disk, 0, &table, report, err);
  fault_disarm ();
  if (r < 0)
    return r;
  fp = open_memstream (text, &len);
  fprintf (fp, "%s %u %s\n", part_scheme_to_string (table.scheme),
           table.sector_size, table.id ? table.id : "");
  for (size_t i = 0; i < table.parts.len; ++i) {
    const struct partition *p = &table.parts.ptr[i];

    fprintf (fp, "%u %" PRIu64 " %" PRIu64 " %s %s %s\n", p->number, p->off,
             p->len, p->type, p->uuid, p->name ? p->name : "");
  }
  fclose (fp);
  return 0;
}

static int
op_cache (struct image *img, char **text, struct report *report,
          struct err *err)
{
  int r = image_cache (img, min_u64 (image_size (img), AT_START), 0, err);

  (void) report;
  fault_disarm ();
  if (r < 0)
    return r;
  *text = strdup ("");
  return 0;
}

const struct fault_op fault_ops[] = {
  { "read", op_read },
  { "extents", op_extents },
  { "info", op_info },
  { "partitions", op_partitions },
  { "cache", op_cache },
  { NULL, NULL },
};

/*--- The images -------------------------------------------------------------*/

static char *
path_in (const char *folder, const char *name)
{
  char *path;

  if (asprintf (&path, "%s/%s", folder, name) < 0)
    die ("asprintf");
  return path;
}

/* An input of the corpus as an image. */
static void
save (const char *input, const char *path)
{
  static uint8_t data[256 * 1024];
  CLEANUP_FCLOSE FILE *in = fopen (input, "r");
  CLEANUP_FCLOSE FILE *out = fopen (path, "w");
  struct sparse s;

  if (in == NULL || out == NULL)
    die (in ? path : input);
  sparse_decode (data, fread (data, 1, sizeof data, in), &s);
  if (ftruncate (fileno (out), (off_t) s.size) < 0)
    die (path);
  for (size_t i = 0; i < s.records.len; ++i)
    if (fd_pwrite (fileno (out), s.records.ptr[i].bytes, s.records.ptr[i].len,
                   s.records.ptr[i].off, NULL) < 0)
      die (path);
  sparse_free (&s);
}

/* The corpus has images that are damaged on purpose, too. */
static bool
opens (const char *path)
{
  CLEANUP_IMAGE struct image *img = NULL;

  return image_open (path, NULL, &img, NULL, NULL) == 0;
}

unsigned
fault_for_each (const char *format,
                void (*run) (const struct fault_subject *subject))
{
  const char *source = getenv ("abs_top_srcdir");
  CLEANUP_FREE char *corpus = NULL;
  char folder[] = "/tmp/nbdimage-fault.XXXXXX";
  struct dirent **entries;
  unsigned done = 0;
  int nr;

  if (asprintf (&corpus, "%s/tests/fuzz/corpus/%s", source ? source : ".",
                format) < 0 || mkdtemp (folder) == NULL)
    die (folder);
  parents_save (folder);
  nr = scandir (corpus, &entries, NULL, alphasort);
  if (nr < 0)
    die (corpus);
  for (int i = 0; i < nr; ++i) {
    const char *name = entries[i]->d_name;

    if (name[0] != '.' && strlen (name) != HASH_SIZE) {
      CLEANUP_FREE char *from = path_in (corpus, name);
      struct fault_subject subject = { .path = path_in (folder, name) };

      save (from, subject.path);
      if (opens (subject.path)) {
        run (&subject);
        done++;
      }
      unlink (subject.path);
      free (subject.path);
    }
    free (entries[i]);
  }
  free (entries);
  parents_remove (folder);
  rmdir (folder);
  return done;
}
