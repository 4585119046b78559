# SPDX-License-Identifier: MIT
"""Who keeps a tasklet alive, what happens when nobody does, and that nothing leaks.

Interpreter exit is in test_exit.py. Not covered: the death of a thread.
"""

import gc
import sys
import weakref

import pytest
import stackless

from support import noop


class Token:
    """Something whose disappearance can be watched."""


def test_a_fresh_tasklet_disappears_without_running(trace):
    t = stackless.tasklet(trace.append, ("ran",))
    reference = weakref.ref(t)
    del t
    assert reference() is None
    assert trace == []


def test_the_ring_holds_a_reference(trace):
    reference = weakref.ref(stackless.tasklet(trace.append)("ran"))
    assert reference() is not None
    stackless.run()
    assert trace == ["ran"]
    assert reference() is None


def test_a_channel_holds_its_waiters():
    channel = stackless.channel()
    reference = weakref.ref(stackless.tasklet(channel.receive)())
    stackless.run()
    gc.collect()
    assert reference() is channel.queue
    channel.send(None)
    assert reference() is None


def test_a_sleeper_is_held(trace):
    reference = weakref.ref(stackless.tasklet(lambda: (stackless.sleep(0.02), trace.append("woke")))())
    stackless.schedule()
    gc.collect()
    assert reference() is not None
    stackless.run()
    assert trace == ["woke"]
    assert reference() is None


def test_a_finished_tasklet_keeps_nothing():
    token = Token()
    reference = weakref.ref(token)
    t = stackless.tasklet(lambda argument: None)(token)
    del token
    stackless.run()
    assert not t.alive
    assert reference() is None


def test_a_killed_tasklet_keeps_nothing():
    token = Token()
    reference = weakref.ref(token)

    def body(argument):
        local = argument
        stackless.schedule_remove(None)
        return local

    t = stackless.tasklet(body)(token)
    del token
    stackless.run()
    assert reference() is not None
    t.kill()
    assert reference() is None


def test_dropping_a_started_tasklet_kills_it(trace):
    def body():
        try:
            stackless.schedule_remove(None)
        except TaskletExit:
            trace.append("TaskletExit")
            raise
        finally:
            trace.append("finally")

    t = stackless.tasklet(body)()
    stackless.run()
    assert trace == []
    reference = weakref.ref(t)
    del t
    assert trace == ["TaskletExit", "finally"]
    gc.collect()
    assert reference() is None


def test_removing_oneself_without_other_references_kills(trace):
    def body():
        try:
            stackless.schedule_remove(None)
            trace.append("not reached")
        finally:
            trace.append("finally")

    stackless.tasklet(body)()
    stackless.run()
    gc.collect()
    assert trace == ["finally"]


def test_dropping_inside_another_tasklet(trace):
    holder = []

    def victim():
        try:
            stackless.schedule_remove(None)
        finally:
            trace.append(("finally in", stackless.getcurrent().is_main))

    def dropper():
        holder.clear()
        trace.append("dropped")

    holder.append(stackless.tasklet(victim)())
    stackless.run()
    stackless.tasklet(dropper)()
    stackless.run()
    assert trace == [("finally in", False), "dropped"]


def test_a_cycle_through_a_fresh_tasklet_is_collected():
    holder = []
    t = stackless.tasklet(noop, (holder,))
    holder.append(t)
    reference = weakref.ref(t)
    del t, holder
    gc.collect()
    assert reference() is None


def test_a_cycle_through_a_bound_tasklet_is_collected():
    class Sub(stackless.tasklet):
        pass

    t = Sub(noop)
    t.me = t
    t.tempval = [t]
    reference = weakref.ref(t)
    del t
    gc.collect()
    assert reference() is None


def test_one_that_refuses_to_die_becomes_garbage():
    before = list(gc.garbage)
    stubborn = [True]
    tries = []

    def body():
        while stubborn[0]:
            try:
                stackless.schedule_remove(None)
            except TaskletExit:
                tries.append(1)

    t = stackless.tasklet(body)()
    stackless.run()
    del t
    gc.collect()
    new = [entry for entry in gc.garbage if entry not in before]
    assert len(new) == 1 and isinstance(new[0], stackless.tasklet)
    assert len(tries) == 10
    stubborn[0] = False
    survivor = new.pop()
    gc.garbage.remove(survivor)
    survivor.kill()
    assert not survivor.alive


