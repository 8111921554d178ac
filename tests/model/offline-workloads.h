/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is done to an image as a whole, while the power fails. */

#ifndef NBDIMAGE_TESTS_OFFLINE_WORKLOADS_H
#define NBDIMAGE_TESTS_OFFLINE_WORKLOADS_H

#include "tests/support/powercut.h"

/* A null name ends the table. */
extern const struct powercut_workload offline_workloads[];

#endif /* NBDIMAGE_TESTS_OFFLINE_WORKLOADS_H */
