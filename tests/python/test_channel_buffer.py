# SPDX-License-Identifier: MIT
"""Channels with a capacity, operations with a timeout, and those that never block."""

import gc
import threading
import weakref

import pytest
import stackless
from stackless import channel, schedule, tasklet

from support import wait_for

FOREVER = 30.0  # a timeout that must not run out


def go(function, *args):
    return tasklet(function)(*args)


# making one


def test_without_a_capacity_it_is_a_plain_channel():
    c = channel()
    assert (c.capacity, c.buffered, c.preference) == (0, 0, -1)
    assert channel(1, 2, x=3).capacity == 0  # ignored, as ever


def test_with_a_capacity_the_caller_goes_on_by_default():
    c = channel(capacity=3)
    assert (c.capacity, c.buffered, c.preference) == (3, 0, 0)


@pytest.mark.parametrize("bad, error", [("x", TypeError), (1.5, TypeError), (None, TypeError),
                                        (-1, ValueError), (2**24 + 1, ValueError), (2**80, ValueError)])
def test_a_bad_capacity_names_itself(bad, error):
    with pytest.raises(error, match=r"capacity must be .*got"):
        channel(capacity=bad)


def test_a_subclass_may_have_arguments_of_its_own():
    class Named(channel):
        def __init__(self, name, capacity=0):
            self.name = name

    c = Named("x", capacity=2)
    assert (c.name, c.capacity) == ("x", 2)


@pytest.mark.parametrize("name", ["capacity", "buffered"])
def test_its_attributes_are_read_only(name):
    with pytest.raises(AttributeError):
        setattr(channel(capacity=1), name, 5)


# the buffer


def test_values_come_out_in_their_order():
    c = channel(capacity=3)
    for round in range(5):  # more than once round the ring
        for i in range(3):
            c.send((round, i))
            assert c.buffered == i + 1 and c.balance == 0
        assert [c.receive() for _ in range(3)] == [(round, 0), (round, 1), (round, 2)]
    assert c.buffered == 0


def test_a_sender_runs_ahead_by_the_capacity_and_no_further():
    c = channel(capacity=2)
    log = []

    def produce():
        for i in range(6):
            c.send(i)
            log.append(i)

    producer = go(produce)
    stackless.run()
    assert log == [0, 1] and c.balance == 1 and producer.blocked and c.queue is producer
    assert c.receive() == 0
    assert c.buffered == 2 and c.balance == 0  # its value took the place at once
    stackless.run()
    assert log == [0, 1, 2] and c.balance == 1
    assert [c.receive(), c.receive()] == [1, 2]
    stackless.run()
    assert [c.receive(), c.receive(), c.receive()] == [3, 4, 5]
    stackless.run()
    assert log == list(range(6)) and not producer.alive


def test_a_receiver_that_waits_is_served_past_the_buffer():
    c = channel(capacity=5)
    got = []
    go(lambda: got.append(c.receive()))
    go(lambda: got.append(c.receive()))
    stackless.run()
    assert c.balance == -2
    c.send("a")
    assert c.buffered == 0 and c.balance == -1 and got == []  # the caller goes on
    c.send("b")
    c.send("c")
    assert c.buffered == 1
    stackless.run()
    assert got == ["a", "b"] and c.receive() == "c"


def test_preference_applies_where_two_meet():
    c = channel(capacity=1)
    c.preference = -1
    got = []
    go(lambda: got.append(c.receive()))
    stackless.run()
    c.send("x")
    assert got == ["x"]  # switched to the receiver


def test_none_exceptions_and_bombs_go_through_the_buffer():
    c = channel(capacity=4)
    c.send(None)
    c.send_exception(KeyError, "k")
    c.send(stackless.bomb(ValueError, ValueError("v"), None))
    assert c.buffered == 3
    assert c.receive() is None
    with pytest.raises(KeyError, match="k"):
        c.receive()
    with pytest.raises(ValueError, match="v"):
        c.receive()


def test_send_sequence_fills_and_then_waits():
    c = channel(capacity=2)
    sent = []
    go(lambda: sent.append(c.send_sequence(range(5))))
    stackless.run()
    assert c.buffered == 2 and c.balance == 1
    assert [c.receive() for _ in range(5)] == list(range(5))
    stackless.run()
    assert sent == [5]


