# SPDX-License-Identifier: MIT
"""Golden traces: exact orders of execution that any scheduler with these semantics must give.

The first half is the table of channel operations by preference and schedule_all, the second half
a list of small scenarios, each with the ring and the log it must produce.
"""

import pytest
import stackless

from support import Trace, noop

# one channel operation: x, S, y are scheduled in this order, the partner is already blocked

OPERATIONS = [
    ("send", -1, 0, "x, before, r:got, y, after"),
    ("send", 0, 0, "x, before, after, y, r:got"),
    ("send", 1, 0, "x, before, after, y, r:got"),
    ("send", -1, 1, "x, before, y, r:got, after"),
    ("send", 0, 1, "x, before, y, r:got, after"),
    ("send", 1, 1, "x, before, y, r:got, after"),
    ("receive", -1, 0, "x, before, got, y, s:sent"),
    ("receive", 0, 0, "x, before, got, y, s:sent"),
    ("receive", 1, 0, "x, before, s:sent, y, got"),
    ("receive", -1, 1, "x, before, y, s:sent, got"),
    ("receive", 0, 1, "x, before, y, s:sent, got"),
    ("receive", 1, 1, "x, before, y, s:sent, got"),
]


@pytest.mark.parametrize("operation, preference, schedule_all, expected", OPERATIONS)
def test_channel_operation(trace, operation, preference, schedule_all, expected):
    channel = stackless.channel()
    channel.preference = preference
    channel.schedule_all = schedule_all

    def waiting_receiver():
        channel.receive()
        trace.append("r:got")

    def waiting_sender():
        channel.send("value")
        trace.append("s:sent")

    def subject():
        trace.append("before")
        if operation == "send":
            channel.send("value")
            trace.append("after")
        else:
            channel.receive()
            trace.append("got")

    stackless.tasklet(waiting_receiver if operation == "send" else waiting_sender)()
    stackless.run()
    assert abs(channel.balance) == 1
    trace.logger("x")
    stackless.tasklet(subject)()
    trace.logger("y")
    stackless.run()
    assert ", ".join(trace) == expected
    assert channel.balance == 0


# scenarios: each returns what it saw as a list; the second item of a pair is what must be seen


def three_in_order():
    tr = Trace()
    for name in "abc":
        tr.logger(name)
    stackless.run()
    return tr


def run_the_middle_one():
    tr = Trace()
    tr.logger("a")
    b = tr.logger("b")
    tr.logger("c")
    b.run()
    tr.append(tr.ring())
    stackless.run()
    return tr


def insert_and_remove():
    tr = Trace()
    a = tr.logger("a")
    for name in "bc":
        tr.logger(name)
    a.insert()
    tr.append(tr.ring())
    a.remove()
    a.insert()
    tr.append(tr.ring())
    stackless.run()
    return tr


def two_turns():
    tr = Trace()

    def g(name):
        tr.append(name + "1")
        stackless.schedule()
        tr.append(name + "2")

    tr.new("a", g, "a")
    tr.new("b", g, "b")
    stackless.schedule()
    tr.append(tr.ring())
    stackless.schedule()
    tr.append(tr.ring())
    return tr


def run_a_paused_one():
    tr = Trace()
    a = tr.paused("a", lambda: tr.append(tr.ring()))
    tr.logger("b")
    a.run()
    tr.append(tr.ring())
    stackless.run()
    return tr


def switch_to_a_scheduled_one():
    tr = Trace()

    def a():
        tr.append(f"a, main paused {stackless.getmain().paused}")

    t = tr.new("a", a)
    tr.logger("b")
    t.switch()
    tr.append(tr.ring())
    return tr


def _raising():
    raise ValueError


def _with_a_raising_one(wait):
    tr = Trace()
    tr.logger("a")
    tr.new("b", _raising)
    tr.logger("c")
    try:
        wait()
    except ValueError:
        tr.append("ValueError")
    tr.append(tr.ring())
    stackless.run()
    return tr


