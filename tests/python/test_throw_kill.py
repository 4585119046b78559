# SPDX-License-Identifier: MIT
"""throw, raise_exception and kill: argument checks, every state of the target, pending and not.

Throwing across threads is in test_threads.py.
"""

import sys
import traceback

import os

import pytest
import stackless

from support import noop


class Caught(Exception):
    pass


def catcher(trace, name="caught", wait=stackless.schedule_remove):
    """A function that waits and logs what it is hit by."""

    def body(*args):
        try:
            wait(*args)
        except BaseException as error:
            trace.append((name, type(error).__name__, error.args))

    return body


def blocked_on(channel, trace):
    t = stackless.tasklet(catcher(trace, wait=channel.receive))()
    stackless.run()
    assert t.blocked
    return t


def started(trace):
    t = stackless.tasklet(catcher(trace))()
    stackless.run()
    assert t.paused
    return t


# throw: arguments


def test_throw_argument_errors(trace):
    t = started(trace)
    with pytest.raises(TypeError, match="third argument must be a traceback object"):
        t.throw(ValueError, None, "not a traceback")
    with pytest.raises(TypeError, match="instance exception may not have a separate value"):
        t.throw(ValueError(1), 2)
    with pytest.raises(TypeError, match="exceptions must be classes, or instances, not int"):
        t.throw(5)
    with pytest.raises(TypeError, match="exceptions must be classes, or instances, not "):
        t.throw(int)
    with pytest.raises(TypeError, match=r"(takes|expected) at least 1 (positional )?argument|missing required argument 'exc' \(pos 1\)"):
        t.throw()
    with pytest.raises(TypeError, match=r"(takes|expected) at most 4 (positional )?argument"):
        t.throw(ValueError, None, None, False, 5)
    assert t.paused and trace == []
    t.kill()


@pytest.mark.parametrize(
    "args, expected",
    [
        ((ValueError,), ("ValueError", ())),
        ((ValueError, None), ("ValueError", ())),
        ((ValueError, 1), ("ValueError", (1,))),
        ((ValueError, (1, 2)), ("ValueError", (1, 2))),
        ((ValueError, ()), ("ValueError", ())),
        ((ValueError("ready"),), ("ValueError", ("ready",))),
        ((ValueError("ready"), None), ("ValueError", ("ready",))),
        ((ValueError, ValueError("inst")), ("ValueError", ("inst",))),
        ((LookupError, KeyError("sub")), ("KeyError", ("sub",))),
    ],
)
@pytest.mark.parametrize("pending", [False, True])
def test_throw_normalises_the_value(trace, args, expected, pending):
    t = started(trace)
    assert t.throw(*args, pending=pending) is None
    stackless.run()
    assert trace == [("caught", *expected)]
    assert not t.alive


def depth(error):
    tb, n = error.__traceback__, 0
    while tb:
        tb, n = tb.tb_next, n + 1
    return n


@pytest.mark.parametrize("way", ["throw", "send_throw"])
def test_an_instance_thrown_again_has_a_new_traceback(way):
    """An exception that a program keeps and throws must not collect the frames of all who caught it."""
    channel = stackless.channel()
    depths = []

    def body():
        while True:
            try:
                channel.receive() if way == "send_throw" else stackless.schedule_remove()
            except ValueError as error:
                depths.append(depth(error))

    t = stackless.tasklet(body)()
    t.run()
    kept = ValueError("kept")
    for _ in range(4):
        channel.send_throw(kept) if way == "send_throw" else t.throw(kept)
    t.kill()
    assert depths == [1, 1, 1, 1]


def test_a_non_matching_instance_becomes_the_argument():
    caught = []

    def body():
        try:
            stackless.schedule_remove()
        except ValueError as error:
            caught.append(error.args[0])

    t = stackless.tasklet(body)()
    stackless.run()
    inner = IndexError(5)
    t.throw(ValueError, inner)
    assert caught == [inner]


def test_throw_by_keyword(trace):
    t = started(trace)
    t.throw(exc=ValueError, val=3, tb=None, pending=True)
    stackless.run()
    assert trace == [("caught", "ValueError", (3,))]


