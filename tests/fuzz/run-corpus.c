/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Stands in for libFuzzer: TARGET FILE-OR-FOLDER...
 * Runs the target on each file, in the order of their names.  What was tried
 * last is said when it crashes.
 */

#include <config.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_LIMIT (1024 * 1024)

static unsigned nr_inputs;

static void
die (const char *path)
{
  perror (path);
  exit (99);
}

/* In memory of exactly its length, so that the sanitizers see a read behind
 * it.
 */
static void
run_file (const char *path)
{
  CLEANUP_FCLOSE FILE *fp = fopen (path, "r");
  CLEANUP_FREE char *buf = malloc (INPUT_LIMIT);
  CLEANUP_FREE uint8_t *exact = NULL;
  size_t len;

  if (fp == NULL || buf == NULL)
    die (path);
  len = fread (buf, 1, INPUT_LIMIT, fp);
  exact = malloc (len > 0 ? len : 1);
  if (ferror (fp) || exact == NULL)
    die (path);
  memcpy (exact, buf, len);
  fprintf (stderr, "%s\n", path);
  LLVMFuzzerTestOneInput (exact, len);
  nr_inputs++;
}

static int
is_visible (const struct dirent *d)
{
  return d->d_name[0] != '.';
}

static void
run_folder (const char *path)
{
  struct dirent **entries;
  int nr = scandir (path, &entries, is_visible, alphasort);

  if (nr < 0)
    die (path);
  for (int i = 0; i < nr; ++i) {
    CLEANUP_FREE char *name = NULL;

    if (asprintf (&name, "%s/%s", path, entries[i]->d_name) < 0)
      abort ();
    run_file (name);
    free (entries[i]);
  }
  free (entries);
}

int
main (int argc, char *argv[])
{
  for (int i = 1; i < argc; ++i) {
    struct stat st;

    if (stat (argv[i], &st) < 0)
      die (argv[i]);
    if (S_ISDIR (st.st_mode))
      run_folder (argv[i]);
    else
      run_file (argv[i]);
  }
  printf ("%u inputs\n", nr_inputs);
  return nr_inputs > 0 ? 0 : 1;
}
