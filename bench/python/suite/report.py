# SPDX-License-Identifier: MIT
"""The figures as text and as JSON.  Reads results, measures nothing."""

import json
import os
import platform
import sys

from . import goals
from .rows import BY_NAME


def number(value, unit):
    """A value with three significant digits or so, and thousands marked."""
    if unit == "%":
        return "%.1f %%" % value
    if value >= 1000:
        return "{:,.0f} {}".format(value, unit)
    if value >= 100:
        return "%.0f %s" % (value, unit)
    if value >= 10:
        return "%.1f %s" % (value, unit)
    return "%.*f %s" % (2 if value >= 1 else 3, value, unit)


def machine():
    """What the figures were taken on."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": "%s %s" % (platform.system(), platform.release()),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "load": round(os.getloadavg()[0], 2),   # before we add to it, if called first thing
        "threads": os.environ.get("STACKLESS_THREADS", ""),
    }


def _cpu_model():
    try:
        with open("/proc/cpuinfo") as f:
            for line in f:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return ""


def as_json(path, suite, contenders, verdicts, raw, about):
    """Write everything, samples included, for later comparison."""
    document = {
        "machine": about,
        "versions": suite.versions,
        "missing": suite.missing,
        "contenders": contenders,
        "rows": suite.results,
        "raw_switch_ns": raw,
        "goals": [dict(v._asdict(), reached=goals.reached(v)) for v in verdicts],
    }
    with open(path, "w") as f:
        json.dump(document, f, indent=1)
        f.write("\n")


def _cell(entry, figure, base):
    """Text of one contender's figure: median, range, ratio to `base`."""
    if entry is None:
        return "", "", ""
    found = entry["figures"].get(figure.key)
    if not found:
        return "failed", "", ""
    median = found["median"]
    ratio = "%.2f" % (median / base) if base and figure.unit == "ns" else ""
    spread = "%s .. %s" % (number(found["min"], figure.unit).rsplit(" ", 1)[0],
                           number(found["max"], figure.unit).rsplit(" ", 1)[0])
    return number(median, figure.unit), spread, ratio


def print_table(results, contenders, out=sys.stdout):
    """Every figure of every contender; the last column is relative to greenlet's switch."""
    base_entry = results.get("yield", {}).get("greenlet", {}).get("figures", {}).get("ns")
    base = base_entry["median"] if base_entry else None
    print("%-40s %-11s %14s %22s %10s"
          % ("", "", "median", "min .. max", "/ switch"), file=out)
    for row_name, entries in results.items():
        for figure in BY_NAME[row_name].figures:
            title = figure.title
            for contender in contenders:
                if contender in entries:
                    cells = _cell(entries[contender], figure, base)
                    print("%-40s %-11s %14s %22s %10s" % ((title, contender) + cells), file=out)
                    title = ""
    print('"/ switch": the figure divided by greenlet\'s switch (its row "yield")'
          if base else "greenlet's switch was not measured, so there are no ratios", file=out)


def print_failures(suite, out=sys.stdout):
    for contender, reason in suite.missing.items():
        print("not measured: %s (%s)" % (contender, reason), file=out)
    for row_name, entries in suite.results.items():
        for contender, entry in entries.items():
            if entry["failed"]:
                print("FAILED: %s in row %s: %s" % (contender, row_name, entry["failed"]), file=out)


def print_goals(verdicts, out=sys.stdout):
    print("%-46s %12s %14s   %s" % ("goal", "limit", "measured", ""), file=out)
    words = {True: "reached", False: "MISSED", None: "not measured"}
    for verdict in verdicts:
        sign = "<=" if verdict.lower_is_better else ">="
        value = "" if verdict.value is None else _plain(verdict.value, verdict.unit)
        state = goals.reached(verdict)
        print("%-46s %12s %14s   %s %s"
              % (verdict.title, "%s %s" % (sign, _plain(verdict.limit, verdict.unit)), value,
                 words[state], goals.distance(verdict) if state is not None else ""), file=out)


def _plain(value, unit):
    return "%.4g %s" % (value, unit)
