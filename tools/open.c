/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include "tools/open.h"

static int
open_slowly (const char *name, const struct image_options *options,
             enum progress_mode mode, struct image **out,
             struct report *report, struct err *err)
{
  struct image_options with_job = *options;
  struct job job = JOB_INIT;
  struct progress *progress;
  int r = progress_start (&job, mode, name, &progress, err);

  if (r < 0)
    return r;
  with_job.job = &job;
  r = image_open (name, &with_job, out, report, err);
  progress_stop (progress);
  return r;
}

int
tool_image_open (const char *name, const struct image_options *options,
                 enum progress_mode mode, struct image **out,
                 struct report *report, struct err *err)
{
  return image_takes_long (name, options)
    ? open_slowly (name, options, mode, out, report, err)
    : image_open (name, options, out, report, err);
}

int
tool_image_prepare (const char *name, const struct image_options *options,
                    enum progress_mode mode, struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;

  return image_takes_long (name, options)
    ? open_slowly (name, options, mode, &img, NULL, err) : 0;
}
