# SPDX-License-Identifier: MIT
"""Deadlock: which tasklet is told, with which words, and that it can go on afterwards.

Scenarios run in one thread. A child interpreter is used where another living thread would
turn the deadlock into waiting.
"""

import pytest
import stackless

from support import run_script

DEADLOCK = r"Deadlock: the last runnable tasklet cannot be blocked\."


@pytest.mark.parametrize("operation", ["send", "receive"])
def test_main_alone_blocks(operation):
    channel = stackless.channel()
    with pytest.raises(RuntimeError, match=DEADLOCK):
        channel.send(1) if operation == "send" else channel.receive()
    assert channel.balance == 0
    assert channel.queue is None
    main = stackless.getmain()
    assert main.scheduled and not main.blocked
    assert stackless.getruncount() == 1


@pytest.mark.parametrize(
    "operation, text",
    [
        ("receive", r"the main tasklet is receiving without a sender available\."),
        ("send", r"the main tasklet is sending without a receiver available\."),
    ],
)
def test_main_blocked_and_the_last_tasklet_ends(operation, text, trace):
    channel = stackless.channel()
    trace.logger("ran")
    with pytest.raises(RuntimeError, match=text):
        channel.send(1) if operation == "send" else channel.receive()
    assert trace == ["ran"]
    assert channel.balance == 0
    assert stackless.getruncount() == 1


def test_main_blocked_and_a_tasklet_raises():
    channel = stackless.channel()

    def body():
        raise LookupError("from the tasklet")

    stackless.tasklet(body)()
    with pytest.raises(LookupError, match="from the tasklet"):
        channel.receive()
    assert channel.balance == 0


def test_main_blocked_and_the_last_tasklet_blocks_and_catches(trace):
    mine, theirs = stackless.channel(), stackless.channel()

    def body():
        try:
            theirs.receive()
        except RuntimeError as error:
            trace.append(str(error))
        mine.send("went on")

    t = stackless.tasklet(body)()
    assert mine.receive() == "went on"
    assert trace == ["Deadlock: the last runnable tasklet cannot be blocked."]
    assert theirs.balance == 0
    stackless.run()
    assert not t.alive


def test_main_blocked_and_the_last_tasklet_blocks_uncaught():
    mine, theirs = stackless.channel(), stackless.channel()
    t = stackless.tasklet(theirs.receive)()
    with pytest.raises(RuntimeError, match="Deadlock"):
        mine.receive()
    assert mine.balance == theirs.balance == 0
    assert not t.alive


def test_under_run_blocking_is_no_deadlock():
    channel = stackless.channel()
    tasklets = [stackless.tasklet(channel.receive)() for _ in range(3)]
    assert stackless.run() is None
    assert channel.balance == -3
    for _ in tasklets:
        channel.send(None)


def test_a_tasklet_blocks_while_another_is_runnable():
    mine, theirs = stackless.channel(), stackless.channel()
    stackless.tasklet(theirs.receive)()
    stackless.tasklet(lambda: (stackless.schedule(), theirs.send(1), mine.send("fine")))()
    assert mine.receive() == "fine"
    stackless.run()
    assert theirs.balance == 0


def test_main_goes_on_after_a_deadlock():
    channel = stackless.channel()
    for _ in range(100):
        with pytest.raises(RuntimeError, match="Deadlock"):
            channel.receive()
    stackless.tasklet(channel.send)("works")
    assert channel.receive() == "works"
    stackless.run()


def test_an_inner_run_returns_when_everything_blocks(trace):
    channel = stackless.channel()

    def inner():
        stackless.tasklet(channel.receive)()
        stackless.run()
        trace.append("inner back")
        channel.send(None)

    stackless.tasklet(inner)()
    stackless.run()
    assert trace == ["inner back"]
    assert channel.balance == 0


def test_a_switching_tasklet_left_alone_deadlocks_in_place(trace):
    """Main blocked, tasklet removes itself: nobody could ever continue."""
    channel = stackless.channel()

    def body():
        with pytest.raises(RuntimeError, match=DEADLOCK):
            stackless.schedule_remove()
        trace.append(stackless.getcurrent().scheduled)
        channel.send("token")

    held = stackless.tasklet(body)()  # or it would be killed on removing itself
    assert channel.receive() == "token"
    assert trace == [True]
    stackless.run()
    assert not held.alive


def test_uncaught_deadlock_of_main_ends_the_process_with_the_message():
    done = run_script("import stackless; stackless.channel().receive()", status=1, quiet=False)
    assert "RuntimeError: Deadlock: the last runnable tasklet cannot be blocked." in done.stderr


def test_sleeping_tasklets_are_no_deadlock():
    channel = stackless.channel()

    def body():
        stackless.sleep(0.05)
        channel.send("after the nap")

    stackless.tasklet(body)()
    assert channel.receive() == "after the nap"
    stackless.run()


def test_a_channel_that_only_a_sleeper_could_serve_is_a_deadlock_once_it_is_gone():
    channel = stackless.channel()
    stackless.tasklet(stackless.sleep)(0.02)
    with pytest.raises(RuntimeError, match="Deadlock|receiving without a sender"):
        channel.receive()
    assert channel.balance == 0
