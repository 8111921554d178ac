/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/block/nbd.h"
#include "tests/support/nbd-hostile.h"

uint8_t hostile_disk[HOSTILE_SIZE];
char hostile_uri[128];
struct hostile_shared *hostile;

const struct nbd_server_export hostile_plain = {
  .size = HOSTILE_SIZE, .flags = 3,
};

static char dir[] = "test-nbd-hostile.XXXXXX";
static char sock[64];
static pid_t server = -1;

void
hostile_sleep (long ms)
{
  struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

  nanosleep (&ts, NULL);
}

void
hostile_start (void (*serve) (int fd, unsigned nth))
{
  hostile->connections = 0;
  memset (hostile->counters, 0, sizeof hostile->counters);
  server = nbd_server_start (sock, serve);
  assert_true (server > 0);
  alarm (120);
}

int
hostile_teardown (void **state)
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

int
hostile_set_up (void **state)
{
  uint32_t x = 1;

  (void) state;
  for (size_t i = 0; i < HOSTILE_SIZE; ++i) {
    x = x * 1103515245 + 12345;
    hostile_disk[i] = (uint8_t) (x >> 16);
    if (hostile_disk[i] == 0xEE)    /* what buffers are filled with */
      hostile_disk[i] = 0;
  }
  hostile = mmap (NULL, sizeof *hostile, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (hostile == MAP_FAILED || mkdtemp (dir) == NULL)
    return -1;
  snprintf (sock, sizeof sock, "%s/s", dir);
  snprintf (hostile_uri, sizeof hostile_uri, "nbd+unix:///?socket=%s", sock);
  return 0;
}

int
hostile_clean_up (void **state)
{
  (void) state;
  unlink (sock);
  return rmdir (dir);
}

struct block *
hostile_open (unsigned flags)
{
  struct block *b = NULL;
  struct err err = ERR_INIT;

  if (block_nbd_open (hostile_uri, flags, &b, &err) < 0)
    fail_msg ("%s", err.msg);
  return b;
}

void
hostile_error (int fd, const struct nbd_server_request *req, uint32_t error)
{
  uint8_t payload[6] = { 0 };

  put_be32 (payload, error);
  nbd_server_chunk (fd, req, 1, 0x8001, payload, sizeof payload);
}

void
hostile_serve (int fd, const struct nbd_server_export *e,
               const uint8_t *bytes,
               bool (*special) (int fd,
                                const struct nbd_server_request *req))
{
  struct nbd_server_request req;

  __atomic_add_fetch (&hostile->connections, 1, __ATOMIC_SEQ_CST);
  nbd_server_shake_hands (fd, e);
  while (nbd_server_next (fd, &req)) {
    if (special && special (fd, &req))
      continue;
    if (req.command == NBD_SERVER_READ && req.off + req.len <= HOSTILE_SIZE)
      nbd_server_data (fd, &req, bytes + req.off);
    else if (req.command == NBD_SERVER_READ || req.command == NBD_SERVER_STATUS)
      hostile_error (fd, &req, EINVAL);
    else
      nbd_server_chunk (fd, &req, 1, 0, "", 0);
  }
}
