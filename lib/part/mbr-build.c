/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/part/build.h"

#define SIGNATURE_OFF 440
#define TABLE_OFF 446
#define ENTRY_SIZE 16

/* The boot program (16-bit, at 0:7c00):
 *
 *         cli; xor %ax,%ax; mov %ax,%ss; mov $0x7c00,%sp
 *         mov %ax,%ds; mov %ax,%es; sti; cld
 *         mov %sp,%si; mov $0x600,%di; mov $0x100,%cx; rep movsw
 *         ljmp $0,$0x61d                  # out of the way
 *         mov $0x7be,%si; mov $4,%cl      # the table
 *   next: testb $0x80,(%si); jnz found; add $16,%si; loop next
 *         mov $none,%si; jmp say
 *  found: mov %si,%bp
 *         pushl $0; pushl 8(%si)          # first sector of the partition
 *         pushl $0x7c00; pushl $0x10010   # one sector, to 0:7c00
 *         mov %sp,%si; mov $0x42,%ah; int $0x13
 *         mov $unread,%si; jc say
 *         cmpw $0xaa55,0x7dfe; mov $nosys,%si; jne say
 *         mov $0x7c00,%sp; mov %bp,%si; ljmp $0,$0x7c00
 *    say: lodsb; test %al,%al
 *   stop: jz stop
 *         mov $0x0e,%ah; mov $7,%bx; int $0x10; jmp say
 *
 * The drive stays in dl, and si points to the entry, as boot sectors expect.
 */
static const uint8_t boot_program[] = {
  0xfa, 0x31, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0x8e, 0xd8, 0x8e, 0xc0,
  0xfb, 0xfc, 0x89, 0xe6, 0xbf, 0x00, 0x06, 0xb9, 0x00, 0x01, 0xf3, 0xa5,
  0xea, 0x1d, 0x06, 0x00, 0x00, 0xbe, 0xbe, 0x07, 0xb1, 0x04, 0xf6, 0x04,
  0x80, 0x75, 0x0a, 0x83, 0xc6, 0x10, 0xe2, 0xf6, 0xbe, 0x74, 0x06, 0xeb,
  0x35, 0x89, 0xf5, 0x66, 0x6a, 0x00, 0x66, 0xff, 0x74, 0x08, 0x66, 0x68,
  0x00, 0x7c, 0x00, 0x00, 0x66, 0x68, 0x10, 0x00, 0x01, 0x00, 0x89, 0xe6,
  0xb4, 0x42, 0xcd, 0x13, 0xbe, 0x88, 0x06, 0x72, 0x15, 0x81, 0x3e, 0xfe,
  0x7d, 0x55, 0xaa, 0xbe, 0xab, 0x06, 0x75, 0x0a, 0xbc, 0x00, 0x7c, 0x89,
  0xee, 0xea, 0x00, 0x7c, 0x00, 0x00, 0xac, 0x84, 0xc0, 0x74, 0xfe, 0xb4,
  0x0e, 0xbb, 0x07, 0x00, 0xcd, 0x10, 0xeb, 0xf2,
};

/* At 0x674, 0x688 and 0x6ab: the program has 0x74 bytes. */
static const char boot_messages[] =
  "No active partition\0"
  "The active partition can't be read\0"
  "The active partition does not boot";

/* Cylinder, head and sector in the three bytes of an entry; what has no such
 * address is FE FF FF, as Windows writes it.
 */
static void
put_chs (uint8_t *p, uint64_t sector, struct mbr_geometry g)
{
  uint64_t cylinder = sector / g.sectors / g.heads;

  if (cylinder > 1023) {
    p[0] = 0xfe;
    p[1] = p[2] = 0xff;
    return;
  }
  p[0] = (uint8_t) (sector / g.sectors % g.heads);
  p[1] = (uint8_t) ((sector % g.sectors + 1) | (cylinder >> 8 << 6));
  p[2] = (uint8_t) cylinder;
}

static int
put_slot (uint8_t *p, const struct mbr_slot *s, unsigned number,
          struct mbr_geometry geometry, struct err *err)
{
  if (s->type == 0)
    return 0;
  if (s->start == 0 || s->start > UINT32_MAX || s->sectors == 0 ||
      s->sectors > UINT32_MAX)
    return err_set (err, -EINVAL, "partition %u, %" PRIu64 " sectors at sector "
                    "%" PRIu64 ", can't be said in an MBR", number, s->sectors,
                    s->start);
  p[0] = s->active ? 0x80 : 0;
  put_chs (p + 1, s->start, geometry);
  p[4] = s->type;
  put_chs (p + 5, s->start + s->sectors - 1, geometry);
  put_le32 (p + 8, (uint32_t) s->start);
  put_le32 (p + 12, (uint32_t) s->sectors);
  return 0;
}

int
mbr_build (uint8_t mbr[PART_MBR_SIZE], uint32_t signature,
           const struct mbr_slot slots[PART_MBR_SLOTS],
           struct mbr_geometry geometry, struct err *err)
{
  int r = 0;

  _Static_assert (sizeof boot_program == 0x74, "where the messages begin");
  if (geometry.heads == 0 || geometry.heads > 255 ||
      geometry.sectors == 0 || geometry.sectors > 63)
    geometry = (struct mbr_geometry) { 255, 63 };
  memset (mbr, 0, PART_MBR_SIZE);
  memcpy (mbr, boot_program, sizeof boot_program);
  memcpy (mbr + sizeof boot_program, boot_messages, sizeof boot_messages);
  put_le32 (mbr + SIGNATURE_OFF, signature);
  for (unsigned i = 0; r == 0 && i < PART_MBR_SLOTS; ++i)
    r = put_slot (mbr + TABLE_OFF + i * ENTRY_SIZE, &slots[i], i + 1, geometry,
                  err);
  put_le16 (mbr + 510, 0xaa55);
  return r;
}
