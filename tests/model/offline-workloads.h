/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is done to an image as a whole, while the power fails. */

#ifndef NBDIMAGE_TESTS_OFFLINE_WORKLOADS_H
#define NBDIMAGE_TESTS_OFFLINE_WORKLOADS_H

#include "lib/format/image-ops.h"
#include "tests/support/powercut.h"

/* A null name ends a table. */
extern const struct powercut_workload offline_workloads[];
extern const struct powercut_workload chain_workloads[];
extern const struct powercut_workload create_workloads[];
extern const struct powercut_workload repair_workloads[];

/* The driver of its format. */
const struct image_ops *offline_ops_of (const struct subject *subject);

/* Somebody uses the disk, and leaves it. */
void offline_use_and_close (struct powercut *pc);

#endif /* NBDIMAGE_TESTS_OFFLINE_WORKLOADS_H */
