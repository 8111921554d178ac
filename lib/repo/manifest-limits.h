/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Limits of manifests: docs/NBI.md §9. */

#ifndef NBDIMAGE_REPO_MANIFEST_LIMITS_H
#define NBDIMAGE_REPO_MANIFEST_LIMITS_H

#include <stdbool.h>
#include <stddef.h>

#define MANIFEST_TABLE_MAX (64 * 1024)  /* bytes of `first' and of `last' */
#define MANIFEST_WARNINGS_MAX 1000
#define MANIFEST_WARNING_MAX 500        /* bytes */
#define MANIFEST_DEPTH_MAX 32

/* NBI-90. */
bool manifest_is_bounded (const char *json, size_t len);

#endif /* NBDIMAGE_REPO_MANIFEST_LIMITS_H */
