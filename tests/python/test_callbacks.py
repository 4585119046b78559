# SPDX-License-Identifier: MIT
"""The schedule and the channel callback: when they are called, with what, and what they must not do."""

import sys
import threading
import time

import pytest
import stackless

from support import run_script, wait_for


@pytest.fixture
def switches(trace):
    """The schedule callback's calls as (name, name), from here on."""
    seen = []

    def note(prev, following):
        seen.append((prev and trace.name_of(prev), trace.name_of(following)))

    stackless.set_schedule_callback(note)
    yield seen
    stackless.set_schedule_callback(None)


@pytest.fixture
def operations():
    """The channel callback's calls as (sending, willblock, tempval, balance)."""
    seen = []

    def note(channel, tasklet, sending, willblock):
        assert tasklet is stackless.getcurrent()
        seen.append((sending, willblock, tasklet.tempval, channel.balance))

    stackless.set_channel_callback(note)
    yield seen
    stackless.set_channel_callback(None)


@pytest.fixture
def unraisable(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda info: seen.append((info.exc_value, info.object)))
    return seen


# ---- setting them ----


@pytest.mark.parametrize("what", ["schedule", "channel"])
class TestSetting:
    def functions(self, what):
        return getattr(stackless, f"set_{what}_callback"), getattr(stackless, f"get_{what}_callback")

    def test_returns_the_old_one(self, what):
        set_it, get_it = self.functions(what)
        one, two = lambda *args: None, lambda *args: 1
        assert get_it() is None
        assert set_it(one) is None
        assert get_it() is one
        assert set_it(two) is one
        assert set_it(None) is two
        assert set_it(None) is None

    def test_bad_arguments(self, what):
        set_it, get_it = self.functions(what)
        with pytest.raises(TypeError, match=f"^{what} callback must be callable$"):
            set_it(1)
        with pytest.raises(TypeError, match="takes exactly one argument"):
            set_it()
        with pytest.raises(TypeError, match="takes no arguments"):
            get_it(1)
        assert get_it() is None

    def test_is_released(self, what):
        class Callback:
            def __call__(self, *args):
                pass

        set_it, get_it = self.functions(what)
        callback = Callback()
        before = sys.getrefcount(callback)
        set_it(callback)
        stackless.tasklet(lambda: None)()
        stackless.run()
        set_it(None)
        assert sys.getrefcount(callback) == before


# ---- the schedule callback ----


def test_each_switch(trace, switches):
    trace.new("a", stackless.schedule)
    trace.new("b", lambda: None)
    stackless.run()
    assert switches == [("main", "a"), ("a", "b"), ("b", "a"), ("a", "main")]


def test_not_without_a_switch(switches):
    stackless.schedule()
    stackless.run()
    stackless.getcurrent().run()
    assert switches == []


def test_channel_switches(trace, switches):
    channel = stackless.channel()
    trace.new("r", channel.receive)
    channel.send(1)  # blocks: nobody has received yet
    stackless.run()
    assert switches == [("main", "r"), ("r", "main")]


def test_kill_and_throw(trace, switches):
    t = trace.new("t", stackless.schedule_remove)
    stackless.run()
    t.kill()
    assert switches == [("main", "t"), ("t", "main")] * 2


def test_before_the_switch(trace):
    log = []

    def callback(prev, following):
        log.append((trace.name_of(stackless.getcurrent()), prev.is_current, following.is_current, prev.alive))

    trace.new("t", log.append, "runs")
    stackless.set_schedule_callback(callback)
    stackless.run()
    stackless.set_schedule_callback(None)
    assert log[:2] == [("main", True, False, True), "runs"]
    assert log[2][0] == "t" and log[2][3] is False  # its function has ended


def test_value_of_schedule_is_kept():
    def callback(prev, following):
        with pytest.raises(RuntimeError):
            channel.try_receive()

    channel = stackless.channel(capacity=1)
    channel.send("x")
    got = []
    stackless.tasklet(lambda: got.append(stackless.schedule("value")))()
    stackless.tasklet(lambda: got.append(stackless.schedule(None)))()
    stackless.set_schedule_callback(callback)
    stackless.run()
    stackless.set_schedule_callback(None)
    assert got == ["value", None]
    assert channel.receive() == "x"


def test_exception_is_printed_and_ignored(trace, unraisable):
    def bad_callback(prev, following):
        raise ValueError("from the callback")

    trace.logger("a")
    stackless.set_schedule_callback(bad_callback)
    stackless.run()
    stackless.set_schedule_callback(None)
    assert trace == ["a"]
    assert [(str(e), f) for e, f in unraisable] == [("from the callback", bad_callback)] * 2


