/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>

#include "lib/base/text.h"
#include "lib/format/offline-ops.h"
#include "lib/format/resize.h"

int
image_resize_plan (struct offline *o, struct image_resize_plan *plan,
                   struct report *report, struct err *err)
{
  const struct image_resize_plan asked = { .size = plan->size };
  struct image *img;
  int r;

  if (o->ops->resize == NULL)
    return err_set (err, -ENOTSUP, "the size of a disk in %s %s image can't "
                    "be changed", text_article (o->ops->name), o->ops->name);
  if (plan->size == 0 || plan->size > INT64_MAX)
    return err_set (err, -EINVAL, "a disk of %" PRIu64 " bytes can't be",
                    plan->size);
  r = offline_image (o, &img, report, err);
  if (r < 0)
    return r;
  *plan = asked;
  plan->old_size = image_size (img);
  return o->ops->resize_plan (o, plan, err);
}

int
image_resize (struct offline *o, const struct image_resize_plan *plan,
              struct job *job, struct err *err)
{
  return o->ops->resize (o, plan, job, err);
}
