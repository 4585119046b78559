# SPDX-License-Identifier: MIT
"""stackless.wait(): parking on bare descriptors. Sockets of stackless.socket are test_socket.py's."""

import errno
import gc
import os
import socket
import tempfile
import threading
import time

import pytest
import stackless
from stackless import READ, WRITE

import support

SHORT = 0.02  # seconds that a wait which must time out is given


class Pipe:
    def __init__(self):
        self.read_end, self.write_end = os.pipe()
        for fd in (self.read_end, self.write_end):
            os.set_blocking(fd, False)

    def close(self):
        for name in ("read_end", "write_end"):
            fd = getattr(self, name)
            if fd >= 0:
                os.close(fd)
            setattr(self, name, -1)

    def fill(self):
        try:
            while True:
                os.write(self.write_end, bytes(4096))
        except BlockingIOError:
            pass


@pytest.fixture
def pipe():
    one = Pipe()
    yield one
    one.close()


def go(function, *args):
    return stackless.tasklet(function)(*args)


def waiting(count):
    support.wait_for(lambda: stackless.stats()["io_waiters"] == count, f"{count} waiters", pause=stackless.schedule)


def test_what_is_ready_does_not_park(pipe):
    log = []
    go(log.append, "other")
    assert stackless.wait(pipe.write_end, WRITE) == WRITE
    os.write(pipe.write_end, b"x")
    assert stackless.wait(pipe.read_end, READ) == READ
    assert log == []  # nobody was switched to
    stackless.run()


def test_parks_until_ready(pipe):
    log = []

    def reader():
        log.append(stackless.wait(pipe.read_end, READ))
        log.append(os.read(pipe.read_end, 10))

    go(reader)
    waiting(1)
    assert log == []
    os.write(pipe.write_end, b"data")
    stackless.run()
    assert log == [READ, b"data"]


def test_main_parks_too(pipe):
    go(os.write, pipe.write_end, b"x")
    assert stackless.wait(pipe.read_end, READ, 30) == READ


def test_room_to_write(pipe):
    pipe.fill()
    log = []
    go(lambda: log.append(stackless.wait(pipe.write_end, WRITE)))
    waiting(1)
    os.read(pipe.read_end, 1 << 20)
    stackless.run()
    assert log == [WRITE]


def test_is_level_triggered(pipe):
    """What has not been read is still ready, however often one asks."""
    os.write(pipe.write_end, b"abc")
    for _ in range(3):
        assert stackless.wait(pipe.read_end, READ, SHORT) == READ
        os.read(pipe.read_end, 1)
    assert stackless.wait(pipe.read_end, READ, SHORT) == 0


def test_an_old_edge_is_not_readiness(pipe):
    log = []
    for turn in range(10):
        os.write(pipe.write_end, b"x")
        assert stackless.wait(pipe.read_end, READ) == READ
        os.read(pipe.read_end, 1)
        stackless.schedule()
        assert stackless.wait(pipe.read_end, READ, 0.001) == 0
    assert log == []


def test_the_other_end_closed(pipe):
    log = []
    go(lambda: log.append(stackless.wait(pipe.read_end, READ)))
    waiting(1)
    os.close(pipe.write_end)
    pipe.write_end = -1
    stackless.run()
    assert log == [READ] and os.read(pipe.read_end, 1) == b""


def test_an_error_counts_as_ready(pipe):
    pipe.fill()
    log = []
    go(lambda: log.append(stackless.wait(pipe.write_end, WRITE)))
    waiting(1)
    os.close(pipe.read_end)
    pipe.read_end = -1
    stackless.run()
    assert log == [WRITE]
    with pytest.raises(BrokenPipeError):
        os.write(pipe.write_end, b"x")


def test_both_directions():
    a, b = socket.socketpair()
    with a, b:
        a.setblocking(False)
        assert stackless.wait(a, READ | WRITE) == WRITE
        b.send(b"x")
        assert stackless.wait(a, READ | WRITE) == READ | WRITE
        assert stackless.wait(a, READ) == READ
        a.recv(1)
        try:
            while True:
                a.send(bytes(65536))
        except BlockingIOError:
            pass
        log = []
        go(lambda: log.append(stackless.wait(a, READ | WRITE)))
        waiting(1)
        b.send(b"x")
        stackless.run()
        assert log == [READ]
        a.recv(1)
        go(lambda: log.append(stackless.wait(a, READ | WRITE)))
        waiting(1)
        drained = 0
        b.setblocking(False)
        try:
            while drained < 1 << 24:
                drained += len(b.recv(1 << 20))
        except BlockingIOError:
            pass
        stackless.run()
        assert log[1] & WRITE


