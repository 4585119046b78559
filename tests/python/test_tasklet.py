# SPDX-License-Identifier: MIT
"""The tasklet type: life cycle, construction, bind, setup, insert, remove, run, switch, subclasses.

Attributes have test_tasklet_attributes.py, throw and kill test_throw_kill.py. Not covered: bind_thread.
"""

import sys
import weakref

import pytest
import stackless

from support import noop

STATES = ("alive", "paused", "scheduled", "blocked")


def state(tasklet):
    return tuple(getattr(tasklet, name) for name in STATES)


NOT_ALIVE = (False, False, False, False)
PAUSED = (True, True, False, False)
SCHEDULED = (True, False, True, False)
BLOCKED = (True, False, True, True)


# life cycle


def test_state_of_a_bare_tasklet():
    t = stackless.tasklet()
    assert state(t) == NOT_ALIVE
    assert t.tempval is None


def test_state_of_a_bound_tasklet():
    t = stackless.tasklet(noop)
    assert state(t) == NOT_ALIVE
    assert t.tempval is noop


@pytest.mark.parametrize(
    "make",
    [
        lambda: stackless.tasklet(noop, ()),
        lambda: stackless.tasklet(noop, (), {}),
        lambda: stackless.tasklet(noop, None, {}),
        lambda: stackless.tasklet(noop, (1,), {"a": 2}),
        lambda: stackless.tasklet(func=noop, args=(), kwargs={}),
        lambda: stackless.tasklet().bind(noop, ()),
        lambda: stackless.tasklet(noop).bind(None, ()),
        lambda: stackless.tasklet(noop).bind(args=()),
        lambda: stackless.tasklet(noop).bind(kwargs={}),
    ],
)
def test_state_of_a_tasklet_with_arguments(make):
    t = make()
    assert state(t) == PAUSED
    assert t.tempval is None
    assert t.next is None


@pytest.mark.parametrize("make", [lambda: stackless.tasklet(noop)(), lambda: stackless.tasklet(noop).setup()])
def test_state_of_a_scheduled_tasklet(make):
    t = make()
    assert state(t) == SCHEDULED
    assert t.tempval is None
    stackless.run()
    assert state(t) == NOT_ALIVE


def test_state_of_the_current_tasklet():
    seen = []
    t = stackless.tasklet(lambda: seen.append((state(t), t.tempval)))()
    stackless.run()
    assert seen == [(SCHEDULED, None)]
    assert state(stackless.getcurrent()) == SCHEDULED


def test_state_of_a_watchdog():
    seen = []
    stackless.tasklet(lambda: seen.append(state(stackless.getmain())))()
    stackless.run()
    assert seen == [PAUSED]


def test_state_of_a_blocked_receiver():
    channel = stackless.channel()
    t = stackless.tasklet(channel.receive)()
    stackless.run()
    assert state(t) == BLOCKED
    assert t.tempval is None
    channel.send(0)
    assert state(t) == NOT_ALIVE


def test_state_of_a_blocked_sender():
    channel = stackless.channel()
    t = stackless.tasklet(channel.send)("value")
    stackless.run()
    assert state(t) == BLOCKED
    assert t.tempval == "value"
    assert channel.receive() == "value"
    stackless.run()


def test_state_of_a_started_paused_tasklet():
    t = stackless.tasklet(stackless.schedule)()
    t.run()
    assert state(t) == SCHEDULED
    t.remove()
    assert state(t) == PAUSED
    t.insert()
    assert state(t) == SCHEDULED
    stackless.run()
    assert state(t) == NOT_ALIVE


def test_state_after_an_error():
    t = stackless.tasklet(lambda: 1 / 0)()
    with pytest.raises(ZeroDivisionError):
        stackless.run()
    assert state(t) == NOT_ALIVE
    assert t.tempval is None


def test_state_after_kill():
    t = stackless.tasklet(stackless.schedule)()
    t.run()
    t.kill()
    assert state(t) == NOT_ALIVE


def test_writing_a_callable_to_tempval_binds_it(trace):
    t = stackless.tasklet()
    t.tempval = trace.append
    t("through tempval")
    stackless.run()
    assert trace == ["through tempval"]


def test_a_dead_tasklet_can_be_used_again(trace):
    t = stackless.tasklet(trace.append)(1)
    stackless.run()
    assert t.bind(trace.append) is t
    assert t(2) is t
    stackless.run()
    t.bind(trace.append, (3,)).insert()
    stackless.run()
    assert trace == [1, 2, 3]


