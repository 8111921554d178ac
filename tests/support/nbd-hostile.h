/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the tests with hostile NBD servers share: a disk, a server of it that
 * misbehaves as told, and blocks on its export.
 */

#ifndef NBDIMAGE_TESTS_NBD_HOSTILE_H
#define NBDIMAGE_TESTS_NBD_HOSTILE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/block/block.h"
#include "tests/support/nbd-server.h"

#define HOSTILE_SIZE (1U << 20)

/* Where the server misbehaves, if it does so in one place; not at the ends,
 * which are read when a block is opened.
 */
#define HOSTILE_OFF 65536U
#define HOSTILE_LEN 8192U

extern uint8_t hostile_disk[HOSTILE_SIZE];      /* without the byte 0xEE */
extern char hostile_uri[128];

/* HOSTILE_SIZE bytes, for reading only. */
extern const struct nbd_server_export hostile_plain;

/* Shared with the servers, which are processes. */
struct hostile_shared {
  unsigned connections;         /* since hostile_start; atomic */
  int variant;                  /* the test's own */
  unsigned counters[5];         /* the test's own, 0 at hostile_start */
};
extern struct hostile_shared *hostile;

/* For the whole group of tests: cmocka's setup and teardown. */
int hostile_set_up (void **state);
int hostile_clean_up (void **state);

/* Start a server.  The alarm is set, for what hangs. */
void hostile_start (void (*serve) (int fd, unsigned nth));

/* End it: cmocka's teardown of one test. */
int hostile_teardown (void **state);

/* A block on its export, or the test fails.  Flags as for block_nbd_open. */
struct block *hostile_open (unsigned flags);

void hostile_sleep (long ms);

/* In the server.  Answer a request with an error of this number. */
void hostile_error (int fd, const struct nbd_server_request *req,
                    uint32_t error);

/* In the server.  Serve well until the client goes, but for what `special`
 * does (NULL: nothing): true if it has answered.
 */
void hostile_serve (int fd, const struct nbd_server_export *e,
                    const uint8_t *bytes,
                    bool (*special) (int fd,
                                     const struct nbd_server_request *req));

#endif /* NBDIMAGE_TESTS_NBD_HOSTILE_H */