def test_a_closed_one_is_drained():
    c = channel(capacity=3)
    c.send(1)
    c.send(2)
    c.close()
    assert c.closing and not c.closed
    with pytest.raises(ValueError, match="closed channel"):
        c.send(3)  # there would be room
    assert c.buffered == 2
    assert list(c) == [1, 2]
    assert c.closed
    with pytest.raises(ValueError, match="closed channel"):
        c.receive()


def test_a_killed_sender_takes_its_value_along():
    c = channel(capacity=1)
    c.send("kept")
    victim = go(c.send, "lost")
    go(c.send, "next")
    stackless.run()
    assert c.balance == 2
    victim.kill()
    assert c.balance == 1
    assert [c.receive(), c.receive()] == ["kept", "next"]
    stackless.run()


def test_block_trap_minds_only_what_blocks():
    c = channel(capacity=1)
    me = stackless.getcurrent()
    me.block_trap = True
    c.send(1)
    with pytest.raises(RuntimeError, match="does not like to be blocked"):
        c.send(2)
    me.block_trap = False
    assert c.receive() == 1


def test_what_it_holds_is_freed_with_it():
    class Thing:
        pass

    c = channel(capacity=3)
    thing = Thing()
    gone = weakref.ref(thing)
    c.send(thing)
    del thing
    assert gone() is not None
    del c
    assert gone() is None


def test_a_channel_in_its_own_buffer_is_garbage():
    c = channel(capacity=2)
    gone = weakref.ref(c)
    c.send([c])
    c.send(None)
    del c
    gc.collect()
    assert gone() is None


def test_between_threads():
    c, results = channel(capacity=4), []

    def consume():
        for value in c:
            results.append(value)

    consumer = threading.Thread(target=consume)
    consumer.start()
    for i in range(500):
        c.send(i, timeout=FOREVER)
    wait_for(lambda: c.balance < 0 and not c.buffered, "the consumer")
    c.close()
    c.send_exception(StopIteration)  # to the one that waits; close() wakes nobody
    consumer.join()
    assert results == list(range(500))


# never blocking


def test_try_send_and_try_receive_with_a_buffer():
    c = channel(capacity=2)
    assert c.try_receive() is None
    assert c.try_receive("nothing") == "nothing"
    assert [c.try_send(1), c.try_send(2), c.try_send(3)] == [True, True, False]
    assert [c.try_receive(), c.try_receive("x"), c.try_receive("x")] == [1, 2, "x"]


def test_try_without_a_buffer_needs_a_partner():
    c = channel()
    got = []
    assert c.try_send(1) is False and c.balance == 0
    go(lambda: got.append(c.receive()))
    stackless.run()
    assert c.try_send(2) is True
    assert got == [2]
    go(c.send, 3)
    stackless.run()
    assert c.try_receive() == 3
    stackless.run()


def test_try_receive_raises_what_was_sent():
    c = channel(capacity=1)
    c.send_exception(KeyError)
    with pytest.raises(KeyError):
        c.try_receive()


def test_try_on_a_closed_channel():
    c = channel(capacity=1)
    c.send(1)
    c.close()
    with pytest.raises(ValueError, match="closed channel"):
        c.try_send(2)
    assert c.try_receive() == 1
    with pytest.raises(ValueError, match="closed channel"):
        c.try_receive()


# timeouts


@pytest.mark.parametrize("capacity", [0, 1])
@pytest.mark.parametrize("seconds", [0, 0.001])
def test_receive_gives_up(capacity, seconds):
    c = channel(capacity=capacity)
    with pytest.raises(TimeoutError, match="nobody sent"):
        c.receive(timeout=seconds)
    assert c.balance == 0 and not stackless.getcurrent().blocked


