/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Screens of a machine, one after the other: has what is seen settled? */

#ifndef NBDIMAGE_TOOLS_VERIFY_SCREEN_H
#define NBDIMAGE_TOOLS_VERIFY_SCREEN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

struct screen {
  unsigned width, height;       /* 0: there was none yet */
  uint8_t *pixels;              /* three bytes each */
  bool blank;                   /* all of one colour, but for a cursor */
};

/* The next one, a PPM as QEMU writes it; *changed: it is another than the one
 * before, by more than a cursor that blinks, or the first that is not blank.
 * -EBADMSG, errors of the file.
 */
int screen_next (struct screen *screen, const char *file, bool *changed,
                 struct err *err);
void screen_free (struct screen *screen);

#endif /* NBDIMAGE_TOOLS_VERIFY_SCREEN_H */
