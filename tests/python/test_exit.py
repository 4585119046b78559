# SPDX-License-Identifier: MIT
"""The ends of a process: Ctrl-C in every state, sys.exit(), fork, interpreter exit.

Almost every case is a child interpreter that is judged by its status and its output. Most run
both with the default pool and with one thread. What else must not crash: test_survival.py.
"""

import signal
import time

import pytest

from support import finish, run_script, start_script

# Ctrl-C

PRELUDE = """
import os, stackless, sys, time

def spin():
    while True:
        stackless.schedule()

def ready():
    os.write(1, b"ready\\n")
"""

INTERRUPTED = {
    "main in run, tasklet asleep": "stackless.tasklet(stackless.sleep)(300); ready(); stackless.run()",
    "main in run, tasklets spinning": "stackless.tasklet(spin)(); stackless.tasklet(spin)(); ready(); stackless.run()",
    "main in sleep": "ready(); stackless.sleep(300)",
    "main in sleep, tasklets spinning": "stackless.tasklet(spin)(); ready(); stackless.sleep(300)",
    "main in receive": "stackless.tasklet(stackless.sleep)(300); ready(); stackless.channel().receive()",
    "main in schedule loop": "ready(); spin()",
    "main in time.sleep, tasklets spinning": "stackless.tasklet(spin)(); stackless.schedule(); ready(); time.sleep(300)",
    "main in a CPU loop": "stackless.tasklet(spin)(); stackless.schedule(); ready()\nwhile True: pass",
    "tasklet in a CPU loop": """
def loop():
    ready()
    while True:
        pass
stackless.tasklet(loop)()
stackless.run()
""",
    "tasklet in a CPU loop after the lane has moved": """
def loop():
    for _ in range(5):
        time.sleep(0.01)
        stackless.schedule()
    ready()
    while True:
        pass
stackless.tasklet(loop)()
stackless.run()
""",
    "tasklet in a blocked call": "stackless.tasklet(time.sleep)(300); stackless.tasklet(ready)(); ready(); stackless.run()",
    "tasklet in a blocked read": "r, w = os.pipe(); stackless.tasklet(os.read)(r, 1); ready(); stackless.run()",
    "tasklets in blocked calls and spinning": "stackless.tasklet(spin)(); stackless.tasklet(time.sleep)(300); ready(); stackless.run()",
    "nested run": """
def inner():
    stackless.tasklet(stackless.sleep)(300)
    ready()
    stackless.run()
stackless.tasklet(inner)()
stackless.run()
""",
}


def interrupt(child):
    """Wait for the marker, give the child a moment to enter its state, send Ctrl-C."""
    line = child.stdout.readline()
    if line != "ready\n":
        raise AssertionError(f"got {line!r}\n{finish(child)}")
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    return finish(child, timeout=20)


@pytest.mark.parametrize("state", INTERRUPTED)
def test_ctrl_c(state, mode):
    done = interrupt(start_script(PRELUDE + INTERRUPTED[state], env=mode))
    assert done.status == -signal.SIGINT, str(done)
    assert "KeyboardInterrupt" in done.stderr
    assert "Fatal" not in done.stderr


def test_ctrl_c_can_be_caught_and_the_program_goes_on(mode):
    done = interrupt(
        start_script(
            PRELUDE
            + """
sleeper = stackless.tasklet(stackless.sleep)(300)
stackless.tasklet(ready)()
try:
    stackless.run()
except KeyboardInterrupt:
    print("caught", stackless.current is stackless.main, stackless.runcount)
stackless.tasklet(print)("a new tasklet runs")
sleeper.kill()
stackless.run()
channel = stackless.channel()
stackless.tasklet(channel.send)("and a channel works")
print(channel.receive())
""",
            env=mode,
        )
    )
    assert done.status == 0, str(done)
    assert done.lines == ["caught True 1", "a new tasklet runs", "and a channel works"]
    assert done.stderr == ""