def test_a_dead_tasklet_must_be_bound_anew():
    t = stackless.tasklet(noop)()
    stackless.run()
    with pytest.raises(RuntimeError, match="the tasklet was not bound to a function"):
        t()


# construction


def test_new_ignores_its_arguments():
    t = stackless.tasklet.__new__(stackless.tasklet, 1, 2, 3, 4, bogus=5)
    assert state(t) == NOT_ALIVE
    assert t.tempval is None


def test_init_is_bind():
    t = stackless.tasklet.__new__(stackless.tasklet)
    t.__init__(noop, (1,))
    assert state(t) == PAUSED
    with pytest.raises(TypeError, match="callable"):
        t.__init__(5)


def test_construction_argument_errors():
    with pytest.raises(TypeError, match=r"(takes|expected) at most 3 (positional )?argument"):
        stackless.tasklet(noop, (), {}, 4)
    with pytest.raises(TypeError, match="tasklet function must be a callable or None"):
        stackless.tasklet(5)


def test_arguments_arrive(trace):
    def body(*args, **kwargs):
        trace.append((args, kwargs))

    stackless.tasklet(body)(1, 2, a=3)
    stackless.tasklet(body).setup(4, b=5)
    stackless.tasklet(body, (6,), {"c": 7}).insert()
    stackless.tasklet(body).bind(None, (8,)).insert()
    stackless.tasklet(body)(func=1, args=2, kwargs=3, self=4)
    stackless.run()
    assert trace == [
        ((1, 2), {"a": 3}),
        ((4,), {"b": 5}),
        ((6,), {"c": 7}),
        ((8,), {}),
        ((), {"func": 1, "args": 2, "kwargs": 3, "self": 4}),
    ]


def test_any_callable_will_do(trace):
    class Callable:
        def __call__(self, value):
            trace.append(value)

        def method(self, value):
            trace.append(value)

    stackless.tasklet(Callable())(1)
    stackless.tasklet(Callable().method)(2)
    stackless.tasklet(trace.append)(3)
    stackless.tasklet(lambda value: trace.append(value))(4)
    stackless.tasklet(Callable)()
    stackless.run()
    assert trace == [1, 2, 3, 4]


def test_wrong_arguments_for_the_function_surface_in_main():
    def one(argument):
        pass

    stackless.tasklet(one)()
    with pytest.raises(TypeError, match="argument"):
        stackless.run()


# bind


def test_bind_returns_the_tasklet():
    t = stackless.tasklet()
    assert t.bind(noop) is t
    assert t.tempval is noop
    assert t.bind(None) is t
    assert t.tempval is None
    assert t.bind(noop, ()) is t


def test_bind_checks_its_types():
    t = stackless.tasklet()
    with pytest.raises(TypeError, match="tasklet function must be a callable or None"):
        t.bind(5)
    with pytest.raises(TypeError, match="tasklet args must be a tuple or None"):
        t.bind(noop, [1])
    with pytest.raises(TypeError, match="tasklet kwargs must be a dictionary or None"):
        t.bind(noop, (), 5)
    with pytest.raises(TypeError, match=r"(takes|expected) at most 3 (positional )?argument"):
        t.bind(noop, (), {}, 4)
    assert state(t) == NOT_ALIVE
    assert t.tempval is None


def test_bind_checks_types_before_anything_else():
    current = stackless.getcurrent()
    with pytest.raises(TypeError, match="callable"):
        current.bind(5)
    with pytest.raises(TypeError, match="tuple"):
        current.bind(noop, [])
    with pytest.raises(TypeError, match="dictionary"):
        current.bind(noop, (), [])


def test_bind_refuses_the_current_tasklet():
    with pytest.raises(RuntimeError, match=r"can't \(re\)bind the current tasklet"):
        stackless.getcurrent().bind(noop)
    with pytest.raises(RuntimeError, match="current tasklet"):
        stackless.getcurrent().bind(None)


def test_bind_refuses_a_scheduled_tasklet():
    t = stackless.tasklet(noop)()
    with pytest.raises(RuntimeError, match="tasklet is scheduled"):
        t.bind(noop)
    with pytest.raises(RuntimeError, match="tasklet is scheduled"):
        t.bind(None)
    stackless.run()
    assert not t.alive


