# SPDX-License-Identifier: MIT
"""Trace and profile functions per tasklet: sys.settrace, tasklet.trace_function, threading.settrace."""

import functools
import sys
import threading

import pytest
import stackless

from support import noop

PAIRS = [("trace_function", sys.settrace, sys.gettrace), ("profile_function", sys.setprofile, sys.getprofile)]
pair = pytest.mark.parametrize("name,setter,getter", PAIRS, ids=["trace", "profile"])


class Recorder:
    """A trace or profile function that keeps the names of the functions that were called."""

    def __init__(self):
        self.calls = []
        self.lines = []

    def __call__(self, frame, event, argument):
        if event == "call":
            self.calls.append(frame.f_code.co_name)
        elif event == "line":
            self.lines.append((frame.f_code.co_name, frame.f_lineno - frame.f_code.co_firstlineno))
        return self


def marked():
    pass


@pair
def test_initially_none(name, setter, getter):
    seen = []
    setter(lambda *args: None)
    try:
        t = stackless.tasklet(lambda: seen.append((getter(), getattr(stackless.getcurrent(), name))))()
        assert getattr(t, name) is None
        stackless.run()
    finally:
        setter(None)
    assert seen == [(None, None)]


@pair
def test_of_the_current_tasklet_it_is_that_of_sys(name, setter, getter):
    seen = []
    recorder = Recorder()

    def body():
        me = stackless.getcurrent()
        setter(recorder)
        seen.append(getattr(me, name))
        setattr(me, name, None)
        seen.append(getter())
        setattr(me, name, recorder)
        seen.append(getter())
        setter(None)
        seen.append(getattr(me, name))

    stackless.tasklet(body)()
    stackless.run()
    assert seen == [recorder, None, recorder, None]
    assert getter() is None


@pair
def test_set_on_a_fresh_tasklet(name, setter, getter):
    recorder = Recorder()

    def body():
        marked()

    t = stackless.tasklet(body)()
    setattr(t, name, recorder)
    assert getattr(t, name) is recorder
    stackless.run()
    assert recorder.calls == ["body", "marked"]
    assert getattr(t, name) is None, "it has ended"
    assert getter() is None


@pair
def test_set_on_a_suspended_tasklet(name, setter, getter):
    recorder = Recorder()
    other = []

    def body():
        marked()
        stackless.schedule_remove()
        marked()

    t = stackless.tasklet(body)()
    stackless.run()
    setattr(t, name, recorder)
    stackless.tasklet(lambda: other.append(getter()))()
    stackless.run()
    assert recorder.calls == [] and other == [None]
    t.run()
    assert recorder.calls == ["marked"]
    assert getter() is None


@pair
def test_cleared_on_a_suspended_tasklet(name, setter, getter):
    recorder = Recorder()
    seen = []

    def body():
        setter(recorder)
        marked()
        stackless.schedule_remove()
        marked()
        seen.append(getter())

    t = stackless.tasklet(body)()
    stackless.run()
    assert getattr(t, name) is recorder
    setattr(t, name, None)
    assert getattr(t, name) is None
    t.run()
    assert recorder.calls == ["marked"] and seen == [None]


@pair
def test_set_twice_before_it_runs(name, setter, getter):
    first, second = Recorder(), Recorder()
    t = stackless.tasklet(marked, ())
    setattr(t, name, first)
    setattr(t, name, second)
    t.run()
    assert first.calls == [] and second.calls == ["marked"]


@pair
def test_swapped_at_each_switch(name, setter, getter):
    recorders = {"a": Recorder(), "b": Recorder()}

    def a():
        stackless.schedule()
        marked()

    def b():
        stackless.schedule()
        noop()

    for body in (a, b):
        setattr(stackless.tasklet(body)(), name, recorders[body.__name__])
    stackless.run()
    assert recorders["a"].calls == ["a", "marked"]
    assert recorders["b"].calls == ["b", "noop"]


@pair
def test_on_a_tasklet_that_is_not_alive(name, setter, getter):
    recorder = Recorder()
    t = stackless.tasklet(marked)
    setattr(t, name, recorder)
    t()
    stackless.run()
    assert recorder.calls == ["marked"]
    t.bind(marked, ())
    t.run()
    assert recorder.calls == ["marked"], "the end has cleared it"


@pair
def test_cannot_be_deleted(name, setter, getter):
    with pytest.raises(AttributeError, match="None"):
        delattr(stackless.tasklet(), name)


@pair
def test_of_a_tasklet_that_runs_in_another_thread(name, setter, getter):
    ready, go = threading.Event(), threading.Event()
    found = []

    def body():
        found.append(stackless.getcurrent())
        ready.set()
        go.wait()

    thread = threading.Thread(target=body)
    thread.start()
    ready.wait()
    try:
        with pytest.raises(RuntimeError, match="another thread"):
            setattr(found[0], name, Recorder())
        assert getattr(found[0], name) is None
    finally:
        go.set()
        thread.join()


@functools.cache
def audit_listeners():
    """Lists to which events are appended. There is one hook, as none can be removed."""
    listeners = []

    def hook(event, args):
        for events in listeners:
            events.append(event)

    sys.addaudithook(hook)
    return listeners


@pair
def test_audited(name, setter, getter):
    events = []
    audit_listeners().append(events)
    setattr(stackless.tasklet(noop, ()), name, None)
    audit_listeners().clear()
    assert [event for event in events if event.startswith("sys.set")] == ["sys.set" + name.split("_")[0]]


def test_lines_of_a_suspended_frame():
    """A debugger that attaches to a suspended tasklet sets f_trace, too."""
    recorder = Recorder()

    def body():
        stackless.schedule_remove()
        noop()
        noop()

    t = stackless.tasklet(body)()
    stackless.run()
    t.trace_function = recorder
    t.frame.f_trace = recorder
    t.run()
    assert ("body", 2) in recorder.lines and ("body", 3) in recorder.lines


def test_a_trace_function_may_switch():
    order = []

    def tracer(frame, event, argument):
        if event == "call" and frame.f_code is marked.__code__:
            order.append("tracer")
            stackless.schedule()
            order.append("tracer again")
        return tracer

    def traced():
        sys.settrace(tracer)
        marked()
        sys.settrace(None)

    def other():
        inner = Recorder()
        sys.settrace(inner)
        marked()
        sys.settrace(None)
        order.append(inner.calls)

    stackless.tasklet(traced)()
    stackless.tasklet(other)()
    stackless.run()
    assert order == ["tracer", ["marked"], "tracer again"], "being inside a trace function is per tasklet, too"


@pytest.mark.parametrize("kind", ["settrace", "setprofile"])
def test_what_threading_sets_is_for_new_tasklets_too(kind):
    recorder = Recorder()
    early = stackless.tasklet(lambda: stackless.schedule_remove() or noop())()
    stackless.run()
    getattr(threading, kind)(recorder)
    try:
        stackless.tasklet(marked)()
        stackless.run()
        early.run()
    finally:
        getattr(threading, kind)(None)
    stackless.tasklet(noop)()
    stackless.run()
    assert recorder.calls == ["marked"]


def test_many_traced_tasklets():
    recorder = Recorder()
    for _ in range(200):
        t = stackless.tasklet(marked)()
        t.trace_function = recorder
    stackless.run()
    assert recorder.calls == ["marked"] * 200
