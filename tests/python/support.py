# SPDX-License-Identifier: MIT
"""Helpers that the Python tests import: a trace of events, the ring as text, child interpreters.

Not for fixtures (conftest.py has them) and not for anything that checks behaviour by itself.
"""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import stackless
from stackless import socket

PATIENCE = 30.0  # seconds; how long polls wait before they call a test failed


def ring_of(tasklet=None):
    """The runnable tasklets in ring order, from the current one (or from the given one)."""
    first = tasklet or stackless.getcurrent()
    found = [first]
    walker = first.next
    while walker is not first:
        found.append(walker)
        walker = walker.next
        assert len(found) < 10000, "the ring does not close"
    return found


class Trace(list):
    """A list of events that also knows the names of the tasklets it has made."""

    def __init__(self):
        super().__init__()
        self.known = [(stackless.getmain(), "main")]

    def name(self, name, tasklet):
        self.known.append((tasklet, name))
        return tasklet

    def new(self, name, func, *args, **kwargs):
        """A scheduled tasklet running func."""
        return self.name(name, stackless.tasklet(func)(*args, **kwargs))

    def paused(self, name, func, *args):
        """A tasklet with function and arguments that is not in the ring."""
        return self.name(name, stackless.tasklet(func, args))

    def logger(self, name):
        """A scheduled tasklet that logs its name and ends."""
        return self.new(name, self.append, name)

    def name_of(self, tasklet):
        for candidate, name in self.known:
            if candidate is tasklet:
                return name
        return "?"

    def ring(self, tasklet=None):
        return " ".join(map(self.name_of, ring_of(tasklet)))

    def queue(self, channel):
        names = []
        walker = channel.queue
        while walker is not None:
            names.append(self.name_of(walker))
            walker = walker.next
        return " ".join(names)


def noop(*args, **kwargs):
    """Does nothing; the function of tasklets of which only the state matters."""


def wait_for(condition, message="condition", patience=PATIENCE, pause=None):
    """Poll until condition() is true; fail when it is not within the patience.

    pause: what to call between polls; by default the caller's tasklets get their turn.
    """
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"timed out waiting for {message}"
        if pause is None:
            stackless.schedule()
            time.sleep(0.0005)
        else:
            pause()


def in_thread(function, *args):
    """What function returns, or the exception that it raises, in a thread of its own."""
    out = []

    def body():
        try:
            out.append(function(*args))
        except BaseException as error:
            out.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    wait_for(lambda: not thread.is_alive(), "the thread")
    return out[0]


def in_tasklet(function, *args):
    """What function returns, or the exception that it raises, in a tasklet."""
    with stackless.TaskletExecutor() as executor:
        future = executor.submit(function, *args)
        return future.exception() or future.result()


def connected(listener):
    """A socket of ours that has been connected to it."""
    client = socket.socket(listener.family)
    client.connect(listener.getsockname())
    return client


def wait_for_io_waiters(count):
    """Lets the others run until that many tasklets wait for descriptors."""
    wait_for(lambda: stackless.stats()["io_waiters"] == count, f"{count} waiters", pause=stackless.schedule)


def failing(results, function, *args):
    """For a tasklet of its own: notes what the call raises, or what it returns."""
    try:
        results.append(function(*args))
    except Exception as error:
        results.append(error)


def fill(sock):
    """Sends until nothing more fits; how much went in."""
    total, timeout = 0, sock.gettimeout()
    sock.settimeout(0)
    try:
        while True:
            total += sock.send(bytes(65536))
    except BlockingIOError:
        return total
    finally:
        sock.settimeout(timeout)


def single_threaded():
    """Whether this process was told to run tasklets on one OS thread only."""
    return os.environ.get("STACKLESS_THREADS", "").strip() == "1"


class Finished:
    """What a child interpreter left: status, stdout, stderr."""

    def __init__(self, status, stdout, stderr):
        self.status = status
        self.stdout = stdout
        self.stderr = stderr

    @property
    def lines(self):
        return self.stdout.split("\n")[:-1]

    def __str__(self):
        return f"status {self.status}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


def child_environment(env=None):
    merged = dict(os.environ)
    for name, value in (env or {}).items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = str(value)
    return merged


def start_script(code, *, env=None, args=(), options=("-u",), stdin=False):
    """A child interpreter that runs code; stdout and stderr are pipes, stdin is one only on demand."""
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", *options, "-c", textwrap.dedent(code), *map(str, args)],
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=child_environment(env),
    )


def finish(child, timeout=45.0):
    """Wait for the child. One that hangs is made to dump its stacks and is reported as a failure."""
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGABRT)  # faulthandler prints where every thread is
        try:
            out, err = child.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            out, err = child.communicate()
        raise AssertionError(f"the child hung\n--- stdout\n{out}\n--- stderr\n{err}") from None
    return Finished(child.returncode, out, err)


def run_script(code, *, env=None, args=(), options=(), status=0, timeout=45.0, quiet=True):
    """Run code in a child interpreter and require its exit status (None: any).

    Its stdout is buffered: a print() that writes to the pipe is a call that may
    block, which costs a tasklet its turn and a test the order it looks at.
    quiet: require that stderr stays empty too.
    """
    done = finish(start_script(code, env=env, args=args, options=options), timeout)
    if status is not None:
        assert done.status == status, str(done)
    if quiet:
        assert done.stderr == "", str(done)
    return done
