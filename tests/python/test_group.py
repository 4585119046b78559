# SPDX-License-Identifier: MIT
"""TaskletGroup and Task: results, failures, kills, time-outs, nesting, interrupts; nothing is lost or left behind."""

import contextvars
import gc
import os
import threading
import time
import weakref

import pytest
import stackless
from stackless import Event, Lock, Task, TaskletExit, TaskletGroup, channel, schedule, sleep, tasklet

from support import run_script, wait_for


def go(function, *args):
    return tasklet(function)(*args)


def fail(exception):
    raise exception


def forever():
    channel().receive()


def flat(group):
    """The exceptions in a group, through nested ones."""
    found = []
    for one in group.exceptions:
        found += flat(one) if isinstance(one, BaseExceptionGroup) else [one]
    return found


def kinds(group):
    return sorted(type(one).__name__ for one in flat(group))


# ---- results ----


def test_results_and_order():
    log = []

    def work(name):
        log.append(name)
        schedule()
        return name * 2

    with TaskletGroup() as group:
        tasks = [group.spawn(work, name) for name in "abc"]
        assert log == [] and not tasks[0].done() and group.tasks == set(tasks)
    assert log == ["a", "b", "c"]
    assert [task.result() for task in tasks] == ["aa", "bb", "cc"]
    assert not group.tasks and all(task.done() and not task.alive and not task.cancelled() for task in tasks)
    assert isinstance(tasks[0], Task) and isinstance(tasks[0], tasklet)


def test_an_empty_group():
    with TaskletGroup() as group:
        pass
    assert "closed" in repr(group)


def test_result_waits():
    with TaskletGroup() as group:
        slow = group.spawn(lambda: (sleep(0.005), "slow")[1])
        assert slow.result() == "slow"
        never = group.spawn(forever)
        with pytest.raises(TimeoutError, match="has not ended within 0.001 seconds"):
            never.result(0.001)
        with pytest.raises(TimeoutError):
            never.exception(timeout=0)
        assert never.wait(0.001) is False
        never.kill()
    assert never.cancelled()


def test_result_of_a_failed_one_raises_it_each_time():
    with pytest.raises(ExceptionGroup):
        with TaskletGroup() as group:
            task = group.spawn(fail, ValueError("x"))
    for _ in range(2):
        with pytest.raises(ValueError, match="x"):
            task.result()
    assert isinstance(task.exception(), ValueError)


def test_result_of_a_killed_one():
    from concurrent.futures import CancelledError

    with TaskletGroup() as group:
        task = group.spawn(forever)
        schedule()
        task.kill()
    assert task.cancelled()
    for call in (task.result, task.exception):
        with pytest.raises(CancelledError, match="was killed"):
            call()


def test_arguments_and_names():
    def work(*args, **kwargs):
        return args, kwargs

    with TaskletGroup() as group:
        task = group.spawn(work, 1, func=2, self=3)
        assert task.name.endswith("work") and __file__ in task.created_at
    assert task.result() == ((1,), {"func": 2, "self": 3})
    assert "work" in task.name
    with TaskletGroup() as group, pytest.raises(TypeError, match="needs a callable"):
        group.spawn(3)


def test_context_variables_are_inherited():
    var = contextvars.ContextVar("var", default="outside")

    def check():
        with TaskletGroup() as group:
            var.set("at spawn")
            task = group.spawn(lambda: (var.get(), var.set("inside"))[0])
            var.set("later")
        assert task.result() == "at spawn" and var.get() == "later"

    contextvars.copy_context().run(check)  # main's own keeps what is set, for ever


def test_callbacks():
    log = []
    with TaskletGroup() as group:
        task = group.spawn(lambda: 5)
        task.add_done_callback(lambda task: log.append(task.result()))
    task.add_done_callback(lambda task: log.append("at once"))
    assert log == [5, "at once"]


def test_a_callback_that_raises_is_reported(monkeypatch):
    reports = []
    monkeypatch.setattr("sys.unraisablehook", reports.append)
    with TaskletGroup() as group:
        group.spawn(lambda: 5).add_done_callback(lambda task: 1 / 0)
    assert [report.exc_type for report in reports] == [ZeroDivisionError]


# ---- failures ----


