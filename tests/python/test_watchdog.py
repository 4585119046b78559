# SPDX-License-Identifier: MIT
"""run(timeout): interrupts by counted instructions, hard and soft, what forbids them, and what they leave alone."""

import functools
import operator
import sys
import threading
import time

import pytest
import stackless

from support import run_script

monitoring = getattr(sys, "monitoring", None)
WATCHDOGS = 1 << 31  # flag of get_thread_info()


def spin(rounds, log=None, word=None):
    for _ in range(rounds):
        pass
    if log is not None:
        log.append(word)


def spin_for_ever():
    while True:
        pass


def forever(function=spin_for_ever):
    """A scheduled tasklet that has to be killed."""
    return stackless.tasklet(function)()


def owner():
    """Whose timeout it is, and who is in run()."""
    first, *others = stackless.get_thread_info(-1, WATCHDOGS)[3] or [None]
    return first, others


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    assert owner() == (None, []), "a timed run has left its mark"


def run_to_the_end(timeout, **flags):
    """As a program does that lets tasklets share the processor; how many were interrupted."""
    interrupts = 0
    while stackless.getruncount() > 1:
        t = stackless.run(timeout, **flags)
        if t is not None:
            interrupts += 1
            t.insert()
    return interrupts


# ---- hard timeouts ----


@pytest.mark.parametrize("timeout", [1, 10, 100])
def test_interrupts_a_loop(timeout):
    log = []
    t = stackless.tasklet(spin)(1000, log, "done")
    assert stackless.run(timeout) is t
    assert t.alive and t.paused and not t.scheduled and t.tempval is None
    assert t.recursion_depth == 1 and t.frame.f_code is spin.__code__
    assert t.nesting_level == 0 and t.restorable
    assert stackless.getruncount() == 1 and log == []
    t.insert()
    assert run_to_the_end(timeout) > 5
    assert log == ["done"] and not t.alive


def test_all_get_their_share():
    log = []
    for word in "abc":
        stackless.tasklet(spin)(1000, log, word)
    assert run_to_the_end(200) > 20
    assert sorted(log) == ["a", "b", "c"]


def test_a_short_one_is_not_interrupted():
    log = []
    t = stackless.tasklet(spin)(10, log, "done")
    assert stackless.run(1000) is None
    assert log == ["done"] and not t.alive


def test_the_slice_begins_anew_after_a_switch():
    log = []

    def cooperates():
        for _ in range(100):
            spin(20)
            stackless.schedule()
        log.append("done")

    for _ in range(3):
        stackless.tasklet(cooperates)()
    assert stackless.run(1000) is None
    assert log == ["done"] * 3


def test_schedule_alone_begins_no_new_slice():
    def alone():
        while True:
            stackless.schedule()

    t = stackless.tasklet(alone)()
    assert stackless.run(500) is t
    t.kill()


def test_the_total_is_over_all():
    order = []

    def cooperates(name):
        while True:
            order.append(name)
            spin(10)
            stackless.schedule()

    tasklets = [stackless.tasklet(cooperates)(name) for name in "abc"]
    t = stackless.run(1000, totaltimeout=True)
    assert t in tasklets and t.paused
    assert set(order) == set("abc") and 5 < len(order) < 200
    assert stackless.getruncount() == 3
    for t in tasklets:
        t.kill()


def test_functions_entered_are_counted():
    def recurse():
        calls(20)

    def calls(n):
        if n:
            calls(n - 1)
            calls(n - 1)

    t = stackless.tasklet(recurse)()
    assert stackless.run(1000) is t
    assert t.recursion_depth > 2
    t.kill()


def test_generators_are_counted():
    def generate():
        while True:
            yield

    def consume():
        for _ in generate():
            pass

    t = stackless.tasklet(consume)()
    assert stackless.run(500, ignore_nesting=True) is t
    t.kill()


