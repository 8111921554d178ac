/* SPDX-License-Identifier: GPL-2.0-or-later */

/* VHDXs with and without a log to replay.  A differencing one finds a parent,
 * if it says that its parent has the identity of the one that is there.
 */

#include <config.h>

#include "tests/fuzz/fix.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/parents.h"

void
fuzz_fix (struct sparse *s)
{
  fix_vhdx (s);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t len)
{
  struct sparse s;

  sparse_decode (data, len, &s);
  if (s.options & SPARSE_FIX)
    fuzz_fix (&s);
  fuzz_image (&s, "vhdx", parents_folder ());
  sparse_free (&s);
  return 0;
}
