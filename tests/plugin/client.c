/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A client for the tests of the plugin, for what nbdinfo, nbdcopy, qemu-io
 * and fio can't do.
 *
 *   client status URI OFFSET LENGTH    one block status request; prints
 *                                      "OFFSET LENGTH TYPE" for each extent
 *   client random URI SEED COUNT MODEL COUNT random requests of any alignment
 *                                      against a disk of at most 64 MiB; what
 *                                      the disk must hold in the end is
 *                                      written to the file MODEL
 *   client write URI [fua|flush]       write 512 bytes, with that
 *   client nonsense URI                requests that no client should send
 *                                      are refused, and the next one served
 *   client connects URI COUNT          connect, read, disconnect
 *   client faults URI MODEL FLAG       read the disk, which is that of the file
 *                                      MODEL; again while the file FLAG makes
 *                                      a server further down fail, which must
 *                                      be EIO at least once; and again.  Three
 *                                      times
 *   client until URI SEED              connect, print "connected", write
 *                                      sectors until the server is gone, print
 *                                      how many writes it answered
 *   client after URI SEED COUNT        they are all there
 *   client hold URI                    connect, print "connected", wait for
 *                                      the end of stdin, then read and end
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libnbd.h>

#define LARGEST_DISK (64 * 1024 * 1024)
#define LARGEST_REQUEST (300 * 1024)

static void __attribute__ ((__noreturn__, __format__ (__printf__, 1, 2)))
die (const char *fmt, ...)
{
  va_list ap;

  va_start (ap, fmt);
  fprintf (stderr, "client: ");
  vfprintf (stderr, fmt, ap);
  fprintf (stderr, "\n");
  va_end (ap);
  exit (1);
}

static void
must (int r, const char *what)
{
  if (r < 0)
    die ("%s: %s", what, nbd_get_error ());
}

static struct nbd_handle *
connect_to (const char *uri)
{
  struct nbd_handle *h = nbd_create ();

  if (h == NULL)
    die ("nbd_create: %s", nbd_get_error ());
  must (nbd_add_meta_context (h, LIBNBD_CONTEXT_BASE_ALLOCATION), "context");
  must (nbd_connect_uri (h, uri), "connect");
  return h;
}

static void
disconnect (struct nbd_handle *h)
{
  must (nbd_shutdown (h, 0), "shutdown");
  nbd_close (h);
}

/*--- status ----------------------------------------------------------------*/