def error_under_run():
    return _with_a_raising_one(stackless.run)


def error_under_schedule():
    return _with_a_raising_one(stackless.schedule)


def error_while_main_receives():
    channel = stackless.channel()
    tr = _with_a_raising_one(channel.receive)
    tr.append(channel.balance)
    return tr


def error_while_main_sends():
    channel = stackless.channel()
    tr = _with_a_raising_one(lambda: channel.send(None))
    tr.append(channel.balance)
    return tr


def error_in_a_directly_run_one():
    tr = Trace()
    tr.logger("a")
    b = tr.new("b", _raising)
    tr.logger("c")
    try:
        b.run()
    except ValueError:
        tr.append("ValueError")
    tr.append(tr.ring())
    stackless.run()
    return tr


def error_in_one_run_by_a_tasklet():
    tr = Trace()

    def a():
        x = stackless.tasklet(_raising, ())
        tr.append(x.run())
        tr.append("a continues")

    tr.new("a", a)
    try:
        stackless.run()
    except ValueError:
        tr.append("main ValueError")
    tr.append(tr.ring())
    stackless.run()
    return tr


def error_under_an_inner_run():
    tr = Trace()

    def a():
        stackless.tasklet(_raising)()
        try:
            stackless.run()
        except ValueError:
            tr.append("a ValueError")

    tr.new("a", a)
    stackless.run()
    tr.append("main back")
    return tr


def kill_a_paused_one():
    tr = Trace()

    def catching(name):
        try:
            stackless.schedule_remove()
        except TaskletExit:
            tr.append(f"{name}: {tr.ring()}")

    a = tr.new("a", catching, "a")
    b = tr.new("b", catching, "b")
    stackless.run()
    tr.logger("x")
    tr.logger("y")
    a.kill()
    tr.append(tr.ring())
    b.kill(pending=True)
    tr.append(tr.ring())
    stackless.run()
    return tr


def kill_a_scheduled_one():
    tr = Trace()

    def waiting(name):
        try:
            stackless.schedule()
        except TaskletExit:
            tr.append(f"{name}: {tr.ring()}")
        else:
            tr.append(name)

    tr.new("a", waiting, "a")
    b = tr.new("b", waiting, "b")
    tr.new("c", waiting, "c")
    stackless.schedule()
    b.kill()
    tr.append(tr.ring())
    stackless.run()
    return tr


def kill_a_fresh_one():
    tr = Trace()
    tr.logger("a")
    b = tr.logger("b")
    tr.logger("c")
    b.kill()
    tr.append(tr.ring())
    stackless.run()
    return tr


def kill_a_fresh_one_pending():
    tr = Trace()
    tr.logger("a")
    b = tr.logger("b")
    tr.logger("c")
    b.kill(pending=True)
    tr.append(tr.ring())
    stackless.run()
    tr.append(b.alive)
    return tr


def kill_waiting_receivers():
    tr = Trace()
    channel = stackless.channel()
    a, b, c = (tr.new(name, channel.receive) for name in "abc")
    stackless.run()
    tr.append(tr.queue(channel))
    b.kill()
    tr.append(tr.queue(channel))
    tr.logger("x")
    a.kill(pending=True)
    tr.append(channel.balance)
    tr.append(tr.ring())
    stackless.run()
    channel.send(None)
    return tr


def throw_at_main():
    tr = Trace()

    def t():
        tr.append(stackless.getmain().throw(IndexError))

    tr.new("t", t)
    try:
        stackless.run()
    except IndexError:
        tr.append("main IndexError")
    tr.append(tr.ring())
    stackless.run()
    return tr