@pytest.mark.parametrize("seconds", [0, 0.001])
def test_send_gives_up_and_keeps_its_value(seconds):
    class Thing:
        pass

    c = channel(capacity=1)
    c.send("first")
    thing = Thing()
    gone = weakref.ref(thing)
    with pytest.raises(TimeoutError, match="nobody received"):
        c.send(thing, timeout=seconds)
    assert c.balance == 0 and c.buffered == 1
    del thing
    assert gone() is None
    assert c.receive() == "first"
    with pytest.raises(TimeoutError):
        c.send_exception(KeyError, timeout=seconds) or c.send_exception(KeyError, timeout=seconds)
    with pytest.raises(KeyError):
        c.receive()


def test_a_partner_in_time():
    c = channel()
    got = []

    def receives():
        got.append(c.receive(timeout=FOREVER))

    go(receives)
    stackless.schedule()
    assert c.balance == -1  # it counts as one that waits
    c.send("x")
    stackless.run()
    assert got == ["x"]

    def sends():
        c.send("y", timeout=FOREVER)
        got.append("sent")

    go(sends)
    stackless.schedule()
    assert c.balance == 1 and c.queue is not None
    assert c.receive() == "y"
    stackless.run()
    assert got == ["x", "sent"]


def test_run_waits_for_the_timeout():
    c, log = channel(), []

    def waits():
        try:
            c.receive(timeout=0.002)
        except TimeoutError:
            log.append("over")

    go(waits)
    stackless.run()
    assert log == ["over"]


def test_an_exception_arrives_first():
    c, log = channel(), []

    def waits():
        try:
            c.receive(timeout=FOREVER)
        except KeyError:
            log.append("thrown")

    t = go(waits)
    schedule()
    t.throw(KeyError)
    stackless.run()
    assert log == ["thrown"] and c.balance == 0


def test_killed_while_it_waits_with_a_timeout():
    c = channel()
    t = go(lambda: c.receive(timeout=FOREVER))
    schedule()
    t.kill()
    assert c.balance == 0 and not t.alive


def test_send_sequence_has_one_timeout_for_all():
    c = channel(capacity=2)
    with pytest.raises(TimeoutError):
        c.send_sequence(range(5), timeout=0.002)
    assert [c.receive(), c.receive()] == [0, 1] and c.buffered == 0


def test_none_means_for_ever():
    c = channel()
    go(c.send, 1)
    schedule()
    assert c.receive(timeout=None) == 1
    stackless.run()
    with pytest.raises(RuntimeError, match="Deadlock"):
        c.receive(timeout=None)


def test_a_timeout_is_no_deadlock():
    with pytest.raises(TimeoutError):
        channel().receive(timeout=0.001)


@pytest.mark.parametrize("bad, error", [(-1, ValueError), (float("nan"), ValueError), ("x", TypeError)])
@pytest.mark.parametrize("call", ["send", "receive", "send_sequence", "send_exception", "send_throw"])
def test_a_bad_timeout(call, bad, error):
    c = channel(capacity=5)
    c.send(1)
    arguments = {"send": (1,), "receive": (), "send_sequence": ([],), "send_exception": (KeyError,),
                 "send_throw": (KeyError,)}[call]
    with pytest.raises(error):
        getattr(c, call)(*arguments, timeout=bad)
    assert c.buffered == 1


@pytest.mark.parametrize("call", ["send", "receive", "send_sequence", "send_exception", "send_throw"])
def test_other_keywords_are_refused(call):
    arguments = {"receive": (), "send_exception": (KeyError,), "send_throw": (KeyError,)}.get(call, (1,))
    with pytest.raises(TypeError, match="no keyword arguments but timeout"):
        getattr(channel(), call)(*arguments, patience=1)


def test_timeouts_of_two_sides_race():
    """Whoever wins, a message is received exactly if its send() returned."""
    c = channel()
    sent, received = [], []

    def sends(i):
        try:
            c.send(i, timeout=(i % 7) * 0.0001)
            sent.append(i)
        except TimeoutError:
            pass

    def receives(i):
        try:
            received.append(c.receive(timeout=(i % 5) * 0.0001))
        except TimeoutError:
            pass

    for i in range(300):
        go(sends, i)
        go(receives, i)
        if i % 3 == 0:
            stackless.sleep(0.0001)
    stackless.run()
    assert sorted(sent) == sorted(received) and len(sent) > 10
    assert c.balance == 0
