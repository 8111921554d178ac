/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Examining an image: what is the same for all formats.  A format that has
 * rules of its own to tell (image-ops.h, check) does; then the image is opened
 * as for reading, so that nothing is called whole that would be refused.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/check.h"
#include "lib/format/compressed/compressed.h"
#include "lib/format/image-ops.h"
#include "lib/format/probe.h"
#include "lib/format/repair.h"

/* What is read of the disk at once. */
#define PIECE ((size_t) 1024 * 1024)

/* File systems have holes of whole ones: what is less stays when the rest is
 * punched.
 */
#define PAGE 4096

/* A piece that can't be read is read again in these, to tell where. */
#define SMALL_PIECE 4096

const char *
finding_severity_to_string (enum finding_severity severity)
{
  static const char *const names[FINDING_NR_SEVERITIES] = {
    [FINDING_NOTE] = "note",
    [FINDING_LEAK] = "leak",
    [FINDING_UNEXAMINED] = "unexamined",
    [FINDING_REPAIRABLE] = "repairable",
    [FINDING_DAMAGE] = "damage",
  };

  return names[severity];
}

const char *
check_verdict_to_string (enum check_verdict verdict)
{
  switch (verdict) {
  case CHECK_WHOLE: return "whole";
  case CHECK_UNEXAMINED: return "unexamined";
  case CHECK_DAMAGED: break;
  }
  return "damaged";
}

enum check_verdict
check_verdict (const struct check *check)
{
  if (check->nr[FINDING_DAMAGE] > 0 || check->nr[FINDING_REPAIRABLE] > 0)
    return CHECK_DAMAGED;
  return check->nr[FINDING_UNEXAMINED] > 0 ? CHECK_UNEXAMINED : CHECK_WHOLE;
}

bool
check_has_mendable (const struct check *check)
{
  for (size_t i = 0; i < check->findings.len; ++i)
    if (check->findings.ptr[i].mendable)
      return true;
  return false;
}

void
check_forget_mendable (struct check *check)
{
  for (size_t i = 0; i < check->findings.len; ++i)
    check->findings.ptr[i].mendable = false;
}

static void
free_finding (struct finding *f)
{
  free (f->file);
  free (f->structure);
  free (f->found);
  free (f->expected);
  free (f->sentence);
}

void
check_free (struct check *check)
{
  for (size_t i = 0; i < check->findings.len; ++i)
    free_finding (&check->findings.ptr[i]);
  for (size_t i = 0; i < check->counts.len; ++i)
    free (check->counts.ptr[i].file);
  vector_free (&check->findings);
  vector_free (&check->counts);
}

/*--- Findings ---------------------------------------------------------------*/

/* Count it; *listed: there is room for it in the list. */
static int
count (struct check *check, const struct finding_subject *s, bool *listed,
       struct err *err)
{
  struct finding_count c = { s->kind, NULL, s->severity, 1 };

  check->nr[s->severity]++;
  for (size_t i = 0; i < check->counts.len; ++i) {
    struct finding_count *p = &check->counts.ptr[i];

    if (strcmp (p->kind, s->kind) == 0 && p->severity == s->severity &&
        strcmp (p->file, check->file) == 0) {
      *listed = ++p->nr <= CHECK_MAX_OF_A_KIND;
      return 0;
    }
  }
  c.file = strdup (check->file);
  if (c.file == NULL || vector_append (&check->counts, &c) < 0) {
    free (c.file);
    return err_nomem (err);
  }
  *listed = true;
  return 0;
}

static char *
copy (const char *str)
{
  return str ? strdup (str) : NULL;
}

/* found and sentence are taken over, also when this fails. */
static int
append (struct check *check, const struct finding_subject *s, char *found,
        const char *expected, char *sentence, struct err *err)
{
  struct finding f = {
    .severity = s->severity,
    .kind = s->kind,
    .file = strdup (check->file),
    .structure = copy (s->structure),
    .off = s->off,
    .len = s->len,
    /* A parent is mended by itself. */
    .mendable = s->mendable,
    .disk_off = s->disk_off,
    .disk_len = s->disk_len,
    .found = found,
    .expected = copy (expected),
    .sentence = sentence,
  };

  if (f.file && f.found && f.sentence &&
      (f.structure || s->structure == NULL) &&
      (f.expected || expected == NULL) &&
      vector_append (&check->findings, &f) == 0)
    return 0;
  free_finding (&f);
  return err_nomem (err);
}