def test_a_failure_kills_the_others():
    ends = []

    def work():
        try:
            forever()
        except TaskletExit:
            ends.append("killed")
            raise

    with pytest.raises(ExceptionGroup, match="raised in a TaskletGroup") as info:
        with TaskletGroup() as group:
            others = [group.spawn(work) for _ in range(3)]
            late = group.spawn(fail, ValueError("bad"))
            fresh = group.spawn(ends.append, "never")
            late.insert()
    assert kinds(info.value) == ["ValueError"] and ends == ["killed"] * 3
    assert all(task.cancelled() for task in others) and fresh.cancelled()
    assert "raised in tasklet 'fail', created at " in info.value.exceptions[0].__notes__[0]


def test_the_block_is_interrupted_where_it_waits():
    log = []
    with pytest.raises(ExceptionGroup) as info:
        with TaskletGroup() as group:
            group.spawn(fail, ValueError())
            try:
                forever()
            finally:
                log.append("interrupted")
            log.append("not reached")
    assert log == ["interrupted"] and kinds(info.value) == ["ValueError"]


def test_the_block_is_interrupted_at_its_next_scheduling_point(many_threads):
    with pytest.raises(ExceptionGroup) as info:
        with TaskletGroup() as group:
            group.spawn(fail, ValueError())
            while not group._aborting:
                time.sleep(0.01)  # it is a stray then
            with pytest.raises(BaseException) as inner:
                schedule()
            raise inner.value
    assert kinds(info.value) == ["ValueError"]


def test_an_interruption_that_came_too_late_is_not_left_behind(many_threads):
    with pytest.raises(ExceptionGroup):
        with TaskletGroup() as group:
            group.spawn(fail, ValueError())
            while not group._aborting:
                time.sleep(0.01)
    for _ in range(3):
        schedule()


def test_the_block_raises():
    with pytest.raises(ExceptionGroup) as info:
        with TaskletGroup() as group:
            task = group.spawn(forever)
            schedule()
            raise KeyError("body")
    assert kinds(info.value) == ["KeyError"] and task.cancelled()
    assert info.value.__context__ is None or info.value.__suppress_context__


def test_nothing_raised_while_the_others_are_killed_is_lost():
    def cleanup(exception):
        try:
            forever()
        finally:
            schedule()
            raise exception

    with pytest.raises(ExceptionGroup) as info:
        with TaskletGroup() as group:
            group.spawn(cleanup, OSError())
            group.spawn(cleanup, KeyError())
            schedule()
            group.spawn(fail, ValueError())
            group.wait()
    assert kinds(info.value) == ["KeyError", "OSError", "ValueError"]


def test_a_base_exception_makes_a_base_exception_group():
    class Odd(BaseException):
        pass

    with pytest.raises(BaseExceptionGroup) as info:
        with TaskletGroup() as group:
            group.spawn(fail, BaseExceptionGroup("inner", [Odd()]))
    assert not isinstance(info.value, ExceptionGroup) and kinds(info.value) == ["Odd"]


def test_tracebacks_are_kept():
    import traceback

    def deep():
        raise ValueError("deep")

    def work():
        deep()

    with pytest.raises(ExceptionGroup) as info:
        with TaskletGroup() as group:
            group.spawn(work)
    names = [frame.name for frame in traceback.extract_tb(info.value.exceptions[0].__traceback__)]
    assert names == ["work", "deep"]


def test_a_task_that_ends_itself_is_no_failure():
    with TaskletGroup() as group:
        task = group.spawn(fail, TaskletExit())
        other = group.spawn(schedule, 1)
    assert task.cancelled() and other.result() == 1


# ---- spawn and its errors ----


def test_spawn_outside_of_the_block():
    group = TaskletGroup()
    with pytest.raises(RuntimeError, match="has not been entered"):
        group.spawn(schedule)
    with group:
        pass
    with pytest.raises(RuntimeError, match="has ended"):
        group.spawn(schedule)
    with pytest.raises(RuntimeError, match="once only"):
        with group:
            pass


def test_spawn_while_the_block_waits():
    log = []
    with TaskletGroup() as group:

        def work(n):
            log.append(n)
            if n:
                group.spawn(work, n - 1)

        group.spawn(work, 3)
    assert log == [3, 2, 1, 0]