def test_bind_refuses_a_blocked_tasklet():
    channel = stackless.channel()
    t = stackless.tasklet(channel.receive)()
    stackless.run()
    with pytest.raises(RuntimeError, match="tasklet is scheduled"):
        t.bind(noop)
    channel.send(None)


def test_bind_refuses_to_unbind_main():
    errors = []

    def body():
        try:
            stackless.getmain().bind(None)
        except RuntimeError as error:
            errors.append(str(error))

    stackless.tasklet(body)()
    stackless.run()
    # main sits in run() with frames on its stack, so either reason is right
    assert len(errors) == 1
    assert "can't unbind the main tasklet" in errors[0] or "C state" in errors[0]


def test_bind_of_arguments_needs_a_callable():
    t = stackless.tasklet()
    with pytest.raises(RuntimeError, match="the tasklet was not bound to a function"):
        t.bind(None, ())
    assert t.tempval is None
    t.tempval = "kept"
    with pytest.raises((RuntimeError, TypeError)):
        t.bind(None, ())
    assert t.tempval == "kept"


def test_bind_replaces_the_function_of_a_fresh_tasklet(trace):
    t = stackless.tasklet(trace.append, ("first",))
    t.bind(trace.append, ("second",))
    t.run()
    assert trace == ["second"]


def test_bind_without_arguments_drops_a_fresh_state():
    t = stackless.tasklet(noop, ())
    t.bind(noop)
    assert state(t) == NOT_ALIVE
    assert t.tempval is noop
    t = stackless.tasklet(noop, ())
    t.bind()
    assert state(t) == NOT_ALIVE
    assert t.tempval is None


@pytest.mark.parametrize("again", [None, noop])
def test_bind_unwinds_a_started_paused_tasklet(trace, again):
    """What `restorable` promises: its finally blocks run first, then it is as new."""

    def body():
        try:
            stackless.schedule_remove()
        finally:
            trace.append("finally")

    t = stackless.tasklet(body)()
    stackless.run()
    assert state(t) == PAUSED and t.restorable
    assert t.bind(again) is t
    assert trace == ["finally"]
    assert state(t) == NOT_ALIVE
    assert t.tempval is again


def test_bind_of_one_that_refuses_to_be_unwound():
    def body():
        while stay:
            try:
                stackless.schedule_remove()
            except stackless.TaskletExit:
                pass

    stay = True
    t = stackless.tasklet(body)()
    stackless.run()
    with pytest.raises(RuntimeError, match="C state"):
        t.bind(None)
    assert state(t) == PAUSED
    stay = False
    t.kill()


def test_bind_of_one_that_stands_in_a_c_function(trace):
    def body():
        try:
            list(map(lambda _: stackless.schedule_remove(), [1]))
        finally:
            trace.append("finally")

    t = stackless.tasklet(body)()
    stackless.run()
    assert not t.restorable
    with pytest.raises(RuntimeError, match="C state"):
        t.bind(None)
    assert trace == [] and state(t) == PAUSED
    t.kill()


# setup and call


def test_setup_returns_the_tasklet():
    t = stackless.tasklet(noop)
    assert t.setup() is t
    stackless.run()


def test_setup_errors():
    with pytest.raises(RuntimeError, match="the tasklet was not bound to a function"):
        stackless.tasklet()()
    with pytest.raises(RuntimeError, match="the tasklet was not bound to a function"):
        stackless.tasklet().setup()
    fresh = stackless.tasklet(noop, ())
    with pytest.raises(RuntimeError, match="tasklet is alive"):
        fresh()
    scheduled = stackless.tasklet(noop)()
    with pytest.raises(RuntimeError, match="tasklet is alive"):
        scheduled.setup()
    with pytest.raises(RuntimeError, match="tasklet is alive"):
        stackless.getcurrent()()
    stackless.run()


def test_setup_goes_to_the_end_of_the_ring(trace):
    trace.logger("a")
    t = trace.name("b", stackless.tasklet(trace.append))
    assert trace.ring() == "main a"
    t("b")
    assert trace.ring() == "main a b"
    stackless.run()


# insert and remove


def test_insert_appends_and_returns_the_tasklet(trace):
    trace.logger("a")
    b = trace.paused("b", trace.append, "b")
    assert b.insert() is b
    assert trace.ring() == "main a b"
    stackless.run()
    assert trace == ["a", "b"]


