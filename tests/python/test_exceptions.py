# SPDX-License-Identifier: MIT
"""Where exceptions go: TaskletExit, ordinary ones, SystemExit, the error handler, the per-tasklet exception state.

Deadlock errors are in test_deadlock.py; KeyboardInterrupt in test_exit.py.
"""

import builtins
import contextlib
import sys
import threading

import pytest
import stackless

from support import noop, run_script


class Error(Exception):
    pass


def raising(*args):
    raise Error(*args)


@contextlib.contextmanager
def error_handler(handler):
    previous = stackless.set_error_handler(handler)
    try:
        yield
    finally:
        stackless.set_error_handler(previous)


# TaskletExit


def test_tasklet_exit_type():
    assert builtins.TaskletExit is stackless.TaskletExit
    assert issubclass(TaskletExit, SystemExit)
    assert not issubclass(TaskletExit, Exception)
    assert TaskletExit(5).code == 5
    assert TaskletExit().code is None
    assert TaskletExit.__name__ == "TaskletExit"


def test_tasklet_exit_ends_a_tasklet_silently(trace):
    def body():
        trace.append("in")
        raise TaskletExit("reason")

    t = stackless.tasklet(body)()
    stackless.run()
    assert trace == ["in"]
    assert not t.alive


def test_a_subclass_of_tasklet_exit_is_silent_too():
    class Sub(TaskletExit):
        pass

    def body():
        raise Sub

    t = stackless.tasklet(body)()
    stackless.run()
    assert not t.alive


def test_tasklet_exit_does_not_reach_the_handler(trace):
    def body():
        raise TaskletExit

    with error_handler(lambda *info: trace.append(info)):
        stackless.tasklet(body)()
        stackless.run()
    assert trace == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # its own idea of silence
def test_main_killed_in_a_plain_thread_ends_the_thread_silently(capfd):
    reached = []

    def body():
        stackless.tasklet(stackless.getmain().kill)()
        stackless.run()
        reached.append("after")

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert reached == []
    assert capfd.readouterr().err == ""


# ordinary exceptions


@pytest.mark.parametrize("kind", [Error, KeyboardInterrupt, GeneratorExit, StopIteration, StopAsyncIteration, BaseException])
def test_an_uncaught_exception_reaches_main(kind):
    def body():
        raise kind("text")

    t = stackless.tasklet(body)()
    with pytest.raises(kind) as info:
        stackless.run()
    assert info.value.args == ("text",)
    assert not t.alive


def test_the_traceback_shows_the_tasklet():
    stackless.tasklet(raising)("x")
    with pytest.raises(Error) as info:
        stackless.run()
    assert "raising" in [entry.name for entry in info.traceback]


def test_the_same_instance_arrives():
    error = Error()

    def body():
        raise error

    stackless.tasklet(body)()
    with pytest.raises(Error) as info:
        stackless.run()
    assert info.value is error


def test_the_others_stay_runnable(trace):
    trace.logger("a")
    stackless.tasklet(raising)()
    trace.logger("b")
    with pytest.raises(Error):
        stackless.run()
    assert trace == ["a"]
    assert stackless.getruncount() == 2
    stackless.run()
    assert trace == ["a", "b"]


def test_main_gets_it_whoever_ran_the_tasklet(trace):
    failing = stackless.tasklet(raising, ("inner",))

    def runner():
        failing.run()
        trace.append("runner continues")

    stackless.tasklet(runner)()
    with pytest.raises(Error, match="inner"):
        stackless.run()
    assert trace == []
    stackless.run()
    assert trace == ["runner continues"]


def test_main_gets_it_out_of_turn(trace):
    stackless.tasklet(raising)()
    trace.logger("later")
    with pytest.raises(Error):
        stackless.schedule()
    assert trace == []
    stackless.run()


def test_the_innermost_watchdog_gets_it(trace):
    def inner():
        stackless.tasklet(raising)("for inner")
        try:
            stackless.run()
        except Error as error:
            trace.append(error.args)

    def outer():
        stackless.tasklet(inner)()
        stackless.run()
        trace.append("outer fine")

    stackless.tasklet(outer)()
    stackless.run()
    assert trace == [("for inner",), "outer fine"]


@pytest.mark.parametrize("operation", ["send", "receive"])
def test_mains_channel_operation_is_cancelled(operation):
    channel = stackless.channel()
    stackless.tasklet(raising)("cancel")
    with pytest.raises(Error, match="cancel"):
        channel.send(1) if operation == "send" else channel.receive()
    assert channel.balance == 0
    assert channel.queue is None
    assert not stackless.getmain().blocked