def test_spawn_after_a_failure():
    refused = []

    def work():
        try:
            forever()
        finally:
            with pytest.raises(RuntimeError, match="shutting down"):
                group.spawn(schedule)
            refused.append(1)

    with pytest.raises(ExceptionGroup) as info:
        with TaskletGroup() as group:
            group.spawn(work)
            schedule()
            raise ValueError
    assert refused == [1] and kinds(info.value) == ["ValueError"]


def test_spawn_in_another_thread():
    errors = []
    with TaskletGroup() as group:

        def other():
            try:
                group.spawn(schedule)
            except RuntimeError as error:
                errors.append(str(error))

        helper = threading.Thread(target=other)
        helper.start()
        helper.join()
    assert "another thread" in errors[0]


def test_a_group_in_a_plain_thread():
    results = []

    def body():
        with TaskletGroup() as group:
            tasks = [group.spawn(lambda x: (sleep(0.001), x)[1], x) for x in range(3)]
        results.extend(task.result() for task in tasks)

    helper = threading.Thread(target=body)
    helper.start()
    wait_for(lambda: not helper.is_alive())
    assert results == [0, 1, 2]


# ---- cancel, wait ----


def test_cancel():
    with TaskletGroup() as group:
        tasks = [group.spawn(forever), group.spawn(forever)]
        schedule()
        group.cancel()
        with pytest.raises(RuntimeError, match="shutting down"):
            group.spawn(schedule)
    assert all(task.cancelled() for task in tasks)


def test_cancel_by_a_member():
    log = []
    with TaskletGroup() as group:

        def work():
            group.cancel()
            log.append("goes on")
            schedule()
            log.append("not reached")

        task, other = group.spawn(work), group.spawn(forever)
    assert log == ["goes on"] and task.cancelled() and other.cancelled()


def test_wait():
    release = Event()
    with TaskletGroup() as group:
        assert group.wait() is True
        group.spawn(release.wait)
        assert group.wait(0) is False and group.wait(0.002) is False
        release.set()
        assert group.wait(30) is True


# ---- kills, time-outs, interrupts of the block ----


def in_tasklet(function):
    """Run function in a tasklet of its own: that one, and what came out."""
    out = []

    def body():
        try:
            out.append(function())
        except BaseException as error:
            out.append(error)

    return go(body), out


@pytest.mark.parametrize("times", [1, 3])
def test_the_tasklet_of_the_block_is_killed_while_it_waits(times):
    ends = []

    def child():
        try:
            forever()
        finally:
            schedule()
            ends.append(1)

    def block():
        with TaskletGroup() as group:
            group.spawn(child)
            group.spawn(child)

    parent, out = in_tasklet(block)
    for _ in range(3):
        schedule()
    for _ in range(times):
        parent.kill(pending=True)
    stackless.run()
    assert [type(one) for one in out] == [TaskletExit] and len(ends) == 2 and not parent.alive


def test_the_tasklet_of_the_block_is_killed_and_others_fail():
    def cleanup():
        try:
            forever()
        finally:
            raise ValueError

    def block():
        with TaskletGroup() as group:
            group.spawn(cleanup)

    parent, out = in_tasklet(block)
    schedule()
    schedule()
    parent.kill()
    stackless.run()
    assert isinstance(out[0], BaseExceptionGroup) and kinds(out[0]) == ["TaskletExit", "ValueError"]


def in_stubborn_block():
    """A block that waits for one that does not end before the event is set; as in_tasklet()."""
    release = Event()

    def block():
        with TaskletGroup() as group:
            group.spawn(stubborn, release)

    parent, out = in_tasklet(block)
    schedule()
    return release, parent, out


def test_no_report_of_a_block_that_is_killed(recwarn):
    """It raises TaskletExit again, later."""
    release, parent, out = in_stubborn_block()
    parent.kill(pending=True)
    for _ in range(5):
        schedule()
    release.set()
    stackless.run()
    assert isinstance(out[0], TaskletExit) and not recwarn.list


def test_timeout_around():
    with pytest.raises(TimeoutError, match="0.002 seconds"):
        with stackless.timeout(0.002):
            with TaskletGroup() as group:
                task = group.spawn(forever)
    assert task.cancelled()
    with pytest.raises(TimeoutError):
        with stackless.timeout(0.002):
            with TaskletGroup() as group:
                task = group.spawn(forever)
                forever()
    assert task.cancelled()


