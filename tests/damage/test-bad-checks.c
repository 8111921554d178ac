/* SPDX-License-Identifier: GPL-2.0-or-later */

/* `check` and opening agree on every bad image there is a name for: what is
 * refused as damaged has damage that check finds by a rule and not only because
 * opening refuses, and what opens without a warning is whole.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "lib/format/check.h"
#include "tests/damage/damage.h"

static const struct damage_family *const families[] = {
  &damage_vhd, &damage_vhdx, &damage_part, &damage_iso,
};

#define NR_FAMILIES (sizeof families / sizeof families[0])

#define PATIENCE 120

struct bad_image {
  const struct damage_family *family;
  size_t i;
};

static const char *
first_sentence (const struct check *check, enum finding_severity least)
{
  for (size_t i = 0; i < check->findings.len; ++i)
    if (check->findings.ptr[i].severity >= least)
      return check->findings.ptr[i].sentence;
  return "nothing";
}

static bool
has_kind (const struct check *check, const char *kind)
{
  for (size_t i = 0; i < check->findings.len; ++i)
    if (strcmp (check->findings.ptr[i].kind, kind) == 0)
      return true;
  return false;
}

static bool
says (const struct check *check, const char *text)
{
  for (size_t i = 0; i < check->findings.len; ++i) {
    const struct finding *f = &check->findings.ptr[i];
    char whole[2048];

    snprintf (whole, sizeof whole, "%s: %s", f->file, f->sentence);
    if (strstr (whole, text))
      return true;
  }
  return false;
}

/* What was found is well made, whatever it is. */
static void
look_at_findings (const struct check *check)
{
  for (size_t i = 0; i < check->findings.len; ++i) {
    const struct finding *f = &check->findings.ptr[i];

    assert_true (f->kind[0] && f->file[0] && f->found[0] && f->sentence[0]);
    assert_true (f->expected == NULL || f->expected[0]);
    assert_true (f->severity < FINDING_NR_SEVERITIES);
  }
}

/* The words of a refusal are among the findings, for those formats whose rules
 * check asks for one by one.
 */
static void
compare_refusal (const struct check *check, const struct damage_verdict *v)
{
  if (v->code == -EBADMSG && check_verdict (check) != CHECK_DAMAGED)
    fail_msg ("it is refused, and check finds no damage but “%s”",
              first_sentence (check, FINDING_NOTE));
  if (check_verdict (check) == CHECK_WHOLE)
    fail_msg ("it is refused, and check calls it whole");
  if (check->format && strncmp (check->format, "vhd", 3) == 0) {
    if (has_kind (check, "refused"))
      fail_msg ("only opening knows: %s",
                first_sentence (check, FINDING_UNEXAMINED));
    if (!says (check, v->says) && v->code == -EBADMSG)
      fail_msg ("check says “%s”, not “%s”",
                first_sentence (check, FINDING_UNEXAMINED), v->says);
  }
}

static void
judge (const char *path, const struct damage_verdict *v)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_REPORT struct report ignored = REPORT_INIT;
  CLEANUP_CHECK struct check check = CHECK_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;
  int r = image_check (path, NULL, CHECK_DATA, &check, &ignored, &err);
  int opened = image_open (path, NULL, &img, &report, NULL);

  assert_int_equal (opened, v->code);
  if (r < 0) {
    if (opened != r)
      fail_msg ("check gives %d “%s”, opening %d", r, err.msg, opened);
    return;
  }
  look_at_findings (&check);
  if (v->code < 0)
    compare_refusal (&check, v);
  else if (report.lines.len == 0 && check_verdict (&check) != CHECK_WHOLE)
    fail_msg ("it opens without a warning, and check finds “%s”",
              first_sentence (&check, FINDING_UNEXAMINED));
  else if (report.lines.len > 0 && check.findings.len == 0)
    fail_msg ("opening warns “%s”, and check finds nothing",
              report.lines.ptr[0]);
}

static void
a_bad_image (void **state)
{
  const struct bad_image *bad = *state;
  const struct damage_family *family = bad->family;
  struct damage_verdict v = family->verdict_of (bad->i);
  struct damage_image made = { 0 };
  char path[512];

  alarm (PATIENCE);
  family->make (bad->i, &made);
  damage_write (damage_folder (), family->file, &made.image);
  if (family->parent)
    damage_write (damage_folder (), family->parent, &made.parent);
  snprintf (path, sizeof path, "%s/%s", damage_folder (), family->file);
  judge (path, &v);
  damage_free (&made);
  alarm (0);
}

int
main (void)
{
  struct CMUnitTest *tests;
  struct bad_image *all;
  size_t nr = 0, n = 0;
  int failed;

  for (size_t f = 0; f < NR_FAMILIES; ++f)
    nr += families[f]->nr ();
  tests = calloc (nr, sizeof *tests);
  all = calloc (nr, sizeof *all);
  if (tests == NULL || all == NULL)
    abort ();
  for (size_t f = 0; f < NR_FAMILIES; ++f)
    for (size_t i = 0; i < families[f]->nr (); ++i, ++n) {
      all[n] = (struct bad_image) { families[f], i };
      tests[n] = (struct CMUnitTest) { families[f]->name_of (i), a_bad_image,
                                       NULL, NULL, &all[n] };
    }
  failed = _cmocka_run_group_tests ("bad checks", tests, nr, NULL, NULL);
  damage_remove_folder ();
  free (tests);
  free (all);
  return failed;
}