def test_no_timeout_never_interrupts():
    log = []
    stackless.tasklet(spin)(20000, log, "done")
    assert stackless.run(0) is None
    stackless.tasklet(spin)(20000, log, "done")
    assert stackless.run(-5, totaltimeout=True) is None
    assert log == ["done"] * 2


def test_nothing_to_run():
    assert stackless.run(1) is None


@pytest.mark.parametrize("timeout", ["1", 1.5, None])
def test_bad_timeout(timeout):
    with pytest.raises(TypeError):
        stackless.run(timeout)


def test_huge_timeout():
    log = []
    stackless.tasklet(spin)(100, log, "done")
    assert stackless.run(sys.maxsize) is None
    with pytest.raises(OverflowError):
        stackless.run(sys.maxsize + 1)
    assert log == ["done"]


def test_positional():
    t = forever()
    assert stackless.run(100, False, False, True, True) is t
    t.kill()


def test_killed_where_it_was_interrupted():
    log = []

    def body():
        try:
            while True:
                pass
        finally:
            log.append("cleaned up")

    t = forever(body)
    assert stackless.run(100) is t
    t.kill()
    assert log == ["cleaned up"] and not t.alive


def test_throw_where_it_was_interrupted():
    def body():
        try:
            while True:
                pass
        except KeyError as e:
            log.append(str(e))
        spin(5)

    log = []
    t = forever(body)
    assert stackless.run(100) is t
    t.throw(KeyError("thrown"))
    assert log == ["'thrown'"] and not t.alive


def test_dropped_where_it_was_interrupted():
    log = []

    def body():
        try:
            spin_for_ever()
        finally:
            log.append("killed")

    forever(body)
    stackless.run(100)  # what it returns is dropped
    assert log == ["killed"]


def test_resumed_otherwise():
    """By run(), switch() and an untimed run()."""
    log = []
    t = stackless.tasklet(spin)(1000, log, "done")
    assert stackless.run(100) is t
    t.run()
    assert log == ["done"]
    t = stackless.tasklet(spin)(1000, log, "again")
    assert stackless.run(100) is t
    t.insert()
    assert stackless.run() is None
    assert log == ["done", "again"]


def test_exception_of_a_tasklet():
    def fails():
        spin(10)
        raise KeyError("mine")

    stackless.tasklet(fails)()
    t = forever()
    with pytest.raises(KeyError, match="mine"):
        stackless.run(1000)
    assert owner() == (None, [])
    t.kill()


def test_tempval_is_kept():
    got = []

    def body():
        stackless.getcurrent().tempval = "mine"
        spin(1000)
        got.append(stackless.getcurrent().tempval)

    t = stackless.tasklet(body)()
    assert stackless.run(100) is t
    assert t.tempval is None
    t.insert()
    stackless.run()
    assert got == ["mine"]


def test_its_state_is_its_own():
    """The exception being handled and the locals survive an interrupt."""
    def body():
        total = 0
        try:
            raise KeyError("handled")
        except KeyError:
            for i in range(1000):
                total += i
            log.append((total, str(sys.exc_info()[1])))

    log = []
    stackless.tasklet(body)()
    assert run_to_the_end(100) > 5
    assert log == [(499500, "'handled'")] and sys.exc_info()[1] is None


# ---- what forbids an interrupt ----


def test_not_while_atomic():
    log = []

    def body():
        with stackless.atomic():
            spin(1000, log, "atomic")
        log.append("not atomic")

    t = stackless.tasklet(body)()
    assert stackless.run(100) is t
    assert log == ["atomic"]  # at once when it is not atomic any more
    t.insert()
    assert stackless.run(100) is None
    assert log == ["atomic", "not atomic"]


def test_set_atomic_and_the_old_value():
    def body():
        me = stackless.getcurrent()
        log.append(me.set_atomic(True))
        spin(1000)
        log.append(me.set_atomic(False))

    log = []
    t = stackless.tasklet(body)()
    assert stackless.run(100) is t
    assert log == [False]
    t.insert()
    stackless.run()
    assert log == [False, True]


