#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The native pool beside Go: builds both, runs both, prints ns and ratio a row.

    bench/native/run.py [--quick] [--only ROW...] [--json FILE] [--chart FILE.svg] [--build DIR]

Needs Google Benchmark and meson; without a Go toolchain our own figures are
printed alone.  Each repetition is a process of its own, ours and Go's in turns,
with one processor and with all, so that a busy moment falls on all; the table
shows medians.  What a row does: native_bench.cc.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "bench" / "python"))

from suite import chart, report, rows as suite_rows  # noqa: E402

# name, title, most that our share of Go's time may be (None: no goal)
ROWS = [
    ("yield", "yield", 0.2),
    ("spawn_join", "spawn + join", 0.4),
    ("fib25", "fib(25), a tasklet a call", 0.5),
    ("stream/unbuffered", "unbuffered message", 0.4),
    ("stream/buffered1", "buffered(1) message", None),
    ("stream/buffered100", "buffered(100) message", 0.5),
    ("pingpong", "ping-pong, per message", None),
    ("fan_in", "fan-in of 100, per message", 0.5),
    ("fan_out", "fan-out to 100, per message", None),
    ("ring1000", "ring of 1,000, per hop", None),
    ("choose/2", "select of 2", 0.4),
    ("choose/8", "select of 8", None),
    ("timers100k", "100,000 timers, each", None),
    ("uneven_sum", "parallel sum, uneven work", None),
    ("steal", "spawned beside a busy one, until it runs", None),
    ("wake_worker/short", "wake a worker, parked for 0.2 ms", None),
    ("wake_futex/short", "the same with a bare futex", None),
    ("wake_worker/long", "wake a worker, parked for 8 ms", None),
    ("wake_futex/long", "the same with a bare futex", None),
    ("wake_poller", "wake a worker that sleeps until a timer", None),
]
SPEEDUP = 1.9   # of uneven_sum with all processors over one, on two or more
WAKE = 2.0      # of a bare futex wake


def build(folder):
    if not (folder / "build.ninja").exists():
        subprocess.run(["meson", "setup", str(folder), str(ROOT), "-Dpython=disabled", "-Dtests=false",
                        "-Dbench=enabled"], check=True, stdout=sys.stderr)
    subprocess.run(["meson", "compile", "-C", str(folder), "native_bench", "parked"], check=True, stdout=sys.stderr)
    go = shutil.which("go")
    if go:
        subprocess.run([go, "build", "-o", str(folder / "peer"), "."], cwd=ROOT / "bench" / "peers" / "go", check=True)
    return bool(go)


def run_ours(folder, lanes, seconds, names):
    pattern = "^(%s)(/iterations:.*)?$" % "|".join(names)
    out = subprocess.run([str(folder / "bench" / "native_bench"), "--benchmark_format=json",
                          "--benchmark_min_time=%g" % seconds, "--benchmark_filter=" + pattern],
                         env={**os.environ, "STACKLESS_LANES": str(lanes)}, check=True, capture_output=True, text=True)
    figures = {}
    for entry in json.loads(out.stdout)["benchmarks"]:
        if "ns" in entry:
            figures[entry["name"].split("/iterations")[0]] = entry["ns"]
    return figures


def run_go(folder, processors, seconds, names):
    out = subprocess.run([str(folder / "peer"), str(processors), str(seconds), *names],
                         check=True, capture_output=True, text=True)
    return {name: float(ns) for name, ns in (line.split() for line in out.stdout.splitlines())}


def measure(folder, has_go, processors, repetitions, seconds, names):
    """{row: {contender: {"figures": {"ns": {...}}}}}, the form that the Python benchmark has."""
    contenders = {}
    for p in processors:
        contenders["ours P=%d" % p] = (run_ours, p)
        if has_go:
            contenders["Go P=%d" % p] = (run_go, p)
    samples = {name: {c: [] for c in contenders} for name in names}
    for repetition in range(repetitions):
        print("repetition %d of %d" % (repetition + 1, repetitions), file=sys.stderr, flush=True)
        for name in names:
            for contender, (run, p) in contenders.items():
                ns = run(folder, p, seconds, [name]).get(name)
                if ns is not None:
                    samples[name][contender].append(ns)
    return list(contenders), {
        name: {c: {"figures": {"ns": {"median": statistics.median(s), "min": min(s), "max": max(s), "samples": s}}}
               for c, s in entries.items() if s}
        for name, entries in samples.items()}


