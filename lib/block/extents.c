/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <assert.h>
#include <errno.h>

#include "lib/block/extents.h"

const char *
extent_kind_to_string (enum extent_kind kind)
{
  switch (kind) {
  case EXTENT_DATA: return "data";
  case EXTENT_ZERO: return "zero";
  case EXTENT_HOLE: return "hole";
  case EXTENT_UNALLOCATED: return "unallocated";
  case EXTENT_UNREADABLE: return "unreadable";
  }
  return "unknown";
}

uint64_t
extent_list_end (const struct extent_list *list, uint64_t off)
{
  const struct extent *last;

  if (list->v.len == 0)
    return off;
  last = &list->v.ptr[list->v.len - 1];
  return last->off + last->len;
}

bool
extent_list_full (const struct extent_list *list)
{
  return list->limit != 0 && list->v.len > list->limit;
}

/* One extent more than the limit is held while the list is filled: its
 * presence proves that the last one within the limit ended where it does.
 * It is what extent_list_full sees, and consumers read it like any other.
 */
int
extent_list_add (struct extent_list *list, uint64_t off, uint64_t len,
                 enum extent_kind kind, unsigned layer, struct err *err)
{
  struct extent e = { off, len, kind, kind == EXTENT_HOLE ? 0 : layer };

  if (len == 0)
    return 0;
  if (list->v.len > 0) {
    struct extent *last = &list->v.ptr[list->v.len - 1];

    if (last->off + last->len != off) {
      /* Only a full list, which dropped something, may have a gap. */
      assert (extent_list_full (list));
      return 0;
    }
    if (last->kind == e.kind && last->layer == e.layer) {
      last->len += len;
      return 0;
    }
    if (extent_list_full (list))
      return 0;
  }
  if (vector_append (&list->v, &e) < 0)
    return err_nomem (err);
  return 0;
}

void
extent_list_free (struct extent_list *list)
{
  vector_free (&list->v);
}