def test_exception_that_ends_a_tasklet_passes(switches):
    def fails():
        raise KeyError("mine")

    stackless.tasklet(fails)()
    with pytest.raises(KeyError, match="mine"):
        stackless.run()
    assert len(switches) == 2


@pytest.mark.parametrize("operation", [
    lambda other, channel: stackless.schedule(),
    lambda other, channel: stackless.schedule_remove(),
    lambda other, channel: stackless.run(),
    lambda other, channel: stackless.sleep(0.01),
    lambda other, channel: stackless.sleep(0),
    lambda other, channel: other.run(),
    lambda other, channel: other.switch(),
    lambda other, channel: other.kill(),
    lambda other, channel: other.throw(ValueError),
    lambda other, channel: channel.receive(),
    lambda other, channel: channel.send(1),
    lambda other, channel: channel.try_receive(),
    lambda other, channel: stackless.select([channel]),
    lambda other, channel: stackless.Event().wait(),
], ids=["schedule", "schedule_remove", "run", "sleep", "sleep0", "t.run", "switch", "kill", "throw", "receive", "send",
        "try_receive", "select", "Event.wait"])
@pytest.mark.parametrize("leaves", [stackless.schedule, stackless.schedule_remove], ids=["stays", "leaves"])
def test_must_not_switch(operation, leaves, trace):
    """Neither from one that stays in the ring nor from one that has left it, nor from one that has ended."""
    refused = []
    channel = stackless.channel()

    def callback(prev, following):
        try:
            operation(other, channel)
        except BaseException as e:
            refused.append((type(e), "callback" in str(e) or "cannot switch here" in str(e)))

    def body():
        leaves()
        trace.append("t")

    t = stackless.tasklet(body)()
    other = trace.paused("other", lambda: None)
    stackless.set_schedule_callback(callback)
    stackless.run()
    if t.alive:
        t.insert()
        stackless.run()
    stackless.set_schedule_callback(None)
    assert trace == ["t"]
    assert set(refused) == {(RuntimeError, True)}
    assert len(refused) == (2 if leaves is stackless.schedule else 4)
    assert channel.balance == 0 and other.paused


def test_inserts_go_to_the_end_of_the_ring(trace):
    def callback(prev, following):
        if extra.paused:
            extra.insert()

    extra = trace.paused("extra", trace.append, "extra")
    for name in "ab":
        trace.logger(name)
    stackless.set_schedule_callback(callback)
    stackless.schedule()
    stackless.set_schedule_callback(None)
    assert trace == ["a", "b", "extra"]  # main was current when it came


@pytest.mark.parametrize("go", [stackless.schedule, stackless.run])
def test_may_take_the_next_one_away(trace, go):
    def callback(prev, following):
        if following is a:
            following.remove()

    a, _b = trace.logger("a"), trace.logger("b")
    stackless.set_schedule_callback(callback)
    go()
    stackless.set_schedule_callback(None)
    assert trace == ["b"]
    assert a.paused


def test_may_take_away_all_there_is(trace):
    def callback(prev, following):
        if following is not stackless.getmain():
            following.remove()

    a = trace.logger("a")
    stackless.set_schedule_callback(callback)
    stackless.run()
    stackless.schedule()
    stackless.set_schedule_callback(None)
    assert trace == [] and a.paused


def test_may_remove_itself(trace):
    calls = []

    def callback(prev, following):
        calls.append(stackless.set_schedule_callback(None))

    trace.logger("a")
    stackless.set_schedule_callback(callback)
    stackless.run()
    assert calls == [callback] and trace == ["a"]


def test_may_set_trace_functions(trace):
    """What a debugger does."""
    events = []

    def tracer(frame, event, arg):
        events.append((frame.f_code.co_name, event))

    def traced():
        pass

    def callback(prev, following):
        following.trace_function = tracer if following is t else None

    t = stackless.tasklet(traced)()
    stackless.set_schedule_callback(callback)
    stackless.run()
    stackless.set_schedule_callback(None)
    assert events[0] == ("traced", "call")
    assert sys.gettrace() is None or ("test_may_set_trace_functions", "call") not in events


def test_trace_functions_set_before_the_start_do_not_hide_landings(trace, switches):
    for name in "ab":
        t = trace.new(name, stackless.sleep, 0.01)
        t.trace_function = lambda *args: None
    stackless.run()
    del switches[:]
    trace.new("c", stackless.sleep, 0.01)
    trace.new("d", stackless.sleep, 0.02)
    stackless.run()
    assert switches == [("main", "c"), ("c", "d"), ("d", "c"), ("c", "d"), ("d", "main")]


