# SPDX-License-Identifier: MIT
"""run(), schedule(), schedule_remove() and the functions and attributes that report the scheduler's state.

Not covered: timeouts of run().
"""

import threading

import pytest
import stackless

from support import noop, run_script


def test_run_with_nothing_to_do():
    assert stackless.run() is None
    assert stackless.getruncount() == 1


def test_run_accepts_all_its_parameters():
    assert stackless.run(0) is None
    assert stackless.run(0, False, False, False, False) is None
    assert stackless.run(timeout=0, threadblock=False, soft=False, ignore_nesting=False, totaltimeout=False) is None
    assert stackless.run(-5) is None


def test_run_runs_everything_with_timeout_zero():
    seen = []
    for number in range(10):
        stackless.tasklet(seen.append)(number)
    stackless.run(timeout=0)
    assert seen == list(range(10))


def test_run_refuses_bad_arguments():
    with pytest.raises(TypeError):
        stackless.run("x")
    with pytest.raises(TypeError):
        stackless.run(None)
    with pytest.raises(TypeError, match=r"(takes|expected) at most 5 (positional )?argument"):
        stackless.run(0, 0, 0, 0, 0, 0)
    with pytest.raises(TypeError):
        stackless.run(bogus=1)


def test_the_runner_is_paused_meanwhile():
    states = []

    def look():
        main = stackless.getmain()
        states.append((main.alive, main.paused, main.scheduled, main.blocked, stackless.getruncount()))

    stackless.tasklet(look)()
    stackless.run()
    assert states == [(True, True, False, False, 1)]
    main = stackless.getmain()
    assert (main.alive, main.paused, main.scheduled, main.blocked) == (True, False, True, False)


def test_run_from_a_tasklet(trace):
    def a():
        trace.new("x", trace.append, "x")
        trace.append("a")
        stackless.run()
        trace.append(f"a back, main paused {stackless.getmain().paused}")

    trace.new("a", a)
    trace.logger("b")
    stackless.run()
    trace.append("main back")
    assert trace == ["a", "b", "x", "a back, main paused True", "main back"]


def test_an_inner_run_waits_until_main_leaves_the_ring(trace):
    channel = stackless.channel()

    def t():
        trace.append("in")
        stackless.run()
        trace.append("out")
        channel.send("token")

    runner = trace.new("t", t)
    stackless.schedule()
    assert trace == ["in"]
    assert runner.paused
    stackless.schedule()
    assert trace == ["in"], "main is still runnable"
    assert channel.receive() == "token"
    assert trace == ["in", "out"]
    stackless.run()
    assert not runner.alive


def test_resuming_an_outer_watchdog_makes_the_inner_ones_runnable(trace):
    def work():
        stackless.getmain().run()
        trace.append("work back")

    def runner():
        trace.new("wk", work)
        stackless.run()
        trace.append("runner back")

    trace.new("runner", runner)
    assert stackless.run() is None
    assert trace == []
    assert trace.ring() == "main wk runner"
    stackless.run()
    assert trace == ["work back", "runner back"]


def test_inserting_main_ends_its_run_when_its_turn_comes(trace):
    def ending():
        trace.append("insert")
        stackless.getmain().insert()

    trace.new("a", ending)
    trace.logger("b")
    trace.new("c", stackless.schedule)
    stackless.run()
    assert trace == ["insert", "b"]
    assert trace.ring() == "main c"
    stackless.run()


def test_nested_runs_end_in_order(trace):
    def level(depth):
        if depth:
            trace.new(f"level {depth - 1}", level, depth - 1)
            stackless.run()
        trace.append(depth)

    level(5)
    assert trace == [0, 1, 2, 3, 4, 5]


def test_run_threadblock_alone_returns():
    run_script(
        """
        import stackless
        channel = stackless.channel()
        t = stackless.tasklet(channel.receive)()
        assert stackless.run(threadblock=True) is None
        assert t.blocked
        channel.send(None)
        print("returned")
        """
    )


def test_run_threadblock_waits_for_another_thread():
    channel = stackless.channel()
    got = []
    go = threading.Event()

    def other():
        go.wait()
        channel.send("from the thread")

    thread = threading.Thread(target=other)
    thread.start()
    stackless.tasklet(go.set)()
    stackless.tasklet(lambda: got.append(channel.receive()))()
    stackless.run(threadblock=True)
    assert got == ["from the thread"]
    thread.join()


# schedule()


def test_schedule_returns_its_argument():
    marker = object()
    assert stackless.schedule(marker) is marker
    assert stackless.schedule(retval=marker) is marker
    assert stackless.schedule(None) is None


def test_schedule_returns_the_current_tasklet_by_default():
    assert stackless.schedule() is stackless.getcurrent()
    result = []
    t = stackless.tasklet(lambda: result.append(stackless.schedule()))()
    stackless.run()
    assert result == [t]


def test_schedule_shows_its_argument_as_tempval():
    t = stackless.tasklet(lambda: stackless.schedule("shown"))()
    stackless.schedule()
    assert t.tempval == "shown"
    stackless.run()


