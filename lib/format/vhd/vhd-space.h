/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What vhd-space.c, vhd-gaps.c and vhd-shrink.c share. */

#ifndef NBDIMAGE_FORMAT_VHD_SPACE_H
#define NBDIMAGE_FORMAT_VHD_SPACE_H

#include "lib/base/checked.h"
#include "lib/base/vector.h"
#include "lib/format/epoch.h"
#include "lib/format/gaps.h"
#include "lib/format/vhd/vhd-edit.h"
#include "lib/format/vhd/vhd-write.h"

/* A place for a block: struct vhd_place is one for a footer. */
struct vhd_slot {
  uint32_t sector;
  bool dirty;                   /* its data is not known to be zero */
  bool punched;                 /* its space was given back since */
};

DEFINE_VECTOR (vhd_slots, struct vhd_slot);

struct vhd_space {
  struct block *block;          /* borrowed */
  const struct vhd_bat *bat;    /* borrowed */
  struct sector_cache *cache;   /* borrowed */
  bool differencing;            /* new bitmaps are all zeros */
  uint8_t footer[VHD_FOOTER_SIZE];
  uint64_t stride;              /* bytes from one place to the next */
  bool changed;                 /* atomic: close has something to do */

  /* Whoever set growing; then constant for the others. */
  uint64_t next;                /* bytes: where the next new place begins */
  uint64_t limit;               /* where the footer at the end begins */
  uint64_t batch;               /* how many places to make */
  struct gaps gaps;             /* that there were when it was opened */
  bool settled;                 /* what was in the file then is on stable
                                   storage */
  bool doubtful;                /* a flush failed while the end was cut off */
  bool torn;                    /* a footer may be in part behind the end */
  bool copy_behind;             /* the copy is not that footer yet */

  struct epoch epoch;

  pthread_mutex_t lock;         /* guards what follows */
  pthread_cond_t grown;
  bool growing;                 /* or shrinking: one thread changes the end */
  struct vhd_slots ready;      /* from first_ready on */
  size_t first_ready;           /* 0 if there is none */
  size_t last_batch;            /* how many became ready at once */
  struct vhd_slots unready;    /* step d */
  struct vhd_slots released;   /* step a */
  struct vhd_slots waiting;    /* being flushed, or step c */
  struct vhd_slots taken;      /* and not in the BAT yet */
  bool waits_for_epoch;         /* ... which is the one before epoch */
  uint64_t keep;                /* bytes: lost places end here */
  bool freed;                   /* places became unready since the end of the
                                   file was looked at */
};

/* Step c, under the lock: what waited becomes unready. */
void vhd_space_end_waiting (struct vhd_space *space);

/* Under the lock: they are unready, whatever is in them. */
void vhd_space_put_back (struct vhd_space *space, struct vhd_slots *places);

/* In the order in which they lie in the file. */
void vhd_slots_sort (struct vhd_slots *places);

/*--- vhd-gaps.c -------------------------------------------------------------*/

/* Room for places in front of the last block. */
void vhd_gaps_find (const struct vhd_bat *bat, struct gaps *gaps);

/* Where the first of these places begins; false: there is none. */
bool vhd_gaps_take (const struct vhd_bat *bat, struct gaps *gaps,
                    uint64_t *off);

/*--- vhd-shrink.c -----------------------------------------------------------*/

/* Write the footer at the end of a file that lacks it, which vhd_writer_reason
 * accepted.
 */
int vhd_space_mend_end (struct vhd_layer *layer, struct report *report,
                        struct err *err);

/* When nobody else has it any more: cut off what was not used and free. */
void vhd_space_cut_off (struct vhd_space *space);

#endif /* NBDIMAGE_FORMAT_VHD_SPACE_H */
