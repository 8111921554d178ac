/* SPDX-License-Identifier: GPL-2.0-or-later */

/* One connection to an SFTP server.
 *
 * The lock guards the lists of calls and what is said of the connection.  The
 * thread takes a call from `out', writes it without the lock, and it is in
 * `owed' from before its first byte goes out; answers find theirs there by
 * number.  While a call is in a list, what is in it is the thread's alone: so
 * nobody stops waiting for one; whoever wants to breaks the connection, and
 * the thread, which never waits for the server alone, gives all calls back.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/base/thread.h"
#include "lib/repo/sftp.h"

#define PROTOCOL 3              /* what all servers speak */
#define READ_AT_ONCE (256U * 1024)
#define CANCEL_LOOK 100         /* ms between looks at the job */
#define CANCEL_PATIENCE 1000    /* ms that a server may be silent then */
#define SAFE_READ (32U * 1024)  /* what every server takes (§3) */

struct list {
  struct sftp_call *first, **last;
};

struct sftp {
  unsigned refs;                /* atomic */
  struct sftp_way *way;
  struct job *const *job;       /* NULL: none; atomic */
  unsigned silence;             /* ms */
  unsigned number;
  pid_t pid;
  int bell;                     /* eventfd: there is something for the thread */
  pthread_t thread;
  bool has_thread;
  struct sftp_server server;

  pthread_mutex_t lock;         /* guards what follows */
  pthread_cond_t answered;
  struct list out, owed;
  uint32_t next_id;
  bool stop, lost;
  struct err why;               /* it was lost */
  uint64_t heard;               /* ms: when the server said something last, or
                                   had nothing to say */

  /* The thread's alone. */
  struct sftp_call *sending;    /* it has been sent in part */
  uint8_t *in;                  /* bytes of answers that are not whole */
  size_t in_len, in_size;
};

static uint64_t
now_ms (void)
{
  struct timespec t;

  clock_gettime (CLOCK_BOOTTIME, &t);
  return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

static void
list_init (struct list *l)
{
  l->first = NULL;
  l->last = &l->first;
}

static void
list_add (struct list *l, struct sftp_call *c)
{
  c->next = NULL;
  *l->last = c;
  l->last = &c->next;
}

static struct sftp_call *
list_take (struct list *l, struct sftp_call **at)
{
  struct sftp_call *c = *at;

  *at = c->next;
  if (l->last == &c->next)
    l->last = at;
  c->next = NULL;
  return c;
}

static void
ring (struct sftp *s)
{
  uint64_t one = 1;

  /* It only fails when it has been rung very often. */
  if (write (s->bell, &one, sizeof one) < 0)
    return;
}

static bool
is_forked (const struct sftp *s)
{
  return s->pid != getpid ();
}

/*--- the thread -------------------------------------------------------------*/

/* The next call with bytes to send; it is owed from now on. */
static struct sftp_call *
next_to_send (struct sftp *s)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);

  if (s->sending == NULL && s->out.first != NULL) {
    s->sending = list_take (&s->out, &s->out.first);
    if (s->owed.first == NULL)
      s->heard = now_ms ();
    list_add (&s->owed, s->sending);
  }
  return s->sending;
}

/* 1: some bytes went out; 0: none could, or there are none. */
static int
send_some (struct sftp *s, bool *more, struct err *err)
{
  struct sftp_call *c;
  int progress = 0;

  while ((c = next_to_send (s)) != NULL) {
    ssize_t n = s->way->ops->write (s->way, c->packet.bytes + c->sent,
                                    c->packet.len - c->sent, err);

    if (n < 0)
      return (int) n;
    if (n == 0)
      break;
    progress = 1;
    c->sent += (size_t) n;
    if (c->sent == c->packet.len)
      s->sending = NULL;
  }
  *more = c != NULL;
  return progress;
}