def test_schedule_returns_what_somebody_else_planted():
    result = []
    t = stackless.tasklet(lambda: result.append(stackless.schedule("own")))()
    stackless.schedule()
    t.tempval = "planted"
    stackless.run()
    assert result == ["planted"]


def test_schedule_raises_a_planted_bomb():
    caught = []

    def body():
        try:
            stackless.schedule()
        except LookupError as error:
            caught.append(error.args)

    t = stackless.tasklet(body)()
    stackless.schedule()
    t.tempval = stackless.bomb(LookupError, LookupError("planted"))
    stackless.run()
    assert caught == [("planted",)]


def test_schedule_lets_every_other_have_one_turn(trace):
    trace.logger("a")
    trace.logger("b")
    stackless.schedule()
    assert trace == ["a", "b"]


def test_schedule_argument_errors():
    with pytest.raises(TypeError, match=r"(takes|expected) at most 1 (positional )?argument"):
        stackless.schedule(1, 2)
    with pytest.raises(TypeError, match=r"(takes|expected) at most 1 (positional )?argument"):
        stackless.schedule_remove(1, 2)


# schedule_remove()


def test_schedule_remove_leaves_the_ring(trace):
    def body():
        trace.append("before")
        trace.append(stackless.schedule_remove("value"))

    t = trace.new("t", body)
    stackless.run()
    assert trace == ["before"]
    assert t.paused and t.alive and not t.scheduled
    assert t.next is None
    assert t.tempval == "value"
    t.insert()
    stackless.run()
    assert trace == ["before", "value"]


def test_schedule_remove_returns_the_current_tasklet_by_default():
    result = []
    t = stackless.tasklet(lambda: result.append(stackless.schedule_remove()))()
    stackless.run()
    t.run()
    assert result == [t]


def test_schedule_remove_of_main_alone_returns_at_once():
    assert stackless.schedule_remove("back") == "back"
    main = stackless.getmain()
    assert main.scheduled and not main.paused
    assert stackless.getruncount() == 1


def test_schedule_remove_of_main_waits_for_the_others(trace):
    trace.logger("a")
    trace.logger("b")
    assert stackless.schedule_remove("back") == "back"
    assert trace == ["a", "b"]


def test_main_that_removed_itself_can_be_run(trace):
    def waker():
        trace.append(f"main paused {stackless.getmain().paused}")
        stackless.getmain().run()
        trace.append("waker")

    trace.new("waker", waker)
    stackless.schedule_remove()
    assert trace == ["main paused True"]
    stackless.run()
    assert trace == ["main paused True", "waker"]


def test_schedule_remove_while_main_is_blocked_is_a_deadlock():
    channel = stackless.channel()
    errors = []

    def body():
        try:
            stackless.schedule_remove()
        except RuntimeError as error:
            errors.append(str(error))
            channel.send("released")

    held = stackless.tasklet(body)()  # or it would be killed on removing itself
    assert channel.receive() == "released"
    assert len(errors) == 1 and "Deadlock" in errors[0]
    stackless.run()
    assert not held.alive


# reports


def test_current_and_main():
    assert stackless.getcurrent() is stackless.getmain()
    assert stackless.current is stackless.getcurrent()
    assert stackless.main is stackless.getmain()
    assert stackless.runcount == stackless.getruncount() == 1


def test_current_inside_a_tasklet():
    seen = []
    t = stackless.tasklet(
        lambda: seen.append((stackless.getcurrent(), stackless.current, stackless.getmain(), stackless.main, stackless.runcount))
    )()
    stackless.run()
    assert seen == [(t, t, stackless.getmain(), stackless.getmain(), 1)]


@pytest.mark.parametrize("name", ["getcurrent", "getmain", "getruncount"])
def test_reports_take_no_arguments(name):
    with pytest.raises(TypeError, match="takes no arguments"):
        getattr(stackless, name)(1)


@pytest.mark.parametrize("name", ["current", "main", "runcount"])
def test_computed_module_attributes(name):
    assert name in dir(stackless)
    assert getattr(stackless, name) == getattr(stackless, "get" + name)()
    assert name not in vars(stackless), "a stored value would be stale"


def test_an_unknown_module_attribute():
    with pytest.raises(AttributeError, match="bogus"):
        stackless.bogus


def test_a_fresh_thread_starts_in_its_own_main():
    seen = []

    def body():
        seen.append((stackless.getcurrent() is stackless.getmain(), stackless.getruncount(), stackless.getmain()))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen[0][:2] == (True, 1)
    assert seen[0][2] is not stackless.getmain()


def test_a_fresh_process_starts_in_main():
    done = run_script(
        """
        import stackless
        assert stackless.current is stackless.main
        assert stackless.main.is_main and stackless.main.is_current
        assert stackless.runcount == 1
        stackless.run()
        print("fine")
        """
    )
    assert done.lines == ["fine"]


def test_runcount_excludes_blocked_and_paused():
    channel = stackless.channel()
    blocked = stackless.tasklet(channel.receive)()
    stackless.run()
    paused = stackless.tasklet(noop, ())
    assert stackless.getruncount() == 1
    paused.insert()
    assert stackless.getruncount() == 2
    channel.send(None)
    stackless.run()
    assert not blocked.alive
