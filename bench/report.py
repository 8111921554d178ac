# SPDX-License-Identifier: GPL-2.0-or-later
"""From measurements to tables."""

import json
import os
import platform
import re
import statistics
import subprocess

BASELINE = "file raw"
CONVERT_BASELINE = "qemu-img convert"
AGAIN = " again"                # of the control
COLUMNS = ("workload", "subject", "repeat", "value", "unit", "cpu", "memory")

INTRO = """\
# Measured

How fast our server is beside others, on one machine. To do it again:

    make bench

This took {minutes} minutes here, prints tables, and leaves its measurements in
`bench.tsv` and its images in the folder `bench.images`, both in the build
folder (`BENCHFLAGS='--dir FOLDER'` puts the images elsewhere, `--only dynamic`
measures less, `--help` tells more). After it `make bench-page` makes this page,
of `bench/results.tsv`.

The disks of {size} MiB are in the page cache, so that what is measured is the
servers. They are random bytes everywhere; for "sparse" and "extents" every
other 2 MiB are not there (chains: they are). A chain of N is N files: the
first parent has all blocks, in each child one block in N (two: half of them)
has every other 64 KiB, at random. Each run has its own server process, started
anew; subjects take turns in random order within each of {repeats} repeats.

The rate is the median, the ratio the median of the ratios to nbdkit's file
plugin on the raw disk in the same repeat, with the smallest and the largest.
The line "{control}" is that plugin against itself: a gap smaller than its
spread is no gap ("≈ 1" in the first table), and where the machine had much
else to do ("load when it began") that spread is wide and little can be said.
Processor time is the server's, user and system; it depends less on that than
rates do.

"file iso" is that plugin on the ISO: files that were written in other pieces lie
in the page cache in other pieces, and not all are read at the same rate.

"convert" is no server but a command, from its start until what it made is on
the disk; it is compared with qemu-img, which is told to flush.

Writing is measured in every other repeat, on disks of half the size, without a
flush unless it says so. "fresh" disks are made for each run and have no blocks
yet, but for raw and fixed ones; for random writes they are 16 times as large,
so that most writes find none, and each server gets the same amount. "over" is
written into disks that have all their blocks. "flush-64" is a flush after each
64 writes, at depth 32. A differencing disk lies over an empty one.

What is listed as "extents" differs: QEMU calls all of a VHDX data, which is
soon said, and nbd-server tells nothing.
"""


def size_text(n):
    for unit, scale in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20)):
        if n % scale == 0:
            return "%d %s" % (n // scale, unit)
    return "%d bytes" % n


def _first_line(*command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False,
                              stderr=subprocess.STDOUT)
    except OSError:
        return "not installed"
    lines = done.stdout.decode(errors="replace").splitlines()
    return lines[0] if lines else "?"


def _cpu():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            found = re.findall(r"^model name\s*: (.*)$", f.read(), re.M)
    except OSError:
        found = []
    return "%d × %s" % (len(found) or 1, found[0] if found else "?")


def machine(args):
    return {
        "cpu": _cpu(),
        "kernel": platform.release(),
        "nbdkit": _first_line("nbdkit", "--version"),
        "qemu-nbd": _first_line("qemu-nbd", "--version"),
        "nbd-server": _first_line("nbd-server", "-V"),
        "nbdcopy": _first_line("nbdcopy", "--version"),
        "fio": _first_line("fio", "--version"),
        "size": str(args.size >> 20),
        "repeats": str(args.repeats),
        "load when it began": "%.1f" % os.getloadavg()[0],
    }


def write_tsv(path, facts, rows, columns=COLUMNS):
    with open(path, "w", encoding="utf-8") as f:
        for key, value in facts.items():
            f.write("# %s\t%s\n" % (key, value))
        f.write("\t".join(columns) + "\n")
        for row in rows:
            f.write("\t".join("%.6g" % row[c] if isinstance(row[c], float)
                              else str(row[c]) for c in columns) + "\n")


def read_tsv(path, columns=COLUMNS):
    facts, rows = {}, []
    with open(path, encoding="utf-8") as f:
        for line in f:
            cells = line.rstrip("\n").split("\t")
            if line.startswith("# "):
                facts[cells[0][2:]] = cells[1]
            elif cells[0] != columns[0]:
                row = dict(zip(columns, cells))
                for c in ("value", "cpu"):
                    row[c] = float(row[c])
                for c in ("repeat", "memory", "added"):
                    if c in row:
                        row[c] = int(row[c])
                rows.append(row)
    return facts, rows


def is_convert(workload):
    return workload.startswith("convert ")


def baseline(workload):
    return CONVERT_BASELINE if is_convert(workload) else BASELINE


def _ratios(rows, workload, subject, key):
    """To the baseline, repeat by repeat."""
    def of(name):
        return {r["repeat"]: r[key] for r in rows
                if r["workload"] == workload and r["subject"] == name}
    base, other = of(baseline(workload)), of(subject)
    return [other[i] / base[i] for i in other if base.get(i)]


def summarize(rows):
    """One line for each workload and subject, in the order of the rows."""
    result = []
    for workload, subject in dict.fromkeys(
            (r["workload"], r["subject"]) for r in sorted(
                rows, key=lambda r: (r["workload"], not r["subject"].
                                     startswith(baseline(r["workload"])),
                                     r["subject"]))):
        mine = [r for r in rows if r["workload"] == workload and
                r["subject"] == subject]
        ratios = _ratios(rows, workload, subject, "value")
        cpus = _ratios(rows, workload, subject, "cpu")
        result.append({
            "workload": workload, "subject": subject,
            "value": statistics.median(r["value"] for r in mine),
            "unit": mine[0]["unit"],
            "ratio": statistics.median(ratios) if ratios else None,
            "least": min(ratios, default=None),
            "most": max(ratios, default=None),
            "cpu": statistics.median(r["cpu"] for r in mine),
            "cpu-ratio": statistics.median(cpus) if cpus else None,
            "memory": max(r["memory"] for r in mine),
        })
    return result


def write_json(path, facts, rows):
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"machine": facts, "results": summarize(rows)}, f,
                  indent=2, ensure_ascii=False)
        f.write("\n")