def test_after_ctrl_c_main_has_its_turn_though_another_thread_hosted(mode):
    """The host sleeps, so nothing keeps main from being current in the ring."""
    done = interrupt(
        start_script(
            PRELUDE
            + """
def moves_the_lane():
    end = time.monotonic() + 0.05
    while time.monotonic() < end:
        stackless.schedule()
    ready()
    stackless.sleep(300)

stackless.tasklet(moves_the_lane)()
try:
    stackless.run()
except KeyboardInterrupt:
    print(stackless.runcount, stackless.main.scheduled, stackless.stats()["strays"])
others = []
for name in "ab":
    stackless.tasklet(others.append)(name)
stackless.schedule()
print(others)
""",
            env=mode,
        )
    )
    assert done.status == 0, str(done)
    assert done.lines == ["1 True 0", "['a', 'b']"]


def test_another_signals_handler_runs_while_main_waits(mode):
    """A handler that raises nothing: waiting simply goes on afterwards."""
    done = run_script(
        """
        import os, signal, stackless, threading, time
        calls = []
        signal.signal(signal.SIGALRM, lambda *info: calls.append(threading.current_thread() is threading.main_thread()))
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        stackless.tasklet(stackless.sleep)(0.4)
        stackless.run()
        print(calls)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        stackless.sleep(0.4)
        print(calls)
        """,
        env=mode,
    )
    assert done.lines == ["[True]", "[True, True]"]


# sys.exit


@pytest.mark.parametrize(
    "argument, status, message",
    [("5", 5, ""), ("0", 0, ""), ("", 0, ""), ("None", 0, ""), ("'words'", 1, "words\n")],
)
def test_sys_exit_in_a_tasklet(mode, argument, status, message):
    done = run_script(
        f"""
        import stackless, sys
        stackless.tasklet(lambda: sys.exit({argument}))()
        stackless.run()
        print("not reached")
        """,
        env=mode,
        status=status,
        quiet=False,
    )
    assert done.stdout == ""
    assert done.stderr == message


def test_sys_exit_in_a_tasklet_with_others_in_every_state(mode):
    done = run_script(
        """
        import stackless, sys, time
        channel = stackless.channel()
        keep = [
            stackless.tasklet(channel.receive)(),
            stackless.tasklet(stackless.sleep)(300),
            stackless.tasklet(stackless.schedule_remove)(),
        ]
        stackless.schedule()
        stackless.tasklet(lambda: sys.exit(6))()
        keep.append(stackless.tasklet(print)("not reached"))
        stackless.run()
        """,
        env=mode,
        status=6,
    )
    assert done.stdout == ""


def test_sys_exit_after_a_blocked_call(mode):
    run_script(
        """
        import stackless, sys, time

        def body():
            time.sleep(0.1)
            sys.exit(9)

        stackless.tasklet(body)()
        stackless.run()
        """,
        env=mode,
        status=9,
    )


# fork

FORK_FROM_MAIN = """
import os, stackless, sys, threading, time
channel = stackless.channel()
stackless.tasklet(channel.receive)()
stackless.tasklet(stackless.sleep)(0.5)
stackless.tasklet(time.sleep)(0.3)

def spin():
    for _ in range(2000):
        stackless.schedule()

stackless.tasklet(spin)()
stackless.sleep(0.1)
pid = os.fork()
if pid == 0:
    {child}
_, status = os.waitpid(pid, 0)
print("child status", os.waitstatus_to_exitcode(status), flush=True)
stackless.run()
channel.send(None)
print("parent done", stackless.runcount)
"""


@pytest.mark.parametrize(
    "child, status",
    [
        ("os._exit(3)", 3),
        ("sys.exit(4)", 4),
        ("stackless.tasklet(sys.exit)(5); stackless.run(); os._exit(1)", 5),
    ],
)
def test_fork_from_main_and_the_child_exits(child, status, mode):
    done = run_script(FORK_FROM_MAIN.format(child=child), env=mode, options=("-W", "ignore"))
    assert done.lines == [f"child status {status}", "parent done 1"]


