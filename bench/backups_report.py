# SPDX-License-Identifier: GPL-2.0-or-later
"""From measurements of backups to tables."""

import statistics

import savers
from report import read_tsv as _read, write_tsv as _write
import report

AGAIN = report.AGAIN
COLUMNS = report.COLUMNS + ("added",)

INTRO = """\
# Backups, measured

How fast backups are made and read beside other programs, on one machine. To do
it again:

    make bench-backups

This took {minutes} minutes here, prints tables, and leaves its measurements in
`bench-backups.tsv` and its disks in the folder `bench.images` of the build
folder. It needs about 30 GB there, and what of restic, borg, casync and
partclone is installed is measured, too. After it `make bench-backups-page` makes
this page, of `bench/backups.tsv`.

The disk of {size} MiB has one partition with ext4, {used} MiB of it used by
files of the machine itself; it is in the page cache. "first" is the first backup
of it, into an empty folder; "clustered" and "scattered" are another one after
1 % of the blocks with files' bytes became others, in runs of 256 KiB or of
4 KiB; "upgrade" after as many bytes of files were replaced by new versions.
All is measured from the command's start until what it made is on the disk. Of
QEMU, another one is a qcow2 file whose backing file is the first one, by `qemu-img
rebase`, which does not compress. Borg has fixed chunks of 256 KiB, with which it
is the fastest. "codec and SHA-256 alone" is what the codec's own benchmark and
OpenSSL's need for as many bytes in chunks of 64 KiB, with all processors.

Reading is done through NBD, of {slice} of that disk's files' bytes, with a
server process started anew for each run; the random reads of "hot" are of 32 MiB
that were read just before.

The ratio is the median of those to one program in the same repeat, with the
smallest and the largest; above 1 is faster than that program. The line "again" is
that program against itself: a gap smaller than its spread is no gap. There were
{repeats} repeats; a program that took more than twice as long in the first of them
was left out of the others.
"""


def write_tsv(path, facts, rows):
    _write(path, facts, rows, COLUMNS)


def read_tsv(path):
    return _read(path, COLUMNS)


def baseline(workload):
    if workload.startswith("reading, "):
        return "file raw"
    return savers.BASELINE[workload.rsplit(", ", 1)[1]]


def ratios(rows, workload, subject):
    """How many times as fast as the baseline, repeat by repeat."""
    def of(name):
        return {r["repeat"]: r for r in rows
                if r["workload"] == workload and r["subject"] == name}
    base, mine = of(baseline(workload)), of(subject)
    return [base[i]["value"] / r["value"] if r["unit"] == "s"
            else r["value"] / base[i]["value"]
            for i, r in mine.items() if i in base]


def line(rows, workload, subject):
    mine = [r for r in rows if r["workload"] == workload and
            r["subject"] == subject]
    found = ratios(rows, workload, subject)
    cells = [subject,
             "%.4g" % statistics.median(r["value"] for r in mine),
             "%.2f" % statistics.median(found) if found else "-",
             "%.2f–%.2f" % (min(found), max(found)) if found else "-",
             "%.3g" % statistics.median(r["cpu"] for r in mine),
             "%.0f" % (max(r["memory"] for r in mine) / 1024)]
    if mine[0]["unit"] == "s":
        cells.append("%.1f" % (statistics.median(r["added"] for r in mine) /
                               (1 << 20)))
    return cells


def tables(rows):
    """[(title, header, lines)]"""
    for workload in dict.fromkeys(r["workload"] for r in rows):
        some = [r for r in rows if r["workload"] == workload]
        base = baseline(workload)
        names = sorted({r["subject"] for r in some},
                       key=lambda n: (not n.startswith(base), n))
        header = (["program", "s", "ratio", "least–most", "CPU s", "most MiB",
                   "added MiB"] if some[0]["unit"] == "s" else
                  ["server", "MiB/s", "ratio", "least–most", "CPU s/GiB",
                   "most MiB"])
        yield workload, header, [line(rows, workload, n) for n in names]


def text(facts, rows):
    """For a terminal."""
    out = ["%s: %s" % item for item in facts.items()]
    for title, header, lines in tables(rows):
        widths = [max(len(cells[i]) for cells in [header] + lines)
                  for i in range(len(header))]
        out += ["", title]
        for cells in [header] + lines:
            out.append("  " + "  ".join(
                [cells[0].ljust(widths[0])] +
                [c.rjust(w) for c, w in zip(cells[1:], widths[1:])]))
    return "\n".join(out) + "\n"


def document(facts, rows):
    out = [INTRO.format(**facts)]
    out += ["| machine | |", "| --- | --- |"]
    out += ["| %s | %s |" % (k, v) for k, v in facts.items()
            if k not in ("size", "repeats", "minutes", "used", "slice")]
    for title, header, lines in tables(rows):
        out += ["", "## " + title, "", "| %s |" % " | ".join(header),
                "| --- |" + " ---: |" * (len(header) - 1)]
        out += ["| %s |" % " | ".join(c.replace("|", "\\|") for c in cells)
                for cells in lines]
    return "\n".join(out) + "\n"
