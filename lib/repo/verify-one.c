/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "lib/repo/verify-one.h"

struct one {
  struct generation *gen;
  struct file_reader *last;
  const struct verify *v;
  struct verify_result *result;
};

static int
survey (struct one *o, struct file_reader *file, struct err *err)
{
  return o->v->survey (o->v->opaque, file, err);
}

static int
check (struct one *o, struct file_reader *file, struct err *err)
{
  ++o->result->nr_files;
  o->result->bytes += file_reader_trailer (file)->size;
  return verify_file (file, o->v, err);
}

/* File i of its list, but not the last, which is open. */
static int
with_needed (struct one *o, uint32_t i, bool tell,
             int (*fn) (struct one *o, struct file_reader *file,
                        struct err *err), struct err *err)
{
  struct err why = ERR_INIT;
  struct file_reader *file;
  struct nbi_file needed;
  int r = file_reader_file (o->last, i, &needed, &why);

  /* An entry that can't be had is told with the file that it is in. */
  if (r < 0 || memcmp (needed.uuid, file_reader_header (o->last)->file,
                       UUID_SIZE) == 0) {
    if (r < 0 && !verify_is_finding (r) && err != NULL)
      *err = why;
    return verify_is_finding (r) ? 0 : r;
  }
  r = generation_get_file (o->gen, i, &file, &why);
  if (r == 0) {
    r = fn (o, file, err);
    file_reader_unref (file);
  }
  else if (verify_is_finding (r)) {
    const struct verify_finding finding = {
      .kind = "nbi-file", .off = VERIFY_NOWHERE, .what = &why,
    };

    r = tell ? o->v->found (o->v->opaque, NULL, &finding, err) : 0;
  }
  else if (err != NULL)
    *err = why;
  return r;
}

int
verify_one (struct generation *gen, struct file_reader *last,
            const struct manifest *manifest, const struct verify *v,
            struct verify_result *result, struct err *err)
{
  struct one o = { gen, last, v, result };
  uint32_t n = generation_nr_files (gen);
  int r = 0;

  *result = (struct verify_result) { .nr_generations = 1 };
  if (v->survey != NULL)
    r = survey (&o, last, err);
  for (uint32_t i = 0; v->survey != NULL && r == 0 && i < n; ++i)
    r = with_needed (&o, i, false, survey, err);
  if (r == 0 && v->begin != NULL)
    r = v->begin (v->opaque, err);
  if (r == 0)
    r = check (&o, last, err);
  for (uint32_t i = 0; r == 0 && i < n; ++i)
    r = with_needed (&o, i, true, check, err);
  return r < 0 ? r : verify_generation (gen, last, manifest, v, err);
}