def test_insert_of_a_scheduled_tasklet_does_not_move_it(trace):
    a = trace.logger("a")
    trace.logger("b")
    a.insert()
    assert trace.ring() == "main a b"
    current = stackless.getcurrent()
    assert current.insert() is current
    assert stackless.getruncount() == 3
    stackless.run()


def test_insert_errors():
    channel = stackless.channel()
    blocked = stackless.tasklet(channel.receive)()
    stackless.run()
    with pytest.raises(RuntimeError, match="You cannot run a blocked tasklet"):
        blocked.insert()
    assert channel.balance == -1
    channel.send(None)
    for dead in (blocked, stackless.tasklet(), stackless.tasklet(noop)):
        with pytest.raises(RuntimeError, match=r"You cannot run an unbound\(dead\) tasklet"):
            dead.insert()


def test_remove_unlinks_and_returns_the_tasklet(trace):
    a = trace.logger("a")
    trace.logger("b")
    assert a.remove() is a
    assert state(a) == PAUSED
    assert trace.ring() == "main b"
    assert a.remove() is a, "a paused one is left alone"
    stackless.run()
    assert trace == ["b"]
    a.insert()
    stackless.run()
    assert trace == ["b", "a"]


def test_remove_of_a_dead_tasklet_does_nothing():
    t = stackless.tasklet()
    assert t.remove() is t
    assert state(t) == NOT_ALIVE


def test_remove_errors():
    channel = stackless.channel()
    blocked = stackless.tasklet(channel.receive)()
    stackless.run()
    with pytest.raises(RuntimeError, match="You cannot remove a blocked tasklet."):
        blocked.remove()
    channel.send(None)
    with pytest.raises(RuntimeError, match="The current tasklet cannot be removed."):
        stackless.getcurrent().remove()
    assert stackless.getruncount() == 1


@pytest.mark.parametrize("name", ["insert", "remove", "run", "switch"])
def test_plain_methods_take_no_arguments(name):
    with pytest.raises(TypeError, match="takes no arguments"):
        getattr(stackless.tasklet(noop, ()), name)(1)


# run and switch


def test_run_keeps_the_caller_in_the_ring(trace):
    seen = []
    t = trace.paused("t", lambda: seen.append((trace.ring(), state(stackless.getmain()))))
    assert t.run() is None
    assert seen == [("t main", SCHEDULED)]


def test_run_returns_the_callers_tempval():
    t = stackless.tasklet(noop, ())
    marker = object()
    stackless.getcurrent().tempval = marker
    assert t.run() is marker
    assert stackless.getcurrent().tempval is None


def test_run_errors():
    channel = stackless.channel()
    blocked = stackless.tasklet(channel.receive)()
    stackless.run()
    with pytest.raises(RuntimeError, match="You cannot run a blocked tasklet"):
        blocked.run()
    channel.send(None)
    with pytest.raises(RuntimeError, match=r"You cannot run an unbound\(dead\) tasklet"):
        blocked.run()
    with pytest.raises(RuntimeError, match="dead"):
        stackless.tasklet(noop).run()


def test_switch_pauses_the_caller(trace):
    seen = []

    def body():
        seen.append((trace.ring(), state(stackless.getmain())))
        stackless.getmain().insert()

    trace.paused("t", body).switch()
    assert seen == [("t", PAUSED)]
    assert stackless.getruncount() == 1


def test_switch_back_and_forth(trace):
    main = stackless.getmain()

    def body():
        trace.append("one")
        main.switch()
        trace.append("two")

    t = stackless.tasklet(body, ())
    t.switch()
    trace.append("main")
    assert state(t) == PAUSED
    t.switch()
    assert trace == ["one", "main", "two"]
    assert not t.alive


def test_switch_returns_the_callers_tempval():
    t = stackless.tasklet(noop, ())
    stackless.getcurrent().tempval = "mine"
    assert t.switch() == "mine"


def test_switch_wakes_main_when_everything_ends(trace):
    trace.logger("x")
    trace.paused("t", trace.append, "t").switch()
    assert sorted(trace) == ["t", "x"]
    assert stackless.getruncount() == 1


def test_switch_wakes_main_when_everything_blocks():
    channel = stackless.channel()
    t = stackless.tasklet(channel.receive, ())
    t.switch()
    assert t.blocked
    channel.send(None)


