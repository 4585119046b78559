#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Repeats the Python tests of a module in one process and requires that nothing grows.

    tests/leaks.py [-n ROUNDS] [-v] [--each] [MODULE_OR_TEST...]

Without arguments every module of tests/python, each in a process of its own, 200 rounds. After each round it counts
memory blocks, objects of the garbage collector, tasklets, channels, OS threads, descriptors, stacks, what malloc() has
given out (malloc_count.c, where there are a C compiler and glibc) and the resident memory; none of them may go on
growing, but for what a test says of itself with the marker grows. --each repeats each test by itself, to find the one.

Left out, and reported: tests that start other processes (what they test is not in this one), and those that take longer
than SLOW seconds. Exit status 1: something grew or failed.
"""

import argparse
import array
import ctypes
import gc
import os
import pathlib
import statistics
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE / "python"

SLOW = 1.0      # a test that takes so many seconds is not repeated at all
PATIENCE = 900  # seconds for one module; then the rounds done so far must do
MANY = 100      # rounds from which on the figures that are not exact count too
PARTS = 8       # see growth()
LEAST = 20      # rounds that a verdict needs

# What a round may add, forever: less than one leaked thing in four rounds; heap is the bytes of mallocs, which are what
# is too large for Python's own allocator, and ours; RSS in KB.
ALLOWED = {"blocks": 0.25, "objects": 0.25, "tasklets": 0.05, "channels": 0.05, "threads": 0.05, "files": 0.05,
           "stacks": 0.05, "mallocs": 0.25, "heap": 150.0, "rss": 8.0}
ROUGH = {"threads", "heap", "rss"}


clear_caches = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache


def measure():
    import stackless

    stackless.run()  # who waits for nothing but its turn
    for _ in range(3):
        gc.collect()
    clear_caches()  # the type cache holds up to 4096 names, of computed attributes too
    objects = gc.get_objects()
    stats = stackless.stats()
    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[1])
    return {
        "objects": len(objects),
        "tasklets": sum(isinstance(o, stackless.tasklet) for o in objects),
        "channels": sum(isinstance(o, stackless.channel) for o in objects),
        "threads": len(os.listdir("/proc/self/task")),
        "files": len(os.listdir("/proc/self/fd")),
        "stacks": stats["stacks_live"] + stats["stacks_free"],
        "mallocs": counted("blocks"),
        "heap": counted("bytes"),
        "rss": pages * os.sysconf("SC_PAGE_SIZE") // 1024,
        "blocks": sys.getallocatedblocks(),  # last: what is above is in it, each time
    }


def counted(what):
    """By malloc_count.c; 0 where it is not loaded."""
    function = getattr(ctypes.CDLL(None), "malloc_count_" + what, None)
    if not function:
        return 0
    function.restype = ctypes.c_long
    return function()


def build_counter(folder):
    """The environment in which malloc() counts."""
    library = pathlib.Path(folder) / "malloc_count.so"
    compiler = shutil.which("cc")
    done = compiler and subprocess.run([compiler, "-O2", "-shared", "-fPIC", str(HERE / "malloc_count.c"), "-o", str(library)],
                                       capture_output=True)
    if done and done.returncode == 0:
        return dict(os.environ, LD_PRELOAD=str(library))
    print("no C compiler or no glibc: what malloc() gives out is not counted")
    return None


class Following:
    """Stands for the next test: the module and what is above stay set up, nothing else."""

    def __init__(self, item):
        self.chain = item.listchain()[: item.listchain().index(item.getparent(pytest.Module)) + 1]

    def listchain(self):
        return self.chain


class Repeat:
    """The plugin: runs the collected tests round after round."""

    def __init__(self, rounds, verbose):
        self.rounds = rounds
        self.verbose = verbose
        self.failed = []
        self.left_out = []
        self.kept = []
        self.done = 0
        self.figures = {what: array.array("q", bytes(8 * rounds)) for what in ALLOWED}  # made now: to keep them takes no memory
        self.processes = 0

    @pytest.fixture
    def tmp_path(self):
        """pytest's keeps a record of each."""
        path = tempfile.mkdtemp()
        yield pathlib.Path(path)
        shutil.rmtree(path)

    def pytest_sessionstart(self):
        sys.addaudithook(self._audit)

    def _audit(self, event, args):
        if event in ("subprocess.Popen", "os.fork", "os.posix_spawn"):
            self.processes += 1

    def pytest_runtestloop(self, session):
        self.kept = [item for item in session.items if self._try(item)]
        gc.collect()
        gc.freeze()  # each test collects garbage: not among what is there for good
        deadline = time.monotonic() + PATIENCE
        while self.kept and self.done < self.rounds and not self.failed and time.monotonic() < deadline:
            for item in self.kept:
                self._run(item)
            for what, value in measure().items():
                self.figures[what][self.done] = value
            self.done += 1
            if self.verbose:
                print(*(f"{what}={values[self.done - 1]}" for what, values in self.figures.items()), file=self.verbose)
        session._setupstate.teardown_exact(None)
        return True

    def _try(self, item):
        """The first run, which tells whether the test can be repeated."""
        started, processes = time.monotonic(), self.processes
        self._run(item)
        took = time.monotonic() - started
        if self.processes > processes:
            self.left_out.append("starts a process")
        elif took > SLOW:
            self.left_out.append("slow")
        else:
            return True
        return False

    def _run(self, item):
        from _pytest.runner import runtestprotocol

        for report in runtestprotocol(item, log=False, nextitem=Following(item)):
            if report.failed:
                self.failed.append(f"{item.nodeid}: {report.longreprtext[-2000:]}")
        item._report_sections.clear()
        item.user_properties.clear()


