/* SPDX-License-Identifier: GPL-2.0-or-later */

/* One generation: each file that it needs, then what it says of its disk. */

#ifndef NBDIMAGE_REPO_VERIFY_ONE_H
#define NBDIMAGE_REPO_VERIFY_ONE_H

#include "lib/repo/verify.h"

/* As verify_generation, with its files.  Which of their records: as v wants. */
int verify_one (struct generation *gen, struct file_reader *last,
                const struct manifest *manifest, const struct verify *v,
                struct verify_result *result, struct err *err);

#endif /* NBDIMAGE_REPO_VERIFY_ONE_H */
