# SPDX-License-Identifier: MIT
"""Channels inside one thread: send, receive, exceptions as messages, sequences, closing, attributes.

The order of execution per preference is in test_golden.py, channels between threads in test_threads.py.
"""

import weakref

import pytest
import stackless


class Sent(Exception):
    pass


@pytest.fixture
def channel():
    return stackless.channel()


def spawn(function, *args):
    return stackless.tasklet(function)(*args)


# exchange


def test_receiver_first(channel):
    got = []
    spawn(lambda: got.append(channel.receive()))
    stackless.run()
    assert channel.balance == -1
    assert channel.send("value") is None
    assert got == ["value"]
    assert channel.balance == 0


def test_sender_first(channel):
    results = []
    spawn(lambda: results.append(channel.send("value")))
    stackless.run()
    assert channel.balance == 1
    assert channel.receive() == "value"
    stackless.run()
    assert results == [None]


def test_values_keep_their_identity(channel):
    for value in (None, object(), [], stackless.getcurrent(), channel, Sent, Sent("not raised"), 0):
        spawn(channel.send, value)
        assert channel.receive() is value
    stackless.run()


def test_waiters_are_served_first_in_first_out(channel):
    got = []
    for name in "abc":
        spawn(lambda name=name: got.append((name, channel.receive())))
    stackless.run()
    for value in range(3):
        channel.send(value)
    assert got == [("a", 0), ("b", 1), ("c", 2)]
    for value in range(5):
        spawn(channel.send, value)
    stackless.run()
    assert channel.balance == 5
    assert [channel.receive() for _ in range(5)] == [0, 1, 2, 3, 4]
    stackless.run()


def test_ping_pong_between_tasklets(channel):
    back = stackless.channel()
    got = []

    def ping():
        for number in range(1000):
            channel.send(number)
            got.append(back.receive())

    def pong():
        for _ in range(1000):
            back.send(channel.receive() * 2)

    spawn(ping)
    spawn(pong)
    stackless.run()
    assert got == [2 * number for number in range(1000)]
    assert channel.balance == back.balance == 0


def test_fan_in_loses_nothing(channel):
    got = []

    def producer(number):
        for index in range(20):
            channel.send((number, index))

    def consumer():
        for _ in range(100 * 20):
            got.append(channel.receive())

    for number in range(100):
        spawn(producer, number)
    spawn(consumer)
    stackless.run()
    assert sorted(got) == [(number, index) for number in range(100) for index in range(20)]
    for number in range(100):
        assert [index for producer_number, index in got if producer_number == number] == list(range(20))


def test_one_tasklet_waits_on_one_channel_only(channel):
    other = stackless.channel()
    t = spawn(channel.receive)
    stackless.run()
    assert t._channel is channel
    assert other.queue is None
    channel.send(None)


def test_send_and_receive_argument_errors(channel):
    for name in ("send", "send_sequence"):
        for args in ((), (1, 2)):
            with pytest.raises(TypeError, match="takes exactly one argument"):
                getattr(channel, name)(*args)
    for name in ("receive", "open", "close"):
        with pytest.raises(TypeError, match="takes no arguments"):
            getattr(channel, name)(1)
    assert channel.balance == 0


# exceptions as messages


def test_send_exception(channel):
    caught = []

    def receiver():
        try:
            channel.receive()
        except Sent as error:
            caught.append(error.args)

    spawn(receiver)
    stackless.run()
    assert channel.send_exception(Sent, 1, 2) is None
    assert caught == [(1, 2)]


def test_send_exception_to_a_later_receiver(channel):
    t = spawn(channel.send_exception, Sent, "later")
    stackless.schedule()
    assert channel.balance == 1
    with pytest.raises(Sent, match="later"):
        channel.receive()
    stackless.run()
    assert not t.alive


def test_send_exception_argument_errors(channel):
    with pytest.raises(TypeError, match=r"send_exception\(\) takes at least 1 argument"):
        channel.send_exception()
    for wrong in (5, int, Sent(), "string", None):
        with pytest.raises(TypeError, match="channel.send_exception needs Exception or string subclass as first parameter"):
            channel.send_exception(wrong)
    assert channel.balance == 0


@pytest.mark.parametrize(
    "args, expected",
    [
        ((Sent,), ()),
        ((Sent, None), ()),
        ((Sent, 5), (5,)),
        ((Sent, (1, 2)), (1, 2)),
        ((Sent("ready"),), ("ready",)),
        ((Sent, Sent("inst")), ("inst",)),
    ],
)
def test_send_throw(channel, args, expected):
    spawn(channel.send_throw, *args)
    with pytest.raises(Sent) as info:
        channel.receive()
    assert info.value.args == expected
    stackless.run()


