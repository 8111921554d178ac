/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Blocks on exports of servers that lie, break off, or say nothing: the right
 * bytes or an error, before long.  The alarm ends what hangs.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <libnbd.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/block/nbd-connect.h"
#include "lib/block/nbd.h"
#include "tests/support/nbd-server.h"

#define SIZE (1U << 20)
#define READ 0
#define WRITE 1
#define STATUS 7

static char dir[] = "test-nbd-hostile.XXXXXX";
static char sock[64], uri[128];
static pid_t server = -1;
static uint8_t disk[SIZE];

/* Shared with the servers. */
static struct {
  unsigned connections;
  int variant;
} *shared;

static const struct nbd_server_export plain = { .size = SIZE, .flags = 3 };

static void
sleep_ms (long ms)
{
  struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

  nanosleep (&ts, NULL);
}

static void
start (void (*serve) (int fd, unsigned nth))
{
  shared->connections = 0;
  server = nbd_server_start (sock, serve);
  assert_true (server > 0);
  alarm (120);
}

static int
teardown (void **state)
{
  (void) state;
  alarm (0);
  if (server > 0) {
    kill (server, SIGKILL);
    waitpid (server, NULL, 0);
  }
  server = -1;
  return 0;
}

static int
set_up (void **state)
{
  uint32_t x = 1;

  (void) state;
  for (size_t i = 0; i < SIZE; ++i) {
    x = x * 1103515245 + 12345;
    disk[i] = (uint8_t) (x >> 16);
    if (disk[i] == 0xEE)        /* what buffers are filled with */
      disk[i] = 0;
  }
  shared = mmap (NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED || mkdtemp (dir) == NULL)
    return -1;
  snprintf (sock, sizeof sock, "%s/s", dir);
  snprintf (uri, sizeof uri, "nbd+unix:///?socket=%s", sock);
  return 0;
}

static int
clean_up (void **state)
{
  (void) state;
  unlink (sock);
  return rmdir (dir);
}

static struct block *
open_uri (unsigned flags)
{
  struct block *b = NULL;
  struct err err = ERR_INIT;

  if (block_nbd_open (uri, flags, &b, &err) < 0)
    fail_msg ("%s", err.msg);
  return b;
}

static void
send_error (int fd, const struct nbd_server_request *req, uint32_t error)
{
  uint8_t payload[6] = { 0 };

  put_be32 (payload, error);
  nbd_server_chunk (fd, req, 1, 0x8001, payload, sizeof payload);
}

/* Serve well, but for what `special` does: true if it has answered. */
static void
serve_but (int fd, const struct nbd_server_export *e, const uint8_t *bytes,
           bool (*special) (int fd, const struct nbd_server_request *req))
{
  struct nbd_server_request req;

  __atomic_add_fetch (&shared->connections, 1, __ATOMIC_SEQ_CST);
  nbd_server_shake_hands (fd, e);
  while (nbd_server_next (fd, &req)) {
    if (special && special (fd, &req))
      continue;
    if (req.command == READ && req.off + req.len <= SIZE)
      nbd_server_data (fd, &req, bytes + req.off);
    else if (req.command == READ || req.command == STATUS)
      send_error (fd, &req, EINVAL);
    else
      nbd_server_chunk (fd, &req, 1, 0, "", 0);
  }
}

/*--- lies about the data ---------------------------------------------------*/

/* Reads here are answered specially; those at the ends are not. */
#define SPECIAL_OFF 65536U
#define SPECIAL_LEN 8192U

static void
put_data (uint8_t *payload, uint64_t off, uint32_t len)
{
  put_be64 (payload, off);
  memcpy (payload + 8, disk + off, len);
}

enum {
  HALF_TWICE, HALF, TOO_MUCH, BEFORE, BEHIND, NOTHING, LONG_HOLE, EMPTY_HOLE,
  HUGE_LENGTH, SHORT_CHUNK, OTHER_COOKIE, GARBAGE, UNKNOWN_CHUNK,
  STATUS_TO_A_READ, SIMPLE_REPLY, SHORT_ERROR, LONG_ERROR, ERROR_THEN_DATA,
  NR_LIES
};