/* Bytes of a file go where they belong, all else into a body of its own. */
static int
keep_answer (struct sftp_call *c, uint8_t type, const uint8_t *body,
             size_t len, struct err *err)
{
  struct sftp_reader r = { body, len, false };
  const uint8_t *data;
  size_t n;

  c->type = type;
  if (type == SFTP_DATA && c->into != NULL) {
    data = sftp_get_bytes (&r, &n);
    if (data == NULL || n > c->into_size)
      return err_set (err, -EPROTO, "the server sent other bytes than it was "
                      "asked for");
    memcpy (c->into, data, n);
    c->into_len = n;
    return 0;
  }
  c->body = malloc (len > 0 ? len : 1);
  if (c->body == NULL)
    return err_nomem (err);
  memcpy (c->body, body, len);
  c->body_len = len;
  return 0;
}

static struct sftp_call *
take_owed (struct sftp *s, uint8_t type, uint32_t id)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);

  for (struct sftp_call **at = &s->owed.first; *at; at = &(*at)->next)
    if ((*at)->id == id || type == SFTP_VERSION) {
      if (*at == s->sending)    /* an answer before the question */
        return NULL;
      return list_take (&s->owed, at);
    }
  return NULL;
}

/* Under the lock, and in no list any more. */
static void
settle (struct sftp_call *c, int state)
{
  c->state = state;
  if (c->told) {
    sftp_call_free (c);
    free (c);
  }
}

/* One answer: what is behind its length. */
static int
take_answer (struct sftp *s, const uint8_t *p, size_t len, struct err *err)
{
  uint8_t type = p[0];
  struct sftp_call *c = take_owed (s, type, get_be32 (p + 1));
  int r;

  if (c == NULL)
    return err_set (err, -EPROTO, "the server answers what it was not asked");
  /* A version has a number where others have that of the call. */
  r = type == SFTP_VERSION ? keep_answer (c, type, p + 1, len - 1, err)
    : keep_answer (c, type, p + 5, len - 5, err);
  pthread_mutex_lock (&s->lock);
  if (r == 0)
    settle (c, SFTP_CALL_ANSWERED);
  else
    list_add (&s->owed, c);     /* it is lost with all others, and told why */
  pthread_cond_broadcast (&s->answered);
  pthread_mutex_unlock (&s->lock);
  return r;
}

/* All answers that are whole. */
static int
take_answers (struct sftp *s, struct err *err)
{
  size_t at = 0;
  int r = 0;

  while (r == 0 && s->in_len - at >= 4) {
    uint32_t len = get_be32 (s->in + at);

    if (len < 5 || len > SFTP_PACKET_MAX + 1024)
      return err_set (err, -EPROTO, "the server does not speak SFTP");
    if (s->in_len - at - 4 < len)
      break;
    r = take_answer (s, s->in + at + 4, len, err);
    at += 4 + len;
  }
  s->in_len -= at;
  memmove (s->in, s->in + at, s->in_len);
  return r;
}

static int
receive_some (struct sftp *s, struct err *err)
{
  int progress = 0, r;

  for (;;) {
    ssize_t n = s->way->ops->read (s->way, s->in + s->in_len,
                                   s->in_size - s->in_len, err);

    if (n <= 0)
      return n < 0 ? (int) n : progress;
    progress = 1;
    s->in_len += (size_t) n;
    pthread_mutex_lock (&s->lock);
    s->heard = now_ms ();
    pthread_mutex_unlock (&s->lock);
    r = take_answers (s, err);
    if (r < 0)
      return r;
  }
}

/* -ETIMEDOUT; else *wait is how many ms may go by until it has to be asked
 * again.
 */
