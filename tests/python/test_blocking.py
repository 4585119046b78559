# SPDX-License-Identifier: MIT
"""Blocking calls stop nobody: one test for each kind of call, unpatched, on a pool of threads.

Each checks that other tasklets had turns while the call was blocked and that its result is right, and
reports (does not judge) the longest gap another tasklet saw between two of its turns.
"""

import hashlib
import os
import queue
import select
import socket
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
import stackless

from support import PATIENCE, finish, start_script

TURNS = 20  # turns the others must have had meanwhile; without a handoff there would be none

pytestmark = pytest.mark.usefixtures("many_threads")


class Beside:
    """Runs a blocking call in one tasklet and counts the turns of two others meanwhile."""

    def __init__(self, record_property):
        self.turns = 0
        self.longest = 0.0
        self.blocked = False
        self.finished = False
        self._record = record_property

    def _tick(self):
        last = time.monotonic()
        while not self.finished:
            now = time.monotonic()
            if self.blocked:
                self.turns += 1
                self.longest = max(self.longest, now - last)
            last = now
            stackless.schedule()

    def _call(self, function, box):
        try:
            stackless.schedule()  # the tickers are under way
            self.blocked = True
            try:
                box.append(function())
            finally:
                self.during = self.turns
                self.blocked = False
        finally:
            self.finished = True

    def until(self, turns=TURNS):
        """Called by a tasklet that is to release the blocked one: wait until the others have run."""
        deadline = time.monotonic() + PATIENCE
        while not self.blocked or self.turns < turns:
            if time.monotonic() > deadline:
                return
            stackless.schedule()

    def __call__(self, function, *helpers):
        box = []
        for _ in range(2):
            stackless.tasklet(self._tick)()
        stackless.tasklet(self._call)(function, box)
        for helper in helpers:
            stackless.tasklet(helper)()
        stackless.run()
        self._record("turns of others", self.during)
        self._record("longest gap, ms", round(self.longest * 1000, 3))
        print(f"longest gap {self.longest * 1000:.3f} ms, {self.during} turns meanwhile")
        assert self.during >= TURNS
        return box[0]


@pytest.fixture
def beside(record_property):
    return Beside(record_property)


def test_time_sleep(beside):
    start = time.monotonic()
    assert beside(lambda: time.sleep(0.5)) is None
    assert time.monotonic() - start >= 0.5


def test_socket_recv(beside):
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def helper():
            beside.until()
            theirs.send(b"message")

        assert beside(lambda: ours.recv(100), helper) == b"message"


def test_socket_recv_with_a_timeout(beside):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(PATIENCE)

        def helper():
            beside.until()
            theirs.send(b"message")

        assert beside(lambda: ours.recv(100), helper) == b"message"


def test_getaddrinfo(beside):
    """Local lookups are short, so they are repeated until the others have had their turns."""

    def lookup():
        deadline = time.monotonic() + PATIENCE
        while True:
            result = socket.getaddrinfo("localhost", 80, socket.AF_INET, socket.SOCK_STREAM)
            if beside.turns >= TURNS or time.monotonic() > deadline:
                return result

    result = beside(lookup)
    assert result[0][4] == ("127.0.0.1", 80)


def test_open_of_a_fifo(beside, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)

    def reader():
        with open(path) as file:
            return file.read()

    def helper():
        beside.until()
        while True:
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # no reader yet
                stackless.schedule()
            else:
                break
        os.write(descriptor, b"through the fifo")
        os.close(descriptor)

    assert beside(reader, helper) == "through the fifo"


def test_subprocess_run(beside):
    done = beside(lambda: subprocess.run([sys.executable, "-c", "import time; time.sleep(0.3); print('child')"], capture_output=True, text=True))
    assert (done.returncode, done.stdout) == (0, "child\n")


