# SPDX-License-Identifier: MIT
"""STACKLESS_THREADS and STACKLESS_STACK_SIZE, and what `python -m stackless info` says about them.

Every case is a child interpreter, because settings are read once, on import.
"""

import re
import subprocess
import sys

import pytest

from support import child_environment, run_script

VARIABLES = ["STACKLESS_THREADS", "STACKLESS_STACK_SIZE"]
BAD = ["0", "-1", "x", str(10**9), "1.5", "1 2", "4x", str(10**30), "-99999999999999999999", "++1", "nan"]


def import_with(variable, value, code="import stackless"):
    env = dict.fromkeys(VARIABLES)
    env[variable] = value
    return run_script(code, env=env, status=None, quiet=False)


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("value", BAD)
def test_a_bad_value_is_an_error_on_import(variable, value):
    done = import_with(variable, value)
    assert done.status == 1, str(done)
    last = done.stderr.strip().split("\n")[-1]
    assert re.match(r"(ImportError|ValueError)\b", last), str(done)
    assert variable in last
    assert value in last
    numbers = re.findall(r"\d+", last.replace(variable, "").replace(value, "", 1))
    assert len(numbers) >= 2, f"no range in: {last}"


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_bad_value_can_be_caught(variable):
    done = import_with(
        variable,
        "x",
        """
        try:
            import stackless
        except (ImportError, ValueError):
            print("caught")
        """,
    )
    assert done.status == 0, str(done)
    assert done.lines == ["caught"]


@pytest.mark.parametrize("variable", VARIABLES)
def test_empty_counts_as_unset(variable):
    done = import_with(variable, "", "import stackless; stackless.tasklet(print)('ran'); stackless.run()")
    assert done.status == 0, str(done)
    assert done.lines == ["ran"]


def test_the_named_range_is_the_real_one():
    last = import_with("STACKLESS_THREADS", "x").stderr.strip().split("\n")[-1]
    numbers = sorted(int(number) for number in re.findall(r"\d+", last))
    low, high = numbers[0], numbers[-1]
    assert low == 1
    good = "import stackless; stackless.tasklet(print)('ran'); stackless.run()"
    for value in (low, 2, high):
        done = import_with("STACKLESS_THREADS", str(value), good)
        assert (done.status, done.lines, done.stderr) == (0, ["ran"], ""), str(done)
    for value in (low - 1, high + 1):
        assert import_with("STACKLESS_THREADS", str(value)).status == 1


def test_one_thread_starts_no_thread_at_all():
    """Everything the module does, counting the process's OS threads all the while."""
    done = run_script(
        """
        import os, time, threading

        def threads():
            return len(os.listdir("/proc/self/task"))

        assert threads() == 1
        import stackless
        from stackless import socket
        counts = [threads()]
        channel = stackless.channel()
        server, client = socket.socketpair()

        def sleeper():
            stackless.sleep(0.02)
            counts.append(threads())

        def blocked():
            time.sleep(0.05)
            counts.append(threads())

        def spinner():
            for _ in range(1000):
                stackless.schedule()
            counts.append(threads())

        def reader():
            assert server.recv(5) == b"hello"
            counts.append(threads())

        def writer():
            stackless.sleep(0.01)
            client.sendall(b"hello")

        def expiring():
            try:
                with stackless.timeout(0.02):
                    channel.receive()
            except TimeoutError:
                counts.append(threads())

        def pinned():
            with stackless.pinned():
                time.sleep(0.01)
                stackless.schedule()
            with stackless.atomic():
                time.sleep(0.01)

        for body in (sleeper, blocked, spinner, reader, writer, expiring, pinned):
            stackless.tasklet(body)()
        stackless.run()
        for _ in range(100):
            stackless.tasklet(time.sleep)(0.001)
        stackless.run()
        stackless.sleep(0.05)
        counts.append(threads())
        print(set(counts), len(counts), stackless.stats()["handoffs"], stackless.stats()["strays"])
        """,
        env={"STACKLESS_THREADS": "1"},
    )
    assert done.lines == ["{1} 7 0 0"]


def test_one_thread_means_blocking_calls_block():
    done = run_script(
        """
        import stackless, time
        log = []
        stackless.tasklet(lambda: (time.sleep(0.1), log.append("slept")))()
        stackless.tasklet(log.append)("other")
        stackless.run()
        print(log)
        """,
        env={"STACKLESS_THREADS": "1"},
    )
    assert done.lines == ["['slept', 'other']"]


def test_the_pool_stays_within_its_limit():
    done = run_script(
        """
        import os, stackless, time
        seen = []

        def body():
            time.sleep(0.05)
            stackless.schedule()
            seen.append(len(os.listdir("/proc/self/task")))

        for _ in range(12):
            stackless.tasklet(body)()
        stackless.run()
        print(max(seen) <= 6, len(seen))
        """,
        env={"STACKLESS_THREADS": "4"},
        quiet=False,
    )
    # four threads that run tasklets, the monitor, and perhaps main waiting in run()
    assert done.lines == ["True 12"], str(done)


@pytest.mark.parametrize("size", [128 * 1024, 1024 * 1024])
def test_stack_size_is_taken(size):
    done = run_script(
        """
        import stackless
        stackless.tasklet(print)("ran")
        stackless.run()
        """,
        env={"STACKLESS_STACK_SIZE": str(size)},
    )
    assert done.lines == ["ran"]


def info(env):
    done = subprocess.run(
        [sys.executable, "-m", "stackless", "info"], env=child_environment(env), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def line_of(output, variable):
    """The one line about the setting of that variable: it begins with the setting's name."""
    name = variable.removeprefix("STACKLESS_").lower()
    lines = [line for line in output.split("\n") if line.strip().lower().removeprefix("stackless_").split()[:1] == [name]]
    assert len(lines) == 1, output
    return lines[0]


def test_info_prints_every_setting_and_its_origin():
    unset = info(dict.fromkeys(VARIABLES))
    given = info({"STACKLESS_THREADS": "3", "STACKLESS_STACK_SIZE": str(512 * 1024)})
    for variable in VARIABLES:
        assert re.search(r"\d", line_of(unset, variable))
        assert "default" in line_of(unset, variable)
        assert variable not in line_of(unset, variable)
        assert "environment" in line_of(given, variable)
        assert variable in line_of(given, variable)
    assert re.search(r"\b3\b", line_of(given, "STACKLESS_THREADS"))
    assert str(512 * 1024) in line_of(given, "STACKLESS_STACK_SIZE")


def test_info_tells_where_the_default_comes_from():
    line = line_of(info({"STACKLESS_THREADS": None, "PYTHON_CPU_COUNT": "5"}), "STACKLESS_THREADS")
    assert re.search(r"\b9\b", line), "five CPUs and four more"
    assert "PYTHON_CPU_COUNT" in line


def test_info_counts_empty_as_unset():
    empty = info(dict.fromkeys(VARIABLES, ""))
    unset = info(dict.fromkeys(VARIABLES))
    for variable in VARIABLES:
        assert line_of(empty, variable) == line_of(unset, variable)


def test_info_reports_a_bad_value():
    done = subprocess.run(
        [sys.executable, "-m", "stackless", "info"],
        env=child_environment({"STACKLESS_THREADS": "x"}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "STACKLESS_THREADS" in done.stderr


def test_an_unknown_command_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "stackless", "bogus"], env=child_environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "info" in done.stderr
