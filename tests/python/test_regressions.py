# SPDX-License-Identifier: MIT
"""One test for each bug that was found by hunting rather than by a specification.

Not for rules of the specification; those have files of their own.
"""

import hashlib
import os
import sys
import threading
import time

import pytest
import stackless

from support import finish, run_script, start_script

# Callbacks while control changes hands


class Switches:
    """Switches when it is dropped; keeps what became of that."""

    def __init__(self, log):
        self.log = log

    def __del__(self):
        try:
            stackless.schedule()
            self.log.append("switched")
        except RuntimeError as error:
            self.log.append(str(error))


def test_a_value_survives_a_finalizer_that_switches():
    """Main has been sent 42; before it gets to it, a tasklet that ended is dropped, with a finalizer."""
    class Holder(stackless.tasklet):
        pass

    channel = stackless.channel()
    channel.preference = 1  # the sender goes on, ends, and is dropped when main lands
    log = []
    holder = Holder(channel.send)(42)
    holder.held = Switches(log)
    del holder
    assert channel.receive() == 42
    assert log == ["switched"]


def test_no_switch_from_a_tasklet_that_has_ended():
    """The exception that ends a tasklet replaces main's tempval, whose finalizer tries to switch."""
    log = []

    def fails():
        stackless.getmain().tempval = Switches(log)
        raise ValueError("planted")

    stackless.tasklet(fails)()
    stackless.tasklet(stackless.schedule)()
    with pytest.raises(ValueError, match="planted"):
        stackless.run()
    stackless.run()
    assert len(log) == 1 and "cannot switch here" in log[0]


def test_long_chains_are_dropped_on_a_small_stack():
    chain = None
    for _ in range(100_000):
        link = stackless.tasklet()
        link.tempval = chain
        chain = link
    bombs = None
    for _ in range(100_000):
        bombs = stackless.bomb(ValueError, bombs)
    held = [chain, bombs]
    del link, chain, bombs
    stackless.tasklet(held.clear)()
    stackless.run()
    assert held == []


# Time-outs


@pytest.mark.parametrize("yielding", [lambda: stackless.sleep(0), lambda: stackless.schedule(None)],
                         ids=["sleep(0)", "schedule(None)"])
def test_timeout_interrupts_a_loop_that_only_yields(yielding):
    def loop():
        give_up = time.monotonic() + 20
        with pytest.raises(TimeoutError):
            with stackless.timeout(0.02):
                while time.monotonic() < give_up:
                    yielding()
        ended.append(time.monotonic() < give_up)

    ended = []
    stackless.tasklet(loop)()
    stackless.run()
    assert ended == [True]


def test_timeout_of_a_tasklet_that_ended_inside_its_block():
    def block():
        with stackless.timeout(0.01):
            yield

    generator = block()
    stackless.tasklet(next)(generator)
    stackless.run()
    stackless.sleep(0.05)  # used to raise the tasklet's time-out here
    generator.close()


# fork

PRELUDE = """
import atexit, os, resource, stackless, sys, threading, time, warnings
if hasattr(os, "fork"):
    warnings.filterwarnings("ignore", category=DeprecationWarning)

def status(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def test_fork_inside_a_timeout():
    """The child leaves the block; in another child the time runs out."""
    run_script(PRELUDE + """
with stackless.timeout(60):
    pid = os.fork()
if not pid:
    os._exit(7)
assert status(pid) == 7
try:
    with stackless.timeout(0.05):
        pid = os.fork()
        if not pid:
            stackless.sleep(60)
except TimeoutError:
    os._exit(9)
assert status(pid) == 9
""")


def test_fork_while_main_waits_in_a_channel():
    """The child must not find its former main tasklet in the channel's queue."""
    run_script(PRELUDE + """
channel = stackless.channel()
pid = None

def forks():
    global pid
    pid = os.fork()
    if not pid:
        assert channel.balance == 0
        stackless.tasklet(channel.send)(3)
        os._exit(channel.receive())
    channel.send(None)

stackless.tasklet(forks)()
channel.receive()
assert status(pid) == 3
""")


