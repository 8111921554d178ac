/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Decoders of one file that stay where they were last, so that whoever reads
 * on needs not begin at a point again: there may be only one, at the front of
 * a file of many GiB.  From many threads.
 */

#ifndef NBDIMAGE_FORMAT_COMPRESSED_LIVE_H
#define NBDIMAGE_FORMAT_COMPRESSED_LIVE_H

#include "lib/format/compressed/codec.h"

struct live;

/* Borrows the file. */
int live_new (const struct codec *codec, struct block *file,
              struct live **out, struct err *err);
void live_free (struct live *live);             /* NULL is fine */

/* A decoder that is not behind off: one that is on its way there, or a new one
 * that begins at the point.  Waits for one in use that will be much nearer,
 * or if there are too many.  It is going to be at off + len.
 */
int live_take (struct live *live, const struct point *point, uint64_t off,
               size_t len, struct decoder **out, struct err *err);

/* One that failed is no good any more. */
void live_give_back (struct live *live, struct decoder *d, bool good);

#endif /* NBDIMAGE_FORMAT_COMPRESSED_LIVE_H */