def test_switch_between_tasklets_under_run(trace):
    def first():
        trace.append("first")
        second.switch()
        trace.append("first again")

    def second_body():
        trace.append("second")

    a = trace.new("first", first)
    second = trace.paused("second", second_body)
    stackless.run()
    assert trace == ["first", "second"]
    assert state(a) == PAUSED
    a.run()
    assert trace[-1] == "first again"


def test_switch_errors():
    channel = stackless.channel()
    blocked = stackless.tasklet(channel.receive)()
    stackless.run()
    with pytest.raises(RuntimeError, match="You cannot run a blocked tasklet"):
        blocked.switch()
    assert not stackless.getcurrent().paused
    channel.send(None)
    with pytest.raises(RuntimeError, match="dead"):
        blocked.switch()
    assert stackless.getruncount() == 1


# the type


def test_identity_hash_and_truth():
    a, b = stackless.tasklet(noop), stackless.tasklet(noop)
    assert a == a and a != b
    assert len({a, b, a}) == 2
    assert bool(a) and bool(stackless.tasklet())
    with pytest.raises(TypeError):
        a < b


def test_exact_instances_have_no_dict_but_weak_references():
    t = stackless.tasklet()
    assert not hasattr(t, "__dict__")
    with pytest.raises(AttributeError):
        t.anything = 1
    reference = weakref.ref(t)
    assert reference() is t
    del t
    assert reference() is None


def test_subclass_has_a_dict_and_own_constructors(trace):
    class Sub(stackless.tasklet):
        def __new__(cls, *args, **kwargs):
            trace.append(("new", args))
            return super().__new__(cls)

        def __init__(self, function, extra):
            super().__init__(function)
            self.extra = extra

        def __call__(self, *args):
            trace.append(("call", args))
            return super().__call__(*args)

    t = Sub(trace.append, "extra")
    assert t.extra == "extra"
    assert t("hello") is t
    stackless.run()
    assert [entry[0] if isinstance(entry, tuple) else entry for entry in trace] == ["new", "call", "hello"]


def test_internal_operations_do_not_call_overridden_methods(trace):
    class Sub(stackless.tasklet):
        def insert(self):
            trace.append("insert")
            return super().insert()

        def remove(self):
            trace.append("remove")
            return super().remove()

    t = Sub(noop)
    t.setup()
    stackless.run()
    t.bind(noop, ()).run()
    assert trace == []


def test_a_tasklet_may_start_many_levels_of_tasklets():
    """Each starts with the whole recursion limit, even when started by the one before."""
    depth = [0]

    def body(left):
        depth[0] += 1
        if left:
            stackless.tasklet(body)(left - 1).run()

    stackless.tasklet(body)(1200).run()
    stackless.run()
    assert depth == [1201]


def test_the_whole_recursion_limit_is_available():
    reached = []

    def recurse(left):
        return 1 + recurse(left - 1) if left else 0

    limit = sys.getrecursionlimit()
    stackless.tasklet(lambda: reached.append(recurse(limit - 50)))()
    stackless.run()
    assert reached == [limit - 50]


def test_switching_inside_generators_comprehensions_and_sort(trace):
    def generate():
        for number in range(3):
            stackless.schedule()
            yield number

    def key(value):
        stackless.schedule()
        return -value

    def body(name):
        trace.append((name, list(generate()), sorted(range(4), key=key), [stackless.schedule(i) for i in range(2)]))

    for name in "ab":
        stackless.tasklet(body)(name)
    stackless.run()
    assert trace == [(name, [0, 1, 2], [3, 2, 1, 0], [0, 1]) for name in "ab"]


def test_switching_inside_context_managers_and_comparisons(trace):
    class Manager:
        def __enter__(self):
            stackless.schedule()
            return self

        def __exit__(self, *info):
            stackless.schedule()

    class Value:
        def __init__(self, value):
            self.value = value

        def __lt__(self, other):
            stackless.schedule()
            return self.value < other.value

    def body(name):
        with Manager():
            values = sorted(map(Value, [3, 1, 2]))
        trace.append((name, [value.value for value in values]))

    for name in "abc":
        stackless.tasklet(body)(name)
    stackless.run()
    assert trace == [(name, [1, 2, 3]) for name in "abc"]


def test_outermost_frame_has_no_back():
    seen = []

    def body():
        seen.append(sys._getframe().f_back)

    stackless.tasklet(body)()
    stackless.run()
    assert seen == [None]
