/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Blocks of a VHDX whose state is undefined or unmapped, as others write
 * them: a part of one that becomes zero hides no other part that somebody
 * writes at the same time.
 */

#include <config.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "lib/format/image.h"
#include "lib/format/vhdx/vhdx.h"
#include "tests/support/recorder.h"
#include "tests/support/vhdx-maker.h"

#define MIB ((uint64_t) VHDX_MIB)
#define NR_BLOCKS 24U
#define ROUNDS 40U
#define MIDDLE (256 * 1024)

static char folder[] = "/tmp/nbdimage-vhdx-hide-XXXXXX";

static void
parent_path (char path[100])
{
  snprintf (path, 100, "%s/parent.vhdx", folder);
}

static struct block *
make_disk (const struct vhdx_spec *spec)
{
  struct vhdx_maker *m = vhdx_maker_new (spec);
  struct block *block;

  for (unsigned i = 0; i < NR_BLOCKS; ++i)
    vhdx_maker_put_entry (m, vhdx_maker_entry (m, i), 0,
                          i % 2 ? VHDX_UNMAPPED : VHDX_UNDEFINED);
  vhdx_maker_finish (m);
  block = recorder_new (m->data, m->len);
  vhdx_maker_free (m);
  return block;
}

struct pair {
  struct image *img;
  pthread_barrier_t barrier;
};

static void
must (int r)
{
  if (r != 0)
    abort ();
}

static void *
zero_beginnings (void *arg)
{
  struct pair *p = arg;

  for (unsigned i = 0; i < NR_BLOCKS; ++i) {
    pthread_barrier_wait (&p->barrier);
    /* While the other is at it, now and then. */
    for (volatile unsigned n = 0; n < i * 2000; ++n)
      ;
    must (image_zero (p->img, 4096, i * MIB, 0, NULL));
  }
  return NULL;
}

static void *
write_middles (void *arg)
{
  struct pair *p = arg;
  static uint8_t data[MIDDLE];

  memset (data, 0x77, sizeof data);
  for (unsigned i = 0; i < NR_BLOCKS; ++i) {
    pthread_barrier_wait (&p->barrier);
    must (image_pwrite (p->img, data, sizeof data, i * MIB + MIB / 2, 0,
                        NULL));
  }
  return NULL;
}

static void
look_at_middles (struct image *img)
{
  for (unsigned i = 0; i < NR_BLOCKS; ++i) {
    uint8_t byte[2];

    must (image_pread (img, &byte[0], 1, i * MIB + MIB / 2, NULL));
    must (image_pread (img, &byte[1], 1, i * MIB, NULL));
    assert_int_equal (byte[0], 0x77);
    assert_int_equal (byte[1], 0);
  }
}

static struct image *
open_disk (struct block *block, bool writable)
{
  const struct image_options options = { .parent_path = folder,
                                         .writable = writable };
  struct image *img;
  struct err err = ERR_INIT;

  if (image_open_block (block, &options, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  return img;
}

static void
a_round (const struct vhdx_spec *spec)
{
  struct block *block = make_disk (spec);
  struct pair p = { .img = open_disk (block, true) };
  struct image *img;
  pthread_t threads[2];

  must (pthread_barrier_init (&p.barrier, NULL, 2));
  must (pthread_create (&threads[0], NULL, zero_beginnings, &p));
  must (pthread_create (&threads[1], NULL, write_middles, &p));
  pthread_join (threads[0], NULL);
  pthread_join (threads[1], NULL);
  pthread_barrier_destroy (&p.barrier);
  look_at_middles (p.img);
  image_unref (p.img);
  img = open_disk (block, false);
  look_at_middles (img);
  image_unref (img);
  block_unref (block);
}

static void
in_a_dynamic_disk (void **state)
{
  const struct vhdx_spec spec = { .size = NR_BLOCKS * MIB };

  (void) state;
  for (unsigned i = 0; i < ROUNDS; ++i)
    a_round (&spec);
}

static void
in_a_child (void **state)
{
  const struct vhdx_spec spec = {
    .size = NR_BLOCKS * MIB, .id = 2, .parent_id = 1,
    .locators = { { "relative_path", ".\\parent.vhdx" } },
  };

  (void) state;
  for (unsigned i = 0; i < ROUNDS; ++i)
    a_round (&spec);
}

static int
set_up (void **state)
{
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = NR_BLOCKS * MIB, .id = 1 });
  char path[100];

  (void) state;
  assert_non_null (mkdtemp (folder));
  parent_path (path);
  vhdx_maker_finish (m);
  vhdx_maker_save (m, path);
  vhdx_maker_free (m);
  return 0;
}

static int
clean_up (void **state)
{
  char path[100];

  (void) state;
  parent_path (path);
  unlink (path);
  return rmdir (folder);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (in_a_dynamic_disk),
    cmocka_unit_test (in_a_child),
  };

  return cmocka_run_group_tests (tests, set_up, clean_up);
}
