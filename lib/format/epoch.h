/* SPDX-License-Identifier: GPL-2.0-or-later */

/* When is nobody using any more what a table said?
 *
 * Operations count themselves in one of two epochs.  What was taken out of a
 * table is used by nobody once an epoch that began after that sees the one
 * before it empty.  No locks; from many threads, but for epoch_advance, which
 * one thread at a time calls.
 */

#ifndef NBDIMAGE_FORMAT_EPOCH_H
#define NBDIMAGE_FORMAT_EPOCH_H

#include <stdbool.h>
#include <stdint.h>

struct epoch {
  uint64_t now;                 /* atomic */
  uint64_t under_way[2];        /* atomic: operations of even and odd epochs */
};

#define EPOCH_INIT { 0, { 0, 0 } }

/* Around each operation; what enter returns is for leave. */
unsigned epoch_enter (struct epoch *epoch);
void epoch_leave (struct epoch *epoch, unsigned which);

/* A new one begins.  The one before is over: epoch_is_over. */
void epoch_advance (struct epoch *epoch);

/* Have all operations that began before the last epoch_advance ended? */
bool epoch_is_over (struct epoch *epoch);

#endif /* NBDIMAGE_FORMAT_EPOCH_H */
