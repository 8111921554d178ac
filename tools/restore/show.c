/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "tools/change/change.h"
#include "tools/output.h"
#include "tools/report.h"
#include "tools/restore/restore-tool.h"

static const char *const kinds[] = {
  [RESTORE_DEVICE] = "device",
  [RESTORE_IMAGE] = "file",
  [RESTORE_NEW] = "new file",
  [RESTORE_EXPORT] = "NBD export",
};

/*--- The disks --------------------------------------------------------------*/

static void
say_target (const struct restore_command *c, const struct change_options *o)
{
  const struct restore_target *to = &c->to;
  const struct restore_device *d = &to->device;
  char str[SIZE_STRING_SIZE];

  change_say (o, "Target", "%s%s%s%s%s%s%s, %s (%" PRIu64 " bytes)",
              kinds[to->kind], to->format ? ", " : "",
              to->format ? to->format : "",
              d->model ? ", " : "", d->model ? d->model : "",
              d->serial ? ", serial " : "", d->serial ? d->serial : "",
              size_to_string (to->size, str), to->size);
  if (to->looked)
    change_say (o, "Holds", "%s", to->contents.text);
}

static void
say_disks (const struct restore_command *c, const struct change_options *o)
{
  char str[SIZE_STRING_SIZE];

  change_say_name (o);
  change_say (o, "Disk of", "%s: %s, %s (%" PRIu64 " bytes)", c->source,
              image_format (c->img),
              size_to_string (block_size (c->disk), str),
              block_size (c->disk));
  say_target (c, o);
}

/*--- The table --------------------------------------------------------------*/

/* Characters of UTF-8, near enough to columns. */
static size_t
width (const char *text)
{
  size_t n = 0;

  for (; *text != '\0'; ++text)
    n += (*text & 0xc0) != 0x80;
  return n;
}

/* Of a row: what, where from, how much, where to, and what is there. */
static void
put_row (const char *what, const char *size, const char *to, const char *room,
         const char *holds)
{
  printf ("    ");
  output_text (what);
  for (size_t n = width (what); n < 28; ++n)
    putchar (' ');
  printf (" %10s  ->  ", size);
  if (room[0] == '\0')
    printf ("%s", to);
  else
    printf ("%-14s %10s", to, room);
  if (holds != NULL) {
    printf ("  ");
    output_text (holds);
  }
  putchar ('\n');
}

static void
put_whole (const struct restore_command *c)
{
  const struct restore_contents *from = &c->contents;
  char size[SIZE_STRING_SIZE], place[SIZE_STRING_SIZE], to[64];

  put_row ("all of the disk", size_to_string (block_size (c->disk), size),
           "the same place", size_to_string (c->to.size, place),
           c->to.looked ? c->to.contents.text : NULL);
  for (size_t i = 0; i < from->table.parts.len; ++i) {
    const struct partition *p = &from->table.parts.ptr[i];
    CLEANUP_FREE char *fs = NULL, *what = NULL;

    if (p->is_extended)
      continue;
    fs = absent_has (&c->absent, p->number) ? strdup ("not in the image")
      : restore_fs_to_text (&from->fs[i]);
    if (fs == NULL || asprintf (&what, "  %u  %s", p->number, fs) < 0) {
      what = NULL;
      continue;
    }
    snprintf (to, sizeof to, "at %s", size_to_string (p->off, place));
    put_row (what, size_to_string (p->len, size), to, "", NULL);
  }
}

