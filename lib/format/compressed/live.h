/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Decoders of one file that stay where they were last, so that whoever reads
 * on needs not begin at a point again: there may be only one, at the front of
 * a file of many GiB.  From many threads.
 */

#ifndef NBDIMAGE_FORMAT_COMPRESSED_LIVE_H
#define NBDIMAGE_FORMAT_COMPRESSED_LIVE_H

#include "lib/format/compressed/codec.h"

/* Who has a decoder stops where another waits for it, if that is not more than
 * this in front of where it has to go.
 */
#define LIVE_STOPS ((uint64_t) 8 * 1024 * 1024)

struct live;

int live_new (struct live **out, struct err *err);
void live_free (struct live *live);             /* NULL is fine */

struct live_maker {
  /* A decoder that is not behind `off' of live_take. */
  int (*make) (void *opaque, struct decoder **out, struct err *err);
  void *opaque;
  uint64_t from;                /* where it will be */
};

/* A decoder that is not behind off: one that is on its way there, or a new one.
 * Waits for one in use that will be much nearer, or if there are too many.  It
 * is going to be at off + len.
 */
int live_take (struct live *live, const struct live_maker *maker,
               uint64_t off, size_t len, struct decoder **out,
               struct err *err);

/* One that failed is no good any more. */
void live_give_back (struct live *live, struct decoder *d, bool good);

#endif /* NBDIMAGE_FORMAT_COMPRESSED_LIVE_H */