int
check_add_err (struct check *check, const struct finding_subject *subject,
               const struct err *finding, struct err *err)
{
  static const char sign[] = ", expected ";
  struct finding_subject s = *subject;
  const char *split = strstr (finding->msg, sign);
  bool listed;
  int r;

  if (finding->code == -ENOMEM || finding->code == -ECANCELED)
    return err_set (err, finding->code, "%s", finding->msg);
  if (finding->code == -EIO)
    s.severity = FINDING_DAMAGE;
  else if (finding->code != -EBADMSG)
    s.severity = FINDING_UNEXAMINED;
  if (s.severity != subject->severity)
    s.mendable = false;
  r = count (check, &s, &listed, err);
  if (r < 0 || !listed)
    return r;
  return append (check, &s,
                 split ? strndup (finding->msg, (size_t)
                                  (split - finding->msg))
                 : strdup (finding->msg),
                 split ? split + strlen (sign) : NULL, strdup (finding->msg),
                 err);
}

/* "STRUCTURE at offset N FOUND, expected EXPECTED" */
static char *
compose (const struct finding_subject *s, const char *found,
         const char *expected)
{
  char place[48] = "", *sentence;

  if (s->off != FINDING_NOWHERE)
    snprintf (place, sizeof place, " at offset %" PRIu64, s->off);
  if (asprintf (&sentence, "%s%s %s%s%s",
                s->structure ? s->structure : "the file",
                s->structure ? place : "", found,
                expected ? ", expected " : "", expected ? expected : "") < 0)
    return NULL;
  return sentence;
}

int
check_add (struct check *check, const struct finding_subject *subject,
           const char *expected, struct err *err, const char *fmt, ...)
{
  char *found;
  bool listed;
  va_list ap;
  int r = count (check, subject, &listed, err);

  if (r < 0 || !listed)
    return r;
  va_start (ap, fmt);
  r = vasprintf (&found, fmt, ap);
  va_end (ap);
  if (r < 0)
    return err_nomem (err);
  return append (check, subject, found, expected,
                 compose (subject, found, expected), err);
}

static bool
is_said (const struct check *check, const char *sentence)
{
  for (size_t i = 0; i < check->findings.len; ++i)
    if (strcmp (check->findings.ptr[i].sentence, sentence) == 0)
      return true;
  return false;
}

int
check_add_report (struct check *check, const struct finding_subject *subject,
                  struct report *report, struct err *err)
{
  struct err line = ERR_INIT;
  int r = 0;

  for (size_t i = 0; r == 0 && i < report->lines.len; ++i) {
    const char *text = report->lines.ptr[i];
    size_t len = strlen (check->file);

    /* A finding knows its file. */
    if (strncmp (text, check->file, len) == 0 &&
        strncmp (text + len, ": ", 2) == 0)
      text += len + 2;
    err_set (&line, -EBADMSG, "%s", text);
    if (!is_said (check, line.msg))
      r = check_add_err (check, subject, &line, err);
  }
  report_free (report);
  return r;
}

/*--- Leaks ------------------------------------------------------------------*/

/* Bytes of the range that take space. */
static uint64_t
allocated (struct block *block, uint64_t off, uint64_t len)
{
  uint64_t end = off + len, sum = 0;

  while (off < end) {
    CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 1000 };

    if (block_extents (block, end - off, off, &list, NULL) < 0 ||
        list.v.len == 0)
      return sum + (end - off);
    for (size_t i = 0; i < list.v.len; ++i)
      if (list.v.ptr[i].kind != EXTENT_HOLE)
        sum += list.v.ptr[i].len;
    off = extent_list_end (&list, off);
  }
  return sum;
}

int
check_add_leak (struct check *check, struct block *block, uint64_t off,
                uint64_t len, bool is_tail, struct file_ranges *leaks,
                struct err *err)
{
  const struct file_range range = { off, len };
  const struct finding_subject subject = {
    .severity = FINDING_LEAK,
    .kind = "leak",
    .off = off,
    .len = len,
    .mendable = !check->is_parent,
  };
  uint64_t first = round_up (off, PAGE), end = round_down (off + len, PAGE);
  uint64_t takes = is_tail ? len
    : first < end ? allocated (block, first, end - first) : 0;
  int r;

  if (takes == 0)
    return 0;
  r = check_add (check, &subject, NULL, err, "has %" PRIu64 " bytes at offset "
                 "%" PRIu64 " that nothing in it names", len, off);
  if (r < 0 || check->is_parent)
    return r;
  check->leaked += takes;
  if (leaks && vector_append (leaks, &range) < 0)
    return err_nomem (err);
  return 0;
}

