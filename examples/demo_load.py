# SPDX-License-Identifier: MIT
"""Starting the example servers and putting load on them with wrk.

For `demo.py`, which decides what is measured and prints it.  Everything is on
loopback, every wait has an end, and `Server.stop` leaves no process behind.
"""

import os
import select
import subprocess
import sys
import time
from collections import namedtuple

HERE = os.path.dirname(os.path.abspath(__file__))

START_SECONDS = 20
STOP_SECONDS = 5

# What one run of wrk says; latencies in milliseconds.
Load = namedtuple("Load", "rate p50 p99 errors")


class LoadError(Exception):
    """A server did not start, or wrk gave no figures."""


class Server:
    """One example server in a process of its own."""

    def __init__(self, name, arguments):
        self.name = name
        command = [sys.executable, os.path.join(HERE, arguments[0])] + arguments[1:]
        self.process = subprocess.Popen(command + ["--port", "0"], stdout=subprocess.PIPE)
        try:
            self.url = self._address()
        except LoadError:
            self.stop()
            raise

    def _address(self):
        line, deadline = b"", time.monotonic() + START_SECONDS
        stream = self.process.stdout
        while not line.endswith(b"\n"):
            if not select.select([stream], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise LoadError("%s: not ready after %d s" % (self.name, START_SECONDS))
            piece = os.read(stream.fileno(), 4096)
            if not piece:
                raise LoadError("%s: ended with status %d before it was ready"
                                % (self.name, self.process.wait()))
            line += piece
        return line.split()[1].decode()

    def alive(self):
        return self.process.poll() is None

    def stop(self):
        """Ask it to stop; returns its exit status, None if it had to be killed."""
        self.process.terminate()
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            status = None
        self.process.stdout.close()
        return status


def start_wrk(url, connections, seconds):
    """Start wrk in the background."""
    command = ["wrk", "-t1", "-c%d" % connections, "-d%ds" % seconds, "--timeout", "5s",
               "-s", os.path.join(HERE, "wrk_report.lua"), url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish_wrk(wrk, seconds):
    """The figures of a wrk that was started for `seconds`; raises LoadError."""
    try:
        output = wrk.communicate(timeout=seconds + 30)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        raise LoadError("wrk did not end") from None
    finally:
        if wrk.poll() is None:
            wrk.kill()
            wrk.wait()
    for line in output.splitlines():
        if line.startswith("REPORT "):
            requests, duration, p50, p99, errors = map(int, line.split()[1:])
            return Load(requests * 1e6 / duration, p50 / 1e3, p99 / 1e3, errors)
    raise LoadError("wrk: " + (output.strip().splitlines() or ["no output"])[-1])


def load(url, connections, seconds):
    """Run wrk and return its figures."""
    return finish_wrk(start_wrk(url, connections, seconds), seconds)


def load_two(url, connections, beside_url, beside_connections, seconds):
    """Figures of `url` while other connections ask for `beside_url`, and those of the latter.

    The other load begins earlier and ends later, so that it is there all the time.
    """
    beside_seconds = seconds + 1
    beside = start_wrk(beside_url, beside_connections, beside_seconds)
    try:
        time.sleep(0.3)
        front = load(url, connections, seconds)
        return front, finish_wrk(beside, beside_seconds)
    finally:
        if beside.poll() is None:
            beside.kill()
            beside.wait()