def test_send_throw_passes_the_traceback_on(channel):
    def origin():
        raise Sent("with traceback")

    def sender():
        try:
            origin()
        except Sent as error:
            channel.send_throw(Sent, error, error.__traceback__)

    spawn(sender)
    with pytest.raises(Sent) as info:
        channel.receive()
    assert "origin" in [entry.name for entry in info.traceback]
    stackless.run()


def test_send_throw_argument_errors(channel):
    with pytest.raises(TypeError, match="third argument must be a traceback object"):
        channel.send_throw(Sent, None, 5)
    with pytest.raises(TypeError, match="instance exception may not have a separate value"):
        channel.send_throw(Sent(), 5)
    with pytest.raises(TypeError, match="exceptions must be classes, or instances, not int"):
        channel.send_throw(5)
    with pytest.raises(TypeError):
        channel.send_throw()
    with pytest.raises(TypeError, match=r"at most 3 (positional )?argument|at most 3, got"):
        channel.send_throw(Sent, None, None, 4)
    assert channel.balance == 0


# sequences and iteration


def test_send_sequence(channel):
    counts = []
    spawn(lambda: counts.append(channel.send_sequence(iter("abc"))))
    assert [channel.receive() for _ in range(3)] == ["a", "b", "c"]
    stackless.run()
    assert counts == [3]
    assert channel.send_sequence([]) == 0


def test_send_sequence_passes_the_iterators_error_on(channel):
    def numbers():
        yield 1
        raise Sent("iterator")

    caught = []

    def sender():
        try:
            channel.send_sequence(numbers())
        except Sent as error:
            caught.append(error.args)

    spawn(sender)
    assert channel.receive() == 1
    stackless.run()
    assert caught == [("iterator",)]
    with pytest.raises(TypeError):
        channel.send_sequence(5)


def test_send_sequence_stops_when_the_sender_is_hit(channel):
    caught = []

    def sender():
        try:
            channel.send_sequence(range(100))
        except Sent:
            caught.append("hit")

    t = spawn(sender)
    assert [channel.receive() for _ in range(3)] == [0, 1, 2]
    stackless.run()
    t.throw(Sent)
    assert caught == ["hit"]
    assert channel.balance == 0


def test_iteration_until_closed(channel):
    got = []

    def receiver():
        for value in channel:
            got.append(value)
        got.append("end")

    spawn(receiver)
    stackless.run()
    for value in range(3):
        channel.send(value)
    channel.close()
    assert got == [0, 1, 2], "close wakes nobody"
    channel.send("last")
    assert got == [0, 1, 2, "last", "end"]


def test_iter_is_the_channel_itself(channel):
    assert iter(channel) is channel
    with pytest.raises(TypeError):
        len(channel)


def test_a_sent_stop_iteration_ends_a_loop(channel):
    got = []

    def receiver():
        for value in channel:
            got.append(value)
        got.append("end")

    spawn(receiver)
    stackless.run()
    channel.send(1)
    channel.send_exception(StopIteration)
    assert got == [1, "end"]


def test_a_sent_stop_iteration_is_raised_by_receive(channel):
    spawn(channel.send_exception, StopIteration)
    with pytest.raises(StopIteration):
        channel.receive()
    stackless.run()


# closing


def test_close_and_open(channel):
    assert (channel.closing, channel.closed) == (False, False)
    assert channel.close() is None
    assert (channel.closing, channel.closed) == (True, True)
    assert channel.open() is None
    assert (channel.closing, channel.closed) == (False, False)


def test_a_closed_channel_refuses_to_block(channel):
    channel.close()
    with pytest.raises(ValueError, match="Send/receive operation on a closed channel"):
        channel.receive()
    with pytest.raises(ValueError, match="Send/receive operation on a closed channel"):
        channel.send(1)
    with pytest.raises(ValueError, match="closed channel"):
        channel.send_exception(Sent)
    with pytest.raises(ValueError, match="closed channel"):
        channel.send_throw(Sent)
    with pytest.raises(ValueError, match="closed channel"):
        channel.send_sequence([1])
    with pytest.raises(StopIteration):
        next(channel)
    assert channel.balance == 0
    assert stackless.getruncount() == 1


def test_a_closing_channel_still_serves_waiting_senders(channel):
    for value in range(3):
        spawn(channel.send, value)
    stackless.run()
    channel.close()
    assert (channel.closing, channel.closed) == (True, False)
    assert list(channel) == [0, 1, 2]
    assert channel.closed
    stackless.run()


def test_reopened_channel_works(channel):
    channel.close()
    channel.open()
    spawn(channel.send, 1)
    assert channel.receive() == 1
    stackless.run()


# attributes