def test_no_false_deadlock_in_a_forked_child():
    """The monitor's thread state went with its thread; a stale count of it hid the child's new thread."""
    run_script(PRELUDE + """
for _ in range(2):
    stackless.tasklet(time.sleep)(0.05) # starts monitor and worker
stackless.run()
pid = os.fork()
if not pid:
    channel = stackless.channel()
    def later():
        time.sleep(0.3)
        channel.send(5)
    threading.Thread(target=later).start()
    os._exit(channel.receive())
assert status(pid) == 5
""")


# Threads and exit


def test_all_tasklets_of_a_thread_end_with_it():
    ended = []

    def waits(channel):
        try:
            channel.receive()
        finally:
            ended.append(1)

    def body():
        channel = stackless.channel()
        held.append([stackless.tasklet(waits)(channel) for _ in range(30)])
        stackless.run()

    held = []
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert len(ended) == 30


def test_tasklets_in_an_exit_function_that_runs_after_ours():
    done = run_script("""
import atexit

def late():
    stackless.tasklet(print)("one")
    stackless.schedule()
    stackless.tasklet(print)("two")
    stackless.run()

atexit.register(late) # before the import: it runs after ours
import stackless, time
for _ in range(2):
    stackless.tasklet(time.sleep)(0.02)
stackless.run()
""")
    assert done.stdout.split() == ["one", "two"]


def test_import_in_a_subinterpreter_is_refused_and_does_no_harm():
    done = run_script("""
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
try:
    sub = interpreters.create("legacy") # where extensions are not checked
except (TypeError, ValueError):
    sub = interpreters.create(isolated=False)
interpreters.run_string(sub, 'try:\\n import stackless\\nexcept ImportError: print("refused", flush=True)')
interpreters.destroy(sub)
import stackless
stackless.tasklet(print)("main")
stackless.run()
""")
    assert done.stdout.split() == ["refused", "main"]


def test_one_thread_is_enough_when_no_more_are_to_be_had():
    if os.getuid() != 0:
        pytest.skip("needs root to become a user without processes")
    done = run_script(PRELUDE + """
import linecache, traceback
os.setgid(65534)
os.setuid(64999)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
ticks = 0
def tick():
    global ticks
    for _ in range(20):
        ticks += 1
        stackless.sleep(0.001)
stackless.tasklet(time.sleep)(0.1)
stackless.tasklet(tick)()
stackless.run()
assert ticks == 20
assert stackless.stats()["threads"] == 1
""", env={"STACKLESS_THREADS": "4"}, quiet=False)
    assert done.stderr.count("RuntimeWarning") == 1 and "refuses another thread" in done.stderr, done.stderr


# A CPU-bound thread beside the tasklets


ORDERED = """
import stackless
order = []

def body(name):
    for turn in range(3):
        nested = int
        for _ in range(100000):
            nested = (nested,)
        order.append((turn, name))
        stackless.schedule()

for name in "abc":
    stackless.tasklet(body)(name)
stackless.run()
print(order == [(turn, name) for turn in range(3) for name in "abc"])
"""


def test_the_order_holds_where_processors_are_short():
    """A host that is woken for the GIL but given no processor is not blocked."""
    for _ in range(3):
        children = [start_script(ORDERED, options=()) for _ in range(8)]
        for child in children:
            done = finish(child)
            assert (done.status, done.lines, done.stderr) == (0, ["True"], ""), str(done)


@pytest.fixture
def burner():
    """A thread that always wants the GIL."""
    stop = []

    def burn():
        while not stop:
            sum(range(200))

    thread = threading.Thread(target=burn)
    thread.start()
    yield
    stop.append(True)
    thread.join()


def test_the_order_holds_beside_a_cpu_bound_thread(burner):
    """A tasklet that has only lost the GIL is not taken for a blocked one."""
    order = []

    def computes(name):
        for _ in range(3):
            order.append(name)
            end = time.monotonic() + 0.1
            while time.monotonic() < end:
                pass
            order.append(name)
            stackless.schedule()

    before = stackless.stats()["handoffs"]
    for name in "abc":
        stackless.tasklet(computes)(name)
    stackless.run()
    assert "".join(order) == "aabbcc" * 3
    assert stackless.stats()["handoffs"] == before


