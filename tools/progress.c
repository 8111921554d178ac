/* SPDX-License-Identifier: GPL-2.0-or-later */

/* One thread wakes up twice a second, or for a signal, or to end. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "tools/ask.h"
#include "tools/output.h"
#include "tools/progress.h"
#include "tools/signals.h"

#define PERIOD_MS 500
#define NR_SAMPLES 20           /* the rate is that of the last ten seconds */
#define MAX_LINE 512

struct sample {
  double when;                  /* seconds, of CLOCK_MONOTONIC */
  uint64_t done;
};

struct progress {
  struct job *job;              /* borrowed */
  enum progress_mode mode;      /* never PROGRESS_AUTO */
  const char *what;             /* borrowed */
  int signals;                  /* signalfd */
  int end;                      /* eventfd */
  pthread_t thread;

  /* The thread's. */
  const char *phase;            /* that the samples are of */
  struct sample samples[NR_SAMPLES];
  unsigned nr_samples;          /* since the phase began, or a few more */
  bool asked, drawn;
};

int
progress_mode_parse (const char *str, enum progress_mode *mode,
                     struct err *err)
{
  static const char *const names[] = { "auto", "line", "json", "none" };

  *mode = PROGRESS_AUTO;
  if (str == NULL)
    return 0;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i)
    if (strcmp (str, names[i]) == 0) {
      *mode = (enum progress_mode) i;
      return 0;
    }
  return err_set (err, -EINVAL, "--progress: ‘%s’ is not auto, line, json "
                  "or none", str);
}

