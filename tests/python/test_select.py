# SPDX-License-Identifier: MIT
"""stackless.select()."""

import collections
import gc
import threading
import weakref

import pytest
import stackless
from stackless import channel, schedule, select, tasklet

from support import run_script, wait_for

FOREVER = 30.0


def go(function, *args):
    return tasklet(function)(*args)


# one is ready


def test_it_receives_from_the_ready_one():
    a, b = channel(capacity=1), channel(capacity=1)
    b.send("x")
    assert select([a, b]) == (1, "x")
    assert b.buffered == 0


def test_it_sends_to_the_ready_one():
    full, free = channel(capacity=1), channel(capacity=1)
    full.send(0)
    assert select([(full, 1), (free, 2)]) == (1, None)
    assert free.receive() == 2 and full.buffered == 1


def test_it_meets_who_waits_in_a_plain_channel():
    a, b, got = channel(), channel(), []
    go(lambda: got.append(b.receive()))
    go(a.send, "from a")
    stackless.run()
    assert select([a]) == (0, "from a")
    assert select([a, (b, "to b")]) == (1, None)
    stackless.run()
    assert got == ["to b"]


def test_the_choice_among_ready_ones_is_fair():
    channels = [channel(capacity=1) for _ in range(4)]
    count = collections.Counter()
    for _ in range(2000):
        for c in channels:
            c.try_send(None)
        count[select(channels)[0]] += 1
    assert sorted(count) == [0, 1, 2, 3]
    assert min(count.values()) > 300  # 500 each on average


def test_cases_may_be_any_iterable_and_the_same_channel_twice():
    c = channel(capacity=1)
    assert select(iter([(c, 1), c]))[0] == 0
    assert select((c, c))[1] == 1


# none is ready


def test_default_does_not_wait():
    c = channel()
    assert select([c], default="nothing") == (-1, "nothing")
    assert select([], default=None) == (-1, None)
    assert c.balance == 0


@pytest.mark.parametrize("seconds", [0, 0.001])
def test_timeout(seconds):
    a, b = channel(), channel()
    with pytest.raises(TimeoutError, match="no case became ready"):
        select([a, (b, 1)], timeout=seconds)
    assert not a.try_send(1) and b.try_receive("no") == "no"  # nobody waits any more


def test_it_waits_for_the_first():
    a, b, log = channel(), channel(), []
    t = go(lambda: log.append(select([a, (b, "sent")])))
    stackless.run()
    assert log == [] and t.alive and not t.blocked and not t.scheduled and not t.paused
    assert a.balance == b.balance == 0 and a.queue is None
    assert b.receive() == "sent"
    stackless.run()
    assert log == [(1, None)]
    assert not a.try_send(1)

    go(lambda: log.append(select([a, b])))
    stackless.run()
    a.send("x")
    stackless.run()
    assert log[1:] == [(0, "x")]


def test_two_selects_meet():
    a, b, log = channel(), channel(), []
    go(lambda: log.append(("left", select([(a, 1), b]))))
    go(lambda: log.append(("right", select([(b, 2), a]))))
    stackless.run()
    assert sorted(log) in ([("left", (0, None)), ("right", (1, 1))], [("left", (1, 2)), ("right", (0, None))])


def test_it_does_not_meet_itself():
    c = channel()
    with pytest.raises(TimeoutError):
        select([c, (c, 1)], timeout=0.001)


def test_who_came_first_is_served_first():
    c, other, log = channel(), channel(), []

    def plain(name):
        log.append((name, c.receive()))

    def chooses(name):
        log.append((name, select([other, c])[1]))

    for i, body in enumerate([plain, chooses, plain, chooses, chooses, plain]):
        go(body, i)
    stackless.run()
    c.preference = 0
    for i in range(6):
        c.send(i)
    stackless.run()
    assert log == [(i, i) for i in range(6)]


def test_a_buffer_takes_the_value_of_an_arm_that_waits():
    c, log = channel(capacity=1), []
    c.send("first")
    go(lambda: log.append(select([(c, "second")])))
    stackless.run()
    assert c.receive() == "first"
    assert c.buffered == 1
    stackless.run()
    assert log == [(0, None)] and c.receive() == "second"


def test_preference_and_schedule_all_hold_for_arms():
    c, log = channel(), []

    def waits():
        log.append(select([c]))

    go(waits)
    stackless.run()
    c.send(1)  # the receiver is preferred
    assert log == [(0, 1)]
    go(waits)
    stackless.run()
    c.preference = 1
    c.send(2)
    assert log == [(0, 1)]
    stackless.run()
    assert log == [(0, 1), (0, 2)]


# errors


@pytest.mark.parametrize("bad", [3, ["x"], (1, 2), (channel(), 1, 2), None])
def test_a_bad_case_names_its_index(bad):
    with pytest.raises(TypeError, match="case 1 must be a channel to receive from"):
        select([channel(capacity=1), bad])


def test_bad_arguments():
    with pytest.raises(TypeError, match="cases must be a sequence"):
        select(5)
    with pytest.raises(TypeError, match="a timeout or a default"):
        select([channel()], timeout=1, default=2)
    with pytest.raises(ValueError, match="without cases"):
        select([])
    with pytest.raises(ValueError, match="negative"):
        select([channel()], timeout=-1)


