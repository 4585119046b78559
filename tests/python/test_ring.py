# SPDX-License-Identifier: MIT
"""The ring: who is in it, in which order, where control goes when a tasklet switches, ends or blocks.

Covers the scheduling model itself. The functions that use it have files of their own.
"""

import pytest
import stackless

from support import Trace, noop, ring_of


def test_running_tasklet_is_a_member():
    current = stackless.getcurrent()
    assert stackless.getruncount() == 1
    assert current.next is current
    assert current.prev is current
    assert ring_of() == [current]


def test_new_tasklets_go_to_the_end(trace):
    for name in "abc":
        trace.logger(name)
    assert trace.ring() == "main a b c"
    assert trace.name_of(stackless.getcurrent().prev) == "c"
    assert stackless.getruncount() == 4
    stackless.run()
    assert trace == ["a", "b", "c"]


def test_the_end_is_before_the_running_tasklet(trace):
    def b():
        trace.logger("new")
        trace.append(trace.ring())

    trace.logger("a")
    trace.new("b", b)
    trace.logger("c")
    trace.name_of(stackless.getmain())
    stackless.schedule()
    assert trace == ["a", "b c main new", "c"]
    assert trace.ring() == "main new"
    stackless.run()
    assert trace[-1] == "new"


def test_running_one_in_the_middle_runs_those_behind_it_first(trace):
    trace.logger("a")
    b = trace.logger("b")
    trace.logger("c")
    b.run()
    assert trace == ["b", "c"]
    assert trace.ring() == "main a"
    stackless.run()
    assert trace == ["b", "c", "a"]


def test_a_floating_target_is_placed_directly_before_the_caller(trace):
    seen = []
    trace.logger("x")
    trace.logger("y")
    a = trace.paused("a", lambda: seen.append(trace.ring()))
    a.run()
    assert seen == ["a main x y"]
    assert trace == []
    stackless.run()
    assert trace == ["x", "y"]


def test_a_blocked_target_of_a_throw_is_placed_directly_before_the_caller(trace):
    channel = stackless.channel()

    def receiver():
        try:
            channel.receive()
        except ValueError:
            trace.append("caught " + trace.ring())

    r = trace.new("r", receiver)
    stackless.run()
    trace.logger("x")
    r.throw(ValueError)
    assert trace == ["caught r main x"]
    assert channel.balance == 0
    stackless.run()
    assert trace[-1] == "x"


def test_switching_leaves_ring_positions_alone(trace):
    def walker(name):
        trace.append(trace.ring())
        stackless.schedule()
        trace.append(trace.ring())

    trace.new("a", walker, "a")
    trace.new("b", walker, "b")
    stackless.schedule()
    stackless.schedule()
    assert trace == ["a b main", "b main a", "a b main", "b main"]
    assert trace.ring() == "main"


def test_successor_runs_when_a_tasklet_ends(trace):
    def middle():
        trace.append("middle")

    trace.logger("first")
    trace.new("middle", middle)
    trace.logger("last")
    stackless.schedule()
    assert trace == ["first", "middle", "last"]
    assert stackless.getruncount() == 1


def test_a_return_value_is_discarded():
    t = stackless.tasklet(lambda: "value")()
    stackless.run()
    assert t.tempval is None
    assert not t.alive
    assert t.frame is None
    assert t.next is None and t.prev is None


def test_runcount_follows_the_ring():
    counts = []
    channel = stackless.channel()

    def blocked():
        channel.receive()
        counts.append(stackless.getruncount())

    def runnable():
        counts.append(stackless.getruncount())

    stackless.tasklet(blocked)()
    stackless.tasklet(runnable)()
    assert stackless.getruncount() == 3
    stackless.run()
    assert counts == [1], "main sits in run() and the receiver is blocked"
    assert stackless.getruncount() == 1
    channel.send(None)
    assert counts == [1, 2], "main is an ordinary member while it sends"


def test_ring_empty_wakes_the_innermost_watchdog(trace):
    def inner():
        trace.append("inner")
        trace.logger("made")
        stackless.run()
        trace.append("inner back")

    trace.new("inner", inner)
    stackless.run()
    trace.append("main back")
    assert trace == ["inner", "made", "inner back", "main back"]


def test_run_returns_when_everything_blocks():
    channel = stackless.channel()
    t = stackless.tasklet(channel.receive)()
    assert stackless.run() is None
    assert t.blocked
    assert channel.balance == -1
    channel.send(1)
    assert not t.alive


def test_run_returns_when_everything_removes_itself():
    t = stackless.tasklet(stackless.schedule_remove)()
    assert stackless.run() is None
    assert t.paused and t.alive
    t.kill()


def test_a_bomb_in_a_tasklet_that_removes_itself_goes_to_the_watchdog():
    t = stackless.tasklet(lambda: stackless.schedule_remove(stackless.bomb(LookupError, LookupError("boom"))))()
    with pytest.raises(LookupError, match="boom"):
        stackless.run()
    assert t.paused
    assert t.tempval is None
    t.kill()


def test_switching_to_oneself_is_no_switch():
    marker = object()
    current = stackless.getcurrent()
    assert current.run() is None
    assert current.switch() is None
    assert stackless.schedule(marker) is marker
    assert stackless.getruncount() == 1


def test_a_bomb_explodes_even_without_a_switch():
    with pytest.raises(LookupError, match="here"):
        stackless.schedule(stackless.bomb(LookupError, LookupError("here")))
    assert stackless.getcurrent().tempval is None


def test_tempval_is_fetched_and_cleared_on_resumption():
    def setter(target):
        target.tempval = "planted"

    stackless.tasklet(setter)(stackless.getcurrent())
    assert stackless.schedule("own") == "planted"
    assert stackless.getcurrent().tempval is None


def test_order_is_the_same_for_a_thousand():
    seen = []
    for number in range(1000):
        stackless.tasklet(seen.append)(number)
    assert stackless.getruncount() == 1001
    stackless.run()
    assert seen == list(range(1000))


def test_round_robin_of_many_over_many_turns():
    seen = []

    def turns(number):
        for _ in range(20):
            seen.append(number)
            stackless.schedule()

    for number in range(50):
        stackless.tasklet(turns)(number)
    stackless.run()
    assert seen == list(range(50)) * 20


def test_no_interleaving_between_scheduling_points():
    shared = [0]

    def add():
        for _ in range(2000):
            value = shared[0]
            for _ in range(3):
                noop()
            shared[0] = value + 1
            if value % 7 == 0:
                stackless.schedule()

    for _ in range(8):
        stackless.tasklet(add)()
    stackless.run()
    assert shared == [16000]


def test_removed_neighbours_close_the_ring():
    tr = Trace()
    a, b, c = (tr.logger(name) for name in "abc")
    b.remove()
    assert tr.ring() == "main a c"
    assert a.next is c and c.prev is a
    assert b.next is None and b.prev is None
    b.insert()
    assert tr.ring() == "main a c b"
    stackless.run()
    assert tr == ["a", "c", "b"]