def test_the_dying_is_dropped_only_after_the_switch_away(trace):
    class Sub(stackless.tasklet):
        def __del__(self):
            trace.append((self is stackless.getcurrent(), self.alive))

    Sub(noop)()
    stackless.run()
    gc.collect()
    assert trace == [(False, False)]


def test_a_finaliser_may_schedule(trace):
    class Switching:
        def __del__(self):
            trace.append("del")
            stackless.schedule()
            trace.append("del done")

    def body():
        local = Switching()
        del local
        trace.append("after")

    stackless.tasklet(body)()
    trace.logger("other")
    stackless.run()
    assert trace == ["del", "other", "del done", "after"]


def test_a_finaliser_may_run_arbitrary_code_at_the_end(trace):
    class Sub(stackless.tasklet):
        def __del__(self):
            stackless.tasklet(trace.append)("made in __del__")

    Sub(noop)()
    stackless.run()
    gc.collect()
    stackless.run()
    assert trace == ["made in __del__"]


def test_weakref_callback_of_a_tasklet(trace):
    t = stackless.tasklet(noop)()
    reference = weakref.ref(t, lambda ref: trace.append("gone"))
    del t
    assert trace == []
    stackless.run()
    assert trace == ["gone"]
    assert reference() is None


def test_a_message_is_not_leaked():
    channel = stackless.channel()
    token = Token()
    reference = weakref.ref(token)
    stackless.tasklet(channel.receive)()
    stackless.run()
    channel.send(token)
    del token
    assert reference() is None


def test_the_message_of_a_killed_sender_is_not_leaked():
    channel = stackless.channel()
    token = Token()
    reference = weakref.ref(token)
    t = stackless.tasklet(channel.send)(token)
    del token
    stackless.run()
    t.kill()
    assert reference() is None


def test_the_exception_of_a_tasklet_is_not_leaked():
    class Error(Exception):
        pass

    def body():
        raise Error

    def provoke():
        stackless.tasklet(body)()
        try:
            stackless.run()
        except Error as error:
            return weakref.ref(error)

    reference = provoke()
    gc.collect()
    assert reference() is None


def test_return_values_are_not_leaked():
    token = Token()
    reference = weakref.ref(token)
    stackless.tasklet(lambda: token)()
    stackless.run()
    del token
    gc.collect()
    assert reference() is None


def test_reference_counts_stay_flat():
    channel = stackless.channel()
    token = Token()

    def round_trip():
        for _ in range(200):
            stackless.tasklet(channel.send)(token)
            channel.receive()
            t = stackless.tasklet(lambda argument: stackless.schedule(argument))(token)
            stackless.schedule()
            t.kill()
            stackless.schedule(token)
            stackless.getcurrent().tempval = token
            stackless.getcurrent().tempval = None
        stackless.run()

    round_trip()
    gc.collect()
    before = sys.getrefcount(token), sys.getrefcount(stackless.getmain()), sys.getrefcount(None)
    round_trip()
    gc.collect()
    after = sys.getrefcount(token), sys.getrefcount(stackless.getmain()), sys.getrefcount(None)
    assert after[:2] == before[:2]
    assert abs(after[2] - before[2]) < 50


def test_tasklet_objects_are_freed():
    references = []

    def body():
        stackless.schedule()

    for _ in range(2000):
        references.append(weakref.ref(stackless.tasklet(body)()))
    stackless.run()
    gc.collect()
    assert sum(reference() is not None for reference in references) == 0


@pytest.mark.parametrize("kind", ["tasklet", "channel"])
def test_collector_does_not_disturb_waiting_tasklets(kind):
    channel = stackless.channel()
    got = []

    def body():
        local = [Token() for _ in range(10)]
        got.append(channel.receive())
        got.append(len(local))

    t = stackless.tasklet(body)()
    stackless.run()
    for _ in range(3):
        gc.collect()
    if kind == "tasklet":
        del t
        gc.collect()
    channel.send("value")
    assert got == ["value", 10]
