# SPDX-License-Identifier: MIT
"""Pickling and copying: tasklets that have not started, have ended or had started; channels, bombs, the module; the flags."""

import contextvars
import copy
import copyreg
import pickle
import threading

import pytest
import stackless

from support import noop, run_script

log = []


@pytest.fixture(autouse=True)
def empty_log():
    log.clear()
    yield
    log.clear()


def record(*args, **kwargs):
    log.append((args, kwargs))


def inner(argument):
    stackless.schedule_remove()
    log.append(argument)


def outer(argument):
    inner(argument)


def through(protocol):
    return lambda one: pickle.loads(pickle.dumps(one, protocol))


ways = pytest.mark.parametrize(
    "clone",
    [through(protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    + [lambda one: pickle._loads(pickle._dumps(one)), copy.deepcopy],
    ids=[f"protocol{n}" for n in range(pickle.HIGHEST_PROTOCOL + 1)] + ["python", "deepcopy"])


class Named(stackless.tasklet):
    pass


class Line(stackless.channel):
    pass


# tasklets that have not started, or have ended


@ways
def test_nothing_bound(clone):
    t = clone(stackless.tasklet())
    assert type(t) is stackless.tasklet
    assert not t.alive and t.tempval is None
    t.bind(record, (1,)).run()
    assert log == [((1,), {})]


@ways
def test_bound(clone):
    t = clone(stackless.tasklet(record))
    assert not t.alive and t.tempval is record
    t(1, a=2)
    stackless.run()
    assert log == [((1,), {"a": 2})]


@ways
def test_fresh(clone):
    source = stackless.tasklet(record, (1,), {"a": 2})
    t = clone(source)
    assert t.alive and t.paused and not t.scheduled
    assert t.thread_id == threading.get_ident()
    t.insert()
    stackless.run()
    assert log == [((1,), {"a": 2})]
    assert source.alive


@ways
def test_scheduled_is_loaded_paused(clone):
    source = stackless.tasklet(record)(1)
    t = clone(source)
    assert t.paused
    stackless.run()
    t.run()
    assert len(log) == 2


@ways
def test_ended(clone):
    source = stackless.tasklet(record)(1)
    stackless.run()
    t = clone(source)
    assert not t.alive and t.tempval is None and t.frame is None


@ways
def test_flags_and_name(clone):
    source = stackless.tasklet(record, (1,))
    source.set_atomic(True)
    source.set_ignore_nesting(True)
    source.block_trap = True
    source.name = "the writer"
    t = clone(source)
    assert t.atomic and t.ignore_nesting and t.block_trap
    assert t.name == "the writer"
    plain = clone(stackless.tasklet(record, (1,)))
    assert not plain.atomic and not plain.ignore_nesting and not plain.block_trap
    assert plain.name == "record"


@ways
def test_subclass_with_attributes(clone):
    source = Named(record, (1,))
    source.colour = ["red"]
    t = clone(source)
    assert type(t) is Named
    assert t.colour == ["red"] and t.colour is not source.colour
    assert vars(clone(Named(record))) == {}


@ways
def test_references_stay_shared(clone):
    shared = []
    one, two = clone([stackless.tasklet(record, (shared,)), stackless.tasklet(record, (shared,))])
    one.run()
    two.run()
    assert log[0][0][0] is log[1][0][0]


def test_copy_shares_the_arguments():
    argument = []
    t = copy.copy(stackless.tasklet(record, (argument,)))
    t.run()
    assert log[0][0][0] is argument


def test_a_function_that_cannot_be_pickled():
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        pickle.dumps(stackless.tasklet(lambda: None, ()))


def test_wire_format():
    t = stackless.tasklet(record, (1,), {"a": 2})
    kind, arguments, state = t.__reduce__()
    assert kind is stackless.tasklet and arguments == ()
    assert len(state) == 12
    flags, tempval, level, frames = state[:4]
    assert (flags, tempval, level) == (0, None, 0)
    frame, = frames
    assert type(frame) is stackless.cframe
    assert (frame.obj1, frame.obj2, frame.obj3) == (record, (1,), {"a": 2})
    t.set_atomic(True)
    t.block_trap = True
    assert t.__reduce_ex__(2)[2][0] == 4 + 32


def test_reduce_ex_wants_an_integer():
    for one in (stackless.tasklet(), stackless.channel()):
        with pytest.raises(TypeError, match="integer"):
            one.__reduce_ex__("2")


def test_the_current_tasklet():
    with pytest.raises(RuntimeError, match="You cannot __reduce__ the tasklet which is current"):
        stackless.getcurrent().__reduce__()
    with pytest.raises(RuntimeError, match="which is current"):
        pickle.dumps(stackless.getcurrent())


def test_setstate():
    state = stackless.tasklet(record, (1,)).__reduce__()[2]
    t = stackless.tasklet()
    assert t.__setstate__(state[:8]) is t  # the form of 3.7
    t.run()
    assert log == [((1,), {})]
    with pytest.raises(RuntimeError, match="tasklet is alive"):
        stackless.tasklet(record, ()).__setstate__(state)
    with pytest.raises(TypeError, match="8 items"):
        stackless.tasklet().__setstate__((1, 2))
    with pytest.raises(TypeError, match="8 items"):
        stackless.tasklet().__setstate__(5)


# tasklets that had started


@ways
def test_started(clone):
    source = stackless.tasklet(outer)("argument")
    stackless.run()
    t = clone(source)
    assert t.alive and t.paused and not t.restorable
    assert t.recursion_depth == source.recursion_depth == 2
    assert t.nesting_level == source.nesting_level
    frame = t.frame
    assert (frame.f_code.co_name, frame.f_code.co_filename, frame.f_lineno) == ("inner", __file__, source.frame.f_lineno)
    assert frame.f_back.f_code.co_name == "outer"
    assert frame.f_back.f_back is None
    assert t.name == "outer"
    with pytest.raises(RuntimeError, match="it stood in inner, .*frame had a C state that can't be restored"):
        t.run()
    assert not t.alive
    assert log == []
    source.run()
    assert log == ["argument"]


@ways
def test_started_and_killed(clone):
    source = stackless.tasklet(outer)("argument")
    stackless.run()
    t = clone(source)
    t.kill()
    assert not t.alive and t.frame is None and t.recursion_depth == 0
    source.kill()


@ways
def test_started_twice_over(clone):
    source = stackless.tasklet(outer)("argument")
    stackless.run()
    t = clone(clone(source))
    assert t.recursion_depth == 2 and t.frame.f_code.co_name == "inner"
    t.bind(record, (1,)).run()
    assert log == [((1,), {})]
    source.kill()


def test_loaded_in_another_process():
    source = stackless.tasklet(outer)("argument")
    stackless.run()
    text = pickle.dumps([source, stackless.tasklet(print, ("loaded",)), stackless.channel()]).hex()
    source.kill()
    done = run_script(
        f"""
        import pickle, stackless
        started, fresh, channel = pickle.loads(bytes.fromhex({text!r}))
        fresh.run()
        print(started.frame.f_code.co_name, channel.balance)
        try:
            started.run()
        except RuntimeError as error:
            print("RuntimeError", "C state" in str(error))
        """)
    assert done.lines == ["loaded", "inner 0", "RuntimeError True"]


# channels


@ways
def test_channel(clone):
    source = stackless.channel()
    source.preference = 1
    source.schedule_all = 1
    source.close()
    c = clone(source)
    assert type(c) is stackless.channel
    assert (c.preference, c.schedule_all, c.closing, c.balance) == (1, 1, True, 0)
    for preference in (-1, 0, 1):
        source.preference = preference
        assert clone(source).preference == preference


def test_channel_wire_format():
    assert stackless.channel().__reduce__() == (stackless.channel, (), (0, 6, []))


@ways
def test_channel_subclass_with_attributes(clone):
    source = Line()
    source.label = "x"
    c = clone(source)
    assert type(c) is Line and c.label == "x"


@ways
def test_channel_with_a_buffer(clone):
    source = stackless.channel(capacity=3)
    source.send("one")
    source.send(None)
    c = clone(source)
    assert c.capacity == 3
    assert [c.receive(), c.receive()] == ["one", None]
    assert source.receive() == "one"
    source.close()
    c = clone(source)
    assert list(c) == [None]


def sender(channel, value):
    channel.send(value)
    log.append("sent")


def receiver(channel):
    log.append(channel.receive())


@ways
@pytest.mark.parametrize("direction", [1, -1])
def test_channel_with_blocked_tasklets(clone, direction):
    source = stackless.channel()
    for value in range(2):
        stackless.tasklet(sender if direction > 0 else receiver)(*([source, value] if direction > 0 else [source]))
    stackless.run()
    c = clone(source)
    assert c.balance == 2 * direction == source.balance
    first = c.queue
    assert first.blocked and first.scheduled and first._channel is c
    assert first.recursion_depth == 1
    if direction > 0:
        assert [c.receive(), c.receive()] == [0, 1]
    else:
        c.preference = 1
        c.send(5)
        c.send(6)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="C state"):
            stackless.run()
    assert c.balance == 0 and log == []
    while source.queue:
        source.queue.kill()


def test_copy_of_a_channel_with_blocked_tasklets():
    source = stackless.channel()
    t = stackless.tasklet(receiver)(source)
    stackless.run()
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.copy(source)
    t.kill()


def test_a_loaded_channel_that_goes_releases_its_tasklets():
    source = stackless.channel()
    stackless.tasklet(receiver)(source)
    stackless.run()
    c = copy.deepcopy(source)
    t = c.queue
    del c
    assert not t.blocked and t.paused and t._channel is None
    t.kill()
    source.queue.kill()


# bombs and the module


@ways
def test_bomb(clone):
    b = clone(stackless.bomb(ValueError, "text"))
    assert (b.type, b.value, b.traceback) == (ValueError, "text", None)
    c = stackless.channel()
    stackless.tasklet(c.send)(b)
    with pytest.raises(ValueError, match="text"):
        c.receive()
    stackless.run()


def test_copy_of_a_bomb():
    b = copy.copy(stackless.bomb(ValueError, "text"))
    assert (b.type, b.value) == (ValueError, "text")


@ways
def test_module(clone):
    assert clone(stackless) is stackless


def test_copy_of_the_module():
    assert copy.copy(stackless) is stackless
    assert stackless.__reduce__() == "stackless"


# flags


@pytest.fixture
def flags():
    before = stackless.pickle_flags(), stackless.pickle_flags_default()
    yield
    stackless.pickle_flags(before[0])
    stackless.pickle_flags_default(before[1])


@pytest.mark.parametrize("function", [stackless.pickle_flags, stackless.pickle_flags_default])
def test_pickle_flags(function, flags):
    assert function() == 0
    assert function(5) == 0
    assert function(2, 3) == 5
    assert function(-1) == 6
    assert function(-1, 0) == 6
    assert function(0, 0) == 6
    assert function() == 6
    for wrong in ((16,), (-2,), (16, 16), (17,)):
        with pytest.raises(ValueError, match="you must not set an undefined pickle-flag"):
            function(*wrong)
    assert function(16, 1) == 6  # not in the mask
    assert function() == 6


def test_flags_of_threads(flags):
    stackless.pickle_flags(1)
    stackless.pickle_flags_default(8)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(stackless.pickle_flags()))
    thread.start()
    thread.join()
    assert seen == [8]
    assert stackless.pickle_flags() == 1