def median(results, name, contender):
    entry = results.get(name, {}).get(contender)
    return entry and entry["figures"]["ns"]["median"]


def verdict(value, limit, least=False):
    if limit is None or value is None:
        return ""
    return "reached" if (value >= limit if least else value <= limit) else "MISSED"


def table(results, contenders, processors):
    print("%-42s %s   ratio to Go, goal" % ("", " ".join("%14s" % c for c in contenders)))
    for name, title, goal in ROWS:
        if name not in results:
            continue
        cells = [median(results, name, c) for c in contenders]
        line = "%-42s %s" % (title, " ".join("%14s" % ("" if v is None else report.number(v, "ns")) for v in cells))
        for p in processors:
            ours, go = median(results, name, "ours P=%d" % p), median(results, name, "Go P=%d" % p)
            if ours and go:
                line += "  P=%d %.2f %s" % (p, ours / go, verdict(ours / go, goal))
        print(line)
    one, most = processors[0], processors[-1]
    print()
    slow, fast = median(results, "uneven_sum", "ours P=%d" % one), median(results, "uneven_sum", "ours P=%d" % most)
    if slow and fast and most > 1:
        print("uneven sum, %d lanes over one: %.2f x (goal %.1f on two) %s"
              % (most, slow / fast, SPEEDUP, verdict(slow / fast, SPEEDUP, least=True)))
    for p in processors:
        for rest in ("short", "long"):
            wake, bare = (median(results, "wake_%s/%s" % (who, rest), "ours P=%d" % p) for who in ("worker", "futex"))
            if wake and bare:
                print("wake of a worker after a %s rest, P=%d: %.2f x a bare futex wake (goal %.0f) %s"
                      % (rest, p, wake / bare, WAKE, verdict(wake / bare, WAKE)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one repetition, short")
    parser.add_argument("--only", nargs="+", metavar="ROW", choices=[name for name, _, _ in ROWS],
                        help="only these rows: " + ", ".join(name for name, _, _ in ROWS))
    parser.add_argument("--json", metavar="FILE", help="write all samples to FILE")
    parser.add_argument("--chart", metavar="FILE.svg", help="draw a chart")
    parser.add_argument("--build", metavar="DIR", default=str(ROOT / "build" / "bench-native"), help="where to build")
    parser.add_argument("--parked", type=int, metavar="N", default=100_000, help="tasklets to park for the memory row (0: none)")
    options = parser.parse_args()
    folder = pathlib.Path(options.build).resolve()
    has_go = build(folder)
    if not has_go:
        print("no Go toolchain: no ratios", file=sys.stderr)
    about = report.machine()
    cpus = about["cpus"]
    processors = [1, cpus] if cpus > 1 else [1]
    names = options.only or [name for name, _, _ in ROWS]
    contenders, results = measure(folder, has_go, processors, 1 if options.quick else 5,
                                  0.02 if options.quick else 0.1, names)
    print("%s, %d processors, load %.2f before the start" % (about["cpu"], cpus, about["load"]))
    table(results, contenders, processors)
    if options.parked and not options.only:
        subprocess.run([str(folder / "bench" / "parked"), str(options.parked)], check=True)
    if options.json:
        with open(options.json, "w") as f:
            json.dump({"machine": about, "contenders": contenders, "rows": results}, f, indent=1)
    if options.chart:
        figures = [suite_rows.Row(name, "timed", name, None, 0, [suite_rows.Figure("ns", title, "ns")])
                   for name, title, _ in ROWS]
        subtitle = "%s, %d processors. Logarithmic axis; shorter is better; line = min to max." % (about["cpu"], cpus)
        with open(options.chart, "w") as f:
            f.write(chart.draw(results, contenders, figures, subtitle, "Native tasklets and Go"))


main()