static void
put_step (const struct restore_command *c, const struct restore_step *step)
{
  CLEANUP_FREE char *fs = NULL, *what = NULL, *holds = NULL;
  char size[SIZE_STRING_SIZE], room[SIZE_STRING_SIZE], to[64];
  size_t i;

  if (restore_contents_find (&c->contents, step->from, &i) != NULL)
    fs = restore_fs_to_text (&c->contents.fs[i]);
  if (fs == NULL || asprintf (&what, "%u  %s", step->from, fs) < 0) {
    what = NULL;
    return;
  }
  if (step->to != 0) {
    snprintf (to, sizeof to, "partition %u", step->to);
    if (restore_contents_find (&c->to.contents, step->to, &i) != NULL)
      holds = restore_fs_to_text (&c->to.contents.fs[i]);
  }
  else {
    snprintf (to, sizeof to, "all of it");
    holds = strdup (c->to.contents.text);
  }
  put_row (what, size_to_string (step->len, size), to,
           size_to_string (step->size, room), holds);
}

static void
put_table (const struct restore_command *c)
{
  printf ("\n");
  put_row ("IMAGE", "SIZE", "TARGET", "SIZE",
           c->to.kind == RESTORE_NEW ? NULL : "WHAT IS LOST");
  if (c->choices.len == 0)
    put_whole (c);
  for (size_t i = 0; c->choices.len > 0 && i < c->plan.steps.len; ++i)
    put_step (c, &c->plan.steps.ptr[i]);
  printf ("\n");
}

/*--- The rest ---------------------------------------------------------------*/

/* What happens to what is to be nothing in particular. */
static const char *
fate_of_unused (const struct restore_command *c)
{
  switch (c->to.kind) {
  case RESTORE_DEVICE:
    return c->to.device.can_discard ? "is discarded" : "keeps the bytes that "
      "the target has there";
  case RESTORE_NEW:
    return "reads as zeros";
  case RESTORE_IMAGE:
  case RESTORE_EXPORT:
    break;
  }
  return "is discarded where the target can, and else keeps its bytes";
}

static uint64_t
behind (const struct restore_command *c)
{
  uint64_t n = 0;

  for (size_t i = 0; i < c->plan.steps.len; ++i)
    n += c->plan.steps.ptr[i].size - c->plan.steps.ptr[i].len;
  return n;
}

/* They count as unused too: nothing of them is written. */
static void
say_absent (const struct restore_command *c, const struct change_options *o)
{
  CLEANUP_FREE char *text = NULL;

  if (c->absent.len == 0 || c->choices.len > 0)
    return;
  text = absent_to_text (&c->absent);
  change_say (o, "Left out", "%s %s not in the image: what the table says of "
              "%s is restored, and nothing in %s", text ? text : "",
              c->absent.len == 1 ? "is" : "are",
              c->absent.len == 1 ? "it" : "them",
              c->absent.len == 1 ? "it" : "them");
}

static void
say_rest (const struct restore_command *c, const struct change_options *o)
{
  const struct restore_totals *t = &c->plan.totals;
  char a[SIZE_STRING_SIZE], b[SIZE_STRING_SIZE];

  change_say (o, "Written", "%s of data; %s of zeros",
              size_to_string (t->data, a), size_to_string (t->zero, b));
  say_absent (c, o);
  if (t->unallocated > 0)
    change_say (o, "Unused", "%s that no file system uses: %s",
                size_to_string (t->unallocated, a), fate_of_unused (c));
  if (behind (c) > 0)
    change_say (o, "Free then", "%s behind the end of the image%s, which %s; "
                "nothing is grown into it", size_to_string (behind (c), a),
                c->choices.len > 0 ? "’s partitions" : "",
                fate_of_unused (c));
  if (c->plan.patches.len > 0)
    change_say (o, "Table", "the GPT’s second copy goes to the new end");
  if (t->unreadable > 0)
    change_say (o, "Unreadable", "%s of the image, which become zeros",
                size_to_string (t->unreadable, a));
  change_say (o, "Afterwards", c->no_verify ? "it is not compared with the "
              "image" : "it is read again, and compared with the image");
}

void
restore_show_plan (const struct restore_command *c)
{
  const struct change_options o = { .name = c->name, .json = c->json };

  if (c->json)
    return;
  say_disks (c, &o);
  put_table (c);
  say_rest (c, &o);
  fflush (stdout);
}