def test_objects_with_fileno(pipe):
    with open(pipe.write_end, "wb", buffering=0, closefd=False) as file:
        assert stackless.wait(file, WRITE) == WRITE
        assert stackless.wait(fd=file, events=WRITE, timeout=None) == WRITE
    for wrong in ("1", None, object()):
        with pytest.raises(TypeError):
            stackless.wait(wrong, READ)
    with pytest.raises(ValueError):
        stackless.wait(-1, READ)


def test_events_are_checked(pipe):
    for wrong in (0, 1 << 10, READ | 1 << 10):
        with pytest.raises(ValueError, match="READ, WRITE or both"):
            stackless.wait(pipe.read_end, wrong)
    with pytest.raises(TypeError):
        stackless.wait(pipe.read_end, "r")
    with pytest.raises(TypeError):
        stackless.wait(pipe.read_end)


def test_timeouts(pipe):
    for seconds in (0, 0.0, 1e-9, SHORT):
        began = time.monotonic()
        assert stackless.wait(pipe.read_end, READ, seconds) == 0
        assert time.monotonic() - began >= seconds
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError):
            stackless.wait(pipe.read_end, READ, wrong)
    with pytest.raises(TypeError):
        stackless.wait(pipe.read_end, READ, "1")
    assert stackless.stats()["io_waiters"] == 0 and stackless.stats()["timers"] == 0


def test_ready_in_time_leaves_no_timer(pipe):
    log = []
    go(lambda: log.append(stackless.wait(pipe.read_end, READ, 1000)))
    waiting(1)
    os.write(pipe.write_end, b"x")
    stackless.run()
    assert log == [READ] and stackless.stats()["timers"] == 0


def test_timeouts_in_order(pipe):
    log = []

    def one(seconds):
        assert stackless.wait(pipe.read_end, READ, seconds) == 0
        log.append(seconds)

    for seconds in (0.06, 0.02, 0.04):
        go(one, seconds)
    stackless.run()
    assert log == [0.02, 0.04, 0.06]


def test_several_waiters_wake_in_order(pipe):
    log = []

    def one(name):
        stackless.wait(pipe.read_end, READ)
        log.append(name)

    for name in "abc":
        go(one, name)
    waiting(3)
    os.write(pipe.write_end, b"x")
    stackless.run()
    assert log == ["a", "b", "c"]


def test_readers_and_writers_of_one_descriptor():
    a, b = socket.socketpair()
    with a, b:
        a.setblocking(False)
        try:
            while True:
                a.send(bytes(65536))
        except BlockingIOError:
            pass
        log = []
        go(lambda: log.append(("r", stackless.wait(a, READ))))
        go(lambda: log.append(("w", stackless.wait(a, WRITE, SHORT))))
        waiting(2)
        b.send(b"x")
        stackless.run()
        assert sorted(log) == [("r", READ), ("w", 0)]


def test_killed_while_waiting(pipe):
    one = go(stackless.wait, pipe.read_end, READ, 1000)
    waiting(1)
    one.kill()
    assert not one.alive
    stats = stackless.stats()
    assert stats["io_waiters"] == 0 and stats["timers"] == 0
    os.write(pipe.write_end, b"x")
    assert stackless.wait(pipe.read_end, READ) == READ


def test_thrown_at_while_waiting(pipe):
    log = []

    def one():
        try:
            stackless.wait(pipe.read_end, READ)
        except KeyError as error:
            log.append(error.args)

    waiter = go(one)
    waiting(1)
    waiter.throw(KeyError, "news", pending=True)
    stackless.run()
    assert log == [("news",)]


def test_regular_files_and_directories_are_always_ready():
    with tempfile.TemporaryFile() as file:
        for events in (READ, WRITE, READ | WRITE):
            assert stackless.wait(file, events) == events
            assert stackless.wait(file, events, 0) == events
    directory = os.open("/", os.O_RDONLY)
    try:
        assert stackless.wait(directory, READ) == READ
    finally:
        os.close(directory)


def test_a_descriptor_that_is_not_open(pipe):
    fd = pipe.read_end
    pipe.close()
    with pytest.raises(OSError):
        stackless.wait(fd, READ)
    with pytest.raises(OSError):
        stackless.wait(1 << 19, READ)
    with pytest.raises((OSError, ValueError, OverflowError)):
        stackless.wait((1 << 31) - 1, READ)