static void
tell_lie (int fd, const struct nbd_server_request *req, int lie)
{
  static uint8_t payload[SPECIAL_LEN * 2 + 8];
  struct nbd_server_request other = *req;
  const uint32_t half = req->len / 2;
  uint8_t raw[20];

  put_data (payload, req->off, req->len * 2);
  switch (lie) {
  case HALF_TWICE:
    nbd_server_chunk (fd, req, 0, 1, payload, 8 + half);
    /* fall through */
  case HALF:
    nbd_server_chunk (fd, req, 1, 1, payload, 8 + half);
    break;
  case TOO_MUCH:
    nbd_server_chunk (fd, req, 1, 1, payload, 8 + req->len * 2);
    break;
  case BEFORE:
    put_be64 (payload, req->off - half);
    nbd_server_chunk (fd, req, 1, 1, payload, 8 + req->len);
    break;
  case BEHIND:
    put_be64 (payload, UINT64_MAX - 100);
    nbd_server_chunk (fd, req, 1, 1, payload, 8 + req->len);
    break;
  case NOTHING:
    nbd_server_chunk (fd, req, 1, 0, "", 0);
    break;
  case LONG_HOLE:
    put_be32 (payload + 8, UINT32_MAX);
    nbd_server_chunk (fd, req, 1, 2, payload, 12);
    break;
  case EMPTY_HOLE:
    put_be32 (payload + 8, 0);
    nbd_server_chunk (fd, req, 1, 2, payload, 12);
    break;
  case HUGE_LENGTH:
    put_be32 (raw, 0x668e33ef);
    put_be32 (raw + 4, 0x00010001);
    memcpy (raw + 8, req->raw + 8, 8);
    put_be32 (raw + 16, UINT32_MAX);
    nbd_server_send (fd, raw, sizeof raw);
    break;
  case SHORT_CHUNK:
    nbd_server_chunk (fd, req, 1, 1, payload, 7);
    break;
  case OTHER_COOKIE:
    other.raw[8] ^= 0x80;
    nbd_server_data (fd, &other, disk + req->off);
    break;
  case GARBAGE:
    nbd_server_send (fd, disk, 4096);
    break;
  case UNKNOWN_CHUNK:
    nbd_server_chunk (fd, req, 1, 77, payload, 100);
    break;
  case STATUS_TO_A_READ:
    nbd_server_chunk (fd, req, 1, 5, "\0\0\0\1\0\0\x20\0\0\0\0\0", 12);
    break;
  case SIMPLE_REPLY:            /* to a read, where others were agreed on */
    put_be32 (raw, 0x67446698);
    put_be32 (raw + 4, 0);
    memcpy (raw + 8, req->raw + 8, 8);
    nbd_server_send (fd, raw, 16);
    break;
  case SHORT_ERROR:
    nbd_server_chunk (fd, req, 1, 0x8001, "\0\0", 2);
    break;
  case LONG_ERROR:              /* whose message is longer than it */
    nbd_server_chunk (fd, req, 1, 0x8001, "\0\0\0\5\xff\xff", 6);
    break;
  case ERROR_THEN_DATA:
    nbd_server_chunk (fd, req, 0, 0x8001, "\0\0\0\5\0\0", 6);
    nbd_server_chunk (fd, req, 1, 1, payload, 8 + req->len);
    break;
  }
}

static bool
lie_special (int fd, const struct nbd_server_request *req)
{
  if (req->command != READ || req->off != SPECIAL_OFF)
    return false;
  tell_lie (fd, req, shared->variant);
  return true;
}

static void
serve_lies (int fd, unsigned nth)
{
  (void) nth;
  serve_but (fd, &plain, disk, lie_special);
}

/* All of them end in an error, but for the one that libnbd can't see through:
 * what was said twice is the right bytes, and the rest must not be what was
 * in the memory before.
 */
