# SPDX-License-Identifier: MIT
"""Fixtures for all Python tests: a watchdog per test, a clean ring after each, and skips by mode.

Not for helpers that tests call; those are in support.py.
"""

import faulthandler
import gc
import os
import random
import signal

import pytest
import stackless
from stackless import socket

import support

LIMIT = 60.0  # seconds a test may take before the process is ended with all stacks printed

SHUFFLED = pytest.StashKey()

_real_stderr = None


def pytest_addoption(parser):
    parser.addoption("--shuffle", metavar="SEED", type=int, help="run the tests in an order drawn with SEED (0: any)")


def pytest_collection_modifyitems(config, items):
    if support.single_threaded():  # nothing runs beside a blocking call then, by definition
        elsewhere = {"many_threads", "mode"}  # the tests with `mode` start children in both modes in any case
        config.hook.pytest_deselected(items=[item for item in items if elsewhere & {*item.fixturenames}])
        items[:] = [item for item in items if not elsewhere & {*item.fixturenames}]
    seed = config.getoption("--shuffle")
    if seed is not None:
        seed = seed or random.randrange(1, 10**6)
        config.stash[SHUFFLED] = seed
        random.Random(seed).shuffle(items)


def pytest_collection_finish(session):
    """The collection after each test looks at what the tests made, not at pytest and all modules again."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter, config):
    if SHUFFLED in config.stash:
        terminalreporter.write_line(f"order: --shuffle {config.stash[SHUFFLED]}")


def pytest_configure(config):
    global _real_stderr
    _real_stderr = os.fdopen(os.dup(2), "w")  # capture is not on yet
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background; the children would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "limit(seconds): another watchdog limit for this test")


def pytest_unconfigure(config):
    _real_stderr.close()


@pytest.fixture(autouse=True)
def watchdog(request):
    """A hang is a failure: print every thread's stack and end the process."""
    marker = request.node.get_closest_marker("limit")
    seconds = marker.args[0] if marker else LIMIT
    faulthandler.dump_traceback_later(seconds, exit=True, file=_real_stderr)
    yield
    faulthandler.cancel_dump_traceback_later()


def _empty_ring():
    """Kill whatever a failed test left runnable, so that the next test starts clean."""
    for _ in range(1000):
        stray = stackless.getcurrent().next
        if stray is stackless.getcurrent():
            return
        try:
            stray.kill()
        except BaseException:
            pass


def _settle():
    """Main may have blocked in the system (a join, a write) and lost the lane: take its turn."""
    if not stackless.getcurrent().scheduled:
        stackless.schedule()


@pytest.fixture(autouse=True)
def clean_ring():
    """After each test only main is runnable, no trap is set and no handler is installed."""
    _settle()
    assert stackless.getruncount() == 1
    yield
    try:
        assert stackless.getcurrent() is stackless.getmain(), "the test ended in another tasklet"
        trap = stackless.switch_trap(0)
        if trap:
            stackless.switch_trap(-trap)
        handler = stackless.set_error_handler(None)
        callbacks = [stackless.set_schedule_callback(None), stackless.set_channel_callback(None)]
        gc.collect()
        _settle()
        leftover = stackless.getruncount()
        assert trap == 0, f"the test left switch_trap at {trap}"
        assert handler is None, f"the test left the error handler {handler!r}"
        assert callbacks == [None, None], f"the test left the callbacks {callbacks!r}"
        assert leftover == 1, f"the test left {leftover - 1} runnable tasklets"
        assert not stackless.getmain().atomic, "the test left main atomic"
        assert not stackless.getmain().block_trap, "the test left main's block_trap set"
    finally:
        _empty_ring()
        stackless.getmain().set_atomic(False)
        stackless.getmain().block_trap = False


@pytest.fixture
def trace():
    return support.Trace()


@pytest.fixture
def many_threads():
    """For tests of what only a pool of several OS threads can do; left out with STACKLESS_THREADS=1."""


@pytest.fixture(params=[None, "1"], ids=["pool", "one thread"])
def mode(request):
    """The environment of a child interpreter, in both modes."""
    return {"STACKLESS_THREADS": request.param}


@pytest.fixture
def sockets():
    """Closes in the end whatever a test passes to it."""
    opened = []

    def keep(*some):
        opened.extend(some)
        return some[0] if len(some) == 1 else some

    yield keep
    for one in opened:
        one.close()
    stackless.run()


@pytest.fixture
def pair(sockets):
    """Two connected stackless.sockets."""
    return sockets(*socket.socketpair())


@pytest.fixture(params=["inet", "unix"])
def listener(request, sockets, tmp_path):
    """A stackless.socket that listens, of each family."""
    one = sockets(socket.socket(socket.AF_INET if request.param == "inet" else socket.AF_UNIX))
    one.bind(("127.0.0.1", 0) if request.param == "inet" else str(tmp_path / "listener"))
    one.listen(128)
    return one