void
restore_warn_of_range (const struct restore_command *c,
                       const struct restore_range *range, const char *what)
{
  const struct partition *p = c->looked
    ? restore_contents_at (&c->contents, range->off) : NULL;
  char where[40] = "";

  if (p != NULL)
    snprintf (where, sizeof where, " (in partition %u)", p->number);
  tool_warning ("%s: bytes %" PRIu64 " to %" PRIu64 "%s %s", c->source,
                range->off, range->off + range->len - 1, where, what);
}

/*--- The result -------------------------------------------------------------*/

static json_t *
json_of_steps (const struct restore_command *c)
{
  json_t *list = json_array ();

  for (size_t i = 0; i < c->plan.steps.len; ++i) {
    const struct restore_step *s = &c->plan.steps.ptr[i];

    json_array_append_new (list, json_pack ("{s:o,s:o,s:I,s:I,s:I,s:I}",
      "from", s->from ? json_integer (s->from) : json_null (),
      "to", s->to ? json_integer (s->to) : json_null (),
      "from-offset", (json_int_t) s->from_off,
      "to-offset", (json_int_t) s->to_off,
      "length", (json_int_t) s->len, "size", (json_int_t) s->size));
  }
  return list;
}

static json_t *
json_of_ranges (const struct restore_command *c,
                const struct restore_ranges *ranges)
{
  json_t *list = json_array ();

  for (size_t i = 0; i < ranges->len; ++i) {
    const struct restore_range *range = &ranges->ptr[i];
    const struct partition *p = restore_contents_at (&c->contents,
                                                     range->off);

    json_array_append_new (list, json_pack ("{s:I,s:I,s:o}",
      "offset", (json_int_t) range->off, "length", (json_int_t) range->len,
      "partition", p ? json_integer (p->number) : json_null ()));
  }
  return list;
}

static json_t *
json_of (const struct restore_command *c)
{
  const struct restore_totals *t = &c->plan.totals;
  const struct restore_device *d = &c->to.device;

  return json_pack ("{s:o,s:o,s:s,s:o,s:o,s:o,s:I,s:I,s:o,s:o,s:I,s:I,s:I,"
                    "s:o,s:I,s:I,s:b,s:b,s:b}",
    "source", output_json_text (c->source),
    "name", output_json_text (c->name),
    "kind", kinds[c->to.kind],
    "format", output_json_text (c->to.format),
    "model", output_json_text (d->model),
    "serial", output_json_text (d->serial),
    "size", (json_int_t) c->to.size,
    "source-size", (json_int_t) block_size (c->disk),
    "held", output_json_text (c->to.looked ? c->to.contents.text : NULL),
    "steps", json_of_steps (c),
    "data", (json_int_t) t->data,
    "zero", (json_int_t) t->zero,
    "unused", (json_int_t) t->unallocated,
    "unreadable", json_of_ranges (c, c->dry_run ? &c->plan.unreadable
                                                : &c->lost),
    "behind", (json_int_t) behind (c),
    "written", (json_int_t) c->result.data,
    "done", c->result.done,
    "verified", c->result.done && !c->no_verify,
    "changed", c->result.wiped);
}

int
restore_show_result (const struct restore_command *c)
{
  int status = c->lost.len > 0 ? STATUS_FAILED : STATUS_DONE, r;
  char str[SIZE_STRING_SIZE];

  for (size_t i = 0; i < c->lost.len; ++i)
    restore_warn_of_range (c, &c->lost.ptr[i], "can't be read, and are zeros "
                           "on the target");
  if (c->json) {
    r = output_json (json_of (c));
    return r != STATUS_DONE ? r : status;
  }
  if (c->dry_run)
    return status;
  printf ("\n");
  output_text (c->name);
  printf (": restored, %s written%s\n", size_to_string (c->result.data, str),
          c->no_verify ? "; not compared with the image"
          : "; read again, and the same as the image");
  return status;
}