/*--- All data ---------------------------------------------------------------*/

static int
unreadable (struct check *check, uint64_t off, uint64_t len,
            const struct err *why, struct err *err)
{
  const struct finding_subject subject = {
    .severity = FINDING_DAMAGE,
    .kind = "data-unreadable",
    .structure = "the disk",
    .off = FINDING_NOWHERE,
    .disk_off = off,
    .disk_len = len,
  };

  if (why->code == -ENOMEM)
    return err_nomem (err);
  return check_add (check, &subject, NULL, err, "can't be read at its offset %"
                    PRIu64 ": %s", off, why->msg);
}

/* A piece that could not be read. */
static int
read_in_small (struct check *check, struct image *img, uint8_t *buf,
               size_t len, uint64_t off, struct err *err)
{
  struct err why = ERR_INIT;
  int r = 0;

  for (size_t done = 0; r == 0 && done < len; done += SMALL_PIECE) {
    size_t n = (size_t) min_u64 (SMALL_PIECE, len - done);

    if (image_pread (img, buf, n, off + done, &why) < 0)
      r = unreadable (check, off + done, n, &why, err);
  }
  return r;
}

static int
read_extent (struct check *check, struct image *img, uint8_t *buf,
             const struct extent *e, struct err *err)
{
  int r = 0;

  for (uint64_t done = 0; r == 0 && done < e->len; done += PIECE) {
    size_t n = (size_t) min_u64 (PIECE, e->len - done);

    if (image_pread (img, buf, n, e->off + done, NULL) < 0)
      r = read_in_small (check, img, buf, n, e->off + done, err);
    if (r == 0)
      r = job_check (check->job, err);
  }
  return r;
}

static int
read_data (struct check *check, struct image *img, struct err *err)
{
  CLEANUP_FREE uint8_t *buf = malloc (PIECE);
  uint64_t size = image_size (img), off = 0;
  int r = buf ? 0 : err_nomem (err);

  job_start (check->job, "reading", size);
  while (r == 0 && off < size) {
    CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 1000 };
    uint64_t end;

    /* Where nothing can be told, everything is data. */
    if (image_extents (img, size - off, off, &list, NULL) < 0 ||
        list.v.len == 0) {
      extent_list_free (&list);
      r = extent_list_add (&list, off, min_u64 (size - off, PIECE),
                           EXTENT_DATA, 0, err);
      if (r < 0)
        return r;
    }
    for (size_t i = 0; r == 0 && i < list.v.len; ++i) {
      if (list.v.ptr[i].kind == EXTENT_DATA)
        r = read_extent (check, img, buf, &list.v.ptr[i], err);
      if (r == 0)
        r = job_advance (check->job, list.v.ptr[i].len, err);
    }
    end = extent_list_end (&list, off);
    off = end;
  }
  return r;
}

/*--- Checking ---------------------------------------------------------------*/

/* Warnings of a format without a check of its own. */
static int
take_warnings (struct check *check, struct image *img, struct report *report,
               struct err *err)
{
  struct finding_subject subject = {
    .severity = FINDING_NOTE,
    .kind = "warning",
    .off = FINDING_NOWHERE,
  };
  int r = img->ops->check_open ? img->ops->check_open (img, check, err) : 0;

  if (r < 0 || img->ops->check)
    return r;
  if (img->ops == &raw_image_ops) {
    static const struct finding_subject raw = { .kind = "raw",
                                                .off = FINDING_NOWHERE };

    /* It has the name of another format, and nothing of that is left. */
    subject.severity = FINDING_DAMAGE;
    r = check_add (check, &raw, NULL, err, "is a raw disk, of which there is "
                   "nothing to check");
  }
  return r < 0 ? r : check_add_report (check, &subject, report, err);
}

/* Did somebody find what the reader says?  It names parents. */
static bool
ends_with_finding (const struct check *check, const char *msg)
{
  size_t len = strlen (msg);

  for (size_t i = 0; i < check->findings.len; ++i) {
    const struct finding *f = &check->findings.ptr[i];
    size_t n = strlen (f->sentence);

    if (f->severity >= FINDING_UNEXAMINED && n <= len &&
        strcmp (msg + len - n, f->sentence) == 0)
      return true;
  }
  return false;
}

/* Does the reader take it?  Whatever it refuses is not whole, even if nobody
 * here found out why.
 */