def test_the_given_traceback_becomes_the_inner_part():
    def origin():
        raise ValueError("original")

    try:
        origin()
    except ValueError:
        kind, value, tb = sys.exc_info()
    names = []

    def body():
        try:
            stackless.schedule_remove()
        except ValueError as error:
            names.extend(frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__))

    t = stackless.tasklet(body)()
    stackless.run()
    t.throw(kind, value, tb)
    assert names[0] == "body"
    assert "origin" in names


# throw: targets


@pytest.mark.parametrize("pending", [False, True])
def test_throw_at_oneself_raises_right_here(pending):
    with pytest.raises(Caught):
        stackless.getcurrent().throw(Caught, pending=pending)
    with pytest.raises(Caught):
        stackless.getcurrent().raise_exception(Caught)


@pytest.mark.parametrize("make", [lambda: stackless.tasklet(), lambda: stackless.tasklet(noop)])
@pytest.mark.parametrize("pending", [False, True])
def test_throw_at_a_dead_tasklet(make, pending):
    t = make()
    with pytest.raises(RuntimeError, match="You cannot throw to a dead tasklet"):
        t.throw(Caught, pending=pending)
    with pytest.raises(RuntimeError, match="You cannot throw to a dead tasklet"):
        t.raise_exception(Caught)
    assert t.throw(TaskletExit, pending=pending) is None
    assert t.kill(pending) is None


def test_throw_at_a_finished_tasklet():
    t = stackless.tasklet(noop)()
    stackless.run()
    with pytest.raises(RuntimeError, match="You cannot throw to a dead tasklet"):
        t.throw(IndexError)
    assert t.throw(TaskletExit) is None

    class Sub(TaskletExit):
        pass

    assert t.throw(Sub) is None


def test_throw_at_a_fresh_tasklet_raises_in_main(trace):
    t = stackless.tasklet(trace.append, ("ran",))
    with pytest.raises(Caught, match="text"):
        t.throw(Caught, "text")
    assert not t.alive
    assert trace == []


def test_pending_throw_at_a_fresh_tasklet(trace):
    t = stackless.tasklet(trace.append, ("ran",))
    assert t.throw(Caught, pending=True) is None
    assert t.scheduled
    with pytest.raises(Caught):
        stackless.run()
    assert not t.alive
    assert trace == []


def test_throw_at_a_paused_tasklet_comes_straight_back(trace):
    t = started(trace)
    trace.logger("x")
    t.throw(Caught)
    assert trace == [("caught", "Caught", ())]
    stackless.run()
    assert trace[-1] == "x"


def test_throw_at_a_scheduled_tasklet_keeps_its_position(trace):
    t = trace.new("t", catcher(trace, wait=stackless.schedule))
    trace.logger("x")
    stackless.schedule()
    assert trace == ["x"]
    trace.logger("y")
    t.throw(Caught)
    assert trace == ["x", ("caught", "Caught", ()), "y"]
    assert trace.ring() == "main"


def test_throw_at_a_blocked_tasklet(trace):
    channel = stackless.channel()
    t = blocked_on(channel, trace)
    t.throw(Caught)
    assert trace == [("caught", "Caught", ())]
    assert channel.balance == 0
    assert channel.queue is None


def test_pending_throw_at_a_blocked_tasklet_frees_the_channel_at_once(trace):
    channel = stackless.channel()
    t = blocked_on(channel, trace)
    t.throw(Caught, pending=True)
    assert channel.balance == 0
    assert t.scheduled and not t.blocked
    assert trace == []
    stackless.run()
    assert trace == [("caught", "Caught", ())]


def test_a_second_pending_throw_replaces_the_first(trace):
    t = started(trace)
    t.throw(Caught, 1, pending=True)
    t.throw(Caught, 2, pending=True)
    stackless.run()
    assert trace == [("caught", "Caught", (2,))]


def test_pending_throw_keeps_the_position_of_a_scheduled_one(trace):
    t = trace.new("t", catcher(trace, wait=stackless.schedule))
    trace.new("x", stackless.schedule)
    stackless.schedule()
    t.throw(Caught, pending=True)
    assert trace.ring() == "main t x"
    stackless.run()