def test_timeout_around_and_failures():
    def cleanup():
        try:
            forever()
        finally:
            raise ValueError

    with pytest.raises(ExceptionGroup) as info:
        with stackless.timeout(0.002):
            with TaskletGroup() as outer:
                outer.spawn(schedule)
                with TaskletGroup() as group:
                    group.spawn(cleanup)
    assert kinds(info.value) == ["TimeoutError", "ValueError"]


def test_a_timeout_does_not_touch_other_groups():
    error = ExceptionGroup("other", [ValueError()])
    with pytest.raises(ExceptionGroup) as info:
        with stackless.timeout(5):
            raise error
    assert info.value is error


def test_timeout_inside():
    with TaskletGroup() as group:
        task = group.spawn(forever)
        with pytest.raises(TimeoutError), stackless.timeout(0.001):
            task.result()
        group.cancel()


def test_keyboard_interrupt_is_raised_by_itself():
    with pytest.raises(KeyboardInterrupt) as info:
        with TaskletGroup() as group:
            task = group.spawn(forever)
            schedule()
            raise KeyboardInterrupt
    assert task.cancelled() and info.value.__cause__ is None

    def cleanup():
        try:
            forever()
        finally:
            raise ValueError

    with pytest.raises(KeyboardInterrupt) as info:
        with TaskletGroup() as group:
            group.spawn(cleanup)
            group.spawn(fail, KeyboardInterrupt())
    assert kinds(info.value.__cause__) == ["ValueError"]


def test_system_exit_of_a_member():
    with pytest.raises(SystemExit) as info:
        with TaskletGroup() as group:
            task = group.spawn(forever)
            group.spawn(fail, SystemExit(3))
    assert info.value.code == 3 and task.cancelled()


def test_a_real_interrupt(mode):
    script = """
        import os, signal, stackless, threading
        started = threading.Event()
        def child():
            try:
                started.set()
                stackless.channel().receive()
            finally:
                print("child ends")
        def send():
            started.wait()
            os.kill(os.getpid(), signal.SIGINT)
        try:
            with stackless.TaskletGroup() as group:
                group.spawn(child)
                threading.Thread(target=send).start()
        except KeyboardInterrupt:
            print("interrupted", group)
        """
    lines = run_script(script, env=mode).lines
    assert lines[0] == "child ends" and lines[1].startswith("interrupted <TaskletGroup closed, aborting, 0 tasklets>")


# ---- nesting ----


def test_nested_groups():
    log = []
    with TaskletGroup() as outer:

        def inner():
            with TaskletGroup() as group:
                group.spawn(log.append, 1)
                group.spawn(log.append, 2)
            log.append("inner ends")

        outer.spawn(inner)
    assert log == [1, 2, "inner ends"]


def test_a_failure_outside_ends_the_inner_group():
    def cleanup():
        try:
            forever()
        finally:
            raise OSError

    with pytest.raises(ExceptionGroup) as info:
        with TaskletGroup() as outer:
            with TaskletGroup() as inner:
                inner.spawn(cleanup)
                schedule()
                outer.spawn(fail, ValueError())
    assert kinds(info.value) == ["OSError", "ValueError"]

    with pytest.raises(ExceptionGroup) as info:
        with TaskletGroup() as outer:
            with TaskletGroup() as inner:
                quiet = inner.spawn(forever)
                outer.spawn(fail, ValueError())
    assert kinds(info.value) == ["ValueError"] and quiet.cancelled()


def test_a_failure_inside_goes_up():
    with pytest.raises(ExceptionGroup) as info:
        with TaskletGroup() as outer:
            other = outer.spawn(forever)

            def inner():
                with TaskletGroup() as group:
                    group.spawn(fail, ValueError())

            outer.spawn(inner)
    assert kinds(info.value) == ["ValueError"] and other.cancelled()
    assert isinstance(info.value.exceptions[0], ExceptionGroup)


# ---- kills in every state ----


def test_kill_before_it_has_started():
    called = []
    with TaskletGroup() as group:
        one, two, three = (group.spawn(called.append, n) for n in range(3))
        two.kill(pending=True)
        one.kill()
        assert one.done()
    assert called == [2] and one.cancelled() and two.cancelled() and three.result() is None


def test_throw_before_it_has_started():
    with pytest.raises(ExceptionGroup) as info:
        with TaskletGroup() as group:
            group.spawn(schedule).throw(ValueError("thrown"))
    assert kinds(info.value) == ["ValueError"]