def test_after_a_wait_the_one_who_wakes_is_told(trace, switches):
    trace.new("a", stackless.sleep, 0.01)
    trace.new("b", stackless.sleep, 0.02)
    stackless.run()
    assert switches == [("main", "a"), ("a", "b"), ("b", "a"), ("a", "b"), ("b", "main")]


def test_a_callback_that_blocks_lets_nobody_run(trace, many_threads):
    ran = []

    def callback(prev, following):
        before = len(ran)
        time.sleep(0.02)
        assert len(ran) == before

    unexpected = []
    for name in range(5):
        trace.new(str(name), ran.append, name)
    hook, sys.unraisablehook = sys.unraisablehook, unexpected.append
    stackless.set_schedule_callback(callback)
    stackless.run()
    stackless.set_schedule_callback(None)
    sys.unraisablehook = hook
    assert ran == [0, 1, 2, 3, 4] and not unexpected


def test_handoffs_are_told(many_threads):
    """Each call begins with the tasklet that the one before had named."""
    seen = []
    done = []

    def blocks():
        for _ in range(3):
            time.sleep(0.01)
            stackless.schedule()
        done.append(1)

    def spins():
        while len(done) < 3:
            stackless.schedule()

    stackless.set_schedule_callback(lambda prev, following: seen.append((prev, following)))
    for body in (blocks, spins, blocks, blocks):
        stackless.tasklet(body)()
    stackless.run()
    stackless.set_schedule_callback(None)
    assert all(before[1] is after[0] for before, after in zip(seen, seen[1:]))
    assert seen[0][0] is stackless.getmain() and seen[-1][1] is stackless.getmain()


def test_in_a_thread():
    seen = []

    def callback(prev, following):
        seen.append((threading.get_ident() == thread.ident, prev, following))

    def body():
        t = stackless.tasklet(lambda: None)()
        stackless.run()
        made.extend([stackless.getmain(), t])

    stackless.set_schedule_callback(callback)
    made = []
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    stackless.set_schedule_callback(None)
    main, t = made
    assert [call[1:] for call in seen if call[0]] == [(None, main), (main, t), (t, main)]


# ---- the channel callback ----


def test_operations(operations):
    channel = stackless.channel()
    stackless.tasklet(channel.receive)()
    stackless.schedule()
    channel.send("value")
    stackless.tasklet(channel.send)("other")
    stackless.run()
    assert channel.receive() == "other"
    stackless.run()
    assert operations == [(0, 1, None, 0), (1, 0, "value", -1), (1, 1, "other", 0), (0, 0, None, 1)]


def test_arguments_are_ints(operations):
    stackless.channel(capacity=1).send(None)
    sending, willblock, value, _balance = operations[0]
    assert (type(sending), type(willblock), value) == (int, int, None)


def test_exceptions_are_bombs(operations):
    channel = stackless.channel(capacity=1)
    channel.send_exception(KeyError, "k")
    bomb = operations[0][2]
    assert isinstance(bomb, stackless.bomb) and bomb.type is KeyError
    with pytest.raises(KeyError):
        channel.receive()


def test_iteration_and_sequences(operations):
    channel = stackless.channel(capacity=3)
    channel.send_sequence("ab")
    channel.close()
    assert list(channel) == ["a", "b"]
    assert operations == [(1, 0, "a", 0), (1, 0, "b", 0), (0, 0, None, 0), (0, 0, None, 0)]


def test_select_and_try(operations):
    channel = stackless.channel(capacity=1)
    assert channel.try_receive("nothing") == "nothing"
    assert operations == []  # there was no operation
    assert stackless.select([(channel, "s")]) == (0, None)
    assert not channel.try_send("full")
    assert channel.try_receive() == "s"
    assert operations == [(1, 0, "s", 0), (0, 0, None, 0)]


def test_before_the_checks(operations):
    channel = stackless.channel()
    channel.close()
    with pytest.raises(ValueError):
        channel.receive()
    channel.open()
    stackless.getcurrent().block_trap = True
    with pytest.raises(RuntimeError, match="does not like"):
        channel.send(1)
    stackless.getcurrent().block_trap = False
    assert operations == [(0, 1, None, 0), (1, 1, 1, 0)]


