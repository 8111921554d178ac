/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The keys of the JSON are an interface: new ones may come, none changes its
 * meaning.  All offsets and lengths are bytes.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/size.h"
#include "tools/check-output.h"
#include "tools/command.h"
#include "tools/output.h"

int
check_output_status (const struct check *check)
{
  switch (check_verdict (check)) {
  case CHECK_WHOLE: return STATUS_DONE;
  case CHECK_UNEXAMINED: return STATUS_FAILED;
  case CHECK_DAMAGED: break;
  }
  return STATUS_DAMAGED;
}

/*--- For people -------------------------------------------------------------*/

static void
show_finding (const char *name, const struct finding *f)
{
  char size[SIZE_STRING_SIZE];

  printf ("%s: ", finding_severity_to_string (f->severity));
  if (strcmp (f->file, name) != 0) {
    output_text (f->file);
    printf (": ");
  }
  output_text (f->sentence);
  putchar ('\n');
  if (f->disk_len > 0)
    printf ("  costs %s of the disk from its offset %" PRIu64 " on\n",
            size_to_string (f->disk_len, size), f->disk_off);
  if (f->mendable)
    printf ("  can be repaired\n");
}

static void
show_more (const char *name, const struct check *check,
           enum finding_severity severity)
{
  for (size_t i = 0; i < check->counts.len; ++i) {
    const struct finding_count *c = &check->counts.ptr[i];

    if (c->severity != severity || c->nr <= CHECK_MAX_OF_A_KIND)
      continue;
    printf ("%s: ", finding_severity_to_string (severity));
    if (strcmp (c->file, name) != 0) {
      output_text (c->file);
      printf (": ");
    }
    printf ("… and %" PRIu64 " more of this kind (%s)\n",
            c->nr - CHECK_MAX_OF_A_KIND, c->kind);
  }
}

void
check_output_findings (const char *name, const struct check *check)
{
  for (int s = FINDING_NR_SEVERITIES - 1; s >= 0; --s) {
    for (size_t i = 0; i < check->findings.len; ++i)
      if ((int) check->findings.ptr[i].severity == s)
        show_finding (name, &check->findings.ptr[i]);
    show_more (name, check, (enum finding_severity) s);
  }
}

void
check_output_summary (const char *name, const char *format,
                      const struct check *check)
{
  char size[SIZE_STRING_SIZE];

  output_text (name);
  switch (check_verdict (check)) {
  case CHECK_WHOLE:
    printf (": is whole");
    break;
  case CHECK_UNEXAMINED:
    printf (": nothing is damaged that could be examined");
    break;
  case CHECK_DAMAGED:
    printf (": is damaged (findings that cost data: %" PRIu64 ", that do not: "
            "%" PRIu64 ")", check->nr[FINDING_DAMAGE],
            check->nr[FINDING_REPAIRABLE]);
    break;
  }
  if (check->nr_files > 1)
    printf (", with its parents (%" PRIu64 ")", check->nr_files - 1);
  if (check->leaked > 0)
    printf ("; %s of the file are used for nothing",
            size_to_string (check->leaked, size));
  putchar ('\n');
  if (check_has_mendable (check)) {
    printf ("‘nbdimage repair %s%s%s", format ? "--format=" : "",
            format ? format : "", format ? " " : "");
    output_shell_word (name);
    printf ("’ shows what it would do about it, and does it\n");
  }
  if (check_verdict (check) == CHECK_DAMAGED &&
      strcmp (check->format, "raw") == 0)
    check_output_hint_of_rest (name);
}

void
check_output_hint_of_rest (const char *name)
{
  const char *ending = image_format_by_name (name);

  if (ending == NULL || strcmp (ending, "vhd") != 0)
    return;
  printf ("If it was a fixed VHD of which nothing but the footer was cut off, "
          "its disk is there: ‘nbdimage convert -f raw ");
  output_shell_word (name);
  printf (" NEW.vhd’ makes a whole VHD of it\n");
}

/*--- For programs -----------------------------------------------------------*/

static json_t *
bytes (uint64_t n)
{
  return json_integer ((json_int_t) n);
}

static json_t *
place (uint64_t off)
{
  return off == FINDING_NOWHERE ? json_null () : bytes (off);
}

static json_t *
length (uint64_t len)
{
  return len == 0 ? json_null () : bytes (len);
}

static json_t *
finding_json (const struct finding *f)
{
  return json_pack ("{s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:b}",
                    "severity", finding_severity_to_string (f->severity),
                    "kind", f->kind,
                    "file", output_json_text (f->file),
                    "structure", output_json_text (f->structure),
                    "offset", place (f->off),
                    "length", length (f->len),
                    "found", output_json_text (f->found),
                    "expected", output_json_text (f->expected),
                    "sentence", output_json_text (f->sentence),
                    "disk-offset", f->disk_len ? bytes (f->disk_off)
                                               : json_null (),
                    "disk-length", length (f->disk_len),
                    "repairable", f->mendable);
}

static json_t *
counts_json (const struct check *check)
{
  json_t *counts = json_object ();

  for (int s = FINDING_NR_SEVERITIES - 1; s >= 0; --s)
    json_object_set_new (counts, finding_severity_to_string (
                           (enum finding_severity) s), bytes (check->nr[s]));
  return counts;
}

static json_t *
kinds_json (const struct check *check)
{
  json_t *kinds = json_array ();

  for (size_t i = 0; i < check->counts.len; ++i) {
    const struct finding_count *c = &check->counts.ptr[i];

    json_array_append_new (kinds, json_pack (
      "{s:s,s:s,s:o,s:o}",
      "kind", c->kind,
      "severity", finding_severity_to_string (c->severity),
      "file", output_json_text (c->file),
      "count", bytes (c->nr)));
  }
  return kinds;
}

json_t *
check_output_json (const char *name, const struct check *check)
{
  json_t *findings = json_array ();

  for (size_t i = 0; i < check->findings.len; ++i)
    json_array_append_new (findings, finding_json (&check->findings.ptr[i]));
  return json_pack ("{s:o,s:o,s:s,s:b,s:o,s:o,s:o,s:o,s:o}",
                    "name", output_json_text (name),
                    "format", output_json_text (check->format),
                    "verdict",
                    check_verdict_to_string (check_verdict (check)),
                    "repairable", check_has_mendable (check),
                    "files", bytes (check->nr_files),
                    "leaked", bytes (check->leaked),
                    "counts", counts_json (check),
                    "kinds", kinds_json (check),
                    "findings", findings);
}
