# SPDX-License-Identifier: MIT
"""What is measured: the rows of the benchmark, their figures and their units.

How each contender does it is in `in_*.py`; what must be reached in `goals.py`.
"""

from collections import namedtuple

# A figure is one number of a row: `key` in the worker's answer, its title in
# the table, its unit, and whether it is part of the table and chart.
Figure = namedtuple("Figure", "key title unit")

# kind "timed": the worker repeats an operation `n` times and the figure is ns
# per operation.  kind "fresh": one call with `arg` in a process of its own.
Row = namedtuple("Row", "name kind function arg start figures")


def _timed(name, title, start):
    return Row(name, "timed", name, None, start, [Figure("ns", title, "ns")])


def _fresh(name, function, arg, *figures):
    return Row(name, "fresh", function, arg, 0, [Figure(*figure) for figure in figures])


ROWS = [
    _timed("yield", "yield, one switch", 2000),
    _timed("pingpong", "ping-pong, per message", 2000),
    _timed("stream", "unbuffered stream, per message", 2000),
    _timed("fanin", "fan-in of 100, per message", 5000),
    _timed("ring", "ring of 1,000, per hop", 5000),
    _timed("spawn_batch", "spawn + run, batches of 1,000", 1000),
    _timed("spawn_single", "spawn + run, one by one", 500),
    _fresh("parked10k", "parked", 10_000,
           ("bytes", "10,000 parked, each", "bytes"),
           ("returned", "10,000 ended, given back", "%")),
    _fresh("parked100k", "parked", 100_000,
           ("bytes", "100,000 parked, each", "bytes"),
           ("returned", "100,000 ended, given back", "%")),
    _fresh("gap_sleep", "gap", "sleep",
           ("max_ms", "longest gap beside time.sleep(0.5)", "ms"),
           ("p999_ms", "99.9 % of the gaps beside it are under", "ms")),
    _fresh("gap_sha256", "gap", "sha256",
           ("max_ms", "longest gap beside sha256 of 300 MB", "ms"),
           ("p999_ms", "99.9 % of the gaps beside it are under", "ms")),
    _fresh("idle", "idle", 2.0,
           ("percent", "CPU use of an idle process", "%")),
]

BY_NAME = {row.name: row for row in ROWS}

PEERS = ["greenlet", "gevent", "asyncio"]
