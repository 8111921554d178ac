/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Containers that we do not read are not taken for raw disks. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "lib/block/memory.h"
#include "lib/format/image.h"

#define SIZE 200000
#define END(n) (SIZE - (n))
#define BYTES(literal) literal, sizeof (literal) - 1

/* Where the signature is, and what the file is said to be. */
static const struct {
  size_t off;
  const char *bytes;
  size_t len;
  const char *said;
} containers[] = {
  { 0, BYTES ("QFI\xFB\0\0\0\001"), "it is a qcow file" },
  { 0, BYTES ("QFI\xFB\0\0\0\003"), "it is a qcow2 file" },
  { 0, BYTES ("KDMV"), "it is a VMDK file" },
  { 64, BYTES ("\x7F\x10\xDA\xBE"), "it is a VDI file" },
  { 0, BYTES ("\x02\x21\x4C\x18"), "it is an lz4-compressed (in the legacy "
    "format) file" },
  { 0, BYTES ("CISO\x18\0\0\0"), "it is a CSO (compressed ISO) file" },
  { 0, BYTES ("ZISO\x18\0\0\0"), "it is a ZSO (compressed ISO) file" },
  { 0, BYTES ("DAX\0"), "it is a DAX (compressed ISO) file" },
  { 0, BYTES ("IsZ!"), "it is an ISZ (compressed ISO) file" },
  { 0, BYTES ("DAA\0\0\0"), "it is a DAA (PowerISO) file" },
  { 0, BYTES ("MComprHD\0\0\0\x7C"), "it is a CHD (MAME) file" },
  { 0, BYTES ("MEDIA DESCRIPTOR\1\3"), "it is an MDS (the disc is in the .mdf "
    "beside it) file" },
  { 0, BYTES ("[CloneCD]\r\n"), "it is a CCD (the disc is in the .img beside "
    "it) file" },
  { 0, BYTES ("FILE \"disc.bin\" BINARY\n"), "it is a cue sheet (the disc is "
    "in the file it names) file" },
  { 16 * 2336 + 8, BYTES ("\1CD001\1"), "it is a raw CD (sectors of 2336 "
    "bytes) file" },
  { END (12), BYTES ("NER5\0\0\0\0\0\1\0\0"), "it is an NRG (Nero) file" },
  { END (8), BYTES ("NERO\0\1\0\0"), "it is an NRG (Nero) file" },
  { END (64), BYTES ("bbis"), "it is a UIF (MagicISO) file" },
  { END (8), BYTES ("\4\0\0\x80\0\1\0\0"), "it is a CDI (DiscJuggler) file" },
  { END (8), BYTES ("\6\0\0\x80\0\1\0\0"), "it is a CDI (DiscJuggler) file" },
};

/* Nearly one of them. */
static const struct {
  size_t off;
  const char *bytes;
  size_t len;
} disks[] = {
  { 0, BYTES ("QFI\xFA") },
  { 1, BYTES ("CISO") },
  { END (12), BYTES ("NER5\0\0\0\0\0\xFF\0\0") },       /* tables outside */
  { END (8), BYTES ("NERO\0\xFF\0\0") },
  { END (8), BYTES ("\4\0\0\x80\0\0\0\0") },
  { END (8), BYTES ("\4\0\0\x80\0\0\xFF\0") },
  { END (8), BYTES ("\3\0\0\x80\0\1\0\0") },
  { END (8), BYTES ("\7\0\0\x80\0\1\0\0") },
  { END (63), BYTES ("bbis") },
};

static uint8_t disk[SIZE];

static int
open_disk (size_t size, const char *format, char shown[8], struct err *err)
{
  CLEANUP_BLOCK struct block *b = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  const struct image_options options = { .format = format };
  int r;

  assert_int_equal (block_memory_new ("disk", disk, size, &b, NULL), 0);
  r = image_open_block (b, &options, &img, NULL, err);
  if (r == 0)
    snprintf (shown, 8, "%s", image_format (img));
  return r;
}

static void
containers_of_others_are_refused (void **state)
{
  (void) state;
  for (size_t i = 0; i < sizeof containers / sizeof containers[0]; ++i) {
    struct err err = ERR_INIT;
    char shown[8];

    memset (disk, 0x11, sizeof disk);
    memcpy (disk + containers[i].off, containers[i].bytes, containers[i].len);
    assert_int_equal (open_disk (SIZE, NULL, shown, &err), -ENOTSUP);
    if (strstr (err.msg, containers[i].said) == NULL)
      fail_msg ("‘%s’ is not in ‘%s’", containers[i].said, err.msg);
    assert_non_null (strstr (err.msg, "use format=raw for its bytes"));
    assert_int_equal (open_disk (SIZE, "raw", shown, &err), 0);
  }
}

static void
disks_that_look_a_little_like_them_are_raw (void **state)
{
  (void) state;
  for (size_t i = 0; i < sizeof disks / sizeof disks[0]; ++i) {
    struct err err = ERR_INIT;
    char shown[8];

    memset (disk, 0x11, sizeof disk);
    memcpy (disk + disks[i].off, disks[i].bytes, disks[i].len);
    if (open_disk (SIZE, NULL, shown, &err) < 0)
      fail_msg ("%zu: %s", i, err.msg);
    assert_string_equal (shown, "raw");
  }
}

/* Signatures need all their bytes. */
static void
files_of_a_few_bytes_are_raw (void **state)
{
  char shown[8];

  (void) state;
  memset (disk, 0, sizeof disk);
  memcpy (disk, "bbisNER5", 8);
  for (size_t size = 0; size < 64; ++size) {
    assert_int_equal (open_disk (size, NULL, shown, NULL), 0);
    assert_string_equal (shown, "raw");
  }
}

/* A container whose sectors come first is not taken for what is in them. */
static void
raw_sectors_in_a_container_are_refused (void **state)
{
  struct err err = ERR_INIT;
  char shown[8];

  (void) state;
  memset (disk, 0, sizeof disk);
  for (unsigned i = 0; i < 80; ++i) {
    memset (disk + 2352 * i + 1, 0xFF, 10);
    disk[2352 * i + 15] = 1;
  }
  memcpy (disk + END (12), "NER5\0\0\0\0\0\1\0\0", 12);
  assert_int_equal (open_disk (SIZE, NULL, shown, &err), -ENOTSUP);
  assert_non_null (strstr (err.msg, "it is an NRG (Nero) file"));
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (containers_of_others_are_refused),
    cmocka_unit_test (disks_that_look_a_little_like_them_are_raw),
    cmocka_unit_test (files_of_a_few_bytes_are_raw),
    cmocka_unit_test (raw_sectors_in_a_container_are_refused),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
