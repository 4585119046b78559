# SPDX-License-Identifier: MIT
"""A tasklet that swallows TaskletExit is reported, with file and line; one that means it, or cleans up, is not."""

import contextlib
import sys
import warnings

import pytest
import stackless

from support import noop, run_script


@pytest.fixture
def reports():
    """The warnings that were given, as (line relative to the marked function, text)."""
    from stackless import _exits

    _exits._registry.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        yield lambda function: [(w.lineno - function.__code__.co_firstlineno, str(w.message), w.filename) for w in caught]


def kill_and_tidy(t):
    t.kill()
    stackless.schedule()
    t.kill()
    assert not t.alive


def bare():
    try:
        stackless.schedule_remove()
    except:  # noqa: E722
        pass
    stackless.schedule_remove()


def base():
    try:
        stackless.schedule_remove()
    except BaseException:
        noop()
    stackless.schedule_remove()


def after_others():
    try:
        stackless.schedule_remove()
    except (ValueError, KeyError):
        pass
    except OSError as error:
        noop(error)
    except SystemExit:
        pass
    stackless.schedule_remove()


def nested():
    try:
        with contextlib.ExitStack():
            try:
                stackless.schedule_remove()
            finally:
                noop()
    except BaseException:
        pass
    stackless.schedule_remove()


def suppressed():
    with contextlib.suppress(BaseException):
        stackless.schedule_remove()
    stackless.schedule_remove()


def in_a_loop():
    for _ in range(2):
        try:
            stackless.schedule_remove()
        except BaseException:
            continue


def helper():
    try:
        stackless.schedule_remove()
    except BaseException:
        return
    noop()


@pytest.mark.parametrize("function,line", [(bare, 3), (base, 3), (after_others, 7), (nested, 7), (suppressed, 2), (in_a_loop, 4)])
def test_reported_with_file_and_line(function, line, reports):
    t = stackless.tasklet(function)()
    t.name = "worker"
    stackless.run()
    kill_and_tidy(t)
    (where, text, file), = reports(function)
    assert where == line
    assert file == __file__
    assert text.startswith(f"tasklet 'worker', created at {t.created_at}, has swallowed TaskletExit here")


def test_swallowed_by_a_helper(reports):
    def body():
        for _ in range(4):
            helper()
            stackless.schedule_remove()

    t = stackless.tasklet(body)()
    stackless.run()
    t.kill()
    t.run()  # it has returned from the helper: a second look tells that the exception is gone
    assert [line for line, _, _ in reports(helper)] == [3]
    t.kill()
    t.kill()
    assert not t.alive


def test_a_pending_kill(reports):
    t = stackless.tasklet(base)()
    stackless.run()
    t.kill(pending=True)
    assert reports(base) == []
    stackless.run()
    assert [line for line, _, _ in reports(base)] == [3]
    t.kill()
    assert not t.alive


def test_each_place_once(reports):
    for _ in range(5):
        t = stackless.tasklet(base)()
        stackless.run()
        kill_and_tidy(t)
    assert len(reports(base)) == 1


def explicit():
    try:
        stackless.schedule_remove()
    except TaskletExit:  # noqa: F821
        pass
    stackless.schedule_remove()


def explicit_attribute():
    try:
        stackless.schedule_remove()
    except (KeyError, stackless.TaskletExit):
        pass
    stackless.schedule_remove()


def cleans_up():
    try:
        stackless.schedule_remove()
    finally:
        stackless.schedule()
        stackless.schedule()


def raises_again():
    try:
        stackless.schedule_remove()
    except BaseException:
        stackless.schedule()
        stackless.schedule()
        raise


def ends_soon():
    try:
        stackless.schedule_remove()
    except BaseException:
        pass


@pytest.mark.parametrize("function", [explicit, explicit_attribute, cleans_up, raises_again, ends_soon])
def test_not_reported(function, reports):
    t = stackless.tasklet(function)()
    stackless.run()
    t.kill()
    for _ in range(4):
        stackless.schedule()
    t.kill()
    stackless.run()
    assert not t.alive
    assert reports(function) == []


