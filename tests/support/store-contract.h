/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What every store has to do (lib/repo/store.h), as tests that run over any
 * kind whose folder is on this machine too.  Each has the folders partial,
 * broken and files, and nothing else, when it begins.
 */

#ifndef NBDIMAGE_TESTS_STORE_CONTRACT_H
#define NBDIMAGE_TESTS_STORE_CONTRACT_H

#include <stdbool.h>

#include "lib/repo/store.h"

/* Set by the test before each of them. */
extern struct store *store;
extern char folder[256];        /* where it is on this machine */

/* A file with this text; is this its text; is there anything? */
void put (const char *name, const char *text);
void assert_is (const char *name, const char *text);
bool is_there (const char *name);

/* For store_list, with a struct seen: names of one letter. */
struct seen {
  char kinds[128];              /* '0' and the kind, by letter */
  unsigned total, stop_at;      /* number of the last, from 1 */
  int with;                     /* to end with then */
};
int see (void *opaque, const struct store_entry *e, struct err *err);

void what_can_not_be_a_name_is_refused (void **state);
void a_file_is_made_once_and_appended_to (void **state);
void what_is_no_regular_file_or_no_folder_is_refused (void **state);
void a_listing_has_each_name_once_with_its_kind (void **state);
void nothing_is_renamed_over_a_name (void **state);
void files_and_folders_are_renamed (void **state);
void folders_are_deleted_when_they_are_empty (void **state);
void a_small_file_is_written_anew_and_tells_the_time (void **state);
void a_file_that_is_too_long_is_not_read (void **state);

#define CONTRACT_TESTS(TEST)                                            \
  TEST (what_can_not_be_a_name_is_refused), \
  TEST (a_file_is_made_once_and_appended_to), \
  TEST (what_is_no_regular_file_or_no_folder_is_refused), \
  TEST (a_listing_has_each_name_once_with_its_kind), \
  TEST (nothing_is_renamed_over_a_name), \
  TEST (files_and_folders_are_renamed), \
  TEST (folders_are_deleted_when_they_are_empty), \
  TEST (a_small_file_is_written_anew_and_tells_the_time), \
  TEST (a_file_that_is_too_long_is_not_read)

#endif /* NBDIMAGE_TESTS_STORE_CONTRACT_H */