static int
check_silence (struct sftp *s, int *wait, struct err *err)
{
  struct job *job = s->job ? __atomic_load_n (s->job, __ATOMIC_ACQUIRE) : NULL;
  uint64_t limit = s->silence, silent;
  bool canceled = job_check (job, NULL) < 0;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);

  *wait = -1;
  if (s->stop)
    return s->why.code ? err_set (err, s->why.code, "%s", s->why.msg)
      : err_set (err, -ECONNABORTED, "the connection was given up");
  if (s->owed.first == NULL)
    return 0;
  if (canceled && limit > CANCEL_PATIENCE)
    limit = CANCEL_PATIENCE;
  silent = now_ms () - s->heard;
  if (silent >= limit)
    return canceled ? err_set (err, -ECANCELED, "canceled")
      : err_set (err, -ETIMEDOUT, "the server says nothing for %u seconds",
                 s->silence / 1000);
  *wait = limit - silent < CANCEL_LOOK ? (int) (limit - silent) : CANCEL_LOOK;
  return 0;
}

/* The bell was rung, or the way has something, or it is time to look. */
static void
wait_for_any (struct sftp *s, bool more, int timeout)
{
  struct pollfd fds[2] = { { .fd = s->bell, .events = POLLIN } };
  uint64_t rung;

  s->way->ops->poll (s->way, more, &fds[1]);
  if (poll (fds, 2, timeout) > 0 && fds[0].revents != 0 &&
      read (s->bell, &rung, sizeof rung) < 0)
    return;
}

static void
lose_list (struct list *l)
{
  while (l->first != NULL)
    settle (list_take (l, &l->first), SFTP_CALL_LOST);
}

static void
lose_all (struct sftp *s, const struct err *why)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);

  s->lost = true;
  s->why = *why;
  s->sending = NULL;
  lose_list (&s->out);
  lose_list (&s->owed);
  pthread_cond_broadcast (&s->answered);
}

static void *
run (void *opaque)
{
  struct sftp *s = opaque;
  struct err err = ERR_INIT;
  bool more = false;
  int r, sent, wait;

  do {
    sent = send_some (s, &more, &err);
    r = sent < 0 ? sent : receive_some (s, &err);
    if (r < 0)
      break;
    if (r > 0 || sent > 0)
      continue;
    r = check_silence (s, &wait, &err);
    if (r == 0)
      wait_for_any (s, more, wait);
  } while (r >= 0);
  lose_all (s, &err);
  return NULL;
}

/*--- calls ------------------------------------------------------------------*/

static int
say_lost (const struct sftp *s, struct err *err)
{
  return err_set (err, SFTP_LOST, "%s", s->why.msg);
}

int
sftp_send (struct sftp *s, struct sftp_call *c, struct err *err)
{
  uint32_t id;
  int r;

  if (is_forked (s))
    return err_set (err, SFTP_LOST, "the process was forked");
  free (c->body);
  c->body = NULL;
  c->body_len = c->sent = c->into_len = 0;
  id = __atomic_fetch_add (&s->next_id, 1, __ATOMIC_RELAXED);
  c->id = id;
  r = sftp_packet_end (&c->packet, id, err);
  if (r < 0)
    return r;
  pthread_mutex_lock (&s->lock);
  if (s->lost || s->stop)
    r = s->lost ? say_lost (s, err)
      : err_set (err, SFTP_LOST, "the connection was given up");
  else {
    c->state = SFTP_CALL_WAITS;
    list_add (&s->out, c);
  }
  pthread_mutex_unlock (&s->lock);
  if (r == 0)
    ring (s);
  return r;
}

int
sftp_wait (struct sftp *s, struct sftp_call *c, struct err *err)
{
  /* There is no thread here that would answer. */
  if (is_forked (s))
    return err_set (err, SFTP_LOST, "the process was forked");
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);

  while (c->state == SFTP_CALL_WAITS)
    pthread_cond_wait (&s->answered, &s->lock);
  return c->state == SFTP_CALL_ANSWERED ? 0 : say_lost (s, err);
}

bool
sftp_is_done (struct sftp *s, const struct sftp_call *c)
{
  if (is_forked (s))
    return true;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);

  return c->state != SFTP_CALL_WAITS;
}

int
sftp_ask (struct sftp *s, struct sftp_call *c, struct err *err)
{
  int r = sftp_send (s, c, err);

  return r < 0 ? r : sftp_wait (s, c, err);
}

