/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What vhdx-space.c, vhdx-gaps.c and vhdx-shrink.c share. */

#ifndef NBDIMAGE_FORMAT_VHDX_SPACE_H
#define NBDIMAGE_FORMAT_VHDX_SPACE_H

#include "lib/base/checked.h"
#include "lib/base/vector.h"
#include "lib/format/epoch.h"
#include "lib/format/gaps.h"
#include "lib/format/vhdx/vhdx-write.h"

struct vhdx_place {
  uint64_t off;                 /* bytes */
  bool dirty;                   /* it is not known to be zero */
};

DEFINE_VECTOR (vhdx_places, struct vhdx_place);

struct vhdx_space {
  struct vhdx_layer *layer;     /* borrowed */
  struct vhdx_logger *logger;   /* borrowed */
  uint64_t size;                /* bytes of a place */
  struct epoch epoch;
  bool changed;                 /* atomic: close has something to do */

  /* Whoever set growing; then constant for the others. */
  uint64_t next;                /* bytes: where the next new place begins */
  uint64_t batch;               /* how many places to make */
  uint64_t wanted;              /* blocks that have had no place yet */
  struct gaps gaps;             /* that there were when it was opened */
  bool settled;                 /* what was in the file then is on stable
                                   storage */
  bool doubtful;                /* what was cut off may be there again when
                                   the file grows, until it is flushed */

  pthread_mutex_t lock;         /* guards what follows */
  pthread_cond_t grown;
  bool growing;                 /* or shrinking: one thread changes the end */
  struct vhdx_places ready;     /* the last one is taken first */
  size_t last_batch;            /* how many became ready at once */
  struct vhdx_places unready;   /* after step c */
  struct vhdx_places released;  /* step a */
  struct vhdx_places waiting;   /* being flushed, or step c */
  struct vhdx_places taken;     /* and not in the BAT yet */
  bool waits_for_epoch;         /* ... which is the one before epoch */
  uint64_t keep;                /* bytes: lost places end here */
  bool freed;                   /* places became unready since the end of the
                                   file was looked at */
};

/* Step c, under the lock: what waited becomes unready. */
void vhdx_space_end_waiting (struct vhdx_space *space);

/* There is something to do when the image is closed. */
void vhdx_space_set_changed (struct vhdx_space *space);

/* Those at the end of the file come first. */
void vhdx_places_sort (struct vhdx_places *places);

/*--- vhdx-gaps.c ------------------------------------------------------------*/

/* Room for places in front of the last block. */
void vhdx_gaps_find (struct vhdx_layer *layer, struct gaps *gaps);

/*--- vhdx-shrink.c ----------------------------------------------------------*/

/* When nobody else has it any more, and the log is empty: give up what is not
 * used.
 */
void vhdx_space_cut_off (struct vhdx_space *space);

#endif /* NBDIMAGE_FORMAT_VHDX_SPACE_H */