def test_reused_descriptors():
    """Closed and opened again under the same number, the new pipe is a new one."""
    numbers = set()
    for turn in range(50):
        pipe = Pipe()
        numbers.add(pipe.read_end)
        log = []
        go(lambda: log.append(stackless.wait(pipe.read_end, READ, 1000)))
        waiting(1)
        for _ in range(3):
            stackless.schedule()
        assert log == []
        os.write(pipe.write_end, b"x")
        stackless.run()
        assert log == [READ]
        if turn % 2:
            os.write(pipe.write_end, b"an edge that nobody waits for")
        pipe.close()
    assert len(numbers) < 10


def test_a_reused_number_while_a_duplicate_keeps_the_old_file():
    """The kernel goes on reporting the old file under the number that it had."""
    old = Pipe()
    assert stackless.wait(old.read_end, READ, 0) == 0
    number, kept = old.read_end, os.dup(old.read_end)
    new = Pipe()
    try:
        os.dup2(new.read_end, number)  # closes the old file's descriptor on the way
        log = []
        go(lambda: log.append(stackless.wait(number, READ)))
        waiting(1)
        os.write(old.write_end, b"x")
        for _ in range(100):
            stackless.schedule()
            time.sleep(0.0002)
        assert log == []
        os.write(new.write_end, b"x")
        stackless.run()
        assert log == [READ]
    finally:
        os.close(kept)
        old.close()
        new.close()


def test_the_socket_module_closes_what_wait_waits_for():
    from stackless import socket as cooperative
    a, b = cooperative.socketpair()
    log = []

    def one():
        try:
            stackless.wait(a, READ)
        except OSError as error:
            log.append(error)

    go(one)
    waiting(1)
    a.close()
    stackless.run()
    b.close()
    assert len(log) == 1


def test_a_thread_waits_with_its_own_scheduler(pipe):
    log = []
    started = threading.Event()

    def body():
        go(started.set)
        log.append(stackless.wait(pipe.read_end, READ))
        log.append(stackless.wait(pipe.read_end, WRITE, SHORT))

    thread = threading.Thread(target=body)
    thread.start()
    assert started.wait(support.PATIENCE)
    os.write(pipe.write_end, b"x")
    thread.join()
    assert log[0] == READ


def test_two_threads_and_main_wait_for_one_descriptor(pipe):
    log = []
    threads = [threading.Thread(target=lambda: log.append(stackless.wait(pipe.read_end, READ))) for _ in range(2)]
    go(lambda: log.append(stackless.wait(pipe.read_end, READ)))
    for thread in threads:
        thread.start()
    waiting(1)
    os.write(pipe.write_end, b"x")
    stackless.run()
    for thread in threads:
        thread.join()
    assert log == [READ] * 3


def test_threads_come_and_go(pipe):
    """Each has a poller of its own, which ends with it."""
    for _ in range(30):
        log = []
        thread = threading.Thread(target=lambda: log.append(stackless.wait(pipe.read_end, READ)))
        thread.start()
        os.write(pipe.write_end, b"x")
        thread.join()
        assert log == [READ]
        os.read(pipe.read_end, 1)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        thread = threading.Thread(target=stackless.wait, args=(pipe.read_end, READ, 0.001))
        thread.start()
        thread.join()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_a_stray_waits(many_threads, pipe):
    log, stop = [], []

    def spin():
        while not stop:
            stackless.schedule()

    def stray():
        before = stackless.stats()["handoffs"]
        support.wait_for(lambda: stackless.stats()["handoffs"] > before, "a handoff", pause=lambda: time.sleep(0.01))
        time.sleep(0.01)
        log.append(stackless.wait(pipe.read_end, READ))
        stop.append(True)

    def write():
        waiting(1)
        os.write(pipe.write_end, b"x")

    for function in (spin, stray, write):
        go(function)
    stackless.run()
    assert log == [READ]


def test_after_fork():
    support.run_script("""
        import os, stackless
        from stackless import READ

        r, w = os.pipe()
        stackless.tasklet(stackless.wait)(r, READ)
        stackless.schedule()
        child = os.fork()
        if not child:
            stackless.tasklet(os.write)(w, b"x")
            assert stackless.wait(r, READ, 30) == READ
            os._exit(stackless.stats()["io_waiters"])
        stackless.run()
        assert os.waitpid(child, 0)[1] == 0
    """, options=["-W", "ignore::DeprecationWarning"])


def test_waits_are_not_a_deadlock(pipe):
    """run() waits for descriptors, and main may block in a channel meanwhile."""
    channel = stackless.channel()

    def one():
        stackless.wait(pipe.read_end, READ)
        channel.send("woken")

    go(one)
    waiting(1)
    writer = threading.Timer(0.02, os.write, (pipe.write_end, b"x"))
    writer.start()
    assert channel.receive() == "woken"
    writer.join()
    stackless.run()