def growth(values):
    """Per round: the median of the steps between the minima of eight parts of the rounds, without the first ones.

    What grows once, a cache or a high-water mark, does not count; what grows always does.
    """
    size = len(values) * 4 // 5 // PARTS
    ends = range(len(values) - PARTS * size, len(values), size)
    least = [min(values[at:at + size]) for at in ends]
    return statistics.median(b - a for a, b in zip(least, least[1:])) / size


def known(items):
    """What the tests say themselves that a round adds, and why: {figure: most}, [reason]."""
    most, why = dict.fromkeys(ALLOWED, 0), []
    for item in items:
        for marker in item.iter_markers("grows"):
            why.append(marker.args[0])
            for what, by in marker.kwargs.items():
                most[what] += by
    return most, why


def counts(reasons):
    return ", ".join(f"{reasons.count(why)} {why}" for why in sorted(set(reasons)))


def one(target, rounds, verbose):
    """In a process of its own: the tests of target; 0 if all is flat."""
    os.environ.pop("LD_PRELOAD", None)  # nobody else's
    out = os.fdopen(os.dup(1), "w", buffering=1)  # for us; what the tests print is of no interest
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    repeat = Repeat(rounds, out if verbose else None)
    null = ["-p", "no:cacheprovider", "-p", "no:terminal", "-p", "no:logging", "-s", "-o", "addopts=--strict-markers",
            "-c", str(HERE.parent / "pyproject.toml")]
    status = pytest.main([*null, str(target)], plugins=[repeat])
    most, why = known(repeat.kept)
    name = str(target).rpartition("/")[2]
    head = f"{name}: {len(repeat.kept)} tests x {repeat.done} rounds"
    for what, reasons in (("left out", repeat.left_out), ("known", why)):
        head += f" ({what}: {counts(reasons)})" if reasons else ""
    if repeat.failed or status not in (0, 5):
        print(f"FAILED {head}\n" + "\n".join(repeat.failed), file=out)
        return 1
    if not repeat.kept:
        print(f"none   {head}", file=out)
        return 0
    if repeat.done < min(LEAST, rounds):
        print(f"FAILED {head}: too few rounds in {PATIENCE} s", file=out)
        return 1
    grown = {what: growth(values[:repeat.done]) for what, values in repeat.figures.items()}
    bad = [what for what, by in grown.items() if by > ALLOWED[what] + most[what] and (rounds >= MANY or what not in ROUGH)]
    figures = " ".join(f"{what}={repeat.figures[what][repeat.done - 1]}({by:+.2f})" for what, by in grown.items())
    print(f"{'GROWS ' if bad else 'flat  '} {head}: {figures}", file=out)
    return 1 if bad else 0


def each_test(target):
    """The ids of a module's tests."""
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q", str(target)],
                          capture_output=True, text=True, cwd=HERE.parent)
    return [str(HERE.parent / line) for line in done.stdout.splitlines() if "::" in line]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=200, metavar="ROUNDS")
    parser.add_argument("-v", action="store_true", help="print each round's figures")
    parser.add_argument("--each", action="store_true", help="each test by itself")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*")
    args = parser.parse_args()
    if args.one:
        return one(args.targets[0], args.n, args.v)
    targets = args.targets or sorted(map(str, TESTS.glob("test_*.py")))
    if args.each:
        targets = [test for target in targets for test in each_test(target)]
    status = 0
    with tempfile.TemporaryDirectory() as folder:
        env = build_counter(folder)
        for target in targets:
            command = [sys.executable, str(HERE / "leaks.py"), "--one", "-n", str(args.n), *(["-v"] if args.v else []), target]
            status |= subprocess.run(command, stderr=None if args.v else subprocess.DEVNULL, env=env).returncode != 0
    return status


if __name__ == "__main__":
    sys.exit(main())
