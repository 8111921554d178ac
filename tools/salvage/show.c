/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/size.h"
#include "lib/repo/vault-names.h"
#include "tools/output.h"
#include "tools/report.h"
#include "tools/salvage/salvage-tool.h"

#define SHOWN_RANGES 20         /* to people */
#define SHOWN_FILES 20          /* of each partition */

static uint64_t
sum (const struct salvage_ranges *ranges)
{
  uint64_t bytes = 0;

  for (size_t i = 0; i < ranges->len; ++i)
    bytes += ranges->ptr[i].len;
  return bytes;
}

/* Bytes of the lost ranges that lie in [off, off+len). */
static uint64_t
lost_in (const struct salvage_ranges *lost, uint64_t off, uint64_t len)
{
  uint64_t bytes = 0;

  for (size_t i = 0; i < lost->len; ++i) {
    const struct nbi_range *r = &lost->ptr[i];
    uint64_t from = r->off > off ? r->off : off;
    uint64_t to = r->off + r->len < off + len ? r->off + r->len : off + len;

    bytes += from < to ? to - from : 0;
  }
  return bytes;
}

static const struct manifest_partition *
partition_at (const struct salvage_command *c, uint64_t off)
{
  for (size_t i = 0; i < c->manifest.partitions.len; ++i) {
    const struct manifest_partition *p = &c->manifest.partitions.ptr[i];

    if (off >= p->off && off - p->off < p->len)
      return p;
  }
  return NULL;
}

/*--- JSON -------------------------------------------------------------------*/

static const struct fs_hits no_hits = FS_HITS_INIT;

static json_t *
json_of_files (const struct fs_hits *hits)
{
  json_t *list = json_array ();

  for (size_t i = 0; i < hits->v.len; ++i) {
    const struct fs_hit *hit = &hits->v.ptr[i];

    json_array_append_new (list, json_pack ("{s:o,s:I,s:I}",
      "path", output_json_text (hit->path), "size", (json_int_t) hit->size,
      "lost", (json_int_t) hit->hit));
  }
  return list;
}

static json_t *
json_of_partitions (const struct salvage_command *c)
{
  json_t *list = json_array ();

  for (size_t i = 0; i < c->manifest.partitions.len; ++i) {
    const struct manifest_partition *p = &c->manifest.partitions.ptr[i];
    const struct fs_hits *hits = c->hits ? &c->hits[i] : &no_hits;

    json_array_append_new (list, json_pack (
      "{s:I,s:I,s:I,s:o,s:o,s:b,s:I,s:o,s:o}",
      "number", (json_int_t) p->number, "offset", (json_int_t) p->off,
      "length", (json_int_t) p->len, "fs", output_json_text (p->fs.type),
      "label", output_json_text (p->fs.label),
      "absent", manifest_partition_is_absent (p),
      "lost", (json_int_t) lost_in (&c->lost, p->off, p->len),
      "files-hit", json_of_files (hits),
      "files-hit-note", output_json_text (hits->note)));
  }
  return list;
}

static json_t *
json_of_lost (const struct salvage_command *c)
{
  json_t *list = json_array ();

  for (size_t i = 0; i < c->lost.len; ++i) {
    const struct nbi_range *r = &c->lost.ptr[i];
    const struct manifest_partition *p = partition_at (c, r->off);

    json_array_append_new (list, json_pack ("{s:I,s:I,s:o}",
      "offset", (json_int_t) r->off, "length", (json_int_t) r->len,
      "partition", p ? json_integer ((json_int_t) p->number) : json_null ()));
  }
  return list;
}

static int
show_json (const struct salvage_command *c)
{
  const struct nbi_header *h = salvage_header (c->salvage);
  const struct fs_hits *whole =
    c->hits && c->manifest.partitions.len == 0 ? &c->hits[0] : &no_hits;
  char id[UUID_STRING_SIZE];
  struct salvage_counts n;

  salvage_get_counts (c->salvage, &n);
  uuid_to_string (h->run, id);
  return output_json (json_pack (
    "{s:o,s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:b,s:o,s:o,"
    "s:o,s:o,s:o}",
    "disk", output_json_text (h->name), "generation", output_json_text (id),
    "time", output_json_time ((int64_t) h->time),
    "size", (json_int_t) h->disk_size,
    "chunk-size", (json_int_t) h->chunk_size,
    "files", (json_int_t) c->files.len,
    "data", (json_int_t) n.data, "zero", (json_int_t) n.zero,
    "unallocated", (json_int_t) n.unallocated,
    "lost-bytes", (json_int_t) sum (&c->lost),
    "pages", (json_int_t) n.pages,
    "pages-unproven", (json_int_t) n.pages_unproven,
    "pages-lost", (json_int_t) n.pages_lost,
    "root", n.has_root, "manifest", n.has_manifest,
    "partitions", json_of_partitions (c),
    "files-hit", json_of_files (whole),
    "files-hit-note", output_json_text (whole->note),
    "lost", json_of_lost (c),
    "output", output_json_text (c->output ? c->output : c->into)));
}

/*--- Text -------------------------------------------------------------------*/