static void
lies_about_the_data_are_errors_and_leak_nothing (void **state)
{
  uint8_t buf[SPECIAL_LEN];

  (void) state;
  start (serve_lies);
  for (int lie = 0; lie < NR_LIES; ++lie) {
    CLEANUP_BLOCK struct block *b = NULL;
    struct err err = ERR_INIT;
    int r;

    shared->variant = lie;
    b = open_uri (0);
    memset (buf, 0xEE, sizeof buf);
    r = block_pread (b, buf, sizeof buf, SPECIAL_OFF, &err);
    if (lie != HALF_TWICE && r == 0)
      fail_msg ("lie %d was believed", lie);
    if (r == 0) {
      assert_memory_equal (buf, disk + SPECIAL_OFF, SPECIAL_LEN / 2);
      assert_null (memchr (buf, 0xEE, sizeof buf));
    }
    else
      assert_true (err.msg[0] != '\0' && err.code == r);
    /* Others are not affected. */
    assert_int_equal (block_pread (b, buf, sizeof buf, 8192, &err), 0);
    assert_memory_equal (buf, disk + 8192, sizeof buf);
  }
}

/*--- errors ----------------------------------------------------------------*/

static bool
error_special (int fd, const struct nbd_server_request *req)
{
  if (req->off != SPECIAL_OFF)
    return false;
  send_error (fd, req, (uint32_t) shared->variant);
  return true;
}

static void
serve_errors (int fd, unsigned nth)
{
  (void) nth;
  serve_but (fd, &plain, disk, error_special);
}

static void
errors_of_any_number_are_errors (void **state)
{
  static const uint32_t numbers[] = {
    0, 1, 2, 4, 5, 11, 12, 22, 28, 75, 95, 108, 255, 65536, INT32_MAX,
    UINT32_C (1) << 31, UINT32_MAX - 4094, UINT32_MAX,
  };
  CLEANUP_BLOCK struct block *b = NULL;
  uint8_t buf[512];

  (void) state;
  start (serve_errors);
  b = open_uri (0);
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; ++i) {
    CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
    struct err err = ERR_INIT;

    shared->variant = (int) numbers[i];
    assert_true (block_pread (b, buf, 512, SPECIAL_OFF, &err) < 0);
    assert_true (err.code < 0 && err.msg[0] != '\0');
    assert_true (block_extents (b, 512, SPECIAL_OFF, &list, &err) < 0);
    assert_int_equal (list.v.len, 0);
    assert_int_equal (block_pread (b, buf, 512, 512, &err), 0);
    assert_memory_equal (buf, disk + 512, 512);
  }
}

/*--- breaking off ----------------------------------------------------------*/

/* After how many bytes of the reply; it has 28 and the data. */
static bool
break_off (int fd, const struct nbd_server_request *req)
{
  static uint8_t reply[28 + SPECIAL_LEN];

  if (req->off != SPECIAL_OFF)
    return false;
  put_be32 (reply, 0x668e33ef);
  put_be32 (reply + 4, 0x00010001);
  memcpy (reply + 8, req->raw + 8, 8);
  put_be32 (reply + 16, 8 + req->len);
  put_data (reply + 20, req->off, req->len);
  nbd_server_send (fd, reply, (size_t) shared->variant);
  _exit (0);
}

static void
serve_and_break_off_once (int fd, unsigned nth)
{
  serve_but (fd, &plain, disk, nth == 0 ? break_off : NULL);
}

static void
serve_and_break_off (int fd, unsigned nth)
{
  (void) nth;
  serve_but (fd, &plain, disk, break_off);
}

static const int cuts[] = {
  0, 1, 4, 15, 16, 19, 20, 27, 28, 29, 4096, 28 + SPECIAL_LEN - 1
};
#define NR_CUTS (sizeof cuts / sizeof cuts[0])

static void
a_reply_that_breaks_off_is_asked_for_again (void **state)
{
  uint8_t buf[SPECIAL_LEN];

  for (size_t i = 0; i < NR_CUTS; ++i) {
    CLEANUP_BLOCK struct block *b = NULL;

    shared->variant = cuts[i];
    start (serve_and_break_off_once);
    b = open_uri (0);
    assert_int_equal (block_pread (b, buf, sizeof buf, SPECIAL_OFF, NULL), 0);
    assert_memory_equal (buf, disk + SPECIAL_OFF, sizeof buf);
    assert_int_equal (shared->connections, 2);
    teardown (state);
  }
}

