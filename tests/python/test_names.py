# SPDX-License-Identifier: MIT
"""How a tasklet is recognised: name, created_at, repr, the note on an exception."""

import functools
import sys

import pytest
import stackless

from support import noop, run_script


def here(offset=0):
    frame = sys._getframe(1)
    return f"{frame.f_code.co_filename}:{frame.f_lineno + offset}"


class Worker:
    def work(self):
        stackless.schedule_remove()

    def __call__(self):
        pass


def test_the_name_is_that_of_the_function():
    assert stackless.tasklet(noop).name == "noop"
    assert stackless.tasklet(noop, ()).name == "noop"
    assert stackless.tasklet(noop)().name == "noop"
    stackless.run()
    assert stackless.tasklet(Worker().work).name == "Worker.work"
    assert stackless.tasklet(functools.partial(noop)).name == "functools.partial"
    assert stackless.tasklet(Worker()).name == "Worker"
    assert stackless.tasklet().name == ""
    assert stackless.getmain().name == "main"


def test_the_name_while_it_runs_and_after():
    seen = []

    def body():
        seen.append(stackless.getcurrent().name)

    t = stackless.tasklet(body)()
    stackless.run()
    assert seen == ["test_the_name_while_it_runs_and_after.<locals>.body"]
    assert t.name == ""


def test_the_name_can_be_set():
    t = stackless.tasklet(noop)
    t.name = "reader 1"
    assert t.name == "reader 1"
    t()
    stackless.run()
    assert t.name == "reader 1"
    del t.name
    assert t.name == ""
    with pytest.raises(TypeError, match="name must be a string, not int"):
        t.name = 5


def test_created_at():
    t = stackless.tasklet(noop)
    assert t.created_at == here(-1)
    t = stackless.tasklet(noop, (),
                          {})
    assert t.created_at in (here(-2), here(-1))
    assert stackless.getmain().created_at is None
    with pytest.raises(AttributeError):
        t.created_at = "elsewhere"


def test_created_at_in_a_tasklet_and_by_c_code():
    made = []
    stackless.tasklet(lambda: made.extend(map(stackless.tasklet, [noop])))()
    stackless.run()
    assert made[0].created_at == here(-2)
    t = stackless.tasklet(stackless.tasklet)(noop)  # no Python code runs when the inner one is made
    stackless.run()
    assert t.created_at == here(-2)


def test_repr():
    channel = stackless.channel()
    t = stackless.tasklet(noop)
    text = repr(t)
    assert text.startswith("<stackless.tasklet object at 0x")
    assert text.endswith(f": 'noop', bound, created at {here(-3)}>")
    states = []

    def state(t):
        return repr(t).split(", ")[1].rstrip(">")

    def body():
        states.append(state(stackless.getcurrent()))
        channel.receive()
        channel.send(None)
        stackless.schedule_remove()

    t = stackless.tasklet(body, ())
    states.append(state(t))
    t.insert()
    states.append(state(t))
    stackless.run()
    states.append(state(t))
    channel.send(None)
    stackless.run()
    states.append(state(t))
    channel.receive()
    stackless.run()
    states.append(state(t))
    t.run()
    states.append(state(t))
    assert states == ["paused", "scheduled", "running", "receiving", "sending", "paused", "dead"]
    assert repr(stackless.getmain()).endswith(": 'main', running>")


def test_repr_of_one_that_sleeps():
    t = stackless.tasklet(stackless.sleep)(1000)
    stackless.schedule()
    assert ", waiting, " in repr(t)
    t.kill()


def test_repr_of_a_subclass():
    class mine(stackless.tasklet):
        pass

    assert "mine object at" in repr(mine(noop))


def test_an_exception_tells_its_tasklet():
    def body():
        1 / 0

    t = stackless.tasklet(body)()
    t.name = "divider"
    place = here(-2)
    with pytest.raises(ZeroDivisionError) as info:
        stackless.run()
    assert info.value.__notes__ == [f"raised in tasklet 'divider', created at {place}"]


def test_the_error_handler_sees_the_note():
    seen = []
    stackless.set_error_handler(lambda kind, value, traceback: seen.extend(value.__notes__))
    try:
        stackless.tasklet(lambda: 1 / 0)()
        stackless.run()
    finally:
        stackless.set_error_handler(None)
    assert len(seen) == 1 and "<lambda>" in seen[0]


def test_notes_do_not_pile_up():
    error = ValueError("always the same")

    def body():
        raise error

    for index in range(20):
        t = stackless.tasklet(body)()
        t.name = str(index)
        with pytest.raises(ValueError):
            stackless.run()
    assert len(error.__notes__) == 8


def test_no_note_for_what_ends_silently():
    error = SystemExit(3)

    def body():
        raise error

    stackless.tasklet(body)()
    with pytest.raises(SystemExit):
        stackless.run()
    assert not hasattr(error, "__notes__")


def test_a_traceback_names_the_tasklet():
    done = run_script(
        """
        import stackless

        def fetch():
            raise OSError("no network")

        stackless.tasklet(fetch)()
        stackless.run()
        """, status=1, quiet=False)
    assert "raised in tasklet 'fetch', created at <string>:7" in done.stderr
    assert done.stderr.index("OSError: no network") < done.stderr.index("raised in tasklet")