def test_several_errors_come_one_by_one():
    for number in range(3):
        stackless.tasklet(raising)(number)
    for number in range(3):
        with pytest.raises(Error) as info:
            stackless.run()
        assert info.value.args == (number,)
    assert stackless.getruncount() == 1


# SystemExit


def test_system_exit_in_a_plain_thread_is_swallowed():
    results = []

    def body():
        t = stackless.tasklet(sys.exit)(7)
        other = stackless.tasklet(results.append)("other ran")
        stackless.run()
        results.append((t.alive, other.alive))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert results == ["other ran", (False, False)]


def test_system_exit_surfaces_in_main_and_not_in_an_inner_watchdog():
    done = run_script(
        """
        import stackless, sys

        def inner():
            stackless.tasklet(sys.exit)(3)
            try:
                stackless.run()
            except SystemExit as error:
                if not isinstance(error, TaskletExit):
                    print("wrong: inner watchdog got it")
                raise

        stackless.tasklet(inner)()
        try:
            stackless.run()
        finally:
            print("main unwinds")
        """,
        status=3,
    )
    assert done.lines == ["main unwinds"]


# the error handler


def test_error_handler_set_and_reset():
    def first(*info):
        pass

    def second(*info):
        pass

    assert stackless.set_error_handler(first) is None
    assert stackless.set_error_handler(second) is first
    assert stackless.set_error_handler() is second
    assert stackless.set_error_handler(None) is None
    assert stackless.set_error_handler(first) is None
    assert stackless.set_error_handler(None) is first


def test_error_handler_gets_the_exception(trace):
    def handler(kind, value, tb):
        current = stackless.getcurrent()
        trace.append((kind, value.args, tb.tb_frame.f_code.co_name, current, current.alive, stackless.getruncount()))

    with error_handler(handler):
        t = stackless.tasklet(raising)("x")
        stackless.run()
    assert trace == [(Error, ("x",), "raising", t, True, 1)]
    assert not t.alive


def test_after_the_handler_the_next_one_runs(trace):
    with error_handler(lambda *info: trace.append("handled")):
        trace.logger("a")
        stackless.tasklet(raising)()
        trace.logger("b")
        stackless.run()
    assert trace == ["a", "handled", "b"]


def test_the_handlers_result_is_ignored():
    for result in (True, False, None, object()):
        with error_handler(lambda *info: result):
            stackless.tasklet(raising)()
            assert stackless.run() is None


def test_an_error_of_the_handler_reaches_main():
    def handler(*info):
        raise KeyError("handler")

    with error_handler(handler):
        stackless.tasklet(raising)()
        with pytest.raises(KeyError, match="handler"):
            stackless.run()


def test_the_handler_is_not_for_main(trace):
    with error_handler(lambda *info: trace.append("handled")):
        with pytest.raises(Error):
            raising()
    assert trace == []


def test_the_handler_for_an_exception_thrown_into_a_fresh_tasklet(trace):
    def handler(kind, value, tb):
        trace.append((kind, value.args, tb))

    with error_handler(handler):
        stackless.tasklet(noop, ()).throw(Error, "text")
    assert trace == [(Error, ("text",), None)]


# per-tasklet exception state


def test_a_new_tasklet_has_no_handled_exception():
    seen = []
    try:
        raise Error("outer")
    except Error:
        stackless.tasklet(lambda: seen.append(sys.exc_info()))()
        stackless.run()
        assert sys.exc_info()[0] is Error
    assert seen == [(None, None, None)]


def test_handled_exceptions_survive_switches():
    seen = []

    def body(name):
        try:
            raise Error(name)
        except Error:
            for _ in range(3):
                stackless.schedule()
                seen.append((name, sys.exc_info()[1].args))
        seen.append((name, sys.exc_info()))

    for name in "ab":
        stackless.tasklet(body)(name)
    stackless.run()
    for name in "ab":
        assert [what for owner, what in seen if owner == name] == [(name,)] * 3 + [(None, None, None)]
    assert [owner for owner, _ in seen[:4]] == ["a", "b", "a", "b"], "they did take turns"


def test_bare_raise_raises_the_own_exception(trace):
    def body(name):
        try:
            try:
                raise Error(name)
            except Error:
                stackless.schedule()
                raise
        except Error as error:
            trace.append((name, error.args))

    for name in "ab":
        stackless.tasklet(body)(name)
    stackless.run()
    assert trace == [("a", ("a",)), ("b", ("b",))]


def test_context_is_not_taken_from_another_tasklet(trace):
    def first():
        try:
            raise KeyError
        except KeyError:
            stackless.schedule()

    def second():
        try:
            raise Error
        except Error as error:
            trace.append(error.__context__)

    stackless.tasklet(first)()
    stackless.tasklet(second)()
    stackless.run()
    assert trace == [None]