def test_atomic_is_the_tasklets_own():
    """Another that is not atomic is interrupted though the first one is."""
    def body():
        with stackless.atomic():
            stackless.schedule()

    first, second = stackless.tasklet(body)(), forever()
    assert stackless.run(100) is second
    second.kill()
    stackless.run()
    assert not first.alive


@pytest.fixture(params=[False, True], ids=["ours", "C's"])
def nested_spin(request):
    """Calls spin() through C: a slot of a type, or operator.call() / a sort."""
    if request.param:
        return lambda rounds: sorted([1], key=lambda _: spin(rounds))

    class Callable:
        def __call__(self, rounds):
            spin(rounds)

    return lambda rounds: functools.partial(Callable(), rounds)()


def test_not_below_a_call_through_c(nested_spin):
    log = []

    def body():
        nested_spin(1000)
        log.append("back")
        spin(1000)

    t = stackless.tasklet(body)()
    assert stackless.run(100) is t
    assert log == ["back"]  # fires where the obstacle has gone
    assert t.recursion_depth <= 2 and t.nesting_level == 0
    t.kill()


@pytest.mark.parametrize("how", ["of the run", "of the tasklet"])
def test_ignored_nesting(how, nested_spin):
    t = stackless.tasklet(nested_spin)(1000000)
    if how == "of the tasklet":
        assert t.set_ignore_nesting(1) is False and t.ignore_nesting
    assert stackless.run(100, ignore_nesting=how == "of the run") is t
    assert t.nesting_level > 0
    t.kill()


def test_nesting_ignored_on_the_way():
    log = []

    def inner(_):
        spin(1000)
        log.append("pending")
        stackless.getcurrent().set_ignore_nesting(True)
        log.append("on")

    t = stackless.tasklet(lambda: sorted([1], key=inner))()
    assert stackless.run(100) is t
    assert log == ["pending"]
    t.kill()


def test_not_while_trapped():
    log = []

    def body():
        stackless.switch_trap(1)
        spin(1000, log, "trapped")
        stackless.switch_trap(-1)
        spin(1000)

    t = stackless.tasklet(body)()
    assert stackless.run(100) is t
    assert log == ["trapped"]
    t.kill()


def test_not_in_callbacks():
    log = []

    def callback(*args):
        spin(1000, log, "callback")

    def body():
        channel.send(1)
        spin(3)

    channel = stackless.channel(capacity=2)
    stackless.set_channel_callback(callback)
    t = stackless.tasklet(body)()
    got = stackless.run(100, ignore_nesting=True)
    stackless.set_channel_callback(None)
    assert got is t and log == ["callback"]
    t.kill()
    stackless.set_schedule_callback(callback)
    t = forever()
    assert stackless.run(100, ignore_nesting=True) is t
    stackless.set_schedule_callback(None)
    assert log == ["callback"] * 3
    t.kill()


def test_one_that_is_pending_does_not_outlive_the_run():
    def body():
        with stackless.atomic():
            spin(1000)
            stackless.schedule_remove()
        spin(3)

    t = stackless.tasklet(body)()
    assert stackless.run(100) is None  # it has left, with an interrupt pending
    t.insert()
    assert stackless.run(100) is None
    assert not t.alive


# ---- soft timeouts ----


def test_soft_waits_for_a_switch():
    log = []

    def body():
        spin(1000, log, "spun")
        stackless.schedule()
        log.append("went on")

    t = stackless.tasklet(body)()
    assert stackless.run(100, soft=True) is None
    assert log == ["spun"] and t.scheduled
    assert stackless.run(100, soft=True) is None
    assert log == ["spun", "went on"]