def _ratio_cells(s):
    if s["ratio"] is None:
        return ["-", "-"]
    return ["%.2f" % s["ratio"], "%.2f–%.2f" % (s["least"], s["most"])]


CPU_UNITS = {"MiB/s": ("CPU s/GiB", 1), "lists/s": ("CPU ms/list", 1000),
             "ms": ("CPU ms", 1)}


def tables(rows):
    """[(title, header, lines)]"""
    summary = summarize(rows)
    result = []
    for workload in dict.fromkeys(s["workload"] for s in summary):
        lines = []
        for s in summary:
            if s["workload"] != workload:
                continue
            _, scale = CPU_UNITS[s["unit"]]
            lines.append([s["subject"], "%.4g" % s["value"],
                          *_ratio_cells(s), "%.3g" % (s["cpu"] * scale),
                          "%.2f" % s["cpu-ratio"] if s["cpu-ratio"] else "-",
                          "%.1f" % (s["memory"] / 1024)])
            unit = s["unit"]
        result.append((workload, ["command" if is_convert(workload)
                                  else "server", unit, "ratio", "least–most",
                                  CPU_UNITS[unit][0], "CPU ratio",
                                  "most MiB"], lines))
    return result


def matrices(rows):
    """What was read, and what was written, if it was."""
    for title, writes in (("ratios of the rates", False),
                          ("ratios of the rates of writing", True)):
        some = [r for r in rows
                if r["workload"].startswith("write-") == writes]
        if some:
            yield matrix(title, some)


def matrix(title, rows):
    """The ratios of all rates on one page; "≈ 1" where the ratio is between 1
    and what the control had at the farthest.
    """
    summary = [s for s in summarize(rows) if s["unit"] != "ms" and
               not is_convert(s["workload"])]
    control = BASELINE + AGAIN
    workloads = list(dict.fromkeys(s["workload"] for s in summary))
    spread = {s["workload"]: (min(1, s["least"]), max(1, s["most"]))
              for s in summary
              if s["subject"] == control and s["ratio"] is not None}
    cells = {}
    for s in summary:
        if s["ratio"] is None or s["subject"] == BASELINE:
            continue
        least, most = spread.get(s["workload"], (1, 1))
        within = s["subject"] != control and least <= s["ratio"] <= most
        cells[s["subject"], s["workload"]] = "%.2f%s" % (
            s["ratio"], " ≈ 1" if within else "")
    subjects = sorted({subject for subject, _ in cells},
                      key=lambda name: (name != control, name))
    return (title, ["server"] + workloads,
            [[subject] + [cells.get((subject, w), "-") for w in workloads]
             for subject in subjects])


def text(facts, rows):
    """For a terminal."""
    out = ["%s: %s" % item for item in facts.items()]
    for title, header, lines in tables(rows) + list(matrices(rows)):
        widths = [max(len(line[i]) for line in [header] + lines)
                  for i in range(len(header))]
        out += ["", title]
        for line in [header] + lines:
            out.append("  " + "  ".join(
                [line[0].ljust(widths[0])] +
                [c.rjust(w) for c, w in zip(line[1:], widths[1:])]))
    return "\n".join(out) + "\n"


def document(facts, rows):
    out = [INTRO.format(size=facts["size"], repeats=facts["repeats"],
                        minutes=facts["minutes"],
                        control=BASELINE + AGAIN)]
    out += ["| machine | |", "| --- | --- |"]
    out += ["| %s | %s |" % (k, v) for k, v in facts.items()
            if k not in ("size", "repeats", "minutes")]
    for title, header, lines in list(matrices(rows)) + tables(rows):
        out += ["", "## " + title, "", "| %s |" % " | ".join(header),
                "| --- |" + " ---: |" * (len(header) - 1)]
        out += ["| %s |" % " | ".join(line) for line in lines]
    return "\n".join(out) + "\n"
