/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/size.h"
#include "lib/repo/verify-sample.h"

#define WHOLE UINT64_C (100000000)      /* of which share is a part */
#define DECIMALS 6

static int
refuse (const char *str, struct err *err)
{
  return err_set (err, -EINVAL, "‘%s’ is neither a share, as 2%%, nor a size",
                  str);
}

/* Up to the sign. */
static int
parse_share (const char *str, uint64_t *share, struct err *err)
{
  const char *p = str;
  uint64_t n = 0;
  int decimals = -1;

  for (; *p != '%'; ++p) {
    if (*p == '.' && decimals < 0 && p > str)
      decimals = 0;
    else if (!isdigit ((unsigned char) *p) || decimals == DECIMALS ||
             n > WHOLE)
      return refuse (str, err);
    else {
      n = 10 * n + (uint64_t) (*p - '0');
      decimals += decimals >= 0;
    }
  }
  for (int i = decimals < 0 ? 0 : decimals; i < DECIMALS; ++i)
    n *= 10;
  if (p[1] != '\0' || n == 0 || n > WHOLE)
    return refuse (str, err);
  *share = n;
  return 0;
}

int
verify_sample_parse (const char *str, struct verify_sample *sample,
                     struct err *err)
{
  *sample = (struct verify_sample) { .share = 0 };
  if (strchr (str, '%') != NULL)
    return parse_share (str, &sample->share, err);
  if (size_parse (str, &sample->size, NULL) < 0 || sample->size == 0)
    return refuse (str, err);
  return 0;
}

void
verify_sample_begin (struct verify_sample *sample, uint64_t nr,
                     uint64_t bytes)
{
  double part = sample->share > 0 ? (double) sample->share / (double) WHOLE
    : bytes > 0 ? (double) sample->size / (double) bytes : 1.0;
  double wanted = part * (double) nr;

  sample->left = nr;
  sample->wanted = part >= 1.0 ? nr : min_u64 ((uint64_t) wanted, nr);
  if ((double) sample->wanted < wanted && sample->wanted < nr)
    ++sample->wanted;
}

/* splitmix64 */
static uint64_t
next_random (uint64_t *state)
{
  uint64_t z = *state += UINT64_C (0x9e3779b97f4a7c15);

  z = (z ^ z >> 30) * UINT64_C (0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C (0x94d049bb133111eb);
  return z ^ z >> 31;
}

/* Of those that come it is one as likely as any other.  The remainder favours
 * some by less than 1 in 2^24, of a billion pieces.
 */
bool
verify_sample_draw (struct verify_sample *sample)
{
  bool drawn;

  if (sample->left == 0)
    return false;
  drawn = next_random (&sample->random) % sample->left < sample->wanted;
  --sample->left;
  sample->wanted -= drawn;
  return drawn;
}

double
verify_sample_chance (uint64_t nr, uint64_t drawn, uint64_t bad)
{
  uint64_t few = min_u64 (drawn, bad), many = max_u64 (drawn, bad);
  double missed = 1.0;

  if (drawn == 0 || bad == 0)
    return 0.0;
  if (many >= nr || few > nr - many)
    return 1.0;
  for (uint64_t i = 0; i < few && missed > 1e-12; ++i)
    missed *= (double) (nr - many - i) / (double) (nr - i);
  return 1.0 - missed;
}