def test_its_exception_is_the_operations():
    def callback(channel, tasklet, sending, willblock):
        raise KeyError("no")

    channel = stackless.channel(capacity=2)
    channel.send("first")
    value = object()
    references = sys.getrefcount(value)
    stackless.set_channel_callback(callback)
    with pytest.raises(KeyError, match="no"):
        channel.send(value)
    with pytest.raises(KeyError, match="no"):
        channel.receive()
    stackless.set_channel_callback(None)
    assert sys.getrefcount(value) == references
    assert channel.buffered == 1 and stackless.getcurrent().tempval is None
    assert channel.receive() == "first"


def test_may_replace_what_is_sent():
    def callback(channel, tasklet, sending, willblock):
        if sending:
            tasklet.tempval = tasklet.tempval * 2

    channel = stackless.channel(capacity=1)
    stackless.set_channel_callback(callback)
    channel.send(21)
    got = channel.receive()
    stackless.set_channel_callback(None)
    assert got == 42


@pytest.mark.parametrize("operation, text", [
    (lambda c: c.send(1), "channel call"), (lambda c: c.receive(), "channel call"), (lambda c: next(c), "channel call"),
    (lambda c: c.send(1, timeout=1), "channel call"), (lambda c: c.send_sequence([1]), "channel call"),
    (lambda c: stackless.schedule(), "scheduler call"), (lambda c: stackless.run(), "scheduler call"),
], ids=["send", "receive", "next", "timeout", "send_sequence", "schedule", "run"])
def test_no_channels_and_no_switches_in_it(operation, text):
    def callback(channel, tasklet, sending, willblock):
        with pytest.raises(RuntimeError, match=f"^Recursive {text} due to callbacks!$"):
            operation(channel)
        calls.append(1)

    calls = []
    channel = stackless.channel(capacity=1)
    stackless.set_channel_callback(callback)
    channel.send("kept")
    assert channel.receive() == "kept"
    stackless.set_channel_callback(None)
    assert len(calls) == 2


def test_across_threads(operations):
    channel = stackless.channel()
    threads = [threading.Thread(target=channel.send, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    wait_for(lambda: channel.balance == 3, "three senders", pause=lambda: time.sleep(0.001))
    got = sorted(channel.receive() for _ in range(3))
    for thread in threads:
        thread.join()
    assert got == [0, 1, 2]
    assert sorted(op[2] for op in operations if op[0]) == [0, 1, 2]
    assert [op for op in operations if not op[0]] == [(0, 0, None, 3), (0, 0, None, 2), (0, 0, None, 1)]


# ---- both, where the process or a thread ends ----


def test_until_the_end(mode):
    done = run_script("""
        import os, threading, warnings, stackless

        seen = []
        stackless.set_schedule_callback(lambda prev, following: seen.append((prev, following)))
        stackless.set_channel_callback(lambda *args: seen.append(args))
        channel = stackless.channel()

        def body():
            try:
                channel.receive()
            finally:
                stackless.schedule()

        def in_thread():
            stackless.tasklet(body)()
            stackless.run()

        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
        stackless.tasklet(body)()
        stackless.run()
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork()
        if os.fork() == 0:
            stackless.tasklet(seen.append)("child")
            stackless.run()
            assert seen[-2] == "child", seen[-3:]
            os._exit(0 if seen[-1][1] is stackless.getmain() else 1)
        assert os.wait()[1] == 0
        print("fine")
        """, env=mode)
    assert done.lines == ["fine"]


@pytest.mark.parametrize("which, operation, child, parent", [
    ("schedule", "channel.receive()", "Deadlock", "sent"),
    ("schedule", "stackless.select([channel])[1]", "Deadlock", "sent"),
    ("schedule", "stackless.sleep(0.001)", "None", "None"),
    ("schedule", "stackless.schedule(1)", "1", "1"),
    ("channel", "channel.receive()", "Deadlock", "sent"),
])
def test_a_child_forked_in_a_callback_goes_on(which, operation, child, parent):
    """It is out of what it was on its way into, and is in no callback any more once that returns."""
    done = run_script(f"""
import os, stackless, warnings

warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork()
channel, pids = stackless.channel(), []

def callback(*args):
    if not pids:
        pids.append(os.fork())
        if pids[0]:
            assert os.waitpid(pids[0], 0)[1] == 0

stackless.tasklet(channel.send)("sent")
stackless.set_{which}_callback(callback)
try:
    result = {operation}
except RuntimeError as error:
    result = str(error).partition(":")[0]
stackless.set_{which}_callback(None)
other = stackless.channel()
stackless.tasklet(other.send)("works")
print(result, other.receive(), channel.balance if not pids[0] else "", flush=True)
if pids[0] == 0:
    os._exit(0)
""")
    assert done.stdout.split("\n")[:2] == [f"{child} works 0", f"{parent} works "]
