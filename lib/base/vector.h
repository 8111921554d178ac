/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A growing array of any type.
 *
 *   DEFINE_VECTOR (name_list, struct name);
 *   struct name_list list = VECTOR_INIT;
 *   if (vector_append (&list, &item) < 0) ...out of memory...
 *   for (size_t i = 0; i < list.len; ++i) use (list.ptr[i]);
 *   vector_free (&list);
 *
 * What the items themselves own is their owner's business.
 */

#ifndef NBDIMAGE_BASE_VECTOR_H
#define NBDIMAGE_BASE_VECTOR_H

#include <stddef.h>
#include <stdlib.h>

#define DEFINE_VECTOR(name, type)                                       \
  struct name { type *ptr; size_t len, cap; }

#define VECTOR_INIT { NULL, 0, 0 }

/* Append a copy of *item.  0, or -ENOMEM with the vector unchanged. */
#define vector_append(v, item)                                          \
  (vector_reserve (&(v)->ptr, (v)->len, &(v)->cap, sizeof *(v)->ptr) < 0 \
   ? -ENOMEM : ((v)->ptr[(v)->len++] = *(item), 0))

#define vector_free(v)                                                  \
  (free ((v)->ptr), (v)->ptr = NULL, (v)->len = (v)->cap = 0, (void) 0)

/* Make room for one more item of `size` bytes.  For vector_append. */
int vector_reserve (void *ptr_to_ptr, size_t len, size_t *cap, size_t size);

#endif /* NBDIMAGE_BASE_VECTOR_H */