def test_balance_and_queue(channel):
    assert channel.balance == 0 and channel.queue is None
    receivers = [spawn(channel.receive) for _ in range(3)]
    stackless.run()
    assert channel.balance == -3
    assert channel.queue is receivers[0]
    for _ in receivers:
        channel.send(None)
    senders = [spawn(channel.send, number) for number in range(2)]
    stackless.run()
    assert channel.balance == 2
    assert channel.queue is senders[0]
    for _ in senders:
        channel.receive()
    stackless.run()


@pytest.mark.parametrize("name", ["balance", "closing", "closed", "queue"])
def test_read_only_attributes(channel, name):
    with pytest.raises(AttributeError):
        setattr(channel, name, 1)


def test_preference(channel):
    assert channel.preference == -1
    for value, expected in ((0, 0), (1, 1), (-1, -1), (17, 1), (-17, -1), (True, 1), (False, 0)):
        channel.preference = value
        assert channel.preference == expected
    for wrong in ("x", None, 1.5):
        with pytest.raises(TypeError, match="preference must be set to an integer"):
            channel.preference = wrong
    assert channel.preference == 0


def test_schedule_all(channel):
    assert channel.schedule_all == 0
    assert type(channel.schedule_all) is int
    for value, expected in ((1, 1), (0, 0), (True, 1), (False, 0), (17, 1), (-1, 1)):
        channel.schedule_all = value
        assert channel.schedule_all == expected
    for wrong in ("x", None, 1.5):
        with pytest.raises(TypeError, match="must be set to a bool or integer"):
            channel.schedule_all = wrong


def test_flags_are_bools(channel):
    assert type(channel.closing) is bool
    assert type(channel.closed) is bool


def test_closing_does_not_change_preference(channel):
    channel.preference = 1
    channel.schedule_all = 1
    channel.close()
    channel.open()
    assert (channel.preference, channel.schedule_all) == (1, 1)


# tempval of blocked tasklets


def test_changing_the_value_of_a_blocked_sender(channel):
    t = spawn(channel.send, 5)
    stackless.run()
    t.tempval = 6
    assert channel.receive() == 6
    stackless.run()


def test_tempval_of_a_blocked_receiver_is_what_send_returns(channel):
    t = spawn(channel.receive)
    stackless.run()
    t.tempval = "X"
    assert channel.send(9) == "X"


def test_a_bomb_in_a_blocked_receiver_explodes_in_the_sender(channel):
    got = []
    t = spawn(lambda: got.append(channel.receive()))
    stackless.run()
    t.tempval = stackless.bomb(Sent, Sent("from the receiver"))
    with pytest.raises(Sent, match="from the receiver"):
        channel.send("value")
    stackless.run()
    assert got == ["value"]


def test_a_bomb_as_a_value_explodes_in_the_receiver(channel):
    spawn(channel.send, stackless.bomb(Sent, Sent("boom")))
    with pytest.raises(Sent, match="boom"):
        channel.receive()
    stackless.run()


# removal from the queue


@pytest.mark.parametrize("victim", [0, 1, 2])
@pytest.mark.parametrize("pending", [False, True])
def test_killing_one_in_the_queue_removes_just_that(channel, victim, pending):
    tasklets = [spawn(channel.receive) for _ in range(3)]
    stackless.run()
    tasklets[victim].kill(pending=pending)
    assert channel.balance == -2
    rest = [t for number, t in enumerate(tasklets) if number != victim]
    assert channel.queue is rest[0]
    assert rest[0].next is rest[1] and rest[1].prev is rest[0]
    assert rest[1].next is None
    stackless.run()
    for _ in rest:
        channel.send(None)
    assert channel.queue is None


# the type


def test_construction_ignores_arguments():
    assert stackless.channel(1, 2, key=3).balance == 0


def test_identity_truth_and_weak_references(channel):
    assert bool(channel)
    assert channel == channel and channel != stackless.channel()
    assert {channel: 1}[channel] == 1
    reference = weakref.ref(channel)
    assert reference() is channel


def test_subclass_overrides_are_not_called_from_inside(trace):
    class Sub(stackless.channel):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def send(self, value):
            trace.append("send")
            return super().send(value)

        def receive(self):
            trace.append("receive")
            return super().receive()

    channel = Sub("named")
    assert channel.name == "named"
    spawn(channel.send_sequence, [1, 2])
    assert next(channel) == 1
    assert next(channel) == 2
    stackless.run()
    assert trace == []
    spawn(channel.send, 3)
    assert channel.receive() == 3
    stackless.run()
    assert trace == ["receive", "send"]


def test_an_unused_channel_disappears(channel):
    local = stackless.channel()
    spawn(local.send, 1)
    local.receive()
    stackless.run()
    reference = weakref.ref(local)
    del local
    assert reference() is None