void
sftp_call_free (struct sftp_call *c)
{
  sftp_packet_free (&c->packet);
  free (c->body);
  *c = (struct sftp_call) SFTP_CALL_INIT;
}

/*--- answers ----------------------------------------------------------------*/

static int
number_of (uint32_t code)
{
  switch (code) {
  case SFTP_OK: return 0;
  case SFTP_EOF: return -ENODATA;
  case SFTP_NO_SUCH_FILE: return -ENOENT;
  case SFTP_PERMISSION_DENIED: return -EACCES;
  case SFTP_BAD_MESSAGE: return -EINVAL;
  case SFTP_OP_UNSUPPORTED: return -ENOTSUP;
  default: return SFTP_FAILED;
  }
}

static int
not_expected (const struct sftp_call *c, struct err *err)
{
  return err_set (err, -EPROTO, "the server answers in another way (%u) than "
                  "SFTP has it", (unsigned) c->type);
}

int
sftp_status (const struct sftp_call *c, struct err *err)
{
  struct sftp_reader body = { c->body, c->body_len, false };
  char text[TEXT_NAME_SIZE];
  CLEANUP_FREE char *said = NULL;
  int number;

  if (c->type != SFTP_STATUS)
    return not_expected (c, err);
  number = number_of (sftp_get_u32 (&body));
  if (body.bad)
    return not_expected (c, err);
  if (number == 0)
    return 0;
  said = sftp_get_text (&body);
  return err_set (err, number, "the server says ‘%s’",
                  text_clean (said ? said : "", text, sizeof text));
}

int
sftp_answer (const struct sftp_call *c, enum sftp_type type,
             struct sftp_reader *body, struct err *err)
{
  int r;

  if (c->type == type) {
    *body = (struct sftp_reader) { c->body, c->body_len, false };
    return 0;
  }
  r = sftp_status (c, err);
  return r == 0 ? not_expected (c, err) : r;
}

int
sftp_check (const struct sftp_reader *body, struct err *err)
{
  return body->bad ? err_set (err, -EPROTO, "an answer of the server is "
                              "shorter than it must be") : 0;
}

/*--- hello ------------------------------------------------------------------*/

static void
note_extension (struct sftp_server *server, const char *name,
                const char *version)
{
  if (strcmp (name, "fsync@openssh.com") == 0)
    server->has_fsync = strcmp (version, "1") == 0;
  else if (strcmp (name, "statvfs@openssh.com") == 0)
    server->has_statvfs = strcmp (version, "2") == 0;
  else if (strcmp (name, "limits@openssh.com") == 0)
    server->has_limits = strcmp (version, "1") == 0;
}

/* §4 */
static int
say_hello (struct sftp *s, struct err *err)
{
  CLEANUP_SFTP_CALL struct sftp_call call = SFTP_CALL_INIT;
  struct sftp_reader body;
  uint32_t version;
  int r;

  sftp_packet_begin (&call.packet, SFTP_INIT);
  __atomic_store_n (&s->next_id, PROTOCOL, __ATOMIC_RELAXED);
  r = sftp_ask (s, &call, err);         /* its number is the version */
  if (r == 0)
    r = sftp_answer (&call, SFTP_VERSION, &body, err);
  if (r < 0)
    return r;
  version = sftp_get_u32 (&body);
  if (version != PROTOCOL)
    return err_set (err, -EPROTO, "the server speaks version %u of SFTP, "
                    "expected %d", version, PROTOCOL);
  while (body.left > 0 && !body.bad) {
    CLEANUP_FREE char *name = sftp_get_text (&body);
    CLEANUP_FREE char *value = sftp_get_text (&body);

    if (name && value)
      note_extension (&s->server, name, value);
  }
  return 0;
}