def test_soft_ends_at_the_end_of_a_tasklet_too():
    log = []
    for word in "ab":
        stackless.tasklet(spin)(1000, log, word)
    assert stackless.run(100, soft=True) is None
    assert log == ["a"] and stackless.getruncount() == 2
    assert stackless.run(100, soft=True) is None
    assert log == ["a", "b"]


def test_soft_leaves_all_in_order(trace):
    def body(name):
        spin(1000)
        stackless.schedule()
        trace.append(name)

    for name in "abc":
        trace.new(name, body, name)
    assert stackless.run(100, soft=True) is None
    assert trace.ring() == "main b c a"
    stackless.run()
    assert trace == ["a", "b", "c"] or trace == ["b", "c", "a"]


def test_soft_does_not_come_between_partners():
    log = []

    def sender():
        spin(1000)
        channel.send(1)  # to one that waits: no interrupt here
        log.append("sent")

    def receiver():
        log.append(channel.receive())
        stackless.schedule()  # but here
        log.append("received")

    channel = stackless.channel()
    stackless.tasklet(receiver)()
    stackless.tasklet(sender)()
    assert stackless.run(200, soft=True) is None
    assert log == [1]
    stackless.run()
    assert sorted(map(str, log)) == ["1", "received", "sent"]


def test_soft_below_c():
    """The flag moves to the next tasklet."""
    log = []

    def nested():
        sorted([1], key=lambda _: (spin(1000), stackless.schedule()))

    def flat():
        log.append("flat")
        stackless.schedule()
        log.append("on")

    stackless.tasklet(nested)()
    stackless.tasklet(flat)()
    assert stackless.run(200, soft=True) is None
    assert log == ["flat"]
    stackless.run()
    assert log == ["flat", "on"]


def test_soft_total():
    def body():
        while True:
            spin(10)
            stackless.schedule()

    tasklets = [stackless.tasklet(body)() for _ in range(3)]
    assert stackless.run(1000, soft=True, totaltimeout=True) is None
    assert stackless.getruncount() == 4
    for t in tasklets:
        t.kill()


# ---- watchdogs in watchdogs ----


def test_the_owner_is_known():
    seen = []

    def inner():
        me = stackless.getcurrent()
        stackless.tasklet(lambda: seen.append((owner(), me)))()
        stackless.run(1000000)

    stackless.tasklet(inner)()
    stackless.run()
    (first, all_), me = seen[0]
    assert first is me and all_ == [stackless.getmain(), me]


def test_only_the_outermost_timeout_counts():
    log = []

    def runner():
        log.append(("inner", stackless.run(10)))

    t = stackless.tasklet(runner)()
    victim = forever()
    assert stackless.run(1000) is victim
    assert log == []
    stackless.run()  # the inner one returns: it has been popped
    assert log == [("inner", None)] and not t.alive
    victim.kill()


def test_of_a_tasklet_inside_an_untimed_run():
    log = []

    def runner():
        log.append(stackless.run(100))
        victim.kill()

    stackless.tasklet(runner)()
    victim = forever()
    assert stackless.run() is None
    assert log == [victim]


def test_main_can_be_interrupted():
    log = []

    def runner():
        log.append(stackless.run(100, ignore_nesting=True))
        log.append(stackless.getmain().paused)
        stackless.getmain().insert()

    stackless.tasklet(runner)()
    stackless.schedule()
    while not log:
        pass
    assert log == [stackless.getmain(), True]


def test_the_owner_woken_by_others():
    """It returns None, and nobody is interrupted afterwards."""
    def wakes():
        stackless.getmain().run()
        spin(1000, log, "not interrupted")

    log = []
    stackless.tasklet(wakes)()
    assert stackless.run(500) is None
    assert owner() == (None, [])
    assert stackless.run() is None
    assert log == ["not interrupted"]


def test_the_owner_killed():
    def runner():
        stackless.run(100)

    t = stackless.tasklet(runner)()
    stackless.schedule()
    t.kill()
    assert owner() == (None, [])
    spin(1000)


