#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The demonstration: one HTTP server written five ways, under the same load.

    python examples/demo.py [--quick] [--json FILE]

The server with a tasklet per connection stands beside threads, gevent and
asyncio (both of its interfaces); all five run the same handlers.  wrk asks for
`/` over 10, 100 and 1,000 connections, for `/db`, and for `/` while other
connections ask for `/slow`, whose handler calls `time.sleep(0.2)`.  Then the
channel rows of the benchmark in `bench/python` follow.

Takes under three minutes, with --quick under one.  Needs wrk (Debian package
`wrk`); gevent is left out when it is not installed.  Exit status 1: our own
server failed.
"""

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

import http_cli
from demo_load import HERE, LoadError, Server, load, load_two

# name in the table, and the script that serves it
SERVERS = [
    ("stackless", ["http_server.py"]),
    ("threading", ["http_peers.py", "threading"]),
    ("gevent", ["http_peers.py", "gevent"]),
    ("asyncio streams", ["http_peers.py", "streams"]),
    ("asyncio protocol", ["http_peers.py", "protocol"]),
]
OURS = "stackless"

# Fewer than the blocked calls that the default STACKLESS_THREADS tolerates on two CPUs.
SLOW_CONNECTIONS = 4

# title, path, connections, whether /slow is asked for beside it
CASES = [
    ("/ at 10 connections", "", 10, False),
    ("/ at 100 connections", "", 100, False),
    ("/ at 1,000 connections", "", 1000, False),
    ("/db at 100 connections", "db", 100, False),
    ("/ at 100 connections, %d more on /slow" % SLOW_CONNECTIONS, "", 100, True),
]
PLAIN, MIXED = CASES[1][0], CASES[4][0]

# seconds of one run, and the cases of each round; those with a goal are run once more
FULL = (2, [CASES, CASES, [CASES[1], CASES[4]]])
QUICK = (1, [CASES])

CHANNEL_ROWS = ["yield", "pingpong", "stream", "fanin", "ring"]


class Progress:
    """One line on standard error: what is being done, and how long it still takes."""

    def __init__(self, steps, step_seconds):
        self.steps, self.step_seconds, self.done = steps, step_seconds, 0
        self.terminal = sys.stderr.isatty()

    def step(self, text):
        left = (self.steps - self.done) * self.step_seconds
        self.done += 1
        line = "[%d/%d] about %d s left: %s" % (self.done, self.steps, left, text)
        sys.stderr.write("\r\033[K" + line if self.terminal else line + "\n")
        sys.stderr.flush()

    def clear(self):
        if self.terminal:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def start_servers():
    """Start all servers that can be started; says which cannot."""
    servers = []
    for name, script in SERVERS:
        try:
            servers.append(Server(name, script))
        except LoadError as error:
            print("left out: %s" % error, file=sys.stderr)
    return servers


def measure(server, case, seconds):
    """One run of one case; a Load, with that of /slow behind it in the mixed case."""
    _, path, connections, mixed = case
    if mixed:
        return load_two(server.url + path, connections,
                        server.url + "slow", SLOW_CONNECTIONS, seconds)
    return load(server.url + path, connections, seconds), None


def measure_all(servers, seconds, rounds):
    """{case title: {server name: [(Load, Load or None)]}}, contenders in turns."""
    progress = Progress(sum(map(len, rounds)) * len(servers), seconds + 0.4)
    results = {case[0]: {server.name: [] for server in servers} for case in CASES}
    for number, cases in enumerate(rounds, 1):
        for case in cases:
            for server in servers:
                progress.step("round %d, %s, %s" % (number, case[0], server.name))
                try:
                    results[case[0]][server.name].append(measure(server, case, seconds))
                except LoadError as error:
                    progress.clear()
                    state = "" if server.alive() else " (the server has died)"
                    print("%s, %s: %s%s" % (server.name, case[0], error, state), file=sys.stderr)
    progress.clear()
    return results


def medians(runs):
    """One dict of medians for the runs of a server; None if there are none."""
    if not runs:
        return None
    found = {name: statistics.median(getattr(run[0], name) for run in runs)
             for name in ("rate", "p50", "p99")}
    found["errors"] = sum(run[0].errors for run in runs)
    if runs[0][1]:
        found["slow_rate"] = statistics.median(run[1].rate for run in runs)
    return found


def print_case(title, figures):
    print("\n%-34s %12s %10s %10s %8s" % (title, "requests/s", "p50 ms", "p99 ms", "errors"))
    for name, found in figures.items():
        if found is None:
            print("  %-32s %12s" % (name, "failed"))
            continue
        slow = "   (/slow: %.0f/s)" % found["slow_rate"] if "slow_rate" in found else ""
        times = ["%.2f" % found[key] if found["rate"] else "-" for key in ("p50", "p99")]
        print("  %-32s %12s %10s %10s %8d%s"
              % (name, "{:,.0f}".format(found["rate"]), times[0], times[1],
                 found["errors"], slow))


def print_goals(summary):
    """What the server must reach, and whether it has."""
    plain, mixed = summary[PLAIN], summary[MIXED]
    ours = plain.get(OURS)
    if not ours or not ours["rate"]:
        return
    print()
    for name, found in plain.items():
        if found and name not in (OURS, "threading"):
            factor = ours["rate"] / found["rate"] if found["rate"] else float("inf")
            print("goal: %s, more requests/s than %s: %s (%.2f times)"
                  % (PLAIN, name, "reached" if factor > 1 else "MISSED", factor))
    if mixed.get(OURS):
        factor = mixed[OURS]["p99"] / ours["p99"] if mixed[OURS]["rate"] else float("inf")
        print("goal: p99 of / with /slow beside it within 3 times of without: %s (%.2f times)"
              % ("reached" if factor <= 3 else "MISSED", factor))


def web(options):
    """The servers under load; whether ours did its part."""
    if not shutil.which("wrk"):
        print("wrk is not installed, so the servers are not put under load.\n"
              "On Debian: apt install wrk", file=sys.stderr)
        return True
    servers = start_servers()
    try:
        names = [server.name for server in servers]
        results = measure_all(servers, *(QUICK if options.quick else FULL))
    finally:
        statuses = {server.name: server.stop() for server in servers}
    summary = {title: {name: medians(runs[name]) for name in names}
               for title, runs in results.items()}
    for title, figures in summary.items():
        print_case(title, figures)
    print_goals(summary)
    for name, status in statuses.items():
        if status != 0:
            print("%s did not stop cleanly (status %s)" % (name, status), file=sys.stderr)
    if options.json:
        with open(options.json, "w") as f:
            json.dump(summary, f, indent=1)
            f.write("\n")
    return statuses.get(OURS) == 0 and all(summary[case[0]][OURS] for case in CASES)


def channels():
    """The channel rows of the benchmark; whether it ended well."""
    script = os.path.join(HERE, os.pardir, "bench", "python", "run.py")
    print("\nChannels and switches (bench/python/run.py has more):\n", flush=True)
    command = [sys.executable, script, "--quick", "--only"] + CHANNEL_ROWS
    return subprocess.run(command).returncode == 0


def main():
    parser = argparse.ArgumentParser(description="Web servers and channels, side by side.")
    parser.add_argument("--quick", action="store_true", help="shorter runs, under a minute in all")
    parser.add_argument("--json", metavar="FILE", help="write the servers' figures to FILE")
    options = parser.parse_args()
    if not importlib.util.find_spec("stackless"):
        print("Python cannot find the module stackless: install it first, with "
              "`pip install .` at the top of the repository.", file=sys.stderr)
        return 1
    http_cli.raise_open_files()
    started = time.monotonic()
    try:
        good = web(options)
        good = channels() and good
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    print("\nThe demonstration took %.0f s." % (time.monotonic() - started))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