static void
one_that_always_breaks_off_is_an_error (void **state)
{
  uint8_t buf[SPECIAL_LEN];

  for (size_t i = 0; i < NR_CUTS; ++i) {
    CLEANUP_BLOCK struct block *b = NULL;
    struct err err = ERR_INIT;

    shared->variant = cuts[i];
    start (serve_and_break_off);
    b = open_uri (0);
    assert_int_equal (block_pread (b, buf, sizeof buf, SPECIAL_OFF, &err),
                      -EIO);
    assert_string_equal (err.msg, "the connection to the server was lost");
    assert_true (shared->connections <= 10);
    teardown (state);
  }
}

/*--- silence ---------------------------------------------------------------*/

static bool
say_nothing (int fd, const struct nbd_server_request *req)
{
  (void) fd;
  return req->off == SPECIAL_OFF;
}

/* A byte now and then, which never becomes a reply. */
static bool
drip (int fd, const struct nbd_server_request *req)
{
  if (req->off != SPECIAL_OFF)
    return false;
  nbd_server_send (fd, "\x66\x8e\x33\xef\0\1\0\1", 8);
  nbd_server_send (fd, req->raw + 8, 8);
  nbd_server_send (fd, "\0\0\x20\x08\0\0\0\0\0\1\0\0", 12);
  for (int i = 0; i < 1000; ++i) {
    nbd_server_send (fd, "x", 1);
    sleep_ms (50);
  }
  _exit (0);
}

static void
serve_silence (int fd, unsigned nth)
{
  (void) nth;
  serve_but (fd, &plain, disk, say_nothing);
}

static void
serve_drops (int fd, unsigned nth)
{
  (void) nth;
  serve_but (fd, &plain, disk, drip);
}

static void
wait_for_reply (unsigned silence_s, unsigned total_s, const char *expected)
{
  static uint8_t buf[SPECIAL_LEN];      /* in use until the handle is closed */
  struct nbd_handle *h = NULL;
  struct err err = ERR_INIT;

  assert_int_equal (nbd_connect_export (uri, &h, &err), 0);
  assert_int_equal (nbd_command_wait (h, nbd_aio_pread (h, buf, 512, 512,
                                                        NBD_NULL_COMPLETION,
                                                        0), 60, 60, &err), 0);
  assert_memory_equal (buf, disk + 512, 512);
  assert_int_equal (nbd_command_wait (h, nbd_aio_pread (h, buf, sizeof buf,
                                                        SPECIAL_OFF,
                                                        NBD_NULL_COMPLETION,
                                                        0),
                                      silence_s, total_s, &err), -ETIMEDOUT);
  assert_string_equal (err.msg, expected);
  nbd_close (h);
}

static void
a_server_that_owes_an_answer_is_given_up (void **state)
{
  (void) state;
  start (serve_silence);
  wait_for_reply (1, 60, "the server said nothing for 1 seconds while it owed "
                  "an answer");
}

static void
a_server_that_sends_a_byte_now_and_then_too (void **state)
{
  (void) state;
  start (serve_drops);
  wait_for_reply (30, 1, "the server was not done with a request after 1 "
                  "seconds");
}

/*--- another disk after a reconnect ----------------------------------------*/

enum {
  SAME, OTHER_SIZE, OTHER_HEAD, OTHER_TAIL, OTHER_MIDDLE, OTHER_MINIMUM,
  NO_EXTENTS, UNREADABLE_HEAD,
};

static bool
unreadable_head (int fd, const struct nbd_server_request *req)
{
  if (req->off != 0)
    return false;
  send_error (fd, req, 5);
  return true;
}

static void
serve_another (int fd, unsigned nth)
{
  struct nbd_server_export e = plain;
  bool (*special) (int, const struct nbd_server_request *) = NULL;

  if (nth == 0)
    serve_but (fd, &e, disk, break_off);
  switch (shared->variant) {
  case OTHER_SIZE:
    e.size -= 512;
    break;
  case OTHER_HEAD:
    disk[0] ^= 1;
    break;
  case OTHER_TAIL:
    disk[SIZE - 1] ^= 1;
    break;
  case OTHER_MIDDLE:
    disk[SIZE / 2] ^= 1;
    break;
  case OTHER_MINIMUM:
    e.minimum = 4096;
    e.preferred = 4096;
    e.maximum = 65536;
    break;
  case NO_EXTENTS:
    e.no_extents = true;
    break;
  case UNREADABLE_HEAD:
    special = unreadable_head;
    break;
  }
  serve_but (fd, &e, disk, special);
}