def test_throw_returns_the_callers_tempval(trace):
    t = started(trace)
    stackless.getcurrent().tempval = "mine"
    assert t.throw(Caught) == "mine"


def test_uncaught_throw_surfaces_in_main():
    t = stackless.tasklet(stackless.schedule_remove)()
    stackless.run()
    with pytest.raises(Caught):
        t.throw(Caught)
    assert not t.alive


def test_throw_at_main_from_a_tasklet(trace):
    def body():
        trace.append(stackless.getmain().throw(Caught, "for main"))

    t = stackless.tasklet(body)()
    with pytest.raises(Caught, match="for main"):
        stackless.run()
    assert trace == []
    assert t.scheduled
    stackless.run()
    assert trace == [None]


def test_thrown_exception_can_be_survived(trace):
    def body():
        for _ in range(3):
            try:
                stackless.schedule_remove()
            except Caught as error:
                trace.append(error.args[0])

    t = stackless.tasklet(body)()
    stackless.run()
    for number in range(3):
        assert t.alive
        t.throw(Caught, number)
    assert trace == [0, 1, 2]
    assert not t.alive


def test_context_of_a_thrown_exception_is_the_targets(trace):
    """The thrower's handled exception does not leak into the target."""
    contexts = []

    def body():
        try:
            stackless.schedule_remove()
        except Caught as error:
            contexts.append(error.__context__)

    t = stackless.tasklet(body)()
    stackless.run()
    try:
        raise KeyError("handled by the thrower")
    except KeyError:
        t.throw(Caught)
    assert contexts == [None]


# raise_exception


def test_raise_exception(trace):
    t = started(trace)
    assert t.raise_exception(Caught, 1, 2) is None
    assert trace == [("caught", "Caught", (1, 2))]


def test_raise_exception_argument_errors(trace):
    t = started(trace)
    with pytest.raises(TypeError, match=r"raise_exception\(\) takes at least 1 argument"):
        t.raise_exception()
    for wrong in (5, int, Caught(), "string", None):
        with pytest.raises(TypeError, match="needs Exception or string subclass as first parameter"):
            t.raise_exception(wrong)
    with pytest.raises(TypeError):
        t.raise_exception(Caught, key=1)
    assert t.paused
    t.kill()


# kill


def test_kill_runs_finally_blocks(trace):
    def body():
        try:
            stackless.schedule_remove()
        finally:
            trace.append("finally")

    t = stackless.tasklet(body)()
    stackless.run()
    assert t.kill() is None
    assert trace == ["finally"]
    assert not t.alive


def test_kill_raises_tasklet_exit_inside(trace):
    t = started(trace)
    t.kill()
    assert trace == [("caught", "TaskletExit", ())]


@pytest.mark.parametrize("pending", [False, True])
def test_kill_of_a_fresh_paused_tasklet(trace, pending):
    t = stackless.tasklet(trace.append, ("ran",))
    t.kill(pending=pending)
    stackless.run()
    assert trace == []
    assert not t.alive


@pytest.mark.parametrize("pending", [False, True])
def test_kill_of_a_fresh_scheduled_tasklet(trace, pending):
    t = stackless.tasklet(trace.append)("ran")
    t.kill(pending)
    stackless.run()
    assert trace == []
    assert not t.alive


@pytest.mark.parametrize("pending", [False, True])
@pytest.mark.parametrize("operation", ["receive", "send"])
def test_kill_of_a_blocked_tasklet(trace, operation, pending):
    channel = stackless.channel()
    arguments = ("value",) if operation == "send" else ()
    t = stackless.tasklet(catcher(trace, wait=getattr(channel, operation)))(*arguments)
    stackless.run()
    t.kill(pending=pending)
    assert channel.balance == 0
    stackless.run()
    assert trace == [("caught", "TaskletExit", ())]
    assert not t.alive


@pytest.mark.parametrize("pending", [False, True])
def test_kill_of_a_finished_tasklet_does_nothing(pending):
    t = stackless.tasklet(noop)()
    stackless.run()
    assert t.kill(pending=pending) is None
    assert t.kill(pending=pending) is None
    assert stackless.getruncount() == 1


