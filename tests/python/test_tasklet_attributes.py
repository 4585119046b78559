# SPDX-License-Identifier: MIT
"""Attributes of tasklets: flags, links, frame, recursion depth, tempval, channel; which are writable.

Not covered: trace and profile functions, cstate, context_id.
"""

import sys
import threading

import pytest
import stackless

from support import noop

READ_ONLY = [
    "alive",
    "paused",
    "scheduled",
    "blocked",
    "atomic",
    "ignore_nesting",
    "is_main",
    "is_current",
    "thread_id",
    "next",
    "prev",
    "frame",
    "recursion_depth",
    "nesting_level",
    "restorable",
    "_channel",
]


@pytest.mark.parametrize("name", READ_ONLY)
def test_read_only(name):
    t = stackless.tasklet()
    before = getattr(t, name)
    with pytest.raises(AttributeError):
        setattr(t, name, True)
    with pytest.raises(AttributeError):
        delattr(t, name)
    assert getattr(t, name) == before


@pytest.mark.parametrize("name", READ_ONLY + ["block_trap", "tempval"])
def test_attributes_are_descriptors_of_the_class(name):
    assert name in dir(stackless.tasklet)
    assert hasattr(type(getattr(stackless.tasklet, name)), "__get__")


@pytest.mark.parametrize("name", ["alive", "paused", "scheduled", "blocked", "atomic", "ignore_nesting", "block_trap", "is_main", "is_current", "restorable"])
def test_flags_are_bools(name):
    for t in (stackless.tasklet(), stackless.tasklet(noop, ()), stackless.getcurrent()):
        assert type(getattr(t, name)) is bool


def test_is_main_and_is_current():
    main = stackless.getmain()
    assert main.is_main and main.is_current
    seen = []
    t = stackless.tasklet(lambda: seen.append((t.is_main, t.is_current, main.is_main, main.is_current)))()
    assert not t.is_main and not t.is_current
    stackless.run()
    assert seen == [(False, True, True, False)]


def test_is_main_is_relative_to_the_tasklets_own_thread():
    seen = []

    def body():
        seen.append(stackless.getmain())
        ready.set()
        go.wait()

    ready, go = threading.Event(), threading.Event()
    thread = threading.Thread(target=body)
    thread.start()
    ready.wait()
    try:
        foreign = seen[0]
        assert foreign.is_main and foreign.is_current
        assert foreign is not stackless.getmain()
    finally:
        go.set()
        thread.join()


def test_thread_id():
    seen = []
    ident = threading.get_ident()
    t = stackless.tasklet(noop)
    assert t.thread_id == ident
    assert stackless.getmain().thread_id == ident
    stackless.tasklet(lambda: seen.append(stackless.getcurrent().thread_id))()
    stackless.run()
    assert seen == [ident]


def test_next_and_prev_in_the_ring(trace):
    a, b, c = (trace.logger(name) for name in "abc")
    main = stackless.getmain()
    assert (main.next, a.next, b.next, c.next) == (a, b, c, main)
    assert (main.prev, a.prev, b.prev, c.prev) == (c, main, a, b)
    stackless.run()
    assert a.next is None and a.prev is None


def test_a_lone_tasklet_is_its_own_neighbour():
    seen = []
    t = stackless.tasklet(lambda: seen.append((t.next is t, t.prev is t)))()
    stackless.run()
    assert seen == [(True, True)]


def test_next_and_prev_in_a_channel_queue():
    channel = stackless.channel()
    a, b, c = (stackless.tasklet(channel.receive)() for _ in range(3))
    stackless.run()
    assert channel.queue is a
    assert (a.next, b.next, c.next) == (b, c, None)
    assert (a.prev, b.prev, c.prev) == (None, a, b)
    for _ in range(3):
        channel.send(None)
    assert channel.queue is None


def test_next_of_a_paused_tasklet():
    t = stackless.tasklet(noop, ())
    assert t.next is None and t.prev is None


def test_frame():
    fresh = stackless.tasklet(noop, ())
    assert fresh.frame is None
    assert stackless.tasklet().frame is None
    assert stackless.getcurrent().frame is sys._getframe()

    def inner():
        stackless.schedule_remove()

    def outer():
        inner()

    t = stackless.tasklet(outer)()
    stackless.run()
    assert t.frame.f_code is inner.__code__
    assert t.frame.f_back.f_code is outer.__code__
    assert t.frame.f_back.f_back is None
    t.run()
    assert t.frame is None