def test_a_finalizer_that_switches_while_the_exception_passes(reports):
    class Finalized:
        def __del__(self):
            stackless.schedule()

    def body():
        keep = Finalized()
        stackless.schedule_remove()
        noop(keep)

    t = stackless.tasklet(body)()
    stackless.run()
    t.kill()
    stackless.run()
    assert not t.alive
    assert reports(body) == []


def test_a_warning_that_is_an_error_disturbs_nobody(monkeypatch):
    from stackless import _exits

    _exits._registry.clear()
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda info: seen.append((info.exc_type, info.object)))
    t = stackless.tasklet(base)()
    stackless.run()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        t.kill()
    assert t.alive
    assert seen == [(RuntimeWarning, t)]
    t.kill()


def test_on_stderr():
    done = run_script(
        """
        import stackless

        def stubborn():
            while True:
                try:
                    stackless.schedule()
                except:
                    pass

        t = stackless.tasklet(stubborn)()
        stackless.schedule()
        t.kill()
        """, quiet=False)
    assert "<string>:8: RuntimeWarning: tasklet 'stubborn', created at <string>:11, has swallowed TaskletExit" in done.stderr


# --- bounded: kill() once, the last reference ten times, a thread's end once, the exit once

SWALLOW = """
    import gc, stackless, sys, threading, time

    channel = stackless.channel()
    attempts = 0

    def stubborn():
        global attempts
        while True:
            try:
                {operation}
            except BaseException:
                attempts += 1

    def start():
        t = stackless.tasklet(stubborn)()
        stackless.schedule()
        return t
"""

OPERATIONS = [
    "channel.receive()", "stackless.schedule()", "stackless.schedule_remove()", "stackless.sleep(0.001)",
    "stackless.select([channel])", "stackless.run()", "stackless.getmain().switch()"]

swallowing = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda text: text.split("(")[0])


@swallowing
def test_kill_asks_once_and_comes_back(operation, mode):
    done = run_script(SWALLOW.format(operation=operation) + """
    t = start()
    for n in range(1, 4):
        before = attempts
        t.kill()
        stackless.schedule()
        print(t.alive, attempts - before)
    """, env=mode, quiet=False)
    assert done.lines == ["True 1"] * 3, str(done)


@swallowing
def test_the_exit_does_not_hang_on_it(operation, mode):
    done = run_script(SWALLOW.format(operation=operation) + """
    for _ in range(5):
        start()
    print("main ends")
    """, env=mode, quiet=False)
    assert done.lines == ["main ends"], str(done)
    assert done.stderr.count("has swallowed TaskletExit here") <= 1, str(done)  # once a place


def test_the_last_reference_asks_ten_times(mode):
    done = run_script(SWALLOW.format(operation="stackless.schedule_remove()") + """
    t = start()
    del t
    gc.collect()
    print(attempts, len(gc.garbage), gc.garbage[0].alive)
    """, env=mode, quiet=False)
    assert done.lines == ["10 1 True"], str(done)


def test_the_end_of_a_thread_asks_once(mode):
    done = run_script(SWALLOW.format(operation="channel.receive()") + """
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    print(attempts)
    """, env=mode, quiet=False)
    assert done.lines == ["1"], str(done)


@pytest.mark.parametrize("where", ["process", "thread"])
def test_one_that_starts_a_successor_whenever_it_is_killed(where, mode):
    """A supervisor that restarts what ends; the end comes all the same, and says so."""
    done = run_script(
        """
        import stackless, sys, threading

        channel = stackless.channel()

        def phoenix():
            try:
                channel.receive()
            except BaseException:
                stackless.tasklet(phoenix)().run()

        def work():
            stackless.tasklet(phoenix)()
            stackless.run()

        if sys.argv[1] == "thread":
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        else:
            work()
        print("main ends")
        """, env=mode, args=[where], quiet=False)
    assert done.lines == ["main ends"]
    assert f"have been started by tasklets that were killed at the end of the {where}" in done.stderr