def test_fork_from_main_and_the_child_goes_on(mode):
    child = """
    assert stackless.current is stackless.main
    assert stackless.runcount == 1, stackless.runcount
    got = []
    fresh = stackless.channel()
    stackless.tasklet(lambda: got.append(fresh.receive()))()
    stackless.tasklet(fresh.send)("in the child")
    stackless.tasklet(lambda: (stackless.sleep(0.05), got.append("slept")))()
    stackless.tasklet(lambda: (time.sleep(0.05), got.append("blocked")))()
    stackless.run()
    thread = threading.Thread(target=lambda: (stackless.tasklet(got.append)("thread"), stackless.run()))
    thread.start()
    thread.join()
    print(sorted(got), flush=True)
    sys.exit(0)
"""
    done = run_script(FORK_FROM_MAIN.format(child=child.strip()), env=mode, options=("-W", "ignore"))
    assert done.lines == ["['blocked', 'in the child', 'slept', 'thread']", "child status 0", "parent done 1"]


@pytest.mark.parametrize("after_block", [False, True])
@pytest.mark.parametrize(
    "child, status",
    [
        ("os._exit(3)", 3),
        ("sys.exit(4)", 4),
        ("stackless.tasklet(print)('made in the child'); stackless.schedule(); sys.stdout.flush(); os._exit(5)", 5),
    ],
)
def test_fork_from_a_tasklet(child, status, after_block, mode):
    """The child has the forking tasklet alone; the parent goes on as if nothing had happened."""
    done = run_script(
        """
        import os, stackless, sys, time
        log = []

        def forker():
            if {after_block}:
                time.sleep(0.05)
                stackless.schedule()
            pid = os.fork()
            if pid == 0:
                {child}
            _, status = os.waitpid(pid, 0)
            log.append(os.waitstatus_to_exitcode(status))

        def other():
            time.sleep(0.2)
            log.append("other")

        stackless.tasklet(forker)()
        stackless.tasklet(other)()
        stackless.tasklet(stackless.sleep)(0.1)
        stackless.run()
        print(*sorted(map(str, log)), flush=True)
        """.replace("{after_block}", str(after_block)).replace("{child}", child),
        env=mode,
        options=("-W", "ignore"),
    )
    expected = [f"{status} other"]
    if status == 5:
        expected.insert(0, "made in the child")
    assert done.lines == expected


def test_fork_many_times_while_tasklets_block(mode):
    done = run_script(
        """
        import os, stackless, time
        finished = []

        def block():
            while not finished:
                time.sleep(0.001)
                stackless.schedule()

        def fork():
            for number in range(30):
                pid = os.fork()
                if pid == 0:
                    os._exit(number)
                _, status = os.waitpid(pid, 0)
                assert os.waitstatus_to_exitcode(status) == number
                stackless.schedule()
            finished.append(1)

        for _ in range(3):
            stackless.tasklet(block)()
        stackless.tasklet(fork)()
        stackless.run()
        print("fine")
        """,
        env=mode,
        options=("-W", "ignore"),
    )
    assert done.lines == ["fine"]


# interpreter exit

LEFT = {
    "new": "t = stackless.tasklet(print, ('never',))",
    "bound": "t = stackless.tasklet(print)",
    "ready, fresh": "stackless.tasklet(print)('never')",
    "ready, started": "stackless.tasklet(spin)(); stackless.schedule()",
    "paused": "t = stackless.tasklet(stackless.schedule_remove)(); stackless.run()",
    "receiving": "c = stackless.channel(); stackless.tasklet(c.receive)(); stackless.run()",
    "sending": "c = stackless.channel(); stackless.tasklet(c.send)(object()); stackless.run()",
    "receiving on a forgotten channel": "stackless.tasklet(stackless.channel().receive)(); stackless.run()",
    "asleep": "t = stackless.tasklet(stackless.sleep)(300); stackless.schedule()",
    "asleep and forgotten": "stackless.tasklet(stackless.sleep)(300); stackless.schedule()",
    "in a timeout block": """
def body():
    with stackless.timeout(300):
        stackless.sleep(300)
stackless.tasklet(body)()
stackless.schedule()
""",
    "waiting on I/O": """
from stackless import socket
a, b = socket.socketpair()
stackless.tasklet(a.recv)(1)
stackless.schedule()
""",
    "waiting for a connection": """
from stackless import socket
server = socket.create_server(("127.0.0.1", 0))
stackless.tasklet(server.accept)()
stackless.schedule()
""",
    "finished": "t = stackless.tasklet(len)(()); stackless.run()",
    "killed": "t = stackless.tasklet(stackless.schedule)(); stackless.schedule(); t.kill()",
    "many of all": """
c = stackless.channel()
for _ in range(200):
    stackless.tasklet(c.receive)()
    stackless.tasklet(stackless.sleep)(300)
    stackless.tasklet(spin)()
stackless.schedule()
for _ in range(200):
    stackless.tasklet(print)("never")
""",
    "watchdog inside": "stackless.tasklet(lambda: (stackless.tasklet(spin)(), stackless.run()))(); stackless.schedule(); stackless.schedule()",
    "in a plain thread": """
import threading
def other():
    stackless.tasklet(stackless.channel().receive)()
    stackless.tasklet(spin)()
    stackless.schedule()
thread = threading.Thread(target=other)
thread.start()
thread.join()
""",
    "daemon thread parked in a channel": """
import threading
c = stackless.channel()
threading.Thread(target=c.receive, daemon=True).start()
while c.balance == 0:
    time.sleep(0.001)
""",
}