static int
print_extents (void *opaque, const char *context, uint64_t offset,
               uint32_t *entries, size_t nr_entries, int *error)
{
  (void) opaque;
  (void) error;
  if (strcmp (context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
    return 0;
  for (size_t i = 0; i + 1 < nr_entries; i += 2) {
    printf ("%" PRIu64 " %" PRIu32 " %" PRIu32 "\n", offset, entries[i],
            entries[i + 1]);
    offset += entries[i];
  }
  return 0;
}

static void
status (const char *uri, uint64_t offset, uint64_t length)
{
  struct nbd_handle *h = connect_to (uri);

  must (nbd_block_status (h, length, offset,
                          (nbd_extent_callback) { .callback = print_extents },
                          0), "block status");
  disconnect (h);
}

/*--- random ----------------------------------------------------------------*/

struct disk {
  struct nbd_handle *h;
  char *model;                  /* what it must hold */
  char *buf;                    /* LARGEST_REQUEST */
  uint64_t size;
};

/* A range; small and unaligned ones and whole blocks, all about as often. */
static void
random_range (const struct disk *d, uint64_t *off, uint64_t *len)
{
  static const uint64_t units[] = { 1, 512, 4096, 65536 };
  uint64_t unit = units[random () % 4];

  *off = (uint64_t) random () % d->size / unit * unit;
  *len = (1 + (uint64_t) random () % 8) * unit - (uint64_t) random () % unit;
  if (random () % 8 == 0)
    *len = 1 + (uint64_t) random () % LARGEST_REQUEST;
  if (*len > LARGEST_REQUEST)
    *len = LARGEST_REQUEST;
  if (*len > d->size - *off)
    *len = d->size - *off;
}

static void
compare (const struct disk *d, uint64_t off, uint64_t len)
{
  for (uint64_t i = 0; i < len; ++i)
    if (d->buf[i] != d->model[off + i])
      die ("byte %" PRIu64 " is %02x, expected %02x", off + i,
           d->buf[i] & 0xff, d->model[off + i] & 0xff);
}

static void
read_and_compare (struct disk *d, uint64_t off, uint64_t len)
{
  must (nbd_pread (d->h, d->buf, len, off, 0), "read");
  compare (d, off, len);
}

/* What is read after a trim is the old byte or zero, and then stays so. */
static void
trim (struct disk *d, uint64_t off, uint64_t len, uint32_t fua)
{
  must (nbd_trim (d->h, len, off, fua), "trim");
  must (nbd_pread (d->h, d->buf, len, off, 0), "read");
  for (uint64_t i = 0; i < len; ++i)
    if (d->buf[i] == 0)
      d->model[off + i] = 0;
  compare (d, off, len);
}

/* Extents cover the request from its start, and zero means zero. */
static int
check_extents (void *opaque, const char *context, uint64_t offset,
               uint32_t *entries, size_t nr_entries, int *error)
{
  const struct disk *d = opaque;

  (void) context;
  (void) error;
  for (size_t i = 0; i + 1 < nr_entries; i += 2) {
    if (entries[i] > d->size - offset)
      die ("an extent at %" PRIu64 " ends behind the disk", offset);
    for (uint64_t j = 0; entries[i + 1] & 2 && j < entries[i]; ++j)
      if (d->model[offset + j] != 0)
        die ("byte %" PRIu64 " is not zero, its extent says so", offset + j);
    offset += entries[i];
  }
  return 0;
}

static void
random_request (struct disk *d)
{
  uint32_t fua = random () % 4 == 0 ? LIBNBD_CMD_FLAG_FUA : 0;
  nbd_extent_callback cb = { .callback = check_extents, .user_data = d };
  uint64_t off, len;

  random_range (d, &off, &len);
  switch (random () % 10) {
  case 0: case 1: case 2:
    read_and_compare (d, off, len);
    break;
  case 3: case 4: case 5:
    for (uint64_t i = 0; i < len; ++i)
      d->model[off + i] = (char) random ();
    must (nbd_pwrite (d->h, d->model + off, len, off, fua), "write");
    break;
  case 6:
    if (!nbd_can_zero (d->h))
      break;
    must (nbd_zero (d->h, len, off,
                    fua | (random () & 1 ? LIBNBD_CMD_FLAG_NO_HOLE : 0)),
          "zero");
    memset (d->model + off, 0, len);
    break;
  case 7:
    if (nbd_can_trim (d->h))
      trim (d, off, len, fua);
    break;
  case 8:
    must (nbd_block_status (d->h, len, off, cb, 0), "block status");
    must (nbd_block_status (d->h, len, off, cb, LIBNBD_CMD_FLAG_REQ_ONE),
          "block status of one extent");
    break;
  default:
    must (nbd_flush (d->h, 0), "flush");
    must (nbd_cache (d->h, len, off, 0), "cache");
  }
}

static void
read_all (struct disk *d, bool into_model)
{
  uint64_t n;

  for (uint64_t off = 0; off < d->size; off += n) {
    n = d->size - off < LARGEST_REQUEST ? d->size - off : LARGEST_REQUEST;
    if (into_model)
      must (nbd_pread (d->h, d->model + off, n, off, 0), "read");
    else
      read_and_compare (d, off, n);
  }
}

static void
run_random (const char *uri, unsigned seed, unsigned count, const char *path)
{
  struct disk d = { .h = connect_to (uri) };
  FILE *fp;

  d.size = (uint64_t) nbd_get_size (d.h);
  if (d.size == 0 || d.size > LARGEST_DISK)
    die ("a disk of %" PRIu64 " bytes is not for this", d.size);
  d.model = malloc (d.size);
  d.buf = malloc (LARGEST_REQUEST);
  if (d.model == NULL || d.buf == NULL)
    die ("out of memory");
  read_all (&d, true);
  printf ("seed %u\n", seed);
  srandom (seed);
  while (count-- > 0)
    random_request (&d);
  read_all (&d, false);
  must (nbd_flush (d.h, 0), "flush");
  disconnect (d.h);

  fp = fopen (path, "w");
  if (fp == NULL || fwrite (d.model, d.size, 1, fp) != 1 || fclose (fp) != 0)
    die ("%s: %s", path, strerror (errno));
  free (d.model);
  free (d.buf);
}

static void
write_once (const char *uri, const char *how)
{
  struct nbd_handle *h = connect_to (uri);
  char buf[512] = "written";

  must (nbd_pwrite (h, buf, sizeof buf, 0, strcmp (how, "fua") == 0
                    ? LIBNBD_CMD_FLAG_FUA : 0), "write");
  if (strcmp (how, "flush") == 0)
    must (nbd_flush (h, 0), "flush");
  disconnect (h);
}

/*--- nonsense --------------------------------------------------------------*/

static void
refused (struct nbd_handle *h, int r, const char *what)
{
  char buf[512];

  if (r >= 0)
    die ("%s succeeded", what);
  printf ("%s: %s\n", what, nbd_get_error ());
  must (nbd_pread (h, buf, sizeof buf, 0, 0), "read after nonsense");
}

static void
nonsense (const char *uri)
{
  struct nbd_handle *h = connect_to (uri);
  nbd_extent_callback cb = { .callback = print_extents };
  uint64_t size = (uint64_t) nbd_get_size (h);
  bool readonly = nbd_is_read_only (h) > 0;
  char buf[4096] = "";

  must (nbd_set_strict_mode (h, 0), "strict mode");
  refused (h, nbd_pread (h, buf, 512, size, 0), "read at the end");
  refused (h, nbd_pread (h, buf, 512, size - 511, 0), "read across the end");
  refused (h, nbd_pread (h, buf, 512, UINT64_MAX - 511, 0), "read far away");
  refused (h, nbd_block_status (h, 512, size, cb, 0), "status at the end");
  refused (h, nbd_cache (h, 4096, size - 1, 0), "cache across the end");
  refused (h, nbd_pwrite (h, buf, 4096, size - 4095, 0), "write across the "
           "end");
  refused (h, nbd_trim (h, UINT32_MAX, size - 4095, 0), "trim across the end");
  refused (h, nbd_zero (h, UINT32_MAX, size - 4095, 0), "zero across the end");
  refused (h, nbd_zero (h, 1, UINT64_MAX, 0), "zero far away");
  if (readonly) {
    refused (h, nbd_pwrite (h, buf, 512, 0, 0), "write to a read-only disk");
    refused (h, nbd_zero (h, 512, 0, 0), "zero on a read-only disk");
    refused (h, nbd_trim (h, 512, 0, 0), "trim on a read-only disk");
  }
  disconnect (h);
}

/*--- connections -----------------------------------------------------------*/

static void
connects (const char *uri, unsigned count)
{
  char buf[512];

  while (count-- > 0) {
    struct nbd_handle *h = connect_to (uri);

    must (nbd_pread (h, buf, sizeof buf, 0, 0), "read");
    /* Some clients just go. */
    if (count % 2)
      nbd_close (h);
    else
      disconnect (h);
  }
}

/* Reads all of the disk in small requests.  Returns how many failed; each did
 * so with EIO, and what did not fail is as in the model.
 */
static unsigned
read_disk (struct nbd_handle *h, const char *model, uint64_t size)
{
  const size_t chunk = 24 * 1024;
  char buf[24 * 1024];
  unsigned nr_failed = 0;

  for (uint64_t off = 0; off < size; off += chunk) {
    size_t len = size - off < chunk ? (size_t) (size - off) : chunk;

    if (nbd_pread (h, buf, len, off, 0) < 0) {
      nr_failed++;
      if (nbd_get_errno () != EIO)
        die ("a read failed with %s, expected EIO", nbd_get_error ());
    }
    else if (memcmp (buf, model + off, len) != 0)
      die ("wrong bytes in the %zu at offset %" PRIu64, len, off);
  }
  return nr_failed;
}

static void
read_without_faults (struct nbd_handle *h, const char *model, uint64_t size)
{
  if (read_disk (h, model, size) > 0)
    die ("a read failed without a fault: %s", nbd_get_error ());
}

static void
faults (const char *uri, const char *path, const char *flag)
{
  struct nbd_handle *h = connect_to (uri);
  uint64_t size = (uint64_t) nbd_get_size (h);
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  unsigned nr_failed = 0;
  char *model = malloc (size + 1);

  if (fd < 0 || model == NULL || size > LARGEST_DISK ||
      read (fd, model, size + 1) != (ssize_t) size)
    die ("%s is not a model of %" PRIu64 " bytes", path, size);
  close (fd);
  for (unsigned i = 0; i < 3; ++i) {
    read_without_faults (h, model, size);
    fd = open (flag, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
      die ("%s: %s", flag, strerror (errno));
    close (fd);
    nr_failed = read_disk (h, model, size);
    if (unlink (flag) < 0 || nr_failed == 0)
      die ("no read failed");
    read_without_faults (h, model, size);
  }
  printf ("%u reads failed\n", nr_failed);
  disconnect (h);
  free (model);
}

/*--- until, after -----------------------------------------------------------*/

/* Write number n goes to this sector; some are in fresh blocks, some are
 * written again.
 */
static uint64_t
nth_sector (uint64_t size, uint64_t n)
{
  return n * UINT64_C (2654435761) % (size / 512);
}

static void
nth_bytes (char buf[512], unsigned seed, uint64_t n)
{
  for (unsigned i = 0; i < 512; ++i)
    buf[i] = (char) (1 + (seed + n + i) % 251);
}

/* A flush in a while, so that there is one under way now and then. */
static void
write_until (const char *uri, unsigned seed)
{
  struct nbd_handle *h = connect_to (uri);
  uint64_t size = (uint64_t) nbd_get_size (h), n = 0;
  char buf[512];

  printf ("connected\n");
  fflush (stdout);
  for (;; ++n) {
    nth_bytes (buf, seed, n);
    if (nbd_pwrite (h, buf, sizeof buf, nth_sector (size, n) * 512, 0) < 0)
      break;
    if (n % 512 == 511 && nbd_flush (h, 0) < 0) {
      n++;
      break;
    }
  }
  printf ("%" PRIu64 "\n", n);
  nbd_close (h);
}

/* A sector that was written several times holds the last of them; the one
 * that was not answered may be there, too.
 */
static void
check_after (const char *uri, unsigned seed, uint64_t count)
{
  struct nbd_handle *h = connect_to (uri);
  uint64_t size = (uint64_t) nbd_get_size (h), nr = size / 512;
  uint64_t *last = calloc (nr, sizeof *last);
  char expected[512], found[512];

  if (last == NULL)
    die ("out of memory");
  for (uint64_t n = 0; n < count; ++n)
    last[nth_sector (size, n)] = n + 1;
  for (uint64_t s = 0; s < nr; ++s) {
    if (last[s] == 0 || s == nth_sector (size, count))
      continue;
    must (nbd_pread (h, found, sizeof found, s * 512, 0), "read");
    nth_bytes (expected, seed, last[s] - 1);
    if (memcmp (found, expected, sizeof found) != 0)
      die ("sector %" PRIu64 " is not what write %" PRIu64 " of %" PRIu64
           " wrote", s, last[s] - 1, count);
  }
  free (last);
  disconnect (h);
}

static void
hold (const char *uri)
{
  struct nbd_handle *h = connect_to (uri);
  char buf[512];

  printf ("connected\n");
  fflush (stdout);
  while (read (STDIN_FILENO, buf, sizeof buf) > 0)
    ;
  must (nbd_pread (h, buf, sizeof buf, 0, 0), "read");
  disconnect (h);
}

int
main (int argc, char *argv[])
{
  const char *command = argc > 2 ? argv[1] : "";

  if (strcmp (command, "status") == 0 && argc == 5)
    status (argv[2], strtoull (argv[3], NULL, 0), strtoull (argv[4], NULL, 0));
  else if (strcmp (command, "random") == 0 && argc == 6)
    run_random (argv[2], (unsigned) atoi (argv[3]), (unsigned) atoi (argv[4]),
                argv[5]);
  else if (strcmp (command, "write") == 0 && (argc == 3 || argc == 4))
    write_once (argv[2], argc == 4 ? argv[3] : "");
  else if (strcmp (command, "nonsense") == 0 && argc == 3)
    nonsense (argv[2]);
  else if (strcmp (command, "connects") == 0 && argc == 4)
    connects (argv[2], (unsigned) atoi (argv[3]));
  else if (strcmp (command, "faults") == 0 && argc == 5)
    faults (argv[2], argv[3], argv[4]);
  else if (strcmp (command, "until") == 0 && argc == 4)
    write_until (argv[2], (unsigned) atoi (argv[3]));
  else if (strcmp (command, "after") == 0 && argc == 5)
    check_after (argv[2], (unsigned) atoi (argv[3]),
                 strtoull (argv[4], NULL, 0));
  else if (strcmp (command, "hold") == 0 && argc == 3)
    hold (argv[2]);
  else
    die ("usage: see the top of the source");
  return 0;
}