def test_popped_by_an_outer_one():
    log = []

    def runner():
        log.append(stackless.run(1000000))

    def wakes():
        stackless.getmain().run()

    stackless.tasklet(runner)()
    stackless.tasklet(wakes)()
    stackless.run()
    assert owner() == (None, [])
    stackless.run()
    assert log == [None]


# ---- beside others ----


def test_a_trace_function_goes_on():
    """It sees each line once, interrupted or not, and is what sys.gettrace() says."""
    def traced():
        x = 0
        for _ in range(50):
            x += 1
        return x

    def lines_of(timeout):
        lines = []

        def tracer(frame, event, arg):
            if frame.f_code is traced.__code__:
                lines.append((event, frame.f_lineno - traced.__code__.co_firstlineno))
            return tracer

        def body():
            sys.settrace(tracer)
            try:
                traced()
                found.append(sys.gettrace() is tracer)
            finally:
                sys.settrace(None)

        found = []
        stackless.tasklet(body)()
        interrupts = run_to_the_end(timeout)
        assert found == [True]
        return interrupts, lines

    none, plain = lines_of(0)
    some, interrupted = lines_of(20)
    assert none == 0 and (some > 2 or monitoring is None)
    assert interrupted == plain


def traced_body():
    """A function, a trace function, and the list where that notes the events of the first."""
    def body():
        for _ in range(200):
            pass

    def tracer(frame, event, arg):
        if frame.f_code is body.__code__:
            events.append(event)
        return tracer

    events = []
    return body, events, tracer


def test_a_trace_function_set_from_outside():
    body, events, tracer = traced_body()
    t = stackless.tasklet(body)()
    t.trace_function = tracer
    assert run_to_the_end(20) > 5
    assert set(events) == {"call", "line", "return"} and events.count("line") > 200
    assert sys.gettrace() is None or events  # main's own is another matter


def test_threading_settrace():
    """As coverage tools and debuggers install themselves."""
    body, events, tracer = traced_body()
    old = threading.gettrace()
    threading.settrace(tracer)
    try:
        stackless.tasklet(body)()
        assert run_to_the_end(20) > 5
    finally:
        threading.settrace(old)
    assert set(events) == {"call", "line", "return"}


@pytest.mark.skipif(monitoring is None, reason="sys.monitoring is new in 3.12")
class TestMonitoring:
    def ours(self):
        return next(i for i in (4, 3) if monitoring.get_tool(i) == "stackless")

    def test_ends_with_the_timed_runs(self):
        t = forever()
        stackless.run(100)
        assert monitoring.get_events(self.ours()) != 0
        spin(3000)
        assert monitoring.get_events(self.ours()) == 0
        t.insert()
        assert stackless.run(100) is t
        t.kill()

    def test_beside_another_tool(self):
        seen = []
        monitoring.use_tool_id(2, "test")
        try:
            monitoring.register_callback(2, monitoring.events.PY_START, lambda code, offset: seen.append(code))
            monitoring.set_events(2, monitoring.events.PY_START)
            t = stackless.tasklet(spin)(1000)
            assert run_to_the_end(100) > 5
        finally:
            monitoring.set_events(2, 0)
            monitoring.free_tool_id(2)
        assert seen.count(spin.__code__) == 1 and not t.alive

    def test_ids_taken(self):
        run_script("""
            import stackless, sys
            for i in (3, 4):
                sys.monitoring.use_tool_id(i, "other")
            def spin():
                for _ in range(1000):
                    pass
            t = stackless.tasklet(spin)()
            for _ in range(2):
                try:
                    stackless.run(10)
                except RuntimeError as e:
                    assert "ids 3 and 4" in str(e)
                else:
                    assert 0
            sys.monitoring.free_tool_id(3)
            assert stackless.run(10) is t
            assert sys.monitoring.get_tool(3) == "stackless"
            """)


