/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which format is this?  By content only, never by the name's ending. */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/format/compressed/compressed.h"
#include "lib/format/foreign.h"
#include "lib/format/probe.h"

#define MAX_FORMATS 8

const struct image_ops *image_formats[MAX_FORMATS + 1] = {
  &vhd_image_ops,
  &vhdx_image_ops,
  &iso_image_ops,
  &partclone_image_ops,
  &raw_image_ops,
};

void
image_formats_add (const struct image_ops *ops)
{
  size_t n = 0;

  while (image_formats[n] != NULL && image_formats[n] != ops)
    ++n;
  assert (n < MAX_FORMATS);
  image_formats[n] = ops;
}

const char *
image_format_name (size_t n)
{
  size_t i = 0;

  while (i < n && image_formats[i] != NULL)
    ++i;
  return image_formats[i] ? image_formats[i]->name : NULL;
}

static const struct image_ops *
find_by_name (const char *name)
{
  for (size_t i = 0; image_formats[i] != NULL; ++i)
    if (strcmp (image_formats[i]->name, name) == 0)
      return image_formats[i];
  return NULL;
}

const struct image_ops *
format_by_name_ending (const char *name)
{
  const char *dot = strrchr (name, '.');

  if (dot == NULL || strchr (dot, '/'))
    return NULL;
  for (size_t i = 0; image_formats[i] != NULL; ++i) {
    const char *const *e = image_formats[i]->endings;

    for (; e && *e; ++e)
      if (strcasecmp (*e, dot + 1) == 0)
        return image_formats[i];
  }
  return NULL;
}

const char *
image_format_by_name (const char *name)
{
  const struct image_ops *ops = format_by_name_ending (name);

  return ops ? ops->name : NULL;
}

static int
name_unknown (const char *name, struct err *err)
{
  char known[128] = "";

  for (size_t i = 0; image_formats[i] != NULL; ++i) {
    size_t len = strlen (known);

    snprintf (known + len, sizeof known - len, "%s%s", i ? ", " : "",
              image_formats[i]->name);
  }
  return err_set (err, -EINVAL, "‘%s’ is not a format we know; expected one "
                  "of %s", name, known);
}

int
image_format_check (const char *name, struct err *err)
{
  return find_by_name (name) ? 0 : name_unknown (name, err);
}

static int
check_foreign (const struct probe *probe, struct err *err)
{
  const char *advice;
  const char *name = foreign_format (probe, &advice);

  if (name == NULL)
    return 0;
  return err_set (err, -ENOTSUP, "it is %s %s file, which can't be read; "
                  "%s%suse %s=raw for its bytes as they are",
                  text_article (name), name,
                  advice ? advice : "", advice ? ", or " : "",
                  image_format_option);
}

/* Both ends of the block. */
static int
read_ends (struct probe *probe, uint8_t **head, uint8_t **tail,
           struct err *err)
{
  int r;

  probe->head_len = (size_t) min_u64 (probe->size, PROBE_HEAD_SIZE);
  probe->tail_len = (size_t) min_u64 (probe->size, PROBE_TAIL_SIZE);
  probe->head = *head = malloc (probe->head_len + 1);
  probe->tail = *tail = malloc (probe->tail_len + 1);
  if (*head == NULL || *tail == NULL)
    return err_nomem (err);
  r = block_pread (probe->block, *head, probe->head_len, 0, err);
  if (r == 0)
    r = block_pread (probe->block, *tail, probe->tail_len,
                     probe->size - probe->tail_len, err);
  return r;
}

/* Raw takes everything but what is known to be something else. */
static int
fall_back (const struct probe *probe, const struct codec **codec,
           struct err *err)
{
  *codec = compressed_recognise (probe->head, probe->head_len);
  return *codec ? 0 : check_foreign (probe, err);
}

int
probe_compressed (struct block *block, const char *format,
                  const struct image_ops **ops, const struct codec **codec,
                  struct err *err)
{
  struct probe probe = { .block = block, .size = block_size (block) };
  CLEANUP_FREE uint8_t *head = NULL, *tail = NULL;
  int best = PROBE_NO, r;

  *codec = NULL;
  if (format) {
    *ops = find_by_name (format);
    if (*ops == NULL)
      return name_unknown (format, err);
    if (*ops == &raw_image_ops)
      return 0;
  }
  r = read_ends (&probe, &head, &tail, err);
  if (r < 0)
    return r;
  if (format) {
    /* One that is damaged is not taken for compressed, unless it is. */
    if ((*ops)->probe (&probe) == PROBE_NO)
      *codec = compressed_recognise (probe.head, probe.head_len);
    return 0;
  }
  for (size_t i = 0; image_formats[i] != NULL; ++i) {
    int score = image_formats[i]->probe (&probe);

    if (score > best) {
      best = score;
      *ops = image_formats[i];
    }
  }
  return best == PROBE_FALLBACK ? fall_back (&probe, codec, err) : 0;
}

int
probe_format (struct block *block, const char *format,
              const struct image_ops **ops, struct err *err)
{
  const struct codec *codec;
  int r = probe_compressed (block, format, ops, &codec, err);

  if (r == 0 && codec)
    return err_set (err, -ENOTSUP, "it is compressed with %s, and can only be "
                    "read", compressed_codec_name (codec));
  return r;
}