static int
try_to_open (struct check *check, struct block *block,
             const struct image_options *options, unsigned flags,
             struct err *err)
{
  static const struct finding_subject refused = {
    .severity = FINDING_DAMAGE,
    .kind = "refused",
    .off = FINDING_NOWHERE,
  };
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  struct err why = ERR_INIT;
  int r = image_open_block (block, options, &img, &report, &why);

  if (r < 0)
    return check->nr[FINDING_DAMAGE] > 0 || ends_with_finding (check, why.msg)
      ? 0 : check_add_err (check, &refused, &why, err);
  r = take_warnings (check, img, &report, err);
  return r == 0 && (flags & CHECK_DATA) ? read_data (check, img, err) : r;
}

/* Who looks again finds the same, unless something can't be read now. */
static int
compare_damage (const struct check *check, const struct check *again,
                struct err *err)
{
  for (size_t i = 0; i < again->findings.len; ++i) {
    const struct finding *f = &again->findings.ptr[i];

    if (f->severity == FINDING_DAMAGE && !is_said (check, f->sentence))
      return err_set (err, -EIO, "%s", f->sentence);
  }
  return 0;
}

/* A structure of which there is a whole one can be mended, but nothing is as
 * long as something else can't: only who plans it all knows that.
 */
static int
ask_repair (struct check *check, struct block *block,
            const struct image_options *options, struct err *err)
{
  CLEANUP_REPAIR_PLAN struct repair_plan plan = REPAIR_PLAN_INIT;
  CLEANUP_CHECK struct check again = CHECK_INIT;
  int r;

  if (!check_has_mendable (check))
    return 0;
  again.job = check->job;
  r = repair_plan_make (block, options, 0, &again, &plan, err);
  if (r == -ENOMEM || r == -EIO || r == -ECANCELED)
    return r;
  if (r == 0 && plan.refusal)
    r = compare_damage (check, &again, err);
  if (r == -EIO)
    return r;
  if (r < 0 || plan.refusal || plan.steps.len == 0)
    check_forget_mendable (check);
  return 0;
}

int
image_check_block (struct block *block, const struct image_options *options,
                   unsigned flags, struct check *check, struct err *err)
{
  struct image_options reading = { .format = NULL };
  CLEANUP_BLOCK struct block *inner = NULL;
  const struct image_ops *ops;
  const struct codec *codec;
  int r;

  if (options)
    reading = *options;
  reading.writable = reading.ignore_checksums = false;
  reading.job = check->job;
  r = probe_compressed (block, reading.format, &ops, &codec, err);
  if (r == 0 && codec) {
    r = compressed_open (block, codec, check->job, &inner, NULL, err);
    if (r == 0)
      r = probe_format (block = inner, reading.format, &ops, err);
  }
  if (r < 0)
    return r;
  check->data = flags & CHECK_DATA;
  check->format = ops->name;
  check->file = block_name (block);
  check->is_parent = false;
  check->nr_files = 1;
  job_start (check->job, "checking", 0);
  if (ops->check)
    r = ops->check (block, &reading, check, err);
  check->file = block_name (block);
  check->is_parent = false;
  if (r == 0)
    r = try_to_open (check, block, &reading, flags, err);
  if (r == 0)
    r = ask_repair (check, block, &reading, err);
  check->file = NULL;
  return r;
}

/* What is no file can only be looked at by who opened it. */
static int
check_opened (struct check *check, struct image *img, const char *name,
              struct report *report, unsigned flags, struct err *err)
{
  int r;

  check->data = flags & CHECK_DATA;
  check->format = image_format (img);
  check->file = name;
  check->is_parent = false;
  check->nr_files = 1;
  r = take_warnings (check, img, report, err);
  if (r == 0 && (flags & CHECK_DATA))
    r = read_data (check, img, err);
  check_forget_mendable (check);
  check->file = NULL;
  return r;
}

int
image_check (const char *name, const struct image_options *options,
             unsigned flags, struct check *check, struct report *report,
             struct err *err)
{
  CLEANUP_REPORT struct report said = REPORT_INIT;
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  struct image_options reading = { .format = NULL };
  int r;

  if (options)
    reading = *options;
  reading.writable = false;
  r = image_open_other (name, &reading, &img, &said, err);
  if (r != 0)
    return r < 0 ? r : check_opened (check, img, name, &said, flags, err);
  r = image_open_file (name, &reading, &block, report, err);
  if (r < 0)
    return r;
  return image_check_block (block, &reading, flags, check, err);
}