/* OpenSSH's PROTOCOL, 4.8: four numbers; 0 says nothing. */
static int
ask_limits (struct sftp *s, struct err *err)
{
  CLEANUP_SFTP_CALL struct sftp_call call = SFTP_CALL_INIT;
  struct sftp_reader body;
  uint64_t most, reads, writes;
  int r;

  sftp_packet_begin (&call.packet, SFTP_EXTENDED);
  sftp_put_text (&call.packet, "limits@openssh.com");
  r = sftp_ask (s, &call, err);
  if (r == 0)
    r = sftp_answer (&call, SFTP_EXTENDED_REPLY, &body, err);
  if (r < 0)
    return r;
  most = sftp_get_u64 (&body);
  reads = sftp_get_u64 (&body);
  writes = sftp_get_u64 (&body);
  r = sftp_check (&body, err);
  if (r < 0)
    return r;
  if (most > SFTP_PACKET_MAX || most == 0)
    most = SFTP_PACKET_MAX;
  most = most > 2048 ? most - 1024 : 1024;
  if (reads >= SAFE_READ)
    s->server.max_read = (uint32_t) (reads < most ? reads : most);
  if (writes >= SAFE_READ)
    s->server.max_write = (uint32_t) (writes < most ? writes : most);
  return 0;
}

static int
begin (struct sftp *s, struct err *err)
{
  int r;

  s->in_size = SFTP_PACKET_MAX + 2048 + READ_AT_ONCE;
  s->in = malloc (s->in_size);
  if (s->in == NULL)
    return err_nomem (err);
  s->bell = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (s->bell < 0)
    return err_sys (err, "eventfd");
  r = thread_start (&s->thread, run, s);
  if (r != 0)
    return err_set (err, -r, "a thread can't be started");
  s->has_thread = true;
  r = say_hello (s, err);
  if (r == 0 && s->server.has_limits)
    r = ask_limits (s, err);
  return r;
}

int
sftp_new (struct sftp_way *way, unsigned silence, struct job *const *job,
          struct sftp **out, struct err *err)
{
  struct sftp *s = calloc (1, sizeof *s);
  int r;

  if (s == NULL) {
    way->ops->close (way, false);
    return err_nomem (err);
  }
  s->refs = 1;
  s->way = way;
  s->silence = silence;
  s->job = job;
  s->pid = getpid ();
  s->bell = -1;
  s->heard = now_ms ();
  s->server.max_read = s->server.max_write = SAFE_READ;
  pthread_mutex_init (&s->lock, NULL);
  pthread_cond_init (&s->answered, NULL);
  list_init (&s->out);
  list_init (&s->owed);
  r = begin (s, err);
  if (r < 0)
    sftp_unref (s);
  else
    *out = s;
  return r;
}

struct sftp *
sftp_ref (struct sftp *s)
{
  __atomic_add_fetch (&s->refs, 1, __ATOMIC_RELAXED);
  return s;
}

void
sftp_unref (struct sftp *s)
{
  bool forked;

  if (s == NULL || __atomic_sub_fetch (&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
    return;
  forked = is_forked (s);
  if (s->has_thread && !forked) {
    sftp_break (s, "the connection was closed");
    pthread_join (s->thread, NULL);
  }
  s->way->ops->close (s->way, forked);
  if (s->bell >= 0)
    close (s->bell);
  pthread_cond_destroy (&s->answered);
  pthread_mutex_destroy (&s->lock);
  free (s->in);
  free (s);
}

bool
sftp_is_lost (struct sftp *s)
{
  if (is_forked (s))
    return true;
  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
    return s->lost || s->stop;
  }
}

void
sftp_break (struct sftp *s, const char *why)
{
  pthread_mutex_lock (&s->lock);
  if (!s->lost && !s->stop) {
    s->stop = true;
    err_set (&s->why, -ECONNABORTED, "%s", why);
  }
  pthread_mutex_unlock (&s->lock);
  ring (s);
}

const struct sftp_server *
sftp_server (const struct sftp *s)
{
  return &s->server;
}

void
sftp_set_number (struct sftp *s, unsigned number)
{
  s->number = number;
}

unsigned
sftp_number (const struct sftp *s)
{
  return s->number;
}