static void
a_reader_goes_on_with_the_same_disk_only (void **state)
{
  static const char *const expected[] = {
    [OTHER_SIZE] = "the export has 1048064 bytes now, expected 1048576 as "
                   "when it was opened",
    [OTHER_HEAD] = "the first or last bytes of the export are others now",
    [OTHER_TAIL] = "the first or last bytes of the export are others now",
    [OTHER_MINIMUM] = "the server takes blocks of 4096 bytes now, expected 1",
    [NO_EXTENTS] = "the server does not tell extents any more",
    [UNREADABLE_HEAD] = "the server can't read the ends of the export",
    [SAME] = NULL, [OTHER_MIDDLE] = NULL,       /* which nobody can know */
  };
  uint8_t buf[512];

  for (int v = SAME; v <= UNREADABLE_HEAD; ++v) {
    CLEANUP_BLOCK struct block *b = NULL;
    struct err err = ERR_INIT;
    int r;

    shared->variant = v;
    start (serve_another);
    b = open_uri (0);
    r = block_pread (b, buf, sizeof buf, SPECIAL_OFF, &err);
    if (expected[v]) {
      assert_int_equal (r, -EIO);
      assert_int_equal (err.code, -EIO);
      assert_non_null (strstr (err.msg, expected[v]));
    }
    else {
      assert_int_equal (r, 0);
      assert_memory_equal (buf, disk + SPECIAL_OFF, sizeof buf);
    }
    teardown (state);
  }
}

/*--- a writer --------------------------------------------------------------*/

static void
wait_for_both (void)
{
  while (__atomic_load_n (&shared->connections, __ATOMIC_SEQ_CST) < 2)
    sleep_ms (10);
}

/* The first connection ends when it has acknowledged a write. */
static bool
acknowledge_and_go (int fd, const struct nbd_server_request *req)
{
  if (req->command != WRITE)
    return false;
  wait_for_both ();
  nbd_server_chunk (fd, req, 1, 0, "", 0);
  _exit (0);
}

/* The other is put back last, and is what the flush goes out on. */
static bool
acknowledge_later (int fd, const struct nbd_server_request *req)
{
  if (req->command != WRITE)
    return false;
  wait_for_both ();
  sleep_ms (300);
  nbd_server_chunk (fd, req, 1, 0, "", 0);
  return true;
}

static void
serve_a_writer (int fd, unsigned nth)
{
  /* HAS_FLAGS, SEND_FLUSH, CAN_MULTI_CONN */
  const struct nbd_server_export e = { .size = SIZE, .flags = 1 | 4 | 256 };

  serve_but (fd, &e, disk, nth == 0 ? acknowledge_and_go
             : acknowledge_later);
}

static void *
write_some (void *block)
{
  return block_pwrite (block, "x", 1, 0, 0, NULL) == 0 ? block : NULL;
}

static void
a_flush_does_not_speak_for_a_connection_that_ended (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  struct err err = ERR_INIT;
  pthread_t threads[2];
  void *ok;

  (void) state;
  start (serve_a_writer);
  b = open_uri (BLOCK_NBD_WRITE);
  for (int i = 0; i < 2; ++i)
    assert_int_equal (pthread_create (&threads[i], NULL, write_some, b), 0);
  for (int i = 0; i < 2; ++i) {
    pthread_join (threads[i], &ok);
    assert_ptr_equal (ok, b);
  }
  assert_int_equal (block_flush (b, &err), -EIO);
  assert_int_equal (block_flush (b, &err), -EIO);
  assert_int_equal (block_pwrite (b, "x", 1, 0, 0, &err), -EIO);
}

/*--- extents ---------------------------------------------------------------*/

/* Answers block status with the same half of the disk, said twice. */
static bool
say_twice (int fd, const struct nbd_server_request *req)
{
  uint8_t status[12];

  if (req->command != STATUS)
    return false;
  put_be32 (status, 1);
  put_be32 (status + 4, SIZE / 2);
  put_be32 (status + 8, 0);
  nbd_server_chunk (fd, req, 0, 5, status, sizeof status);
  nbd_server_chunk (fd, req, 1, 5, status, sizeof status);
  return true;
}