def test_all_flags_have_names():
    names = [name for name in dir(stackless) if name.startswith("PICKLEFLAGS_")]
    assert sorted(getattr(stackless, name) for name in names) == [1, 2, 4, 8]
    with pytest.raises(ValueError):
        stackless.pickle_flags(1 << len(names))


def tracer(frame, event, argument):
    return None


@ways
def test_tracing_state(clone, flags):
    source = stackless.tasklet(record, ())
    source.trace_function = tracer
    assert clone(source).trace_function is None
    stackless.pickle_flags(stackless.PICKLEFLAGS_PRESERVE_TRACING_STATE)
    assert stackless.pickle_with_tracing_state is True
    assert clone(source).trace_function is tracer


def test_the_deprecated_attribute(flags, monkeypatch):
    source = stackless.tasklet(record, ())
    source.profile_function = tracer
    assert stackless.pickle_with_tracing_state is False
    monkeypatch.setattr(stackless, "pickle_with_tracing_state", True)
    assert copy.copy(source).profile_function is tracer


variable = contextvars.ContextVar("variable", default="default")


def test_context(flags):
    source = stackless.tasklet(record, ())
    source.context_run(variable.set, "x")
    assert copy.copy(source).context_run(variable.get) == "default"
    stackless.pickle_flags(stackless.PICKLEFLAGS_PICKLE_CONTEXT)
    assert copy.copy(source).context_run(variable.get) == "x"
    with pytest.raises(TypeError):
        pickle.dumps(source)  # contexts do not pickle, unless the program says how
    copyreg.pickle(contextvars.Context, lambda context: (contextvars.Context, ()))
    try:
        assert pickle.loads(pickle.dumps(source)).context_run(variable.get) == "default"
    finally:
        copyreg.dispatch_table.pop(contextvars.Context)


# debug types


def test_cframe():
    assert isinstance(stackless.cframe, type)


def test_cstate():
    t = stackless.tasklet(noop, ())
    stack = t.cstate
    assert isinstance(stack, stackless.cstack)
    assert (stack.size, stack.task, stack.nesting_level) == (0, None, 0)
    assert stack.next is stack and stack.prev is stack
    assert len(str(stack)) == 0
    with pytest.raises(AttributeError):
        t.cstate = None
