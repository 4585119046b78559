# SPDX-License-Identifier: MIT
"""Takes the raw C switch from a Google Benchmark program; runs it, no more."""

import json
import re
import statistics
import subprocess

_TO_NS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}


def raw_switch_ns(program, pattern, repetitions, seconds=120):
    """Median ns of one switch over the repetitions; the fastest matching benchmark counts.

    A benchmark that reports `items_per_second` is taken to count switches;
    otherwise one iteration is one switch.  Raises RuntimeError when the program
    fails or nothing matches.
    """
    command = [program, "--benchmark_format=json", "--benchmark_filter=" + pattern,
               "--benchmark_repetitions=%d" % repetitions]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=seconds)
        runs = json.loads(done.stdout)["benchmarks"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        raise RuntimeError("%s: %s" % (program, error)) from error
    samples = {}
    for run in runs:
        if run.get("run_type", "iteration") == "iteration" and re.search(pattern, run["name"]):
            samples.setdefault(run["name"], []).append(_nanoseconds(run))
    if not samples:
        raise RuntimeError("%s has no benchmark that matches %r" % (program, pattern))
    return min(statistics.median(values) for values in samples.values())


def _nanoseconds(run):
    if run.get("items_per_second"):
        return 1e9 / run["items_per_second"]
    return run["real_time"] * _TO_NS[run.get("time_unit", "ns")]