static void
serve_twice_said_extents (int fd, unsigned nth)
{
  (void) nth;
  serve_but (fd, &plain, disk, say_twice);
}

static void
extents_said_twice_are_counted_once (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  CLEANUP_EXTENT_LIST struct extent_list list = { VECTOR_INIT, 1 };

  (void) state;
  start (serve_twice_said_extents);
  b = open_uri (0);
  assert_true (block_size (b) == SIZE);
  assert_int_equal (block_extents (b, 4096, 0, &list, NULL), 0);
  assert_true (extent_list_end (&list, 0) == 4096);
  extent_list_free (&list);
  assert_int_equal (block_extents (b, SIZE / 2, 4096, &list, NULL), 0);
  assert_true (extent_list_end (&list, 0) == 4096 + SIZE / 2);
}

/* Pairs of length and state, ending with a length of END. */
#define END 0xABCDEF01U
static const uint32_t nonsense[][9] = {
  { END },                              /* nothing */
  { 0, 0, END },
  { 0, 0, 0, 3, 4096, 0, END },
  { 4096, 0, 0, 3, 4096, 3, END },
  { UINT32_MAX, 3, UINT32_MAX, 0, UINT32_MAX, 3, END },
  { 1, 0, 1, 3, 1, 0, 1, 3, END },
  { 4096, UINT32_MAX, 4096, 0x80000000, END },
  { SIZE - 1, 0, SIZE, 3, END },
};
#define NR_NONSENSE (sizeof nonsense / sizeof nonsense[0])

static bool
say_nonsense (int fd, const struct nbd_server_request *req)
{
  uint8_t status[4 + sizeof nonsense[0]];
  uint32_t len = 4;

  if (req->command != STATUS)
    return false;
  put_be32 (status, 1);
  for (const uint32_t *p = nonsense[shared->variant]; *p != END; p++) {
    put_be32 (status + len, *p);
    len += 4;
  }
  nbd_server_chunk (fd, req, 1, 5, status, len);
  return true;
}

/* A context nobody asked for, half of an entry, only half of a number. */
static bool
say_broken (int fd, const struct nbd_server_request *req)
{
  static const char status[] = "\0\0\0\1\0\0\x10\0\0\0\0\0\0\0\x10\0\0";

  if (req->command != STATUS)
    return false;
  if (shared->variant == 0)
    nbd_server_chunk (fd, req, 1, 5, "\0\0\0\7\0\0\x10\0\0\0\0\0", 12);
  else
    nbd_server_chunk (fd, req, 1, 5, status, (uint32_t) shared->variant);
  return true;
}

static void
serve_nonsense (int fd, unsigned nth)
{
  (void) nth;
  serve_but (fd, &plain, disk, say_nonsense);
}

static void
serve_broken (int fd, unsigned nth)
{
  (void) nth;
  serve_but (fd, &plain, disk, say_broken);
}

/* A list without gaps from the start of the range and within it, or an
 * error: nothing else may come out.
 */
static void
check_extents (struct block *b, uint64_t len, uint64_t off, size_t limit)
{
  CLEANUP_EXTENT_LIST struct extent_list list = { VECTOR_INIT, limit };
  struct err err = ERR_INIT;
  uint64_t at = off;

  if (block_extents (b, len, off, &list, &err) < 0) {
    assert_true (err.code < 0 && err.msg[0] != '\0');
    return;
  }
  for (size_t i = 0; i < list.v.len; ++i) {
    assert_true (list.v.ptr[i].off == at);
    assert_true (list.v.ptr[i].len > 0);
    at += list.v.ptr[i].len;
  }
  assert_true (at > off && at <= off + len);
  assert_true (limit > 0 || at == off + len);
  assert_true (limit == 0 || list.v.len <= limit + 1);  /* see extents.c */
}

