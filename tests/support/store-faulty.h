/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A store that fails when it is told to. */

#ifndef NBDIMAGE_TESTS_STORE_FAULTY_H
#define NBDIMAGE_TESTS_STORE_FAULTY_H

#include "lib/repo/store.h"

/* Kinds of operations, as bits. */
enum {
  STORE_OP_MAKE = 1,
  STORE_OP_WRITE = 2,
  STORE_OP_FLUSH = 4,
  STORE_OP_END = 8,
  STORE_OP_REWRITE = 16,
  STORE_OP_OPEN = 32,
  STORE_OP_STAT = 64,
  STORE_OP_LIST = 128,
  STORE_OP_MAKE_FOLDER = 256,
  STORE_OP_DELETE_FOLDER = 512,
  STORE_OP_DELETE = 1024,
  STORE_OP_RENAME = 2048,
  STORE_OP_FLUSH_FOLDER = 4096,
  STORE_OP_SPACE = 8192,
  STORE_OP_ALL = 16383,
};

enum store_fault_kind {
  STORE_FAULT_ONCE,             /* it is not done, and fails */
  STORE_FAULT_PART,             /* a write writes half, a listing shows half,
                                   and fails; others as above */
  STORE_FAULT_LOST,             /* it is done, and the answer is the error */
  STORE_FAULT_LIE,              /* it is not done, and the answer is that it is;
                                   those with a result fail instead */
  STORE_FAULT_KILLED,           /* nothing is done from here on: whoever uses
                                   the store was killed in front of it */
};

struct store_fault {
  enum store_fault_kind kind;
  unsigned ops;                 /* which kinds are counted */
  unsigned at;                  /* number of the one that fails, from 1 */
  int code;                     /* negative errno */
};

/* Lies on below, which stays the caller's and is used by nobody else's thread.
 * Its lag and its clock are those that below has now.
 */
struct store *store_faulty_new (struct store *below);

/* Count from the start again, and fail so.  at = 0: nothing fails. */
void store_faulty_set (struct store *faulty, const struct store_fault *fault);

/* How many were counted. */
unsigned store_faulty_count (const struct store *faulty);

/* Its connection broke, and there is another: for store_connections. */
void store_faulty_reconnect (struct store *faulty);

/* Have this called in front of each operation, with its kind and the name it
 * is about ("" for those of a file that is being written).  NULL: no more.
 */
void store_faulty_watch (struct store *faulty,
                         void (*fn) (void *opaque, unsigned op,
                                     const char *name),
                         void *opaque);

#endif /* NBDIMAGE_TESTS_STORE_FAULTY_H */