def test_kill_from_another_thread():
    with TaskletGroup() as group:
        task = group.spawn(forever)
        schedule()
        threading.Thread(target=task.kill).start()
    assert task.cancelled()


def blocked_in_the_system(group):
    """A task in a call that blocks its thread, and what lets that return."""
    reading, writing = os.pipe()

    def work():
        try:
            os.read(reading, 1)
        finally:
            os.close(reading), os.close(writing)

    task = group.spawn(work)
    wait_for(lambda: stackless.stats()["strays"], "the call to block", pause=schedule)
    return task, lambda: os.write(writing, b"x")


def test_kill_of_one_in_a_blocking_call(many_threads):
    with TaskletGroup() as group:
        task, release = blocked_in_the_system(group)
        for _ in range(3):
            task.kill()
        release()
    assert task.cancelled()


def test_no_false_report_of_a_stray_that_was_killed(many_threads, recwarn):
    with TaskletGroup() as group:
        task, release = blocked_in_the_system(group)
        task.kill()
        release()
        while not task.done():
            schedule()
    assert not [str(w.message) for w in recwarn if "swallowed" in str(w.message)]


def stubborn(release):
    while not release.is_set():
        try:
            release.wait()
        except TaskletExit:
            pass


def test_one_that_does_not_end_is_waited_for():
    release, log = Event(), []

    def block():
        with TaskletGroup() as group:
            group.spawn(stubborn, release)
            schedule()
            raise ValueError

    parent, out = in_tasklet(block)
    for _ in range(10):
        schedule()
    assert parent.alive and out == []
    release.set()
    stackless.run()
    assert kinds(out[0]) == ["ValueError"]


def test_one_that_does_not_end_is_given_up():
    release, parent, out = in_stubborn_block()
    for _ in range(12):
        schedule()
        parent.kill(pending=True)
    for _ in range(30):
        schedule()
    assert not parent.alive and kinds(out[0]) == ["RuntimeError", "TaskletExit"]
    assert any("gave up waiting for tasklets that do not end: 'stubborn'" in str(one) for one in flat(out[0]))
    release.set()
    stackless.run()


def test_one_that_does_not_end_and_nobody_can_wake_is_a_deadlock():
    with pytest.raises(ExceptionGroup) as info:
        with TaskletGroup() as group:
            group.spawn(stubborn, Event())
            schedule()
            raise ValueError
    assert any("Deadlock" in str(one) for one in flat(info.value)) and "ValueError" in kinds(info.value)


def test_a_deadlock_inside_is_reported():
    lock = Lock()
    lock.acquire()
    with pytest.raises(ExceptionGroup) as info:
        with TaskletGroup() as group:
            group.spawn(lock.acquire)
    assert any("Deadlock" in str(one) for one in flat(info.value))


def test_an_error_of_a_foreign_tasklet_ends_the_group():
    """It is raised in main, which waits at the end of its block (6.2)."""
    go(fail, ValueError("foreign"))
    with pytest.raises(ExceptionGroup) as info:
        with TaskletGroup() as group:
            task = group.spawn(forever)
    assert kinds(info.value) == ["ValueError"] and task.cancelled()


# ---- nothing is left ----


def test_groups_and_tasks_are_collected():
    class Thing:
        pass

    refs = []
    for failing in (False, True):
        thing = Thing()
        refs.append(weakref.ref(thing))
        try:
            with TaskletGroup() as group:
                task = group.spawn(lambda thing=thing: 1 / 0 if failing else thing)
        except ExceptionGroup:
            pass
        refs += [weakref.ref(task), weakref.ref(group._idle)]
        del group, task, thing
    gc.collect()
    schedule()
    assert [ref() for ref in refs] == [None] * len(refs)


def test_without_garbage():
    """A group that ends well leaves nothing to the collector."""
    gc.collect()
    gc.disable()
    try:
        with TaskletGroup() as group:
            task = group.spawn(schedule, 1)
        ref = weakref.ref(task)
        del group, task
        schedule()
        assert ref() is None
    finally:
        gc.enable()


def test_the_error_handler_is_not_called():
    called = []
    stackless.set_error_handler(lambda *args: called.append(args))
    try:
        with pytest.raises(ExceptionGroup):
            with TaskletGroup() as group:
                group.spawn(fail, ValueError())
    finally:
        stackless.set_error_handler(None)
    assert called == []