def test_in_threads():
    """Each has its own timeout."""
    def body():
        log = []
        for word in "ab":
            stackless.tasklet(spin)(2000, log, word)
        results.append((run_to_the_end(100) > 20, log))

    results = []
    threads = [threading.Thread(target=body) for _ in range(3)]
    for thread in threads:
        thread.start()
    body()
    for thread in threads:
        thread.join()
    assert results == [(True, ["a", "b"])] * 4


def test_other_threads_are_not_counted():
    stop = threading.Event()

    def other():
        while not stop.is_set():
            spin(100)

    thread = threading.Thread(target=other)
    thread.start()
    log = []
    stackless.tasklet(lambda: (time.sleep(0.05), log.append("done")))()
    try:
        assert stackless.run(2000) is None
    finally:
        stop.set()
        thread.join()
    assert log == ["done"]


def test_one_that_was_blocked_in_the_system(many_threads):
    """It goes on in parallel, uncounted, and is interrupted when it has its turn again."""
    log = []

    def blocks():
        while any(other.alive for other in others):
            time.sleep(0.002)
        log.append("woke")
        stackless.schedule()
        spin_for_ever()

    t = stackless.tasklet(blocks)()
    others = [stackless.tasklet(lambda: None)() for _ in range(3)]
    assert stackless.run(1000000) is t
    assert log == ["woke"]
    t.kill()


def test_waits_are_not_counted():
    log = []
    stackless.tasklet(lambda: (stackless.sleep(0.01), log.append("slept")))()
    assert stackless.run(500) is None
    assert log == ["slept"]


def test_many_slices_of_many(trace):
    """A busy mixture: nobody is lost, each value arrives once, in order."""
    channel = stackless.channel()
    got = []

    def produce(first):
        for i in range(first, first + 50):
            spin(20)
            channel.send(i)

    def consume():
        for _ in range(100):
            got.append(channel.receive())
            spin(20)

    for first in (0, 1000, 2000, 3000):
        stackless.tasklet(produce)(first)
    for _ in range(2):
        stackless.tasklet(consume)()
    assert run_to_the_end(50, ignore_nesting=True) > 50
    assert len(got) == 200
    for first in (0, 1000, 2000, 3000):
        assert [i for i in got if first <= i < first + 50] == list(range(first, first + 50))


# ---- the end of things ----


def test_until_the_end(mode):
    done = run_script("""
        import os, stackless, threading, warnings

        def spin_for_ever(n):
            try:
                while True:
                    pass
            finally:
                ended.append(n)

        def in_thread():
            t = stackless.tasklet(spin_for_ever)("thread")
            assert stackless.run(100) is t
            kept.append(t)

        ended, kept = [], []
        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
        assert ended == ["thread"], ended
        stackless.tasklet(spin_for_ever)("main")
        kept.append(stackless.run(100))
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork()

        def forks():
            if os.fork() == 0:
                for _ in range(10000):  # main's timed run is not there any more
                    pass
                t = stackless.tasklet(spin_for_ever)("child")
                os._exit(0 if stackless.run(100) is t else 1)
            assert os.wait()[1] == 0
            print("fine", flush=True)

        stackless.tasklet(forks)()
        t = stackless.run(1000000)
        assert t is None, t
        """, env=mode)
    assert done.lines == ["fine"]


def test_released():
    t = stackless.tasklet(spin)(1000)
    assert stackless.run(100) is t
    before = sys.getrefcount(t)
    for _ in range(20):
        t.insert()
        assert stackless.run(20) is t
    assert sys.getrefcount(t) == before
    t.kill()


def test_c_functions_are_not_interrupted():
    got = []
    stackless.tasklet(lambda: got.append(sum(range(100000))))()
    stackless.tasklet(operator.add)(1, 2)
    assert stackless.run(50) is None
    assert got == [4999950000]
