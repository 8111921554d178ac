/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The disk as a bar as wide as the terminal: how much of each cell holds
 * data, and below it where the partitions are.
 *
 *   ▕▁█▇        ▃▃  ▏
 *    └1┘└────2──────┘
 */

#include <config.h>

#include <langinfo.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "tools/info/info.h"

#define NR_LEVELS 9

struct style {
  const char *levels[NR_LEVELS];        /* from nothing to all */
  const char *left, *right;             /* ends of the bar */
  const char *open, *close, *line, *narrow;     /* of a partition */
};

static const struct style unicode = {
  { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" },
  "▕", "▏", "└", "┘", "─", "╵"
};

static const struct style ascii = {
  { " ", ".", ":", "-", "=", "+", "*", "%", "#" },
  "[", "]", "\\", "/", "_", "'"
};

static void
show_cells (const struct info *info, const struct style *style)
{
  printf ("  %s", style->left);
  for (unsigned i = 0; i < info->nr_cells; ++i) {
    double share = info->cells[i];
    int level = (int) (share * (NR_LEVELS - 1) + 0.5);

    /* A little is not nothing, and nearly all is not all. */
    if (share > 0 && level == 0)
      level = 1;
    if (level >= NR_LEVELS - 1)
      level = share > 0.9999 ? NR_LEVELS - 1 : NR_LEVELS - 2;
    fputs (style->levels[level], stdout);
  }
  printf ("%s\n", style->right);
}

/* One string for each cell of the line below the bar. */
static void
mark_partition (const struct info *info, const struct style *style,
                const char **line, char (*digits)[2], size_t *first_free,
                const struct partition *p)
{
  const double per_cell = (double) image_size (info->img) / info->nr_cells;
  size_t from = (size_t) ((double) p->off / per_cell);
  size_t to = (size_t) ((double) (p->off + p->len) / per_cell + 0.5);
  char number[16];
  size_t len, at;

  if (from < *first_free)
    from = *first_free;
  to = min_u64 (to, info->nr_cells);
  if (to <= from)
    to = from + 1;
  if (to > info->nr_cells)
    return;
  *first_free = to;
  len = (size_t) snprintf (number, sizeof number, "%u", p->number);
  if (to - from < len) {
    for (size_t i = from; i < to; ++i)
      line[i] = style->narrow;
    return;
  }
  if (to - from >= len + 2) {
    for (size_t i = from; i < to; ++i)
      line[i] = style->line;
    line[from] = style->open;
    line[to - 1] = style->close;
  }
  at = from + (to - from - len) / 2;
  for (size_t i = 0; i < len; ++i) {
    digits[at + i][0] = number[i];
    line[at + i] = digits[at + i];
  }
}

static int
by_offset (const void *a, const void *b)
{
  const struct partition *const *pa = a, *const *pb = b;

  return ((*pa)->off > (*pb)->off) - ((*pa)->off < (*pb)->off);
}

static void
show_partitions (const struct info *info, const struct style *style)
{
  static const char *line[PICTURE_CELLS_MAX];
  static char digits[PICTURE_CELLS_MAX][2];
  const size_t n = info->table.parts.len;
  CLEANUP_FREE const struct partition **sorted = NULL;
  size_t first_free = 0;

  sorted = calloc (n + 1, sizeof *sorted);
  if (n == 0 || sorted == NULL)
    return;
  memset (digits, 0, sizeof digits);
  for (unsigned i = 0; i < info->nr_cells; ++i)
    line[i] = " ";
  for (size_t i = 0; i < n; ++i)
    sorted[i] = &info->table.parts.ptr[i];
  qsort (sorted, n, sizeof *sorted, by_offset);
  for (size_t i = 0; i < n; ++i)
    if (!sorted[i]->is_extended)
      mark_partition (info, style, line, digits, &first_free, sorted[i]);
  printf ("   ");
  for (unsigned i = 0; i < info->nr_cells; ++i)
    fputs (line[i], stdout);
  putchar ('\n');
}

void
info_show_picture (const struct info *info)
{
  const bool is_utf8 = strcmp (nl_langinfo (CODESET), "UTF-8") == 0;
  const struct style *style = is_utf8 ? &unicode : &ascii;

  if (info->nr_cells == 0 || !info_has_all_data (info))
    return;
  putchar ('\n');
  show_cells (info, style);
  show_partitions (info, style);
}
