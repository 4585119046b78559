# SPDX-License-Identifier: MIT
"""Measuring instruments that every contender uses in the same way.

Resident memory, the gaps that a ticker sees between two of its turns, and the
CPU time of a process that should be doing nothing.  No contender is imported here.
"""

import gc
import os
import time
from time import perf_counter_ns

_PAGE = os.sysconf("SC_PAGE_SIZE")

# Gaps are counted in steps of 512 ns up to about 1 ms; longer ones are kept
# one by one, so that the longest is exact and the rest costs no memory.
_STEP_BITS = 9
_STEPS = 2048


def rss():
    """Resident memory of this process in bytes."""
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * _PAGE


def settled_rss(low_enough, seconds=1.0):
    """Resident memory once it is at or below `low_enough`, or after `seconds`."""
    gc.collect()
    deadline = time.monotonic() + seconds
    now = rss()
    while now > low_enough and time.monotonic() < deadline:
        time.sleep(0.05)
        now = min(now, rss())
    return now


def parked_figures(count, before, parked, woken, park_seconds, wake_seconds):
    """The figures of a memory row; call it when all tasks have ended."""
    if woken != count:
        raise RuntimeError("%d of %d parked tasks were woken" % (woken, count))
    grown = max(parked - before, 1)
    after = settled_rss(before + grown // 10)
    return {
        "bytes": grown / count,
        "returned": 100.0 * (parked - after) / grown,
        "park_ns": park_seconds * 1e9 / count,
        "wake_ns": wake_seconds * 1e9 / count,
        "rss_before": before,
        "rss_parked": parked,
        "rss_after": after,
    }


def gap_ticker(gaps, done, pause):
    """A function that counts a turn after each pause() until somebody appends to `done`."""
    def tick():
        turn = gaps.turn
        last = perf_counter_ns()
        while not done:
            pause()
            last = turn(last)
    return tick


def gap_blocker(call, done):
    """A function that calls once and says so."""
    def block():
        try:
            call()
        finally:
            done.append(True)
    return block


class Gaps:
    """Collects the time between two turns of a ticker, in nanoseconds.

    Tickers call `turn(last)` once per turn and keep what it returns.  Several
    tickers may share one object as long as only one of them runs at a time.
    """

    def __init__(self):
        self.counts = [0] * (_STEPS + 1)
        self.long = []

    def turn(self, last):
        now = perf_counter_ns()
        step = (now - last) >> _STEP_BITS
        if step < _STEPS:
            self.counts[step] += 1
        else:
            self.long.append(now - last)
        return now

    def figures(self):
        """Longest gap and 99.9th percentile in ms, and the number of turns."""
        self.long.sort()
        turns = sum(self.counts) + len(self.long)
        above = turns // 1000  # this many gaps are longer than the percentile
        if above < len(self.long):
            percentile = self.long[len(self.long) - 1 - above]
        else:
            percentile = _upper_edge(self.counts, above - len(self.long))
        longest = self.long[-1] if self.long else _upper_edge(self.counts, 0)
        return {"max_ms": longest / 1e6, "p999_ms": percentile / 1e6, "turns": turns}


def _upper_edge(counts, above):
    """Upper edge, in ns, of the step that holds the gap with `above` longer ones."""
    for step in range(len(counts) - 1, -1, -1):
        above -= counts[step]
        if above < 0:
            return (step + 1) << _STEP_BITS
    return 0


def blocked_call(what):
    """The blocking call of a gap row: returns a function without arguments."""
    if what == "sleep":
        return lambda: time.sleep(0.5)
    if what == "sha256":
        import hashlib
        data = bytes(300_000_000)
        return lambda: hashlib.sha256(data)
    raise ValueError("unknown blocking call: %r" % (what,))


def idle_percent(cpu_before, cpu_after, seconds):
    """CPU use of the process, all threads together, in percent of one CPU."""
    return {"percent": 100.0 * (cpu_after - cpu_before) / seconds}