def test_lock_held_by_another_tasklet(beside):
    lock = threading.Lock()
    lock.acquire()

    def helper():
        beside.until()
        lock.release()

    assert beside(lambda: lock.acquire(timeout=2 * PATIENCE), helper) is True
    assert lock.locked()


def test_hashlib(beside):
    data = bytes(300 * 1000 * 1000)
    digest = beside(lambda: hashlib.sha256(data).hexdigest())
    part = hashlib.sha256()
    for _ in range(300):
        part.update(bytes(1000 * 1000))
    assert digest == part.hexdigest()


def test_sqlite(beside):
    def query():
        connection = sqlite3.connect(":memory:")
        try:
            return connection.execute(
                "with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000000) select count(*), sum(i) from n"
            ).fetchone()
        finally:
            connection.close()

    assert beside(query) == (2000000, 2000000 * 2000001 // 2)


def test_queue_get(beside):
    mailbox = queue.Queue()

    def helper():
        beside.until()
        mailbox.put("item")

    assert beside(lambda: mailbox.get(timeout=2 * PATIENCE), helper) == "item"


def test_select(beside):
    reading, writing = os.pipe()

    def helper():
        beside.until()
        os.write(writing, b"x")

    try:
        assert beside(lambda: select.select([reading], [], [], 2 * PATIENCE), helper) == ([reading], [], [])
    finally:
        os.close(reading)
        os.close(writing)


def test_condition_event_and_thread_join(beside):
    event = threading.Event()
    thread = threading.Thread(target=event.wait, args=(2 * PATIENCE,))
    thread.start()

    def helper():
        beside.until()
        event.set()

    def waiter():
        result = event.wait(2 * PATIENCE)
        thread.join(2 * PATIENCE)
        return result

    assert beside(waiter, helper) is True
    assert not thread.is_alive()


def test_blocked_calls_overlap():
    """Three tasklets wait for each other in the OS: one thread could not do it."""
    barrier = threading.Barrier(3)
    passed = []
    for number in range(3):
        stackless.tasklet(lambda number=number: (barrier.wait(PATIENCE), passed.append(number)))()
    stackless.run()
    assert sorted(passed) == [0, 1, 2]


def test_a_blocked_call_in_main():
    """Main may block as well as any tasklet; the others run on meanwhile."""
    reading, writing = os.pipe()
    turns = []

    def tick():
        while len(turns) < TURNS:
            turns.append(1)
            stackless.schedule()
        os.write(writing, b"x")

    stackless.tasklet(tick)()
    assert os.read(reading, 1) == b"x"  # nobody else would ever write that
    stackless.run()
    os.close(reading)
    os.close(writing)
    assert len(turns) == TURNS


def test_run_does_not_return_while_a_call_is_blocked():
    log = []
    stackless.tasklet(lambda: (time.sleep(0.1), log.append("returned")))()
    stackless.run()
    assert log == ["returned"]


def test_no_deadlock_while_a_call_is_blocked():
    channel = stackless.channel()
    stackless.tasklet(lambda: (time.sleep(0.1), channel.send("from the stray")))()
    assert channel.receive() == "from the stray"
    stackless.run()


def test_exception_of_a_blocked_call_reaches_main():
    def body():
        time.sleep(0.1)
        raise LookupError("after the call")

    stackless.tasklet(body)()
    with pytest.raises(LookupError, match="after the call"):
        stackless.run()


@pytest.mark.parametrize("pending", [False, True])
def test_kill_of_a_blocked_call_is_delivered_when_it_returns(pending):
    log = []
    reading, writing = os.pipe()

    def body():
        try:
            os.read(reading, 1)
            stackless.schedule()
            log.append("not reached")
        except TaskletExit:
            log.append("killed")

    def killer():
        while not stackless.stats()["strays"]:
            stackless.schedule()
        victim.kill(pending=pending)
        log.append("killer goes on")
        os.write(writing, b"x")

    victim = stackless.tasklet(body)()
    stackless.tasklet(killer)()
    stackless.run()
    os.close(reading)
    os.close(writing)
    assert log == ["killer goes on", "killed"]
    assert not victim.alive


def test_many_short_blocking_calls():
    done = []

    def body(number):
        for _ in range(20):
            time.sleep(0.001)
            stackless.schedule()
        done.append(number)

    for number in range(20):
        stackless.tasklet(body)(number)
    stackless.run()
    assert sorted(done) == list(range(20))


def test_all_threads_blocked_warns_once_and_goes_on():
    """Three threads, three blocked reads, one ticker; the parent releases a read only after the warning."""
    child = start_script(
        """
        import os, stackless, threading

        pipes = [os.pipe() for _ in range(3)]
        ticks = [0]
        returned = []

        def blocked(number):
            os.read(pipes[number][0], 1)
            returned.append(number)

        def tick():
            while len(returned) < 3:
                ticks[0] += 1
                stackless.schedule()

        def commands():
            # a thread of its own, not of the pool: does what the parent says
            while orders := os.read(0, 100):
                for number in orders.split():
                    os.write(pipes[int(number)][1], b"x")

        threading.Thread(target=commands, daemon=True).start()
        tasklets = [stackless.tasklet(blocked)(number) for number in range(3)]
        stackless.tasklet(tick)()

        def report():
            # prints once there was progress after the first return
            while not returned:
                stackless.schedule()
            before = ticks[0]
            while ticks[0] < before + 10:
                stackless.schedule()
            print("progress", len(returned), flush=True)

        stackless.tasklet(report)()
        stackless.run()
        print("end", sorted(returned), flush=True)
        """,
        env={"STACKLESS_THREADS": "3"},
        stdin=True,
    )
    warning = child.stderr.readline()
    assert "STACKLESS_THREADS" in warning, warning
    child.stdin.write("0\n")
    child.stdin.flush()
    assert child.stdout.readline() == "progress 1\n"
    child.stdin.write("1\n2\n")
    child.stdin.flush()
    done = finish(child)
    assert done.status == 0, str(done)
    assert done.stdout == "end [0, 1, 2]\n"
    assert "STACKLESS_THREADS" not in done.stderr, "one warning is enough"


# --- finalizers that block in the middle of a switch ---


class Blocks:
    """Blocks on its way out, until another tasklet has had a turn."""

    def __init__(self, gate, seen):
        self.gate, self.seen = gate, seen

    def __del__(self):
        self.seen.append((stackless.getcurrent(), self.gate.wait(PATIENCE)))


def test_what_a_tempval_held_blocks():
    gate, seen, ends = threading.Event(), [], []

    def leaves():
        stackless.getcurrent().tempval = Blocks(gate, seen)
        stackless.schedule()
        ends.append("left")

    def opens():
        gate.set()
        ends.append("opened")

    first = stackless.tasklet(leaves)()
    stackless.tasklet(opens)()
    stackless.run()
    assert seen == [(first, True)]
    assert ends == ["opened", "left"]


def test_what_an_ended_tasklet_held_blocks_as_another_comes_back():
    class Holds(stackless.tasklet):
        pass

    woken, gate, seen, steps = threading.Event(), threading.Event(), [], []

    def comes_back():
        steps.append(woken.wait(PATIENCE))  # not before `others` runs: the lane is with that one
        while "ready" not in steps:
            pass
        stackless.schedule()  # comes in at the end of the queue, after `holds`
        steps.append("back")

    def others():
        woken.set()
        while True not in steps:
            pass
        holds = Holds(steps.append)
        holds.held = Blocks(gate, seen)
        holds("ended")
        del holds
        steps.append("ready")
        while back.next is None:  # not in the ring yet
            pass
        stackless.schedule()
        gate.set()

    back = stackless.tasklet(comes_back)()
    stackless.tasklet(others)()
    stackless.run()
    assert seen == [(back, True)]
    assert steps == [True, "ready", "ended", "back"]
