# SPDX-License-Identifier: MIT
"""Context variables of tasklets: set_context, context_run, context_id, what is inherited and what leaks."""

import contextvars
import threading

import pytest
import stackless

from support import noop

variable = contextvars.ContextVar("variable", default="default")


def context_with(value):
    context = contextvars.Context()
    context.run(variable.set, value)
    return context


def test_context_id_is_the_identity_of_the_context():
    context = context_with("x")
    t = stackless.tasklet(noop, ())
    assert t.set_context(context) is t
    assert t.context_id == id(context)


def test_context_id_makes_a_context_that_stays():
    t = stackless.tasklet()
    first = t.context_id
    assert isinstance(first, int)
    assert t.context_id == first


def test_context_id_of_the_current_tasklet():
    seen = []
    context = context_with("x")
    t = stackless.tasklet(lambda: seen.append(stackless.getcurrent().context_id), ())
    t.set_context(context)
    t.run()
    assert seen == [id(context)]
    contextvars.Context().run(lambda: seen.append(stackless.getcurrent().context_id))
    assert seen[1] != id(context)


def test_no_context_is_as_an_empty_one():
    seen = []
    t = stackless.tasklet(lambda: seen.append((variable.get(), len(contextvars.copy_context()))), ())
    t.set_context(contextvars.Context())
    t.run()
    assert seen == [("default", 0)]


def test_a_bare_tasklet_has_an_empty_context():
    token = variable.set("mine")
    try:
        t = stackless.tasklet()
        assert t.context_run(variable.get) == "default"
    finally:
        variable.reset(token)


def test_set_context_before_the_start():
    seen = []
    t = stackless.tasklet(lambda: seen.append(variable.get()), ())
    t.set_context(context_with("given"))
    t.run()
    assert seen == ["given"]
    assert variable.get() == "default"


def test_a_context_may_be_shared():
    context = context_with("first")
    seen = []

    def one():
        variable.set("second")
        stackless.schedule()
        seen.append(variable.get())

    def two():
        seen.append(variable.get())
        variable.set("third")

    for body in (one, two):
        stackless.tasklet(body)().set_context(context)
    stackless.run()
    assert seen == ["second", "third"]
    assert context[variable] == "third"


def test_set_context_of_a_suspended_tasklet():
    channel = stackless.channel()
    seen = []

    def body():
        variable.set("own")
        channel.receive()
        seen.append(variable.get())
        stackless.schedule_remove()
        seen.append(variable.get())

    t = stackless.tasklet(body)()
    stackless.run()
    t.set_context(context_with("while blocked"))
    channel.send(None)
    stackless.run()
    t.set_context(context_with("while paused"))
    t.run()
    assert seen == ["while blocked", "while paused"]


def test_set_context_of_the_current_tasklet():
    seen = []

    def body():
        stackless.getcurrent().set_context(context_with("new"))
        seen.append(variable.get())
        stackless.schedule()
        seen.append(variable.get())

    stackless.tasklet(body)()
    stackless.run()
    assert seen == ["new", "new"]


@pytest.mark.parametrize("value", [None, 1, {}, "context"])
def test_set_context_wants_a_context(value):
    with pytest.raises(TypeError, match="contextvars.Context"):
        stackless.tasklet(noop).set_context(value)


def test_set_context_while_the_present_one_is_entered():
    def body():
        with pytest.raises(RuntimeError, match="the current context of the tasklet has been entered"):
            stackless.getcurrent().set_context(contextvars.Context())
        seen.append("refused")
        stackless.schedule_remove()

    seen = []
    t = stackless.tasklet(contextvars.Context().run, (body,))
    t.run()
    with pytest.raises(RuntimeError, match="has been entered"):
        t.set_context(contextvars.Context())
    assert seen == ["refused"]
    t.run()


def test_set_context_on_a_foreign_thread():
    ready, go = threading.Event(), threading.Event()
    found = []

    def body():
        runnable = stackless.tasklet(noop)()
        found.extend([stackless.getmain(), runnable, stackless.tasklet(noop, ())])
        ready.set()
        go.wait()
        runnable.kill()

    thread = threading.Thread(target=body)
    thread.start()
    ready.wait()
    try:
        for t in found[:2]:
            with pytest.raises(RuntimeError, match="tasklet belongs to a different thread"):
                t.set_context(contextvars.Context())
        found[2].set_context(context_with("allowed"))
        assert found[2].context_run(variable.get) == "allowed"
    finally:
        go.set()
        thread.join()


# context_run


def test_context_run():
    t = stackless.tasklet(noop, ())
    t.set_context(context_with("theirs"))
    assert t.context_run(lambda *args, **kwargs: (variable.get(), args, kwargs), 1, a=2) == ("theirs", (1,), {"a": 2})
    assert variable.get() == "default"


def test_context_run_changes_the_target():
    t = stackless.tasklet(noop, ())
    t.context_run(variable.set, "changed")
    assert t.context_run(variable.get) == "changed"
    assert variable.get() == "default"


def test_context_run_restores_after_an_exception():
    token = variable.set("mine")
    try:
        with pytest.raises(ZeroDivisionError):
            stackless.tasklet().context_run(lambda: 1 / 0)
        assert variable.get() == "mine"
    finally:
        variable.reset(token)


def test_context_run_runs_in_the_caller():
    t = stackless.tasklet(noop, ())
    assert t.context_run(stackless.getcurrent) is stackless.getcurrent()


def test_context_run_may_switch():
    seen = []
    t = stackless.tasklet(noop, ())
    t.set_context(context_with("theirs"))

    def other():
        seen.append(variable.get())

    def inside():
        seen.append(variable.get())
        stackless.schedule()
        seen.append(variable.get())

    stackless.tasklet(other)()
    t.context_run(inside)
    assert seen == ["theirs", "default", "theirs"]
    assert variable.get() == "default"


def test_context_run_of_oneself_and_nested():
    main = stackless.getmain()
    a = stackless.tasklet(noop, ()).set_context(context_with("a"))
    b = stackless.tasklet(noop, ()).set_context(context_with("b"))
    assert a.context_run(lambda: (variable.get(), b.context_run(variable.get), variable.get())) == ("a", "b", "a")
    assert main.context_run(variable.get) == "default"


def test_context_run_wants_a_callable():
    with pytest.raises(TypeError):
        stackless.tasklet().context_run()
    with pytest.raises(TypeError):
        stackless.tasklet().context_run(1)


# the variables' caches


def test_no_value_of_the_tasklet_before():
    """The next tasklet on the same stack and thread state sees nothing of the one before."""
    seen = []

    def body(value):
        seen.append(variable.get())
        variable.set(value)
        seen.append(variable.get())

    for value in range(20):
        stackless.tasklet(body)(value)
        stackless.run()
    assert seen == [x for value in range(20) for x in ("default", value)]


def test_tokens():
    def body():
        token = variable.set("one")
        stackless.schedule()
        variable.reset(token)
        return seen.append(variable.get())

    seen = []
    for _ in range(3):
        stackless.tasklet(body)()
    stackless.run()
    assert seen == ["default"] * 3


def test_the_context_goes_with_the_tasklet():
    class Value:
        pass

    import weakref

    def body():
        value = Value()
        freed.append(weakref.ref(value))
        variable.set(value)

    freed = []
    stackless.tasklet(body)()
    stackless.run()
    assert freed[0]() is None