static void
show_hit (const struct fs_hit *hit)
{
  char a[SIZE_STRING_SIZE], b[SIZE_STRING_SIZE];

  printf ("    ");
  output_text (hit->path);
  printf (": %s of %s lost\n", size_to_string (hit->hit, a),
          size_to_string (hit->size, b));
}

static void
show_hits (const struct fs_hits *hits)
{
  size_t n = hits->v.len < SHOWN_FILES ? hits->v.len : SHOWN_FILES;

  for (size_t i = 0; i < n; ++i)
    show_hit (&hits->v.ptr[i]);
  if (n < hits->v.len)
    printf ("    and %zu file%s more; --json has all of them\n",
            hits->v.len - n, hits->v.len - n == 1 ? "" : "s");
  if (hits->note)
    printf ("    %s not known: %s\n",
            n > 0 ? "Which other files are hit is" : "Which files are hit is",
            hits->note);
  else if (n == 0)
    printf ("    no file is hit\n");
}

static void
show_partition (const struct manifest_partition *p, uint64_t lost,
                const struct fs_hits *hits)
{
  char str[SIZE_STRING_SIZE];
  bool absent = manifest_partition_is_absent (p);

  printf ("  Partition %" PRIu64 ":  ", p->number);
  output_text (p->fs.type ? p->fs.type : "nothing known");
  if (p->fs.label) {
    printf (" ‘");
    output_text (p->fs.label);
    printf ("’");
  }
  if (absent)
    printf (", left out of the backup%s\n", lost > 0 ? "; what it shares "
            "with others, or else it itself, is lost" : "");
  else if (lost == 0)
    printf (", whole\n");
  else {
    printf (", %s (%" PRIu64 " bytes) lost\n", size_to_string (lost, str),
            lost);
    if (p->fs.type && hits)
      show_hits (hits);
  }
}

static void
show_partitions (const struct salvage_command *c)
{
  uint64_t inside = 0, lost;
  char str[SIZE_STRING_SIZE];

  for (size_t i = 0; i < c->manifest.partitions.len; ++i) {
    const struct manifest_partition *p = &c->manifest.partitions.ptr[i];

    lost = lost_in (&c->lost, p->off, p->len);
    inside += lost;
    show_partition (p, lost, c->hits ? &c->hits[i] : NULL);
  }
  lost = sum (&c->lost) > inside ? sum (&c->lost) - inside : 0;
  if (lost > 0 && c->manifest.partitions.len > 0)
    printf ("  Outside:      %s lost of tables, boot code and gaps\n",
            size_to_string (lost, str));
}

static void
show_ranges (const struct salvage_command *c)
{
  for (size_t i = 0; i < c->lost.len && i < SHOWN_RANGES; ++i)
    printf ("  Lost:         bytes %" PRIu64 " to %" PRIu64 "\n",
            c->lost.ptr[i].off, c->lost.ptr[i].off + c->lost.ptr[i].len - 1);
  if (c->lost.len > SHOWN_RANGES)
    printf ("  ...           and %zu range%s more; --json has all of them\n",
            c->lost.len - SHOWN_RANGES,
            c->lost.len - SHOWN_RANGES == 1 ? "" : "s");
}

static void
show_map (const struct salvage_counts *n)
{
  if (n->pages_lost > 0)
    printf ("  Map:          %" PRIu64 " of %" PRIu64 " pages are lost: of "
            "these only what was written for its place is there\n",
            n->pages_lost, n->pages);
  if (n->pages_unproven > 0)
    printf ("  Map:          %" PRIu64 " of %" PRIu64 " pages are unproven: "
            "they are of this run, but no root says so\n",
            n->pages_unproven, n->pages);
}

static void
show_text (const struct salvage_command *c)
{
  const struct nbi_header *h = salvage_header (c->salvage);
  char when[VAULT_TIME_SIZE], a[SIZE_STRING_SIZE], b[SIZE_STRING_SIZE];
  struct salvage_counts n;

  salvage_get_counts (c->salvage, &n);
  vault_time_to_string (h->time, when);
  output_text (h->name);
  printf ("@%s: %s, of which %s ", when, size_to_string (h->disk_size, a),
          size_to_string (sum (&c->lost), b));
  printf ("are lost\n");
  show_map (&n);
  show_partitions (c);
  if (c->hits && c->manifest.partitions.len == 0)
    show_hits (&c->hits[0]);
  show_ranges (c);
  if (c->output || c->into) {
    printf ("  Written to:   ");
    output_text (c->output ? c->output : c->into);
    putchar ('\n');
  }
}

int
salvage_show (const struct salvage_command *c)
{
  int status = STATUS_DONE;
  char str[SIZE_STRING_SIZE];

  if (c->json)
    status = show_json (c);
  else
    show_text (c);
  if (c->lost.len == 0)
    return status;
  tool_error ("%s (%" PRIu64 " bytes) of the disk are lost; all else %s",
              size_to_string (sum (&c->lost), str), sum (&c->lost),
              c->dry_run ? "can be had" : "was had, and reading what is lost "
              "gives an error");
  return STATUS_FAILED;
}