def tempval_of_blocked_ones():
    tr = Trace()
    channel = stackless.channel()
    t = stackless.tasklet(channel.send)(5)
    stackless.run()
    t.tempval = 6
    tr.append(channel.receive())
    stackless.run()
    t = stackless.tasklet(channel.receive)()
    stackless.run()
    t.tempval = "X"
    tr.append(channel.send(9))
    t = stackless.tasklet(lambda: tr.append(channel.receive()))()
    stackless.run()
    t.tempval = stackless.bomb(KeyError, KeyError("bomb"))
    try:
        channel.send("value")
    except KeyError:
        tr.append("KeyError in the sender")
    stackless.run()
    return tr


def schedule_remove_and_inject():
    tr = Trace()
    t = stackless.tasklet(lambda: tr.append(stackless.schedule_remove("rv")))()
    stackless.run()
    tr.append(t.tempval)
    t.tempval = "inj"
    t.insert()
    stackless.run()
    return tr


def close_with_waiters():
    tr = Trace()
    channel = stackless.channel()
    stackless.tasklet(lambda: tr.append(channel.receive()))()
    stackless.run()
    channel.close()
    tr.append((channel.closing, channel.closed))
    channel.send("served")
    tr.append(channel.closed)
    channel.open()
    stackless.tasklet(channel.send)("waiting")
    stackless.run()
    channel.close()
    tr.append(next(channel))
    try:
        next(channel)
    except StopIteration:
        tr.append("StopIteration")
    stackless.run()
    return tr


def sequence_of_switches():
    tr = Trace()

    def a():
        tr.append("a1")
        stackless.schedule()
        tr.append("a2")

    tr.new("a", a)
    tr.new("b", noop)
    stackless.run()
    tr.append(tr.ring())
    return tr


SCENARIOS = [
    (three_in_order, ["a", "b", "c"]),
    (run_the_middle_one, ["b", "c", "main a", "a"]),
    (insert_and_remove, ["main a b c", "main b c a", "b", "c", "a"]),
    (two_turns, ["a1", "b1", "main a b", "a2", "b2", "main"]),
    (run_a_paused_one, ["a main b", "main b", "b"]),
    (switch_to_a_scheduled_one, ["a, main paused True", "b", "main"]),
    (error_under_run, ["a", "ValueError", "main c", "c"]),
    (error_under_schedule, ["a", "ValueError", "main c", "c"]),
    (error_while_main_receives, ["a", "ValueError", "main c", "c", 0]),
    (error_while_main_sends, ["a", "ValueError", "main c", "c", 0]),
    (error_in_a_directly_run_one, ["ValueError", "main a c", "a", "c"]),
    (error_in_one_run_by_a_tasklet, ["main ValueError", "main a", None, "a continues"]),
    (error_under_an_inner_run, ["a ValueError", "main back"]),
    (kill_a_paused_one, ["a: a main x y", "main x y", "main x y b", "x", "y", "b: b"]),
    (kill_a_scheduled_one, ["b: b c main a", "c", "main a", "a"]),
    (kill_a_fresh_one, ["c", "main a", "a"]),
    (kill_a_fresh_one_pending, ["main a b c", "a", "c", False]),
    (kill_waiting_receivers, ["a b c", "a c", -1, "main x a", "x"]),
    (throw_at_main, ["main IndexError", "main t", None]),
    (tempval_of_blocked_ones, [6, "X", "value", "KeyError in the sender"]),
    (schedule_remove_and_inject, ["rv", "inj"]),
    (close_with_waiters, [(True, False), "served", True, "waiting", "StopIteration"]),
    (sequence_of_switches, ["a1", "a2", "main"]),
]


@pytest.mark.parametrize("scenario, expected", SCENARIOS, ids=[scenario.__name__ for scenario, _ in SCENARIOS])
def test_scenario(scenario, expected):
    assert list(scenario()) == expected


@pytest.mark.parametrize("scenario, expected", SCENARIOS, ids=[scenario.__name__ for scenario, _ in SCENARIOS])
def test_scenario_in_another_thread(scenario, expected):
    """A private scheduler of a plain thread follows the same rules, with its own main."""
    import threading

    results = []

    def body():
        try:
            results.append(list(scenario()))
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert results == [expected]