POOL_LEFT = {
    "blocked in time.sleep, main slept": "stackless.tasklet(time.sleep)(300); stackless.tasklet(print)('others run'); stackless.sleep(0.1)",
    "blocked in time.sleep": "stackless.tasklet(time.sleep)(300); stackless.tasklet(print)('others run'); stackless.schedule(); stackless.schedule()",
    "blocked in a read": "r, w = os.pipe(); stackless.tasklet(os.read)(r, 1); stackless.tasklet(print)('others run'); stackless.schedule(); stackless.schedule()",
    "blocked on a worker, main stopped by an exit elsewhere": """
import threading

def block():
    while threading.get_native_id() == os.getpid():  # until the lane has left the main thread
        time.sleep(0.001)
        stackless.schedule()
    time.sleep(300)

def stop():
    stackless.sleep(0.5)
    print("others run")
    sys.exit(0)

stackless.tasklet(block)()
stackless.tasklet(stop)()
stackless.run()
""",
    "two blocked": """
stackless.tasklet(time.sleep)(300)
r, w = os.pipe()
stackless.tasklet(os.read)(r, 1)
stackless.tasklet(print)('others run')
stackless.schedule()
stackless.schedule()
""",
}


@pytest.mark.parametrize("state", LEFT)
def test_interpreter_exit(state, mode):
    done = run_script(PRELUDE + LEFT[state], env=mode, timeout=30)
    assert done.stdout == ""


@pytest.mark.parametrize("state", POOL_LEFT)
def test_interpreter_exit_with_blocked_calls(state):
    """The call would last for minutes; the process must not wait for it."""
    done = run_script(PRELUDE + POOL_LEFT[state], env={"STACKLESS_THREADS": None}, timeout=30)
    assert done.lines == ["others run"]


@pytest.mark.parametrize("state", ["receiving", "asleep", "ready, started", "many of all"])
def test_interpreter_exit_with_an_error(state, mode):
    """The same with main failing: the status is main's, the only message is its traceback."""
    done = run_script(PRELUDE + LEFT[state] + "\nsys.exit(7)", env=mode, status=7, timeout=30)
    assert done.stdout == ""


def test_interpreter_exit_runs_finally_blocks(mode):
    done = run_script(
        """
        import atexit, stackless
        channel = stackless.channel()

        def body(wait):
            try:
                wait()
            finally:
                print("finally", flush=True)

        for wait in (channel.receive, stackless.schedule_remove, lambda: stackless.sleep(300)):
            globals().setdefault("keep", []).append(stackless.tasklet(body)(wait))
        stackless.schedule()
        atexit.register(print, "atexit", flush=True)
        print("main ends", flush=True)
        """,
        env=mode,
    )
    assert done.lines == ["main ends", "atexit"] + ["finally"] * 3


def test_interpreter_exit_with_one_that_refuses_to_die(mode):
    done = run_script(
        """
        import stackless

        def stubborn():
            while True:
                try:
                    stackless.schedule_remove()
                except TaskletExit:
                    pass

        keep = stackless.tasklet(stubborn)()
        stackless.run()
        print("main ends")
        """,
        env=mode,
        timeout=30,
    )
    assert done.lines == ["main ends"]


def test_import_alone_leaves_no_trace(mode):
    done = run_script("import stackless", env=mode)
    assert done.stdout == ""
