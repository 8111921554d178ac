/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdbool.h>

#include "lib/base/cleanup.h"
#include "lib/repo/image-nbi.h"
#include "tools/keys.h"
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

/*--- One of two -------------------------------------------------------------*/

static int
open_without_key (const char *name, const struct image_options *options,
                  enum progress_mode mode, struct image **out,
                  struct report *report)
{
  struct err unused = ERR_INIT;
  int r;

  nbi_use_keys (NULL);
  r = tool_image_open (name, options, mode, out, report, &unused);
  nbi_use_keys (keys_get ());
  return r;
}

/* Without its key nothing that is encrypted opens. */
int
tool_image_open_of_two (const char *name, const struct image_options *options,
                        enum progress_mode mode, struct image **out,
                        bool *plain, struct report *report, struct err *err)
{
  CLEANUP_REPORT struct report with = REPORT_INIT;
  int r = tool_image_open (name, options, mode, out, &with, err);

  if (r == -EACCES && keyring_is_ready (keys_get ()) &&
      open_without_key (name, options, mode, out, report) == 0) {
    report_warn (report, "%s: is not encrypted, and is read without the key",
                 name);
    *plain = true;
    return 0;
  }
  for (size_t i = 0; i < with.lines.len; ++i)
    report_warn (report, "%s", with.lines.ptr[i]);
  return r;
}

static bool
is_encrypted (struct image *img)
{
  struct generation *gen = nbi_image_generation (img);

  return gen != NULL && nbi_encrypted (generation_header (gen));
}

int
tool_images_check_key (struct image *a, struct image *b, bool plain,
                       struct err *err)
{
  if (!plain || is_encrypted (a) || is_encrypted (b))
    return 0;
  return err_set (err, -EACCES, "there is a key, and neither of the two is "
                  "encrypted (NBI-124)");
}