static double
now (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

/*--- Rate -------------------------------------------------------------------*/

static void
add_sample (struct progress *p, const struct job_state *state)
{
  if (state->phase != p->phase) {
    p->phase = state->phase;
    p->nr_samples = 0;
  }
  p->samples[p->nr_samples++ % NR_SAMPLES] =
    (struct sample) { now (), state->done };
}

/* Bytes a second; 0: not known yet. */
static double
rate (const struct progress *p)
{
  const struct sample *last, *first;

  if (p->nr_samples < 3)
    return 0;
  last = &p->samples[(p->nr_samples - 1) % NR_SAMPLES];
  first = &p->samples[p->nr_samples > NR_SAMPLES ?
                      p->nr_samples % NR_SAMPLES : 0];
  if (last->when <= first->when || last->done < first->done)
    return 0;
  return (double) (last->done - first->done) / (last->when - first->when);
}

/* Seconds until the end of the phase; negative: not known. */
static double
seconds_left (const struct progress *p, const struct job_state *state)
{
  double r = rate (p);

  if (r <= 0 || state->total == 0)
    return -1;
  return (double) (state->total - state->done) / r + 0.5;
}

/*--- Drawing ----------------------------------------------------------------*/

static void
print_json (struct progress *p, const struct job_state *state)
{
  double left = seconds_left (p, state);
  json_t *json = json_pack ("{s:s,s:I,s:o,s:I,s:o}",
    "phase", state->phase ? state->phase : "",
    "done", (json_int_t) state->done,
    "total", state->total ? json_integer ((json_int_t) state->total)
                          : json_null (),
    "rate", (json_int_t) rate (p),
    "left", left < 0 ? json_null () : json_integer ((json_int_t) left));
  CLEANUP_FREE char *line = json ? json_dumps (json, JSON_COMPACT) : NULL;

  json_decref (json);
  if (line)
    fprintf (stderr, "%s\n", line);
}

/* "1:02:03", "4:05" */
static void
time_to_string (double seconds, char str[32])
{
  uint64_t s = (uint64_t) seconds;

  if (s >= 3600)
    snprintf (str, 32, "%" PRIu64 ":%02u:%02u", s / 3600,
              (unsigned) (s / 60 % 60), (unsigned) (s % 60));
  else
    snprintf (str, 32, "%u:%02u", (unsigned) (s / 60), (unsigned) (s % 60));
}

static size_t
columns (void)
{
  struct winsize size;

  if (ioctl (STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20)
    return size.ws_col < MAX_LINE ? size.ws_col : MAX_LINE - 1;
  return 80;
}

/* "copying disk.vhd: 42 %, 1.2 GiB of 2.9 GiB, 310 MiB/s, 0:05 left" */
static void
compose (struct progress *p, const struct job_state *state,
         char line[MAX_LINE])
{
  char done[SIZE_STRING_SIZE], total[SIZE_STRING_SIZE];
  char speed[SIZE_STRING_SIZE], left[32];
  double r = rate (p), seconds = seconds_left (p, state);
  int n = snprintf (line, MAX_LINE, "%s %.200s",
                    state->phase ? state->phase : "beginning", p->what);

#define ADD(...)                                                        \
  n += snprintf (line + n, MAX_LINE - (size_t) n, __VA_ARGS__)
  if (state->total > 0)
    ADD (": %u %%, %s of %s",
         (unsigned) ((double) state->done / (double) state->total * 100),
         size_to_string (state->done, done),
         size_to_string (state->total, total));
  else if (state->done > 0)
    ADD (": %s", size_to_string (state->done, done));
  if (p->asked)
    ADD (", ending");
  else if (r >= 1)
    ADD (", %s/s", size_to_string ((uint64_t) r, speed));
  if (!p->asked && seconds >= 0) {
    time_to_string (seconds, left);
    ADD (", %s left", left);
  }
#undef ADD
}

/* Cut so that it never takes two lines; not within a character. */
static void
cut (char *line, size_t max)
{
  size_t n = strlen (line);

  if (n < max)
    return;
  for (n = max - 1; n > 0 && ((unsigned char) line[n] & 0xc0) == 0x80;)
    n--;
  line[n] = '\0';
}

static void
draw_line (struct progress *p, const struct job_state *state)
{
  char line[MAX_LINE];

  compose (p, state, line);
  cut (line, columns ());
  for (char *c = line; *c; ++c)
    if ((unsigned char) *c < ' ' || *c == 0x7f)
      *c = '?';
  fprintf (stderr, "\r\033[K%s", line);
  fflush (stderr);
  p->drawn = true;
}

static void
draw (struct progress *p)
{
  struct job_state state;

  job_look (p->job, &state);
  add_sample (p, &state);
  if (p->mode == PROGRESS_JSON)
    print_json (p, &state);
  else if (p->mode == PROGRESS_LINE)
    draw_line (p, &state);
}

/*--- The thread -------------------------------------------------------------*/

static void
take_signal (struct progress *p)
{
  struct signalfd_siginfo info;

  if (read (p->signals, &info, sizeof info) != sizeof info)
    return;
  job_cancel (p->job);
  ask_give_up ();
  if (p->asked) {
    /* Who asks twice does not want to wait. */
    ending_signals_restore ();
    raise ((int) info.ssi_signo);
  }
  p->asked = true;
  if (p->mode == PROGRESS_LINE)
    draw (p);
}

static void *
watch (void *opaque)
{
  struct progress *p = opaque;
  struct pollfd fds[] = {
    { .fd = p->signals, .events = POLLIN },
    { .fd = p->end, .events = POLLIN },
  };

  for (;;) {
    int r = poll (fds, 2, PERIOD_MS);

    if (r < 0 && errno != EINTR)
      return NULL;
    if (r > 0 && fds[1].revents)
      return NULL;
    if (r > 0 && fds[0].revents)
      take_signal (p);
    else if (r == 0 && !ask_is_open ())
      draw (p);
  }
}

static enum progress_mode
choose_mode (enum progress_mode mode)
{
  if (mode != PROGRESS_AUTO)
    return mode;
  return isatty (STDERR_FILENO) ? PROGRESS_LINE : PROGRESS_NONE;
}

static void
free_progress (struct progress *p)
{
  if (p->signals >= 0)
    close (p->signals);
  if (p->end >= 0)
    close (p->end);
  free (p);
}

int
progress_start (struct job *job, enum progress_mode mode, const char *what,
                struct progress **out, struct err *err)
{
  struct progress *p = calloc (1, sizeof *p);
  int r;

  if (p == NULL)
    return err_nomem (err);
  p->job = job;
  p->mode = choose_mode (mode);
  p->what = what;
  p->end = eventfd (0, EFD_CLOEXEC);
  r = p->signals = p->end < 0 ? err_sys (err, "eventfd")
                              : ending_signals (err);
  if (r >= 0) {
    errno = pthread_create (&p->thread, NULL, watch, p);
    r = errno ? err_sys (err, "pthread_create") : 0;
    if (r < 0)
      ending_signals_restore ();
  }
  if (r < 0) {
    free_progress (p);
    return r;
  }
  *out = p;
  return 0;
}

void
progress_stop (struct progress *p)
{
  uint64_t one = 1;

  if (p == NULL)
    return;
  if (write (p->end, &one, sizeof one) == sizeof one)
    pthread_join (p->thread, NULL);
  if (p->drawn)
    fprintf (stderr, "\r\033[K");
  ending_signals_restore ();
  free_progress (p);
}