def test_frame_follows_the_line():
    def body():
        stackless.schedule_remove()
        stackless.schedule_remove()

    t = stackless.tasklet(body)()
    stackless.run()
    first = t.frame.f_lineno
    t.run()
    assert t.frame.f_lineno == first + 1
    t.run()


def test_recursion_depth():
    depths = []

    def recurse(left):
        if left:
            recurse(left - 1)
        else:
            depths.append(stackless.getcurrent().recursion_depth)
            stackless.schedule_remove()

    fresh = stackless.tasklet(recurse, (0,))
    assert fresh.recursion_depth == 0
    fresh.run()
    assert fresh.recursion_depth == 1
    fresh.run()
    assert fresh.recursion_depth == 0
    deep = stackless.tasklet(recurse)(9)
    deep.run()
    assert deep.recursion_depth == 10
    deep.run()
    assert stackless.tasklet().recursion_depth == 0
    assert stackless.getcurrent().recursion_depth >= 1
    assert depths == [1, 10]


def test_nesting_level_and_restorable():
    fresh = stackless.tasklet(noop, ())
    assert fresh.nesting_level == 0
    assert fresh.restorable
    t = stackless.tasklet(stackless.schedule_remove)()
    stackless.run()
    assert isinstance(t.nesting_level, int) and t.nesting_level >= 0
    assert t.restorable == (t.nesting_level == 0)
    t.kill()


def test_tempval_is_writable_and_deletable():
    t = stackless.tasklet()
    t.tempval = "anything"
    assert t.tempval == "anything"
    del t.tempval
    assert t.tempval is None


def test_tempval_of_main():
    main = stackless.getmain()
    main.tempval = 5
    assert main.tempval == 5
    del main.tempval
    assert main.tempval is None


def test_channel_attribute():
    channel = stackless.channel()
    t = stackless.tasklet(channel.receive)()
    assert t._channel is None
    stackless.run()
    assert t._channel is channel
    channel.send(None)
    assert t._channel is None
    assert stackless.getcurrent()._channel is None


# flags with setters


@pytest.mark.parametrize("name", ["atomic", "ignore_nesting"])
def test_set_flag(name):
    t = stackless.tasklet()
    setter = getattr(t, f"set_{name}")
    assert getattr(t, name) is False
    assert setter(True) is False
    assert getattr(t, name) is True
    assert setter(1) is True
    assert setter(0) is True
    assert setter(False) is False
    assert getattr(t, name) is False


@pytest.mark.parametrize("name", ["atomic", "ignore_nesting"])
@pytest.mark.parametrize("value", ["x", None, 1.5, []])
def test_set_flag_refuses_other_types(name, value):
    t = stackless.tasklet()
    with pytest.raises(TypeError, match=f"set_{name} needs exactly one bool or integer"):
        getattr(t, f"set_{name}")(value)
    assert getattr(t, name) is False


@pytest.mark.parametrize("name", ["set_atomic", "set_ignore_nesting"])
@pytest.mark.parametrize("args", [(), (1, 2)])
def test_set_flag_takes_one_argument(name, args):
    with pytest.raises(TypeError, match="takes exactly one argument"):
        getattr(stackless.tasklet(), name)(*args)


def test_flags_are_not_inherited():
    seen = []
    current = stackless.getcurrent()
    current.set_atomic(True)
    current.set_ignore_nesting(True)
    try:
        t = stackless.tasklet(lambda: seen.append((t.atomic, t.ignore_nesting)))()
        stackless.run()
    finally:
        current.set_atomic(False)
        current.set_ignore_nesting(False)
    assert seen == [(False, False)]


def test_block_trap_is_writable():
    t = stackless.tasklet()
    assert t.block_trap is False
    t.block_trap = True
    assert t.block_trap is True
    t.block_trap = 0
    assert t.block_trap is False
    for value in ("x", None, 1.5):
        with pytest.raises(TypeError, match="block_trap must be set to a bool or integer"):
            t.block_trap = value
    assert t.block_trap is False


def test_removed_names_stay_removed():
    for name in ("become", "capture", "slicing_lock", "set_autoschedule"):
        assert not hasattr(stackless.tasklet, name)
