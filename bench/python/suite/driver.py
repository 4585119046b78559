# SPDX-License-Identifier: MIT
"""Runs the workers and collects the figures.

Repetitions are interleaved (A B C A B C ...), so that a busy moment of the
machine falls on every contender.  A worker that crashes, hangs or raises costs
its contender that row only; the reason is kept and reported.
"""

import json
import os
import select
import signal
import statistics
import subprocess
import sys
import time

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

REQUEST_SECONDS = 120.0   # a worker that answers nothing for so long is stuck
CALIBRATION_TURNS = 20


class WorkerFailure(Exception):
    """A request did not end in figures; the text says what happened instead."""


class Worker:
    """One measuring process.  Not for use by several threads."""

    def __init__(self, contender, module):
        self.contender, self.module = contender, module
        environment = dict(os.environ)
        path = [_HERE] + [p for p in [environment.get("PYTHONPATH")] if p]
        environment["PYTHONPATH"] = os.pathsep.join(path)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "suite.worker", contender, module],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self.greeting = self._read()

    def ask(self, request):
        """Send one request and return its figures; raises WorkerFailure."""
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # _read() tells how it died
        reply = self._read()
        if "error" in reply:
            raise WorkerFailure(reply["error"])
        return reply

    def _read(self):
        stream = self.process.stdout
        line, deadline = b"", time.monotonic() + REQUEST_SECONDS
        while not line.endswith(b"\n"):
            left = max(deadline - time.monotonic(), 0)
            if not select.select([stream], [], [], left)[0]:
                self.close()
                raise WorkerFailure("no answer within %.0f s" % REQUEST_SECONDS)
            piece = os.read(stream.fileno(), 65536)
            if not piece:
                raise WorkerFailure(self._last_words())
            line += piece
        return json.loads(line)

    def _last_words(self):
        status = self.process.wait()
        if status < 0:
            return "crashed: " + signal.Signals(-status).name
        return "ended with status %d" % status

    def close(self):
        """End the process, gently where that is enough."""
        try:
            self.process.stdin.close()
            self.process.wait(timeout=10.0)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Suite:
    """Measures rows for contenders; `results` is {row: {contender: entry}}."""

    def __init__(self, contenders, module, repetitions, target_seconds, progress):
        self.module = module
        self.repetitions = repetitions
        self.target_seconds = target_seconds
        self.progress = progress
        self.workers, self.versions, self.missing, self.has = {}, {}, {}, {}
        self.results = {}
        for contender in contenders:
            self._start(contender)

    def _start(self, contender):
        try:
            worker = Worker(contender, self.module)
        except WorkerFailure as failure:
            self.missing[contender] = str(failure)
            return
        if "missing" in worker.greeting:
            self.missing[contender] = worker.greeting["missing"]
            worker.close()
            return
        self.workers[contender] = worker
        self.versions[contender] = worker.greeting["version"]
        self.has[contender] = worker.greeting["rows"]

    def close(self):
        for worker in self.workers.values():
            worker.close()

    def measure(self, row):
        """Measure one row for everyone who has it."""
        kind = "row" if row.kind == "timed" else "fresh"
        entries = {name: {"samples": [], "failed": None} for name in self.workers
                   if row.function in self.has[name][kind]}
        self.results[row.name] = entries
        if row.kind == "timed":
            self._timed(row, entries)
        else:
            self._fresh(row, entries)
        for entry in entries.values():
            _summarise(row, entry)

    def _guarded(self, entry, action, *arguments):
        if entry["failed"]:
            return None
        try:
            return action(*arguments)
        except WorkerFailure as failure:
            entry["failed"] = str(failure)
            return None

    def _timed(self, row, entries):
        counts = {}
        for name, entry in entries.items():
            self.progress("%s: %s, calibrating" % (row.figures[0].title, name))
            counts[name] = self._guarded(entry, self._calibrate, row, name)
        for repetition in range(self.repetitions):
            for name, entry in entries.items():
                self.progress("%s: %s, %d of %d"
                              % (row.figures[0].title, name, repetition + 1, self.repetitions))
                sample = self._guarded(entry, self._ask, name,
                                       {"row": row.function, "n": counts[name]})
                if sample:
                    ns = 1e9 * sample["seconds"] / sample["operations"]
                    entry["samples"].append({"ns": ns})

    def _ask(self, name, request):
        if self.workers[name].process.poll() is not None:
            self.workers[name].close()
            self.workers[name] = Worker(name, self.module)
        return self.workers[name].ask(request)

    def _calibrate(self, row, name):
        """A count that takes about the target time."""
        count = row.start
        for _ in range(CALIBRATION_TURNS):
            seconds = self._ask(name, {"row": row.function, "n": count})["seconds"]
            if seconds >= self.target_seconds * 0.7:
                break
            factor = 1.1 * self.target_seconds / max(seconds, 1e-6)
            count = int(count * min(max(factor, 1.3), 10.0))
        return count

    def _fresh(self, row, entries):
        for repetition in range(_fresh_repetitions(row, self.repetitions)):
            for name, entry in entries.items():
                self.progress("%s: %s, %d" % (row.figures[0].title, name, repetition + 1))
                sample = self._guarded(entry, self._in_new_process, row, name)
                if sample:
                    entry["samples"].append(sample)

    def _in_new_process(self, row, name):
        worker = Worker(name, self.module)
        try:
            return worker.ask({"fresh": row.function, "arg": row.arg})
        finally:
            worker.close()


def _fresh_repetitions(row, repetitions):
    """Memory hardly varies and 100,000 greenlets take seconds: fewer of those."""
    if repetitions <= 3:
        return {"gap_sleep": 3}.get(row.name, 1)
    return {"parked10k": 3, "parked100k": 2, "idle": 3}.get(row.name, 5)


def _summarise(row, entry):
    """Add {figure: {median, min, max}} to an entry that has samples."""
    entry["figures"] = {}
    for figure in row.figures:
        values = [sample[figure.key] for sample in entry["samples"]]
        if values and not entry["failed"]:
            entry["figures"][figure.key] = {
                "median": statistics.median(values), "min": min(values), "max": max(values)}