def test_killing_a_scheduled_one_runs_those_behind_it(trace):
    a = trace.new("a", catcher(trace, "a", stackless.schedule))
    trace.new("b", stackless.schedule)
    stackless.schedule()
    trace.logger("c")
    a.kill()
    assert trace == [("a", "TaskletExit", ()), "c"]
    stackless.run()


def test_kill_oneself(trace):
    def body():
        try:
            stackless.getcurrent().kill()
            trace.append("not reached")
        finally:
            trace.append("finally")

    t = stackless.tasklet(body)()
    stackless.run()
    assert trace == ["finally"]
    assert not t.alive


def test_kill_of_main_by_itself():
    with pytest.raises(TaskletExit):
        stackless.getmain().kill()


def test_kill_of_main_by_a_tasklet():
    t = stackless.tasklet(lambda: stackless.getmain().kill())()
    with pytest.raises(TaskletExit):
        stackless.run()
    stackless.run()
    assert not t.alive


def test_the_victim_may_live_on(trace):
    def body():
        try:
            stackless.schedule_remove()
        except TaskletExit:
            trace.append("survived")
        stackless.schedule_remove()
        trace.append("end")

    t = stackless.tasklet(body)()
    stackless.run()
    t.kill()
    assert t.alive and trace == ["survived"]
    t.run()
    assert trace == ["survived", "end"]


def test_an_error_of_the_dying_goes_to_main():
    def body():
        try:
            stackless.schedule_remove()
        finally:
            raise Caught("while dying")

    t = stackless.tasklet(body)()
    stackless.run()
    with pytest.raises(Caught, match="while dying"):
        t.kill()
    assert not t.alive


def test_kill_argument_errors():
    t = stackless.tasklet(noop, ())
    with pytest.raises(TypeError, match=r"(takes|expected) at most 1 (positional )?argument"):
        t.kill(1, 2)
    assert t.alive
    t.kill()


def test_kill_of_many(trace):
    channel = stackless.channel()
    tasklets = [stackless.tasklet(channel.receive)() for _ in range(200)]
    stackless.run()
    assert channel.balance == -200
    for t in tasklets:
        t.kill()
    assert channel.balance == 0
    assert not any(t.alive for t in tasklets)


def test_a_killed_tasklet_can_be_bound_again(trace):
    t = started(trace)
    t.kill()
    t.bind(trace.append)("again")
    stackless.run()
    assert trace[-1] == "again"


def test_kill_from_another_tasklet(trace):
    victim = started(trace)

    def killer():
        victim.kill()
        trace.append("killer")

    stackless.tasklet(killer)()
    stackless.run()
    assert trace == [("caught", "TaskletExit", ()), "killer"]


class Thrown(Exception):
    pass


@pytest.mark.parametrize(
    "throw, expected",
    [
        (lambda t: t.throw(Thrown("a", 1)), ("Thrown", ("a", 1))),
        (lambda t: t.throw(Thrown, ("b", 2)), ("Thrown", ("b", 2))),
        (lambda t: t.throw(ValueError, pending=True), ("ValueError", ())),
        (lambda t: t.raise_exception(KeyError, 5), ("KeyError", (5,))),
        (lambda t: t.kill(), ("TaskletExit", ())),
        (lambda t: t.throw(TaskletExit("x")), ("TaskletExit", ("x",))),
    ],
    ids=["instance", "class and arguments", "pending", "raise_exception", "kill", "exit with a value"],
)
def test_thrown_at_a_stray_is_raised_when_its_call_returns(many_threads, throw, expected):
    read, write = os.pipe()
    log = []

    def body():
        try:
            os.read(read, 1)
            log.append("went on")
        except BaseException as error:
            log.append((type(error).__name__, error.args))

    victim = stackless.tasklet(body)()

    def other():
        while victim.scheduled:
            stackless.schedule()
        throw(victim)
        log.append("the caller goes on")
        os.write(write, b"x")

    stackless.tasklet(other)()
    stackless.run()
    os.close(read)
    os.close(write)
    assert log == ["the caller goes on", expected]