def test_an_exception_that_was_sent():
    c = channel(capacity=1)
    c.send_exception(KeyError, "k")
    with pytest.raises(KeyError, match="k"):
        select([c])
    log = []

    def waits():
        try:
            select([c])
        except KeyError:
            log.append("raised")

    go(waits)
    stackless.run()
    c.send_exception(KeyError)
    stackless.run()
    assert log == ["raised"]


def test_a_closed_channel():
    a, b = channel(), channel(capacity=2)
    b.send(1)
    b.close()
    assert select([a, b]) == (1, 1)  # what is there comes first
    with pytest.raises(ValueError, match="case 1: .*closed channel"):
        select([a, b])
    with pytest.raises(ValueError, match="case 0: .*closed channel"):
        select([(b, 1)], default=None)


def test_main_in_a_deadlock():
    with pytest.raises(RuntimeError, match="Deadlock"):
        select([channel()])


def test_main_waits_and_the_last_tasklet_ends():
    c = channel()
    go(lambda: None)
    with pytest.raises(RuntimeError, match=r"the main tasklet is in select\(\) without a partner"):
        select([c])
    assert not c.try_send(1)


def test_block_trap_and_switch_trap():
    me, c = stackless.getcurrent(), channel()
    me.block_trap = True
    with pytest.raises(RuntimeError, match="does not like to be blocked"):
        select([c])
    me.block_trap = False
    stackless.switch_trap(1)
    try:
        with pytest.raises(RuntimeError, match="switch_trap"):
            select([c])
    finally:
        stackless.switch_trap(-1)
    assert not c.try_send(1)


@pytest.mark.parametrize("exception", [KeyError, stackless.TaskletExit])
def test_thrown_out_of_it(exception):
    a, b, log = channel(), channel(), []

    def waits():
        try:
            select([a, (b, 1)])
        except exception:
            log.append("thrown")

    t = go(waits)
    stackless.run()
    t.throw(exception)
    assert log == ["thrown"] and not t.alive
    assert not a.try_send(1) and b.try_receive("no") == "no"


def test_somebody_inserts_it():
    """It looks again and waits on."""
    c, log = channel(), []
    t = go(lambda: log.append(select([c])))
    stackless.run()
    t.insert()
    stackless.run()
    assert log == [] and t.alive
    c.send(5)
    stackless.run()
    assert log == [(0, 5)]


def test_within_a_timeout_block():
    a = channel()
    with pytest.raises(TimeoutError, match="the block did not end"):
        with stackless.timeout(0.002):
            select([a])
    assert not a.try_send(1)


def test_nothing_is_kept_alive():
    class Thing:
        pass

    a, b, thing = channel(capacity=1), channel(), Thing()
    dead = [weakref.ref(o) for o in (a, b, thing)]
    assert select([(a, None), (b, thing)]) == (0, None)
    with pytest.raises(TimeoutError):
        select([(b, thing)], timeout=0.001)
    del a, b, thing
    gc.collect()
    assert [d() for d in dead] == [None] * 3


# threads, fork, exit


def test_a_partner_in_another_thread():
    a, b, got = channel(), channel(), []

    def chooses():
        for _ in range(100):
            got.append(select([a, b], timeout=FOREVER))

    thread = threading.Thread(target=chooses)
    thread.start()
    for i in range(100):
        (b if i % 2 else a).send(i, timeout=FOREVER)
    thread.join()
    assert got == [(i % 2, i) for i in range(100)]


def test_a_thread_that_ends_while_its_tasklet_chooses():
    c = channel()

    def body():
        go(select, [c])
        stackless.run()

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    wait_for(lambda: c.try_send(1) is False, "the arm to go")


def test_exit_while_one_waits(mode):
    run_script(
        """
        import stackless
        c = stackless.channel()
        t = stackless.tasklet(stackless.select)([c, (c, 1)])
        stackless.run()
        """,
        env=mode,
    )


def test_fork_while_one_waits(mode):
    done = run_script(
        """
        import os, stackless
        a, b = stackless.channel(), stackless.channel()
        stackless.tasklet(stackless.select)([a, (b, 1)])
        stackless.run()
        child = os.fork()
        if child == 0:
            ok = not a.try_send(1) and b.try_receive(2) == 2
            os._exit(0 if ok else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), a.try_send(1))
        """,
        env=mode,
        options=("-W", "ignore"),
    )
    assert done.lines == ["0 True"]


def test_every_message_once():
    """Producers and consumers that choose among everything, some with a deadline."""
    channels = [channel(capacity=n % 3) for n in range(4)]
    sent, received = [], []

    def produces(who):
        for i in range(150):
            try:
                select([(c, (who, i)) for c in channels], timeout=0.0005 if i % 10 == 0 else FOREVER)
                sent.append((who, i))
            except TimeoutError:
                pass

    def consumes(who):
        while True:
            try:
                received.append(select(channels, timeout=0.0005 if len(received) % 7 == 0 else FOREVER)[1])
            except TimeoutError:
                schedule()
            if received and received[-1] == "end":
                return

    producers = [go(produces, who) for who in range(6)]
    consumers = [go(consumes, who) for who in range(3)]
    wait_for(lambda: not any(p.alive for p in producers), "the producers")
    for _ in consumers:
        channels[0].send("end", timeout=FOREVER)
    wait_for(lambda: not any(c.alive for c in consumers), "the consumers")
    received = [r for r in received if r != "end"]
    for c in channels:
        while c.buffered:
            received.append(c.receive())
    assert sorted(received) == sorted(sent) and len(set(sent)) == len(sent) > 500
