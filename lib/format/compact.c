/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/format/compact.h"
#include "lib/format/offline-ops.h"

int
image_compact_plan (struct offline *o, struct image_compact_plan *plan,
                    struct report *report, struct job *job, struct err *err)
{
  struct image *img;
  int r;

  *plan = (struct image_compact_plan) {
    .is_free = plan->is_free, .opaque = plan->opaque,
  };
  if (o->ops->compact == NULL)
    return err_set (err, -ENOTSUP, "images of the format %s can't be "
                    "compacted", o->ops->name);
  r = offline_image (o, &img, report, err);
  return r < 0 ? r : o->ops->compact_plan (o, plan, job, err);
}

void
image_compact_plan_free (struct image_compact_plan *plan)
{
  free (steal_ptr (&plan->drop));
}

int
image_compact (struct offline *o, const struct image_compact_plan *plan,
               struct job *job, struct err *err)
{
  return o->ops->compact (o, plan, job, err);
}
