/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Swap space: what was swapped out is worth nothing once the machine is off,
 * and the first page says all that mkswap wrote.  A machine that is suspended
 * to it has another signature there, and all of it is used then.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/fsmap/used-reading.h"

#define SIGNATURE "SWAPSPACE2"
#define SIGNATURE_LEN 10
#define HEADER 1024             /* behind room for a boot loader */
#define MAX_PAGE 65536

/* The signature is at the end of the first page, which is as big as those of
 * the machine that made it.
 */
static int
find_page_size (struct used_reading *rd, uint64_t *page, struct err *err)
{
  char signature[SIGNATURE_LEN];

  for (*page = 4096; *page <= MAX_PAGE && *page <= rd->size; *page *= 2) {
    int r = used_pread (rd, "the signature of a swap space", signature,
                        sizeof signature, *page - SIGNATURE_LEN, err);

    if (r < 0 || memcmp (signature, SIGNATURE, SIGNATURE_LEN) == 0)
      return r;
  }
  return err_set (err, -ENOTSUP, "the swap space has no signature of a kind "
                  "that is known; a machine may be suspended to it");
}

int
used_read_swap (struct used_reading *rd, struct err *err)
{
  uint8_t header[16];
  uint64_t page = 0, end;
  int r = find_page_size (rd, &page, err);

  if (r == 0)
    r = used_pread (rd, "the header of a swap space", header, sizeof header,
                    HEADER, err);
  if (r < 0)
    return r;
  if (get_le32 (header) != 1)
    return err_set (err, -ENOTSUP, "the swap space is of version %" PRIu32
                    ", not 1", get_le32 (header));
  end = ((uint64_t) get_le32 (header + 4) + 1) * page;
  r = used_map_add (&rd->map, 0, page, err);
  if (r == 0)
    r = used_add_behind (rd, end, err);
  rd->unit = page;
  return r;
}
