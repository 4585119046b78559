#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The Python benchmark: a module with Stackless's interface beside its peers.

    python bench/python/run.py [--quick] [--json FILE] [--chart FILE.svg]

It tells where we stand against the goals and catches regressions on one
machine.  It says nothing about other machines, nor about a real program: for
that see `examples/demo.py`.  Exit status 1: the module could not be imported or
failed in a row.  A missed goal is printed and, with --strict, gives status 2.
"""

import argparse
import resource
import sys

from suite import cbench, chart, goals, report, rows
from suite.driver import Suite


def arguments():
    parser = argparse.ArgumentParser(
        description="Benchmark of a stackless module beside greenlet, gevent and asyncio.")
    parser.add_argument("--quick", action="store_true",
                        help="fewer and shorter repetitions; no 100,000 tasks for the peers")
    parser.add_argument("--module", default="stackless", metavar="NAME",
                        help="the module to measure (default: %(default)s)")
    parser.add_argument("--peers", nargs="*", default=rows.PEERS, choices=rows.PEERS,
                        metavar="PEER", help="which of: %s; none after --peers: only the module"
                        % ", ".join(rows.PEERS))
    parser.add_argument("--only", nargs="+", choices=list(rows.BY_NAME), metavar="NAME",
                        help="only these rows: " + ", ".join(rows.BY_NAME))
    parser.add_argument("--json", metavar="FILE", help="write all samples to FILE")
    parser.add_argument("--chart", metavar="FILE.svg", help="draw a chart")
    parser.add_argument("--c-bench", metavar="PROGRAM",
                        help="Google Benchmark program with the raw C switch")
    parser.add_argument("--c-filter", default="[Ss]witch", metavar="REGEX",
                        help="its benchmarks to look at (default: %(default)s)")
    parser.add_argument("--strict", action="store_true", help="exit status 2 if a goal is missed")
    return parser.parse_args()


def progress(text):
    """A line on standard error that overwrites itself; nothing when that is no terminal."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K" + text[:100])
        sys.stderr.flush()


def raw_switch(options):
    if not options.c_bench:
        return None
    progress("raw C switch")
    try:
        return cbench.raw_switch_ns(options.c_bench, options.c_filter, 3 if options.quick else 7)
    except RuntimeError as error:
        progress("")
        print("raw C switch not measured: %s" % error, file=sys.stderr)
        return None


def measure(suite, options):
    """Measure the chosen rows; with --quick the costly one is for the module alone."""
    everyone = suite.workers
    for row in rows.ROWS:
        if options.only and row.name not in options.only:
            continue
        if options.quick and row.name == "parked100k":
            suite.workers = {k: v for k, v in everyone.items() if k == "stackless"}
        suite.measure(row)
        suite.workers = everyone
    progress("")


def main():
    options = arguments()
    about = report.machine()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    contenders = ["stackless"] + [peer for peer in rows.PEERS if peer in options.peers]
    suite = Suite(contenders, options.module, repetitions=3 if options.quick else 7,
                  target_seconds=0.03 if options.quick else 0.1, progress=progress)
    try:
        measure(suite, options)
        raw = raw_switch(options)
    except KeyboardInterrupt:
        progress("")
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        suite.close()
    verdicts = goals.judge(suite.results, "stackless", raw)
    if options.only:
        verdicts = [v for v in verdicts if v.value is not None]
    finish(suite, contenders, verdicts, raw, options, about)
    if "stackless" in suite.missing or any(
            entries.get("stackless", {}).get("failed") for entries in suite.results.values()):
        return 1
    return 2 if options.strict and any(goals.reached(v) is False for v in verdicts) else 0


def finish(suite, contenders, verdicts, raw, options, about):
    """Print the tables, then write the files that were asked for."""
    print("CPython %(python)s on %(machine)s, %(cpus)d CPUs, %(cpu)s" % about)
    if about["load"] > 0.25 * about["cpus"]:
        print("others were busy on it (load %.2f before the start): trust no figure far"
              % about["load"])
    print("contenders: " + ", ".join(
        "%s %s" % (options.module if name == "stackless" else name, version)
        for name, version in suite.versions.items()))
    print()
    report.print_table(suite.results, contenders)
    print()
    if "stackless" in suite.versions:
        report.print_goals(verdicts)
    report.print_failures(suite)
    if options.json:
        report.as_json(options.json, suite, contenders, verdicts, raw, about)
    if options.chart:
        svg = chart.draw(suite.results, contenders, rows.ROWS, chart.about_python(about))
        with open(options.chart, "w") as f:
            f.write(svg)


if __name__ == "__main__":
    sys.exit(main())
