/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The index of a file: the one that is kept, or a new one, for which all of
 * the file is decoded once and every checksum in it looked at.
 */

#ifndef NBDIMAGE_FORMAT_COMPRESSED_INDEX_BUILD_H
#define NBDIMAGE_FORMAT_COMPRESSED_INDEX_BUILD_H

#include "lib/base/job.h"
#include "lib/base/report.h"
#include "lib/format/compressed/index.h"

/* -EBADMSG: the file is damaged; -ENOTSUP; -ECANCELED by the job, which may be
 * NULL; -EIO if it changes meanwhile.
 */
int index_get (struct block *file, const struct codec *codec,
               struct job *job, struct index **out, struct report *report,
               struct err *err);

#endif /* NBDIMAGE_FORMAT_COMPRESSED_INDEX_BUILD_H */
