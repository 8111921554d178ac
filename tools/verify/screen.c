/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "tools/verify/screen.h"

/* A cursor of text is as large, and less than a word. */
#define CURSOR_PIXELS 200
#define SIDE_MAX 16384

static int
read_pixels (FILE *fp, struct screen *new, struct err *err)
{
  size_t len;

  if (fscanf (fp, "P6 %5u %5u 255", &new->width, &new->height) != 2 ||
      getc (fp) == EOF || new->width == 0 || new->height == 0 ||
      new->width > SIDE_MAX || new->height > SIDE_MAX)
    return err_set (err, -EBADMSG, "the screenshot is no PPM");
  len = (size_t) new->width * new->height * 3;
  new->pixels = malloc (len);
  if (new->pixels == NULL)
    return err_nomem (err);
  if (fread (new->pixels, 1, len, fp) != len)
    return err_set (err, -EBADMSG, "the screenshot is too short");
  return 0;
}

/* How many pixels of a are others than in b, or than its own first. */
static size_t
differing (const struct screen *a, const struct screen *b)
{
  size_t n = (size_t) a->width * a->height, differ = 0;

  for (size_t i = 0; i < n; ++i)
    differ += memcmp (a->pixels + 3 * i,
                      b != NULL ? b->pixels + 3 * i : a->pixels, 3) != 0;
  return differ;
}

int
screen_next (struct screen *screen, const char *file, bool *changed,
             struct err *err)
{
  CLEANUP_FCLOSE FILE *fp = fopen (file, "re");
  struct screen new = { .width = 0 };
  int r;

  if (fp == NULL)
    return err_sys (err, "the screenshot can't be opened");
  r = read_pixels (fp, &new, err);
  if (r < 0) {
    screen_free (&new);
    return r;
  }
  new.blank = differing (&new, NULL) <= CURSOR_PIXELS;
  if (screen->pixels == NULL)
    *changed = !new.blank;
  else
    *changed = new.width != screen->width || new.height != screen->height ||
      differing (&new, screen) > CURSOR_PIXELS;
  /* What is there stays, so that many small changes are one. */
  if (screen->pixels != NULL && !*changed) {
    screen_free (&new);
    return 0;
  }
  screen_free (screen);
  *screen = new;
  return 0;
}

void
screen_free (struct screen *screen)
{
  free (screen->pixels);
  screen->pixels = NULL;
}
