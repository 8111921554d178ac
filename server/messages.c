/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdkit's messages while it starts.
 *
 * It writes lines to stderr, the interesting one last:
 *
 *   nbdkit: error: bind: 127.0.0.1:10809: Address already in use
 *   nbdkit: image: error: a.vhd: footer checksum is 00000000, ...
 *
 * and perhaps a hint to its --help behind that.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/internal.h"

int
messages_read (struct messages *m, int fd)
{
  char buf[4096];
  ssize_t n = read (fd, buf, sizeof buf);
  char *text;

  if (n < 0)
    return errno == EINTR || errno == EAGAIN;
  if (n == 0)
    return 0;
  text = realloc (m->text, m->len + (size_t) n + 1);
  if (text == NULL)
    return 1;                   /* loses this piece of text only */
  memcpy (text + m->len, buf, (size_t) n);
  m->text = text;
  m->len += (size_t) n;
  if (m->len > MESSAGES_MAX) {
    memmove (text, text + m->len - MESSAGES_MAX, MESSAGES_MAX);
    m->len = MESSAGES_MAX;
  }
  text[m->len] = '\0';
  return 1;
}

/* "nbdkit: image: error: SENTENCE" → SENTENCE, or NULL. */
static const char *
sentence_of (const char *line, size_t len)
{
  static const char mark[] = "error: ";
  const char *p;

  if (len < 8 || strncmp (line, "nbdkit: ", 8) != 0)
    return NULL;
  p = memmem (line, len, mark, sizeof mark - 1);
  return p ? p + sizeof mark - 1 : NULL;
}

int
messages_to_err (const struct messages *m, const char *how_it_ended,
                 struct err *err)
{
  const char *line = m->text, *end = m->text + m->len;
  const char *best = NULL, *best_end = NULL;
  const char *last = NULL, *last_end = NULL;

  while (line < end) {
    const char *newline = memchr (line, '\n', (size_t) (end - line));
    const char *stop = newline ? newline : end;
    const char *sentence = sentence_of (line, (size_t) (stop - line));

    if (sentence) {
      best = sentence;
      best_end = stop;
    }
    if (stop > line) {
      last = line;
      last_end = stop;
    }
    line = stop + 1;
  }
  if (best)
    return err_set (err, -EINVAL, "%.*s", (int) (best_end - best), best);
  if (last)
    return err_set (err, -EINVAL, "nbdkit %s before it was ready: %.*s",
                    how_it_ended, (int) (last_end - last), last);
  return err_set (err, -EINVAL, "nbdkit %s before it was ready",
                  how_it_ended);
}