static void
nonsense_about_extents_does_no_harm (void **state)
{
  (void) state;
  start (serve_nonsense);
  for (size_t i = 0; i < NR_NONSENSE; ++i) {
    CLEANUP_BLOCK struct block *b = NULL;

    shared->variant = (int) i;
    b = open_uri (0);
    check_extents (b, 4096, 8192, 0);
    check_extents (b, 10, 8191, 0);
    check_extents (b, SIZE, 0, 1);
    check_extents (b, SIZE, 0, 3);
    check_extents (b, 1, SIZE - 1, 0);
  }
}

static void
broken_extents_are_errors (void **state)
{
  static const int lengths[] = { 0, 1, 3, 4, 5, 8, 11, 13, 16 };

  (void) state;
  start (serve_broken);
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; ++i) {
    CLEANUP_BLOCK struct block *b = NULL;
    CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;

    shared->variant = lengths[i];
    b = open_uri (0);
    if (block_extents (b, 4096, 0, &list, NULL) == 0)
      fail_msg ("%d bytes of status were believed", lengths[i]);
  }
}

/*--- sizes -----------------------------------------------------------------*/

static const struct {
  struct nbd_server_export e;
  bool ok;
} sizes[] = {
  { { .size = 0, .flags = 3 }, true },
  { { .size = 1, .flags = 3 }, true },
  { { .size = 4095, .flags = 3 }, true },
  { { .size = UINT64_C (1) << 63, .flags = 3 }, false },
  { { .size = UINT64_MAX, .flags = 3 }, false },
  { { .size = SIZE, .flags = 0 }, false },
  { { .size = SIZE, .flags = 3, .minimum = 4096, .preferred = 4096,
      .maximum = 65536 }, true },
  { { .size = SIZE, .flags = 3, .minimum = 65536, .preferred = 65536,
      .maximum = 65536 }, true },
  { { .size = SIZE - 1, .flags = 3, .minimum = 4096, .preferred = 4096,
      .maximum = 65536 }, false },
};
#define NR_SIZES (sizeof sizes / sizeof sizes[0])

static void
serve_sizes (int fd, unsigned nth)
{
  (void) nth;
  serve_but (fd, &sizes[shared->variant].e, disk, NULL);
}

static void
sizes_that_can_not_be_are_refused (void **state)
{
  (void) state;
  start (serve_sizes);
  for (size_t i = 0; i < NR_SIZES; ++i) {
    CLEANUP_BLOCK struct block *b = NULL;
    struct err err = ERR_INIT;
    uint8_t buf[100] = { 0 };
    size_t len;
    int r;

    shared->variant = (int) i;
    r = block_nbd_open (uri, 0, &b, &err);
    if ((r == 0) != sizes[i].ok)
      fail_msg ("case %zu: %d, %s", i, r, err.msg);
    if (r < 0)
      continue;
    assert_true (block_size (b) == sizes[i].e.size);
    len = sizes[i].e.size < 100 ? (size_t) sizes[i].e.size : 100;
    assert_int_equal (block_pread (b, buf, len, 0, &err), 0);
    assert_memory_equal (buf, disk, len);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_teardown
      (lies_about_the_data_are_errors_and_leak_nothing, teardown),
    cmocka_unit_test_teardown (errors_of_any_number_are_errors, teardown),
    cmocka_unit_test_teardown (a_reply_that_breaks_off_is_asked_for_again,
                               teardown),
    cmocka_unit_test_teardown (one_that_always_breaks_off_is_an_error,
                               teardown),
    cmocka_unit_test_teardown (a_server_that_owes_an_answer_is_given_up,
                               teardown),
    cmocka_unit_test_teardown (a_server_that_sends_a_byte_now_and_then_too,
                               teardown),
    cmocka_unit_test_teardown (a_reader_goes_on_with_the_same_disk_only,
                               teardown),
    cmocka_unit_test_teardown
      (a_flush_does_not_speak_for_a_connection_that_ended, teardown),
    cmocka_unit_test_teardown (extents_said_twice_are_counted_once, teardown),
    cmocka_unit_test_teardown (nonsense_about_extents_does_no_harm, teardown),
    cmocka_unit_test_teardown (broken_extents_are_errors, teardown),
    cmocka_unit_test_teardown (sizes_that_can_not_be_are_refused, teardown),
  };

  return cmocka_run_group_tests (tests, set_up, clean_up);
}
