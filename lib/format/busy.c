/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include "lib/base/cleanup.h"
#include "lib/format/busy.h"

void
busy_list_init (struct busy_list *list)
{
  pthread_mutex_init (&list->lock, NULL);
  pthread_cond_init (&list->changed, NULL);
  list->first = NULL;
}

void
busy_list_destroy (struct busy_list *list)
{
  pthread_mutex_destroy (&list->lock);
  pthread_cond_destroy (&list->changed);
}

/* Under the lock, as what follows. */
static bool
is_busy (const struct busy_list *list, uint64_t index, bool shared)
{
  for (const struct busy *b = list->first; b; b = b->next)
    if (b->index == index && !(b->shared && shared))
      return true;
  return false;
}

static void
wait_and_add (struct busy_list *list, uint64_t index, bool shared,
              struct busy *busy)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&list->lock);

  while (is_busy (list, index, shared))
    pthread_cond_wait (&list->changed, &list->lock);
  busy->index = index;
  busy->shared = shared;
  busy->next = list->first;
  list->first = busy;
}

void
busy_begin (struct busy_list *list, uint64_t index, struct busy *busy)
{
  wait_and_add (list, index, false, busy);
}

void
busy_share (struct busy_list *list, uint64_t index, struct busy *busy)
{
  wait_and_add (list, index, true, busy);
}

void
busy_end (struct busy_list *list, struct busy *busy)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&list->lock);
  struct busy **p = &list->first;

  while (*p != busy)
    p = &(*p)->next;
  *p = busy->next;
  pthread_cond_broadcast (&list->changed);
}