def test_a_blocked_tasklet_is_handed_off_beside_a_cpu_bound_thread(burner, many_threads):
    """The GIL is never free, but the thread sleeps elsewhere."""
    read, write = os.pipe()

    def blocks():
        log.append(os.read(read, 1))

    def releases():
        stackless.schedule()
        os.write(write, b"x")  # reached only if the lane has left the blocked one

    log = []
    stackless.tasklet(blocks)()
    stackless.tasklet(releases)()
    stackless.run()
    os.close(read)
    os.close(write)
    assert log == [b"x"]


def test_a_computing_call_is_handed_off_beside_a_cpu_bound_thread(burner, many_threads):
    """It does not sleep, but it computes without the GIL, which nobody waiting for it does."""
    data = bytes(50_000_000)
    others = []

    def hashes():
        for _ in range(200):
            hashlib.sha256(data)
            if others:
                return

    stackless.tasklet(hashes)()
    stackless.tasklet(others.append)(1)
    before = stackless.stats()["handoffs"]
    stackless.run()
    assert others and stackless.stats()["handoffs"] > before


# Recursion in C

RECURSION = {
    "parser": "compile('not ' * 100_000 + '1', 'deep', 'eval')",
    "repr": "repr(nested(lambda x: {1: x}))",
    "json": "json.dumps(nested(lambda x: {'a': x}))",
    "compare": "nested(lambda x: [x]) == nested(lambda x: [x])",
    "pickle": "pickle.dumps(nested(lambda x: (x,)))",
    "sub": "re.sub('a', again, 'a')",
    "generators": "generators(1000)",
    "callback": "callback(1)",
}
if sys.version_info >= (3, 12):
    RECURSION["sort"] = "key(1)"


@pytest.mark.parametrize("case", RECURSION)
def test_c_recursion_is_an_error_or_works(case):
    run_script("""
import ctypes, json, pickle, re, stackless, sys

def nested(wrap, depth=100_000):
    x = None
    for _ in range(depth):
        x = wrap(x)
    return x

def again(match):
    return re.sub("a", again, "a")

def generators(depth):
    def through(inner):
        yield from inner
    g = iter([1])
    for _ in range(depth):
        g = through(g)
    next(g)

def key(x):
    return sorted([2, 1], key=key)

@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
def callback(n):
    return callback(n)

def body():
    global outcome
    sys.stderr = None # ctypes reports the error rather than pass it on
    try:
        eval(sys.argv[1])
    except (RecursionError, MemoryError):
        pass
    outcome = "survived"

stackless.tasklet(body)()
stackless.run()
print(outcome)
""", args=[RECURSION[case]], quiet=False)


def test_fork_while_the_cpus_are_counted():
    """The monitor asks hwloc when it starts; a fork in the middle left its locks taken in the child."""
    done = run_script("""
import os, stackless
for delay in range(300):
    if not (one := os.fork()):  # its scheduler is new: a monitor starts at once, and asks
        for _ in range(2):
            stackless.tasklet(stackless.sleep)(60)
        stackless.schedule()
        for _ in range(delay % 60 * 200):
            pass
        if not (two := os.fork()):
            stackless.stats()  # asks too
            os._exit(0)
        os._exit(os.waitpid(two, 0)[1])
    assert os.waitpid(one, 0)[1] == 0
print("end")
""", timeout=50, quiet=False)
    assert done.lines == ["end"]


def test_processes_that_tasklets_start_block_no_signals():
    """They inherit the mask of the thread, and the thread the mask of who made it, which may be the monitor."""
    done = run_script(
        """
        import os, signal, stackless, subprocess, sys, threading
        show = "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, []))"
        read, write = os.pipe()
        elsewhere = []

        def blocks():
            os.read(read, 1)

        def starts():
            elsewhere.append(threading.get_native_id() != os.getpid())
            subprocess.run([sys.executable, "-c", show], check=True)
            if os.fork() == 0:
                print(signal.pthread_sigmask(signal.SIG_BLOCK, []), flush=True)
                os._exit(0)
            os.wait()
            blocks()

        for body in (blocks, starts, starts, starts):
            stackless.tasklet(body)()
        stackless.tasklet(os.write)(write, b"four")
        stackless.run()
        assert any(elsewhere)
        """,
        env={"STACKLESS_THREADS": "6"},
        options=("-W", "ignore"),  # of the fork beside threads
    )
    assert "".join(done.lines) == "set()" * 6  # the ends of their lines may come late
